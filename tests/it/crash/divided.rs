//! A backfill that is divided into ranges while it is read, killed again and again.

use std::time::Duration;

use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::stripe::{Options, StripeSandbox};
use halo_sync::domain::OrgId;
use halo_sync::domain::runs::{RunStatus, SyncRun};

use crate::support::installation::Program;
use crate::support::postgres::Database;

const CUSTOMERS: usize = 300;
const PAGE: usize = 5;
const KILLS: usize = 3;
/// Pages that were read and not committed when the process was killed.
const IN_HAND: usize = 12;
const LIST: &str = "GET /v1/customers";

fn customers_read(run: &SyncRun) -> i64 {
    run.streams.iter().find(|s| s.stream == "customers").map_or(0, |s| s.counts.read)
}

async fn divided(database: Option<Database>) {
    let sandbox = StripeSandbox::start(Options::default()).await.unwrap();
    sandbox.seed_customers(CUSTOMERS);
    let program = Program::new(database);
    let settings = [format!("page_size={PAGE}")];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    program.connect_with(&sandbox.base_url(), sandbox.api_key(), sandbox.webhook_secret(), &settings).await;
    sandbox.reset_calls();
    sandbox.faults().add(FaultRule::always("/v1/customers", Fault::Slow(Duration::from_millis(30))));
    let mut read = 0;
    for _ in 0..KILLS {
        let mut serving = program.serve();
        serving.ready().await;
        let run = program.until(&mut serving, |run| customers_read(run) >= read + 40).await;
        serving.kill();
        read = customers_read(&run);
        assert!(read < i64::try_from(CUSTOMERS).unwrap(), "killed in the middle");
    }
    sandbox.faults().clear();
    let mut serving = program.serve();
    serving.ready().await;
    let run = program.until(&mut serving, |run| run.status != RunStatus::Running).await;
    assert_eq!((run.status, run.error.as_deref()), (RunStatus::Succeeded, None), "{run:#?}");
    let customers = run.streams.iter().find(|s| s.stream == "customers").unwrap();
    let all = i64::try_from(CUSTOMERS).unwrap();
    // No page that was committed was read again, and none is missing.
    assert_eq!((customers.counts.read, customers.counts.created), (all, all), "{run:#?}");
    let store = program.read().await;
    let pass = store.load_pass(&OrgId::default_org(), &run.connection_id, "customers").await.unwrap();
    assert!(pass.checkpoints.len() > 3, "it was divided: {pass:#?}");
    assert!(pass.checkpoints.iter().all(|c| c.caught_up), "{pass:#?}");
    assert_eq!(pass.checkpoints.iter().map(|c| c.records).sum::<i64>(), all);
    store.close().await;
    let calls = usize::try_from(sandbox.calls(LIST)).unwrap();
    let most = 2 * CUSTOMERS.div_ceil(PAGE) + KILLS * IN_HAND;
    assert!(calls <= most, "{calls} calls, at most {most}");
    drop(serving);
    program.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_divided_backfill_goes_on_where_it_was_killed_on_sqlite() {
    divided(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_divided_backfill_goes_on_where_it_was_killed_on_postgres() {
    let Some(database) = Database::migrated().await else { return };
    divided(Some(database)).await;
}
