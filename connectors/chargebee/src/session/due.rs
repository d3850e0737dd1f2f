//! What an invoice changes at its subscription without changing the time of it: whether a payment is due. Chargebee
//! reckons that when a subscription is asked for, and moves no `updated_at`.

use connector_sdk::{Record, RecordKey, Touch};
use serde::Deserialize;

#[derive(Deserialize)]
struct Invoice {
    subscription_id: Option<String>,
    status: Option<String>,
    due_date: Option<i64>,
    paid_at: Option<i64>,
    voided_at: Option<i64>,
    dunning_status: Option<String>,
}

impl Invoice {
    /// Whether its payment is due, or was until it came or was given up.
    fn is_or_was_due(&self) -> bool {
        let late = |at: Option<i64>| at.zip(self.due_date).is_some_and(|(at, due)| at > due);
        matches!(self.status.as_deref(), Some("payment_due" | "not_paid"))
            || self.dunning_status.is_some()
            || late(self.paid_at)
            || late(self.voided_at)
    }
}

/// The subscriptions of those of the records that are such invoices, each once.
pub(super) fn touched(records: &[Record]) -> Vec<Touch> {
    let mut out: Vec<Touch> = records
        .iter()
        .filter(|record| record.key.stream == "invoices")
        .filter_map(|record| serde_json::from_str::<Invoice>(record.payload.get()).ok())
        .filter(Invoice::is_or_was_due)
        .filter_map(|invoice| invoice.subscription_id.filter(|id| !id.is_empty()))
        .map(|id| Touch { key: RecordKey::new("subscriptions", id), event: None })
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}
