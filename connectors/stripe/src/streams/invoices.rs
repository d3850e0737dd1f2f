//! Invoices. History: an incremental read goes a week behind the newest one seen. Later changes (an open
//! invoice that is paid after a month) come by webhook and by the next full pass.

use connector_sdk::StreamSpec;

use super::{Nesting, Stream, days};

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        name: "invoices",
        about: "Invoices with all their lines.",
        permission: Some("rak_invoice_read"),
        incremental: true,
        party: false,
        full_pass_deletes: false,
        feed: true,
        order: 4,
    },
    object: "invoice",
    list: "GET /v1/invoices",
    retrieve: "GET /v1/invoices/:id",
    query: &[],
    expand: &[],
    overlap: Some(days(7)),
    nesting: Some(Nesting::InvoiceLines),
};
