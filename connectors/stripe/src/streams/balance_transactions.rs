//! Balance transactions: what a charge, a refund or a dispute did to the account's balance, in the currency
//! of the balance. Lifetime value by settlement rests on them.
//!
//! History without a change that matters here: amount, currency and source are final when one is made. No
//! event tells of it, so a later read lists what is new, with an hour of overlap. Read last, so that what
//! the charges, refunds and disputes name is there. Stripe files the permission under the balance.

use connector_sdk::StreamSpec;

use super::Stream;

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        name: "balance_transactions",
        about: "What charges, refunds and disputes did to the balance.",
        permission: Some("rak_balance_read"),
        incremental: true,
        party: false,
        full_pass_deletes: false,
        feed: false,
        order: 8,
    },
    object: "balance_transaction",
    list: "GET /v1/balance_transactions",
    retrieve: "GET /v1/balance_transactions/:id",
    query: &[],
    expand: &[],
    overlap: Some(60 * 60),
    nesting: None,
};
