//! Webhook subscriptions, their events, and the log of what was sent.

use std::collections::VecDeque;

use connector_sdk::Timestamp;
use connector_sdk::signature::hmac_sha256;
use serde_json::{Value, json};

use super::{Inner, Refused, State, lock, stamp};

/// Every event type.
const TRIGGERS: [&str; 13] = [
    "recipient_completed",
    "document_updated",
    "document_deleted",
    "document_state_changed",
    "document_creation_failed",
    "document_completed_pdf_ready",
    "document_section_added",
    "quote_updated",
    "template_created",
    "template_updated",
    "template_deleted",
    "content_library_item_created",
    "content_library_item_creation_failed",
];
/// Subscriptions that a workspace may have.
const MOST: usize = 300;

/// One event, ready to be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxEvent {
    /// The type.
    pub kind: String,
    /// The document's id.
    pub document: String,
    /// Its notification, without the array around it.
    pub notification: String,
    /// When it happened.
    pub at: Timestamp,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The entry in the log.
    pub id: String,
    /// The type.
    pub kind: String,
    /// The receiver's status; `None` when there was no answer.
    pub status: Option<u16>,
}

/// The signature of a body, as it stands in the URL.
#[must_use]
pub fn sign(shared_key: &str, body: &[u8]) -> String {
    hex::encode(hmac_sha256(shared_key.as_bytes(), &[body]))
}

#[derive(Debug, Default)]
pub(super) struct Hooks {
    pub(super) subscriptions: Vec<Value>,
    pub(super) waiting: VecDeque<SandboxEvent>,
    pub(super) late: Vec<SandboxEvent>,
    /// Entries of the log, oldest first.
    pub(super) log: Vec<Value>,
}

impl Hooks {
    pub(super) fn find_mut(&mut self, id: &str) -> Option<&mut Value> {
        self.subscriptions.iter_mut().find(|subscription| subscription["uuid"] == id)
    }
}

/// Makes an event about a document as it is now.
pub(super) fn emit(state: &mut State, kind: &str, details: &Value, now: Timestamp) {
    let d = details;
    let data = json!({
        "id": d["id"], "name": d["name"], "date_created": d["date_created"], "date_modified": d["date_modified"],
        "expiration_date": d["expiration_date"], "autonumbering_sequence_name": null, "created_by": d["created_by"],
        "tags": d["tags"], "status": d["status"], "recipients": d["recipients"], "sent_by": d["sent_by"],
        "grand_total": d["grand_total"], "template": d["template"], "version": d["version"],
        "linked_objects": d["linked_objects"],
    });
    state.hooks.waiting.push_back(SandboxEvent {
        kind: kind.to_owned(),
        document: d["id"].as_str().unwrap_or_default().to_owned(),
        notification: json!({"event": kind, "data": data}).to_string(),
        at: now,
    });
}

pub(super) async fn deliver(
    inner: &Inner,
    client: &reqwest::Client,
    events: &[SandboxEvent],
) -> Vec<Delivered> {
    let Some(first) = events.first() else { return Vec::new() };
    let body =
        format!("[{}]", events.iter().map(|event| event.notification.as_str()).collect::<Vec<_>>().join(","));
    let takes = |subscription: &&Value| {
        let triggers = subscription["triggers"].as_array();
        subscription["status"] == "ACTIVE"
            && triggers.is_some_and(|all| all.iter().any(|trigger| trigger == first.kind.as_str()))
    };
    let receivers: Vec<Value> =
        lock(&inner.state).hooks.subscriptions.iter().filter(takes).cloned().collect();
    let mut out = Vec::new();
    for receiver in receivers {
        let text = |name: &str| receiver[name].as_str().unwrap_or_default();
        let signature = sign(text("shared_key"), body.as_bytes());
        let id = lock(&inner.state).uuid();
        let joint = if text("url").contains('?') { '&' } else { '?' };
        let sent = client
            .post(format!("{}{joint}signature={signature}", text("url")))
            .header("content-type", "application/json")
            .header("x-pandadoc-webhook-event-id", &id)
            .body(body.clone())
            .send()
            .await;
        let status = sent.as_ref().ok().map(|answer| answer.status().as_u16());
        let answered = match sent {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        let mut state = lock(&inner.state);
        let now = state.now(&*inner.options.clock);
        state.hooks.log.push(json!({
            "uuid": id, "name": receiver["name"], "type": first.kind,
            "error": if status.is_none() { json!("CONNECT_ERROR") } else { Value::Null },
            "http_status_code": status, "delivery_time": stamp(now), "url": receiver["url"], "signature": signature,
            "request_body": body, "response_body": answered, "response_headers": "[]", "event_time": stamp(first.at),
        }));
        // Once is enough.
        if status == Some(410)
            && let Some(subscription) = state.hooks.find_mut(text("uuid"))
        {
            subscription["status"] = json!("DEACTIVATED");
        }
        out.push(Delivered { id, kind: first.kind.clone(), status });
    }
    out
}

fn checked(body: &Value) -> Result<(), Refused> {
    if let Some(url) = body.get("url") {
        let url = url.as_str().unwrap_or_default();
        if !(url.starts_with("https://") || url.starts_with("http://")) {
            return Err(Refused::invalid("url", "Enter a valid URL."));
        }
    }
    if let Some(triggers) = body.get("triggers") {
        let known = |trigger: &Value| trigger.as_str().is_some_and(|t| TRIGGERS.contains(&t));
        if !triggers.as_array().is_some_and(|all| all.iter().all(known)) {
            return Err(Refused::invalid("triggers", "is not a valid choice."));
        }
    }
    Ok(())
}

/// `/public/v1/webhook-subscriptions` and below.
pub(super) fn subscriptions(
    state: &mut State,
    workspace: &str,
    method: &str,
    path: &[&str],
    body: &Value,
) -> Result<(u16, Option<Value>), Refused> {
    match (method, path) {
        ("GET", []) => Ok((200, Some(json!({ "items": state.hooks.subscriptions })))),
        ("POST", []) => {
            for name in ["name", "url", "triggers"] {
                if body.get(name).is_none() {
                    return Err(Refused::invalid(name, "This field is required."));
                }
            }
            checked(body)?;
            if state.hooks.subscriptions.len() >= MOST {
                return Err(Refused::invalid("url", "There are as many subscriptions as there may be."));
            }
            let active = body["active"].as_bool().unwrap_or(true);
            let made = json!({
                "uuid": state.uuid(), "name": body["name"], "url": body["url"], "active": active,
                "status": if active { "ACTIVE" } else { "INACTIVE" },
                "payload": body.get("payload").cloned().unwrap_or_else(|| json!([])), "triggers": body["triggers"],
                "shared_key": state.id(), "workspace_id": workspace,
            });
            state.hooks.subscriptions.push(made.clone());
            Ok((201, Some(made)))
        }
        ("GET", [id]) => Ok((200, Some(state.hooks.find_mut(id).ok_or_else(Refused::missing)?.clone()))),
        ("PATCH", [id]) => {
            checked(body)?;
            let subscription = state.hooks.find_mut(id).ok_or_else(Refused::missing)?;
            for (name, value) in body.as_object().into_iter().flatten() {
                subscription[name] = value.clone();
            }
            if let Some(active) = body["active"].as_bool() {
                subscription["status"] = json!(if active { "ACTIVE" } else { "INACTIVE" });
            }
            Ok((200, Some(subscription.clone())))
        }
        ("PATCH", [id, "shared-key"]) => {
            let key = state.id();
            state.hooks.find_mut(id).ok_or_else(Refused::missing)?["shared_key"] = json!(key);
            Ok((200, Some(json!({ "shared_key": key }))))
        }
        ("DELETE", [id]) => {
            state.hooks.find_mut(id).ok_or_else(Refused::missing)?;
            state.hooks.subscriptions.retain(|subscription| subscription["uuid"] != *id);
            Ok((204, None))
        }
        _ => Err(Refused::missing()),
    }
}

/// `/public/v1/webhook-events` and below: newest first, pages from 1 on.
pub(super) fn events(
    state: &State,
    path: &[&str],
    query: &[(String, String)],
) -> Result<(u16, Option<Value>), Refused> {
    if let [id] = path {
        let entry = state.hooks.log.iter().find(|entry| entry["uuid"] == *id).ok_or_else(Refused::missing)?;
        return Ok((200, Some(entry.clone())));
    }
    let all = |name: &str| {
        query.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let number = |name: &str| -> Result<usize, Refused> {
        let text = all(name).pop().ok_or_else(|| Refused::invalid(name, "This field is required."))?;
        text.parse().map_err(|_| Refused::invalid(name, "A valid integer is required."))
    };
    let (count, page) = (number("count")?, number("page")?.max(1));
    let within = |entry: &Value| {
        let at = entry["event_time"].as_str().unwrap_or_default();
        all("since").iter().all(|since| at >= since.as_str()) && all("to").iter().all(|to| at < to.as_str())
    };
    let asked = |entry: &Value| {
        let one_of = |name: &str, value: String| all(name).is_empty() || all(name).contains(&value);
        let class = entry["http_status_code"].as_u64().map(|status| status / 100 * 100);
        one_of("type", entry["type"].as_str().unwrap_or_default().to_owned())
            && one_of("error", entry["error"].as_str().unwrap_or_default().to_owned())
            && one_of("http_status_code", class.map(|class| class.to_string()).unwrap_or_default())
    };
    let items: Vec<Value> = state
        .hooks
        .log
        .iter()
        .rev()
        .filter(|entry| within(entry) && asked(entry))
        .skip((page - 1) * count)
        .take(count)
        .map(|entry| {
            json!({
                "uuid": entry["uuid"], "name": entry["name"], "type": entry["type"], "error": entry["error"],
                "http_status_code": entry["http_status_code"], "delivery_time": entry["delivery_time"],
            })
        })
        .collect();
    Ok((200, Some(json!({ "items": items }))))
}
