//! The first read, a read without changes, changes, deletions, dry runs, refused credentials.

use std::collections::{BTreeMap, BTreeSet};

use halo_sync::domain::connections::ConnectionStatus;
use halo_sync::domain::runs::{Counts, RunStatus, StreamProgress};
use halo_sync::sync::dry_run::dry_run;

use super::account::{Account, Stand};
use crate::support::app::App;

/// What a read without changes must leave as it is.
const KEPT: [&str; 9] = [
    "mirror_records",
    "record_refs",
    "company_links",
    "link_candidates",
    "companies",
    "company_derivations",
    "company_turns",
    "field_changes",
    "rejected_records",
];

async fn dumped(app: &App, tables: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for table in tables {
        all.insert(table.clone(), app.dump(table).await);
    }
    all
}

fn written(streams: &[StreamProgress]) -> BTreeMap<String, [i64; 3]> {
    let counts = |n: &Counts| [n.created, n.updated, n.deleted];
    streams.iter().map(|stream| (stream.stream.clone(), counts(&stream.counts))).collect()
}

pub(super) async fn every_record_is_read_and_derived<A: Account>(app: &App) {
    let stand = Stand::<A>::read(app, 7).await;
    let run = app.last_run().await;
    let created: i64 = run.streams.iter().map(|stream| stream.counts.created).sum();
    assert_eq!(usize::try_from(created).unwrap(), stand.account.records().len(), "each once: {run:#?}");
    assert!(run.streams.iter().any(|stream| stream.counts.pages > 2), "more than a page: {run:#?}");
    assert!(run.streams.iter().all(|stream| stream.state == "done"), "{run:#?}");
}

pub(super) async fn a_read_without_changes_writes_nothing<A: Account>(app: &App) {
    let stand = Stand::<A>::read(app, 5).await;
    let tables = KEPT.map(str::to_owned);
    let before = dumped(app, &tables).await;
    for full in [true, false, true, false] {
        app.pass(600);
        let run = stand.sync(app, full).await;
        assert_eq!(run.status, RunStatus::Succeeded, "{run:#?}");
        for (stream, written) in written(&run.streams) {
            assert_eq!(written, [0; 3], "{stream}, full: {full}");
        }
        assert_eq!(dumped(app, &tables).await, before, "full: {full}");
        assert_eq!(app.dump("dirty_companies").await, [""; 0]);
    }
}

pub(super) async fn changes_and_deletions_arrive_with_the_next_run<A: Account>(app: &App) {
    let mut stand = Stand::<A>::read(app, 6).await;
    app.pass(1);
    for full in [false, true] {
        let before = stand.rows(app, &stand.account.records()).await;
        let base = if full { 3 } else { 0 };
        let changed = stand.set(base, 40 + u32::from(full));
        let gone = stand.remove(base + 1);
        let added = stand.add(if full { "later" } else { "new" }, 50);
        stand.tell(app).await;
        app.pass(1);
        let run = stand.sync(app, full).await;
        assert_eq!(run.status, RunStatus::Succeeded, "{run:#?}");
        stand.agrees(app).await;
        let counts = written(&run.streams);
        let sum = |n: usize| counts.values().map(|written| written[n]).sum::<i64>();
        let fresh = stand.account.records().iter().filter(|key| !before.contains_key(key)).count();
        // What is new is made once; what was there stays a row.
        assert_eq!(sum(0), i64::try_from(fresh).unwrap(), "{run:#?}");
        assert!(sum(1) >= 1 && sum(2) >= 1, "{run:#?}");
        let after = stand.rows(app, &BTreeSet::from([gone.clone(), changed.says.clone(), added.says])).await;
        assert!(after[&gone].deleted_at.is_some(), "a tombstone: {:#?}", after[&gone]);
        assert_eq!(after.len(), 3);
        assert!(after[&changed.says].read_seq > before[&changed.says].read_seq);
        app.pass(900);
    }
}

pub(super) async fn a_dry_run_foresees_what_a_run_does_and_writes_nothing<A: Account>(app: &App) {
    let mut stand = Stand::<A>::new(std::sync::Arc::new(app.clock.clone()), 5).await;
    stand.tell(app).await;
    stand.connect(app, false).await;
    for round in 0..2 {
        let connection = stand.connection(app).await;
        let before = dumped(app, &app.tables().await).await;
        let providers = &app.services.providers;
        let foreseen = dry_run(&*app.store, providers, &connection, &[], app.now(), |_| {}).await.unwrap();
        assert_eq!(dumped(app, &app.tables().await).await, before, "looking writes nothing");
        let run = stand.sync(app, true).await;
        assert_eq!(run.status, RunStatus::Succeeded, "{run:#?}");
        let mut done = written(&run.streams);
        // A list of changes is no stream of records.
        done.retain(|stream, _| foreseen.iter().any(|s| s.stream == *stream));
        assert_eq!(written(&foreseen), done, "round {round}");
        stand.agrees(app).await;
        if round > 0 {
            break;
        }
        stand.set(0, 30);
        stand.remove(1);
        stand.add("new", 8);
        stand.tell(app).await;
        app.pass(900);
    }
}

pub(super) async fn refused_credentials_ask_for_a_person<A: Account>(app: &App) {
    let stand = Stand::<A>::read(app, 2).await;
    let before = stand.state(app).await;
    stand.account.revoke();
    app.expect_dead("credentials: ");
    for full in [false, true] {
        let run = stand.sync(app, full).await;
        assert_eq!(run.status, RunStatus::Failed, "{run:#?}");
        let connection = stand.connection(app).await;
        assert_eq!(connection.status, ConnectionStatus::NeedsAttention);
        let reason = connection.status_reason.unwrap();
        assert!(reason.starts_with("credentials: "), "{reason}");
        assert!(!reason.contains(&stand.account.secret()), "{reason}");
    }
    // Nothing is lost by it, and nothing is tried again by itself.
    assert_eq!(stand.state(app).await, before);
    let asked = stand.account.lists();
    app.drain_retries().await;
    assert_eq!(stand.account.lists(), asked);
}
