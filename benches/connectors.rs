//! Backfills of HubSpot and PandaDoc: so many parties from a zero-delay server on the loopback through queue, mirror
//! and derivation, on both engines; and beside each, in the same process, the bare reading of the same account
//! without keeping anything.
//!
//! `cargo bench --bench connectors`; `HALO_SYNC_BENCH_LARGE=1` measures 100,000 parties too,
//! `HALO_SYNC_BENCH_ENGINE` (`sqlite`, `postgres`) one engine, `HALO_SYNC_BENCH_CONNECTOR` (`hubspot`, `pandadoc`)
//! one connector. A party is a company with a contact and a won deal (HubSpot), a completed document (PandaDoc). The
//! server and each measured process are processes of their own, so that their memory is told apart. Durable settings
//! (SQLite `synchronous=FULL`, Postgres with fsync).
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program for people that may fail loudly")]

#[expect(dead_code, unreachable_pub, reason = "each benchmark needs some of it")]
mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::figures::{Goal, head, row};
use common::process::{Part, peak_mib, processor_seconds, wait_for_end};
use common::runs::{Eye, finished, worker};
use common::support::postgres::{DURABLE, Database};
use common::{org, runtime, services};
use connector_sdk::{Next, Priority, ReadMode, Session};
use connector_testkit::sandbox::hubspot::{self, HubSpotSandbox};
use connector_testkit::sandbox::pandadoc::{self, PandaDocSandbox};
use halo_sync::registry;
use halo_sync::service::{Connect, Request, Services};
use serde_json::{Value, json};

const CONNECTORS: [&str; 2] = ["hubspot", "pandadoc"];
const PARTIES: usize = 10_000;
const MANY_PARTIES: usize = 100_000;
const RECORDS_PER_SECOND: f64 = 5_000.0;
const GROWTH: f64 = 1.15;
/// The name of the connection.
const SANDBOX: &str = "sandbox";

/// The part `--sandbox CONNECTOR N`: an account with so many parties, until the end.
async fn sandbox(connector: &str, parties: usize) {
    match connector {
        "hubspot" => {
            let sandbox = HubSpotSandbox::start(hubspot::Options::default()).await.expect("it starts");
            sandbox.seed(parties);
            println!("{} {}", sandbox.base_url(), sandbox.access_token());
            let _ = tokio::task::spawn_blocking(wait_for_end).await;
        }
        _ => {
            let sandbox = PandaDocSandbox::start(pandadoc::Options::default()).await.expect("it starts");
            sandbox.seed(parties);
            println!("{} {}", sandbox.base_url(), sandbox.api_key());
            let _ = tokio::task::spawn_blocking(wait_for_end).await;
        }
    }
}

/// The part `--work PLACE CONNECTOR BASE_URL KEY`: backfills, reads everything again without keeping it, prints its
/// figures.
async fn work(place: &str, connector: &str, base_url: &str, key: &str) {
    let services = services(place).await;
    let runtime = worker(&services).await.start().await.expect("the worker starts");
    let mut eye = Eye::open(place).await;
    let connect = Connect {
        connector: connector.to_owned(),
        name: SANDBOX.to_owned(),
        config: json!({ "base_url": base_url, "rate_limit": "none" }),
        secrets: vec![("api_key".to_owned(), key.to_owned().into())],
        webhook_secrets: Vec::new(),
        backfill: true,
    };
    let begun = Instant::now();
    let answer = services.execute(&org(), Request::Connect(connect)).await.expect("connected");
    let (counts, read) = finished(&services, &mut eye, &answer["run"], true).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (peak, processor) = (peak_mib(), processor_seconds(std::process::id()));
    runtime.stop(Duration::from_secs(5)).await;

    let (bare, bare_seconds) = bare(&services, connector).await;
    assert_eq!(bare, counts.read, "both read the same");
    let figures = json!({
        "records": counts.read, "seconds": seconds, "read_seconds": read.as_secs_f64(), "peak": peak,
        "processor": processor, "bare_seconds": bare_seconds,
    });
    println!("{figures}");
    services.store.close().await;
}

/// Reads every stream to its end, one after the other, and keeps nothing; how many records, in how many seconds.
async fn bare(services: &Services, connector: &str) -> (i64, f64) {
    let connection = services.connection(&org(), SANDBOX).await.expect("the connection");
    let session = services.providers.session(&connection, Priority::Backfill).await.expect("a session");
    let all = registry::connectors();
    let spec =
        all.iter().map(|connector| connector.spec()).find(|spec| spec.id == connector).expect("a connector");
    let begun = Instant::now();
    let mut records = 0;
    for stream in &spec.streams {
        records += read_all(&*session, stream.name, services).await;
    }
    (i64::try_from(records).expect("a count"), begun.elapsed().as_secs_f64())
}

async fn read_all(session: &dyn Session, stream: &str, services: &Services) -> usize {
    let plan = session.plan(stream, ReadMode::Full, services.clock.now()).await.expect("a plan");
    let mut records = 0;
    for partition in &plan {
        let mut cursor = None;
        loop {
            let page = session.read_page(stream, ReadMode::Full, partition, cursor.as_ref()).await;
            let page = page.expect("a page");
            records += page.records.len();
            match page.next {
                Next::More(next) => cursor = Some(next),
                Next::CaughtUp(_) => break,
            }
        }
    }
    records
}

/// One measurement in a process of its own; the peak memory.
fn measure(connector: &str, engine: &str, parties: usize) -> f64 {
    let mut server = Part::start(&["--sandbox", connector, &parties.to_string()]);
    let ready = server.line();
    let (base_url, key) = ready.split_once(' ').expect("an address and a key");
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = runtime();
    let database = match engine {
        "Postgres" => match runtime.block_on(Database::empty()) {
            Some(database) => Some(database),
            None => return f64::NAN,
        },
        _ => None,
    };
    let place = match &database {
        Some(database) => database.url.clone(),
        None => folder.path().join("bench.db").to_str().expect("a path").to_owned(),
    };
    let mut part = Part::start(&["--work", &place, connector, base_url, key]);
    let figures: Value = serde_json::from_str(&part.line()).expect("figures");
    drop(part);
    if let Some(database) = database {
        runtime.block_on(database.drop_it());
    }
    let figure = |name: &str| figures[name].as_f64().expect("a figure");
    let what = |text: &str| format!("{connector}, {engine}, {parties}: {text}");
    let (records, seconds) = (figure("records"), figure("seconds"));
    row(&what("records/s"), records / seconds, "/s", Goal::AtLeast(RECORDS_PER_SECOND));
    row(&what("records"), records, "", Goal::None);
    row(&what("until all is read"), figure("read_seconds"), "s", Goal::None);
    row(&what("until nothing is dirty"), seconds, "s", Goal::None);
    row(&what("bare reading, records/s"), records / figure("bare_seconds"), "/s", Goal::None);
    row(&what("times the bare reading"), seconds / figure("bare_seconds"), "x", Goal::None);
    row(&what("processor time, without servers"), figure("processor"), "s", Goal::None);
    row(&what("peak memory"), figure("peak"), "MiB", Goal::None);
    figure("peak")
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--sandbox", connector, parties] => {
            return runtime().block_on(sandbox(connector, parties.parse().expect("a number")));
        }
        ["--work", place, connector, base_url, key] => {
            return runtime().block_on(work(place, connector, base_url, key));
        }
        _ => {}
    }
    DURABLE.store(true, Ordering::SeqCst);
    let named = |name: &str| std::env::var(name).unwrap_or_default();
    let large = named("HALO_SYNC_BENCH_LARGE") == "1";
    let (only_engine, only) = (named("HALO_SYNC_BENCH_ENGINE"), named("HALO_SYNC_BENCH_CONNECTOR"));
    head("Backfills of HubSpot and PandaDoc");
    for connector in CONNECTORS.into_iter().filter(|connector| only.is_empty() || only == *connector) {
        for engine in ["SQLite", "Postgres"] {
            if !only_engine.is_empty() && !only_engine.eq_ignore_ascii_case(engine) {
                continue;
            }
            let peak = measure(connector, engine, PARTIES);
            if large {
                let growth = measure(connector, engine, MANY_PARTIES) / peak;
                let what = format!("{connector}, {engine}: peak memory, {MANY_PARTIES} to {PARTIES}");
                row(&what, growth, "x", Goal::AtMost(GROWTH));
            }
        }
    }
}
