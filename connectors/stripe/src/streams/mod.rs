//! The streams: what is listed, with which expansion, and how a later read finds what changed.

mod balance_transactions;
mod charges;
mod coupons;
mod customers;
mod disputes;
mod invoices;
mod prices;
mod products;
mod refunds;
mod subscription_schedules;
mod subscriptions;
mod tax_rates;

use connector_sdk::{ConnectorError, StreamSpec};

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What the engine knows. The name is also the path below `/v1`.
    pub(crate) spec: StreamSpec,
    /// The `object` member of its records.
    pub(crate) object: &'static str,
    /// The operation that lists, as Stripe counts it.
    pub(crate) list: &'static str,
    /// The operation that reads one.
    pub(crate) retrieve: &'static str,
    /// Fixed parameters of the listing.
    pub(crate) query: &'static [(&'static str, &'static str)],
    /// What is expanded, as seen from one object. A listing asks for the same below `data.`, so that
    /// every read of one object gives the same text.
    pub(crate) expand: &'static [&'static str],
    /// For history: how far behind the newest creation time an incremental read goes, in seconds.
    /// `None`: mutable and without a time of change, so an incremental read lists everything.
    pub(crate) overlap: Option<i64>,
    /// A list inside the object that Stripe cuts at its first page.
    pub(crate) nesting: Option<Nesting>,
}

/// A list inside an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nesting {
    /// `items` of a subscription.
    SubscriptionItems,
    /// `lines` of an invoice.
    InvoiceLines,
}

pub(crate) const ALL: [&Stream; 12] = [
    &customers::STREAM,
    &products::STREAM,
    &coupons::STREAM,
    &prices::STREAM,
    &subscriptions::STREAM,
    &invoices::STREAM,
    &charges::STREAM,
    &refunds::STREAM,
    &disputes::STREAM,
    &subscription_schedules::STREAM,
    &tax_rates::STREAM,
    &balance_transactions::STREAM,
];

/// The stream of that name and its place in [`ALL`].
pub(crate) fn find(name: &str) -> Result<(usize, &'static Stream), ConnectorError> {
    ALL.iter()
        .enumerate()
        .find(|(_, s)| s.spec.name == name)
        .map(|(n, s)| (n, *s))
        .ok_or_else(|| ConnectorError::Config(format!("Stripe has no stream named {name:?}")))
}

const fn days(n: i64) -> i64 {
    n * 24 * 60 * 60
}
