//! `POST /api/sdk/chat/context` of a typical profile (20 traits, 8 entries) against a handler of the same server
//! that looks the key up, reads the same rows and answers a fixed text; the two take turns.
//!
//! `cargo bench --bench chat_context [-- ROUNDS]`. Server and generator are two processes of one machine.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program for people that may fail loudly")]

#[expect(dead_code, unreachable_pub, reason = "each benchmark needs some of it")]
mod common;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use common::client::{self, Client};
use common::figures::{Goal, at, head, row};
use common::process::Part;
use common::{org, runtime, services};
use halo_sync::chat::Chat;
use halo_sync::config::LogFormat;
use halo_sync::domain::Rank;
use halo_sync::domain::companies::TraitPatch;
use halo_sync::domain::connections::KeyClass;
use halo_sync::http::ApiError;
use halo_sync::http::sdk::{self, Caller, PromptSettings, Sdk, auth::Keys};
use halo_sync::product::Product;
use halo_sync::service::{Request, Services};
use halo_sync::store::identity::{Lookup, WriteSource};
use halo_sync::telemetry::{self, Metrics};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

const RATIO: f64 = 0.7;
const CONNECTIONS: usize = 16;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const USER: &str = "user_123";
const COMPANY: &str = "company_456";
const BARE: &str = "/bare";

/// 20 traits and 8 entries on user and company.
async fn fill(services: &Services) {
    let patch = |document: Value| TraitPatch {
        traits: document["traits"].as_object().cloned().expect("traits"),
        context: serde_json::from_value(document["context"].clone()).expect("entries"),
    };
    let source = WriteSource { rank: Rank::Server, source: "sdk".to_owned(), at: services.clock.now() };
    let company = patch(json!({
        "traits": {"name": "Acme Corp", "plan": "enterprise", "industry": "SaaS", "domain": "acme.test",
            "employee_count": 150, "mrr_minor": 499900, "mrr_currency": "usd", "contract": "annual", "health": "good", "region": "EMEA", "seats": 40},
        "context": {
            "team": {"label": "Team", "type": "list", "value": [{"name": "Jane", "role": "admin"}, {"name": "Ola", "role": "editor"}]},
            "features": {"label": "Features", "type": "feature", "value": {"dark_mode": true, "api_access": true, "sso": false}},
            "issues": {"label": "Open Issues", "type": "error", "value": [{"area": "Billing", "message": "Card expires soon"}]},
        },
    }));
    let list: Vec<Value> =
        (0..5).map(|i| json!({"event_name": format!("event_{i}"), "status": "active"})).collect();
    let user = patch(json!({
        "traits": {"name": "Jane Doe", "email": "jane@acme.test", "role": "admin", "locale": "de-DE",
            "time_zone": "Europe/Berlin", "beta_tester": true, "last_page": "/settings/billing", "logins": 412,
            "acquisition_channel": "organic", "signed_up_at": "2024-08-12T15:32:00Z"},
        "context": {
            "active_events": {"label": "Active Tracking Events", "type": "list", "value": list},
            "integrations": {"label": "Connected Integrations", "type": "integration", "value": {
                "facebook_ads": {"connected": true, "status": "active"},
                "google_ads": {"connected": true, "status": "error", "error": "Token expired"},
                "hubspot": {"connected": false}}},
            "pixel": {"label": "Current Issues", "type": "error", "value": [{"area": "Pixel", "message": "Not firing on checkout"}]},
            "onboarding": {"label": "Onboarding", "type": "status", "value": {"step": 3, "of": 5, "blocked": false}},
            "notes": {"label": "Notes", "value": "Prefers e-mail."},
        },
    }));
    let by = |id: &str| Lookup::External(id.to_owned());
    let company =
        services.store.put_company(&org(), &by(COMPANY), &company, &source).await.expect("a company");
    services.store.put_user(&org(), &by(USER), &user, Some(&company.id), &source).await.expect("a user");
}

/// The same key, the same rows, no merge, no rendering.
async fn bare(
    State(sdk): State<Sdk>,
    caller: Caller,
    _: axum::body::Bytes,
) -> Result<axum::Json<Value>, ApiError> {
    caller.need_server()?;
    let user = Lookup::External(USER.to_owned());
    let view = sdk.store.load_view(caller.org(), Some(&user), None).await;
    let view = view.map_err(|e| ApiError::unavailable(5, &e))?;
    Ok(axum::Json(json!({ "found": view.user.is_some() && view.company.is_some() })))
}

/// The part `--serve FILE`: what `serve` puts together for the SDK, until the end.
async fn serve(file: &str) {
    telemetry::init_logs("info", LogFormat::Json, false).expect("logs");
    let _metrics = Metrics::install().expect("metrics");
    let services = services(file).await;
    fill(&services).await;
    let request = Request::CreateKey { class: KeyClass::Server, name: "bench".to_owned() };
    let key = services.execute(&org(), request).await.expect("a key");
    let sdk = Sdk {
        store: services.store.clone(),
        keys: Arc::new(Keys::new(services.store.clone(), services.providers.clone(), services.clock.clone())),
        product: Product::new(services.store.clone(), services.clock.clone(), None)
            .noting(services.attributes.clone()),
        prompt: Arc::new(PromptSettings::default()),
        chat: Arc::new(Chat::new(None, services.clock.clone())),
        attributes: services.attributes.clone(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let router = Router::new()
        .route(BARE, post(bare))
        .with_state(sdk.clone())
        .merge(sdk::routes().with_state(sdk).into_router());
    common::serve(listener, router, &services, key["key"].as_str().expect("the key's text")).await;
    services.store.close().await;
}

/// Answers a second of one path.
async fn round(address: &str, request: &[u8], status: u16) -> f64 {
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..CONNECTIONS {
        let (address, request) = (address.to_owned(), request.to_owned());
        tasks.push(tokio::spawn(async move {
            let mut client = Client::open(&address).await;
            let mut answered = 0usize;
            while begun.elapsed() < ROUND {
                assert_eq!(client.call(&request).await, status);
                answered += 1;
            }
            answered
        }));
    }
    let mut all = 0;
    for task in tasks {
        all += task.await.expect("a connection's task");
    }
    all as f64 / begun.elapsed().as_secs_f64()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let ["--serve", file] = args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        return runtime().block_on(serve(file));
    }
    let rounds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(ROUNDS);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bench.db");
    let mut server = Part::start(&["--serve", file.to_str().expect("a path")]);
    let line = server.line();
    let (address, key) = line.split_once(' ').expect("address and key");
    let bearer = format!("Bearer {key}");
    let body = json!({ "user_id": USER }).to_string();
    let request = |path| client::post(path, &[("authorization", &bearer)], body.as_bytes());
    let (whole, bare) = (request("/api/sdk/chat/context"), request(BARE));
    head("chat/context, SQLite");
    runtime().block_on(async {
        let mut client = Client::open(address).await;
        assert_eq!(client.call(&whole).await, 200);
        let head = client.head();
        let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("an ETag");
        let headers = [("authorization", bearer.as_str()), ("if-none-match", tag)];
        let known = client::post("/api/sdk/chat/context", &headers, body.as_bytes());
        round(address, &whole, 200).await;
        let (mut wholes, mut bares, mut ratios, mut unchanged) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (a, b) = (round(address, &whole, 200).await, round(address, &bare, 200).await);
            wholes.push(a);
            bares.push(b);
            ratios.push(a / b);
            unchanged.push(round(address, &known, 304).await);
        }
        for list in [&mut wholes, &mut bares, &mut ratios, &mut unchanged] {
            list.sort_by(f64::total_cmp);
        }
        row("chat/context, median", at(&wholes, 0.5), "/s", Goal::None);
        row("only reads the same rows, median", at(&bares, 0.5), "/s", Goal::None);
        row("unchanged since the ETag, median", at(&unchanged, 0.5), "/s", Goal::None);
        row("ratio, median of the rounds", at(&ratios, 0.5), "x", Goal::AtLeast(RATIO));
        row("ratio, worst round", at(&ratios, 0.0), "x", Goal::None);
    });
}
