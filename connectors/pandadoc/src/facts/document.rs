//! Status, signatures, people, links and value of a document.

use std::collections::BTreeMap;

use connector_sdk::facts::{Contract, ContractStatus, Decimal, Fact, Organization, Person};
use connector_sdk::{FactsError, Timestamp};
use serde_json::Value;

use super::said::Said;
use crate::cursor::instant;

/// What a PandaDoc status comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentStatus {
    /// In the shared vocabulary.
    pub status: ContractStatus,
    /// In the words of the integration's reference (`Signed`).
    pub word: &'static str,
}

/// Every status that PandaDoc names, and those that its webhooks add. One that is not known is open: neither
/// signed nor off.
#[must_use]
pub fn status_of(text: &str) -> DocumentStatus {
    use ContractStatus as S;
    let (status, word) = match text {
        "document.uploaded" => (S::Created, "Created"),
        "document.error" => (S::Failed, "Failed"),
        "document.draft" => (S::Draft, "Draft"),
        "document.scheduled" => (S::Scheduled, "Scheduled"),
        "document.waiting_approval" => (S::WaitingApproval, "Waiting for approval"),
        "document.approved" => (S::Approved, "Approved"),
        "document.rejected" => (S::Rejected, "Rejected"),
        "document.sent" => (S::Sent, "Sent"),
        "document.viewed" => (S::Viewed, "Viewed"),
        "document.external_review" => (S::InReview, "In review"),
        "document.waiting_pay" => (S::WaitingPayment, "Waiting for payment"),
        "document.completed" => (S::Completed, "Signed"),
        "document.paid" => (S::Completed, "Paid"),
        "document.expired" => (S::Expired, "Expired"),
        "document.declined" => (S::Declined, "Declined"),
        // PandaDoc voids a document whose signing link ran out, and one that somebody called off: it does not say.
        "document.voided" => (S::Void, "Voided"),
        "document.cancelled" | "document.canceled" => (S::Void, "Cancelled"),
        _ => (S::Open, "Open"),
    };
    DocumentStatus { status, word }
}

/// A text member that says something.
fn text<'a>(of: &'a Value, name: &str) -> Option<&'a str> {
    of.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

fn time(of: &Value, name: &str) -> Option<Timestamp> {
    instant(text(of, name)?)
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn wrong(path: &str, message: &str) -> FactsError {
    FactsError { path: path.to_owned(), message: message.to_owned() }
}

pub(super) fn document(id: &str, payload: &str) -> Result<Vec<Fact>, FactsError> {
    let doc: Value = serde_json::from_str(payload).map_err(|_| wrong(".", "not JSON"))?;
    if !doc.is_object() {
        return Err(wrong(".", "expected a document"));
    }
    let status = doc.get("status").and_then(Value::as_str);
    let status = status_of(status.ok_or_else(|| wrong("status", "expected a text"))?).status;
    let said = Said::of(&doc);
    let people = people(&doc);
    let (value, currency) = value(&doc);
    let contract = Contract {
        id: id.to_owned(),
        name: text(&doc, "name").map(str::to_owned),
        status,
        // A status can be forced: only a signature binds.
        signed_at: people.iter().filter_map(|person| person.signed_at).min(),
        completed_at: time(&doc, "date_completed"),
        effective: said.effective(),
        end: said.end(),
        term: said.term(),
        renewal_term: said.renewal_term(),
        auto_renews: said.auto_renews(),
        value,
        currency,
    };
    let mut facts = vec![Fact::Contract(Box::new(contract))];
    let properties = properties(&doc, &said);
    let has_company = !properties.is_empty();
    if has_company {
        facts.push(Fact::Organization(Organization {
            id: id.to_owned(),
            properties,
            ..Organization::default()
        }));
    }
    facts.extend(people.into_iter().filter_map(|person| person.fact(has_company.then_some(id))));
    Ok(facts)
}

/// One who signs, approves or gets a copy.
struct Recipient<'a> {
    of: &'a Value,
    /// The recipient itself, or the group that this is a member of.
    role: &'a Value,
    signed_at: Option<Timestamp>,
}

fn people(doc: &Value) -> Vec<Recipient<'_>> {
    let mut people = Vec::new();
    for recipient in list(doc, "recipients") {
        let members = list(recipient, "members");
        if members.is_empty() {
            people.push(Recipient {
                of: recipient,
                role: recipient,
                signed_at: time(recipient, "signature_date"),
            });
        }
        for member in members {
            people.push(Recipient { of: member, role: recipient, signed_at: time(member, "signature_date") });
        }
    }
    people
}

impl Recipient<'_> {
    /// Nothing for a place that nobody has been named for.
    fn fact(&self, organization: Option<&str>) -> Option<Fact> {
        let emails: Vec<String> = text(self.of, "email").map(str::to_owned).into_iter().collect();
        let names = ["first_name", "last_name"].map(|name| text(self.of, name));
        let name = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
        // The contact is the same person in every document, the recipient only in this one.
        let id = text(self.of, "contact_id").or_else(|| text(self.of, "id"))?;
        if emails.is_empty() && name.is_empty() {
            return None;
        }
        let mut properties = BTreeMap::new();
        for (key, value) in [
            ("recipient_type", text(self.role, "recipient_type")),
            ("role", text(self.role, "role")),
            ("signature_date", text(self.of, "signature_date")),
        ] {
            if let Some(value) = value {
                properties.insert(key.to_owned(), value.to_owned());
            }
        }
        Some(Fact::Person(Person {
            id: id.to_owned(),
            name: Some(name).filter(|name| !name.is_empty()),
            emails,
            organizations: organization.map(str::to_owned).into_iter().collect(),
            properties,
            ..Person::default()
        }))
    }
}

/// What the document says about the company behind it: its metadata, and the ids of what it is linked to
/// (`hubspot_deal_id`).
fn properties(doc: &Value, said: &Said<'_>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (key, value) in doc.get("metadata").and_then(Value::as_object).into_iter().flatten() {
        // PandaDoc's own remarks about the document.
        if key.starts_with("document__") || key.trim().is_empty() {
            continue;
        }
        let value = match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => continue,
        };
        if !value.is_empty() {
            out.insert(key.clone(), value);
        }
    }
    let mut links: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for link in list(doc, "linked_objects") {
        let Some(provider) = text(link, "provider") else { continue };
        for object in std::iter::once(link).chain(list(link, "children")) {
            if let (Some(kind), Some(id)) = (text(object, "entity_type"), text(object, "entity_id")) {
                let ids = links.entry(Organization::link_property(provider, kind)).or_default();
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        }
    }
    out.extend(links.into_iter().map(|(name, ids)| (name, ids.join(","))));
    if let Some(id) = said.company_id() {
        out.insert("company_id".to_owned(), id);
    }
    out
}

/// What the document is worth, in major units, and in which currency. Never `grand_total`: it is 0 on documents
/// whose price stands in a quote.
fn value(doc: &Value) -> (Option<Decimal>, Option<String>) {
    let Some(pricing) = doc.get("pricing").filter(|pricing| pricing.is_object()) else { return (None, None) };
    let included = |table: &&Value| table.get("is_included_in_total") != Some(&Value::Bool(false));
    let tables: Vec<&Value> = list(pricing, "tables").iter().filter(included).collect();
    let quotes: Vec<&Value> = list(pricing, "quotes").iter().collect();
    let mut currencies: Vec<String> = tables
        .iter()
        .chain(&quotes)
        .filter_map(|part| text(part, "currency"))
        .filter(|code| code.len() == 3 && code.bytes().all(|b| b.is_ascii_alphabetic()))
        .map(str::to_ascii_lowercase)
        .collect();
    currencies.sort_unstable();
    currencies.dedup();
    // Amounts of several currencies have no sum.
    if currencies.len() > 1 {
        return (None, None);
    }
    let amount = |of: &Value| match of.get("total")? {
        Value::String(text) => text.trim().parse::<Decimal>().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    };
    let total = amount(pricing).or_else(|| match (tables.as_slice(), quotes.as_slice()) {
        // Where the whole is not named, a single part is it.
        ([one], []) | ([], [one]) => amount(one),
        _ => None,
    });
    let currency = currencies.pop().filter(|_| total.is_some());
    (total, currency)
}
