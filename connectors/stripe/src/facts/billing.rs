//! Customers, subscriptions, schedules, invoices.

use connector_sdk::facts::{
    BillingAccount, EndBehavior, Fact, Invoice, InvoiceLine, InvoiceStatus, PauseBehavior, PauseCollection,
    Phase, ScheduleStatus, Subscription, SubscriptionItem, SubscriptionSchedule, SubscriptionStatus,
};
use connector_sdk::{FactsError, Timestamp};
use serde::Deserialize;
use serde::de::{self, Visitor};
use serde_json::value::RawValue;

use super::catalog::{
    DiscountShape, PlanShape, PriceShape, TaxRateShape, read_discounts, read_plan, read_price, read_tax_rates,
};
use super::shape::{Id, IdOr, List, Metadata, at, id, lower, mode};
use super::{Out, wrong};

#[derive(Deserialize)]
pub(super) struct CustomerShape {
    id: String,
    deleted: Option<bool>,
    name: Option<String>,
    email: Option<String>,
    currency: Option<String>,
    delinquent: Option<bool>,
    livemode: Option<bool>,
    created: Option<i64>,
    discount: Option<IdOr<DiscountShape>>,
    test_clock: Option<Id>,
    metadata: Option<Metadata>,
}

pub(super) fn customer(c: CustomerShape, out: &mut Out) -> Result<(), FactsError> {
    out.belongs_to(Some(&c.id));
    let discount = read_discounts(c.discount.map(|d| vec![d]), None, out).pop();
    out.facts.push(Fact::BillingAccount(BillingAccount {
        name: c.name,
        email: c.email,
        currency: lower(c.currency),
        delinquent: c.delinquent.unwrap_or(false),
        deleted: c.deleted.unwrap_or(false),
        mode: mode(c.livemode),
        created: at(c.created),
        discount,
        test_clock: id(c.test_clock),
        metadata: c.metadata.map(Metadata::into_text).unwrap_or_default(),
        id: c.id,
    }));
    Ok(())
}

/// `cancel_at`: an instant; requests of flexible billing also say `min_period_end` and `max_period_end`.
enum CancelAt {
    At(i64),
    FirstPeriodEnd,
    LastPeriodEnd,
}

impl<'de> Deserialize<'de> for CancelAt {
    fn deserialize<D: de::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = CancelAt;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("seconds, min_period_end or max_period_end")
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<CancelAt, E> {
                Ok(CancelAt::At(v))
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<CancelAt, E> {
                i64::try_from(v).map(CancelAt::At).map_err(|_| E::custom("seconds out of range"))
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<CancelAt, E> {
                match v {
                    "min_period_end" => Ok(CancelAt::FirstPeriodEnd),
                    "max_period_end" => Ok(CancelAt::LastPeriodEnd),
                    _ => Err(E::invalid_value(de::Unexpected::Other("other text"), &self)),
                }
            }
        }
        d.deserialize_any(V)
    }
}

#[derive(Deserialize)]
struct PauseShape {
    behavior: Option<String>,
    resumes_at: Option<i64>,
}

#[derive(Deserialize)]
struct AutomaticTaxShape {
    enabled: Option<bool>,
}

#[derive(Deserialize)]
struct ItemShape<'a> {
    id: Option<String>,
    deleted: Option<bool>,
    price: Option<IdOr<PriceShape>>,
    // Kept as text: beside a price it says nothing new, and most items have both.
    #[serde(borrow)]
    plan: Option<&'a RawValue>,
    quantity: Option<u64>,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
    discounts: Option<Vec<IdOr<DiscountShape>>>,
    tax_rates: Option<Vec<IdOr<TaxRateShape>>>,
}

#[derive(Deserialize)]
pub(super) struct SubscriptionShape<'a> {
    id: String,
    customer: Option<Id>,
    status: Option<String>,
    currency: Option<String>,
    livemode: Option<bool>,
    test_clock: Option<Id>,
    created: Option<i64>,
    start_date: Option<i64>,
    trial_end: Option<i64>,
    cancel_at_period_end: Option<bool>,
    cancel_at: Option<CancelAt>,
    canceled_at: Option<i64>,
    ended_at: Option<i64>,
    pause_collection: Option<PauseShape>,
    schedule: Option<IdOr<ScheduleShape>>,
    discount: Option<DiscountShape>,
    discounts: Option<Vec<IdOr<DiscountShape>>>,
    default_tax_rates: Option<Vec<IdOr<TaxRateShape>>>,
    automatic_tax: Option<AutomaticTaxShape>,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
    #[serde(borrow)]
    items: Option<List<ItemShape<'a>>>,
    // The oldest subscriptions have one plan and no items.
    #[serde(borrow)]
    plan: Option<&'a RawValue>,
    quantity: Option<u64>,
}

fn status(word: Option<&str>) -> SubscriptionStatus {
    match word {
        Some("active") => SubscriptionStatus::Active,
        Some("past_due") => SubscriptionStatus::PastDue,
        Some("trialing") => SubscriptionStatus::Trialing,
        Some("unpaid") => SubscriptionStatus::Unpaid,
        Some("paused") => SubscriptionStatus::Paused,
        Some("incomplete") => SubscriptionStatus::Incomplete,
        Some("canceled") => SubscriptionStatus::Canceled,
        Some("incomplete_expired") => SubscriptionStatus::IncompleteExpired,
        _ => SubscriptionStatus::Unknown,
    }
}

fn item(shape: ItemShape<'_>, path: &str, out: &mut Out) -> Result<SubscriptionItem, FactsError> {
    let (price_id, price) = match shape.price {
        Some(IdOr::Id(id)) => (Some(id), None),
        Some(IdOr::Object(p)) => {
            let price = read_price(p, &format!("{path}price."), out)?;
            (Some(price.id.clone()), Some(Box::new(price)))
        }
        None => match shape.plan.map(|raw| read_plan_text(raw, path)).transpose()? {
            Some(IdOr::Id(id)) => (Some(id), None),
            Some(IdOr::Object(p)) => {
                let price = read_plan(p, &format!("{path}plan."), out)?;
                (Some(price.id.clone()), Some(Box::new(price)))
            }
            None => (None, None),
        },
    };
    if let Some(id) = &price_id {
        // Even where the price came along: its tiers and currency options may not have.
        out.refer("prices", id);
    }
    Ok(SubscriptionItem {
        id: shape.id.unwrap_or_default(),
        price_id,
        price,
        quantity: shape.quantity,
        period_start: at(shape.current_period_start),
        period_end: at(shape.current_period_end),
        discounts: read_discounts(shape.discounts, None, out),
        tax_rates: read_tax_rates(shape.tax_rates, &format!("{path}tax_rates"), out)?,
    })
}

fn read_plan_text(raw: &RawValue, path: &str) -> Result<IdOr<PlanShape>, FactsError> {
    super::parse(raw.get()).map_err(|e| wrong(format!("{path}plan.{}", e.path), &e.message))
}

pub(super) fn subscription(s: SubscriptionShape<'_>, out: &mut Out) -> Result<(), FactsError> {
    let account = id(s.customer);
    out.belongs_to(account.as_deref());

    let mut items_incomplete = false;
    let mut items = Vec::new();
    match s.items {
        Some(list) => {
            items_incomplete = list.has_more.unwrap_or(false) || list.data.is_none();
            for (i, shape) in list.data.unwrap_or_default().into_iter().enumerate() {
                if shape.deleted != Some(true) {
                    items.push(item(shape, &format!("items.data[{i}]."), out)?);
                }
            }
        }
        None => match s.plan {
            Some(plan) => {
                let only = ItemShape {
                    id: Some(s.id.clone()),
                    deleted: None,
                    price: None,
                    plan: Some(plan),
                    quantity: s.quantity,
                    current_period_start: None,
                    current_period_end: None,
                    discounts: None,
                    tax_rates: None,
                };
                items.push(item(only, "", out)?);
            }
            None => items_incomplete = true,
        },
    }
    for item in &mut items {
        // Before 2025-03-31 the period sat on the subscription.
        item.period_start = item.period_start.or(at(s.current_period_start));
        item.period_end = item.period_end.or(at(s.current_period_end));
    }

    let ends = || items.iter().filter_map(|i| i.period_end);
    let cancel_at: Option<Timestamp> = match s.cancel_at {
        Some(CancelAt::At(seconds)) => at(Some(seconds)),
        Some(CancelAt::FirstPeriodEnd) => ends().min(),
        Some(CancelAt::LastPeriodEnd) => ends().max(),
        None => None,
    };

    let schedule = match s.schedule {
        None => None,
        Some(IdOr::Id(id)) => {
            out.refer("subscription_schedules", &id);
            Some(id)
        }
        Some(IdOr::Object(shape)) => {
            let id = shape.id.clone();
            let fact = read_schedule(shape, "schedule.")?;
            out.facts.push(Fact::SubscriptionSchedule(fact));
            Some(id)
        }
    };

    let fact = Subscription {
        account,
        status: status(s.status.as_deref()),
        currency: lower(s.currency),
        mode: mode(s.livemode),
        test_clock: id(s.test_clock),
        created: at(s.created.or(s.start_date)),
        trial_end: at(s.trial_end),
        cancel_at_period_end: s.cancel_at_period_end.unwrap_or(false),
        cancel_at,
        canceled_at: at(s.canceled_at),
        ended_at: at(s.ended_at),
        pause: s.pause_collection.map(|p| PauseCollection {
            behavior: match p.behavior.as_deref() {
                Some("keep_as_draft") => PauseBehavior::KeepAsDraft,
                Some("mark_uncollectible") => PauseBehavior::MarkUncollectible,
                Some("void") => PauseBehavior::Void,
                _ => PauseBehavior::Unknown,
            },
            resumes_at: at(p.resumes_at),
        }),
        schedule,
        discounts: read_discounts(s.discounts, s.discount, out),
        tax_rates: read_tax_rates(s.default_tax_rates, "default_tax_rates", out)?,
        automatic_tax: s.automatic_tax.and_then(|t| t.enabled).unwrap_or(false),
        items,
        items_incomplete,
        id: s.id,
    };
    out.facts.insert(0, Fact::Subscription(Box::new(fact)));
    Ok(())
}

#[derive(Deserialize)]
struct PhaseShape {
    start_date: Option<i64>,
    end_date: Option<i64>,
}

#[derive(Deserialize)]
pub(super) struct ScheduleShape {
    id: String,
    customer: Option<Id>,
    subscription: Option<Id>,
    status: Option<String>,
    end_behavior: Option<String>,
    phases: Option<Vec<PhaseShape>>,
    livemode: Option<bool>,
}

fn read_schedule(s: ScheduleShape, path: &str) -> Result<SubscriptionSchedule, FactsError> {
    let mut phases = Vec::new();
    for (i, phase) in s.phases.unwrap_or_default().into_iter().enumerate() {
        let instant = |seconds, member: &str| {
            at(seconds)
                .ok_or_else(|| wrong(format!("{path}phases[{i}].{member}"), "expected seconds since 1970"))
        };
        phases.push(Phase {
            start: instant(phase.start_date, "start_date")?,
            end: instant(phase.end_date, "end_date")?,
        });
    }
    Ok(SubscriptionSchedule {
        id: s.id,
        subscription: id(s.subscription),
        status: match s.status.as_deref() {
            Some("not_started") => ScheduleStatus::NotStarted,
            Some("active") => ScheduleStatus::Active,
            Some("completed") => ScheduleStatus::Completed,
            Some("released") => ScheduleStatus::Released,
            Some("canceled") => ScheduleStatus::Canceled,
            _ => ScheduleStatus::Unknown,
        },
        end_behavior: match s.end_behavior.as_deref() {
            Some("cancel") => EndBehavior::Cancel,
            Some("release") => EndBehavior::Release,
            _ => EndBehavior::Other,
        },
        phases,
        mode: mode(s.livemode),
    })
}

pub(super) fn schedule(mut s: ScheduleShape, out: &mut Out) -> Result<(), FactsError> {
    let customer = id(s.customer.take());
    out.belongs_to(customer.as_deref());
    let fact = read_schedule(s, "")?;
    out.facts.push(Fact::SubscriptionSchedule(fact));
    Ok(())
}

#[derive(Deserialize)]
struct SubscriptionDetailsShape {
    subscription: Option<Id>,
}

#[derive(Deserialize)]
struct InvoiceParentShape {
    subscription_details: Option<SubscriptionDetailsShape>,
}

#[derive(Deserialize)]
struct TransitionsShape {
    paid_at: Option<i64>,
}

#[derive(Deserialize)]
struct LineDetailsShape {
    subscription_item: Option<Id>,
    proration: Option<bool>,
}

#[derive(Deserialize)]
struct LineParentShape {
    #[serde(rename = "type")]
    kind: Option<String>,
    subscription_item_details: Option<LineDetailsShape>,
    invoice_item_details: Option<LineDetailsShape>,
}

#[derive(Deserialize)]
struct LinePeriodShape {
    start: Option<i64>,
    end: Option<i64>,
}

#[derive(Deserialize)]
struct LineShape {
    id: Option<String>,
    amount: Option<i64>,
    proration: Option<bool>,
    subscription_item: Option<Id>,
    parent: Option<LineParentShape>,
    period: Option<LinePeriodShape>,
}

#[derive(Deserialize)]
pub(super) struct InvoiceShape {
    id: Option<String>,
    deleted: Option<bool>,
    customer: Option<Id>,
    subscription: Option<Id>,
    parent: Option<InvoiceParentShape>,
    status: Option<String>,
    paid: Option<bool>,
    billing_reason: Option<String>,
    currency: Option<String>,
    livemode: Option<bool>,
    test_clock: Option<Id>,
    created: Option<i64>,
    status_transitions: Option<TransitionsShape>,
    amount_due: Option<i64>,
    amount_paid: Option<i64>,
    amount_paid_off_stripe: Option<i64>,
    paid_out_of_band: Option<bool>,
    discount: Option<DiscountShape>,
    discounts: Option<Vec<IdOr<DiscountShape>>>,
    lines: Option<List<LineShape>>,
}

fn line(l: LineShape) -> InvoiceLine {
    let (item, proration) = match l.parent {
        None => (id(l.subscription_item), l.proration),
        Some(parent) => {
            // Both details may be there (fixtures): `type` says which one is meant.
            let details = match parent.kind.as_deref() {
                Some("invoice_item_details") => parent.invoice_item_details,
                _ => parent.subscription_item_details.or(parent.invoice_item_details),
            };
            match details {
                Some(d) => (id(d.subscription_item).or(id(l.subscription_item)), d.proration.or(l.proration)),
                None => (id(l.subscription_item), l.proration),
            }
        }
    };
    InvoiceLine {
        id: l.id.unwrap_or_default(),
        subscription_item: item,
        amount: l.amount.unwrap_or(0),
        proration: proration.unwrap_or(false),
        period_start: at(l.period.as_ref().and_then(|p| p.start)),
        period_end: at(l.period.as_ref().and_then(|p| p.end)),
    }
}

pub(super) fn invoice(i: InvoiceShape, out: &mut Out) -> Result<(), FactsError> {
    if i.deleted == Some(true) {
        return Ok(());
    }
    // An upcoming invoice is a preview without an id, never a record.
    let invoice_id = i.id.ok_or_else(|| wrong("id", "expected the invoice's id; a preview has none"))?;
    let account = id(i.customer);
    out.belongs_to(account.as_deref());
    let paid = i.status.as_deref() == Some("paid") || (i.status.is_none() && i.paid == Some(true));
    let paid_outside = match (i.amount_paid_off_stripe, i.paid_out_of_band) {
        (Some(amount), _) => Some(amount).filter(|a| *a != 0),
        (None, Some(true)) if paid => i.amount_paid.filter(|a| *a != 0).or(i.amount_due),
        _ => None,
    };
    let discounts = read_discounts(i.discounts, i.discount, out);
    // An invoice is no reason to load a discount or a coupon: it only lends those that it carries.
    out.refs.clear();
    let (lines, lines_incomplete) = match i.lines {
        Some(list) => {
            (list.data.unwrap_or_default().into_iter().map(line).collect(), list.has_more.unwrap_or(false))
        }
        None => (Vec::new(), true),
    };
    out.facts.push(Fact::Invoice(Box::new(Invoice {
        id: invoice_id,
        account,
        subscription: id(i.parent.and_then(|p| p.subscription_details).and_then(|d| d.subscription))
            .or(id(i.subscription)),
        status: match i.status.as_deref() {
            Some("draft") => InvoiceStatus::Draft,
            Some("open") => InvoiceStatus::Open,
            Some("paid") => InvoiceStatus::Paid,
            Some("uncollectible") => InvoiceStatus::Uncollectible,
            Some("void") => InvoiceStatus::Void,
            None if paid => InvoiceStatus::Paid,
            _ => InvoiceStatus::Unknown,
        },
        cycle: i.billing_reason.as_deref() == Some("subscription_cycle"),
        currency: lower(i.currency),
        mode: mode(i.livemode),
        test_clock: id(i.test_clock),
        created: at(i.created),
        paid_at: at(i.status_transitions.and_then(|t| t.paid_at)).or(if paid { at(i.created) } else { None }),
        paid_outside,
        discounts: discounts
            .into_iter()
            .filter(|d| matches!(d, connector_sdk::facts::DiscountRef::Whole(_)))
            .collect(),
        lines,
        lines_incomplete,
    })));
    Ok(())
}
