//! Events and their delivery.

use std::collections::VecDeque;

use connector_sdk::signature::hmac_sha256;
use serde_json::{Value, json};

use super::API_VERSION;
use super::store::{Kind, Object, Store};
use crate::sandbox::chance::Chance;

/// Where events are posted.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The receiver.
    pub url: String,
    /// The secret that signs (`whsec_…`).
    pub secret: String,
}

/// One event, ready to be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxEvent {
    /// `evt_…`
    pub id: String,
    /// The type.
    pub kind: String,
    /// The id of the object that it holds.
    pub object: String,
    /// The body, byte for byte.
    pub body: String,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The event.
    pub id: String,
    /// The type.
    pub kind: String,
    /// The receiver's status; `None` when there was no answer.
    pub status: Option<u16>,
}

/// In which way waiting events are posted.
#[derive(Debug, Clone)]
pub struct Flush {
    /// The order.
    pub order: Order,
    /// How often each is posted.
    pub copies: u32,
    /// Every n-th event is lost; 0 loses none.
    pub lose_every: usize,
}

impl Default for Flush {
    fn default() -> Self {
        Self { order: Order::AsMade, copies: 1, lose_every: 0 }
    }
}

/// An order of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they were made.
    AsMade,
    /// Backwards.
    Backwards,
    /// Shuffled by that seed.
    Shuffled(u64),
}

/// Events that wait to be posted.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) waiting: VecDeque<SandboxEvent>,
    /// Events that a sending kept back.
    pub(super) late: Vec<SandboxEvent>,
}

/// Makes an event about an object as it is now.
pub(super) fn emit(
    store: &mut Store,
    outbox: &mut Outbox,
    kind: &str,
    object: Value,
    previous: Option<Value>,
    now: i64,
    live: bool,
) {
    let id = store.new_id("evt");
    let about = object["id"].as_str().unwrap_or_default().to_owned();
    let mut data = json!({ "object": object });
    if let Some(previous) = previous {
        data["previous_attributes"] = previous;
    }
    let event = json!({
        "id": id, "object": "event", "api_version": API_VERSION, "created": now, "data": data, "livemode": live,
        "pending_webhooks": outbox.endpoints.len(), "request": {"id": null, "idempotency_key": null}, "type": kind,
    });
    let body = event.to_string();
    store.of_mut(Kind::Events).put(Object::of_doc(event));
    outbox.waiting.push_back(SandboxEvent { id, kind: kind.to_owned(), object: about, body });
}

/// The signature header of a body sent at that second.
#[must_use]
pub fn sign(secret: &str, body: &[u8], at: i64) -> String {
    let t = at.to_string();
    let digest = hmac_sha256(secret.as_bytes(), &[t.as_bytes(), b".", body]);
    format!("t={t},v1={}", hex::encode(digest))
}

/// Puts events into the order of `flush`, doubled and thinned as it says.
pub(super) fn arrange(events: Vec<SandboxEvent>, flush: &Flush) -> Vec<SandboxEvent> {
    let mut out: Vec<SandboxEvent> = events
        .into_iter()
        .enumerate()
        .filter(|(n, _)| flush.lose_every == 0 || (n + 1) % flush.lose_every != 0)
        .flat_map(|(_, event)| std::iter::repeat_n(event, flush.copies as usize))
        .collect();
    match flush.order {
        Order::AsMade => {}
        Order::Backwards => out.reverse(),
        Order::Shuffled(seed) => {
            Chance::new(seed).shuffle(&mut out);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(n: usize) -> Vec<SandboxEvent> {
        (0..n)
            .map(|n| SandboxEvent {
                id: n.to_string(),
                kind: "x".into(),
                object: "o".into(),
                body: "{}".into(),
            })
            .collect()
    }

    fn order(flush: &Flush) -> Vec<String> {
        arrange(events(5), flush).into_iter().map(|e| e.id).collect()
    }

    #[test]
    fn flush_orders_doubles_and_loses() {
        assert_eq!(order(&Flush::default()), ["0", "1", "2", "3", "4"]);
        assert_eq!(order(&Flush { order: Order::Backwards, ..Flush::default() }), ["4", "3", "2", "1", "0"]);
        assert_eq!(order(&Flush { lose_every: 2, ..Flush::default() }), ["0", "2", "4"]);
        assert_eq!(order(&Flush { copies: 2, lose_every: 2, ..Flush::default() }).len(), 6);
        let shuffled = |seed| order(&Flush { order: Order::Shuffled(seed), ..Flush::default() });
        assert_eq!(shuffled(7), shuffled(7));
        assert!((0..20).map(shuffled).collect::<std::collections::BTreeSet<_>>().len() > 5);
    }
}
