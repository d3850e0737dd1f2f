//! A small company's agreements, with the customers of the sandbox Stripe's demo, in the situations that matter.

use connector_sdk::Timestamp;
use serde_json::{Value, json};

use super::documents::{self, Extraction};
use super::{State, stamp};

/// One agreement: whose, how it stands, how long ago that was, and what more there is to it.
struct Agreement {
    company: &'static str,
    name: &'static str,
    status: &'static str,
    days_ago: i64,
    signed: bool,
    /// What was extracted: key, type, value, whether somebody accepted it.
    extracted: &'static [(&'static str, &'static str, &'static str, bool)],
    /// A deal of the sandbox HubSpot.
    deal: Option<&'static str>,
    price: Option<&'static str>,
}

const AGREEMENTS: [Agreement; 8] = [
    Agreement {
        company: "northwind",
        name: "Northwind Traders: order form",
        status: "document.completed",
        days_ago: 340,
        signed: true,
        extracted: &[("Initial term length", "duration", "12 months", true)],
        deal: None,
        price: Some("348.00"),
    },
    Agreement {
        company: "acme",
        name: "Acme Corp: master agreement",
        status: "document.completed",
        days_ago: 800,
        signed: true,
        extracted: &[
            ("Initial term length", "duration", "24 months", true),
            ("Renewal type", "single_line", "Auto-renewal", true),
            ("Renewal term length", "duration", "12 months", false),
        ],
        deal: Some("9001"),
        price: Some("5980.00"),
    },
    Agreement {
        company: "globex",
        name: "Globex: renewal",
        status: "document.viewed",
        days_ago: 6,
        signed: false,
        extracted: &[],
        deal: Some("9002"),
        price: Some("2990.00"),
    },
    Agreement {
        company: "initech",
        name: "Initech: upgrade",
        status: "document.declined",
        days_ago: 40,
        signed: false,
        extracted: &[],
        deal: None,
        price: None,
    },
    Agreement {
        company: "umbrella",
        name: "Umbrella: set to complete by hand",
        status: "document.completed",
        days_ago: 90,
        signed: false,
        extracted: &[("Initial term length", "duration", "36 months", false)],
        deal: None,
        price: None,
    },
    Agreement {
        company: "stark",
        name: "Stark: enterprise order",
        status: "document.paid",
        days_ago: 200,
        signed: true,
        extracted: &[("Initial term length", "duration", "1 year", false)],
        deal: Some("9003"),
        price: Some("21600.00"),
    },
    Agreement {
        company: "hooli",
        name: "Hooli: offer",
        status: "document.voided",
        days_ago: 120,
        signed: false,
        extracted: &[],
        deal: None,
        price: Some("990.00"),
    },
    Agreement {
        company: "wayne",
        name: "Wayne Foundation: draft",
        status: "document.draft",
        days_ago: 1,
        signed: false,
        extracted: &[],
        deal: None,
        price: None,
    },
];

/// Fills a workspace. Nothing is announced by webhook: it all happened before.
pub(super) fn seed(state: &mut State, now: Timestamp) {
    for agreement in &AGREEMENTS {
        let at = now - chrono::TimeDelta::days(agreement.days_ago);
        let company = agreement.company;
        let of = json!({
            "name": agreement.name, "metadata": {"company_id": company},
            "recipients": [{"email": format!("owner@{company}.example"), "first_name": "Robin", "last_name": "Vale", "role": "Client"}],
        });
        let mut details = documents::draft(state, &of, at);
        details["status"] = json!(agreement.status);
        if matches!(agreement.status, "document.completed" | "document.paid") {
            details["date_completed"] = json!(stamp(at));
        }
        if agreement.signed {
            documents::sign_all(&mut details, at);
        }
        if let Some(deal) = agreement.deal {
            details["linked_objects"] = json!([{
                "id": state.uuid(), "provider": "hubspot", "entity_type": "deal", "entity_id": deal, "children": [],
            }]);
        }
        if let Some(total) = agreement.price {
            details["pricing"] = json!({
                "tables": [{"id": state.id(), "name": "Prices", "total": total, "is_included_in_total": true, "currency": "USD", "items": []}],
                "quotes": [], "total": total,
            });
        }
        let id = details["id"].as_str().unwrap_or_default().to_owned();
        state.documents.put(details);
        extract(state, &id, agreement.extracted);
    }
}

/// What was extracted from a document: key, type, value, whether somebody accepted it.
fn extract(state: &mut State, id: &str, extracted: &[(&str, &str, &str, bool)]) {
    let fields: Vec<Value> = extracted
        .iter()
        .map(|(key, kind, value, accepted)| {
            let status = if *accepted { "accepted" } else { "pending" };
            json!({"id": state.id(), "key": key, "field_type": kind, "settings": {}, "value": {"value": value, "acceptance_status": status}})
        })
        .collect();
    if let Some(document) = state.documents.find_mut(id)
        && !fields.is_empty()
    {
        document.extraction = Extraction::Done(Value::from(fields));
    }
}

/// The company of the demo signs for two years more. Announced by webhook when it is signed: until then nobody outside
/// sees it.
pub(super) fn change(state: &mut State, now: Timestamp) -> String {
    let of = json!({
        "name": "Northwind Traders: renewal", "metadata": {"company_id": "northwind"},
        "recipients": [{"email": "owner@northwind.example", "first_name": "Robin", "last_name": "Vale", "role": "Client"}],
    });
    let details = documents::draft(state, &of, now);
    let id = details["id"].as_str().unwrap_or_default().to_owned();
    state.documents.put(details);
    extract(state, &id, &[("Initial term length", "duration", "24 months", true)]);
    // It is there: it was put there just now.
    let _ = documents::complete(state, &id, now);
    id
}
