//! Documents: shapes, and what happens to them.

use std::collections::BTreeMap;

use connector_sdk::Timestamp;
use serde_json::{Value, json};

use super::{Refused, State, stamp};

/// Every status, by PandaDoc's number in the list's filter and in status changes.
pub(super) const STATUSES: [&str; 15] = [
    "document.draft",
    "document.sent",
    "document.completed",
    "document.uploaded",
    "document.error",
    "document.viewed",
    "document.waiting_approval",
    "document.approved",
    "document.rejected",
    "document.waiting_pay",
    "document.paid",
    "document.voided",
    "document.declined",
    "document.external_review",
    "document.scheduled",
];

/// What became of the extraction of a document's contract data.
#[derive(Debug, Clone, Default)]
pub(super) enum Extraction {
    #[default]
    NotStarted,
    Pending,
    Done(Value),
}

/// One document.
#[derive(Debug, Clone)]
pub(super) struct Document {
    /// As its details are answered.
    pub(super) details: Value,
    pub(super) deleted: bool,
    pub(super) extraction: Extraction,
}

impl Document {
    pub(super) fn text(&self, name: &str) -> &str {
        self.details[name].as_str().unwrap_or_default()
    }

    /// Being made, or never made: there are no details.
    pub(super) fn is_unmade(&self) -> bool {
        matches!(self.text("status"), "document.uploaded" | "document.error")
    }

    /// As a list and a read of the status answer it.
    pub(super) fn row(&self) -> Value {
        let d = &self.details;
        json!({
            "id": d["id"], "name": d["name"], "status": d["status"], "date_created": d["date_created"],
            "date_modified": d["date_modified"], "date_completed": d["date_completed"],
            "expiration_date": d["expiration_date"], "version": d["version"],
        })
    }
}

/// All of a workspace.
#[derive(Debug, Default)]
pub(super) struct Documents {
    all: BTreeMap<String, Document>,
}

impl Documents {
    pub(super) fn put(&mut self, details: Value) {
        let id = details["id"].as_str().unwrap_or_default().to_owned();
        self.all.insert(id, Document { details, deleted: false, extraction: Extraction::NotStarted });
    }

    /// Of those that are there.
    pub(super) fn find(&self, id: &str) -> Option<&Document> {
        self.all.get(id).filter(|document| !document.deleted)
    }

    pub(super) fn find_mut(&mut self, id: &str) -> Option<&mut Document> {
        self.all.get_mut(id).filter(|document| !document.deleted)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Document> {
        self.all.values()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.all.iter().filter(|(_, document)| !document.deleted).map(|(id, _)| id.clone()).collect()
    }
}

fn recipient(state: &mut State, of: &Value) -> Value {
    let role = of["role"].as_str().unwrap_or("Client").to_owned();
    json!({
        "id": state.id(), "first_name": of["first_name"].as_str().unwrap_or_default(),
        "last_name": of["last_name"].as_str().unwrap_or_default(), "email": of["email"], "phone": "",
        "recipient_type": "signer", "has_completed": false, "role": role, "roles": [role], "signing_order": null,
        "delivery_methods": {"sms": false, "email": true}, "redirect": {"is_enabled": false, "url": null},
        "contact_id": state.id(), "shared_link": "", "signature_date": null, "verification_settings": null,
        "type": "recipient",
    })
}

/// The details of a new draft, of the members that a creation may name.
pub(super) fn draft(state: &mut State, of: &Value, now: Timestamp) -> Value {
    let recipients: Vec<Value> =
        of["recipients"].as_array().into_iter().flatten().map(|r| recipient(state, r)).collect();
    let owner = json!({
        "id": "FA5QAu8UGA3oVDQZuPL75B", "email": "owner@sandbox.example", "first_name": "Panda",
        "last_name": "Owner", "avatar": null, "membership_id": "RyMNXBjBPRppw56TfYBrXi",
    });
    let or = |value: &Value, default: Value| if value.is_null() { default } else { value.clone() };
    let template = match of["template_uuid"].as_str() {
        Some(id) => json!({"id": id, "name": "Template"}),
        None => Value::Null,
    };
    json!({
        "id": state.id(), "name": or(&of["name"], json!("Document")), "folder_uuid": of["folder_uuid"],
        "date_created": stamp(now), "date_modified": stamp(now), "date_completed": null,
        "content_date_modified": stamp(now), "date_sent": null, "ref_number": "SANDB-OX000-00000-00000",
        "created_by": owner, "template": template, "expiration_date": null,
        "metadata": or(&of["metadata"], json!({})), "tokens": or(&of["tokens"], json!([])), "fields": [],
        "pricing": {}, "tables": [], "images": [], "texts": [], "tags": or(&of["tags"], json!([])),
        "status": "document.draft", "recipients": recipients, "sent_by": null,
        "grand_total": {"amount": "0", "currency": "USD"}, "version": "2", "linked_objects": [],
        "approval_execution": null, "lock": null,
    })
}

/// Stores a new document and sends the event that its making is over.
pub(super) fn create(state: &mut State, of: &Value, now: Timestamp) -> Value {
    let details = draft(state, of, now);
    state.documents.put(details.clone());
    super::hooks::emit(state, "document_state_changed", &details, now);
    details
}

pub(super) fn change(
    state: &mut State,
    id: &str,
    event: Option<&str>,
    now: Timestamp,
    change: impl FnOnce(&mut Value),
) -> Result<(), Refused> {
    let document = state.documents.find_mut(id).ok_or_else(Refused::missing)?;
    change(&mut document.details);
    if let Some(event) = event {
        document.details["date_modified"] = json!(stamp(now));
        let details = document.details.clone();
        super::hooks::emit(state, event, &details, now);
    }
    Ok(())
}

/// All sign.
pub(super) fn complete(state: &mut State, id: &str, now: Timestamp) -> Result<(), Refused> {
    change(state, id, Some("document_state_changed"), now, |details| {
        sign_all(details, now);
        details["status"] = json!("document.completed");
        details["date_completed"] = json!(stamp(now));
    })
}

pub(super) fn sign_all(details: &mut Value, now: Timestamp) {
    for recipient in details["recipients"].as_array_mut().into_iter().flatten() {
        recipient["has_completed"] = json!(true);
        recipient["signature_date"] = json!(stamp(now));
    }
}

/// A status set by hand; nobody signs by it.
pub(super) fn set_status(state: &mut State, id: &str, number: &Value, now: Timestamp) -> Result<(), Refused> {
    let index = number.as_u64().and_then(|n| usize::try_from(n).ok());
    let status =
        index.and_then(|n| STATUSES.get(n)).ok_or_else(|| Refused::invalid("status", "is not a status"))?;
    change(state, id, Some("document_state_changed"), now, |details| {
        details["status"] = json!(status);
        if matches!(*status, "document.completed" | "document.paid") && details["date_completed"].is_null() {
            details["date_completed"] = json!(stamp(now));
        }
        if *status == "document.sent" {
            details["date_sent"] = json!(stamp(now));
            details["expiration_date"] = json!(stamp(now + chrono::TimeDelta::days(60)));
        }
    })
}

pub(super) fn delete(state: &mut State, id: &str, now: Timestamp) -> Result<(), Refused> {
    let document = state.documents.find_mut(id).ok_or_else(Refused::missing)?;
    document.deleted = true;
    document.details["date_modified"] = json!(stamp(now));
    let details = document.details.clone();
    super::hooks::emit(state, "document_deleted", &details, now);
    Ok(())
}

pub(super) fn seed(state: &mut State, n: usize, now: Timestamp) {
    let total = i64::try_from(n).unwrap_or(i64::MAX);
    for k in 0..total {
        let at = now - chrono::TimeDelta::seconds(total - k) - chrono::TimeDelta::minutes(10);
        let of = json!({
            "name": format!("Order form {k}"),
            "recipients": [{"email": format!("signer{k}@company{k}.example"), "first_name": "Ada", "last_name": format!("B{k}")}],
            "metadata": {"company_id": format!("c-{k}")},
        });
        let mut details = draft(state, &of, at);
        sign_all(&mut details, at);
        details["status"] = json!("document.completed");
        details["date_completed"] = json!(stamp(at));
        details["linked_objects"] = json!([{
            "id": state.uuid(), "provider": "hubspot", "entity_type": "deal", "entity_id": (1_000 + k).to_string(), "children": [],
        }]);
        let id = details["id"].as_str().unwrap_or_default().to_owned();
        details["pricing"] = json!({
            "tables": [{"id": id, "name": "Prices", "total": "1200.00", "is_included_in_total": true, "currency": "USD", "items": []}],
            "quotes": [], "total": "1200.00",
        });
        state.documents.put(details);
    }
}
