//! MRR, ARR and monthly spend over all subscriptions (R3-R7, R14).

use std::collections::BTreeMap;

use connector_sdk::facts::{InvoiceStatus, SubscriptionStatus};

use super::amount::per_month;
use super::book::Book;
use super::currency::Conversion;
use super::document::{CurrencySum, Missing, MrrBreakdown, MrrSubscription, Values};
use super::exact::Exact;
use super::inputs::Inputs;
use super::plan;
use super::subscription::{Valued, word};

/// How many invoices a metered item's mean is taken over.
const METERED_INVOICES: usize = 3;

/// Amounts by currency, exact.
pub(super) type ByCurrency = BTreeMap<String, Exact>;

/// A figure in one currency.
#[derive(Debug, Clone)]
pub(super) struct Scalar {
    pub(super) currency: Option<String>,
    /// Unrounded.
    pub(super) exact: Exact,
    /// Whether all currencies were converted.
    pub(super) converted: bool,
}

/// One figure out of several currencies: converted where a reporting currency is set and every currency has a
/// rate, else the `preferred` currency alone. Currencies are never added.
pub(super) fn scalar(inputs: &Inputs<'_>, sums: &ByCurrency, preferred: Option<&str>) -> Scalar {
    let fx = Conversion::new(inputs.settings);
    if let Some(target) = fx.target() {
        let all: Option<Vec<Exact>> = sums.iter().map(|(currency, sum)| fx.convert(sum, currency)).collect();
        // Nothing to convert: zero in a currency that could be converted is zero in the target.
        let reachable = !sums.is_empty()
            || preferred.is_some_and(|currency| fx.convert(&Exact::zero(), currency).is_some());
        if let (Some(all), true) = (all, reachable) {
            return Scalar { currency: Some(target), exact: all.into_iter().sum(), converted: true };
        }
    }
    let exact = preferred.and_then(|currency| sums.get(currency)).cloned().unwrap_or_else(Exact::zero);
    Scalar { currency: preferred.map(str::to_owned), exact, converted: false }
}

/// The currency of the figure when it is not converted (R7): of the oldest subscription that counts, else of
/// the primary live one, the newest other one, an account, the latest charge.
fn own_currency(inputs: &Inputs<'_>, book: &Book<'_>, all: &[Valued<'_>]) -> Option<String> {
    let counting = all.iter().filter(|v| v.left_out.is_none()).find_map(|v| v.currency.clone());
    counting
        .or_else(|| plan::primary(inputs, book, all).and_then(|p| p.subscription.currency.clone()))
        .or_else(|| {
            let newest =
                all.iter().filter(|v| v.currency.is_some()).max_by_key(|v| (v.of.fact.created, v.of.id));
            newest.and_then(|v| v.currency.clone())
        })
        .or_else(|| {
            let mut accounts: Vec<_> = book.accounts().filter(|a| a.fact.currency.is_some()).collect();
            accounts.sort_by_key(|a| (a.fact.created.is_none(), a.fact.created, a.id));
            accounts.first().and_then(|a| a.fact.currency.clone())
        })
        .or_else(|| {
            let latest = book.charges().into_iter().max_by_key(|c| (c.fact.created, c.id));
            latest.map(|c| c.fact.currency.clone())
        })
}

/// Rounds every currency's sum.
pub(super) fn rounded(sums: &ByCurrency) -> Option<BTreeMap<String, i64>> {
    sums.iter().map(|(currency, sum)| Some((currency.clone(), sum.to_minor()?))).collect()
}

/// MRR, ARR, spend, currency and flags into `values`; answers the sum behind them.
pub(super) fn derive(
    inputs: &Inputs<'_>,
    book: &Book<'_>,
    all: &[Valued<'_>],
    values: &mut Values,
    missing: &mut Vec<Missing>,
) -> MrrBreakdown {
    let problem = |what: &str, id: Option<&str>, of: String| Missing {
        field: "mrr".to_owned(),
        what: what.to_owned(),
        id: id.map(str::to_owned),
        of,
    };
    let mut gaps: Vec<Missing> = Vec::new();
    if !inputs.settings.mrr_mode.is_known() {
        gaps.push(problem("mrr_mode", Some(&inputs.settings.mrr_mode.0), "settings".to_owned()));
    }
    let mut sums = ByCurrency::new();
    for v in all.iter().filter(|v| v.left_out.is_none()) {
        gaps.extend(v.missing.iter().cloned());
        match &v.currency {
            Some(currency) => {
                let sum = sums.entry(currency.clone()).or_insert_with(Exact::zero);
                *sum = &*sum + &v.per_month;
            }
            None => gaps.push(problem("currency", None, v.of.short())),
        }
    }
    let preferred = own_currency(inputs, book, all);
    let figure = scalar(inputs, &sums, preferred.as_deref());
    let by_currency = rounded(&sums);
    let mrr = figure.exact.to_minor();
    let arr = (&figure.exact * &Exact::from(12i64)).to_minor();
    if by_currency.is_none() || mrr.is_none() || arr.is_none() {
        gaps.push(problem("range", None, "an amount beyond 64 bits".to_owned()));
    }

    let spend = monthly_spend(inputs, book, all, &sums, preferred.as_deref());

    values.currency.clone_from(&figure.currency);
    values.mixed_currency = !figure.converted && sums.len() > 1;
    values.mrr_incomplete = !gaps.is_empty();
    if !values.mrr_incomplete {
        values.mrr_minor = mrr;
        values.arr_minor = arr;
        values.mrr_by_currency = by_currency;
        match spend {
            Ok(spend) => values.monthly_spend_minor = spend.to_minor(),
            Err(gap) => missing.push(gap),
        }
    }
    let complete = !values.mrr_incomplete;
    missing.extend(gaps);

    let fx = Conversion::new(inputs.settings);
    MrrBreakdown {
        subscriptions: all.iter().map(|v| part(v, complete)).collect(),
        currencies: sums
            .iter()
            .map(|(currency, sum)| CurrencySum {
                currency: currency.clone(),
                per_month: sum.clone(),
                converted: if figure.converted {
                    fx.convert(sum, currency)
                } else {
                    (Some(currency) == figure.currency.as_ref()).then(|| sum.clone())
                },
            })
            .collect(),
        exact: complete.then_some(figure.exact),
    }
}

fn part(v: &Valued<'_>, complete: bool) -> MrrSubscription {
    let counts = v.left_out.is_none();
    MrrSubscription {
        record: v.of.record(),
        status: word(v.status).to_owned(),
        currency: v.currency.clone(),
        left_out: v.left_out.clone(),
        lines: if counts { v.lines.clone() } else { Vec::new() },
        ignored: if counts { v.ignored.clone() } else { Vec::new() },
        per_month: (counts && (complete || v.missing.is_empty())).then(|| v.per_month.clone()),
    }
}

/// MRR and the mean of each metered item's last three invoiced amounts per month (R14), unrounded.
fn monthly_spend(
    inputs: &Inputs<'_>,
    book: &Book<'_>,
    all: &[Valued<'_>],
    mrr: &ByCurrency,
    preferred: Option<&str>,
) -> Result<Exact, Missing> {
    let mut sums = mrr.clone();
    for v in all.iter().filter(|v| v.left_out.is_none()) {
        let Some(currency) = &v.currency else { continue };
        let metered: Vec<_> = v.items.iter().filter(|i| i.metered).collect();
        if metered.is_empty() {
            continue;
        }
        let mut invoices: Vec<_> = book
            .invoices()
            .into_iter()
            .filter(|i| i.source.connection == v.of.source.connection)
            .filter(|i| {
                matches!(
                    i.fact.status,
                    InvoiceStatus::Open | InvoiceStatus::Paid | InvoiceStatus::Uncollectible
                )
            })
            .collect();
        invoices.sort_by(|a, b| (b.fact.created, b.id).cmp(&(a.fact.created, a.id)));
        for item in metered {
            let Some(every) = item.every else { continue };
            let mut amounts: Vec<Exact> = Vec::with_capacity(METERED_INVOICES);
            for invoice in &invoices {
                if amounts.len() == METERED_INVOICES {
                    break;
                }
                if invoice.fact.lines_incomplete && invoice.fact.subscription.as_deref() == Some(v.of.id) {
                    return Err(Missing {
                        field: "monthly_spend".to_owned(),
                        what: "lines".to_owned(),
                        id: None,
                        of: invoice.short(),
                    });
                }
                // Tiered usage is one line for each tier: an invoice's amount is their sum.
                let mut lines = invoice
                    .fact
                    .lines
                    .iter()
                    .filter(|l| l.subscription_item.as_deref() == Some(&item.fact.id) && !l.proration)
                    .peekable();
                if lines.peek().is_some() {
                    amounts.push(lines.map(|l| Exact::from(l.amount)).sum());
                }
            }
            if amounts.is_empty() {
                continue;
            }
            let mean = amounts.iter().sum::<Exact>().over(&Exact::from(amounts.len() as u64));
            let sum = sums.entry(currency.clone()).or_insert_with(Exact::zero);
            *sum = &*sum + &(mean * per_month(every));
        }
    }
    Ok(scalar(inputs, &sums, preferred).exact)
}

/// The company's status: the best of its subscriptions; `none` without one (R8).
pub(super) fn status(all: &[Valued<'_>]) -> &'static str {
    use SubscriptionStatus::{
        Active, Canceled, Incomplete, IncompleteExpired, PastDue, Paused, Trialing, Unknown, Unpaid,
    };
    const BEST_FIRST: [SubscriptionStatus; 9] =
        [Active, PastDue, Trialing, Unpaid, Paused, Incomplete, Canceled, IncompleteExpired, Unknown];
    BEST_FIRST.iter().find(|s| all.iter().any(|v| v.status == **s)).map_or("none", |s| word(*s))
}

/// Whether anything is overdue.
pub(super) fn delinquent(book: &Book<'_>, all: &[Valued<'_>]) -> bool {
    use SubscriptionStatus::{PastDue, Unpaid};
    all.iter().any(|v| matches!(v.status, PastDue | Unpaid)) || book.accounts().any(|a| a.fact.delinquent)
}
