//! Customers. Mutable and without a time of change: an incremental read is a full pass.
//!
//! The coupon of a customer's discount comes expanded, because it may be deleted and still run.

use connector_sdk::StreamSpec;

use super::Stream;

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        name: "customers",
        about: "Customers, each a party that a company is linked to.",
        permission: Some("rak_customer_read"),
        incremental: false,
        party: true,
        full_pass_deletes: true,
        feed: true,
        order: 0,
    },
    object: "customer",
    list: "GET /v1/customers",
    retrieve: "GET /v1/customers/:id",
    query: &[],
    expand: &["discount.source.coupon"],
    overlap: None,
    nesting: None,
};
