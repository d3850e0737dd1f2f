//! What an object means, in the vocabulary of `connector_sdk::facts`.

use std::collections::BTreeMap;

use chrono::DateTime;
use connector_sdk::facts::{
    Amounts, BillingAccount, CatalogItem, Decimal, Interval, Period, Price, PriceKind, Product, Scheme,
    Subscription, SubscriptionItem, SubscriptionStatus, Usage,
};
use connector_sdk::{Extract, Fact, FactsError, Mode, Record, RecordKey, Timestamp};
use serde::Deserialize;

/// Version of this translation. A larger one makes stored facts stale: raise it with every change of meaning.
pub(crate) const FACTS_VERSION: u32 = 1;

/// Translates a record.
pub(crate) fn facts(record: &Record) -> Result<Extract, FactsError> {
    match record.key.stream.as_str() {
        "accounts" => parse(record).map(|account| of_account(&record.key, account)),
        "subscriptions" => parse(record).map(of_subscription),
        other => Err(FactsError::unknown_stream(other)),
    }
}

/// Reads the object; the error names the member and quotes nothing of it.
fn parse<'a, T: Deserialize<'a>>(record: &'a Record) -> Result<T, FactsError> {
    let mut json = serde_json::Deserializer::from_str(record.payload.get());
    serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let message = "not what the provider's documents promise".to_owned();
        FactsError { path: e.path().to_string(), message }
    })
}

fn instant(seconds: Option<i64>) -> Option<Timestamp> {
    DateTime::from_timestamp(seconds?, 0)
}

fn mode(live: Option<bool>) -> Option<Mode> {
    live.map(|live| if live { Mode::Live } else { Mode::Test })
}

#[derive(Deserialize)]
struct AccountObject {
    id: String,
    name: Option<String>,
    email: Option<String>,
    currency: Option<String>,
    created: Option<i64>,
    live: Option<bool>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

fn of_account(key: &RecordKey, account: AccountObject) -> Extract {
    let fact = BillingAccount {
        id: account.id,
        name: account.name,
        email: account.email,
        currency: account.currency.map(|currency| currency.to_ascii_lowercase()),
        delinquent: false,
        deleted: false,
        mode: mode(account.live),
        created: instant(account.created),
        discount: None,
        test_clock: None,
        metadata: account.metadata,
    };
    // A party is its own.
    Extract { facts: vec![Fact::BillingAccount(fact)], refs: Vec::new(), party: Some(key.clone()) }
}

#[derive(Deserialize)]
struct SubscriptionObject {
    id: String,
    account: String,
    status: String,
    currency: String,
    created: Option<i64>,
    period_end: Option<i64>,
    #[serde(default)]
    cancel_at_period_end: bool,
    live: Option<bool>,
    plan: PlanObject,
    quantity: Option<u64>,
}

#[derive(Deserialize)]
struct PlanObject {
    id: String,
    name: Option<String>,
    /// Minor units of the subscription's currency, for one unit and one interval.
    amount: i64,
    interval: String,
}

fn of_subscription(s: SubscriptionObject) -> Extract {
    let interval = match s.plan.interval.as_str() {
        "day" => Some(Interval::Day),
        "week" => Some(Interval::Week),
        "month" => Some(Interval::Month),
        "year" => Some(Interval::Year),
        // What is not known stays unknown: the amount a month is then reported as missing.
        _ => None,
    };
    let currency = s.currency.to_ascii_lowercase();
    let price = Price {
        id: s.plan.id.clone(),
        product: Some(s.plan.id.clone()),
        currency: Some(currency.clone()),
        kind: Some(PriceKind::Recurring),
        every: interval.map(|interval| Period { interval, count: 1 }),
        usage: Some(Usage::Licensed),
        scheme: Some(Scheme::PerUnit),
        amounts: Amounts { unit: Some(Decimal::from(s.plan.amount)), tiers: None },
        mode: mode(s.live),
        ..Price::default()
    };
    let item = SubscriptionItem {
        id: s.id.clone(),
        price_id: Some(s.plan.id.clone()),
        price: Some(Box::new(price)),
        quantity: s.quantity,
        period_end: instant(s.period_end),
        ..SubscriptionItem::default()
    };
    let status = match s.status.as_str() {
        "active" => SubscriptionStatus::Active,
        "trialing" => SubscriptionStatus::Trialing,
        "past_due" => SubscriptionStatus::PastDue,
        "canceled" => SubscriptionStatus::Canceled,
        _ => SubscriptionStatus::Unknown,
    };
    let fact = Subscription {
        id: s.id,
        account: Some(s.account.clone()),
        status,
        currency: Some(currency),
        mode: mode(s.live),
        test_clock: None,
        created: instant(s.created),
        trial_end: None,
        cancel_at_period_end: s.cancel_at_period_end,
        cancel_at: None,
        canceled_at: None,
        ended_at: None,
        pause: None,
        schedule: None,
        discounts: Vec::new(),
        tax_rates: Vec::new(),
        automatic_tax: false,
        items: vec![item],
        items_incomplete: false,
    };
    let product = Product { id: s.plan.id, name: s.plan.name, mode: mode(s.live), ..Product::default() };
    Extract {
        facts: vec![Fact::Subscription(Box::new(fact)), Fact::CatalogItem(CatalogItem::Product(product))],
        refs: Vec::new(),
        party: Some(RecordKey::new("accounts", s.account)),
    }
}
