//! One subscription: what it is worth each month (R2, R3, R12), and whether it counts (R8).

use connector_sdk::Timestamp;
use connector_sdk::facts::{
    DiscountRef, EndBehavior, PauseBehavior, Period, ScheduleStatus, Subscription, SubscriptionItem,
    SubscriptionSchedule, SubscriptionStatus, TaxBehavior, TaxRateRef,
};

use super::amount::{PriceView, per_month};
use super::book::{Book, Of};
use super::discount;
use super::document::{Missing, MrrLine};
use super::exact::Exact;
use super::inputs::Inputs;
use super::settings::{MrrCancelMode, MrrDiscounts};

/// An item that bills again, with what is known about its price.
#[derive(Debug, Clone)]
pub(super) struct Item<'a> {
    pub(super) fact: &'a SubscriptionItem,
    pub(super) price: PriceView<'a>,
    pub(super) every: Option<Period>,
    pub(super) metered: bool,
    /// Minor units a month before discounts, unrounded; `None` for metered items and where a part is missing.
    pub(super) gross_per_month: Option<Exact>,
}

/// A subscription with what was worked out about it.
#[derive(Debug, Clone)]
pub(super) struct Valued<'a> {
    pub(super) of: Of<'a, Subscription>,
    /// Its status; over with a deleted account.
    pub(super) status: SubscriptionStatus,
    pub(super) currency: Option<String>,
    pub(super) items: Vec<Item<'a>>,
    pub(super) lines: Vec<MrrLine>,
    pub(super) ignored: Vec<String>,
    /// Sum of the lines that are known, unrounded.
    pub(super) per_month: Exact,
    pub(super) missing: Vec<Missing>,
    /// Why it is not in the MRR; `None` for one that counts.
    pub(super) left_out: Option<String>,
    /// The schedule that binds it now.
    pub(super) schedule: Option<Of<'a, SubscriptionSchedule>>,
    /// Instants at which time alone changes what it is worth.
    pub(super) turns: Vec<Timestamp>,
}

impl Valued<'_> {
    /// Active, past due or trialing.
    pub(super) fn is_running(&self) -> bool {
        use SubscriptionStatus::{Active, PastDue, Trialing};
        matches!(self.status, Active | PastDue | Trialing)
    }

    /// Unpaid or paused: live only when nothing runs.
    pub(super) fn is_resting(&self) -> bool {
        matches!(self.status, SubscriptionStatus::Unpaid | SubscriptionStatus::Paused)
    }

    /// The end of the schedule that binds it.
    pub(super) fn schedule_end(&self) -> Option<Timestamp> {
        self.schedule?.fact.phases.iter().map(|p| p.end).max()
    }

    /// Whether somebody asked for its end. The end of a fixed term is none of that (R13).
    pub(super) fn is_set_to_cancel(&self) -> bool {
        let s = self.of.fact;
        match s.cancel_at {
            Some(at) => !(self.ends_by_schedule() && self.schedule_end() == Some(at)),
            None => s.cancel_at_period_end,
        }
    }

    fn ends_by_schedule(&self) -> bool {
        self.schedule.is_some_and(|s| s.fact.end_behavior == EndBehavior::Cancel)
    }

    /// The instant at which it ends, where that is set.
    pub(super) fn end(&self) -> Option<Timestamp> {
        let s = self.of.fact;
        match s.cancel_at {
            Some(at) => Some(at),
            None if s.cancel_at_period_end => self.period_end(),
            None => None,
        }
    }

    /// The last end of its items' running periods.
    pub(super) fn period_end(&self) -> Option<Timestamp> {
        self.items.iter().filter_map(|i| i.fact.period_end).max()
    }
}

/// The vocabulary's word for a status.
pub(super) fn word(status: SubscriptionStatus) -> &'static str {
    match status {
        SubscriptionStatus::Active => "active",
        SubscriptionStatus::PastDue => "past_due",
        SubscriptionStatus::Trialing => "trialing",
        SubscriptionStatus::Unpaid => "unpaid",
        SubscriptionStatus::Paused => "paused",
        SubscriptionStatus::Incomplete => "incomplete",
        SubscriptionStatus::Canceled => "canceled",
        SubscriptionStatus::IncompleteExpired => "incomplete_expired",
        SubscriptionStatus::Unknown => "unknown",
    }
}

/// `year`, `3 months`.
pub(super) fn every_words(every: Period) -> String {
    use connector_sdk::facts::Interval;
    let unit = match every.interval {
        Interval::Day => "day",
        Interval::Week => "week",
        Interval::Month => "month",
        Interval::Year => "year",
    };
    match every.count {
        1 => unit.to_owned(),
        n => format!("{n} {unit}s"),
    }
}

/// Values every subscription of the company, oldest first.
pub(super) fn value_all<'a>(inputs: &Inputs<'_>, book: &Book<'a>) -> Vec<Valued<'a>> {
    let mut all: Vec<Valued<'a>> =
        book.subscriptions().into_iter().map(|of| value(inputs, book, of)).collect();
    all.sort_by(|a, b| {
        let key = |v: &Valued<'a>| (v.of.fact.created.is_none(), v.of.fact.created, v.of.id);
        key(a).cmp(&key(b))
    });
    all
}

fn value<'a>(inputs: &Inputs<'_>, book: &Book<'a>, of: Of<'a, Subscription>) -> Valued<'a> {
    let s = of.fact;
    let record = of.short();
    let missing = |what: &str, id: Option<&str>, of: &str| Missing {
        field: "mrr".to_owned(),
        what: what.to_owned(),
        id: id.map(str::to_owned),
        of: of.to_owned(),
    };
    let schedule = s
        .schedule
        .as_deref()
        .and_then(|id| book.schedule(of.source, id))
        .filter(|schedule| schedule.fact.status == ScheduleStatus::Active);
    let views: Vec<PriceView<'a>> = s.items.iter().map(|i| PriceView::of(book, of.source, i)).collect();
    // Old subscriptions leave the currency to their prices.
    let currency = s.currency.as_deref().or_else(|| views.iter().find_map(PriceView::currency));
    let mut v = Valued {
        status: book.status(&of),
        currency: currency.map(str::to_owned),
        items: Vec::with_capacity(s.items.len()),
        lines: Vec::new(),
        ignored: Vec::new(),
        per_month: Exact::zero(),
        missing: Vec::new(),
        left_out: None,
        schedule,
        turns: Vec::new(),
        of,
    };
    if s.items_incomplete {
        v.missing.push(missing("items", None, &record));
    }

    // Licensed recurring items become lines; the others are only remembered.
    let mut working: Vec<discount::Line<'a>> = Vec::new();
    let mut drafts: Vec<(&'a SubscriptionItem, PriceView<'a>, u64, Exact)> = Vec::new();
    let mut discounts: Vec<(usize, &'a [DiscountRef])> = Vec::new();
    for (item, price) in s.items.iter().zip(views) {
        if price.is_one_time() {
            continue;
        }
        let metered = price.is_metered();
        let mut known = Item { fact: item, price, every: price.every(), metered, gross_per_month: None };
        if !metered {
            match line(currency, item, &price) {
                Ok((every, quantity, gross)) => {
                    if price.product().is_none() {
                        v.missing.push(missing("product", None, &format!("{record} item {}", item.id)));
                    }
                    known.gross_per_month = Some(&gross * &per_month(every));
                    discounts.push((working.len(), &item.discounts));
                    working.push(discount::Line {
                        product: price.product(),
                        every,
                        left: gross.clone(),
                        taken: Vec::new(),
                    });
                    drafts.push((item, price, quantity, gross));
                }
                Err(what) => {
                    v.missing.push(missing(
                        what,
                        item.price_id.as_deref(),
                        &format!("{record} item {}", item.id),
                    ));
                }
            }
        }
        v.items.push(known);
    }

    if let Some(currency) = currency {
        let context = discount::Context {
            book,
            source: of.source,
            currency,
            mode: inputs.settings.mrr_discounts,
            now: inputs.now,
            of: &record,
        };
        // Nothing to take from: nothing is missing either.
        if !working.is_empty() {
            let outcome = context.apply(&discounts, whole_discounts(book, &of), &mut working);
            v.missing.extend(outcome.missing);
            v.ignored = outcome.ignored;
            v.turns.extend(outcome.turns);
        }
    }

    for (line, (item, price, quantity, gross)) in working.into_iter().zip(drafts) {
        let (percent, unknown) = inclusive_tax(book, &of, item, &price);
        for id in unknown {
            v.missing.push(missing("tax_rate", id, &format!("{record} item {}", item.id)));
        }
        // net = gross - round(gross x p / (100 + p)), after discounts (R3).
        let tax = (&line.left * &percent).over(&(Exact::from(100i64) + &percent)).round_half_up();
        let net = &line.left - &tax;
        let factor = per_month(line.every);
        let per_month = &net * &factor;
        v.per_month = &v.per_month + &per_month;
        v.lines.push(MrrLine {
            item: item.id.clone(),
            name: super::plan::name(book, &of, &price).unwrap_or_else(|| item.id.clone()),
            price: item.price_id.clone(),
            quantity,
            every: every_words(line.every),
            gross,
            discounts: line.taken,
            tax,
            net,
            factor,
            per_month,
        });
    }
    judge(inputs, &mut v);
    v
}

/// Interval, quantity and amount of a licensed item, or the part that is missing.
fn line(
    currency: Option<&str>,
    item: &SubscriptionItem,
    price: &PriceView<'_>,
) -> Result<(Period, u64, Exact), &'static str> {
    if !price.is_known() {
        return Err("price");
    }
    let every = price.every().ok_or("price")?;
    let quantity = item.quantity.unwrap_or(1);
    let gross = price.gross(currency.ok_or("currency")?, quantity)?;
    Ok((every, quantity, gross))
}

/// A subscription without discounts of its own inherits the account's (R12).
fn whole_discounts<'a>(book: &Book<'a>, of: &Of<'a, Subscription>) -> &'a [DiscountRef] {
    if !of.fact.discounts.is_empty() {
        return &of.fact.discounts;
    }
    let account = of.fact.account.as_deref().and_then(|id| book.account(of.source, id));
    account.map_or(&[], |a| a.fact.discount.as_slice())
}

/// Percent of the taxes that are inside an item's price, and the ids of those that are not known.
fn inclusive_tax<'a>(
    book: &Book<'a>,
    of: &Of<'a, Subscription>,
    item: &'a SubscriptionItem,
    price: &PriceView<'a>,
) -> (Exact, Vec<Option<&'a str>>) {
    let rates = if item.tax_rates.is_empty() { &of.fact.tax_rates } else { &item.tax_rates };
    let mut percent = Exact::zero();
    let mut unknown = Vec::new();
    for rate in rates {
        let rate = match rate {
            TaxRateRef::Whole(rate) => Some(rate),
            TaxRateRef::Id(id) => {
                let found = book.tax_rate(of.source, id).map(|r| r.fact);
                if found.is_none() {
                    unknown.push(Some(id.as_str()));
                }
                found
            }
        };
        if let Some(rate) = rate.filter(|r| r.inclusive) {
            percent = percent + Exact::from(rate.percentage);
        }
    }
    // The provider works the tax out itself and does not say the rate.
    if rates.is_empty() && of.fact.automatic_tax && price.tax() == Some(TaxBehavior::Inclusive) {
        unknown.push(None);
    }
    (percent, unknown)
}

/// Whether the subscription counts (R8).
fn judge(inputs: &Inputs<'_>, v: &mut Valued<'_>) {
    use SubscriptionStatus::{Active, PastDue, Unknown};
    let now = inputs.now;
    let s = v.of.fact;
    let incomplete =
        |what: &str| Missing { field: "mrr".to_owned(), what: what.to_owned(), id: None, of: v.of.short() };
    let reason = match v.status {
        Active | PastDue => None,
        Unknown => {
            // Neither in nor out can be known.
            let missing = incomplete("status");
            v.missing.push(missing);
            None
        }
        other => Some(format!("status {}", word(other))),
    };
    let pause = s.pause.and_then(|pause| {
        let over = pause.resumes_at.is_some_and(|at| at <= now);
        match pause.behavior {
            PauseBehavior::KeepAsDraft => None,
            _ if over => None,
            PauseBehavior::Void | PauseBehavior::MarkUncollectible => {
                v.turns.extend(pause.resumes_at);
                Some("collection is paused".to_owned())
            }
            PauseBehavior::Unknown => {
                v.turns.extend(pause.resumes_at);
                v.missing.push(incomplete("pause_behavior"));
                None
            }
        }
    });
    let end = v.end();
    v.turns.extend(end);
    let cancelled = match end {
        Some(end) if end <= now => Some("its end has passed".to_owned()),
        _ if v.is_set_to_cancel() && inputs.settings.mrr_cancel_mode == MrrCancelMode::Immediate => {
            Some("set to cancel (mrr_cancel_mode = immediate)".to_owned())
        }
        _ => None,
    };
    v.left_out = reason.or(pause).or(cancelled);
    if inputs.settings.mrr_discounts == MrrDiscounts::None && !s.discounts.is_empty() {
        v.ignored.push("mrr_discounts = none".to_owned());
    }
}
