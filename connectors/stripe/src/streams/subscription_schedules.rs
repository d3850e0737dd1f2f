//! Subscription schedules: phases to come and what happens at their end, which renewal dates and terms
//! rest on. Mutable: an incremental read is a full pass. Stripe files the permission under subscriptions.

use connector_sdk::StreamSpec;

use super::Stream;

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        name: "subscription_schedules",
        about: "Phases to come of subscriptions, and what happens at their end.",
        permission: Some("rak_subscription_read"),
        incremental: false,
        party: false,
        full_pass_deletes: true,
        feed: true,
        order: 4,
    },
    object: "subscription_schedule",
    list: "GET /v1/subscription_schedules",
    retrieve: "GET /v1/subscription_schedules/:id",
    query: &[],
    expand: &[],
    overlap: None,
    nesting: None,
};
