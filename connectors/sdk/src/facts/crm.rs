//! Companies, people, agreements and what was said: what CRMs, signature and support tools know.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::Decimal;
use super::catalog::Period;
use crate::clock::Timestamp;

/// A company, as a CRM or a support tool knows it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Organization {
    /// The provider's id.
    pub id: String,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Web domains, without scheme, in lower case, the main one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<String>,
    /// What it does, in the provider's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub industry: Option<String>,
    /// How many people work there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub employees: Option<u64>,
    /// How far it has come as a customer, in the provider's word (`lead`, `customer`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_stage: Option<String>,
    /// Id of the person of our side who looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Ids of the organizations that were merged into this one: what was known of them is known of this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<String>,
    /// Whether the provider says that it is gone.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub deleted: bool,
    /// The provider's fields, by its own names, as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

impl Organization {
    /// The name of the property that holds the ids of another provider's objects that this one is linked to
    /// (`hubspot_deal_id`), separated by commas where there are several.
    #[must_use]
    pub fn link_property(provider: &str, kind: &str) -> String {
        let word = |text: &str| {
            text.trim()
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
                .collect::<String>()
        };
        format!("{}_{}_id", word(provider), word(kind))
    }
}

/// A person, as a CRM or a support tool knows them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Person {
    /// The provider's id.
    pub id: String,
    /// Display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// E-mail addresses, the main one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<String>,
    /// Ids of the organizations that they belong to, the main one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<String>,
    /// Whether they are of our side (the owner of accounts), not of a customer's.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub staff: bool,
    /// How far they have come as a customer, in the provider's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle_stage: Option<String>,
    /// Id of the person of our side who looks after them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Ids of the persons that were merged into this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<String>,
    /// What the settings take for further traits of the end user, by the traits' names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub traits: BTreeMap<String, String>,
    /// Whether the provider says that they are gone.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub deleted: bool,
    /// The provider's fields, by its own names, as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// How sure the provider is of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// A guess that nobody has looked at.
    Low,
    /// A guess that somebody has accepted.
    Accepted,
    /// Somebody wrote it.
    Stated,
}

/// A value with how sure the provider is of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated<T> {
    /// The value.
    pub value: T,
    /// How sure the provider is.
    pub confidence: Confidence,
}

/// Where an agreement stands. Only [`Self::Completed`] can bind anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContractStatus {
    /// Not complete, in a way that has no word of its own here.
    Open,
    /// It exists; nobody can write in it yet.
    Created,
    /// Being written.
    Draft,
    /// To be sent at a time to come.
    Scheduled,
    /// Waits for a yes from within the own house.
    WaitingApproval,
    /// The own house said yes.
    Approved,
    /// The own house said no.
    Rejected,
    /// On its way to the others.
    Sent,
    /// Read by one of the others.
    Viewed,
    /// The others propose changes.
    InReview,
    /// Signed, and waits for a payment.
    WaitingPayment,
    /// Everybody has done their part.
    Completed,
    /// Run out before it was complete.
    Expired,
    /// Refused by the others.
    Declined,
    /// Called off before it was complete.
    Void,
    /// It could not be made.
    Failed,
}

/// A signed (or unsigned) agreement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    /// The provider's id.
    pub id: String,
    /// Title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it stands.
    pub status: ContractStatus,
    /// The first signature. A document can be complete without one; it binds nobody.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub signed_at: Option<Timestamp>,
    /// When the last part was done.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub completed_at: Option<Timestamp>,
    /// First day of the agreement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<Stated<NaiveDate>>,
    /// Last day of the agreement. Never the expiry of a signing link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Stated<NaiveDate>>,
    /// How long it runs first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<Stated<Period>>,
    /// By how much it renews itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_term: Option<Stated<Period>>,
    /// Whether it renews itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_renews: Option<Stated<bool>>,
    /// What it is worth, in major units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Decimal>,
    /// ISO 4217 code in lower case of `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
}

/// A deal of a CRM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deal {
    /// The provider's id.
    pub id: String,
    /// Title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it was closed and won.
    pub won: bool,
    /// When it was closed.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub closed_at: Option<Timestamp>,
    /// What it is worth, in major units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Decimal>,
    /// ISO 4217 code in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// What was sold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<DealLine>,
}

/// One position of a deal.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DealLine {
    /// The provider's id.
    pub id: String,
    /// Title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// First day that it bills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<NaiveDate>,
    /// How long it was sold for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<Period>,
    /// How often it bills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Period>,
}

/// A call, meeting, mail or note.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Engagement {
    /// The provider's id.
    pub id: String,
    /// What it is, in the provider's word (`call`).
    pub kind: String,
    /// When it was.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub at: Option<Timestamp>,
    /// Subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Whether it came from the customer; `None` for what has no direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<bool>,
    /// Ids of the organizations that it was with, the main one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<String>,
    /// Ids of the persons that it was with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<String>,
    /// Id of the person of our side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What was said, where the connection is set to read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// Where a ticket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketStatus {
    /// Somebody has to do something.
    Open,
    /// Somebody is waited for.
    Pending,
    /// Done.
    Closed,
}

/// How urgent a ticket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketPriority {
    /// Can wait.
    Low,
    /// As usual.
    Normal,
    /// Soon.
    High,
    /// Now.
    Urgent,
}

/// A support ticket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// The provider's id.
    pub id: String,
    /// Subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where it stands.
    pub status: TicketStatus,
    /// How urgent it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<TicketPriority>,
    /// When it was made.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub created: Option<Timestamp>,
    /// When it was closed.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub closed: Option<Timestamp>,
    /// Ids of the organizations that it is about, the main one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<String>,
    /// Ids of the persons that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<String>,
    /// Id of the person of our side who works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// A conversation with a customer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Conversation {
    /// The provider's id.
    pub id: String,
    /// Subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// When it was.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "chrono::serde::ts_milliseconds_option"
    )]
    pub at: Option<Timestamp>,
    /// How it went, from -1 (bad) to 1 (good).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentiment: Option<Decimal>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_named_by_provider_and_kind() {
        for (provider, kind, name) in [
            ("hubspot", "deal", "hubspot_deal_id"),
            (" HubSpot ", "Line Item", "hubspot_line_item_id"),
            ("salesforce-oauth2", "opportunity", "salesforce_oauth2_opportunity_id"),
        ] {
            assert_eq!(Organization::link_property(provider, kind), name);
        }
    }

    #[test]
    fn statuses_are_stored_by_their_names() {
        for (status, text) in [
            (ContractStatus::Open, "\"open\""),
            (ContractStatus::Completed, "\"completed\""),
            (ContractStatus::Void, "\"void\""),
            (ContractStatus::WaitingApproval, "\"waiting_approval\""),
        ] {
            assert_eq!(serde_json::to_string(&status).unwrap(), text);
            assert_eq!(serde_json::from_str::<ContractStatus>(text).unwrap(), status);
        }
    }
}
