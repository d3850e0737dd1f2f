//! The SDK API against tables that are filled already: `users/identify` (nine of ten users known), `users/update`
//! of 1,000 users a call, and `chat/context`, over keep-alive connections to the real server. Everything is durable
//! before its answer (SQLite `synchronous=FULL`, Postgres with fsync).
//!
//! `cargo bench --bench sdk [-- SECONDS [USERS]]`: seconds of each measurement, users of the largest table.
//! `HALO_SYNC_BENCH_ENGINE` (`sqlite`, `postgres`) one engine. Server and generator are two processes of one machine.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program for people that may fail loudly")]

#[expect(dead_code, unreachable_pub, reason = "each benchmark needs some of it")]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::client::{self, Client};
use common::figures::{Goal, at, head, row};
use common::process::Part;
use common::support::postgres::{DURABLE, Database};
use common::{org, runtime, services};
use halo_sync::chat::Chat;
use halo_sync::config::LogFormat;
use halo_sync::domain::connections::KeyClass;
use halo_sync::http::address::Proxies;
use halo_sync::http::sdk::auth::Keys;
use halo_sync::http::sdk::rates::Quotas;
use halo_sync::http::sdk::{self, PromptSettings, Sdk};
use halo_sync::product::{Author, Product, UserWrite};
use halo_sync::service::{Request, Services};
use halo_sync::telemetry::{self, Metrics};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

const IDENTIFY: f64 = 3_000.0;
const IDENTIFY_P99_MS: f64 = 50.0;
const UPDATE: f64 = 20_000.0;
const CHAT: f64 = 5_000.0;
const CHAT_P99_MS: f64 = 20.0;
const SCALING: f64 = 1.5;
const SECONDS: u64 = 10;
const SMALL: u64 = 10_000;
const MIDDLE: u64 = 100_000;
const LARGE: u64 = 1_000_000;
const CONNECTIONS: usize = 64;
const BATCH: u64 = 1_000;

static NEW: AtomicU64 = AtomicU64::new(0);

/// Traits of a usual size.
fn traits(n: u64) -> Value {
    json!({
        "name": format!("User {n}"), "email": format!("user{n}@company{}.example", n / 20), "role": "admin",
        "plan": "pro", "signed_up_at": "2024-08-12T15:32:00Z", "locale": "de-DE", "logins": n % 500,
        "beta_tester": n.is_multiple_of(7),
    })
}

/// Users, twenty of a company.
async fn fill(services: &Services, users: u64) {
    let product = Product::new(services.store.clone(), services.clock.clone(), None);
    let all: Vec<u64> = (0..users).collect();
    for piece in all.chunks(BATCH as usize) {
        let writes: Vec<UserWrite> = piece
            .iter()
            .map(|n| UserWrite {
                user_id: format!("user_{n}"),
                traits: traits(*n).as_object().cloned().expect("traits").into(),
                company_id: Some(format!("company_{}", n / 20)),
                ..UserWrite::default()
            })
            .collect();
        product.update_users(&org(), &writes, false, &Author::server()).await.expect("filled");
    }
}

/// The part `--serve PLACE USERS`: what `serve` puts together for the SDK, until the end.
async fn serve(place: &str, users: u64) {
    telemetry::init_logs("warn", LogFormat::Json, false).expect("logs");
    let _metrics = Metrics::install().expect("metrics");
    let services = services(place).await;
    fill(&services, users).await;
    let request = Request::CreateKey { class: KeyClass::Server, name: "bench".to_owned() };
    let key = services.execute(&org(), request).await.expect("a key");
    let sdk = Sdk {
        store: services.store.clone(),
        keys: Arc::new(
            Keys::new(services.store.clone(), services.providers.clone(), services.clock.clone())
                .limited(Quotas::NONE, Proxies::default()),
        ),
        product: Product::new(services.store.clone(), services.clock.clone(), None)
            .noting(services.attributes.clone()),
        prompt: Arc::new(PromptSettings::default()),
        chat: Arc::new(Chat::new(None, services.clock.clone())),
        attributes: services.attributes.clone(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let router = sdk::routes().with_state(sdk).into_router();
    common::serve(listener, router, &services, key["key"].as_str().expect("the key's text")).await;
    services.store.close().await;
}

/// What is called.
#[derive(Debug, Clone, Copy)]
enum Call {
    Identify,
    Update,
    Chat,
}

/// A server, and how much it holds.
struct Target {
    address: String,
    bearer: String,
    users: u64,
}

impl Target {
    /// The `n`th request.
    fn request(&self, call: Call, n: u64) -> Vec<u8> {
        // Steps through the users without a pattern that a cache could follow.
        let known = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.users;
        let (path, body) = match call {
            Call::Identify => {
                let user = match n % 10 {
                    0 => format!("new_{}_{}", std::process::id(), NEW.fetch_add(1, Ordering::Relaxed)),
                    _ => format!("user_{known}"),
                };
                ("users/identify", json!({"user_id": user, "traits": traits(known)}))
            }
            Call::Update => {
                let begin = known / BATCH * BATCH;
                let all: Vec<Value> = (begin..begin + BATCH)
                    .map(|user| {
                        let mut traits = traits(user);
                        traits["logins"] = json!(n);
                        json!({"user_id": format!("user_{user}"), "traits": traits})
                    })
                    .collect();
                ("users/update", json!({"users": all}))
            }
            Call::Chat => ("chat/context", json!({"user_id": format!("user_{known}")})),
        };
        let path = format!("/api/sdk/{path}");
        client::post(&path, &[("authorization", &self.bearer)], body.to_string().as_bytes())
    }

    /// Calls at a fixed rate, or each connection as fast as it is answered. Milliseconds of each, sorted, and
    /// calls a second.
    async fn load(
        self: &Arc<Self>,
        call: Call,
        connections: usize,
        rate: Option<f64>,
        seconds: u64,
    ) -> (Vec<f64>, f64) {
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(Client::open(&self.address).await);
        }
        let next = Arc::new(AtomicU64::new(0));
        let begun = Instant::now() + Duration::from_millis(50);
        let end = begun + Duration::from_secs(seconds);
        let mut tasks = Vec::new();
        for mut client in clients {
            let (next, target) = (Arc::clone(&next), Arc::clone(self));
            tasks.push(tokio::spawn(async move {
                let mut waits = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let due = rate
                        .map_or_else(Instant::now, |rate| begun + Duration::from_secs_f64(n as f64 / rate));
                    if due >= end {
                        return waits;
                    }
                    let request = target.request(call, n);
                    tokio::time::sleep_until(due).await;
                    let due = if rate.is_some() { due } else { Instant::now() };
                    assert_eq!(client.call(&request).await, 200, "{call:?}");
                    waits.push(due.elapsed().as_secs_f64() * 1e3);
                }
            }));
        }
        let mut waits = Vec::new();
        for task in tasks {
            waits.extend(task.await.expect("a connection's task"));
        }
        let rate = waits.len() as f64 / begun.elapsed().as_secs_f64();
        waits.sort_by(f64::total_cmp);
        (waits, rate)
    }
}

/// Rates of one table.
struct Rates {
    identify: f64,
    update: f64,
}

fn measure(place: &str, users: u64, seconds: u64, durable_goals: bool) -> Rates {
    let mut server = Part::start(&["--serve", place, &users.to_string()]);
    let line = server.line();
    let (address, key) = line.split_once(' ').expect("address and key");
    let target = Arc::new(Target { address: address.to_owned(), bearer: format!("Bearer {key}"), users });
    let goal = |goal: Goal| if durable_goals { goal } else { Goal::None };
    runtime().block_on(async {
        target.load(Call::Identify, CONNECTIONS, None, 1).await;
        let (waits, identify) = target.load(Call::Identify, CONNECTIONS, None, seconds).await;
        row(&format!("{users} users: identify"), identify, "/s", goal(Goal::AtLeast(IDENTIFY)));
        row(&format!("{users} users: identify, p99 of that"), at(&waits, 0.99), "ms", Goal::None);
        let (waits, _) = target.load(Call::Identify, CONNECTIONS, Some(IDENTIFY), seconds).await;
        let p99 = format!("{users} users: identify at {IDENTIFY}/s, p99");
        row(&p99, at(&waits, 0.99), "ms", goal(Goal::AtMost(IDENTIFY_P99_MS)));
        let (waits, calls) = target.load(Call::Update, 4, None, seconds).await;
        let update = calls * BATCH as f64;
        row(&format!("{users} users: update of {BATCH}"), update, "users/s", goal(Goal::AtLeast(UPDATE)));
        row(&format!("{users} users: update of {BATCH}, p99"), at(&waits, 0.99), "ms", Goal::None);
        if users == MIDDLE {
            let (waits, rate) = target.load(Call::Chat, 16, None, seconds).await;
            row(&format!("{users} users: chat/context"), rate, "/s", Goal::AtLeast(CHAT));
            row(
                &format!("{users} users: chat/context, p99"),
                at(&waits, 0.99),
                "ms",
                Goal::AtMost(CHAT_P99_MS),
            );
        }
        Rates { identify, update }
    })
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let ["--serve", place, users] = args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        let users = users.parse().expect("a number");
        return runtime().block_on(serve(place, users));
    }
    let mut numbers = args.iter().filter_map(|arg| arg.parse::<u64>().ok());
    let seconds = numbers.next().unwrap_or(SECONDS);
    let largest = numbers.next().unwrap_or(LARGE);
    let only = std::env::var("HALO_SYNC_BENCH_ENGINE").ok();
    let wanted = |engine: &str| only.as_deref().is_none_or(|only| only == engine);
    DURABLE.store(true, Ordering::SeqCst);
    let sizes: Vec<u64> =
        [SMALL, MIDDLE, LARGE].into_iter().filter(|size| *size < largest).chain([largest]).collect();
    for engine in ["sqlite", "postgres"].into_iter().filter(|engine| wanted(engine)) {
        head(&format!("SDK API, {engine}"));
        let mut all = Vec::new();
        for users in &sizes {
            all.push(if engine == "sqlite" {
                let folder = tempfile::tempdir().expect("a folder");
                let file = folder.path().join("bench.db");
                measure(file.to_str().expect("a path"), *users, seconds, true)
            } else {
                let Some(database) = runtime().block_on(Database::empty()) else { break };
                measure(&database.url, *users, seconds, false)
            });
        }
        if let [first, .., last] = all.as_slice() {
            let of = format!("{} users against {largest}", sizes.first().copied().unwrap_or_default());
            let goal = || Goal::AtMost(SCALING);
            row(&format!("identify, {of}"), first.identify / last.identify, "x", goal());
            row(&format!("update, {of}"), first.update / last.update, "x", goal());
        }
    }
}
