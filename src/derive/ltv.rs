//! Lifetime value: realised cash (R11).

use std::collections::BTreeMap;

use chrono::NaiveDate;
use connector_sdk::Timestamp;
use connector_sdk::facts::{
    Charge, ChargeStatus, Dispute, DisputeStatus, InvoiceStatus, Refund, RefundStatus,
};

use super::book::{Book, Of};
use super::document::{Missing, Values};
use super::exact::Exact;
use super::inputs::Inputs;
use super::revenue::{ByCurrency, rounded, scalar};
use super::settings::LtvMode;

/// A charge that brought money: succeeded, paid and captured.
fn brought_money(c: &Charge) -> bool {
    c.status == ChargeStatus::Succeeded && c.paid && c.captured && c.amount_captured > 0
}

/// A refund that takes money, also while it is on its way.
fn takes_money(r: &Refund) -> bool {
    matches!(r.status, RefundStatus::Succeeded | RefundStatus::Pending | RefundStatus::RequiresAction)
}

/// A dispute whose money is withdrawn.
fn is_withdrawn(d: &Dispute) -> bool {
    matches!(d.status, DisputeStatus::NeedsResponse | DisputeStatus::UnderReview | DisputeStatus::Lost)
}

/// Refunds and disputes of each charge, by connection and charge id.
struct Against<'a> {
    refunds: BTreeMap<(&'a str, &'a str), Vec<Of<'a, Refund>>>,
    disputes: BTreeMap<(&'a str, &'a str), Vec<Of<'a, Dispute>>>,
}

impl<'a> Against<'a> {
    fn new(book: &Book<'a>, charges: &[Of<'a, Charge>]) -> Self {
        let mut by_intent: BTreeMap<(&'a str, &'a str), &'a str> = BTreeMap::new();
        for c in charges {
            // Of several attempts only the one that brought money can be asked back.
            if let Some(intent) = c.fact.intent.as_deref().filter(|_| brought_money(c.fact)) {
                by_intent.insert((&c.source.connection, intent), c.id);
            }
        }
        let charge = |connection: &'a str, charge: Option<&'a str>, intent: Option<&'a str>| {
            charge.or_else(|| by_intent.get(&(connection, intent?)).copied()).map(|id| (connection, id))
        };
        let mut against = Self { refunds: BTreeMap::new(), disputes: BTreeMap::new() };
        for r in book.refunds() {
            if let Some(key) =
                charge(&r.source.connection, r.fact.charge.as_deref(), r.fact.intent.as_deref())
            {
                against.refunds.entry(key).or_default().push(r);
            }
        }
        for d in book.disputes() {
            if let Some(key) =
                charge(&d.source.connection, d.fact.charge.as_deref(), d.fact.intent.as_deref())
            {
                against.disputes.entry(key).or_default().push(d);
            }
        }
        against
    }

    fn refunds(&self, c: &Of<'a, Charge>) -> &[Of<'a, Refund>] {
        self.refunds.get(&(c.source.connection.as_str(), c.id)).map_or(&[], Vec::as_slice)
    }

    fn disputes(&self, c: &Of<'a, Charge>) -> &[Of<'a, Dispute>] {
        self.disputes.get(&(c.source.connection.as_str(), c.id)).map_or(&[], Vec::as_slice)
    }

    /// Minor units that went back. The charge's own figure counts only where its refunds are not known.
    fn refunded(&self, c: &Of<'a, Charge>) -> Exact {
        let rows = self.refunds(c);
        let of_rows: Exact =
            rows.iter().filter(|r| takes_money(r.fact)).map(|r| Exact::from(r.fact.amount)).sum();
        let of_charge = || Exact::from(c.fact.amount_refunded.unwrap_or(0));
        if rows.is_empty() {
            of_charge()
        } else if c.fact.refunds_incomplete {
            of_rows.max(of_charge())
        } else {
            of_rows
        }
    }
}

/// What a company paid, by the currency that it is counted in, and the records behind it.
#[derive(Default)]
pub(super) struct Paid {
    pub(super) sums: ByCurrency,
    pub(super) records: Vec<String>,
    last: Option<Timestamp>,
}

impl Paid {
    fn add(&mut self, currency: &str, amount: Exact) {
        let sum = self.sums.entry(currency.to_owned()).or_insert_with(Exact::zero);
        *sum = &*sum + &amount;
    }
}

/// Lifetime value and last payment into `values`; answers what they were made of.
pub(super) fn derive(
    inputs: &Inputs<'_>,
    book: &Book<'_>,
    values: &mut Values,
    missing: &mut Vec<Missing>,
) -> Paid {
    let charges = book.charges();
    let against = Against::new(book, &charges);
    let mut paid = Paid::default();
    let mut gaps = Vec::new();
    for c in charges.iter().filter(|c| brought_money(c.fact)) {
        paid.last = paid.last.max(c.fact.created);
        paid.records.push(c.record());
        match inputs.settings.ltv_mode {
            LtvMode::Presentment => {
                let withdrawn: Exact = against
                    .disputes(c)
                    .iter()
                    .filter(|d| is_withdrawn(d.fact))
                    .map(|d| Exact::from(d.fact.amount))
                    .sum();
                let kept = Exact::from(c.fact.amount_captured) - against.refunded(c) - withdrawn;
                paid.add(&c.fact.currency, kept.floored_at_zero());
            }
            LtvMode::Settlement => settle(book, &against, c, &mut paid, &mut gaps),
        }
    }
    for i in book.invoices() {
        let Some(amount) = i.fact.paid_outside.filter(|_| i.fact.status != InvoiceStatus::Void) else {
            continue;
        };
        paid.last = paid.last.max(i.fact.paid_at.or(i.fact.created));
        // What never went through the provider was never settled by it.
        if inputs.settings.ltv_mode == LtvMode::Presentment
            && let Some(currency) = &i.fact.currency
        {
            paid.records.push(i.record());
            paid.add(currency, Exact::from(amount));
        }
    }

    let preferred = match values.currency.as_deref() {
        Some(currency) if paid.sums.is_empty() || paid.sums.contains_key(currency) => {
            Some(currency.to_owned())
        }
        // The largest total, ties by code.
        _ => {
            let fx = super::currency::Conversion::new(inputs.settings);
            let ranks = fx.comparable(paid.sums.iter().map(|(currency, sum)| (sum, currency.as_str())));
            let ranked = ranks.into_iter().zip(paid.sums.keys());
            ranked.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, c)| c.clone())
        }
    };
    let figure = scalar(inputs, &paid.sums, preferred.as_deref());
    values.ltv_currency = figure.currency;
    values.last_payment_date = paid.last.map(date);
    if gaps.is_empty() {
        values.ltv_minor = figure.exact.to_minor();
        values.ltv_by_currency = rounded(&paid.sums);
    }
    missing.extend(gaps);
    paid
}

/// Adds what a charge, its refunds and its disputes did to the balance, before fees, in the currency of the
/// balance.
fn settle<'a>(
    book: &Book<'a>,
    against: &Against<'a>,
    c: &Of<'a, Charge>,
    paid: &mut Paid,
    gaps: &mut Vec<Missing>,
) {
    let mut sums = ByCurrency::new();
    let gap = |what: &str, id: Option<&str>, of: String| Missing {
        field: "ltv".to_owned(),
        what: what.to_owned(),
        id: id.map(str::to_owned),
        of,
    };
    let mut settled = |id: Option<&str>, of: String, gaps: &mut Vec<Missing>| match id
        .and_then(|id| book.settlement(c.source, id))
    {
        Some(s) => {
            let sum = sums.entry(s.fact.currency.clone()).or_insert_with(Exact::zero);
            *sum = &*sum + &Exact::from(s.fact.amount);
        }
        None => gaps.push(gap("settlement", id, of)),
    };
    settled(c.fact.settlement.as_deref(), c.short(), gaps);
    for r in against.refunds(c).iter().filter(|r| takes_money(r.fact)) {
        // A refund on its way has moved nothing yet.
        if let Some(id) = r.fact.settlement.as_deref() {
            settled(Some(id), r.short(), gaps);
        }
    }
    let only_a_sum = against.refunds(c).is_empty() && c.fact.amount_refunded.is_some_and(|a| a > 0);
    if only_a_sum || c.fact.refunds_incomplete {
        gaps.push(gap("refunds", None, c.short()));
    }
    for d in against.disputes(c) {
        for id in &d.fact.settlements {
            settled(Some(id), d.short(), gaps);
        }
    }
    for (currency, sum) in sums {
        paid.add(&currency, sum.floored_at_zero());
    }
}

/// The UTC date of an instant.
pub(super) fn date(at: Timestamp) -> NaiveDate {
    at.date_naive()
}
