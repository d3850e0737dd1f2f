//! W8, W9, W2: bodies that are no JSON, large ones at once, one event without end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use connector_sdk::{Clock as _, SystemClock};
use connector_testkit::sandbox::stripe::{Options, StripeSandbox, sign};
use futures_util::stream::{self, StreamExt as _};
use halo_sync::domain::connections::KeyClass;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::support::app::{App, on_both};
use crate::support::installation::Program;
use crate::support::program::run;
use crate::support::required;

/// Making the environment may have to download.
const SETUP: Duration = Duration::from_secs(300);

#[derive(Deserialize)]
struct Case {
    name: String,
    input: String,
}

/// The cases of the suite. `None` where nobody insists on them.
fn suite() -> Option<Vec<Case>> {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/json_suite/setup.sh");
    let file = run(Command::new("sh").arg(&setup), SETUP).map(|said| PathBuf::from(said.trim()));
    let text = file.and_then(|file| std::fs::read_to_string(file).map_err(|e| e.to_string()));
    match text {
        Ok(text) => {
            // A module with one array of JSON.
            let from = text.find('[').unwrap();
            let to = text.rfind(']').unwrap();
            Some(serde_json::from_str(&text[from..=to]).unwrap())
        }
        Err(why) => {
            assert!(!required("json-suite"), "json-suite is required and missing: {why}");
            eprintln!("skipped: no JSON test suite here: {why}");
            None
        }
    }
}

/// What the suite's own packaging cannot hold, and what it lacks.
fn more_cases() -> Vec<(String, Vec<u8>)> {
    let text = |name: &str, text: String| (name.to_owned(), text.into_bytes());
    let mut keys = String::from("{");
    for n in 0..60_000 {
        keys.push_str(&format!("\"key{n}\":{n},"));
    }
    keys.push_str("\"z\":0}");
    vec![
        text("a hundred thousand arrays", "[".repeat(100_000)),
        text("a hundred thousand objects", "{\"a\":".repeat(100_000)),
        text("sixty thousand keys", keys),
        text("a key twice", "{\"id\":\"evt_1\",\"id\":7,\"type\":true}".to_owned()),
        text("a number beyond all", "{\"id\":1e400,\"type\":1e-400}".to_owned()),
        text("half a pair", "{\"id\":\"\\ud800\",\"type\":\"\\udfff\"}".to_owned()),
        text("NUL inside", "{\"id\":\"a\u{0}b\"}".to_owned()),
        text("a mark of byte order", "\u{feff}{\"id\":\"evt_1\"}".to_owned()),
        ("cut UTF-8".to_owned(), b"{\"id\":\"\xe2\x82\",\"type\":\"x\"}".to_vec()),
        ("overlong UTF-8".to_owned(), b"{\"id\":\"\xc0\xaf\"}".to_vec()),
        ("a surrogate in UTF-8".to_owned(), b"{\"id\":\"\xed\xa0\x80\"}".to_vec()),
        ("UTF-16".to_owned(), b"\xff\xfe{\x00}\x00".to_vec()),
        ("bytes of all values".to_owned(), (0..=255).collect()),
        ("nothing".to_owned(), Vec::new()),
    ]
}

async fn w8_whatever_the_body_is_the_next_request_is_answered(app: &App) {
    let Some(suite) = suite() else { return };
    assert_eq!(suite.len(), 318);
    let connection = app.connected().await;
    let (webhook, now) = (app.webhook_url(&connection), app.now().timestamp());
    let (_, key) = app.key(KeyClass::Server).await;
    let context = format!("{}/api/sdk/chat/context", app.base);
    let cases = suite.into_iter().map(|case| (case.name, case.input.into_bytes())).chain(more_cases());
    for (name, body) in cases {
        let signature = sign(app.sandbox.webhook_secret(), &body, now);
        let calls = [
            ("webhook", app.http.post(&webhook).header("stripe-signature", signature)),
            ("chat/context", app.http.post(&context).bearer_auth(&key)),
        ];
        for (route, call) in calls {
            let response = call.header("content-type", "application/json").body(body.clone()).send().await;
            let response = response.unwrap_or_else(|e| panic!("{name}: {route}: {e}"));
            let status = response.status().as_u16();
            let said: Value = response.json().await.unwrap_or(Value::Null);
            // Any object asks for a context; that nobody is meant is no error.
            if route == "chat/context"
                && serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(&body).is_ok()
            {
                assert!(matches!(status, 200 | 400), "{name}: {route}: {status} {said}");
                continue;
            }
            assert!(matches!(status, 400 | 413), "{name}: {route}: {status} {said}");
            assert!(said["code"].is_string() || said["error"].is_string(), "{name}: {route}: {said}");
        }
    }
    assert!(app.deliveries().await.is_empty(), "none of them is an event");
    // And a good one.
    let (status, answer) = app.chat(Some(&key), &json!({"user_id": "nobody"})).await;
    assert_eq!(status, 200, "{answer}");
}

/// How often one event comes, and on how many connections at once.
const REPLAYS: usize = 2_000;
const CONNECTIONS: usize = 50;

async fn w2_one_event_that_comes_again_and_again_is_applied_once(app: &App) {
    app.price("Starter", 2_900);
    let (customer, _) = app.customer("Acme", "Starter");
    let connection = app.connected().await;
    app.lose_events();
    app.call("POST", &format!("/v1/customers/{customer}"), json!({"description": "again"}));
    let event = app.sandbox.take_events().pop().unwrap();
    let url = app.webhook_url(&connection);
    let body = event.body.clone();
    let signature = sign(app.sandbox.webhook_secret(), body.as_bytes(), app.now().timestamp());
    let posts = (0..REPLAYS).map(|_| {
        let call = app.http.post(&url).header("stripe-signature", &signature).body(body.clone());
        async move { call.send().await.unwrap().status().as_u16() }
    });
    let answers: Vec<u16> = stream::iter(posts).buffer_unordered(CONNECTIONS).collect().await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    app.drain().await;
    let stored = app.deliveries().await;
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert_eq!((stored[0].state.as_str(), stored[0].attempts), ("applied", 1));
}

on_both!(
    w8_whatever_the_body_is_the_next_request_is_answered,
    w2_one_event_that_comes_again_and_again_is_applied_once,
);

/// W9: bodies of the largest size that is taken, two hundred at once.
const LARGE: usize = 1_048_576;
const AT_ONCE: usize = 200;
/// The most that they may take, whole process.
const MEMORY_KIB: u64 = 300 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w9_large_bodies_at_once_take_bounded_memory() {
    let sandbox = StripeSandbox::start(Options::default()).await.unwrap();
    let program = Program::new(None);
    let path = program.connect(&sandbox.base_url(), sandbox.api_key(), sandbox.webhook_secret()).await;
    // What is measured is memory: on a busy machine so much takes its time.
    let patient = ["BODY_TIMEOUT_SECONDS", "STALL_TIMEOUT_SECONDS", "HEADER_TIMEOUT_SECONDS"]
        .map(|name| format!("HALO_SYNC_SERVER__{name}=250"));
    let [body, stall, header] = &patient;
    let mut serving = program.serve_under(&["env", body, stall, header]);
    serving.ready().await;
    let url = format!("{}{path}", program.address());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let now = SystemClock.now().timestamp();
    let posts = (0..AT_ONCE).map(|n| {
        let mut body =
            json!({"id": format!("evt_{n}"), "type": "balance.available", "livemode": false, "fill": ""});
        body["fill"] = Value::from("x".repeat(LARGE - body.to_string().len()));
        let body = body.to_string();
        assert_eq!(body.len(), LARGE);
        let signature = sign(sandbox.webhook_secret(), body.as_bytes(), now);
        let call = client.post(&url).header("stripe-signature", signature).body(body);
        async move { call.send().await.unwrap().status().as_u16() }
    });
    // All of them are made before the first is sent.
    let posts: Vec<_> = posts.collect();
    let answers: Vec<u16> = stream::iter(posts).buffer_unordered(AT_ONCE).collect().await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    let peak = serving.peak_memory_kib();
    assert!(peak <= MEMORY_KIB, "{peak} KiB at the most");
    drop(serving);
    program.remove().await;
}
