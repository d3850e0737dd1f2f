//! Subscriptions. Without `status=all` Stripe hides the canceled ones.
//!
//! Expansion ends at four levels: a list reaches `data.discounts.source.coupon` and
//! `data.items.data.discounts`, and a coupon of an item's discount is joined from its own stream.

use connector_sdk::StreamSpec;

use super::{Nesting, Stream};

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        name: "subscriptions",
        about: "Subscriptions in every status, with all their items.",
        permission: Some("rak_subscription_read"),
        incremental: false,
        party: false,
        full_pass_deletes: true,
        feed: true,
        order: 3,
    },
    object: "subscription",
    list: "GET /v1/subscriptions",
    retrieve: "GET /v1/subscriptions/:id",
    query: &[("status", "all")],
    expand: &["discounts.source.coupon", "items.data.discounts"],
    overlap: None,
    nesting: Some(Nesting::SubscriptionItems),
};
