//! Prices, active or not. Tiers and other currencies come only when asked for.
//!
//! Stripe files the permission under the older name of prices, plans.

use connector_sdk::StreamSpec;

use super::Stream;

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        name: "prices",
        about: "Prices with tiers and amounts in other currencies.",
        permission: Some("rak_plan_read"),
        incremental: false,
        party: false,
        full_pass_deletes: true,
        feed: true,
        order: 2,
    },
    object: "price",
    list: "GET /v1/prices",
    retrieve: "GET /v1/prices/:id",
    query: &[],
    expand: &["tiers", "currency_options"],
    overlap: None,
    nesting: None,
};
