//! Chargebee, by the small server of the connector's own tests: the figure is the price of the subscription.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use connector_sdk::{Clock, RecordKey};
use connector_testkit::sandbox::faults::{Fault, FaultRule, Faults};
use connector_testkit::sandbox::loopback::Loopback;
use halo_sync::domain::companies::Company;
use serde_json::{Value, json};

use self::server::{KEY, Server};
use crate::conformance::account::{Account, Customer, records_of};

#[path = "../../../../connectors/chargebee/tests/it/server.rs"]
#[expect(dead_code, reason = "the connector's own tests ask for more of it")]
mod server;

pub(in crate::conformance) struct Chargebee {
    server: Loopback<Server>,
    item_price: OnceLock<String>,
    lists: AtomicU64,
}

impl Chargebee {
    fn api(&self) -> &Server {
        self.server.api()
    }

    fn set_items(&self, subscription: &str, figure: u32) {
        let price = self.item_price.get().unwrap();
        let items = json!([{"item_price_id": price, "quantity": 1, "amount": figure * 100}]);
        self.api().set("subscriptions", subscription, "subscription_items", items);
    }
}

impl Account for Chargebee {
    const CONNECTOR: &'static str = "chargebee";
    const LIST: &'static str = "/api/v2/subscriptions";

    /// The server's time is the system's: Chargebee's own times are those of its answers.
    async fn start(_: Arc<dyn Clock>) -> Self {
        let server = Loopback::start(Server::default()).await.unwrap();
        let account = Self { server, item_price: OnceLock::new(), lists: AtomicU64::new(0) };
        account.item_price.set(account.api().create("item_prices")).unwrap();
        account
    }

    fn settings(&self) -> Value {
        json!({"base_url": self.server.base_url(), "page_size": 3, "site": "sandbox-test"})
    }

    fn secret(&self) -> String {
        KEY.to_owned()
    }

    fn add(&self, name: &str, figure: u32) -> Customer {
        let api = self.api();
        let party = api.create("customers");
        api.set("customers", &party, "company", json!(name));
        api.set("customers", &party, "email", json!(format!("billing@{name}.example")));
        api.set("customers", &party, "meta_data", json!({}));
        let says = api.create("subscriptions");
        api.set("subscriptions", &says, "customer_id", json!(party));
        api.set("subscriptions", &says, "coupons", json!([]));
        self.set_items(&says, figure);
        let customer = Customer {
            name: name.to_owned(),
            party: RecordKey::new("customers", party),
            says: RecordKey::new("subscriptions", says),
        };
        self.extend(&customer);
        customer
    }

    fn set(&self, customer: &Customer, figure: u32) {
        self.set_items(&customer.says.id, figure);
    }

    fn extend(&self, customer: &Customer) -> Option<()> {
        let invoice = self.api().create("invoices");
        self.api().set("invoices", &invoice, "customer_id", json!(customer.party.id));
        self.api().set("invoices", &invoice, "subscription_id", json!(customer.says.id));
        Some(())
    }

    fn remove(&self, customer: &Customer) -> RecordKey {
        assert!(self.api().delete("subscriptions", &customer.says.id));
        customer.says.clone()
    }

    fn records(&self) -> BTreeSet<RecordKey> {
        records_of(Self::CONNECTOR, |stream| self.api().ids(stream).into_iter().collect())
    }

    fn lists(&self) -> u64 {
        let calls = self.server.take_calls();
        let lists = calls.iter().filter(|call| call.path == ["api", "v2", "subscriptions"]).count() as u64;
        self.lists.fetch_add(lists, Ordering::SeqCst) + lists
    }

    fn faults(&self) -> &Faults {
        self.server.faults()
    }

    fn revoke(&self) {
        self.faults().add(FaultRule::always("/", Fault::Status(401)));
    }

    fn figure(company: &Company) -> Option<i64> {
        company.fields.mrr_minor.filter(|cents| *cents != 0).map(|cents| cents / 100)
    }
}
