//! From HubSpot's objects to the shared vocabulary.

mod crm;
mod shape;

use connector_sdk::{Extract, Fact, FactsError, Record, RecordKey};
use serde::Deserialize;

/// Version of this translation. A larger one makes stored facts stale.
pub const FACTS_VERSION: u32 = 2;

/// What a record means. Pure: the text alone says it.
///
/// # Errors
///
/// [`FactsError`] with the path of the member that is not what HubSpot's documents promise, or with the path `stream`
/// for a stream that this connector does not have ([`FactsError::unknown_stream`]).
pub fn facts(record: &Record) -> Result<Extract, FactsError> {
    let text = record.payload.get();
    let mut out = Out::default();
    match record.key.stream.as_str() {
        "companies" => crm::company(parse(text)?, &mut out),
        "contacts" => crm::contact(parse(text)?, &mut out),
        "deals" => crm::deal(parse(text)?, &mut out)?,
        "tickets" => crm::ticket(parse(text)?, &mut out),
        "emails" => crm::engagement("email", parse(text)?, &mut out),
        "notes" => crm::engagement("note", parse(text)?, &mut out),
        "calls" => crm::engagement("call", parse(text)?, &mut out),
        "meetings" => crm::engagement("meeting", parse(text)?, &mut out),
        "owners" => crm::owner(parse(text)?, &mut out),
        // What properties are called: nothing about a customer.
        "properties" => {}
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

    /// Names the company that the record belongs to.
    fn belongs_to(&mut self, company: Option<&String>) {
        self.party = company.map(|id| RecordKey::new("companies", id.as_str()));
    }
}

/// Reads the text once; only a text that does not fit is read again, to name the member.
fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FactsError> {
    serde_json::from_str(text).or_else(|_| {
        let mut reader = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize(&mut reader).map_err(|e| FactsError {
            path: e.path().to_string(),
            message: without_values(&e.into_inner().to_string()),
        })
    })
}

/// Positions in a text that nobody sees help nobody, and quoted values may be somebody's data.
fn without_values(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    match (message.find('"'), message.rfind("\", ")) {
        (Some(from), Some(to)) if to > from => format!("{}…{}", &message[..from], &message[to + 1..]),
        _ => message.to_owned(),
    }
}

/// A [`FactsError`] about a property.
fn wrong(property: &str, message: &str) -> FactsError {
    FactsError { path: format!("properties.{property}"), message: message.to_owned() }
}

#[cfg(test)]
mod tests;
