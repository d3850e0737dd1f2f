//! Coupons. What they apply to and their amounts in other currencies come only when asked for.

use connector_sdk::StreamSpec;

use super::Stream;

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        name: "coupons",
        about: "Coupons with what they apply to.",
        permission: Some("rak_coupon_read"),
        incremental: false,
        party: false,
        full_pass_deletes: true,
        feed: true,
        order: 1,
    },
    object: "coupon",
    list: "GET /v1/coupons",
    retrieve: "GET /v1/coupons/:id",
    query: &[],
    expand: &["applies_to", "currency_options"],
    overlap: None,
    nesting: None,
};
