//! Transactions: money that came, and money that went back.
//!
//! | Chargebee | in the vocabulary |
//! | --- | --- |
//! | `payment` | a charge, whether a gateway took it or somebody noted it (cash, cheque, bank transfer) |
//! | `refund` | a refund of each payment that it is linked to |
//! | `payment_reversal` | a refund of the payment: a bank took it back, or a direct debit failed late |
//! | `authorization` | nothing: no money moved |

use connector_sdk::facts::{Charge, ChargeStatus, Payment, Refund, RefundStatus};
use connector_sdk::{Extract, Fact, FactsError};
use serde::Deserialize;

use super::{instant, minor, party, wrong};

#[derive(Deserialize)]
pub(super) struct Object {
    id: String,
    customer_id: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    status: Option<String>,
    amount: Option<i64>,
    currency_code: Option<String>,
    date: Option<i64>,
    refunded_txn_id: Option<String>,
    reference_transaction_id: Option<String>,
    #[serde(default)]
    linked_invoices: Option<Vec<LinkedInvoice>>,
    #[serde(default)]
    linked_refunds: Option<Vec<LinkedRefund>>,
    #[serde(default)]
    linked_payments: Option<Vec<LinkedPayment>>,
}

#[derive(Deserialize)]
struct LinkedInvoice {
    invoice_id: Option<String>,
}

#[derive(Deserialize)]
struct LinkedRefund {
    txn_status: Option<String>,
    txn_amount: Option<i64>,
}

#[derive(Deserialize)]
struct LinkedPayment {
    id: Option<String>,
    amount: Option<i64>,
}

fn charged(status: Option<&str>) -> ChargeStatus {
    match status {
        Some("success") => ChargeStatus::Succeeded,
        Some("in_progress" | "needs_attention") => ChargeStatus::Pending,
        Some("failure" | "late_failure" | "timeout" | "voided") => ChargeStatus::Failed,
        _ => ChargeStatus::Unknown,
    }
}

fn refunded(status: Option<&str>) -> RefundStatus {
    match status {
        Some("success") => RefundStatus::Succeeded,
        Some("in_progress") => RefundStatus::Pending,
        Some("needs_attention") => RefundStatus::RequiresAction,
        Some("failure" | "late_failure" | "timeout") => RefundStatus::Failed,
        Some("voided") => RefundStatus::Canceled,
        _ => RefundStatus::Unknown,
    }
}

pub(super) fn facts(mut t: Object) -> Result<Extract, FactsError> {
    let of_party = t.customer_id.as_deref().and_then(party);
    let facts = match t.kind.as_str() {
        "payment" => vec![charge(t)?],
        "refund" | "payment_reversal" => {
            let payments = t.linked_payments.take().unwrap_or_default();
            refunds(&t, payments)
        }
        _ => Vec::new(),
    };
    let facts = facts.into_iter().map(Fact::Payment).collect();
    Ok(Extract { facts, refs: Vec::new(), party: of_party })
}

fn charge(t: Object) -> Result<Payment, FactsError> {
    let currency = t.currency_code.ok_or_else(|| wrong("currency_code", "missing"))?.to_ascii_lowercase();
    let status = charged(t.status.as_deref());
    let came = status == ChargeStatus::Succeeded;
    let taken = |refund: &LinkedRefund| {
        let status = refunded(refund.txn_status.as_deref());
        matches!(status, RefundStatus::Succeeded | RefundStatus::Pending | RefundStatus::RequiresAction)
    };
    let back = t.linked_refunds.unwrap_or_default();
    let back: i64 = back.iter().filter(|refund| taken(refund)).filter_map(|refund| refund.txn_amount).sum();
    // A payment of several invoices is none's alone.
    let mut invoices = t.linked_invoices.unwrap_or_default().into_iter();
    let invoice = invoices.next().filter(|_| invoices.next().is_none()).and_then(|linked| linked.invoice_id);
    Ok(Payment::Charge(Box::new(Charge {
        account: t.customer_id,
        invoice,
        intent: None,
        status,
        paid: came,
        captured: came,
        amount_captured: minor(t.amount.unwrap_or(0), Some(&currency)),
        amount_refunded: Some(minor(back, Some(&currency))),
        created: instant(t.date),
        mode: None,
        settlement: None,
        refunds_incomplete: false,
        currency,
        id: t.id,
    })))
}

/// One for each payment that money went back of.
fn refunds(t: &Object, payments: Vec<LinkedPayment>) -> Vec<Payment> {
    let currency = t.currency_code.as_ref().map(|code| code.to_ascii_lowercase());
    let of = |id: String, charge: Option<String>, amount: Option<i64>| {
        Payment::Refund(Refund {
            id,
            charge,
            intent: None,
            status: refunded(t.status.as_deref()),
            amount: minor(amount.unwrap_or(0), currency.as_deref()),
            currency: currency.clone(),
            created: instant(t.date),
            settlement: None,
        })
    };
    let named: Vec<(String, Option<i64>)> =
        payments.into_iter().filter_map(|payment| Some((payment.id?, payment.amount))).collect();
    match named.as_slice() {
        [] => {
            let charge = t.refunded_txn_id.clone().or_else(|| t.reference_transaction_id.clone());
            vec![of(t.id.clone(), charge, t.amount)]
        }
        [(payment, _)] => vec![of(t.id.clone(), Some(payment.clone()), t.amount)],
        several => {
            let one = |(payment, amount): &(String, Option<i64>)| {
                of(format!("{}/{payment}", t.id), Some(payment.clone()), *amount)
            };
            several.iter().map(one).collect()
        }
    }
}
