//! Backfill: customers with a subscription each, from a zero-delay server on the loopback through queue, mirror
//! and derivation, on both engines; then the same again without any change.
//!
//! `cargo bench --bench backfill`; `HALO_SYNC_BENCH_LARGE=1` measures 100,000 customers too,
//! `HALO_SYNC_BENCH_ENGINE` (`sqlite`, `postgres`) one engine. The server and each measured process are
//! processes of their own, so that their memory is told apart. Durable settings (SQLite `synchronous=FULL`,
//! Postgres with fsync).
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program for people that may fail loudly")]

#[expect(dead_code, unreachable_pub, reason = "each benchmark needs some of it")]
mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::figures::{Goal, head, row};
use common::process::{Part, peak_mib, processor_seconds, sandbox};
use common::runs::{Eye, finished, worker};
use common::support::postgres::{DURABLE, Database};
use common::{connect, org, runtime, services};
use halo_sync::service::Request;
use serde_json::{Value, json};

const CUSTOMERS: usize = 10_000;
const MANY_CUSTOMERS: usize = 100_000;
const RECORDS_PER_SECOND_SQLITE: f64 = 10_000.0;
const RECORDS_PER_SECOND_POSTGRES: f64 = 6_000.0;
const PEAK_MIB: f64 = 150.0;
const GROWTH: f64 = 1.15;
const SECOND_RUN: f64 = 2.0;

/// The part `--work PLACE BASE_URL CUSTOMERS`: backfills, reads everything again, prints its figures.
async fn work(place: &str, base_url: &str, customers: usize) {
    let services = services(place).await;
    let runtime = worker(&services).await.start().await.expect("the worker starts");
    let mut eye = Eye::open(place).await;

    let begun = Instant::now();
    let answer =
        services.execute(&org(), Request::Connect(connect(base_url, true))).await.expect("connected");
    let (first, first_read) = finished(&services, &mut eye, &answer["run"], true).await;
    let first_seconds = begun.elapsed().as_secs_f64();
    let companies = services.store.count_identities(&org()).await.expect("read").companies;
    assert_eq!(usize::try_from(companies).expect("a count"), customers, "every customer is a company");
    let first_peak = peak_mib();
    let first_processor = processor_seconds(std::process::id());

    let since = services.clock.now();
    let begun = Instant::now();
    let again = Request::Sync { connection: "sandbox".to_owned(), full: true, streams: Vec::new() };
    let answer = services.execute(&org(), again).await.expect("started");
    let (second, _) = finished(&services, &mut eye, &answer["run"], true).await;
    let second_seconds = begun.elapsed().as_secs_f64();
    assert_eq!(second.read, first.read, "the second run reads the same");
    let written = rows_written(&mut eye, since.timestamp_micros()).await;
    println!(
        "{}",
        json!({
            "records": first.read, "seconds": first_seconds, "read_seconds": first_read.as_secs_f64(),
            "peak": first_peak, "processor": first_processor, "second_seconds": second_seconds, "second_changed": second.created + second.updated
                + second.deleted, "written": written, "second_peak": peak_mib(),
        })
    );
    runtime.stop(Duration::from_secs(5)).await;
    services.store.close().await;
}

/// Rows of what was read and of what was made of it that were written since then.
async fn rows_written(eye: &mut Eye, since: i64) -> i64 {
    let tables = [
        ("mirror_records", "changed_at"),
        ("companies", "updated_at"),
        ("company_links", "updated_at"),
        ("company_derivations", "updated_at"),
        ("field_changes", "changed_at"),
        ("rejected_records", "last_seen_at"),
        ("dirty_companies", "marked_at"),
    ];
    let counts: Vec<String> = tables
        .iter()
        .map(|(table, column)| format!("(SELECT COUNT(*) FROM {table} WHERE {column} >= {since})"))
        .collect();
    eye.count(&format!("SELECT {}", counts.join(" + "))).await
}

/// One measurement in a process of its own.
fn measure(engine: &str, customers: usize, goal: f64) -> f64 {
    let mut server = Part::start(&["--sandbox", &customers.to_string()]);
    let base_url = server.line();
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
    let mut part = Part::start(&["--work", &place, &base_url, &customers.to_string()]);
    let figures: Value = serde_json::from_str(&part.line()).expect("figures");
    drop(part);
    if let Some(database) = database {
        runtime.block_on(database.drop_it());
    }
    let figure = |name: &str| figures[name].as_f64().expect("a figure");
    let what = |text: &str| format!("{engine}, {customers} customers: {text}");
    let rate = figure("records") / figure("seconds");
    row(&what("records/s"), rate, "/s", Goal::AtLeast(goal));
    row(&what("of it until all is read"), figure("read_seconds"), "s", Goal::None);
    row(&what("until nothing is dirty"), figure("seconds"), "s", Goal::None);
    row(&what("processor time, without the database server"), figure("processor"), "s", Goal::None);
    row(&what("peak memory"), figure("peak"), "MiB", Goal::AtMost(PEAK_MIB));
    row(&what("peak memory after the second run"), figure("second_peak"), "MiB", Goal::AtMost(PEAK_MIB));
    row(&what("second run, rows written"), figure("written"), "", Goal::AtMost(0.0));
    row(&what("second run, records changed"), figure("second_changed"), "", Goal::AtMost(0.0));
    let times = figure("seconds") / figure("second_seconds");
    row(&what("second run, times as fast"), times, "x", Goal::AtLeast(SECOND_RUN));
    figure("peak")
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--sandbox", customers] => return sandbox(customers.parse().expect("a number")),
        ["--work", place, base_url, customers] => {
            return runtime().block_on(work(place, base_url, customers.parse().expect("a number")));
        }
        _ => {}
    }
    DURABLE.store(true, Ordering::SeqCst);
    let large = std::env::var("HALO_SYNC_BENCH_LARGE").is_ok_and(|v| v == "1");
    let only = std::env::var("HALO_SYNC_BENCH_ENGINE").unwrap_or_default();
    head("Backfill");
    for (engine, goal) in [("SQLite", RECORDS_PER_SECOND_SQLITE), ("Postgres", RECORDS_PER_SECOND_POSTGRES)] {
        if !only.is_empty() && !engine.eq_ignore_ascii_case(&only) {
            continue;
        }
        let peak = measure(engine, CUSTOMERS, goal);
        if large {
            let growth = measure(engine, MANY_CUSTOMERS, goal) / peak;
            let what = format!("{engine}: peak memory, {MANY_CUSTOMERS} to {CUSTOMERS} customers");
            row(&what, growth, "x", Goal::AtMost(GROWTH));
        }
    }
}
