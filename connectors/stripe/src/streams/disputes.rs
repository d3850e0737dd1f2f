//! Disputes. History, but a slow one: an incremental read goes four months behind the newest one seen,
//! about as long as a card network takes to decide.
//! The charge comes expanded: a dispute does not say whose it is, its charge does.

use connector_sdk::StreamSpec;

use super::{Stream, days};

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        name: "disputes",
        about: "Disputes: money withdrawn or claimed back.",
        permission: Some("rak_dispute_read"),
        incremental: true,
        party: false,
        full_pass_deletes: false,
        feed: true,
        order: 7,
    },
    object: "dispute",
    list: "GET /v1/disputes",
    retrieve: "GET /v1/disputes/:id",
    query: &[],
    expand: &["charge"],
    overlap: Some(days(120)),
    nesting: None,
};
