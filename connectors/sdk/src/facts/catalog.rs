//! What is sold, and the rules about its price.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Decimal;
use crate::clock::Timestamp;
use crate::connector::Mode;

/// Something that is sold, or a rule about its price.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatalogItem {
    /// What a customer knows it as.
    Product(Product),
    /// An amount for an interval.
    Price(Box<Price>),
    /// A rule that takes something off.
    Coupon(Coupon),
    /// A use of a coupon, as an object of its own.
    Discount(Discount),
    /// A tax.
    TaxRate(TaxRate),
}

impl CatalogItem {
    /// The provider's id. A discount without one has an empty id.
    pub fn id(&self) -> &str {
        match self {
            Self::Product(x) => &x.id,
            Self::Price(x) => &x.id,
            Self::Coupon(x) => &x.id,
            Self::Discount(x) => x.id.as_deref().unwrap_or_default(),
            Self::TaxRate(x) => &x.id,
        }
    }
}

/// What a customer knows it as.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Product {
    /// The provider's id.
    pub id: String,
    /// The public name; `None` for a deleted product that kept only its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the provider says that it is gone.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub deleted: bool,
    /// Live or test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Provider metadata, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// A calendar unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    /// A day.
    Day,
    /// Seven days.
    Week,
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
}

/// A number of calendar units: how often something bills, or how long something runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Period {
    /// The unit.
    pub interval: Interval,
    /// How many of them; at least 1.
    pub count: u32,
}

impl Period {
    /// Whole months, for the units that are exactly that; `None` for weeks and days.
    pub fn months(self) -> Option<u32> {
        match self.interval {
            Interval::Year => self.count.checked_mul(12),
            Interval::Month => Some(self.count),
            Interval::Week | Interval::Day => None,
        }
    }
}

/// How the quantity of an item is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Usage {
    /// Agreed in advance.
    Licensed,
    /// Counted afterwards.
    Metered,
}

/// Whether a price bills again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceKind {
    /// Every interval.
    Recurring,
    /// Once.
    OneTime,
}

/// How an amount follows from the quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// Unit amount times quantity.
    PerUnit,
    /// By a table of tiers.
    Tiered,
}

/// How a table of tiers is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TiersMode {
    /// Every unit at its own tier.
    Graduated,
    /// All units at the tier that holds the quantity.
    Volume,
}

/// One row of a table of tiers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// The last unit of the tier; `None` without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<u64>,
    /// Minor units for each unit in the tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Decimal>,
    /// Minor units for reaching the tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flat: Option<Decimal>,
}

/// Which way a quantity is rounded after a division.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// To the next whole number.
    Up,
    /// To the whole number before.
    Down,
}

/// A price by the packet: the quantity is divided before it is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformQuantity {
    /// Units in a packet; at least 1.
    pub divide_by: u64,
    /// What an opened packet costs.
    pub round: Rounding,
}

/// Whether a price holds the tax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaxBehavior {
    /// Tax comes on top.
    Exclusive,
    /// Tax is inside.
    Inclusive,
    /// Nobody has said.
    Unspecified,
}

/// What a price costs in one currency, in minor units of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amounts {
    /// For one unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Decimal>,
    /// The table of tiers; `None` where the provider did not send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<Vec<Tier>>,
}

/// An amount for an interval.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Price {
    /// The provider's id.
    pub id: String,
    /// The product's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// ISO 4217 code in lower case of `amounts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// A name for people inside the seller's company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<String>,
    /// A name for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup_key: Option<String>,
    /// Whether it bills again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<PriceKind>,
    /// How often it bills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Period>,
    /// How the quantity is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// How the amount follows from the quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// How the tiers are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers_mode: Option<TiersMode>,
    /// What it costs in its own currency.
    #[serde(default)]
    pub amounts: Amounts,
    /// What it costs in other currencies; `None` where the provider did not send the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency_options: Option<BTreeMap<String, Amounts>>,
    /// A price by the packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<TransformQuantity>,
    /// Whether the amounts hold the tax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax: Option<TaxBehavior>,
    /// Live or test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// For how long a coupon works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CouponDuration {
    /// Every invoice.
    Forever,
    /// One invoice.
    Once,
    /// Every invoice for a number of months; `None` where the provider did not say how many.
    Repeating(Option<u32>),
}

/// A rule that takes something off.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Coupon {
    /// The provider's id.
    pub id: String,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For how long it works; `None` where only the id is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<CouponDuration>,
    /// Percent taken off (`25.5`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent_off: Option<Decimal>,
    /// Minor units taken off, in `currency`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_off: Option<i64>,
    /// ISO 4217 code in lower case of `amount_off`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Minor units taken off in other currencies; `None` where the provider did not send the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency_options: Option<BTreeMap<String, i64>>,
    /// The only products that it works on; `None` where the provider did not send a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applies_to: Option<Vec<String>>,
    /// Live or test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// A use of a coupon.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Discount {
    /// The provider's id, where the use has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The coupon's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupon_id: Option<String>,
    /// The coupon, where it came with the discount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupon: Option<Box<Coupon>>,
    /// The first instant at which it works.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub start: Option<Timestamp>,
    /// The first instant at which it works no more; `None` without end.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub end: Option<Timestamp>,
}

/// A discount on something: the whole of it, or only its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscountRef {
    /// Only the id came; the discount is found elsewhere, or missing.
    Id(String),
    /// The discount itself.
    Whole(Discount),
}

/// A tax.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TaxRate {
    /// The provider's id.
    pub id: String,
    /// Whether the price holds the tax.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub inclusive: bool,
    /// Percent (`19`).
    pub percentage: Decimal,
}
