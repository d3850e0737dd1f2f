//! Tax rates, active or not. Subscriptions and items hold theirs whole; schedules and older objects name
//! them by id. Never deleted, only made inactive.

use connector_sdk::StreamSpec;

use super::Stream;

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        name: "tax_rates",
        about: "Tax rates, for taxes that are inside a price.",
        permission: Some("rak_tax_rate_read"),
        incremental: false,
        party: false,
        full_pass_deletes: true,
        feed: true,
        order: 1,
    },
    object: "tax_rate",
    list: "GET /v1/tax_rates",
    retrieve: "GET /v1/tax_rates/:id",
    query: &[],
    expand: &[],
    overlap: None,
    nesting: None,
};
