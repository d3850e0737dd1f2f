//! What an object means, in the vocabulary of `connector_sdk::facts`.
//!
//! | Chargebee | in the vocabulary |
//! | --- | --- |
//! | `future` | incomplete: it has not begun |
//! | `in_trial`, `active`, `paused` | trialing, active, paused |
//! | `active` with invoices that are due | past due |
//! | `non_renewing` | as active, and it ends at `cancelled_at`, else with its term |
//! | `cancelled`, `transferred` | canceled |
//!
//! Amounts are hundredths, but of currencies without a smaller coin ("Currencies"), times are Unix seconds
//! ("Subscriptions", "Invoices").

mod catalog;
mod invoice;
mod payment;
mod subscription;

use std::collections::BTreeMap;

use chrono::DateTime;
use connector_sdk::facts::{BillingAccount, Interval, Period};
use connector_sdk::{Extract, Fact, FactsError, Record, RecordKey, Timestamp};
use serde::Deserialize;
use serde_json::Value;

/// Version of this translation. A larger one makes stored facts stale: raise it with every change of meaning.
pub(crate) const FACTS_VERSION: u32 = 2;

/// Translates a record.
pub(crate) fn facts(record: &Record) -> Result<Extract, FactsError> {
    match record.key.stream.as_str() {
        "customers" => Ok(customer(&record.key, parse(record)?)),
        "item_prices" => Ok(catalog::item_price(parse(record)?)),
        "coupons" => catalog::coupon(parse(record)?),
        "subscriptions" => subscription::facts(parse(record)?),
        "invoices" => Ok(invoice::facts(parse(record)?)),
        "transactions" => payment::facts(parse(record)?),
        other => Err(FactsError::unknown_stream(other)),
    }
}

/// Reads the object; the error names the member and quotes nothing of it.
fn parse<'a, T: Deserialize<'a>>(record: &'a Record) -> Result<T, FactsError> {
    let mut json = serde_json::Deserializer::from_str(record.payload.get());
    serde_path_to_error::deserialize(&mut json)
        .map_err(|e| wrong(e.path().to_string(), "not what Chargebee's documents promise"))
}

fn wrong(path: impl Into<String>, message: &str) -> FactsError {
    FactsError { path: path.into(), message: message.to_owned() }
}

/// Currencies whose minor unit is a thousandth, which Chargebee writes in hundredths like all others.
const THOUSANDTHS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// An amount of Chargebee's in minor units.
fn minor(amount: i64, currency: Option<&str>) -> i64 {
    let thousandths =
        currency.is_some_and(|own| THOUSANDTHS.iter().any(|code| code.eq_ignore_ascii_case(own)));
    if thousandths { amount.saturating_mul(10) } else { amount }
}

fn instant(seconds: Option<i64>) -> Option<Timestamp> {
    DateTime::from_timestamp(seconds?, 0)
}

/// `1`, `month`; `None` for what is not known, so that the amount a month is reported as missing.
fn period(count: Option<u32>, unit: Option<&str>) -> Option<Period> {
    let interval = match unit? {
        "day" => Interval::Day,
        "week" => Interval::Week,
        "month" => Interval::Month,
        "year" => Interval::Year,
        _ => return None,
    };
    Some(Period { interval, count: count.filter(|n| *n > 0)? })
}

fn party(customer: &str) -> Option<RecordKey> {
    Some(RecordKey::new("customers", customer))
}

#[derive(Deserialize)]
struct Customer {
    id: String,
    first_name: Option<String>,
    last_name: Option<String>,
    company: Option<String>,
    email: Option<String>,
    preferred_currency_code: Option<String>,
    created_at: Option<i64>,
    #[serde(default, alias = "metadata")]
    meta_data: Option<BTreeMap<String, Value>>,
    /// Among them the site's own fields, `cf_…`.
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// A text, number or truth as text; nothing else can name a company.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        _ => None,
    }
}

fn customer(key: &RecordKey, customer: Customer) -> Extract {
    let person = [customer.first_name, customer.last_name].into_iter().flatten();
    let person = person.filter(|name| !name.trim().is_empty()).collect::<Vec<_>>().join(" ");
    let company = customer.company.filter(|name| !name.trim().is_empty());
    // `cf_company_id` is known as `company_id`, too: what a site calls its own fields always begins so.
    let own = customer.others.iter().filter_map(|(key, value)| Some((key.strip_prefix("cf_")?, value)));
    let mut metadata: BTreeMap<String, String> =
        own.filter_map(|(key, value)| Some((key.to_owned(), plain(value)?))).collect();
    let said = customer.meta_data.unwrap_or_default();
    metadata.extend(said.iter().filter_map(|(key, value)| Some((key.clone(), plain(value)?))));
    let fact = BillingAccount {
        id: customer.id,
        name: company.or(Some(person).filter(|name| !name.is_empty())),
        email: customer.email,
        currency: customer.preferred_currency_code.map(|code| code.to_ascii_lowercase()),
        delinquent: false,
        deleted: false,
        // The whole site is of one mode, which the connection knows.
        mode: None,
        created: instant(customer.created_at),
        discount: None,
        test_clock: None,
        metadata,
    };
    // A party is its own.
    Extract { facts: vec![Fact::BillingAccount(fact)], refs: Vec::new(), party: Some(key.clone()) }
}
