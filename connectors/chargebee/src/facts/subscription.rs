//! Subscriptions.

use chrono::{Days, Months};
use connector_sdk::facts::{
    Amounts, Coupon, Decimal, Discount, DiscountRef, EndBehavior, Interval, Period, Phase, Price, PriceKind,
    Rounding, ScheduleStatus, Scheme, Subscription, SubscriptionItem, SubscriptionSchedule,
    SubscriptionStatus, TransformQuantity, Usage,
};
use connector_sdk::{Extract, Fact, FactsError, RecordKey, Timestamp};
use serde::Deserialize;
use serde_json::Number;

use super::catalog::{decimal, duration};
use super::{instant, minor, party, period};

#[derive(Deserialize)]
pub(super) struct Object {
    id: String,
    customer_id: String,
    status: String,
    currency_code: Option<String>,
    created_at: Option<i64>,
    current_term_start: Option<i64>,
    current_term_end: Option<i64>,
    trial_end: Option<i64>,
    cancelled_at: Option<i64>,
    cancel_schedule_created_at: Option<i64>,
    started_at: Option<i64>,
    activated_at: Option<i64>,
    /// How many periods are left behind this one; none where it goes on without an end.
    remaining_billing_cycles: Option<u32>,
    due_invoices_count: Option<u32>,
    due_since: Option<i64>,
    #[serde(default)]
    contract_term: Option<ContractTerm>,
    billing_period: Option<u32>,
    billing_period_unit: Option<String>,
    #[serde(default)]
    subscription_items: Option<Vec<Item>>,
    #[serde(default)]
    coupons: Vec<AppliedCoupon>,
    #[serde(default)]
    discounts: Vec<ManualDiscount>,
}

#[derive(Deserialize)]
struct ContractTerm {
    id: Option<String>,
    status: Option<String>,
    contract_start: Option<i64>,
    contract_end: Option<i64>,
    action_at_term_end: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    item_price_id: String,
    item_type: Option<String>,
    quantity: Option<u64>,
    unit_price: Option<i64>,
    /// What the item costs a period, tiers and free units reckoned in.
    amount: Option<i64>,
    /// Of items whose quantity is counted afterwards.
    metered_quantity: Option<String>,
    billing_period: Option<u32>,
    billing_period_unit: Option<String>,
}

#[derive(Deserialize)]
struct AppliedCoupon {
    coupon_id: String,
    apply_till: Option<i64>,
}

/// A discount without a coupon, agreed for this subscription.
#[derive(Deserialize)]
struct ManualDiscount {
    id: String,
    invoice_name: Option<String>,
    percentage: Option<Number>,
    amount: Option<i64>,
    currency_code: Option<String>,
    duration_type: Option<String>,
    period: Option<u32>,
    period_unit: Option<String>,
    apply_on: Option<String>,
    item_price_id: Option<String>,
    created_at: Option<i64>,
    apply_till: Option<i64>,
}

fn status(word: &str) -> SubscriptionStatus {
    match word {
        "future" => SubscriptionStatus::Incomplete,
        "in_trial" => SubscriptionStatus::Trialing,
        "active" | "non_renewing" => SubscriptionStatus::Active,
        "paused" => SubscriptionStatus::Paused,
        "cancelled" | "transferred" => SubscriptionStatus::Canceled,
        _ => SubscriptionStatus::Unknown,
    }
}

/// What was agreed about the end: the contract term or, without one, a number of periods. The latter is known from
/// the running period on, and is notice where somebody asked for the end.
fn schedule(s: &Object) -> Option<SubscriptionSchedule> {
    let of = |id: String, status, end_behavior, start, end| SubscriptionSchedule {
        id,
        subscription: Some(s.id.clone()),
        status,
        end_behavior,
        phases: vec![Phase { start, end }],
        mode: None,
    };
    if let Some(term) = &s.contract_term {
        let (start, end) = (instant(term.contract_start)?, instant(term.contract_end)?);
        let status = match term.status.as_deref() {
            Some("active") => ScheduleStatus::Active,
            Some("completed") => ScheduleStatus::Completed,
            Some("cancelled" | "terminated") => ScheduleStatus::Canceled,
            _ => ScheduleStatus::Unknown,
        };
        let end_behavior = match term.action_at_term_end.as_deref() {
            Some("cancel") => EndBehavior::Cancel,
            // For another term, or from period to period.
            Some("renew" | "renew_once" | "evergreen") => EndBehavior::Release,
            _ => EndBehavior::Other,
        };
        return Some(of(
            term.id.clone().unwrap_or_else(|| format!("{}/term", s.id)),
            status,
            end_behavior,
            start,
            end,
        ));
    }
    let runs = matches!(s.status.as_str(), "active" | "non_renewing");
    let left = s.remaining_billing_cycles.filter(|_| runs && s.cancel_schedule_created_at.is_none())?;
    let every = period(s.billing_period, s.billing_period_unit.as_deref())?;
    let start = instant(s.activated_at.or(s.started_at).or(s.current_term_start))?;
    let end = after(instant(s.current_term_end)?, every, left)?;
    (start < end)
        .then(|| of(format!("{}/cycles", s.id), ScheduleStatus::Active, EndBehavior::Cancel, start, end))
}

/// So many periods later; the end of a month clamps.
fn after(at: Timestamp, every: Period, count: u32) -> Option<Timestamp> {
    let n = every.count.checked_mul(count)?;
    match every.interval {
        Interval::Day => at.checked_add_days(Days::new(u64::from(n))),
        Interval::Week => at.checked_add_days(Days::new(u64::from(n) * 7)),
        Interval::Month => at.checked_add_months(Months::new(n)),
        Interval::Year => at.checked_add_months(Months::new(n.checked_mul(12)?)),
    }
}

fn item(s: &Object, item: Item, currency: Option<&str>) -> SubscriptionItem {
    let own = period(item.billing_period, item.billing_period_unit.as_deref());
    let quantity = item.quantity.filter(|n| *n > 0);
    // The amount is the whole item's: one packet of as many units as there are costs it, whatever tiers led to it.
    let (unit, packet) = match item.amount {
        Some(amount) => (Some(amount), quantity.filter(|n| *n > 1)),
        None => (item.unit_price, None),
    };
    let charge = item.item_type.as_deref() == Some("charge");
    let unit = unit.map(|amount| minor(amount, currency));
    let price = Price {
        id: item.item_price_id.clone(),
        product: Some(item.item_price_id.clone()),
        currency: currency.map(str::to_owned),
        kind: Some(if charge { PriceKind::OneTime } else { PriceKind::Recurring }),
        every: own.or_else(|| period(s.billing_period, s.billing_period_unit.as_deref())),
        // One that nothing was counted of yet says nothing; its item does, by way of the item price.
        usage: item.metered_quantity.map(|_| Usage::Metered),
        scheme: Some(Scheme::PerUnit),
        amounts: Amounts { unit: unit.map(Decimal::from), tiers: None },
        transform: packet.map(|divide_by| TransformQuantity { divide_by, round: Rounding::Up }),
        ..Price::default()
    };
    SubscriptionItem {
        // An item has no id of its own; a subscription holds an item price once.
        id: item.item_price_id.clone(),
        price_id: Some(item.item_price_id),
        price: Some(Box::new(price)),
        quantity: item.quantity,
        period_start: instant(s.current_term_start),
        period_end: instant(s.current_term_end),
        ..SubscriptionItem::default()
    }
}

fn manual(discount: ManualDiscount) -> Result<DiscountRef, FactsError> {
    let of_item = discount.apply_on.as_deref() == Some("specific_item_price");
    let percent = discount.percentage.as_ref();
    let coupon = Coupon {
        name: discount.invoice_name,
        duration: duration(
            discount.duration_type.as_deref(),
            discount.period,
            discount.period_unit.as_deref(),
        ),
        percent_off: percent.map(|n| decimal(n, "discounts.percentage")).transpose()?,
        amount_off: discount.amount.map(|amount| minor(amount, discount.currency_code.as_deref())),
        currency: discount.currency_code.map(|code| code.to_ascii_lowercase()),
        applies_to: discount.item_price_id.filter(|_| of_item).map(|id| vec![id]),
        id: discount.id.clone(),
        ..Coupon::default()
    };
    Ok(DiscountRef::Whole(Discount {
        id: Some(discount.id.clone()),
        coupon_id: Some(discount.id),
        coupon: Some(Box::new(coupon)),
        start: instant(discount.created_at),
        end: instant(discount.apply_till),
    }))
}

pub(super) fn facts(mut s: Object) -> Result<Extract, FactsError> {
    let currency = s.currency_code.as_ref().map(|code| code.to_ascii_lowercase());
    let there = s.subscription_items.is_some();
    let items = s.subscription_items.take().unwrap_or_default();
    let mut refs: Vec<RecordKey> =
        items.iter().map(|item| RecordKey::new("item_prices", item.item_price_id.as_str())).collect();
    refs.extend(s.coupons.iter().map(|coupon| RecordKey::new("coupons", coupon.coupon_id.as_str())));
    refs.sort_unstable();
    refs.dedup();
    let items = items.into_iter().map(|one| item(&s, one, currency.as_deref())).collect();
    let of_coupons = std::mem::take(&mut s.coupons).into_iter().map(|applied| {
        let id = format!("{}/{}", s.id, applied.coupon_id);
        Ok(DiscountRef::Whole(Discount {
            id: Some(id),
            coupon_id: Some(applied.coupon_id),
            coupon: None,
            start: None,
            end: instant(applied.apply_till),
        }))
    });
    let discounts: Result<Vec<DiscountRef>, FactsError> =
        of_coupons.chain(std::mem::take(&mut s.discounts).into_iter().map(manual)).collect();
    let ending = s.status == "non_renewing";
    let is_due = s.due_invoices_count.is_some_and(|n| n > 0) || s.due_since.is_some();
    let state = match status(&s.status) {
        SubscriptionStatus::Active if is_due => SubscriptionStatus::PastDue,
        other => other,
    };
    let agreed = schedule(&s);
    let over = state == SubscriptionStatus::Canceled;
    // Before its end `cancelled_at` says when that will be, afterwards when it was.
    let end = instant(s.cancelled_at).or_else(|| instant(s.current_term_end));
    let fact = Subscription {
        account: Some(s.customer_id.clone()),
        status: state,
        currency,
        mode: None,
        test_clock: None,
        created: instant(s.created_at),
        trial_end: instant(s.trial_end),
        cancel_at_period_end: ending,
        cancel_at: end.filter(|_| ending),
        canceled_at: instant(s.cancel_schedule_created_at).or(end.filter(|_| over)),
        ended_at: end.filter(|_| over),
        pause: None,
        schedule: agreed.as_ref().map(|schedule| schedule.id.clone()),
        discounts: discounts?,
        tax_rates: Vec::new(),
        automatic_tax: false,
        items,
        items_incomplete: !there,
        id: s.id,
    };
    let mut facts = vec![Fact::Subscription(Box::new(fact))];
    facts.extend(agreed.map(Fact::SubscriptionSchedule));
    Ok(Extract { facts, refs, party: party(&s.customer_id) })
}
