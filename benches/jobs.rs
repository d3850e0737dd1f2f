//! The job engine's figures on both engines: no-op jobs claimed, run and recorded per second, and the time from
//! the call of a push to the start of its job on an idle worker.
//!
//! `cargo bench --bench jobs [-- JOBS]`. Durable settings on both sides (SQLite `synchronous=FULL`, Postgres with
//! fsync); the pushing side runs in the same process.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its figures, and nothing is left to do when it cannot measure"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use connector_sdk::{Clock, SystemClock};
use halo_sync::domain::OrgId;
use halo_sync::domain::jobs::{JobOutcome, NewJob};
use halo_sync::jobs::{JobContext, JobHandler, Runtime, RuntimeHandle};
use halo_sync::store::{JobStore, JobsSignal, OpenMode, StoreConfig, Target, postgres, sqlite};
use tokio::sync::mpsc;

#[path = "common/support.rs"]
#[expect(dead_code, unreachable_pub, reason = "the tests' helpers; a benchmark needs some of them")]
mod support;

/// What the project is held to.
const JOBS_PER_SECOND: f64 = 10_000.0;
const START_P99_MS: f64 = 100.0;
/// Jobs that run at once. A claim takes half of them at a time, so that this is also the size of the commits.
const SLOTS: usize = 256;
const LATENCY_PUSHES: usize = 500;
const BACKLOG_OF_OTHERS: usize = 100_000;

struct Noop(mpsc::UnboundedSender<Instant>);

#[async_trait]
impl JobHandler for Noop {
    fn kind(&self) -> &'static str {
        "bench.noop"
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(10)
    }

    async fn run(&self, _: JobContext) -> JobOutcome {
        let _ = self.0.send(Instant::now());
        JobOutcome::Done
    }
}

fn jobs(count: usize, kind: &'static str) -> Vec<NewJob> {
    let now = SystemClock.now();
    (0..count).map(|i| NewJob::now(kind, OrgId(format!("org_{}", i % 10)), now)).collect()
}

async fn start(
    store: &Arc<dyn JobStore>,
    signal: &JobsSignal,
) -> (RuntimeHandle, mpsc::UnboundedReceiver<Instant>) {
    let (sender, starts) = mpsc::unbounded_channel();
    let runtime = Runtime::builder(Arc::clone(store), Arc::new(SystemClock))
        .register(Arc::new(Noop(sender)))
        .signal(signal.clone())
        .concurrency(SLOTS)
        .sole_process(true)
        .start()
        .await
        .expect("the runtime starts");
    (runtime, starts)
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or("?").to_owned()
}

async fn throughput(engine: &str, what: &str, store: &Arc<dyn JobStore>, signal: &JobsSignal, count: usize) {
    let begun = Instant::now();
    for _ in 0..count / 1000 {
        store.push_jobs(jobs(1000, "bench.noop")).await.expect("pushed");
    }
    let pushed = count as f64 / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    let (runtime, _starts) = start(store, signal).await;
    runtime.drain().await;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    let stats = runtime.stats();
    assert_eq!(stats.done, count as u64, "every job ran");
    println!(
        "{engine:<9} {what:<34} {rate:>9.0} jobs/s  {:>5.2} x the goal   (pushed {pushed:.0}/s; {} claims, {} record batches; load {})",
        rate / JOBS_PER_SECOND,
        stats.claims,
        stats.record_batches,
        load()
    );
    runtime.stop(Duration::from_secs(5)).await;
}

async fn latency(engine: &str, store: &Arc<dyn JobStore>, signal: &JobsSignal) {
    let (runtime, mut starts) = start(store, signal).await;
    let mut waits = Vec::with_capacity(LATENCY_PUSHES);
    for _ in 0..LATENCY_PUSHES {
        runtime.drain().await;
        let begun = Instant::now();
        store.push_jobs(jobs(1, "bench.noop")).await.expect("pushed");
        let started = starts.recv().await.expect("started");
        waits.push(started.duration_since(begun).as_secs_f64() * 1e3);
    }
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    println!(
        "{engine:<9} {:<34} p50 {:.1} ms  p99 {:.1} ms  max {:.1} ms  {:>5.2} x the goal   (load {})",
        "push to start, idle",
        at(0.5),
        at(0.99),
        at(1.0),
        at(0.99) / START_P99_MS,
        load()
    );
    runtime.stop(Duration::from_secs(5)).await;
}

async fn measure(engine: &str, store: Arc<dyn JobStore>, signal: JobsSignal, count: usize) {
    throughput(engine, "no-op jobs", &store, &signal, count).await;
    latency(engine, &store, &signal).await;
    for _ in 0..BACKLOG_OF_OTHERS / 5000 {
        store.push_jobs(jobs(5000, "bench.other")).await.expect("pushed");
    }
    throughput(engine, "no-op jobs beside 100,000 others", &store, &signal, count).await;
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let count = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(50_000);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bench.db");
    let config = StoreConfig::new(Target::Sqlite(path.clone()));
    let lite =
        sqlite::Engine::open(&path, &config, OpenMode::Exclusive, Arc::clone(&clock)).await.expect("opens");
    let signal = lite.jobs_signal();
    measure("SQLite", Arc::clone(&lite) as Arc<dyn JobStore>, signal, count).await;
    lite.close().await;

    support::postgres::DURABLE.store(true, std::sync::atomic::Ordering::SeqCst);
    let Some(database) = support::postgres::Database::empty().await else { return };
    let config = StoreConfig::new(Target::Postgres(database.url.clone()));
    let pg = postgres::Engine::open(&database.url, &config, OpenMode::Exclusive, clock).await.expect("opens");
    let signal = pg.jobs_signal();
    measure("Postgres", Arc::clone(&pg) as Arc<dyn JobStore>, signal, count).await;
    pg.close().await;
    database.drop_it().await;
}
