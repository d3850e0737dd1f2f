//! Webhooks: 2 KB deliveries, each of its own event, over keep-alive connections to the real server: signature
//! and look-up on, stored durably (SQLite, `synchronous=FULL`) before the answer. Beside it, in the same server,
//! a path that only answers 200.
//!
//! `cargo bench --bench webhooks [-- SECONDS]`. The server, the sandbox account that its worker reads and the
//! generator of the load are three processes of one machine.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program for people that may fail loudly")]

#[expect(dead_code, unreachable_pub, reason = "each benchmark needs some of it")]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use common::client::{self, Client};
use common::figures::{Goal, at, head, row};
use common::process::{Part, sandbox};
use common::{connect, org, runtime, services};
use connector_sdk::{Clock as _, SystemClock};
use connector_testkit::sandbox::stripe::{API_VERSION, Options, sign};
use halo_sync::config::{self, LogFormat};
use halo_sync::derive::Settings;
use halo_sync::service::Request;
use halo_sync::sync::run::RunLimits;
use halo_sync::telemetry::{self, Metrics};
use halo_sync::worker;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

const RATE: u64 = 1_000;
const P99_MS: f64 = 50.0;
const SATURATION: f64 = 5_000.0;
const SECONDS: u64 = 20;
const CONNECTIONS: usize = 100;
const BODY: usize = 2_048;
const CUSTOMERS: u64 = 1_000;
const BARE: &str = "/bare";

static EVENT: AtomicU64 = AtomicU64::new(0);

/// The part `--serve FILE BASE_URL WORKER`: what `serve` puts together for webhooks, until the end.
async fn serve(file: &str, base_url: &str, with_worker: bool) {
    telemetry::init_logs("info", LogFormat::Json, false).expect("logs");
    let _metrics = Metrics::install().expect("metrics");
    let services = services(file).await;
    let answer =
        services.execute(&org(), Request::Connect(connect(base_url, false))).await.expect("connected");
    let runtime = match with_worker {
        false => None,
        true => {
            let limits = RunLimits { pages: 100, time: Duration::from_secs(30) };
            let settings = Arc::new(Settings::default());
            let builder = worker::builder(&services, &settings, &services.store.jobs_signal(), limits);
            let concurrency = config::Worker::default().concurrency;
            Some(builder.concurrency(concurrency).sole_process(true).start().await.expect("a worker"))
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let address = listener.local_addr().expect("an address");
    let router = Router::new()
        .merge(common::webhooks(&services, address))
        .route(BARE, post(|_: axum::body::Bytes| async { axum::Json(json!({ "received": true })) }));
    common::serve(listener, router, &services, answer["webhook_path"].as_str().expect("a path")).await;
    if let Some(runtime) = runtime {
        runtime.stop(Duration::from_secs(5)).await;
    }
    services.store.close().await;
}

/// A signed delivery that there was not before.
fn delivery(path: &str, secret: &str) -> Vec<u8> {
    let n = EVENT.fetch_add(1, Ordering::Relaxed);
    let now = SystemClock.now().timestamp();
    let mut event = json!({
        "id": format!("evt_{n:024}"), "object": "event", "api_version": API_VERSION, "created": now,
        "livemode": false, "pending_webhooks": 1, "type": "customer.updated",
        "request": { "id": null, "idempotency_key": null },
        "data": { "object": { "id": format!("cus_seed{:08}", n % CUSTOMERS), "object": "customer", "description": "" } },
    });
    let padding = BODY.saturating_sub(event.to_string().len());
    event["data"]["object"]["description"] = "x".repeat(padding).into();
    let body = event.to_string();
    let signature = sign(secret, body.as_bytes(), now);
    client::post(path, &[("stripe-signature", &signature)], body.as_bytes())
}

/// Milliseconds of each answer, sorted, and how many were not 200.
struct Answers {
    waits: Vec<f64>,
    refused: usize,
    seconds: f64,
}

impl Answers {
    async fn collect(tasks: Vec<tokio::task::JoinHandle<(Vec<f64>, usize)>>, begun: Instant) -> Self {
        let (mut waits, mut refused) = (Vec::new(), 0);
        for task in tasks {
            let (of_task, not_ok) = task.await.expect("a connection's task");
            waits.extend(of_task);
            refused += not_ok;
        }
        waits.sort_by(f64::total_cmp);
        Self { waits, refused, seconds: begun.elapsed().as_secs_f64() }
    }

    fn rate(&self) -> f64 {
        (self.waits.len() - self.refused) as f64 / self.seconds
    }
}

/// Requests at fixed times, whether or not the ones before were answered; a wait counts from the time at which
/// its request was to go out.
async fn open_loop(address: &str, path: &str, secret: &str, seconds: u64) -> Answers {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::open(address).await);
    }
    let begun = Instant::now() + Duration::from_millis(100);
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for mut client in clients {
        let (next, path, secret) = (Arc::clone(&next), path.to_owned(), secret.to_owned());
        tasks.push(tokio::spawn(async move {
            let (mut waits, mut refused) = (Vec::new(), 0);
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= RATE * seconds {
                    return (waits, refused);
                }
                let due = begun + Duration::from_secs(1) * u32::try_from(n).expect("few") / RATE as u32;
                tokio::time::sleep_until(due).await;
                let status = client.call(&delivery(&path, &secret)).await;
                waits.push(due.elapsed().as_secs_f64() * 1e3);
                refused += usize::from(status != 200);
            }
        }));
    }
    Answers::collect(tasks, begun).await
}

/// Every connection sends its next request when the one before is answered.
async fn closed_loop(address: &str, path: &str, secret: &str, seconds: u64) -> Answers {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::open(address).await);
    }
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds);
    let mut tasks = Vec::new();
    for mut client in clients {
        let (path, secret) = (path.to_owned(), secret.to_owned());
        tasks.push(tokio::spawn(async move {
            let (mut waits, mut refused) = (Vec::new(), 0);
            while Instant::now() < end {
                let sent = Instant::now();
                let status = client.call(&delivery(&path, &secret)).await;
                waits.push(sent.elapsed().as_secs_f64() * 1e3);
                refused += usize::from(status != 200);
            }
            (waits, refused)
        }));
    }
    Answers::collect(tasks, begun).await
}

fn latencies(what: &str, answers: &Answers, goal: Goal) {
    let none = Goal::None;
    for (name, share, goal) in [("p50", 0.5, none), ("p99", 0.99, goal), ("max", 1.0, none)] {
        row(&format!("{what}: {name}"), at(&answers.waits, share), "ms", goal);
    }
    row(&format!("{what}: not 200"), answers.refused as f64, "", Goal::AtMost(0.0));
}

fn measure(with_worker: bool, seconds: u64) {
    let mut account = Part::start(&["--sandbox", &CUSTOMERS.to_string()]);
    let base_url = account.line();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bench.db");
    let worker = if with_worker { "worker" } else { "accept" };
    let mut server = Part::start(&["--serve", file.to_str().expect("a path"), &base_url, worker]);
    let line = server.line();
    let (address, path) = line.split_once(' ').expect("address and path");
    let secret = Options::default().webhook_secret;
    let what = if with_worker { "worker on" } else { "accept only" };
    let half = seconds.div_ceil(2);
    runtime().block_on(async {
        closed_loop(address, path, &secret, 1).await;
        let steady = open_loop(address, path, &secret, seconds).await;
        latencies(&format!("{what}, {RATE}/s for {seconds} s"), &steady, Goal::AtMost(P99_MS));
        let bare = open_loop(address, BARE, &secret, half).await;
        latencies(&format!("a bare answer, {RATE}/s for {half} s"), &bare, Goal::None);
        let full = closed_loop(address, path, &secret, half).await;
        let name = format!("{what}, {CONNECTIONS} connections");
        row(&format!("{name}: saturation"), full.rate(), "/s", Goal::AtLeast(SATURATION));
        latencies(&name, &full, Goal::None);
        let bare = closed_loop(address, BARE, &secret, half).await;
        row(&format!("a bare answer, {CONNECTIONS} connections"), bare.rate(), "/s", Goal::None);
        row("of the bare answer's rate", full.rate() / bare.rate(), "x", Goal::None);
    });
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--sandbox", customers] => return sandbox(customers.parse().expect("a number")),
        ["--serve", file, base_url, worker] => {
            return runtime().block_on(serve(file, base_url, *worker == "worker"));
        }
        _ => {}
    }
    let seconds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(SECONDS);
    head("Webhook accept, 2 KB bodies, SQLite");
    measure(false, seconds);
    measure(true, seconds);
}
