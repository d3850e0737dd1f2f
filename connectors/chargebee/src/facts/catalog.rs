//! Item prices and coupons.

use connector_sdk::facts::{CatalogItem, Coupon, CouponDuration, Decimal, Price, PriceKind, Product, Usage};
use connector_sdk::{Extract, Fact, FactsError};
use serde::Deserialize;
use serde_json::Number;

use super::{minor, period, wrong};

#[derive(Deserialize)]
pub(super) struct ItemPrice {
    id: String,
    name: Option<String>,
    external_name: Option<String>,
    currency_code: Option<String>,
    period: Option<u32>,
    period_unit: Option<String>,
    item_type: Option<String>,
    #[serde(default)]
    metered: Option<bool>,
}

/// An item price is a price and, under the same id, what customers know it as: a subscription names nothing else.
pub(super) fn item_price(item: ItemPrice) -> Extract {
    let name = item.external_name.filter(|name| !name.is_empty()).or(item.name);
    let charge = item.item_type.as_deref() == Some("charge");
    let price = Price {
        id: item.id.clone(),
        product: Some(item.id.clone()),
        currency: item.currency_code.map(|code| code.to_ascii_lowercase()),
        kind: Some(if charge { PriceKind::OneTime } else { PriceKind::Recurring }),
        every: period(item.period, item.period_unit.as_deref()),
        usage: item.metered.map(|metered| if metered { Usage::Metered } else { Usage::Licensed }),
        ..Price::default()
    };
    let product = Product { id: item.id, name, ..Product::default() };
    let items = [CatalogItem::Price(Box::new(price)), CatalogItem::Product(product)];
    Extract { facts: items.map(Fact::CatalogItem).into(), refs: Vec::new(), party: None }
}

#[derive(Deserialize)]
pub(super) struct CouponObject {
    id: String,
    name: Option<String>,
    discount_percentage: Option<Number>,
    discount_amount: Option<i64>,
    currency_code: Option<String>,
    duration_type: Option<String>,
    period: Option<u32>,
    period_unit: Option<String>,
    apply_on: Option<String>,
    #[serde(default)]
    item_constraints: Vec<Constraint>,
}

#[derive(Deserialize)]
struct Constraint {
    constraint: Option<String>,
    #[serde(default)]
    item_price_ids: Option<Vec<String>>,
}

/// For how long something is taken off.
pub(super) fn duration(kind: Option<&str>, count: Option<u32>, unit: Option<&str>) -> Option<CouponDuration> {
    match kind? {
        "forever" => Some(CouponDuration::Forever),
        "one_time" => Some(CouponDuration::Once),
        // Weeks and days are no whole months; the end that a subscription states says it all the same.
        "limited_period" => Some(CouponDuration::Repeating(period(count, unit).and_then(|p| p.months()))),
        _ => None,
    }
}

/// A number as it is written: a binary float would not be it.
pub(super) fn decimal(number: &Number, path: &str) -> Result<Decimal, FactsError> {
    number.to_string().parse().map_err(|_| wrong(path, "no decimal number"))
}

pub(super) fn coupon(coupon: CouponObject) -> Result<Extract, FactsError> {
    let percent = coupon.discount_percentage.as_ref();
    let each = coupon.apply_on.as_deref() == Some("each_specified_item");
    // "All" and "criteria" name no prices; only a list of them is a limit that can be told here.
    let listed =
        coupon.item_constraints.iter().all(|c| matches!(c.constraint.as_deref(), Some("specific" | "none")));
    // "All" of one kind and none of another is a limit that names no prices: what it takes off is not known then.
    let all = coupon.item_constraints.iter().all(|c| c.constraint.as_deref() == Some("all"));
    let known = !each || listed || all;
    let amount = coupon.discount_amount.map(|amount| minor(amount, coupon.currency_code.as_deref()));
    let only = (each && listed && !coupon.item_constraints.is_empty()).then(|| {
        coupon.item_constraints.into_iter().flat_map(|c| c.item_price_ids.unwrap_or_default()).collect()
    });
    let fact = Coupon {
        duration: duration(coupon.duration_type.as_deref(), coupon.period, coupon.period_unit.as_deref()),
        percent_off: percent.filter(|_| known).map(|n| decimal(n, "discount_percentage")).transpose()?,
        amount_off: amount.filter(|_| known),
        currency: coupon.currency_code.map(|code| code.to_ascii_lowercase()),
        applies_to: only,
        id: coupon.id,
        name: coupon.name,
        ..Coupon::default()
    };
    let facts = vec![Fact::CatalogItem(CatalogItem::Coupon(fact))];
    Ok(Extract { facts, refs: Vec::new(), party: None })
}
