//! Stripe's objects in the shared vocabulary.
//!
//! The account's API versions decide how an object looks, not this connector: recorded objects, webhook
//! endpoints of another version and old fixtures all pass through here. So every shape since 2018 is
//! read: periods on the subscription or on its items, `plan` or `price`, `discount` or `discounts`, the coupon
//! inside or under `source`, an id where the object could be expanded. What is unknown is ignored, a null is
//! the same as nothing, and what was not sent stays `None`, so that a derivation can tell "zero" from "not
//! known".

mod billing;
mod catalog;
mod payment;
mod shape;

use connector_sdk::facts::Fact;
use connector_sdk::{Extract, FactsError, Record, RecordKey};
use serde::Deserialize;

/// Version of this translation. A larger one makes stored facts stale.
pub const FACTS_VERSION: u32 = 1;

/// Stream of the customers, the parties of this provider.
pub const CUSTOMERS: &str = "customers";

/// Translates one Stripe object. Pure. The stream says what the object is.
///
/// # Errors
///
/// [`FactsError`] with the path of the member that is not what Stripe's documents promise, or with the path
/// `stream` for a stream that holds nothing of the vocabulary ([`FactsError::unknown_stream`]).
pub fn facts(record: &Record) -> Result<Extract, FactsError> {
    let text = record.payload.get();
    let mut out = Out::default();
    match record.key.stream.as_str() {
        CUSTOMERS => billing::customer(parse(text)?, &mut out)?,
        "subscriptions" => billing::subscription(parse(text)?, &mut out)?,
        "subscription_schedules" => billing::schedule(parse(text)?, &mut out)?,
        "invoices" => billing::invoice(parse(text)?, &mut out)?,
        "products" => catalog::product(parse(text)?, &mut out),
        "prices" => catalog::price(parse(text)?, &mut out)?,
        "plans" => catalog::plan(parse(text)?, &mut out)?,
        "coupons" => catalog::coupon(parse(text)?, &mut out),
        "discounts" => catalog::discount(parse(text)?, &mut out)?,
        "tax_rates" => catalog::tax_rate(parse(text)?, &mut out)?,
        "charges" => payment::charge(parse(text)?, &mut out)?,
        "refunds" => payment::refund(parse(text)?, &mut out),
        "disputes" => payment::dispute(parse(text)?, &mut out),
        "balance_transactions" => payment::balance_transaction(parse(text)?, &mut out),
        other => return Err(FactsError::unknown_stream(other)),
    }
    let Out { facts, mut refs, party } = out;
    refs.sort_unstable();
    refs.dedup();
    Ok(Extract { facts, refs, party })
}

/// What a translation gathers.
#[derive(Default)]
struct Out {
    facts: Vec<Fact>,
    refs: Vec<RecordKey>,
    party: Option<RecordKey>,
}

impl Out {
    /// Names a record that the facts depend on.
    fn refer(&mut self, stream: &str, id: &str) {
        self.refs.push(RecordKey::new(stream, id));
    }

    /// Names the customer that the record belongs to.
    fn belongs_to(&mut self, customer: Option<&str>) {
        self.party = customer.map(|id| RecordKey::new(CUSTOMERS, id));
    }
}

/// Reads the text once; only a text that does not fit is read again, to name the member.
fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FactsError> {
    serde_json::from_str(text).or_else(|_| {
        let mut reader = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize(&mut reader).map_err(|e| FactsError {
            path: e.path().to_string(),
            message: without_position(&e.into_inner().to_string()),
        })
    })
}

/// Positions in a text that nobody sees help nobody, and quoted values may be somebody's data.
fn without_position(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    match (message.find('`'), message.find('"')) {
        // serde writes: invalid type: string "…", expected …
        (_, Some(from)) => match message.rfind("\", ") {
            Some(to) if to > from => format!("{}…{}", &message[..from], &message[to + 1..]),
            _ => message.to_owned(),
        },
        _ => message.to_owned(),
    }
}

/// A [`FactsError`] at a path.
fn wrong(path: impl Into<String>, message: &str) -> FactsError {
    FactsError { path: path.into(), message: message.to_owned() }
}

#[cfg(test)]
mod tests;
