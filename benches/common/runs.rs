//! The worker as `serve` starts it, and runs watched to their end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use halo_sync::config;
use halo_sync::derive::Settings;
use halo_sync::domain::RunId;
use halo_sync::domain::runs::{Counts, RunStatus};
use halo_sync::jobs::RuntimeBuilder;
use halo_sync::recompute;
use halo_sync::service::Services;
use halo_sync::sync::run::RunLimits;
use halo_sync::worker::builder;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use super::org;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The worker with the settings that `serve` has by itself.
pub async fn worker(services: &Services) -> RuntimeBuilder {
    let settings = Arc::new(Settings::default());
    recompute::mark_if_settings_changed(&*services.store, &*services.clock, &settings).await.expect("marked");
    let sync = config::Sync::default();
    let limits = RunLimits { pages: sync.page_budget, time: Duration::from_secs(sync.job_seconds) };
    builder(services, &settings, &services.store.jobs_signal(), limits)
        .concurrency(config::Worker::default().concurrency)
        .sole_process(services.store.engine() == "sqlite")
}

/// A connection of its own to the database, beside the program.
pub enum Eye {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Eye {
    /// `sqlite` by the file's path, else a Postgres URL.
    pub async fn open(place: &str) -> Self {
        if place.starts_with("postgres") {
            Self::Postgres(PgConnection::connect(place).await.expect("connects"))
        } else {
            Self::Sqlite(SqliteConnection::connect(&format!("sqlite:{place}")).await.expect("connects"))
        }
    }

    /// What a query counts.
    pub async fn count(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(connection) => sqlx::query_scalar(sql).fetch_one(connection).await,
            Self::Postgres(connection) => sqlx::query_scalar(sql).fetch_one(connection).await,
        }
        .expect("counted")
    }

    /// Returns when the table has no row that meets the condition.
    pub async fn until_none(&mut self, table: &str, condition: &str) {
        let sql = format!("SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE {condition} LIMIT 1) d");
        while self.count(&sql).await > 0 {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Waits until a run is finished and, where it is to be `derived`, nothing is left to derive; what it counted,
/// and when all was read.
pub async fn finished(services: &Services, eye: &mut Eye, run: &Value, derived: bool) -> (Counts, Duration) {
    let begun = Instant::now();
    let run = RunId(run["id"].as_str().expect("a run").to_owned());
    let counts = loop {
        let stored = services.store.find_run(&org(), &run).await.expect("read").expect("the run");
        if stored.status != RunStatus::Running {
            assert_eq!(stored.status, RunStatus::Succeeded, "{:?}", stored.error);
            let mut counts = Counts::default();
            stored.streams.iter().for_each(|stream| counts.add(&stream.counts));
            break counts;
        }
        tokio::time::sleep(LOOK).await;
    };
    let read = begun.elapsed();
    if derived {
        eye.until_none("dirty_companies", "1 = 1").await;
    }
    (counts, read)
}
