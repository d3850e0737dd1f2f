//! Refusals by the dozen, on paused time: what PandaDoc's limits see of it.

use std::sync::Arc;
use std::time::Duration;

use connector_pandadoc::{API_KEY, PandaDoc};
use connector_sdk::{
    Budget, Connector, ConnectorError, Cursor, DynConnector, Io, Mode, Next, Priority, ReadMode, Session,
};
use connector_testkit::sandbox::arrivals::on_paused_time;
use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::pandadoc::{Options, PandaDocSandbox};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{io, pages, partition, secrets};

/// PandaDoc's own: details of documents and any other operation, a minute.
const DETAILS: usize = 600;
const OTHERS: usize = 100;
/// Calls of any one operation that a sandbox key may make a minute.
const OF_SANDBOX: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);

fn limited(details: usize, others: usize) -> Options {
    let limit = |n: usize| Some((u32::try_from(n).unwrap(), MINUTE));
    Options { limit: limit(others), details_limit: limit(details), ..Options::default() }
}

/// Sessions of these priorities over one budget.
fn open(sandbox: &PandaDocSandbox, budget: &Arc<Budget>, priority: Priority, page: u8) -> Box<dyn Session> {
    open_with(sandbox, budget, priority, &json!({"page_size": page}))
}

fn open_with(
    sandbox: &PandaDocSandbox,
    budget: &Arc<Budget>,
    priority: Priority,
    settings: &Value,
) -> Box<dyn Session> {
    let mut settings = settings.clone();
    settings["base_url"] = json!(sandbox.base_url());
    let io = Io { budget: Arc::clone(budget), priority, ..io() };
    DynConnector::open(&PandaDoc, &settings, secrets(API_KEY, sandbox.api_key()), io).unwrap()
}

/// Reads to the end, again and again where it is refused; how many documents, and where it ended.
async fn patiently(session: &dyn Session, mode: ReadMode, from: Option<Cursor>) -> (usize, Cursor) {
    let partition = partition(session).await;
    let (mut cursor, mut seen) = (from, 0);
    loop {
        match session.read_page("documents", mode, &partition, cursor.as_ref()).await {
            Err(ConnectorError::RateLimited { .. }) => {}
            answer => {
                let page = answer.unwrap();
                seen += page.records.len();
                match page.next {
                    Next::More(next) => cursor = Some(next),
                    Next::CaughtUp(end) => return (seen, end),
                }
            }
        }
    }
}

fn storm(sandbox: &PandaDocSandbox, times: u32) {
    for (path, retry_after) in
        [("/v1/documents/", None), ("/v1/documents?", Some("0")), ("/beta/documents/ai-metadata", Some("7"))]
    {
        let fault = Fault::TooManyRequests { retry_after: retry_after.map(str::to_owned) };
        sandbox.faults().add(FaultRule { path: format!("/public{path}"), skip: 3, times, fault });
    }
    sandbox.arrivals().keep();
}

fn assert_kept(sandbox: &PandaDocSandbox, details: usize, others: usize) {
    for operation in sandbox.all_calls().keys() {
        let limit = if operation.ends_with("/details") { details } else { others };
        let most = sandbox.arrivals().most_within(MINUTE, |called| called == operation);
        assert!(most * 100 <= limit * 105, "{operation}: {most} calls in a minute, {limit} are allowed");
    }
    assert_eq!(sandbox.over_limit(), 0, "none was refused but those of the storm");
}

/// Workers of every priority share the account's budget.
#[tokio::test(start_paused = true)]
async fn a_storm_of_refusals_never_exceeds_the_limits() {
    let sandbox = PandaDocSandbox::start(limited(DETAILS, OTHERS)).await.unwrap();
    sandbox.seed(400);
    storm(&sandbox, 12);
    let budget = Arc::new(Budget::new(Connector::spec(&PandaDoc).budget, Mode::Live));
    let backfills =
        [open(&sandbox, &budget, Priority::Backfill, 100), open(&sandbox, &budget, Priority::Backfill, 3)];
    let webhooks = open(&sandbox, &budget, Priority::Webhook, 50);
    let ids = sandbox.ids();
    let named = async {
        for id in ids.iter().take(60) {
            while webhooks.read_many("documents", std::slice::from_ref(id)).await.is_err() {}
        }
    };
    let reads = backfills.iter().map(|session| patiently(session.as_ref(), ReadMode::Full, None));
    let work = async { tokio::join!(join_all(reads), named) };
    let (read, ()) = on_paused_time(|| budget.stats().in_flight == 0, work).await;
    assert!(read.iter().all(|(documents, _)| *documents == 400), "{read:?}");
    assert!(budget.stats().throttled >= 20, "{:?}", budget.stats());
    assert_kept(&sandbox, DETAILS, OTHERS);
}

/// A walk that asks for no details is made of lists alone, of which fewer are allowed.
#[tokio::test(start_paused = true)]
async fn lists_keep_to_their_own_limit() {
    // The first read is not what is looked at: its lists and details are past any limit.
    let sandbox = PandaDocSandbox::start(Options::default()).await.unwrap();
    sandbox.seed(500);
    let budget = Arc::new(Budget::new(Connector::spec(&PandaDoc).budget, Mode::Live));
    let session = open(&sandbox, &budget, Priority::Incremental, 2);
    let free = Arc::new(Budget::unlimited());
    let quick = open(&sandbox, &free, Priority::Backfill, 100);
    let idle = || budget.stats().in_flight + free.stats().in_flight == 0;
    let work = async {
        let (read, end) = pages(quick.as_ref(), ReadMode::Full, None).await.unwrap();
        assert_eq!(read.iter().map(|page| page.records.len()).sum::<usize>(), 500);
        for id in sandbox.ids() {
            sandbox.delete(&id).unwrap();
        }
        sandbox.reset_calls();
        sandbox.arrivals().keep();
        patiently(session.as_ref(), ReadMode::Incremental, Some(end)).await
    };
    on_paused_time(idle, work).await;
    assert!(sandbox.calls("GET /public/v1/documents") > 240, "many pages of what was deleted");
    assert_kept(&sandbox, DETAILS, OTHERS);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_key_keeps_to_its_ten_a_minute() {
    let sandbox = PandaDocSandbox::start(limited(OF_SANDBOX, OF_SANDBOX)).await.unwrap();
    sandbox.seed(40);
    storm(&sandbox, 2);
    let budget = Arc::new(Budget::new(Connector::spec(&PandaDoc).budget, Mode::Test));
    let settings = json!({"page_size": 10, "sandbox": true});
    let session = open_with(&sandbox, &budget, Priority::Backfill, &settings);
    let idle = || budget.stats().in_flight == 0;
    let (read, _) = on_paused_time(idle, patiently(session.as_ref(), ReadMode::Full, None)).await;
    assert_eq!(read, 40);
    assert_kept(&sandbox, OF_SANDBOX, OF_SANDBOX);
}
