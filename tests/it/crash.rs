//! Crashes: kill -9 at any time loses no acknowledged delivery and applies none twice.
//!
//! The built program serves the webhooks of a sandbox account that lives in this process. Senders change
//! objects and post the signed events until each has its 2xx, old ones now and then again. Meanwhile the
//! program is killed with SIGKILL after random times, and started again at once with the same settings. In
//! the end everything is worked off, and what is stored is compared with the account.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `program` | the built program: start, kill, stop |
//! | `load` | the account and the senders |
//! | `drill` | a lost database comes back from a copy |
//! | `oracle` | what must hold, and forgeries that it must see |
//!
//! `HALO_SYNC_CRASH_KILLS` (default 40) is the number of kills on each engine, `HALO_SYNC_CRASH_SEED` the seed.

mod drill;
mod load;
mod oracle;
mod program;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_sdk::{Clock as _, RecordKey, SystemClock};
use connector_testkit::sandbox::stripe::Kind;
use halo_sync::domain::companies::Company;
use halo_sync::domain::jobs::JobState;
use halo_sync::domain::runs::RunStatus;
use halo_sync::domain::{ConnectionId, OrgId};
use halo_sync::store::Store;
use halo_sync::webhooks::process::PROCESS_JOB;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};

use self::load::{Account, CUSTOMERS, Rng};
use self::oracle::{Ledger, Row};
use self::program::{LOOK, Program, Serving};
use crate::support::postgres::Database;

/// Reference J4: orphaned work goes on this soon after an immediate restart.
const RECOVERY: Duration = Duration::from_secs(10);
/// Reference J10: a request to stop is carried out this soon.
const STOP: Duration = Duration::from_secs(30);
/// The first read, and the end of the backlog.
const DRAIN: Duration = Duration::from_secs(120);
/// More rows than any run makes.
const ALL: i64 = 1_000_000;

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// SIGKILL, 20 to 700 ms after the process was started: mostly before it serves.
    KillStarting,
    /// SIGKILL, 20 to 700 ms after it was ready.
    Kill,
    /// SIGKILL, 20 to 700 ms after what the last kill left behind was seen done.
    KillRecovered,
    /// SIGTERM as soon as it is ready.
    StopReady,
    /// SIGTERM, 20 to 700 ms after it was ready.
    Stop,
}

/// What a restart made of the deliveries that were acknowledged before the kill. Times are from the start of
/// the process.
#[derive(Debug, Clone, Copy)]
struct Recovery {
    /// How many still waited at the first look.
    found: usize,
    /// When the first of them was seen finished.
    went_on: Duration,
    /// When all of them were.
    finished: Duration,
}

/// A program under load, with what was noted of it.
struct Rig {
    program: Program,
    account: Arc<Account>,
    connection: ConnectionId,
    webhook: String,
    ledger: Ledger,
    recoveries: Vec<Recovery>,
    stops: Vec<Duration>,
}

fn org() -> OrgId {
    OrgId::default_org()
}

async fn rows(store: &dyn Store, state: Option<&str>) -> Vec<Row> {
    let deliveries = store.list_deliveries(&org(), None, state, ALL).await.unwrap();
    deliveries
        .into_iter()
        .map(|d| Row {
            event: d.event_id,
            state: d.state,
            attempts: d.attempts,
            finished_at: d.finished_at.map(|at| at.timestamp_micros()),
        })
        .collect()
}

/// What was seen finished at an earlier look has stayed as it was.
async fn observe(program: &Program, ledger: &mut Ledger) {
    let store = program.read().await;
    let complaints = ledger.observe(&rows(&*store, None).await);
    store.close().await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

impl Rig {
    /// Installs, connects, and lets the first read come to its end.
    async fn new(database: Option<Database>) -> Self {
        let account = Account::start().await;
        let program = Program::new(database);
        let sandbox = &account.sandbox;
        let path = program.connect(&sandbox.base_url(), sandbox.api_key(), sandbox.webhook_secret()).await;
        let connection = ConnectionId(path.rsplit('/').next().unwrap().to_owned());
        let webhook = format!("{}{path}", program.address());
        let rig = Self {
            program,
            account,
            connection,
            webhook,
            ledger: Ledger::default(),
            recoveries: Vec::new(),
            stops: Vec::new(),
        };
        let mut serving = rig.program.serve();
        serving.ready().await;
        rig.wait(&mut serving, DRAIN, "the first read", async |store| {
            let runs = store.list_runs(&org(), None, None, 10).await.unwrap();
            let companies = store.list_companies(&org(), None, None, 100).await.unwrap().rows;
            let derived = companies.iter().filter(|c| c.fields.mrr_minor.is_some()).count();
            let read = runs.first().is_some_and(|run| run.status == RunStatus::Succeeded);
            if read && derived == CUSTOMERS { Ok(()) } else { Err(format!("{derived} derived, {runs:?}")) }
        })
        .await;
        let (status, _) = serving.stop(STOP).await;
        assert!(status.success(), "{status}");
        rig
    }

    /// Looks at what is stored until `look` is content.
    async fn wait<T>(
        &self,
        serving: &mut Serving<'_>,
        limit: Duration,
        what: &str,
        look: impl AsyncFn(&dyn Store) -> Result<T, String>,
    ) -> T {
        let from = Instant::now();
        let store = self.program.read().await;
        let value = loop {
            let complaint = match look(&*store).await {
                Ok(value) => break value,
                Err(complaint) => complaint,
            };
            serving.assert_lives();
            assert!(
                from.elapsed() < limit,
                "{what}: not within {limit:?}: {complaint}\n{}",
                self.program.log()
            );
            tokio::time::sleep(LOOK).await;
        };
        // Closed before the process is killed, so that the next one alone recovers the file.
        store.close().await;
        value
    }

    /// Starts and ends the program under load, once for each of `ends`, and lets it work off the rest.
    async fn run(&mut self, ends: &[End], seed: u64) {
        let mut rng = Rng(seed);
        let mut senders = self.account.begin(&self.webhook, seed);
        // What was acknowledged when the last process ended.
        let mut before: BTreeSet<String> = BTreeSet::new();
        for (n, end) in ends.iter().enumerate() {
            let mut serving = self.program.serve();
            if *end != End::KillStarting {
                serving.ready().await;
            }
            let recovery = match *end {
                End::KillRecovered => Some(self.recover(&mut serving, &before).await),
                _ => None,
            };
            if recovery.is_some() {
                observe(&self.program, &mut self.ledger).await;
            }
            let delay = Duration::from_millis(20 + rng.below(681));
            if *end != End::StopReady {
                tokio::time::sleep(delay).await;
            }
            senders.assert_live().await;
            let stopped = match end {
                End::Stop | End::StopReady => {
                    let (status, took) = serving.stop(STOP).await;
                    assert!(status.success(), "end {n}: {status}\n{}", self.program.log());
                    Some(took)
                }
                _ => {
                    serving.kill();
                    None
                }
            };
            if let Some(took) = stopped {
                self.stops.push(took);
                self.assert_handed_back().await;
            }
            self.recoveries.extend(recovery);
            before = self.account.book.lock().unwrap().acked.clone();
        }
        let mut serving = self.program.serve();
        serving.ready().await;
        let last = self.recover(&mut serving, &before).await;
        senders.end().await;
        self.wait(&mut serving, DRAIN, "the backlog", async |store| {
            let pending = store.list_deliveries(&org(), None, Some("pending"), 10).await.unwrap();
            let stats = store.job_stats(SystemClock.now()).await.unwrap();
            let idle = pending.is_empty() && stats.ready + stats.running == 0;
            if idle { Ok(()) } else { Err(format!("{stats:?}, pending {pending:?}")) }
        })
        .await;
        let (status, took) = serving.stop(STOP).await;
        assert!(status.success(), "{status}");
        self.stops.push(took);
        self.recoveries.push(last);
    }

    /// Waits until everything acknowledged before the restart is finished, and its job too: a job that is killed
    /// again and again without ever coming to its end is poison by all that the program can see, and would
    /// rightly be buried.
    async fn recover(&self, serving: &mut Serving<'_>, before: &BTreeSet<String>) -> Recovery {
        let (started, found, went_on) = (serving.started, Cell::new(None), Cell::new(None));
        let restarted = SystemClock.now();
        self.wait(serving, DRAIN, "what was acknowledged before the kill", async |store| {
            let pending = rows(store, Some("pending")).await;
            let left = pending.iter().filter(|row| before.contains(&row.event)).count();
            let first = *found.get().get_or_insert(left);
            found.set(Some(first));
            if went_on.get().is_none() && (left == 0 || left < first) {
                went_on.set(Some(started.elapsed()));
            }
            if left == 0 { Ok(()) } else { Err(format!("{left} still wait")) }
        })
        .await;
        let finished = started.elapsed();
        self.wait(serving, DRAIN, "the end of the job", async |store| {
            let done = store.list_jobs(None, Some(JobState::Done), 50).await.unwrap();
            let ended = done.iter().any(|job| job.kind == PROCESS_JOB && job.at > restarted);
            if ended { Ok(()) } else { Err("no job has come to its end".to_owned()) }
        })
        .await;
        let went_on = went_on.get().unwrap_or(finished);
        assert!(went_on <= RECOVERY, "orphaned work went on after {went_on:?}");
        Recovery { found: found.get().unwrap_or(0), went_on, finished }
    }

    /// After a graceful stop no job is held.
    async fn assert_handed_back(&self) {
        let store = self.program.read().await;
        let held = store.list_jobs(None, Some(JobState::Running), 10).await.unwrap();
        store.close().await;
        assert!(held.is_empty(), "held after a graceful stop: {held:?}");
    }

    /// Compares everything that is stored with the account.
    async fn judge(&mut self) {
        observe(&self.program, &mut self.ledger).await;
        let store = self.program.read().await;
        let mut complaints = self.judge_inbox(&*store).await;
        complaints.extend(self.judge_mirror(&*store).await);
        complaints.extend(self.judge_companies(&*store).await);
        let stats = store.job_stats(SystemClock.now()).await.unwrap();
        if (stats.ready, stats.running, stats.dead) != (0, 0, 0) {
            complaints.push(format!("jobs are left: {stats:?}"));
            let dead = store.list_jobs(None, Some(JobState::Dead), 5).await.unwrap();
            complaints.extend(dead.iter().map(|job| format!("{job:?}")));
        }
        store.close().await;
        if self.program.on_sqlite() {
            complaints.extend(integrity(&self.program.file()).await);
        }
        let log = self.program.log();
        complaints.extend(log.lines().filter(|line| line.contains("panicked")).map(str::to_owned));
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

    async fn judge_inbox(&self, store: &dyn Store) -> Vec<String> {
        let stored = rows(store, None).await;
        let book = self.account.book.lock().unwrap();
        assert_eq!(book.acked.len(), book.sent.len(), "the senders have ended");
        oracle::inbox(&book.acked, &book.sent, &stored)
    }

    async fn judge_mirror(&self, store: &dyn Store) -> Vec<String> {
        let (mut theirs, mut keys) = (BTreeMap::new(), Vec::new());
        let streams = [
            ("subscriptions", Kind::Subscriptions),
            ("customers", Kind::Customers),
            ("charges", Kind::Charges),
        ];
        let mut complaints = Vec::new();
        let counts = store.count_records(&org(), &self.connection).await.unwrap();
        for (stream, kind) in streams {
            let ids = self.account.sandbox.ids(kind);
            let counted = counts.iter().find(|c| c.stream == stream).map_or(0, |c| c.records);
            if counted != i64::try_from(ids.len()).unwrap() {
                complaints.push(format!("{counted} {stream} in the mirror, {} at the provider", ids.len()));
            }
            for id in ids {
                let key = RecordKey::new(stream, id.as_str());
                theirs.insert(key.to_string(), self.account.sandbox.object(kind, &id).unwrap());
                keys.push(key);
            }
        }
        let mut ours = BTreeMap::new();
        for keys in keys.chunks(500) {
            for record in store.load_records(&org(), &self.connection, keys).await.unwrap() {
                assert!(record.deleted_at.is_none(), "{}", record.key);
                ours.insert(record.key.to_string(), serde_json::from_str(&record.payload).unwrap());
            }
        }
        complaints.extend(oracle::mirror(&theirs, &ours));
        complaints
    }

    async fn judge_companies(&self, store: &dyn Store) -> Vec<String> {
        let companies = store.list_companies(&org(), None, None, 100).await.unwrap().rows;
        let mut complaints = Vec::new();
        if companies.len() != CUSTOMERS {
            complaints.push(format!("{} companies of {CUSTOMERS} customers", companies.len()));
        }
        let sandbox = &self.account.sandbox;
        let charges: Vec<Value> =
            sandbox.ids(Kind::Charges).iter().map(|id| sandbox.object(Kind::Charges, id).unwrap()).collect();
        for customer in &self.account.customers {
            let of_customer =
                |c: &&Company| c.custom_fields.get("stripe_customer_id") == Some(&json!(customer.id));
            let Some(company) = companies.iter().find(of_customer) else {
                complaints.push(format!("{}: no company", customer.id));
                continue;
            };
            let mrr = customer.unit_amount * self.account.quantity(customer);
            let paid: i64 = charges
                .iter()
                .filter(|charge| charge["customer"] == customer.id.as_str())
                .map(|charge| charge["amount_captured"].as_i64().unwrap())
                .sum();
            let wanted = [
                ("mrr", json!(mrr), json!(company.fields.mrr_minor)),
                ("arr", json!(12 * mrr), json!(company.fields.arr_minor)),
                (
                    "lifetime_value",
                    json!(format!("{}.{:02} USD", paid / 100, paid % 100)),
                    company.custom_fields.get("lifetime_value").cloned().unwrap_or(Value::Null),
                ),
            ];
            for (name, theirs, ours) in wanted {
                if theirs != ours {
                    complaints.push(format!("{}: {name} is {ours}, not {theirs}", customer.id));
                }
            }
            let mut changes: Vec<(Value, Value)> = store
                .list_field_changes(&org(), &company.id, Some("mrr_minor"), ALL)
                .await
                .unwrap()
                .into_iter()
                .map(|change| (change.old, change.new))
                .collect();
            changes.reverse();
            let broken = oracle::chain(&changes, &json!(mrr));
            complaints.extend(broken.into_iter().map(|c| format!("{}: mrr: {c}", customer.id)));
        }
        complaints
    }

    /// One line of what was done and measured.
    fn summary(&self, engine: &str, seed: u64, ends: &[End], took: Duration) -> String {
        let book = self.account.book.lock().unwrap();
        let kills = ends.iter().filter(|end| !matches!(end, End::Stop | End::StopReady)).count();
        let slowest =
            |of: fn(&Recovery) -> Duration| self.recoveries.iter().map(of).max().unwrap_or_default();
        let (went_on, finished) = (slowest(|r| r.went_on), slowest(|r| r.finished));
        let orphaned: usize = self.recoveries.iter().map(|r| r.found).sum();
        let slowest_stop = self.stops.iter().max().copied().unwrap_or_default();
        format!(
            "crash on {engine}: seed {seed}, {kills} kills, {} stops (slowest {slowest_stop:.1?}), {} events, \
             {} acknowledged, {} duplicates, {} unanswered, {} recoveries measured ({orphaned} deliveries found \
             waiting; at the slowest work went on after {went_on:.1?} and all was done after {finished:.1?}), {took:.0?}",
            self.stops.len(),
            book.sent.len(),
            book.acked.len(),
            book.duplicates,
            book.unanswered,
            self.recoveries.len(),
        )
    }
}

async fn integrity(file: &Path) -> Vec<String> {
    let mut c = SqliteConnection::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let said: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut c).await.unwrap();
    c.close().await.unwrap();
    if said == ["ok"] { Vec::new() } else { said }
}

async fn crash(engine: &str, database: Option<Database>, ends: &[End]) {
    // One after the other: times are measured.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = ALONE.lock().await;
    let from = Instant::now();
    let seed = from_env("HALO_SYNC_CRASH_SEED", 20_260_101);
    let mut rig = Rig::new(database).await;
    rig.run(ends, seed).await;
    rig.judge().await;
    eprintln!("{}", rig.summary(engine, seed, ends, from.elapsed()));
    rig.program.remove().await;
}

/// The kills of a run: every fifth in the start, every `measured`-th of the others after the recovery.
fn kills(measured: usize) -> Vec<End> {
    let count = usize::try_from(from_env("HALO_SYNC_CRASH_KILLS", 40)).unwrap();
    (1..=count)
        .map(|n| match n {
            n if n % 5 == 0 => End::KillStarting,
            n if n % measured == 0 => End::KillRecovered,
            _ => End::Kill,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_and_double_nothing_on_sqlite() {
    crash("SQLite", None, &kills(1)).await;
}

/// Another process may be alive, so the work of a dead one is free when its lease ends: recoveries take
/// seconds, and only some are waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_and_double_nothing_on_postgres() {
    let Some(database) = Database::empty().await else { return };
    crash("Postgres", Some(database), &kills(8)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_under_load_hand_everything_back() {
    let ends = [End::Stop, End::StopReady, End::Stop, End::Stop, End::Stop, End::StopReady];
    crash("SQLite", None, &ends).await;
    let Some(database) = Database::empty().await else { return };
    crash("Postgres", Some(database), &ends).await;
}
