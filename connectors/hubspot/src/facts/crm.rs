//! Companies, contacts, deals, tickets, engagements, owners.

use connector_sdk::FactsError;
use connector_sdk::facts::{
    Deal, DealLine, Engagement, Fact, Organization, Person, Ticket, TicketPriority, TicketStatus,
};
use serde::Deserialize;

use super::Out;
use super::shape::{Line, Object, date, domain, duration, frequency};
use crate::config::CONTACT_FIELDS;

const OWNER: &str = "hubspot_owner_id";
const MERGED: &str = "hs_merged_object_ids";
/// The support pipeline that every portal has, and what its stages mean: new, waiting on contact, waiting on us,
/// closed.
const SUPPORT_PIPELINE: &str = "0";

/// Each once, in the order in which they came.
fn once(all: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for one in all {
        if !out.contains(&one) {
            out.push(one);
        }
    }
    out
}

/// The person who looks after it, whose record is a dependency.
fn owner_of(object: &Object<'_>, out: &mut Out) -> Option<String> {
    let id = object.field("owner", OWNER)?;
    out.refer("owners", &id);
    Some(id)
}

/// Organizations and people, whose records are dependencies; the first organization is whose it is.
fn links_of(object: &Object<'_>, out: &mut Out) -> (Vec<String>, Vec<String>) {
    let (organizations, people) = (object.linked("companies"), object.linked("contacts"));
    out.belongs_to(organizations.first());
    organizations.iter().for_each(|id| out.refer("companies", id));
    people.iter().for_each(|id| out.refer("contacts", id));
    (organizations, people)
}

pub(super) fn company(c: Object<'_>, out: &mut Out) {
    out.belongs_to(Some(&c.id));
    let employees = c.property("employee_count", "numberofemployees");
    let domains = c.field("domain", "domain").into_iter().chain(c.parts("hs_additional_domains"));
    let fact = Organization {
        name: c.field("name", "name"),
        domains: once(domains.filter_map(|text| domain(&text))),
        industry: c.field("industry", "industry"),
        // `50`, `50.0`; a chosen property may hold anything.
        employees: c.decimal(employees).ok().flatten().and_then(|n| n.to_string().parse().ok()),
        lifecycle_stage: c.field("lifecycle_stage", "lifecyclestage"),
        owner: owner_of(&c, out),
        merged: c.parts(MERGED),
        deleted: c.archived,
        properties: c.all(),
        id: c.id,
    };
    out.facts.push(Fact::Organization(fact));
}

pub(super) fn contact(c: Object<'_>, out: &mut Out) {
    let mut organizations = c.linked("companies");
    // Where associations could not be read the contact itself says at least this.
    organizations.extend(c.field("associatedcompanyid", "associatedcompanyid"));
    let organizations = once(organizations);
    out.belongs_to(organizations.first());
    organizations.iter().for_each(|id| out.refer("companies", id));
    let parts = [c.get("firstname"), c.get("lastname")];
    let full: Vec<&str> = parts.into_iter().flatten().map(str::trim).filter(|p| !p.is_empty()).collect();
    let emails = c.field("email", "email").into_iter().chain(c.parts("hs_additional_emails"));
    let name = match c.property("name", "") {
        "" => Some(full.join(" ")).filter(|name| !name.is_empty()),
        property => c.get(property).map(str::to_owned),
    };
    let fact = Person {
        name,
        emails: once(emails.map(|email| email.to_lowercase())),
        organizations,
        staff: false,
        lifecycle_stage: c.field("lifecycle_stage", "lifecyclestage"),
        owner: owner_of(&c, out),
        merged: c.parts(MERGED),
        traits: c.further(&CONTACT_FIELDS),
        deleted: c.archived,
        properties: c.all(),
        id: c.id,
    };
    out.facts.push(Fact::Person(fact));
}

pub(super) fn deal(d: Object<'_>, out: &mut Out) -> Result<(), FactsError> {
    links_of(&d, out);
    if let Some(owner) = d.get(OWNER) {
        out.refer("owners", owner);
    }
    let won = d.is("hs_is_closed_won");
    let closed = won || d.is("hs_is_closed");
    let amount = d.property("amount", "amount");
    let fact = Deal {
        name: d.field("name", "dealname"),
        won,
        // Of an open deal it is only when somebody hopes to close it.
        closed_at: d.at("closedate").filter(|_| closed),
        amount: d.decimal(amount)?,
        currency: d.field("currency", "deal_currency_code").map(|code| code.to_lowercase()),
        lines: d.line_items.iter().map(line).collect(),
        id: d.id,
    };
    out.facts.push(Fact::Deal(Box::new(fact)));
    Ok(())
}

/// What a line item does not say, or not readably, stays unknown: a term is not guessed.
fn line(l: &Line<'_>) -> DealLine {
    DealLine {
        id: l.id.clone(),
        name: l.get("name").map(str::to_owned),
        start: l.get("hs_recurring_billing_start_date").and_then(date),
        term: l.get("hs_recurring_billing_period").and_then(duration),
        every: l.get("recurringbillingfrequency").and_then(frequency),
    }
}

pub(super) fn ticket(t: Object<'_>, out: &mut Out) {
    let (organizations, people) = links_of(&t, out);
    let owner = owner_of(&t, out);
    let closed = t.at("closed_date");
    let of_support = t.get("hs_pipeline") == Some(SUPPORT_PIPELINE);
    let stage = t.get("hs_pipeline_stage").filter(|_| of_support);
    let said = match (t.stage_status.as_deref(), t.get("hs_is_closed"), stage) {
        (Some("open"), ..) => Some(TicketStatus::Open),
        (Some("pending"), ..) => Some(TicketStatus::Pending),
        (Some("closed"), ..) | (None, Some("true"), _) | (None, None, Some("4")) => {
            Some(TicketStatus::Closed)
        }
        (_, _, Some("2")) => Some(TicketStatus::Pending),
        (_, Some("false"), _) => Some(TicketStatus::Open),
        _ => None,
    };
    let status = said.unwrap_or(if closed.is_some() { TicketStatus::Closed } else { TicketStatus::Open });
    let priority = t.field("priority", "hs_ticket_priority").and_then(|word| {
        Some(match word.to_ascii_uppercase().as_str() {
            "LOW" => TicketPriority::Low,
            "MEDIUM" | "NORMAL" => TicketPriority::Normal,
            "HIGH" => TicketPriority::High,
            "URGENT" => TicketPriority::Urgent,
            _ => return None,
        })
    });
    let fact = Ticket {
        title: t.field("title", "subject"),
        status,
        priority,
        created: t.created(),
        closed: closed.filter(|_| status == TicketStatus::Closed),
        organizations,
        people,
        owner,
        id: t.id,
    };
    out.facts.push(Fact::Ticket(fact));
}

/// Whether there was contact, as the outcome says that was noted or came from the telephone or the mail server. A
/// portal's own outcomes, and none, do not deny it; a meeting that is to come has none.
fn took_place(kind: &str, e: &Object<'_>) -> bool {
    // developers.hubspot.com/docs/api-reference/crm-calls-v3/guide, …/crm-meetings-v3/guide, …/crm-emails-v3/guide
    const NOT_HELD: [&str; 3] = ["CANCELED", "NO_SHOW", "RESCHEDULED"];
    const NOT_ANSWERED: [&str; 5] = ["BUSY", "CANCELED", "FAILED", "MISSED", "NO_ANSWER"];
    // The ids of HubSpot's own outcomes, the same in every portal: busy, no answer, wrong number. Who left a message
    // has said something.
    const NOBODY: [&str; 3] = [
        "9d9162e7-6cf3-4944-bf63-4dff82258764",
        "73a0d17f-1163-4015-bdd5-ec830791da20",
        "17b47fee-58de-441e-a44c-c6300d46f273",
    ];
    const NOT_DELIVERED: [&str; 2] = ["BOUNCED", "FAILED"];
    let is_one = |property: &str, of: &[&str]| {
        e.get(property).is_some_and(|value| of.iter().any(|one| one.eq_ignore_ascii_case(value.trim())))
    };
    match kind {
        "meeting" => !is_one("hs_meeting_outcome", &NOT_HELD),
        // What somebody noted comes before what the telephone said.
        "call" if e.get("hs_call_disposition").is_some() => !is_one("hs_call_disposition", &NOBODY),
        "call" => !is_one("hs_call_status", &NOT_ANSWERED),
        "email" => !is_one("hs_email_status", &NOT_DELIVERED),
        _ => true,
    }
}

pub(super) fn engagement(kind: &str, e: Object<'_>, out: &mut Out) {
    let (organizations, people) = links_of(&e, out);
    if !took_place(kind, &e) {
        return;
    }
    let (title, body) = match kind {
        "email" => ("hs_email_subject", "hs_email_text"),
        "call" => ("hs_call_title", "hs_call_body"),
        "meeting" => ("hs_meeting_title", "hs_meeting_body"),
        // A note has no title.
        _ => ("", "hs_note_body"),
    };
    let inbound = match (e.get("hs_email_direction"), e.get("hs_call_direction")) {
        (Some("INCOMING_EMAIL"), _) | (_, Some("INBOUND")) => Some(true),
        (Some("EMAIL" | "FORWARDED_EMAIL"), _) | (_, Some("OUTBOUND")) => Some(false),
        _ => None,
    };
    let fact = Engagement {
        kind: kind.to_owned(),
        at: e.at("hs_meeting_start_time").or_else(|| e.at("hs_timestamp")).or_else(|| e.created()),
        title: e.get(title).map(str::to_owned),
        inbound,
        organizations,
        people,
        owner: owner_of(&e, out),
        body: e.get(body).map(str::to_owned),
        id: e.id,
    };
    out.facts.push(Fact::Engagement(fact));
}

/// An owner, as HubSpot answers them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Owner {
    id: String,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    #[serde(default)]
    archived: bool,
}

pub(super) fn owner(o: Owner, out: &mut Out) {
    let parts = [o.first_name, o.last_name];
    let name: Vec<String> = parts.into_iter().flatten().filter(|part| !part.trim().is_empty()).collect();
    out.facts.push(Fact::Person(Person {
        name: Some(name.join(" ")).filter(|name| !name.is_empty()),
        emails: o.email.into_iter().filter(|email| email.contains('@')).collect(),
        staff: true,
        deleted: o.archived,
        id: o.id,
        ..Person::default()
    }));
}
