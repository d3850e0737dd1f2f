//! Renewal, term, contract (R9) and the renewal status (R13).

use chrono::{Days, NaiveDate, NaiveTime};
use connector_sdk::facts::{
    Confidence, Contract, ContractStatus, Deal, InvoiceStatus, Period, Stated, SubscriptionStatus,
};
use connector_sdk::{Role, Timestamp};
use serde_json::{Value, json};

use super::amount::per_month;
use super::book::{Book, Of};
use super::document::{Loser, Provenance, Values};
use super::inputs::Inputs;
use super::ltv::date;
use super::plan;
use super::subscription::{Item, Valued};
use super::term::{Term, add, add_months, between};

/// One source's answer to "until when, and for how long".
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    role: Role,
    /// The connector's id.
    connector: String,
    /// `connection/stream/id`.
    record: String,
    date: Option<NaiveDate>,
    term: Option<Term>,
    /// How often it is paid; only billing tools say that.
    pay: Option<Term>,
    /// Which member the date came from.
    date_from: &'static str,
    low_confidence: bool,
}

impl Candidate {
    fn words(&self) -> Value {
        json!({
            "date": self.date,
            "term_months": self.term.as_ref().and_then(|t| t.months),
            "term": self.term.as_ref().and_then(|t| t.word),
        })
    }
}

/// What was found out about renewal, before anything that a person entered.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    chosen: Option<Candidate>,
    losers: Vec<Loser>,
    /// The term behind the answer, for the status.
    term: Option<Term>,
    /// Midnights at which a contract runs out.
    turns: Vec<NaiveDate>,
}

/// The licensed item with the longest interval, which an add-on must not drag forward; of equal ones that
/// with the latest end.
fn longest<'v, 'a>(v: &'v Valued<'a>) -> Option<&'v Item<'a>> {
    let known =
        |licensed: bool| v.items.iter().filter(move |i| i.every.is_some() && (!licensed || !i.metered));
    let by_length = |i: &&Item<'_>| {
        let factor = i.every.map(per_month);
        (std::cmp::Reverse(factor), i.fact.period_end)
    };
    // A subscription of metered items alone still has a period.
    known(true).max_by_key(by_length).or_else(|| known(false).max_by_key(by_length))
}

fn subscription_candidate(v: &Valued<'_>) -> Candidate {
    let s = v.of.fact;
    let item = longest(v);
    let pay = item.and_then(|i| i.every).map(Term::of_period);
    let scheduled = v.schedule.and_then(|schedule| {
        let phases = &schedule.fact.phases;
        let start = phases.iter().map(|p| p.start).min()?;
        let end = phases.iter().map(|p| p.end).max()?;
        Some((date(end), between(date(start), date(end))))
    });
    let trial = s.trial_end.filter(|_| v.status == SubscriptionStatus::Trialing);
    let (at, date_from) = if v.status == SubscriptionStatus::Paused {
        (None, "paused")
    } else if let Some(at) = s.cancel_at {
        (Some(date(at)), "cancel_at")
    } else if let Some(at) = trial {
        (Some(date(at)), "trial_end")
    } else if let Some((end, _)) = &scheduled {
        (Some(*end), "schedule")
    } else {
        (item.and_then(|i| i.fact.period_end).map(date), "period_end")
    };
    Candidate {
        role: Role::Billing,
        connector: v.of.source.connector.clone(),
        record: v.of.record(),
        date: at,
        term: scheduled.map(|(_, term)| term).or_else(|| pay.clone()),
        pay,
        date_from,
        low_confidence: false,
    }
}

/// Of the live subscriptions the one with the longest term, then the highest monthly amount, then the oldest.
fn billing_candidate(inputs: &Inputs<'_>, all: &[Valued<'_>]) -> Option<Candidate> {
    let live = plan::live(all);
    let ranks = plan::ranks(inputs, &live);
    let candidates = live.iter().zip(ranks).map(|(v, rank)| {
        let candidate = subscription_candidate(v);
        ((candidate.term.as_ref().map(|t| t.length.clone()), rank), candidate)
    });
    candidates.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, c)| c)
}

/// A signed agreement's answer; `None` where it is not signed, has no date, or ran out.
fn contract_candidate(inputs: &Inputs<'_>, of: &Of<'_, Contract>) -> Option<Candidate> {
    let c = of.fact;
    // Complete is not signed: a status can be forced.
    if c.status != ContractStatus::Completed || c.signed_at.is_none() {
        return None;
    }
    let mut low_confidence = false;
    let accepted = inputs.settings.accepted_only;
    let usable = |confidence: Confidence| !(accepted && confidence == Confidence::Low);
    fn value<T: Copy>(
        stated: Option<Stated<T>>,
        usable: impl Fn(Confidence) -> bool,
        low: &mut bool,
    ) -> Option<T> {
        let stated = stated.filter(|s| usable(s.confidence))?;
        *low |= stated.confidence == Confidence::Low;
        Some(stated.value)
    }
    let low = &mut low_confidence;
    let effective = value(c.effective, usable, low);
    let stated_end = value(c.end, usable, low);
    let initial = value(c.term, usable, low);
    let renewal = value(c.renewal_term, usable, low);
    let renews = value(c.auto_renews, usable, low).unwrap_or(false);

    let completed = c.completed_at.map(date);
    let start = effective.or(completed);
    let (end, date_from) = match (stated_end, effective, completed, initial) {
        (Some(end), ..) => (end, "end"),
        (None, Some(from), _, Some(term)) => (add(from, term, 1)?, "effective + term"),
        (None, None, Some(from), Some(term)) => (add(from, term, 1)?, "completed + term"),
        _ => return None,
    };
    let mut term = initial.map(Term::of_period).or_else(|| start.map(|start| between(start, end)));
    let today = date(inputs.now);
    let mut date = end;
    if date < today {
        let by = renewal.or(initial).filter(|_| renews)?;
        // Counted from the very start where that is known in months, so that a month end that was clamped
        // once does not stick.
        let from_start = match (stated_end, start, initial.and_then(Period::months), by.months()) {
            (None, Some(start), Some(first), Some(each)) => Some((start, first, each)),
            _ => None,
        };
        let mut turn = 0;
        while date < today {
            turn += 1;
            date = match from_start {
                Some((start, first, each)) => add_months(start, each.checked_mul(turn)?.checked_add(first)?)?,
                None => add(end, by, turn)?,
            };
        }
        // What runs now is a renewal, not the first term.
        term = Some(Term::of_period(by));
    }
    Some(Candidate {
        role: Role::Signature,
        connector: of.source.connector.clone(),
        record: of.record(),
        date: Some(date),
        term,
        pay: None,
        date_from,
        low_confidence,
    })
}

/// A won deal's answer, for each line with a start and a term.
fn deal_candidates(inputs: &Inputs<'_>, of: &Of<'_, Deal>) -> Vec<Candidate> {
    let today = date(inputs.now);
    let lines = of.fact.lines.iter().filter(|_| of.fact.won);
    lines
        .filter_map(|line| {
            let term = line.term?;
            let end = add(line.start?, term, 1)?;
            (end >= today).then(|| Candidate {
                role: Role::Crm,
                connector: of.source.connector.clone(),
                record: of.record(),
                date: Some(end),
                term: Some(Term::of_period(term)),
                pay: None,
                date_from: "line start + term",
                low_confidence: false,
            })
        })
        .collect()
}

/// The longest term, then billing before signature before CRM, then the later end; then a fixed order.
fn better(a: &Candidate, b: &Candidate) -> bool {
    let key = |c: &Candidate| (c.term.as_ref().map(|t| t.length.clone()), std::cmp::Reverse(c.role), c.date);
    (key(a), &b.record) > (key(b), &a.record)
}

/// Renewal, term and contract into `values`.
pub(super) fn derive(
    inputs: &Inputs<'_>,
    book: &Book<'_>,
    all: &[Valued<'_>],
    values: &mut Values,
) -> Renewal {
    let billing = billing_candidate(inputs, all);
    let signed: Vec<Candidate> = book.contracts().filter_map(|c| contract_candidate(inputs, &c)).collect();
    // A CRM is asked only when nobody else knows.
    let sold: Vec<Candidate> = if billing.is_none() && signed.is_empty() {
        book.deals().flat_map(|d| deal_candidates(inputs, &d)).collect()
    } else {
        Vec::new()
    };
    let in_force = !signed.is_empty() || !sold.is_empty();
    let paid_term = all.iter().any(|v| {
        matches!(v.status, SubscriptionStatus::Active | SubscriptionStatus::PastDue)
            && subscription_candidate(v).term.is_some_and(|t| t.is_contract())
    });
    values.on_contract = in_force || paid_term;
    values.payment_terms =
        billing.as_ref().and_then(|b| b.pay.as_ref()).and_then(|t| t.word).map(str::to_owned);

    let mut renewal = Renewal::default();
    for candidate in billing.into_iter().chain(signed).chain(sold) {
        if candidate.role != Role::Billing {
            renewal.turns.extend(candidate.date.and_then(|d| d.succ_opt()));
        }
        match &mut renewal.chosen {
            Some(best) if better(&candidate, best) => {
                let loser = std::mem::replace(best, candidate);
                renewal
                    .losers
                    .push(lost(&loser, "a longer term, or an equal one of a source that comes first"));
            }
            Some(_) => {
                renewal.losers.push(lost(&candidate, "a shorter term, or an equal one that comes later"))
            }
            None => renewal.chosen = Some(candidate),
        }
    }
    renewal.losers.sort_by(|a, b| a.source.cmp(&b.source));
    if let Some(chosen) = &renewal.chosen {
        values.renewal_date = chosen.date;
        values.contract_term = chosen.term.as_ref().and_then(|t| t.word).map(str::to_owned);
        values.contract_term_months = chosen.term.as_ref().and_then(|t| t.months);
        values.renewal_source = Some(chosen.connector.clone());
        renewal.term.clone_from(&chosen.term);
    }
    renewal
}

fn lost(c: &Candidate, why: &str) -> Loser {
    Loser { source: c.record.clone(), value: c.words(), why: why.to_owned() }
}

impl Renewal {
    /// Why the date and the term are what they are.
    pub(super) fn provenance(&self) -> Provenance {
        let mut p =
            Provenance { rule: "R9".to_owned(), losers: self.losers.clone(), ..Provenance::default() };
        if let Some(c) = &self.chosen {
            p.records = vec![c.record.clone()];
            p.inputs.insert("date_from".to_owned(), json!(c.date_from));
            p.inputs.insert("source".to_owned(), json!(c.connector));
            if c.low_confidence {
                p.inputs.insert("confidence".to_owned(), json!("low"));
            }
        }
        p
    }

    /// The renewal status, by the first rule that holds, and the instants at which that may turn.
    ///
    /// Reads what a person entered for date and term from `values`, so it comes after those.
    pub(super) fn status(
        &self,
        inputs: &Inputs<'_>,
        book: &Book<'_>,
        all: &[Valued<'_>],
        values: &mut Values,
    ) -> Vec<Timestamp> {
        let today = date(inputs.now);
        let window = inputs.settings.up_for_renewal_days;
        let manual_term = ["contract_term_months", "contract_term"]
            .iter()
            .any(|field| inputs.manual.get(*field).is_some_and(|v| !v.is_null()));
        let is_contract = if manual_term {
            entered_term(inputs, values).is_some_and(|t| t.is_contract())
        } else {
            self.term.as_ref().is_some_and(Term::is_contract)
        };
        let mut turns: Vec<NaiveDate> = self.turns.clone();
        let mut renewed_on = None;
        if is_contract {
            if let Some(at) = values.renewal_date {
                turns.extend(at.checked_sub_days(Days::new(u64::from(window))));
                turns.extend(at.succ_opt());
            }
            renewed_on = renewed(inputs, book, values.renewal_date)
                .filter(|on| *on <= today && days(*on, today) <= i64::from(window));
            turns.extend(renewed_on.and_then(|on| on.checked_add_days(Days::new(u64::from(window) + 1))));
        }
        values.renewed_on = renewed_on;
        let running: Vec<_> = all.iter().filter(|v| v.is_running()).collect();
        let word = if !running.is_empty() && running.iter().all(|v| v.is_set_to_cancel()) {
            if running.iter().all(|v| v.status == SubscriptionStatus::Trialing) {
                Some("set_to_cancel_trial")
            } else {
                Some("set_to_cancel")
            }
        } else if plan::live(all).is_empty() && all.iter().any(|v| v.status == SubscriptionStatus::Canceled) {
            Some("lost")
        } else if renewed_on.is_some() {
            Some("renewed")
        } else {
            // Month-to-month is skipped, or it would be up for renewal for ever.
            values
                .renewal_date
                .map(|at| days(today, at))
                .filter(|left| is_contract && (0..=i64::from(window)).contains(left))
                .map(|_| "up_for_renewal")
        };
        values.renewal_status = word.map(str::to_owned);
        turns.into_iter().map(midnight).collect()
    }
}

/// The term that a person entered.
fn entered_term(inputs: &Inputs<'_>, values: &Values) -> Option<Term> {
    let entered = |field: &str| inputs.manual.get(field).is_some_and(|v| !v.is_null());
    if entered("contract_term_months") {
        return values.contract_term_months.map(Term::of_months);
    }
    match values.contract_term.as_deref()? {
        "monthly" => Some(Term::of_months(1)),
        "quarterly" => Some(Term::of_months(3)),
        "annual" => Some(Term::of_months(12)),
        "bi_annual" => Some(Term::of_months(6)),
        _ => None,
    }
}

/// The date on which the renewal date moved on after a paid cycle invoice (R13).
///
/// It has moved when the last derivation named an earlier date and a cycle invoice was paid on that date or
/// later; the first such payment is when. A company that was renewed already keeps its day.
fn renewed(inputs: &Inputs<'_>, book: &Book<'_>, now: Option<NaiveDate>) -> Option<NaiveDate> {
    let previous = inputs.previous?;
    let (before, now) = (previous.renewal_date?, now?);
    let today = date(inputs.now);
    let paid = || {
        book.invoices()
            .into_iter()
            .filter(|i| i.fact.cycle && i.fact.status == InvoiceStatus::Paid)
            .filter_map(|i| i.fact.paid_at.or(i.fact.created).map(date))
            .filter(|at| *at <= today)
    };
    if now > before {
        return paid().filter(|at| *at >= before).min();
    }
    if previous.renewal_status.as_deref() == Some("renewed") && now == before {
        return previous.renewed_on.or_else(|| paid().max());
    }
    None
}

fn days(from: NaiveDate, to: NaiveDate) -> i64 {
    to.signed_duration_since(from).num_days()
}

fn midnight(date: NaiveDate) -> Timestamp {
    date.and_time(NaiveTime::MIN).and_utc()
}
