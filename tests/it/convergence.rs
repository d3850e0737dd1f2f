//! Convergence: whatever happens to webhooks, to calls, to the process, what is stored becomes what is there.
//!
//! Each seed is a history of a Stripe account of its own: customers, subscriptions, invoices, money, catalogue and
//! schedules change, while the built program reads the account, is told of changes, and is killed. Its webhooks are
//! lost, doubled, late, out of order; its calls are throttled, refused, cut, spoilt, held up; objects change between
//! two of them. When everything has come to rest, the mirror and every company are compared with the account
//! (`support::truth`) and with sums that the driver keeps by itself (`book`).
//!
//! Which of the ways back must suffice depends on the seed: webhooks alone where none is lost, an incremental run, or
//! a full one. Several seeds share a process and a database, one connection each.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `history` | what happens |
//! | `book` | what it comes to in money |
//!
//! `HALO_SYNC_CONVERGENCE_SEEDS` (default 500) is how many histories are run over both engines, and
//! `HALO_SYNC_CONVERGENCE_SEED` one of them alone. A history, the fate of its webhooks and the rounds with a kill follow
//! from the seed; which call of the program a fault meets, and where in its work a kill finds it, are the machine's.

mod book;
mod history;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use connector_sdk::{Clock as _, RecordKey, SystemClock};
use connector_testkit::sandbox::chance::Chance;
use connector_testkit::sandbox::faults::{Fault, FaultRule, WebhookFaults};
use connector_testkit::sandbox::stripe::{Options, SandboxEvent, StripeSandbox};
use futures_util::StreamExt as _;
use halo_sync::domain::companies::{Company, TraitPatch};
use halo_sync::domain::jobs::JobState;
use halo_sync::domain::{ConnectionId, OrgId, Rank};
use halo_sync::service::{Connect, Request};
use halo_sync::store::Store;
use halo_sync::store::identity::{Lookup, WriteSource};
use serde_json::{Map, Value, json};

use self::book::Customer;
use self::history::{History, OPERATIONS};
use crate::support::clock::TestClock;
use crate::support::installation::{Desk, Program, Serving};
use crate::support::postgres::Database;
use crate::support::truth::{self, Known, Truth};

/// Histories over both engines.
const SEEDS: u64 = 500;
/// Batches of an engine that run at once: much of their time is waiting for a retry.
const LANES: usize = 4;
/// Calls must have met each of these.
const FAULTS: [&str; 12] = [
    "429",
    "429 with Retry-After",
    "cut body",
    "error with 200",
    "garbage",
    "html",
    "no body",
    "slow",
    "stall",
    "status",
    "then a write",
    "truncated JSON",
];
/// Seeds that share a process.
const TOGETHER: u64 = 25;
const ROUNDS: u64 = 5;
/// Everything has come to rest this soon: a call that stalls is given up after half a minute, and failures in a row
/// wait 5, 20, 80 seconds.
const REST: Duration = Duration::from_secs(240);
/// A request that gets no answer is made again, as a provider does.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// The way back that must suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Webhooks,
    Incremental,
    Full,
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn org() -> OrgId {
    OrgId::default_org()
}

/// One seed's account and what is sent of it.
struct Case {
    seed: u64,
    way: Way,
    sandbox: Arc<StripeSandbox>,
    history: History,
    faults: WebhookFaults,
    chance: Chance,
    connection: ConnectionId,
    late: Vec<SandboxEvent>,
    /// What became of webhooks, in how many cases.
    fates: BTreeMap<&'static str, u64>,
    steps: Vec<&'static str>,
}

/// Events that only a full run makes up for.
fn ends(event: &SandboxEvent) -> bool {
    matches!(event.kind.as_str(), "customer.deleted" | "product.deleted" | "coupon.deleted")
}

impl Case {
    fn name(seed: u64) -> String {
        format!("s{seed}")
    }

    fn has_company(seed: u64) -> bool {
        seed.is_multiple_of(3)
    }

    fn company(seed: u64) -> String {
        format!("company-{seed}")
    }

    /// The account before it is connected.
    async fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed.wrapping_mul(0x9E37_79B9).wrapping_add(1));
        let way =
            [Way::Webhooks, Way::Webhooks, Way::Incremental, Way::Full][usize::try_from(seed % 4).unwrap()];
        // An incremental run looks a week back at what is history; a full one at everything.
        let days = if way == Way::Incremental { 5 } else { 20 };
        let clock = TestClock::default();
        // Half an hour beside now, as whole hours pass: no period ends while the test looks.
        let begin = SystemClock.now() - TimeDelta::days(days) + TimeDelta::minutes(30);
        clock.advance_us((begin - clock.now()).num_microseconds().unwrap());
        let options = Options {
            clock: Arc::new(clock.clone()),
            signing_clock: Some(Arc::new(SystemClock)),
            ..Options::default()
        };
        let sandbox = Arc::new(StripeSandbox::start(options).await.unwrap());
        let companies = if Self::has_company(seed) { vec![Self::company(seed)] } else { Vec::new() };
        let mut history =
            History::new(sandbox.clone(), clock, Chance::new(chance.draw()), &Self::name(seed), companies);
        let mut steps = Vec::new();
        for _ in 0..5 {
            steps.push(history.step());
        }
        drop(sandbox.take_events());
        let mut faults = WebhookFaults::new(chance.draw());
        (faults.doubled, faults.late, faults.reordered) = (100, 150, 500);
        if way != Way::Webhooks {
            faults.lost = 300;
        }
        let connection = ConnectionId(String::new());
        Self {
            seed,
            way,
            sandbox,
            history,
            faults,
            chance,
            connection,
            late: Vec::new(),
            fates: BTreeMap::new(),
            steps,
        }
    }

    /// What goes wrong with calls from now on.
    fn spoil(&mut self) {
        let faults = self.sandbox.faults();
        if self.chance.hits(400) {
            let mut kinds = Fault::passing();
            kinds.push(Fault::Slow(Duration::from_millis(300)));
            self.chance.shuffle(&mut kinds);
            faults.at_random(self.chance.draw(), 100, 1, kinds);
        }
        if self.seed % 75 == 7 {
            faults.add(FaultRule::next("/v1/subscriptions", Fault::Stall));
        }
        if self.chance.hits(500)
            && let Some(customer) = self.history.bystander()
        {
            for (path, skip) in [("/v1/customers?", 0), ("/v1/customers/", 1)] {
                let form = json!({"description": format!("between two calls {skip}")});
                let fault =
                    Fault::ThenWrite { method: "POST", path: format!("/v1/customers/{customer}"), form };
                faults.add(FaultRule { path: path.to_owned(), skip, times: 1, fault });
            }
        }
    }

    fn note(&mut self, fate: &'static str, times: usize) {
        if times > 0 {
            *self.fates.entry(fate).or_default() += times as u64;
        }
    }

    /// What happens in a round, and the events that are to be posted.
    fn round(&mut self) -> Vec<SandboxEvent> {
        for _ in 0..1 + self.chance.below(3) {
            self.steps.push(self.history.step());
        }
        // A write between two calls comes when the program calls: chance must not hang on it.
        let (aside, made): (Vec<_>, Vec<_>) = self
            .sandbox
            .take_events()
            .into_iter()
            .partition(|event| event.body.contains("between two calls"));
        let mut sending = self.faults.send(made);
        // What was late comes now, or later still.
        let mut late = std::mem::take(&mut self.late);
        self.chance.shuffle(&mut late);
        let stay = usize::try_from(self.chance.below(late.len() as u64 + 1)).unwrap();
        self.late = late.split_off(late.len() - stay);
        self.note("lost", sending.lost.len());
        self.note("doubled", sending.doubled);
        self.note("late", sending.later.len());
        self.note("reordered", usize::from(sending.reordered));
        if self.way == Way::Incremental {
            let kept: Vec<_> = sending.lost.into_iter().filter(ends).collect();
            sending.now.extend(kept);
        }
        self.late.extend(sending.later);
        late.extend(sending.now);
        late.extend(aside);
        late
    }

    /// Everything that is still to be posted.
    fn rest(&mut self) -> Vec<SandboxEvent> {
        let mut rest = std::mem::take(&mut self.late);
        rest.extend(self.sandbox.take_events());
        rest
    }

    /// Posts until each is acknowledged.
    async fn post(&self, events: &[SandboxEvent]) {
        let until = Instant::now() + PATIENCE;
        for event in events {
            loop {
                let status = self.sandbox.deliver(event).await[0].status;
                match status {
                    Some(200..300) => break,
                    Some(500..) | None => {}
                    Some(status) => panic!("seed {}: {} was refused with {status}", self.seed, event.kind),
                }
                assert!(Instant::now() < until, "seed {}: {} is not taken", self.seed, event.kind);
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    async fn complaints(&self, store: &dyn Store, companies: &[Company], known: &Known) -> Vec<String> {
        let truth = Truth::of(&self.sandbox);
        let mut complaints = truth.mirror_complaints(store, &org(), &self.connection).await;
        complaints.extend(truth.company_complaints(companies, &self.connection, known));
        let counted: Vec<&Customer> = self
            .history
            .customers
            .iter()
            .filter(|c| {
                !c.gone || known.contains(&self.connection, &RecordKey::new("customers", c.id.as_str()))
            })
            .collect();
        for (name, money) in book::money(counted) {
            let Some(company) = truth::find(companies, &name) else { continue };
            if company.fields.mrr_minor != Some(money.mrr) {
                complaints
                    .push(format!("{name}: mrr is {:?}, added up {}", company.fields.mrr_minor, money.mrr));
            }
            let ours = company.custom_fields.get("lifetime_value").unwrap_or(&Value::Null);
            let theirs = format!("{}.{:02} USD", money.ltv / 100, money.ltv % 100);
            if *ours != theirs.as_str() && !(money.ltv == 0 && ours.is_null()) {
                complaints.push(format!("{name}: lifetime value is {ours}, added up {theirs}"));
            }
        }
        complaints
    }
}

/// Counts of what was done, over all cases.
#[derive(Debug, Default)]
struct Tally {
    operations: BTreeMap<&'static str, u64>,
    fates: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
    ways: BTreeMap<Way, u64>,
    kills: u64,
    seeds: u64,
}

fn add<K: Ord + Copy>(to: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (key, count) in from {
        *to.entry(*key).or_default() += count;
    }
}

/// Several seeds on one process and one database.
struct Batch {
    number: u64,
    program: Program,
    desk: Option<Desk>,
    cases: Vec<Case>,
    kills: u64,
}

impl Batch {
    async fn new(number: u64, seeds: Vec<u64>, database: Option<Database>) -> Self {
        let program = Program::new(database);
        let desk = program.desk().await;
        let source = WriteSource { rank: Rank::Server, source: "sdk".to_owned(), at: SystemClock.now() };
        let mut cases = Vec::new();
        for seed in seeds {
            let mut case = Case::new(seed).await;
            if Case::has_company(seed) {
                // The product has told of it before.
                let external = Case::company(seed);
                let patch = TraitPatch {
                    traits: Map::from_iter([("name".to_owned(), json!(external))]),
                    ..TraitPatch::default()
                };
                desk.store().put_company(&org(), &Lookup::External(external), &patch, &source).await.unwrap();
            }
            let sandbox = &case.sandbox;
            let connect = Connect {
                connector: "stripe".to_owned(),
                name: Case::name(seed),
                config: json!({"base_url": sandbox.base_url(), "rate_limit": "none"}),
                secrets: vec![("api_key".to_owned(), sandbox.api_key().to_owned().into())],
                webhook_secrets: vec![sandbox.webhook_secret().to_owned().into()],
                backfill: true,
            };
            let answer = desk.ask(&org(), Request::Connect(connect)).await.unwrap();
            let path = answer["webhook_path"].as_str().unwrap();
            sandbox.register_webhook(&format!("{}{path}", program.address()));
            case.connection = ConnectionId(path.rsplit('/').next().unwrap().to_owned());
            case.spoil();
            cases.push(case);
        }
        let desk = if program.on_sqlite() {
            // The file belongs to the program from now on.
            desk.store().close().await;
            None
        } else {
            Some(desk)
        };
        Self { number, program, desk, cases, kills: 0 }
    }

    /// The whole of it; what was wrong, by seed.
    async fn run(&mut self) -> BTreeMap<u64, Vec<String>> {
        let program = &self.program;
        let from = Instant::now();
        let mut serving = program.serve();
        serving.ready().await;
        for round in 0..ROUNDS {
            let mut chance = Chance::new(self.number * ROUNDS + round);
            let kill = chance.hits(250).then(|| Duration::from_millis(chance.below(300)));
            let posts: Vec<_> = self.cases.iter_mut().map(|case| (case.round(), &*case)).collect();
            let posts = posts.into_iter().map(|(events, case)| async move { case.post(&events).await });
            let posts = futures_util::future::join_all(posts);
            if let Some(delay) = kill {
                let killing = async {
                    tokio::time::sleep(delay).await;
                    serving.kill();
                    let mut again = program.serve();
                    again.ready().await;
                    again
                };
                (_, serving) = tokio::join!(posts, killing);
                self.kills += 1;
            } else {
                posts.await;
            }
            // Runs go on meanwhile.
            for case in self.cases.iter_mut().filter(|case| case.seed % ROUNDS == round) {
                let full = case.chance.hits(300);
                begin_run(program, self.desk.as_ref(), case.seed, full).await;
            }
        }
        let rounds = from.elapsed();
        // Calls that are answered for these may be followed by a write, which is told of as well.
        loop {
            let mut told = 0;
            for case in &mut self.cases {
                let rest = case.rest();
                case.post(&rest).await;
                told += rest.len();
            }
            if told == 0 {
                break;
            }
            rest(program, &mut serving).await;
        }
        let rested = from.elapsed();
        let mut complaints = self.compare(|way| way == Way::Webhooks).await;
        // What is written behind a run's own calls is for the next run. Nobody is told of it.
        let mut behind: Vec<_> = self.cases.iter_mut().filter(|case| case.way != Way::Webhooks).collect();
        while !behind.is_empty() {
            for case in &behind {
                begin_run(program, self.desk.as_ref(), case.seed, case.way == Way::Full).await;
            }
            rest(program, &mut serving).await;
            behind.retain_mut(|case| !case.rest().is_empty());
        }
        eprintln!(
            "batch {}: {} seeds, {} kills, rounds {rounds:.1?}, at rest after {rested:.1?}, all after {:.1?}",
            self.number,
            self.cases.len(),
            self.kills,
            from.elapsed()
        );
        complaints.extend(self.compare(|way| way != Way::Webhooks).await);
        let (status, _) = serving.stop(REST).await;
        assert!(status.success(), "{status}: {}", program.log());
        let log = program.log();
        assert!(!log.contains("panicked"), "{log}");
        complaints
    }

    async fn compare(&self, which: impl Fn(Way) -> bool) -> BTreeMap<u64, Vec<String>> {
        let store = self.program.read().await;
        let companies = store.list_companies(&org(), None, None, 100_000).await.unwrap().rows;
        let known = Known::of(&*store, &org()).await;
        let dead = store.list_jobs(None, Some(JobState::Dead), 10).await.unwrap();
        assert!(dead.is_empty(), "dead letters: {dead:#?}");
        let mut out = BTreeMap::new();
        for case in self.cases.iter().filter(|case| which(case.way)) {
            let complaints = case.complaints(&*store, &companies, &known).await;
            if !complaints.is_empty() {
                out.insert(case.seed, complaints);
            }
        }
        store.close().await;
        out
    }
}

/// Asks for a run. One that is under way already answers for it.
async fn begin_run(program: &Program, desk: Option<&Desk>, seed: u64, full: bool) {
    let request = Request::Sync { connection: Case::name(seed), full, streams: Vec::new() };
    let answer = match desk {
        Some(desk) => desk.ask(&org(), request).await,
        None => program.ask(&org(), request).await,
    };
    answer.unwrap_or_else(|e| panic!("seed {seed}: a run: {e:?}"));
}

/// Waits until no work is left.
async fn rest(program: &Program, serving: &mut Serving<'_>) {
    let from = Instant::now();
    let store = program.read().await;
    loop {
        let stats = store.job_stats(SystemClock.now()).await.unwrap();
        let pending = store.list_deliveries(&org(), None, Some("pending"), 1).await.unwrap();
        if stats.ready + stats.running == 0 && pending.is_empty() {
            break;
        }
        serving.assert_lives();
        if from.elapsed() >= REST {
            let ready = store.list_jobs(None, Some(JobState::Ready), 10).await.unwrap();
            panic!("no rest within {REST:?}: {stats:?} {ready:#?}\n{}", program.log());
        }
        tokio::time::sleep(LOOK).await;
    }
    store.close().await;
}

/// Runs the seeds of an engine: batches are dealt out in turn.
async fn converge(engine: &'static str, turn: u64) {
    let alone = from_env("HALO_SYNC_CONVERGENCE_SEED");
    let count = from_env("HALO_SYNC_CONVERGENCE_SEEDS").unwrap_or(SEEDS);
    let seeds: Vec<u64> = match alone {
        Some(seed) => vec![seed],
        None => (0..count).collect(),
    };
    let mut batches: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for seed in seeds {
        batches.entry(seed / TOGETHER).or_default().push(seed);
    }
    batches.retain(|number, _| number % 2 == turn);
    let from = Instant::now();
    let run = async |(number, seeds): (u64, Vec<u64>)| {
        let database = match turn {
            0 => None,
            _ => Some(Database::migrated().await.expect("a server")),
        };
        let mut batch = Batch::new(number, seeds, database).await;
        let complaints = batch.run().await;
        let mut tally = Tally { kills: batch.kills, ..Tally::default() };
        for case in &batch.cases {
            tally.seeds += 1;
            *tally.ways.entry(case.way).or_default() += 1;
            add(&mut tally.operations, &case.history.done);
            add(&mut tally.fates, &case.fates);
            add(&mut tally.faults, &case.sandbox.faults().hits());
            if let Some(complaints) = complaints.get(&case.seed) {
                eprintln!(
                    "seed {} on {engine} ({:?} must suffice) does not converge:\n  {}\n  what happened: {}\n  \
                     HALO_SYNC_CONVERGENCE_SEED={} cargo test --test it convergence::",
                    case.seed,
                    case.way,
                    complaints.join("\n  "),
                    case.steps.join(", "),
                    case.seed,
                );
            }
        }
        if let Some(desk) = &batch.desk {
            desk.store().close().await;
        }
        batch.program.remove().await;
        (tally, complaints)
    };
    let done: Vec<_> = futures_util::stream::iter(batches).map(run).buffer_unordered(LANES).collect().await;
    let mut tally = Tally::default();
    let mut failed = BTreeSet::new();
    for (one, complaints) in done {
        tally.seeds += one.seeds;
        tally.kills += one.kills;
        add(&mut tally.ways, &one.ways);
        add(&mut tally.operations, &one.operations);
        add(&mut tally.fates, &one.fates);
        add(&mut tally.faults, &one.faults);
        failed.extend(complaints.into_keys());
    }
    eprintln!("convergence on {engine}: {:.0?}, {tally:?}", from.elapsed());
    assert!(failed.is_empty(), "these seeds do not converge: {failed:?}");
    if alone.is_none() && count >= SEEDS {
        tally.assert_all();
    }
}

impl Tally {
    /// All that can happen has happened.
    fn assert_all(&self) {
        let missing: Vec<_> = OPERATIONS.iter().filter(|o| !self.operations.contains_key(*o)).collect();
        assert!(missing.is_empty(), "never done: {missing:?}");
        for fate in ["lost", "doubled", "late", "reordered"] {
            assert!(self.fates.contains_key(fate), "no webhook was {fate}");
        }
        for fault in FAULTS {
            assert!(self.faults.contains_key(fault), "no call was hit by: {fault}");
        }
        assert_eq!(self.ways.len(), 3);
        assert!(self.kills > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_becomes_what_is_there_on_sqlite() {
    converge("SQLite", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_becomes_what_is_there_on_postgres() {
    let Some(database) = Database::empty().await else { return };
    database.drop_it().await;
    converge("Postgres", 1).await;
}

/// The comparison must be able to fail: what happens after the program has stopped is told to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_was_told_of_is_seen() {
    let mut batch = Batch::new(0, vec![0], None).await;
    let complaints = batch.run().await;
    assert!(complaints.is_empty(), "{complaints:?}");
    assert!(batch.compare(|_| true).await.is_empty());
    for _ in 0..20 {
        batch.cases[0].history.step();
    }
    let complaints = batch.compare(|_| true).await.remove(&0).unwrap().join("\n");
    for seen in ["not in the mirror", "the provider says", "mrr_minor is", "mrr is", "lifetime value is"] {
        assert!(complaints.contains(seen), "{seen}: {complaints}");
    }
    batch.program.remove().await;
}
