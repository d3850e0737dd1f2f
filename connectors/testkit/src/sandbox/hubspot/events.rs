//! Events, how they are signed, and batches of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector_sdk::signature::{hmac_sha256, sha256};
use serde_json::{Value, json};

use super::store::Kind;

/// One event, as it stands in the array of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct SandboxEvent {
    /// The type (`company.creation`).
    pub kind: String,
    /// The event.
    pub body: Value,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// How many events were in it.
    pub events: usize,
    /// The receiver's status; `None` when there was no answer.
    pub status: Option<u16>,
}

/// Most events in one delivery.
pub const BATCH: usize = 100;

/// The body of a delivery.
#[must_use]
pub fn batch(events: &[SandboxEvent]) -> String {
    Value::Array(events.iter().map(|e| e.body.clone()).collect()).to_string()
}

/// `X-HubSpot-Signature-v3` of a request sent at that time (milliseconds since 1970).
#[must_use]
pub fn sign_v3(secret: &str, method: &str, url: &str, body: &[u8], at: i64) -> String {
    let at = at.to_string();
    let parts = [method.as_bytes(), url.as_bytes(), body, at.as_bytes()];
    STANDARD.encode(hmac_sha256(secret.as_bytes(), &parts))
}

/// `X-HubSpot-Signature` of version `v2`.
#[must_use]
pub fn sign_v2(secret: &str, method: &str, url: &str, body: &[u8]) -> String {
    hex::encode(sha256(&[secret.as_bytes(), method.as_bytes(), url.as_bytes(), body]))
}

/// `X-HubSpot-Signature` of version `v1`.
#[must_use]
pub fn sign_v1(secret: &str, body: &[u8]) -> String {
    hex::encode(sha256(&[secret.as_bytes(), body]))
}

/// Events that wait to be posted, and what is in each.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) urls: Vec<String>,
    pub(super) waiting: Vec<SandboxEvent>,
    pub(super) late: Vec<SandboxEvent>,
    made: u64,
}

/// What all events of a portal have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portal {
    pub(super) id: u64,
    pub(super) app: u64,
}

impl Outbox {
    /// Adds an event of that type with these members of its own.
    pub(super) fn emit(&mut self, portal: Portal, kind: &str, at: i64, own: Value) {
        self.made += 1;
        let mut body = json!({
            "eventId": self.made, "subscriptionId": 1_000 + kind.len(), "portalId": portal.id, "appId": portal.app,
            "occurredAt": at, "subscriptionType": kind, "attemptNumber": 0, "changeSource": "CRM",
        });
        if let (Some(body), Value::Object(own)) = (body.as_object_mut(), own) {
            body.extend(own);
        }
        self.waiting.push(SandboxEvent { kind: kind.to_owned(), body });
    }

    /// Both directions of an association that was made or undone.
    pub(super) fn associated(
        &mut self,
        portal: Portal,
        at: i64,
        ends: [(Kind, u64); 2],
        primary: bool,
        removed: bool,
    ) {
        for (from, to) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let name = format!("{}_TO_{}", from.0.singular(), to.0.singular()).to_uppercase();
            let own = json!({
                "associationType": name, "fromObjectId": from.1, "toObjectId": to.1,
                "associationRemoved": removed, "isPrimaryAssociation": primary,
            });
            self.emit(portal, &format!("{}.associationChange", from.0.singular()), at, own);
        }
    }
}
