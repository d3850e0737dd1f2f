//! Beside a peer: Supabase's Stripe engine and ours in one run, over the same source on the loopback, into
//! databases of one durable Postgres.
//!
//! `cargo bench --bench peers [-- ROUNDS]`. Needs node, npm and Postgres' server binaries; says what is missing
//! and measures nothing without. The peer is a program of its own, installed below `target/` at the versions of
//! `benches/peers/package-lock.json`; `benches/peers/supabase.cjs` drives it.
//!
//! The two take turns, each backfill in an empty database, and every turn starts after a checkpoint. What is
//! judged is the median of each round's ratio: rates alone say little about a machine that does other work.
//! Both have their default settings and pools, and commit with `synchronous_commit=on`. What each has done is
//! counted in its database: a run that lost something ends.
//!
//! - Backfill: customers alone, then all streams that both know. The peer is done when its rows are written. Ours
//!   is measured without derivation (a worker that leaves that kind of job to others) and with it, until no
//!   company is left to derive.
//! - Webhooks: one event for each object, all of them changed at the source as the event says, ten in flight. The
//!   peer answers when its row is written, ours when the delivery is stored durably. Ours is measured as `serve`
//!   runs it, with the worker at work in the same process, and without a worker; also until all that the events
//!   brought is read and derived. The peer is measured behind the barest HTTP server that node has, and without.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program for people that may fail loudly")]

#[expect(dead_code, unreachable_pub, reason = "each benchmark needs some of it")]
mod common;
#[path = "peers/events.rs"]
mod events;
#[path = "peers/ours.rs"]
mod ours;
#[path = "peers/seen.rs"]
mod seen;
#[path = "peers/supabase.rs"]
mod supabase;

use std::sync::atomic::Ordering;
use std::time::Instant;

use common::figures::{Goal, head};
use common::process::Part;
use common::runs::Eye;
use common::runtime;
use common::support::postgres::{DURABLE, Database};
use connector_testkit::sandbox::stripe::Kind;
use events::{Source, Turn, deliver, write};
use ours::Ours;
use seen::Seen;
use sqlx::{Connection as _, PgConnection};
use supabase::{OBJECTS, Supabase, Took};
use tokio::runtime::Runtime;

const CUSTOMERS: usize = 5_000;
const ROUNDS: usize = 3;
const IN_FLIGHT: usize = 10;
const TIMES_ITS_BACKFILL: f64 = 3.0;
const TIMES_ITS_WEBHOOKS: f64 = 1.0;

/// The server's settings that a commit's cost hangs on, as a new connection has them.
async fn durability(url: &str) -> String {
    let mut connection = PgConnection::connect(url).await.expect("connects");
    let mut all = Vec::new();
    for name in ["fsync", "full_page_writes", "synchronous_commit"] {
        let query = sqlx::query_scalar::<_, String>("SELECT current_setting($1)").bind(name);
        all.push(format!("{name} {}", query.fetch_one(&mut connection).await.expect("a setting")));
    }
    all.join(", ")
}

/// So that no turn pays for what the one before left to be written.
async fn checkpoint(eye: &mut Eye) {
    if let Eye::Postgres(connection) = eye {
        sqlx::query("CHECKPOINT").execute(connection).await.expect("a checkpoint");
    }
}

/// What is backfilled.
struct Work {
    name: &'static str,
    /// Ours; empty for all.
    stream: &'static str,
    theirs: &'static [&'static str],
    records: usize,
}

const WORKS: [Work; 2] = [
    Work { name: "customers", stream: "customers", theirs: &["customer"], records: CUSTOMERS },
    // With four products and their prices.
    Work { name: "all", stream: "", theirs: &OBJECTS, records: 2 * CUSTOMERS + 8 },
];
/// Said of reading the same once more.
const AGAIN: &str = " again";
const PROCESSOR: &str = ", processor";
const THEIRS: &str = "Supabase";
const OURS: &str = "ours";
const UNDERIVED: &str = "ours underived";

fn note(seen: &mut Seen, work: &Work, run: &str, who: &str, took: &Took) {
    assert_eq!(took.records, work.records as u64, "{who} reads what there is");
    let name = work.name;
    seen.note(&format!("{name}{run}: {who}"), took.records as f64 / took.seconds, "/s");
    seen.note(&format!("{name}{run}: {who}{PROCESSOR}"), took.processor, "s");
}

/// One round of a backfill and a second run: theirs, ours without and with derivation.
fn backfills(runtime: &Runtime, seen: &mut Seen, work: &Work, supabase: &mut Supabase, source: &Source) {
    let database = || runtime.block_on(Database::empty()).expect("a database");
    let eye = |url: &str| runtime.block_on(Eye::open(url));

    let place = database();
    let mut theirs = eye(&place.url);
    assert_eq!(supabase.open(&place.url, &source.base_url), "on", "it commits as durably as ours");
    for run in ["", AGAIN] {
        runtime.block_on(checkpoint(&mut theirs));
        let took = supabase.backfill(work.theirs);
        note(seen, work, run, THEIRS, &took);
    }
    let rows = runtime.block_on(theirs.count("SELECT COUNT(*) FROM stripe.customers"));
    assert_eq!(rows, CUSTOMERS as i64, "its rows are there");
    supabase.close();
    runtime.block_on(place.drop_it());

    for (derive, who) in [(false, UNDERIVED), (true, OURS)] {
        let place = database();
        let mut ours = Ours::start(&place.url, &source.base_url, work.stream, derive);
        let mut eye = eye(&place.url);
        for run in ["", AGAIN] {
            runtime.block_on(checkpoint(&mut eye));
            let took = ours.backfill();
            note(seen, work, run, who, &took);
        }
        let rows = runtime.block_on(eye.count("SELECT COUNT(*) FROM mirror_records"));
        assert_eq!(rows, work.records as i64, "our rows are there");
        let derived = runtime.block_on(eye.count("SELECT COUNT(*) FROM company_derivations"));
        assert_eq!(derived, if derive { CUSTOMERS as i64 } else { 0 }, "derived as it should be");
        drop(ours);
        runtime.block_on(place.drop_it());
    }
}

const BARE: &str = "Supabase without HTTP";
/// Kinds of objects that events are about.
const KINDS: [(&str, Kind); 2] = [("customer", Kind::Customers), ("subscription", Kind::Subscriptions)];
const ACCEPTING: &str = "ours without worker";
const DERIVED: &str = "ours to the end";

/// One of our servers: a process of its own over a database of its own.
struct Server {
    place: Database,
    eye: Eye,
    part: Part,
    address: String,
    path: String,
}

impl Server {
    fn start(runtime: &Runtime, source: &Source, worker: &str) -> Self {
        let place = runtime.block_on(Database::empty()).expect("a database");
        let mut part = Part::start(&["--serve", &place.url, &source.base_url, worker]);
        let line = part.line();
        let (address, path) = line.split_once(' ').expect("address and path");
        let (address, path) = (address.to_owned(), path.to_owned());
        let eye = runtime.block_on(Eye::open(&place.url));
        Self { place, eye, part, address, path }
    }

    /// One turn: seconds until all was answered. Every delivery must be stored then.
    async fn take(&mut self, turn: &Turn) -> f64 {
        const STORED: &str = "SELECT COUNT(*) FROM deliveries";
        checkpoint(&mut self.eye).await;
        let before = self.eye.count(STORED).await;
        let seconds = deliver(&self.address, &self.path, turn, IN_FLIGHT).await;
        let stored = self.eye.count(STORED).await - before;
        assert_eq!(stored, turn.bodies.len() as i64, "what was answered is stored");
        seconds
    }

    /// Waits until what was stored is read and derived; seconds. Every object of the kind must have changed then.
    async fn settle(&mut self, kind: Kind, turn: &Turn) -> f64 {
        let begun = Instant::now();
        self.eye.until_none("deliveries", "state = 'pending'").await;
        self.eye.until_none("dirty_companies", "1 = 1").await;
        let seconds = begun.elapsed().as_secs_f64();
        let said = format!("payload LIKE '%\"turn\":\"{}\"%'", turn.number);
        let sql = format!("SELECT COUNT(*) FROM mirror_records WHERE stream = '{}' AND {said}", kind.path());
        assert_eq!(self.eye.count(&sql).await, turn.bodies.len() as i64, "our rows are as the events say");
        seconds
    }

    fn end(self, runtime: &Runtime) {
        drop(self.part);
        drop(self.eye);
        runtime.block_on(self.place.drop_it());
    }
}

/// After the last answer every row of the peer must say what its event said.
async fn check_theirs(eye: &mut Eye, kind: Kind, turn: &Turn) {
    let (table, number) = (kind.path(), turn.number);
    let sql = format!("SELECT COUNT(*) FROM stripe.{table} WHERE metadata->>'turn' = '{number}'");
    assert_eq!(eye.count(&sql).await, turn.bodies.len() as i64, "its rows are as the events say");
}

/// All rounds of webhooks.
fn webhooks(runtime: &Runtime, seen: &mut Seen, rounds: usize, supabase: &mut Supabase, source: &mut Source) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("deliveries");
    let place = runtime.block_on(Database::empty()).expect("a database");
    supabase.open(&place.url, &source.base_url);
    supabase.backfill(&OBJECTS);
    let theirs = supabase.serve();
    let mut eye = runtime.block_on(Eye::open(&place.url));
    let mut accepting = Server::start(runtime, source, "accept");
    let mut working = Server::start(runtime, source, "worker");
    // Round 0 warms both up and is not kept.
    for round in 0..=rounds {
        for (name, kind) in KINDS {
            let mut note = |what: &str, turn: &Turn, seconds: f64| {
                if round > 0 {
                    seen.round = round;
                    seen.note(&format!("{name}: {what}"), turn.bodies.len() as f64 / seconds, "/s");
                }
            };

            let turn = source.turn(kind);
            runtime.block_on(checkpoint(&mut eye));
            let seconds = runtime.block_on(deliver(&theirs, "/", &turn, IN_FLIGHT));
            runtime.block_on(check_theirs(&mut eye, kind, &turn));
            note(THEIRS, &turn, seconds);

            let turn = source.turn(kind);
            write(&file, &turn);
            runtime.block_on(checkpoint(&mut eye));
            let seconds = supabase.direct(&file, IN_FLIGHT);
            runtime.block_on(check_theirs(&mut eye, kind, &turn));
            note(BARE, &turn, seconds);

            let turn = source.turn(kind);
            let seconds = runtime.block_on(accepting.take(&turn));
            note(ACCEPTING, &turn, seconds);

            let turn = source.turn(kind);
            let seconds = runtime.block_on(working.take(&turn));
            note(OURS, &turn, seconds);
            let more = runtime.block_on(working.settle(kind, &turn));
            note(DERIVED, &turn, seconds + more);
        }
    }
    accepting.end(runtime);
    working.end(runtime);
    supabase.close();
    drop(eye);
    runtime.block_on(place.drop_it());
}

/// The medians, and the ratios that are judged.
fn conclude(seen: &Seen) {
    head("Beside the peer: backfill, medians of the rounds");
    for Work { name, .. } in &WORKS {
        for run in ["", AGAIN] {
            let of = |who: &str| format!("{name}{run}: {who}");
            for who in [THEIRS, UNDERIVED, OURS] {
                seen.median(&of(who), "/s");
            }
            let goal = if run.is_empty() { Goal::AtLeast(TIMES_ITS_BACKFILL) } else { Goal::None };
            for (who, goal) in [(UNDERIVED, Goal::None), (OURS, goal)] {
                let what = of(&format!("{who} / {THEIRS}"));
                seen.times(&what, &of(who), &of(THEIRS), goal);
            }
            let (ours, theirs) = (of(OURS) + PROCESSOR, of(THEIRS) + PROCESSOR);
            let what = of(&format!("{OURS} / {THEIRS}{PROCESSOR}"));
            seen.times(&what, &ours, &theirs, Goal::None);
        }
    }
    head("Beside the peer: webhooks, medians of the rounds");
    for (name, _) in KINDS {
        let of = |who: &str| format!("{name}: {who}");
        for who in [THEIRS, BARE, ACCEPTING, OURS, DERIVED] {
            seen.median(&of(who), "/s");
        }
        let goal = Goal::AtLeast(TIMES_ITS_WEBHOOKS);
        for (who, theirs, goal) in [
            (ACCEPTING, THEIRS, goal),
            (OURS, THEIRS, goal),
            (OURS, BARE, Goal::None),
            (DERIVED, THEIRS, Goal::None),
        ] {
            let what = of(&format!("{who} / {theirs}"));
            seen.times(&what, &of(who), &of(theirs), goal);
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--source", customers] => {
            return runtime().block_on(events::source(customers.parse().expect("a number")));
        }
        ["--work", place, base_url, stream, derive] => {
            return runtime().block_on(ours::work(place, base_url, stream, *derive == "derive"));
        }
        ["--serve", place, base_url, worker] => {
            return runtime().block_on(ours::serve_webhooks(place, base_url, *worker == "worker"));
        }
        _ => {}
    }
    let rounds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(ROUNDS).max(1);
    let installed = match supabase::install() {
        Ok(installed) => installed,
        Err(why) => return println!("SKIPPED: the peer is not here: {why}"),
    };
    DURABLE.store(true, Ordering::SeqCst);
    let runtime = runtime();
    let Some(place) = runtime.block_on(Database::empty()) else { return };
    println!("{}, {}", supabase::name(&installed), runtime.block_on(durability(&place.url)));

    let mut source = Source::start(CUSTOMERS);
    let mut supabase = Supabase::start(&installed);
    // Its code is compiled while it runs: nothing is measured before all of it has run once.
    supabase.open(&place.url, &source.base_url);
    supabase.backfill(&OBJECTS);
    supabase.close();
    runtime.block_on(place.drop_it());
    for stream in ["customers", "subscriptions"] {
        let pages = source.calls(&format!("GET /v1/{stream}"));
        assert_eq!(pages, CUSTOMERS.div_ceil(100) as u64, "its reads of {stream} come to the source");
    }

    let mut seen = Seen::default();
    head("Backfill, the rounds");
    for round in 1..=rounds {
        seen.round = round;
        for work in &WORKS {
            backfills(&runtime, &mut seen, work, &mut supabase, &source);
        }
    }
    head("Webhooks, the rounds");
    webhooks(&runtime, &mut seen, rounds, &mut supabase, &mut source);
    conclude(&seen);
}
