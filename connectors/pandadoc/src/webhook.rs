//! PandaDoc's webhooks: signatures, and which documents an event names.
//!
//! A body is an array of notifications; each names a document and holds most of it. It is a hint: the document is
//! read again. Only "deleted" is believed, because there is nothing left to read. A notification has no id of its
//! own in the body (the header `X-PandaDoc-Webhook-Event-Id` names the delivery and is not signed), so its own
//! text is its id: PandaDoc sends the same text when it tries again, and every change moves a time in it.

use connector_sdk::signature::{Digest, digest_from_hex, hmac_sha256, verify_hmac_sha256};
use connector_sdk::{Event, RawRequest, RecordKey, SignatureError, WebhookAddress, WebhookSource};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use serde_json::value::RawValue;
use url::Url;

use crate::DOCUMENTS;
use crate::cursor::instant;

/// The query parameter that holds the signature.
const PARAMETER: &str = "signature";
/// The query parameter that names the organisation.
const ORGANISATION: &str = "team";
/// What tells our ids of notifications from other digests of the same text.
const OF_EVENT: &[u8] = b"halo-sync pandadoc notification";

/// The event types that change a document; what a subscription at PandaDoc is made for.
pub(crate) const EVENTS: &[&str] = &[
    "document_completed_pdf_ready",
    "document_creation_failed",
    "document_deleted",
    "document_section_added",
    "document_state_changed",
    "document_updated",
    "quote_updated",
    "recipient_completed",
];
/// Names that are in use beside those of PandaDoc's own list.
const ALIASES: &[&str] =
    &["document_completed", "document_creation_completed", "document_sent", "document_viewed"];
/// What begins the types that are about no document.
const OTHERS: [&str; 2] = ["template_", "content_library_item_"];
const DELETED: &str = "document_deleted";

/// The webhook side of the connector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Webhooks;

/// The signature of a body, as PandaDoc puts it into the URL: for sandboxes and replays.
#[must_use]
pub fn sign(shared_key: &SecretString, body: &[u8]) -> String {
    hex::encode(hmac_sha256(shared_key.expose_secret().as_bytes(), &[body]))
}

/// The signature in a URL: absolute, or from its path on.
fn signature(url: &str) -> Result<Digest, SignatureError> {
    let unreadable = SignatureError::Malformed("the URL cannot be read");
    let url = match Url::parse(url) {
        Ok(url) => url,
        Err(_) => Url::parse("http://localhost").and_then(|base| base.join(url)).map_err(|_| unreadable)?,
    };
    let mut found = url.query_pairs().filter(|(name, _)| name == PARAMETER).map(|(_, value)| value);
    let text = found.next().filter(|text| !text.is_empty()).ok_or(SignatureError::Missing)?;
    if found.next().is_some() {
        return Err(SignatureError::Malformed("more than one signature"));
    }
    digest_from_hex(&text).ok_or(SignatureError::Malformed("the signature is no SHA-256 in lower-case hex"))
}

/// A notification as far as its routing goes.
struct Notification<'a> {
    text: &'a str,
    value: Value,
}

impl Notification<'_> {
    fn document(&self) -> Option<&str> {
        self.value.get("data")?.get("id")?.as_str().filter(|id| !id.is_empty())
    }

    fn event(self) -> Result<Event, String> {
        let kind = self.value.get("event").and_then(Value::as_str).filter(|kind| !kind.is_empty());
        let kind = kind.ok_or("event: missing or no text")?.to_owned();
        let data = self.value.get("data").ok_or("data: missing")?;
        let is_other = OTHERS.iter().any(|start| kind.starts_with(start));
        let document = self.document().filter(|_| !is_other);
        let listed = EVENTS.contains(&kind.as_str()) || ALIASES.contains(&kind.as_str());
        if listed && document.is_none() && !is_other {
            return Err("data.id: missing or no text".to_owned());
        }
        let key = document.map(|id| RecordKey::new(DOCUMENTS, id));
        let text = |name: &str| data.get(name).and_then(Value::as_str);
        let (touches, tombstones) = match key {
            Some(key) if kind == DELETED => (Vec::new(), vec![key]),
            Some(key) => (vec![key], Vec::new()),
            None => (Vec::new(), Vec::new()),
        };
        // A name that is not on any list and comes with a document's state changes a document all the same.
        let has_state = text("status").is_some_and(|status| status.starts_with("document."));
        // An event of a new name that names no document is kept, and its delivery not refused for it: PandaDoc switches a
        // subscription off whose deliveries are.
        let known = listed || is_other || (has_state && document.is_some());
        let workspace = data.get("workspace_id").or_else(|| self.value.get("workspace_id"));
        Ok(Event {
            id: hex::encode(hmac_sha256(OF_EVENT, &[self.text.as_bytes()])),
            account: workspace.and_then(Value::as_str).map(str::to_owned),
            // Sandbox and production keys act on the same documents, and no event tells which one did.
            live: None,
            created: text("action_date").or_else(|| text("date_modified")).and_then(instant),
            kind,
            touches,
            tombstones,
            simulated: None,
            known,
        })
    }
}

/// The notifications of a body: an array, or (in older subscriptions) a single one.
fn notifications(body: &[u8]) -> Result<Vec<Notification<'_>>, String> {
    let not_json = |e: serde_json::Error| format!("not JSON (line {}, column {})", e.line(), e.column());
    let whole: &RawValue = serde_json::from_slice(body).map_err(not_json)?;
    let texts: Vec<&RawValue> = match whole.get().trim_start().starts_with('[') {
        true => serde_json::from_str(whole.get()).map_err(not_json)?,
        false => vec![whole],
    };
    texts
        .into_iter()
        .map(|text| {
            let value: Value = serde_json::from_str(text.get()).map_err(not_json)?;
            match value.is_object() {
                true => Ok(Notification { text: text.get(), value }),
                false => Err("a notification is not an object".to_owned()),
            }
        })
        .collect()
}

/// The documents that a delivery named; none for one that cannot be read.
pub(crate) fn documents_in(body: &[u8]) -> Vec<String> {
    let all = notifications(body).unwrap_or_default();
    let of_documents = all.iter().filter(|one| {
        let kind = one.value.get("event").and_then(Value::as_str).unwrap_or_default();
        !OTHERS.iter().any(|start| kind.starts_with(start))
    });
    of_documents.filter_map(Notification::document).map(str::to_owned).collect()
}

impl WebhookSource for Webhooks {
    /// PandaDoc signs no time: how old a delivery is cannot be judged, and one that comes again is known by its id.
    fn verify(&self, secrets: &[SecretString], request: &RawRequest<'_>) -> Result<(), SignatureError> {
        let digest = signature(request.url)?;
        if request.body.is_empty() {
            return Err(SignatureError::Malformed("empty body"));
        }
        verify_hmac_sha256(secrets, &[request.body], &[digest])
    }

    fn address(&self) -> WebhookAddress {
        WebhookAddress::OrganisationQuery(ORGANISATION)
    }

    fn bodies(&self, request: &RawRequest<'_>) -> Result<Vec<(String, Vec<u8>)>, String> {
        let own = |one: Notification<'_>| {
            let body = format!("[{}]", one.text).into_bytes();
            Ok((one.event()?.id, body))
        };
        notifications(request.body)?.into_iter().map(own).collect()
    }

    fn route(&self, request: &RawRequest<'_>) -> Result<Vec<Event>, String> {
        let all = notifications(request.body)?;
        let several = all.len() > 1;
        let mut events: Vec<Event> = Vec::with_capacity(all.len());
        for (n, one) in all.into_iter().enumerate() {
            match one.event() {
                // The same notification twice in one body is one.
                Ok(event) if events.iter().any(|e| e.id == event.id) => {}
                Ok(event) => events.push(event),
                Err(why) if several => return Err(format!("[{n}].{why}")),
                Err(why) => return Err(why),
            }
        }
        Ok(events)
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
