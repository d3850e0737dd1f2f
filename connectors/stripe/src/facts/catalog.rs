//! Products, prices, plans, coupons, discounts, tax rates.

use std::collections::BTreeMap;

use connector_sdk::FactsError;
use connector_sdk::facts::{
    Amounts, CatalogItem, Coupon, CouponDuration, Discount, DiscountRef, Fact, Interval, Period, Price,
    PriceKind, Product, Rounding, Scheme, TaxBehavior, TaxRate, TaxRateRef, Tier, TiersMode,
    TransformQuantity, Usage,
};
use serde::Deserialize;
use serde::de::{self, Visitor};

use super::shape::{Exact, IdOr, Metadata, amount, at, lower, mode};
use super::{Out, wrong};

#[derive(Deserialize)]
pub(super) struct ProductShape {
    id: String,
    name: Option<String>,
    deleted: Option<bool>,
    livemode: Option<bool>,
    metadata: Option<Metadata>,
}

pub(super) fn product(p: ProductShape, out: &mut Out) {
    out.facts.push(Fact::CatalogItem(CatalogItem::Product(Product {
        id: p.id,
        name: p.name,
        deleted: p.deleted.unwrap_or(false),
        mode: mode(p.livemode),
        metadata: p.metadata.map(Metadata::into_text).unwrap_or_default(),
    })));
}

/// `up_to`: a number, `null` or (in requests and old answers) `"inf"`.
struct UpTo(Option<u64>);

impl<'de> Deserialize<'de> for UpTo {
    fn deserialize<D: de::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = UpTo;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of units, null or \"inf\"")
            }

            fn visit_unit<E: de::Error>(self) -> Result<UpTo, E> {
                Ok(UpTo(None))
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<UpTo, E> {
                Ok(UpTo(Some(v)))
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<UpTo, E> {
                match v {
                    "inf" => Ok(UpTo(None)),
                    _ => v
                        .parse()
                        .map(|n| UpTo(Some(n)))
                        .map_err(|_| E::invalid_value(de::Unexpected::Str(v), &self)),
                }
            }
        }
        d.deserialize_any(V)
    }
}

#[derive(Deserialize)]
struct TierShape {
    #[serde(default = "endless")]
    up_to: UpTo,
    // Like `up_to`, a text where a server keeps what it was sent: a form knows no numbers.
    unit_amount: Option<Exact>,
    unit_amount_decimal: Option<Exact>,
    amount: Option<Exact>,
    flat_amount: Option<Exact>,
    flat_amount_decimal: Option<Exact>,
}

fn endless() -> UpTo {
    UpTo(None)
}

fn tiers(shapes: Option<Vec<TierShape>>) -> Option<Vec<Tier>> {
    Some(
        shapes?
            .into_iter()
            .map(|t| Tier {
                up_to: t.up_to.0,
                unit: t.unit_amount_decimal.or(t.unit_amount).or(t.amount).map(|x| x.0),
                flat: t.flat_amount_decimal.or(t.flat_amount).map(|x| x.0),
            })
            .collect(),
    )
}

#[derive(Deserialize)]
struct OptionShape {
    unit_amount: Option<i64>,
    unit_amount_decimal: Option<Exact>,
    tiers: Option<Vec<TierShape>>,
}

#[derive(Deserialize)]
struct RecurringShape {
    interval: Option<String>,
    interval_count: Option<u32>,
    usage_type: Option<String>,
}

#[derive(Deserialize)]
struct TransformShape {
    divide_by: u64,
    round: String,
}

#[derive(Deserialize)]
pub(super) struct PriceShape {
    pub(super) id: String,
    deleted: Option<bool>,
    livemode: Option<bool>,
    product: Option<IdOr<ProductShape>>,
    currency: Option<String>,
    nickname: Option<String>,
    lookup_key: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    recurring: Option<RecurringShape>,
    billing_scheme: Option<String>,
    tiers_mode: Option<String>,
    tiers: Option<Vec<TierShape>>,
    unit_amount: Option<i64>,
    unit_amount_decimal: Option<Exact>,
    currency_options: Option<BTreeMap<String, OptionShape>>,
    transform_quantity: Option<TransformShape>,
    tax_behavior: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct PlanShape {
    pub(super) id: String,
    deleted: Option<bool>,
    livemode: Option<bool>,
    product: Option<IdOr<ProductShape>>,
    currency: Option<String>,
    nickname: Option<String>,
    /// Before 2018-02-05 a plan had a name and no product.
    name: Option<String>,
    interval: Option<String>,
    interval_count: Option<u32>,
    usage_type: Option<String>,
    billing_scheme: Option<String>,
    tiers_mode: Option<String>,
    tiers: Option<Vec<TierShape>>,
    amount: Option<i64>,
    amount_decimal: Option<Exact>,
    transform_usage: Option<TransformShape>,
}

fn period(path: &str, interval: &str, count: Option<u32>) -> Result<Period, FactsError> {
    let interval = match interval {
        "day" => Interval::Day,
        "week" => Interval::Week,
        "month" => Interval::Month,
        "year" => Interval::Year,
        _ => return Err(wrong(format!("{path}interval"), "expected day, week, month or year")),
    };
    match count.unwrap_or(1) {
        0 => Err(wrong(format!("{path}interval_count"), "expected at least 1, found 0")),
        count => Ok(Period { interval, count }),
    }
}

fn usage(word: Option<&str>, path: &str) -> Result<Usage, FactsError> {
    match word {
        None | Some("licensed") => Ok(Usage::Licensed),
        Some("metered") => Ok(Usage::Metered),
        Some(_) => Err(wrong(format!("{path}usage_type"), "expected licensed or metered")),
    }
}

fn scheme(word: Option<&str>, path: &str) -> Result<Option<Scheme>, FactsError> {
    match word {
        None => Ok(None),
        Some("per_unit") => Ok(Some(Scheme::PerUnit)),
        Some("tiered") => Ok(Some(Scheme::Tiered)),
        Some(_) => Err(wrong(format!("{path}billing_scheme"), "expected per_unit or tiered")),
    }
}

fn tiers_mode(word: Option<&str>, path: &str) -> Result<Option<TiersMode>, FactsError> {
    match word {
        None => Ok(None),
        Some("graduated") => Ok(Some(TiersMode::Graduated)),
        Some("volume") => Ok(Some(TiersMode::Volume)),
        Some(_) => Err(wrong(format!("{path}tiers_mode"), "expected graduated or volume")),
    }
}

fn transform(shape: Option<TransformShape>, path: &str) -> Result<Option<TransformQuantity>, FactsError> {
    let Some(t) = shape else { return Ok(None) };
    let round = match t.round.as_str() {
        "up" => Rounding::Up,
        "down" => Rounding::Down,
        _ => return Err(wrong(format!("{path}.round"), "expected up or down")),
    };
    match t.divide_by {
        0 => Err(wrong(format!("{path}.divide_by"), "expected at least 1, found 0")),
        divide_by => Ok(Some(TransformQuantity { divide_by, round })),
    }
}

/// The product's id; an expanded product is a fact of its own.
fn product_id(member: Option<IdOr<ProductShape>>, out: &mut Out) -> Option<String> {
    let id = match member? {
        IdOr::Id(id) => id,
        IdOr::Object(p) => {
            let id = p.id.clone();
            product(p, out);
            id
        }
    };
    out.refer("products", &id);
    Some(id)
}

/// A price object at `path` (empty for a record of its own, else ending in a dot).
pub(super) fn read_price(p: PriceShape, path: &str, out: &mut Out) -> Result<Price, FactsError> {
    let kind = match p.kind.as_deref() {
        Some("recurring") => Some(PriceKind::Recurring),
        Some("one_time") => Some(PriceKind::OneTime),
        _ => p.recurring.as_ref().map(|_| PriceKind::Recurring),
    };
    let inner = format_args!("{path}recurring.").to_string();
    let (every, usage) = match &p.recurring {
        Some(r) => (
            r.interval.as_deref().map(|i| period(&inner, i, r.interval_count)).transpose()?,
            Some(usage(r.usage_type.as_deref(), &inner)?),
        ),
        None => (None, None),
    };
    Ok(Price {
        product: product_id(p.product, out),
        currency: lower(p.currency),
        nickname: p.nickname,
        lookup_key: p.lookup_key,
        kind,
        every,
        usage,
        scheme: scheme(p.billing_scheme.as_deref(), path)?,
        tiers_mode: tiers_mode(p.tiers_mode.as_deref(), path)?,
        amounts: Amounts { unit: amount(p.unit_amount_decimal, p.unit_amount), tiers: tiers(p.tiers) },
        currency_options: p.currency_options.map(|options| {
            options
                .into_iter()
                .map(|(currency, o)| {
                    let amounts =
                        Amounts { unit: amount(o.unit_amount_decimal, o.unit_amount), tiers: tiers(o.tiers) };
                    (currency.to_ascii_lowercase(), amounts)
                })
                .collect()
        }),
        transform: transform(p.transform_quantity, &format!("{path}transform_quantity"))?,
        tax: match p.tax_behavior.as_deref() {
            Some("inclusive") => Some(TaxBehavior::Inclusive),
            Some("exclusive") => Some(TaxBehavior::Exclusive),
            Some("unspecified") => Some(TaxBehavior::Unspecified),
            _ => None,
        },
        mode: mode(p.livemode),
        id: p.id,
    })
}

/// A plan, the older form of a recurring price.
pub(super) fn read_plan(p: PlanShape, path: &str, out: &mut Out) -> Result<Price, FactsError> {
    Ok(Price {
        product: product_id(p.product, out),
        currency: lower(p.currency),
        nickname: p.nickname.or(p.name),
        lookup_key: None,
        kind: Some(PriceKind::Recurring),
        every: p.interval.as_deref().map(|i| period(path, i, p.interval_count)).transpose()?,
        usage: Some(usage(p.usage_type.as_deref(), path)?),
        scheme: scheme(p.billing_scheme.as_deref(), path)?,
        tiers_mode: tiers_mode(p.tiers_mode.as_deref(), path)?,
        amounts: Amounts { unit: amount(p.amount_decimal, p.amount), tiers: tiers(p.tiers) },
        currency_options: None,
        transform: transform(p.transform_usage, &format!("{path}transform_usage"))?,
        tax: None,
        mode: mode(p.livemode),
        id: p.id,
    })
}

pub(super) fn price(p: PriceShape, out: &mut Out) -> Result<(), FactsError> {
    if p.deleted == Some(true) {
        return Ok(());
    }
    let price = read_price(p, "", out)?;
    out.facts.push(Fact::CatalogItem(CatalogItem::Price(Box::new(price))));
    Ok(())
}

pub(super) fn plan(p: PlanShape, out: &mut Out) -> Result<(), FactsError> {
    if p.deleted == Some(true) {
        return Ok(());
    }
    let price = read_plan(p, "", out)?;
    out.facts.push(Fact::CatalogItem(CatalogItem::Price(Box::new(price))));
    Ok(())
}

#[derive(Deserialize)]
struct AppliesToShape {
    products: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct CouponOptionShape {
    amount_off: Option<i64>,
}

#[derive(Deserialize)]
pub(super) struct CouponShape {
    id: String,
    deleted: Option<bool>,
    livemode: Option<bool>,
    name: Option<String>,
    duration: Option<String>,
    duration_in_months: Option<u32>,
    percent_off: Option<Exact>,
    amount_off: Option<i64>,
    currency: Option<String>,
    currency_options: Option<BTreeMap<String, CouponOptionShape>>,
    applies_to: Option<AppliesToShape>,
}

fn read_coupon(c: CouponShape) -> Coupon {
    Coupon {
        id: c.id,
        name: c.name,
        duration: match c.duration.as_deref() {
            Some("forever") => Some(CouponDuration::Forever),
            Some("once") => Some(CouponDuration::Once),
            Some("repeating") => Some(CouponDuration::Repeating(c.duration_in_months)),
            _ => None,
        },
        percent_off: c.percent_off.map(|x| x.0),
        amount_off: c.amount_off,
        currency: lower(c.currency),
        currency_options: c.currency_options.map(|options| {
            options
                .into_iter()
                .filter_map(|(currency, o)| Some((currency.to_ascii_lowercase(), o.amount_off?)))
                .collect()
        }),
        applies_to: c.applies_to.and_then(|a| a.products),
        mode: mode(c.livemode),
    }
}

pub(super) fn coupon(c: CouponShape, out: &mut Out) {
    // A deleted coupon stops redemption only: running discounts carry its terms with them.
    if c.deleted != Some(true) {
        out.facts.push(Fact::CatalogItem(CatalogItem::Coupon(read_coupon(c))));
    }
}

#[derive(Deserialize)]
struct SourceShape {
    coupon: Option<IdOr<CouponShape>>,
}

#[derive(Deserialize)]
pub(super) struct DiscountShape {
    pub(super) id: Option<String>,
    deleted: Option<bool>,
    coupon: Option<IdOr<CouponShape>>,
    source: Option<SourceShape>,
    start: Option<i64>,
    end: Option<i64>,
    customer: Option<super::shape::Id>,
}

/// A discount object, or `None` where it says that it was taken away.
pub(super) fn read_discount(d: DiscountShape, out: &mut Out) -> Option<Discount> {
    if d.deleted == Some(true) {
        return None;
    }
    let (coupon_id, coupon) = match d.coupon.or(d.source.and_then(|s| s.coupon)) {
        Some(IdOr::Id(id)) => (Some(id), None),
        Some(IdOr::Object(c)) => (Some(c.id.clone()), Some(Box::new(read_coupon(c)))),
        None => (None, None),
    };
    if let Some(id) = &coupon_id {
        // Even where the coupon came along: `applies_to` and `currency_options` may not have.
        out.refer("coupons", id);
    }
    Some(Discount { id: d.id, coupon_id, coupon, start: at(d.start), end: at(d.end) })
}

/// The members `discounts` (ids or objects) and `discount` (one object, the older form) of one holder.
///
/// `discount` is one of `discounts` where both are there, so it only fills in for its bare id.
pub(super) fn read_discounts(
    many: Option<Vec<IdOr<DiscountShape>>>,
    one: Option<DiscountShape>,
    out: &mut Out,
) -> Vec<DiscountRef> {
    let mut one = one.and_then(|d| read_discount(d, out));
    let many = many.unwrap_or_default();
    if many.is_empty() {
        return one.map(DiscountRef::Whole).into_iter().collect();
    }
    let mut all = Vec::with_capacity(many.len());
    for member in many {
        match member {
            IdOr::Object(d) => all.extend(read_discount(d, out).map(DiscountRef::Whole)),
            IdOr::Id(id) => match one.take_if(|d| d.id.as_deref() == Some(&id)) {
                Some(d) => all.push(DiscountRef::Whole(d)),
                None => {
                    out.refer("discounts", &id);
                    all.push(DiscountRef::Id(id));
                }
            },
        }
    }
    all
}

pub(super) fn discount(d: DiscountShape, out: &mut Out) -> Result<(), FactsError> {
    if d.id.is_none() {
        return Err(wrong("id", "expected the discount's id"));
    }
    let customer = match &d.customer {
        Some(IdOr::Id(id)) => Some(id.clone()),
        Some(IdOr::Object(stub)) => Some(stub.id.clone()),
        None => None,
    };
    if let Some(discount) = read_discount(d, out) {
        out.facts.push(Fact::CatalogItem(CatalogItem::Discount(discount)));
    }
    out.belongs_to(customer.as_deref());
    Ok(())
}

#[derive(Deserialize)]
pub(super) struct TaxRateShape {
    id: String,
    inclusive: Option<bool>,
    percentage: Option<Exact>,
}

fn read_tax_rate(t: TaxRateShape, path: &str) -> Result<TaxRate, FactsError> {
    let percentage =
        t.percentage.ok_or_else(|| wrong(format!("{path}percentage"), "expected a percentage"))?.0;
    Ok(TaxRate { id: t.id, inclusive: t.inclusive.unwrap_or(false), percentage })
}

pub(super) fn read_tax_rates(
    members: Option<Vec<IdOr<TaxRateShape>>>,
    path: &str,
    out: &mut Out,
) -> Result<Vec<TaxRateRef>, FactsError> {
    let Some(members) = members else { return Ok(Vec::new()) };
    members
        .into_iter()
        .enumerate()
        .map(|(i, member)| match member {
            IdOr::Id(id) => {
                out.refer("tax_rates", &id);
                Ok(TaxRateRef::Id(id))
            }
            IdOr::Object(t) => Ok(TaxRateRef::Whole(read_tax_rate(t, &format!("{path}[{i}]."))?)),
        })
        .collect()
}

pub(super) fn tax_rate(t: TaxRateShape, out: &mut Out) -> Result<(), FactsError> {
    let rate = read_tax_rate(t, "")?;
    out.facts.push(Fact::CatalogItem(CatalogItem::TaxRate(rate)));
    Ok(())
}
