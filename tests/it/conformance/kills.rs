//! A backfill of the built program that is killed in the middle loses nothing and doubles nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use connector_sdk::SystemClock;
use connector_testkit::sandbox::faults::{Fault, FaultRule};
use halo_sync::domain::OrgId;
use halo_sync::domain::runs::{RunStatus, SyncRun};

use super::account::{Account, Stand};
use crate::support::installation::Program;
use crate::support::postgres::Database;

/// Lists of three: six pages of what says the figure.
const CUSTOMERS: u32 = 17;

fn read(run: &SyncRun) -> i64 {
    run.streams.iter().map(|stream| stream.counts.read).sum()
}

pub(super) async fn a_killed_backfill_goes_on_where_it_was<A: Account>(database: Option<Database>) {
    let stand = Stand::<A>::new(Arc::new(SystemClock), CUSTOMERS).await;
    let program = Program::new(database);
    let settings = stand.account.settings();
    let settings: Vec<String> = settings
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_str().map_or(value.to_string(), str::to_owned)))
        .collect();
    program.connect_account(A::CONNECTOR, &stand.account.secret(), &settings).await;
    // Two pages of the list come; what follows never does.
    let stall = FaultRule { path: format!("{}?", A::LIST), skip: 2, times: u32::MAX, fault: Fault::Stall };
    stand.account.faults().add(stall);
    let stalled = || stand.account.faults().hits().contains_key("stall");
    let mut serving = program.serve();
    serving.ready().await;
    let run = program.until(&mut serving, |run| stalled() && read(run) >= 3).await;
    serving.kill();
    assert_eq!(run.status, RunStatus::Running, "killed in the middle: {run:#?}");

    stand.account.faults().clear();
    let mut serving = program.serve();
    serving.ready().await;
    let run = program.until(&mut serving, |run| run.status != RunStatus::Running).await;
    assert_eq!((run.status, run.error.as_deref()), (RunStatus::Succeeded, None), "{run:#?}");
    let records = stand.account.records();
    let mut there: BTreeMap<&str, i64> = BTreeMap::new();
    for key in &records {
        *there.entry(&key.stream).or_default() += 1;
    }
    for stream in &run.streams {
        let expected = there.get(stream.stream.as_str()).copied().unwrap_or(0);
        let n = &stream.counts;
        assert_eq!((n.created, n.updated, n.deleted, n.rejected), (expected, 0, 0, 0), "{run:#?}");
    }
    let store = program.read().await;
    let mut keys = Vec::new();
    for stream in there.keys() {
        let org = OrgId::default_org();
        keys.extend(store.list_record_keys(&org, &run.connection_id, stream, None, 10_000).await.unwrap());
    }
    assert_eq!(keys.into_iter().collect::<std::collections::BTreeSet<_>>(), records);
    store.close().await;
    serving.kill();
    program.remove().await;
}
