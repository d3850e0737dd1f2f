//! HubSpot's webhooks: signatures, and which objects an event names.
//!
//! An app has one address for all portals that installed it; a delivery holds up to a hundred events of any of them,
//! in no order. An event is a hint: it says which objects to read again. That holds for deletions, too, because an
//! object can be restored and the two events may come in the wrong order: reading it tells. Only a person who is to
//! be forgotten is gone for good, and is taken at the event's word.

use chrono::{DateTime, Utc};
use connector_sdk::signature::{
    digest_from_base64, digest_from_hex, sha256, unix_time, verify_hmac_sha256, verify_secret_sha256,
    within_tolerance_millis,
};
use connector_sdk::{Event, RawRequest, RecordKey, SignatureError, Timestamp, WebhookAddress, WebhookSource};
use http::HeaderMap;
use secrecy::SecretString;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::SignatureVersion;
use crate::object;
use crate::streams::{self, Reads};

const SIGNATURE_V3: &str = "x-hubspot-signature-v3";
const TIMESTAMP: &str = "x-hubspot-request-timestamp";
const SIGNATURE: &str = "x-hubspot-signature";
const VERSION: &str = "x-hubspot-signature-version";

/// A person's right to be forgotten.
const PRIVACY: &str = "contact.privacyDeletion";

/// The event types that change something here; what an app is subscribed to.
pub(crate) const EVENTS: &[&str] = &[
    "call.creation",
    "call.deletion",
    "call.propertyChange",
    "company.associationChange",
    "company.creation",
    "company.deletion",
    "company.merge",
    "company.propertyChange",
    "company.restore",
    "contact.associationChange",
    "contact.creation",
    "contact.deletion",
    "contact.merge",
    "contact.privacyDeletion",
    "contact.propertyChange",
    "contact.restore",
    "deal.associationChange",
    "deal.creation",
    "deal.deletion",
    "deal.merge",
    "deal.propertyChange",
    "deal.restore",
    "email.creation",
    "email.deletion",
    "email.propertyChange",
    "line_item.associationChange",
    "meeting.creation",
    "meeting.deletion",
    "meeting.propertyChange",
    "note.creation",
    "note.deletion",
    "note.propertyChange",
    "object.associationChange",
    "object.creation",
    "object.deletion",
    "object.merge",
    "object.propertyChange",
    "object.restore",
    "ticket.associationChange",
    "ticket.creation",
    "ticket.deletion",
    "ticket.merge",
    "ticket.propertyChange",
    "ticket.restore",
];

/// HubSpot's ids of object types, with the stream that holds them.
const TYPES: [(&str, &str); 8] = [
    ("0-1", "contacts"),
    ("0-2", "companies"),
    ("0-3", "deals"),
    ("0-5", "tickets"),
    ("0-46", "notes"),
    ("0-47", "meetings"),
    ("0-48", "calls"),
    ("0-49", "emails"),
];

/// The webhook side of the connector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Webhooks;

impl WebhookSource for Webhooks {
    fn verify(&self, secrets: &[SecretString], request: &RawRequest<'_>) -> Result<(), SignatureError> {
        verify(&[SignatureVersion::V3], secrets, request)
    }

    /// The ways of signing that the connection's settings name; version 3 alone where they are not readable.
    fn verify_with(
        &self,
        settings: &Value,
        secrets: &[SecretString],
        request: &RawRequest<'_>,
    ) -> Result<(), SignatureError> {
        let named = settings.get("webhook_signatures").cloned();
        let named = named.and_then(|names| serde_json::from_value::<Vec<SignatureVersion>>(names).ok());
        verify(named.as_deref().unwrap_or(&[SignatureVersion::V3]), secrets, request)
    }

    fn erases(&self, event: &Event) -> bool {
        event.kind == PRIVACY
    }

    /// An app has one address for all portals.
    fn address(&self) -> WebhookAddress {
        WebhookAddress::Organisation
    }

    fn bodies(&self, request: &RawRequest<'_>) -> Result<Vec<(String, Vec<u8>)>, String> {
        let not_json = |e: serde_json::Error| format!("not JSON (line {}, column {})", e.line(), e.column());
        let all: Vec<&RawValue> = serde_json::from_slice(request.body).map_err(not_json)?;
        let own = |text: &RawValue| {
            let event: Value = serde_json::from_str(text.get()).map_err(not_json)?;
            Ok(match read(&event) {
                Ok(read) => (read.id, format!("[{}]", text.get()).into_bytes()),
                Err(_) => (unreadable(&event).id, kept_of_unreadable(&event, text.get()).into_bytes()),
            })
        };
        all.into_iter().map(own).collect()
    }

    /// The ends of an association, too, that do not hold it.
    fn names(&self, body: &[u8]) -> Vec<RecordKey> {
        let Ok(Value::Array(all)) = serde_json::from_slice(body) else { return Vec::new() };
        let mut named = Named::default();
        for event in &all {
            named.collect(kind_of(event).unwrap_or_default(), event);
            let (from, to) = ends_of(event);
            for (stream, member) in [(from, "fromObjectId"), (to, "toObjectId")] {
                if let Some(stream) = stream {
                    named.touch(stream, number(event, member));
                }
            }
        }
        named.touches.into_iter().chain(named.tombstones).collect()
    }

    fn route(&self, request: &RawRequest<'_>) -> Result<Vec<Event>, String> {
        let body: Value = serde_json::from_slice(request.body)
            .map_err(|e| format!("not JSON (line {}, column {})", e.line(), e.column()))?;
        let Value::Array(all) = body else { return Err("not an array of events".to_owned()) };
        if all.is_empty() {
            return Err("an array without events".to_owned());
        }
        let mut first = None;
        let mut is_any = false;
        let mut events = Vec::with_capacity(all.len());
        for (n, event) in all.iter().enumerate() {
            match read(event) {
                Ok(read) => {
                    is_any = true;
                    events.push(read);
                }
                Err(error) => {
                    first.get_or_insert(format!("[{n}].{error}"));
                    events.push(unreadable(event));
                }
            }
        }
        // One that cannot be read holds no others up. Kept alone, it is refused with what is wrong with it.
        match first.filter(|_| !is_any) {
            Some(error) => Err(error),
            None => Ok(events),
        }
    }
}

/// The one value of a header; more than one is no way to sign.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, SignatureError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(SignatureError::Malformed("a header comes more than once"));
    }
    let text = value.to_str().map_err(|_| SignatureError::Malformed("not ASCII"))?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn verify(
    taken: &[SignatureVersion],
    secrets: &[SecretString],
    request: &RawRequest<'_>,
) -> Result<(), SignatureError> {
    let method = request.method.as_bytes();
    let v3 = header(request.headers, SIGNATURE_V3)?;
    if let Some(signature) = v3.filter(|_| taken.contains(&SignatureVersion::V3)) {
        let time = header(request.headers, TIMESTAMP)?.ok_or(SignatureError::Malformed("no timestamp"))?;
        let signed_at = unix_time(time).ok_or(SignatureError::Malformed("timestamp is not an integer"))?;
        let digest =
            digest_from_base64(signature).ok_or(SignatureError::Malformed("not base64 of a digest"))?;
        // HubSpot signs the address with some characters decoded, and says so of a few; others leave it as it is.
        let decoded = decoded(request.url);
        let mut verdict = Err(SignatureError::Mismatch);
        for url in [request.url, decoded.as_str()] {
            let parts = [method, url.as_bytes(), request.body, time.as_bytes()];
            let one = verify_hmac_sha256(secrets, &parts, &[digest]);
            if verdict.is_err() {
                verdict = one;
            }
        }
        verdict?;
        // The clock is judged only for a time that is proved to be HubSpot's. It is in milliseconds.
        return within_tolerance_millis(signed_at, request.received_at, request.tolerance);
    }
    // HubSpot sends the older signature beside the newer one; it is looked at only where a setting says so.
    let older = header(request.headers, SIGNATURE)?;
    let Some(signature) = older else {
        return Err(match v3 {
            Some(_) => SignatureError::Malformed("signed in version 3, which the settings do not take"),
            None => SignatureError::Missing,
        });
    };
    let version = match header(request.headers, VERSION)? {
        Some("v1") | None => SignatureVersion::V1,
        Some("v2") => SignatureVersion::V2,
        Some(_) => return Err(SignatureError::Malformed("unknown version")),
    };
    if !taken.contains(&version) {
        return Err(SignatureError::Malformed("signed in an older version, which the settings do not take"));
    }
    let digest =
        digest_from_hex(signature).ok_or(SignatureError::Malformed("not a digest in hexadecimal"))?;
    match version {
        SignatureVersion::V1 => verify_secret_sha256(secrets, &[request.body], &[digest]),
        _ => {
            let parts = [method, request.url.as_bytes(), request.body];
            verify_secret_sha256(secrets, &parts, &[digest])
        }
    }
}

/// The address with the characters decoded that HubSpot decodes before it signs
/// (developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation).
fn decoded(url: &str) -> String {
    const DECODED: [(&str, &str); 12] = [
        ("%3A", ":"),
        ("%2F", "/"),
        ("%3F", "?"),
        ("%40", "@"),
        ("%21", "!"),
        ("%24", "$"),
        ("%27", "'"),
        ("%28", "("),
        ("%29", ")"),
        ("%2A", "*"),
        ("%2C", ","),
        ("%3B", ";"),
    ];
    let mut out = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let code = rest.get(at..at + 3);
        let found = DECODED.iter().find(|(from, _)| code.is_some_and(|code| code.eq_ignore_ascii_case(from)));
        match found {
            Some((_, to)) => {
                out.push_str(to);
                rest = &rest[at + 3..];
            }
            None => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// A number, or digits.
fn number(event: &Value, name: &str) -> Option<u64> {
    match event.get(name)? {
        Value::Number(n) => n.as_u64(),
        Value::String(text) => object::id(text),
        _ => None,
    }
}

/// Milliseconds since 1970, or RFC 3339 as the first versions wrote it.
fn instant(value: Option<&Value>) -> Option<Timestamp> {
    match value? {
        Value::Number(n) => DateTime::from_timestamp_millis(n.as_i64()?),
        Value::String(text) => DateTime::parse_from_rfc3339(text).ok().map(|t| t.with_timezone(&Utc)),
        _ => None,
    }
}

/// The stream of objects whose one is called so (`company`, `COMPANY`).
fn stream_of(singular: &str) -> Option<&'static str> {
    let singular = singular.to_ascii_lowercase();
    streams::ALL.iter().find_map(|s| match &s.reads {
        Reads::Objects(object) if object.singular == singular => Some(s.spec.name),
        _ => None,
    })
}

/// The stream of an object type in an event that names it by HubSpot's id.
fn stream_of_type(event: &Value, member: &str) -> Option<&'static str> {
    let id = event.get(member)?.as_str()?;
    TYPES.iter().find(|(known, _)| *known == id).map(|(_, stream)| *stream)
}

/// Whether the records of that stream hold what they are associated with.
fn holds(stream: &str, with: Option<&str>) -> bool {
    let Some(Reads::Objects(object)) = streams::find(stream).ok().map(|(_, s)| &s.reads) else {
        return false;
    };
    // Of a deal the line items, too, which are no stream.
    with.is_none_or(|with| object.to.contains(&with)) && !object.to.is_empty()
}

/// The streams of the two ends of an association.
fn ends_of(event: &Value) -> (Option<&'static str>, Option<&'static str>) {
    let mut names = (None, None);
    let named = event.get("associationType").and_then(Value::as_str);
    if let Some((from, to)) = named.and_then(|name| name.split_once("_TO_")) {
        names = (stream_of(from), stream_of(to));
    }
    let from = names.0.or_else(|| stream_of_type(event, "fromObjectTypeId"));
    (from, names.1.or_else(|| stream_of_type(event, "toObjectTypeId")))
}

fn kind_of(event: &Value) -> Option<&str> {
    event.get("subscriptionType").or_else(|| event.get("eventType")).and_then(Value::as_str)
}

#[derive(Default)]
struct Named {
    touches: Vec<RecordKey>,
    tombstones: Vec<RecordKey>,
}

impl Named {
    fn touch(&mut self, stream: &str, id: Option<u64>) {
        if let Some(id) = id {
            let key = RecordKey::new(stream, id.to_string());
            if !self.touches.contains(&key) {
                self.touches.push(key);
            }
        }
    }

    /// Collects what an event of this type names; false for a type that means nothing here.
    fn collect(&mut self, kind: &str, event: &Value) -> bool {
        let Some((family, action)) = kind.split_once('.') else { return false };
        if kind == PRIVACY {
            let id = number(event, "objectId");
            self.tombstones.extend(id.map(|id| RecordKey::new("contacts", id.to_string())));
            return true;
        }
        if action == "associationChange" {
            self.ends(event);
            return family == "object" || family == "line_item" || stream_of(family).is_some();
        }
        let stream = match family {
            "object" => stream_of_type(event, "objectTypeId"),
            family => stream_of(family),
        };
        let Some(stream) = stream else { return false };
        match action {
            "creation" | "propertyChange" | "deletion" | "restore" => {
                self.touch(stream, number(event, "objectId"));
            }
            "merge" => {
                let merged = event.get("mergedObjectIds").and_then(Value::as_array);
                for id in merged.into_iter().flatten() {
                    let id = id.as_u64().or_else(|| id.as_str().and_then(object::id));
                    self.touch(stream, id);
                }
                for member in ["primaryObjectId", "newObjectId", "objectId"] {
                    self.touch(stream, number(event, member));
                }
            }
            _ => return false,
        }
        true
    }

    /// The ends of an association whose records hold it.
    fn ends(&mut self, event: &Value) {
        let (from, to) = ends_of(event);
        for (stream, with, member) in [(from, to, "fromObjectId"), (to, from, "toObjectId")] {
            if let Some(stream) = stream.filter(|stream| holds(stream, with)) {
                self.touch(stream, number(event, member));
            }
        }
    }
}

fn read(event: &Value) -> Result<Event, String> {
    let kind =
        kind_of(event).filter(|kind| !kind.is_empty()).ok_or("subscriptionType: missing or no text")?;
    let portal = number(event, "portalId").ok_or("portalId: missing or no number")?;
    // HubSpot's schemas do not demand an id; what the event says is told apart without one.
    let event_id = number(event, "eventId").map_or_else(|| digest(event), |id| id.to_string());
    let mut named = Named::default();
    let known = named.collect(kind, event);
    // HubSpot does not promise that its ids are unique; what an event is about, and when, tells it from others.
    let text = |member: &str| match event.get(member) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(n)) => n.to_string(),
        _ => String::new(),
    };
    let parts: Vec<String> =
        ["occurredAt", "objectId", "propertyName", "fromObjectId", "toObjectId", "associationType"]
            .into_iter()
            .map(text)
            .filter(|part| !part.is_empty())
            .collect();
    Ok(Event {
        id: format!("{portal}:{event_id}:{kind}:{}", parts.join(":")),
        kind: kind.to_owned(),
        account: Some(portal.to_string()),
        live: None,
        created: instant(event.get("occurredAt")),
        touches: named.touches,
        tombstones: named.tombstones,
        simulated: None,
        known,
    })
}

/// What tells one text of an event from others. It does not change from one attempt to the next.
fn digest(event: &Value) -> String {
    let mut event = event.clone();
    if let Value::Object(members) = &mut event {
        members.remove("attemptNumber");
    }
    let digest = sha256(&[event.to_string().as_bytes()]);
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// One of a batch that says too little to be acted on. Of no portal where it names none: then it is shown to whoever
/// signed the request.
fn unreadable(event: &Value) -> Event {
    Event {
        id: format!("unreadable:{}", digest(event)),
        kind: kind_of(event).filter(|kind| !kind.is_empty()).unwrap_or("unreadable").to_owned(),
        account: number(event, "portalId").map(|portal| portal.to_string()),
        live: None,
        created: instant(event.get("occurredAt")),
        touches: Vec::new(),
        tombstones: Vec::new(),
        simulated: None,
        known: false,
    }
}

/// The body that is kept of such an event. Without its portal it may be about anybody's, so nothing is kept of it but
/// what HubSpot calls it.
fn kept_of_unreadable(event: &Value, text: &str) -> String {
    if number(event, "portalId").is_some() {
        return format!("[{text}]");
    }
    let mut kept = serde_json::Map::new();
    if let Some(id) = number(event, "eventId") {
        kept.insert("eventId".to_owned(), id.into());
    }
    if let Some(kind) = kind_of(event) {
        kept.insert("subscriptionType".to_owned(), kind.into());
    }
    format!("[{}]", Value::Object(kept))
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
