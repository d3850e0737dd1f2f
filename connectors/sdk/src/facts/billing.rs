//! Who pays, for what, and the bills.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::catalog::{DiscountRef, Price, TaxRate};
use crate::clock::Timestamp;
use crate::connector::Mode;

/// Who pays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BillingAccount {
    /// The provider's id (`cus_123`).
    pub id: String,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Billing e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// ISO 4217 code in lower case, the account's own currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Whether the provider calls the account delinquent.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub delinquent: bool,
    /// Whether the provider says that it is gone. What it owned counts as ended.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub deleted: bool,
    /// Live or test. `None` where the provider did not say (a deleted account that kept only its id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// When it was made.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub created: Option<Timestamp>,
    /// A discount that every subscription without its own inherits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discount: Option<DiscountRef>,
    /// The simulated clock that it lives on, where it is a rehearsal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_clock: Option<String>,
    /// Provider metadata, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Where a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Running and paid.
    Active,
    /// Running, a payment failed and is retried.
    PastDue,
    /// Running, free until its end.
    Trialing,
    /// Running, retries are exhausted.
    Unpaid,
    /// Stopped, because a trial ended without a way to pay.
    Paused,
    /// Not begun: the first payment is open.
    Incomplete,
    /// Ended.
    Canceled,
    /// Never begun: the first payment failed for good.
    IncompleteExpired,
    /// A status that this translation does not know.
    Unknown,
}

/// What happens to the bills of a paused collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseBehavior {
    /// Kept, and collected later.
    KeepAsDraft,
    /// Given up as bad debt.
    MarkUncollectible,
    /// Thrown away.
    Void,
    /// A behaviour that this translation does not know.
    Unknown,
}

/// A pause of the collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseCollection {
    /// What happens to the bills.
    pub behavior: PauseBehavior,
    /// The first instant at which the pause is over; `None` until somebody ends it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub resumes_at: Option<Timestamp>,
}

/// A tax on something: the whole of it, or only its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaxRateRef {
    /// Only the id came; the rate is found elsewhere, or missing.
    Id(String),
    /// The rate itself.
    Whole(TaxRate),
}

/// A running or ended subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subscription {
    /// The provider's id.
    pub id: String,
    /// The billing account's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Where it stands.
    pub status: SubscriptionStatus,
    /// ISO 4217 code in lower case; `None` in old shapes, where the prices say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Live or test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The simulated clock that it lives on, where it is a rehearsal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_clock: Option<String>,
    /// When it was made.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub created: Option<Timestamp>,
    /// Where its last trial ends or ended.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub trial_end: Option<Timestamp>,
    /// Whether it ends with the running period.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub cancel_at_period_end: bool,
    /// The instant at which it will end.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub cancel_at: Option<Timestamp>,
    /// When somebody asked for its end.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub canceled_at: Option<Timestamp>,
    /// When it ended.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub ended_at: Option<Timestamp>,
    /// A pause of the collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseCollection>,
    /// The id of the schedule that governs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Discounts on the whole, in the order in which they apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<DiscountRef>,
    /// Taxes on items without their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tax_rates: Vec<TaxRateRef>,
    /// Whether the provider works out the tax itself, so that no rate is named.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub automatic_tax: bool,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<SubscriptionItem>,
    /// Whether there are items that did not come with it.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub items_incomplete: bool,
}

/// One position of a subscription.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SubscriptionItem {
    /// The provider's id.
    pub id: String,
    /// The price's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_id: Option<String>,
    /// The price, where it came with the item. May lack what the provider sends only with the price itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Box<Price>>,
    /// How many; `None` where the provider did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u64>,
    /// Start of the running period.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub period_start: Option<Timestamp>,
    /// End of the running period.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub period_end: Option<Timestamp>,
    /// Discounts on this position, in the order in which they apply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<DiscountRef>,
    /// Taxes on this position, instead of the subscription's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tax_rates: Vec<TaxRateRef>,
}

/// Where a schedule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleStatus {
    /// To begin later.
    NotStarted,
    /// Binding now.
    Active,
    /// Ran to its end.
    Completed,
    /// Let go of its subscription, which runs on.
    Released,
    /// Called off with its subscription.
    Canceled,
    /// A status that this translation does not know.
    Unknown,
}

/// What happens after the last phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndBehavior {
    /// The subscription ends.
    Cancel,
    /// The subscription runs on.
    Release,
    /// Something else.
    Other,
}

/// A stretch of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// Its first instant.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub start: Timestamp,
    /// The first instant after it.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub end: Timestamp,
}

/// What was agreed about a subscription's future.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionSchedule {
    /// The provider's id.
    pub id: String,
    /// The subscription's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Where it stands.
    pub status: ScheduleStatus,
    /// What happens after the last phase.
    pub end_behavior: EndBehavior,
    /// Its stretches, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// Live or test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// Where a bill stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    /// Not final.
    Draft,
    /// To be paid.
    Open,
    /// Paid.
    Paid,
    /// Given up as bad debt.
    Uncollectible,
    /// Thrown away.
    Void,
    /// A status that this translation does not know.
    Unknown,
}

/// A bill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Invoice {
    /// The provider's id.
    pub id: String,
    /// The billing account's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The subscription that it bills, where it bills one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// Where it stands.
    pub status: InvoiceStatus,
    /// Whether it bills the turn of a subscription's period.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub cycle: bool,
    /// ISO 4217 code in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Live or test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// The simulated clock that it lives on, where it is a rehearsal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_clock: Option<String>,
    /// When it was made.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub created: Option<Timestamp>,
    /// When it was paid.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub paid_at: Option<Timestamp>,
    /// Minor units that were paid outside the provider (a bank transfer, a cheque).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_outside: Option<i64>,
    /// Discounts that came with it; other records may know them only by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<DiscountRef>,
    /// What it bills.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<InvoiceLine>,
    /// Whether there are lines that did not come with it.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub lines_incomplete: bool,
}

/// One line of a bill.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct InvoiceLine {
    /// The provider's id.
    pub id: String,
    /// The subscription item that it bills, where it bills one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_item: Option<String>,
    /// Minor units in the invoice's currency, before discounts.
    pub amount: i64,
    /// Whether it settles a change inside a period.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub proration: bool,
    /// Start of the time that it bills.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub period_start: Option<Timestamp>,
    /// End of the time that it bills.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub period_end: Option<Timestamp>,
}
