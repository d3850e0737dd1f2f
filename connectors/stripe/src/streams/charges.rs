//! Charges. History: an incremental read goes a week behind the newest one seen, the time in which an
//! authorised charge is captured or expires. Refunds and disputes are records of their own.

use connector_sdk::StreamSpec;

use super::{Stream, days};

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        name: "charges",
        about: "Charges: money that came in.",
        permission: Some("rak_charge_read"),
        incremental: true,
        party: false,
        full_pass_deletes: false,
        feed: true,
        order: 5,
    },
    object: "charge",
    list: "GET /v1/charges",
    retrieve: "GET /v1/charges/:id",
    query: &[],
    expand: &[],
    overlap: Some(days(7)),
    nesting: None,
};
