//! The job engine's contract: every behaviour runs on both engines.

use std::sync::Arc;

use chrono::TimeDelta;
use connector_sdk::{Clock, Timestamp};
use halo_sync::domain::OrgId;
use halo_sync::domain::jobs::{
    ClaimedJob, Fence, Finished, JobOutcome, JobState, JobSummary, NewJob, Pushed,
};
use halo_sync::jobs::{Ladder, SeededJitter};
use halo_sync::store::jobs::{Claim, Claimed, Take};
use halo_sync::store::{JobStore, JobsSignal, OpenMode, StoreConfig, Target, postgres, sqlite};
use serde_json::json;

use crate::support::clock::TestClock;

/// Stamps each behaviour (`async fn name(bench: &Bench)`) once for SQLite and once for Postgres.
macro_rules! on_both_engines {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let bench = crate::jobs::Bench::sqlite().await;
                super::$name(&bench).await;
                bench.end().await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(bench) = crate::jobs::Bench::postgres().await else { return };
                super::$name(&bench).await;
                bench.end().await;
            })*
        }
    };
}

mod model;
mod rows;
mod runtime;
mod schedules;
mod touches;

enum Engine {
    Sqlite(Arc<sqlite::Engine>, tempfile::TempDir),
    Postgres(Arc<postgres::Engine>, crate::support::postgres::Database),
}

/// A store of its own, with a clock that the test moves.
pub struct Bench {
    pub store: Arc<dyn JobStore>,
    pub signal: JobsSignal,
    pub clock: TestClock,
    engine: Engine,
}

impl Bench {
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("halo.db");
        let clock = TestClock::default();
        let config = StoreConfig::new(Target::Sqlite(path.clone()));
        let engine =
            sqlite::Engine::open(&path, &config, OpenMode::Exclusive, Arc::new(clock.clone())).await.unwrap();
        let (store, signal) = (Arc::clone(&engine) as Arc<dyn JobStore>, engine.jobs_signal());
        Self { store, signal, clock, engine: Engine::Sqlite(engine, folder) }
    }

    pub async fn postgres() -> Option<Self> {
        let database = crate::support::postgres::Database::migrated().await?;
        let clock = TestClock::default();
        let engine = open_postgres(&database.url, &clock).await;
        let (store, signal) = (Arc::clone(&engine) as Arc<dyn JobStore>, engine.jobs_signal());
        Some(Self { store, signal, clock, engine: Engine::Postgres(engine, database) })
    }

    pub async fn end(self) {
        match self.engine {
            Engine::Sqlite(engine, _folder) => engine.close().await,
            Engine::Postgres(engine, database) => {
                engine.close().await;
                database.drop_it().await;
            }
        }
    }

    /// The database's URL; only for tests of Postgres.
    pub fn postgres_url(&self) -> &str {
        match &self.engine {
            Engine::Sqlite(..) => panic!("this bench runs SQLite"),
            Engine::Postgres(_, database) => &database.url,
        }
    }

    /// A second process on the same database; on SQLite, where there is none, the same one.
    pub async fn other_process(&self) -> Arc<dyn JobStore> {
        match &self.engine {
            Engine::Sqlite(engine, _) => Arc::clone(engine) as Arc<dyn JobStore>,
            Engine::Postgres(_, database) => open_postgres(&database.url, &self.clock).await,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn pass(&self, time: TimeDelta) {
        self.clock.advance_us(time.num_microseconds().unwrap());
    }

    pub async fn push(&self, jobs: Vec<NewJob>) -> Vec<Pushed> {
        self.store.push_jobs(jobs).await.unwrap()
    }

    pub async fn claim_of(&self, limit: i64, take: Take) -> Claimed {
        let now = self.now();
        let claim = Claim {
            worker: "wrk_test".into(),
            limit,
            now,
            lease_until: now + TimeDelta::seconds(8),
            kinds: Vec::new(),
            ahead: Vec::new(),
            take,
        };
        self.store.claim_jobs(claim).await.unwrap()
    }

    pub async fn claim(&self, limit: i64) -> Vec<ClaimedJob> {
        self.claim_of(limit, Take::Healthy).await.jobs
    }

    pub async fn claim_one(&self) -> ClaimedJob {
        let mut jobs = self.claim(1).await;
        assert_eq!(jobs.len(), 1, "one job is claimable");
        jobs.remove(0)
    }

    /// Records an outcome as the runner does; answers whether the claim was held.
    pub async fn record(&self, job: &ClaimedJob, outcome: JobOutcome) -> bool {
        let now = self.now();
        let next_run_at = Ladder::default().next_run_at(&outcome, job.attempts, now, &SeededJitter::new(1));
        let finished =
            Finished { fence: job.fence.clone(), outcome, started_at: now, finished_at: now, next_run_at };
        self.store.record_outcomes(vec![finished]).await.unwrap().is_empty()
    }

    pub async fn list(&self, state: JobState) -> Vec<JobSummary> {
        self.store.list_jobs(None, Some(state), 100_000).await.unwrap()
    }

    /// (ready, running, dead)
    pub async fn counts(&self) -> (i64, i64, i64) {
        let stats = self.store.job_stats(self.now()).await.unwrap();
        (stats.ready, stats.running, stats.dead)
    }
}

pub async fn open_postgres(url: &str, clock: &TestClock) -> Arc<postgres::Engine> {
    let config = StoreConfig::new(Target::Postgres(url.to_owned()));
    postgres::Engine::open(url, &config, OpenMode::Exclusive, Arc::new(clock.clone())).await.unwrap()
}

pub fn org(name: &str) -> OrgId {
    OrgId(format!("org_{name}"))
}

/// A job of `test.work` for an organisation, due now.
pub fn job(bench: &Bench, owner: &str) -> NewJob {
    NewJob { args: json!({"of": owner}), ..NewJob::now("test.work", org(owner), bench.now()) }
}

pub fn keyed(bench: &Bench, owner: &str, key: &str) -> NewJob {
    NewJob { dedupe_key: Some(key.into()), ..job(bench, owner) }
}

pub fn retry(error: &str) -> JobOutcome {
    JobOutcome::Retry { error: error.into(), not_before: None }
}

pub fn id_of(pushed: &Pushed) -> &str {
    match pushed {
        Pushed::Inserted(id) | Pushed::Merged(id) => id.as_str(),
    }
}

pub fn fence_of(job: &ClaimedJob) -> Fence {
    job.fence.clone()
}
