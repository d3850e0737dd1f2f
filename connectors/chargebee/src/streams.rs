//! What is read.

use connector_sdk::{ConnectorError, StreamSpec};

/// The permission that every list needs, as the page of API keys calls it.
pub(crate) const READ: &str = "read-only";

/// The stream of the parties.
pub(crate) const PARTIES: &str = "customers";

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What the engine knows. The name is also the last segment of the list's path.
    pub(crate) spec: StreamSpec,
    /// The member of an answer that holds an object.
    pub(crate) object: &'static str,
    /// The operation that lists, as Chargebee counts it.
    pub(crate) list: &'static str,
    /// The operation that reads one.
    pub(crate) retrieve: &'static str,
    /// What the list can be sorted by, so that what changes while it is read comes later.
    pub(crate) sort: &'static str,
    /// Whether the list names deleted objects when it is asked to.
    pub(crate) names_deleted: bool,
    /// Whether an object belongs to a customer, and the list can be asked for those of one.
    pub(crate) of_customer: bool,
}

const fn spec(name: &'static str, about: &'static str, party: bool, order: u8) -> StreamSpec {
    StreamSpec {
        name,
        about,
        permission: Some(READ),
        incremental: true,
        party,
        full_pass_deletes: true,
        feed: false,
        order,
    }
}

/// Every stream.
pub(crate) const ALL: [Stream; 6] = [
    Stream {
        spec: spec("customers", "Customers, each a party that a company is linked to.", true, 0),
        object: "customer",
        list: "GET /customers",
        retrieve: "GET /customers/:id",
        sort: "updated_at",
        names_deleted: true,
        of_customer: false,
    },
    Stream {
        spec: spec("item_prices", "Names of plans, addons and charges, and how often they bill.", false, 1),
        object: "item_price",
        list: "GET /item_prices",
        retrieve: "GET /item_prices/:id",
        sort: "updated_at",
        names_deleted: false,
        of_customer: false,
    },
    Stream {
        spec: spec("coupons", "What takes something off, for how long, and on what.", false, 1),
        object: "coupon",
        list: "GET /coupons",
        retrieve: "GET /coupons/:id",
        sort: "created_at",
        names_deleted: false,
        of_customer: false,
    },
    Stream {
        spec: spec(
            "subscriptions",
            "Subscriptions of every status with their items and discounts.",
            false,
            2,
        ),
        object: "subscription",
        list: "GET /subscriptions",
        retrieve: "GET /subscriptions/:id",
        sort: "updated_at",
        names_deleted: true,
        of_customer: true,
    },
    Stream {
        spec: spec("invoices", "Invoices with their lines.", false, 3),
        object: "invoice",
        list: "GET /invoices",
        retrieve: "GET /invoices/:id",
        sort: "updated_at",
        names_deleted: true,
        of_customer: true,
    },
    Stream {
        spec: spec(
            "transactions",
            "Payments, refunds and reversals, from gateways and noted by hand.",
            false,
            3,
        ),
        object: "transaction",
        list: "GET /transactions",
        retrieve: "GET /transactions/:id",
        sort: "updated_at",
        names_deleted: true,
        of_customer: true,
    },
];

/// The stream of that name.
pub(crate) fn find(name: &str) -> Result<&'static Stream, ConnectorError> {
    let found = ALL.iter().find(|stream| stream.spec.name == name);
    found.ok_or_else(|| ConnectorError::Config(format!("Chargebee has no stream named {name:?}")))
}
