//! The source that both sides read, the events about its objects, and who posts them.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use connector_sdk::{Clock as _, SystemClock};
use connector_testkit::sandbox::stripe::{API_VERSION, Kind, Options, StripeSandbox, sign};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::common::client::{Client, post};
use crate::common::process::{Part, command};

/// The part `--source CUSTOMERS`: a sandbox account. At `turn KIND N` it changes every object of that kind and
/// answers with all of them, at `calls` with how often each operation was called.
pub(crate) async fn source(customers: usize) {
    let sandbox = StripeSandbox::start(Options::default()).await.expect("the sandbox starts");
    sandbox.seed_customers(customers);
    println!("{}", sandbox.base_url());
    while let Some(line) = command().await {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words.as_slice() {
            ["turn", kind, turn] => {
                let kind = Kind::of_path(kind).expect("a kind");
                let changed = |id: &String| {
                    let mut object = sandbox.object(kind, id).expect("an object");
                    object["metadata"]["turn"] = (*turn).into();
                    // As text, like all objects in bulk, so that a read of it costs the source next to nothing.
                    sandbox.put_text(kind, object.to_string());
                    object
                };
                sandbox.ids(kind).iter().map(changed).collect()
            }
            _ => json!(sandbox.all_calls()),
        };
        println!("{answer}");
    }
}

/// The running source.
pub(crate) struct Source {
    part: Part,
    pub(crate) base_url: String,
    turns: u64,
    created: i64,
}

/// Events about every object of a kind as it is since this turn.
pub(crate) struct Turn {
    /// What `metadata.turn` says.
    pub(crate) number: u64,
    pub(crate) bodies: Arc<Vec<String>>,
}

impl Source {
    pub(crate) fn start(customers: usize) -> Self {
        let mut part = Part::start(&["--source", &customers.to_string()]);
        let base_url = part.line();
        Self { part, base_url, turns: 0, created: 0 }
    }

    /// How often an operation was called.
    pub(crate) fn calls(&mut self, operation: &str) -> u64 {
        let calls: Value = serde_json::from_str(&self.part.ask("calls")).expect("counts");
        calls[operation].as_u64().unwrap_or(0)
    }

    /// Changes every object of a kind, and makes the events about it.
    pub(crate) fn turn(&mut self, kind: Kind) -> Turn {
        self.turns += 1;
        let number = self.turns;
        let objects = self.part.ask(&format!("turn {} {number}", kind.path()));
        let objects: Vec<Value> = serde_json::from_str(&objects).expect("objects");
        // The peer passes over an event that is not younger than what it has, to the second.
        self.created = self.created.max(SystemClock.now().timestamp()) + 1;
        let event = |(n, object): (usize, Value)| {
            json!({
                "id": format!("evt_{number:08}{n:08}"), "object": "event", "api_version": API_VERSION,
                "created": self.created, "livemode": false, "pending_webhooks": 1, "type": event_type(kind),
                "request": { "id": null, "idempotency_key": null },
                "data": { "object": object, "previous_attributes": { "metadata": { "turn": null } } },
            })
            .to_string()
        };
        Turn { number, bodies: Arc::new(objects.into_iter().enumerate().map(event).collect()) }
    }
}

/// The type of the events about a kind.
fn event_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Subscriptions => "customer.subscription.updated",
        _ => "customer.updated",
    }
}

/// Posts each event once, so many at a time over keep-alive connections; seconds until the last answer. Every
/// answer must be 200.
pub(crate) async fn deliver(address: &str, path: &str, turn: &Turn, at_once: usize) -> f64 {
    let mut clients = Vec::with_capacity(at_once);
    for _ in 0..at_once {
        clients.push(Client::open(address).await);
    }
    let (secret, next) = (Options::default().webhook_secret, Arc::new(AtomicUsize::new(0)));
    let begun = Instant::now();
    let mut tasks = Vec::with_capacity(at_once);
    for mut client in clients {
        let (path, secret) = (path.to_owned(), secret.clone());
        let (next, bodies) = (Arc::clone(&next), Arc::clone(&turn.bodies));
        tasks.push(tokio::spawn(async move {
            while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                let signature = sign(&secret, body.as_bytes(), SystemClock.now().timestamp());
                let request = post(&path, &[("stripe-signature", &signature)], body.as_bytes());
                assert_eq!(client.call(&request).await, 200, "an answer");
            }
        }));
    }
    for task in tasks {
        task.await.expect("a connection's task");
    }
    begun.elapsed().as_secs_f64()
}

/// Writes a turn's deliveries, signed now, for the peer's function without HTTP.
pub(crate) fn write(file: &Path, turn: &Turn) {
    let (secret, now) = (Options::default().webhook_secret, SystemClock.now().timestamp());
    let mut lines = String::new();
    for body in turn.bodies.iter() {
        let line = json!({ "signature": sign(&secret, body.as_bytes(), now), "body": body });
        writeln!(lines, "{line}").expect("a text takes it");
    }
    std::fs::write(file, lines).expect("written");
}
