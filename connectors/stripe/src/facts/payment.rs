//! Charges, refunds, disputes, balance transactions.

use connector_sdk::FactsError;
use connector_sdk::facts::{
    Charge, ChargeStatus, Dispute, DisputeStatus, Fact, Payment, Refund, RefundStatus, Settlement,
};
use serde::Deserialize;

use super::Out;
use super::shape::{Id, IdOr, List, at, id, mode};

#[derive(Deserialize)]
pub(super) struct TransactionShape {
    id: String,
    source: Option<Id>,
    amount: i64,
    fee: Option<i64>,
    currency: String,
    created: Option<i64>,
}

fn settlement(t: TransactionShape, source: Option<&str>, out: &mut Out) {
    out.facts.push(Fact::Settlement(Settlement {
        source: id(t.source).or(source.map(str::to_owned)),
        amount: t.amount,
        fee: t.fee,
        currency: t.currency.to_ascii_lowercase(),
        created: at(t.created),
        id: t.id,
    }));
}

pub(super) fn balance_transaction(t: TransactionShape, out: &mut Out) {
    settlement(t, None, out);
}

/// The id of a balance transaction; an expanded one is a fact of its own.
fn settled(member: Option<IdOr<TransactionShape>>, source: &str, out: &mut Out) -> Option<String> {
    match member? {
        IdOr::Id(id) => {
            out.refer("balance_transactions", &id);
            Some(id)
        }
        IdOr::Object(t) => {
            let id = t.id.clone();
            settlement(t, Some(source), out);
            Some(id)
        }
    }
}

#[derive(Deserialize)]
pub(super) struct ChargeShape {
    id: String,
    customer: Option<Id>,
    invoice: Option<Id>,
    payment_intent: Option<Id>,
    status: Option<String>,
    paid: Option<bool>,
    captured: Option<bool>,
    currency: String,
    amount: Option<i64>,
    amount_captured: Option<i64>,
    amount_refunded: Option<i64>,
    created: Option<i64>,
    livemode: Option<bool>,
    balance_transaction: Option<IdOr<TransactionShape>>,
    refunds: Option<List<RefundShape>>,
    dispute: Option<IdOr<DisputeShape>>,
}

pub(super) fn charge(c: ChargeShape, out: &mut Out) -> Result<(), FactsError> {
    let account = id(c.customer);
    out.belongs_to(account.as_deref());
    let settlement = settled(c.balance_transaction, &c.id, out);
    let mut refunds_incomplete = false;
    if let Some(list) = c.refunds {
        refunds_incomplete = list.has_more.unwrap_or(false);
        for shape in list.data.unwrap_or_default() {
            let refund = read_refund(shape, Some(&c.id), out);
            out.facts.push(Fact::Payment(Payment::Refund(refund)));
        }
    }
    match c.dispute {
        Some(IdOr::Object(shape)) => {
            let dispute = read_dispute(shape, Some(&c.id), out);
            out.facts.push(Fact::Payment(Payment::Dispute(dispute)));
        }
        Some(IdOr::Id(id)) => out.refer("disputes", &id),
        None => {}
    }
    let status = match c.status.as_deref() {
        Some("succeeded" | "paid") => ChargeStatus::Succeeded,
        Some("pending") => ChargeStatus::Pending,
        Some("failed") => ChargeStatus::Failed,
        _ => ChargeStatus::Unknown,
    };
    let captured = c.captured.unwrap_or(status == ChargeStatus::Succeeded);
    // Older charges do not say how much was captured. A part that was not shows as refunded there.
    let amount_captured = c.amount_captured.or(c.amount.filter(|_| captured)).unwrap_or(0);
    out.facts.insert(
        0,
        Fact::Payment(Payment::Charge(Box::new(Charge {
            id: c.id,
            account,
            invoice: id(c.invoice),
            intent: id(c.payment_intent),
            status,
            paid: c.paid.unwrap_or(status == ChargeStatus::Succeeded),
            captured,
            currency: c.currency.to_ascii_lowercase(),
            amount_captured,
            amount_refunded: c.amount_refunded,
            created: at(c.created),
            mode: mode(c.livemode),
            settlement,
            refunds_incomplete,
        }))),
    );
    Ok(())
}

/// A charge inside a refund or a dispute: whose it is.
#[derive(Deserialize)]
struct OwnedShape {
    id: String,
    customer: Option<Id>,
}

/// The id of an expandable member, and the customer that the expanded object names.
fn owned(member: Option<IdOr<OwnedShape>>) -> (Option<String>, Option<String>) {
    match member {
        None => (None, None),
        Some(IdOr::Id(id)) => (Some(id), None),
        Some(IdOr::Object(o)) => (Some(o.id), id(o.customer)),
    }
}

#[derive(Deserialize)]
pub(super) struct RefundShape {
    id: String,
    customer: Option<Id>,
    charge: Option<IdOr<OwnedShape>>,
    payment_intent: Option<IdOr<OwnedShape>>,
    status: Option<String>,
    amount: Option<i64>,
    currency: Option<String>,
    created: Option<i64>,
    balance_transaction: Option<IdOr<TransactionShape>>,
}

fn read_refund(r: RefundShape, inside: Option<&str>, out: &mut Out) -> Refund {
    let (charge, by_charge) = owned(r.charge);
    let (intent, by_intent) = owned(r.payment_intent);
    if inside.is_none() {
        out.belongs_to(id(r.customer).or(by_charge).or(by_intent).as_deref());
        if let Some(charge) = &charge {
            out.refer("charges", charge);
        }
    }
    Refund {
        settlement: settled(r.balance_transaction, &r.id, out),
        id: r.id,
        charge: charge.or(inside.map(str::to_owned)),
        intent,
        status: match r.status.as_deref() {
            // The oldest refunds have no status: they were made at once.
            None | Some("succeeded") => RefundStatus::Succeeded,
            Some("pending") => RefundStatus::Pending,
            Some("requires_action") => RefundStatus::RequiresAction,
            Some("failed") => RefundStatus::Failed,
            Some("canceled") => RefundStatus::Canceled,
            Some(_) => RefundStatus::Unknown,
        },
        amount: r.amount.unwrap_or(0),
        currency: r.currency.map(|c| c.to_ascii_lowercase()),
        created: at(r.created),
    }
}

pub(super) fn refund(r: RefundShape, out: &mut Out) {
    let fact = read_refund(r, None, out);
    out.facts.insert(0, Fact::Payment(Payment::Refund(fact)));
}

#[derive(Deserialize)]
pub(super) struct DisputeShape {
    id: String,
    charge: Option<IdOr<OwnedShape>>,
    payment_intent: Option<IdOr<OwnedShape>>,
    status: Option<String>,
    amount: Option<i64>,
    currency: Option<String>,
    livemode: Option<bool>,
    created: Option<i64>,
    balance_transactions: Option<Vec<IdOr<TransactionShape>>>,
}

fn read_dispute(d: DisputeShape, inside: Option<&str>, out: &mut Out) -> Dispute {
    let (charge, by_charge) = owned(d.charge);
    let (intent, by_intent) = owned(d.payment_intent);
    if inside.is_none() {
        out.belongs_to(by_charge.or(by_intent).as_deref());
        if let Some(charge) = &charge {
            out.refer("charges", charge);
        }
    }
    Dispute {
        settlements: d
            .balance_transactions
            .unwrap_or_default()
            .into_iter()
            .filter_map(|t| settled(Some(t), &d.id, out))
            .collect(),
        id: d.id,
        charge: charge.or(inside.map(str::to_owned)),
        intent,
        status: match d.status.as_deref() {
            Some("needs_response") => DisputeStatus::NeedsResponse,
            Some("under_review") => DisputeStatus::UnderReview,
            Some("lost") => DisputeStatus::Lost,
            Some("won") => DisputeStatus::Won,
            // `charge_refunded` was closed by a refund, which is counted where it stands.
            Some("prevented" | "charge_refunded") => DisputeStatus::NotWithdrawn,
            Some(w) if w.starts_with("warning_") => DisputeStatus::NotWithdrawn,
            _ => DisputeStatus::Unknown,
        },
        amount: d.amount.unwrap_or(0),
        currency: d.currency.map(|c| c.to_ascii_lowercase()),
        mode: mode(d.livemode),
        created: at(d.created),
    }
}

pub(super) fn dispute(d: DisputeShape, out: &mut Out) {
    let fact = read_dispute(d, None, out);
    out.facts.insert(0, Fact::Payment(Payment::Dispute(fact)));
}
