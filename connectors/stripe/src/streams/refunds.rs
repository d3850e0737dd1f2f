//! Refunds. History: an incremental read goes a month behind the newest one seen, the time in which a
//! pending refund may still fail. Stripe files the permission under charges.
//! The charge comes expanded: a refund does not say whose it is, its charge does.

use connector_sdk::StreamSpec;

use super::{Stream, days};

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        name: "refunds",
        about: "Refunds: money that went back.",
        permission: Some("rak_charge_read"),
        incremental: true,
        party: false,
        full_pass_deletes: false,
        feed: true,
        order: 6,
    },
    object: "refund",
    list: "GET /v1/refunds",
    retrieve: "GET /v1/refunds/:id",
    query: &[],
    expand: &["charge"],
    overlap: Some(days(30)),
    nesting: None,
};
