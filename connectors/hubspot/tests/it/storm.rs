//! Refusals by the dozen, on paused time: what HubSpot's limits see of it.

use std::sync::Arc;
use std::time::Duration;

use connector_hubspot::HubSpot;
use connector_sdk::{Budget, Connector, ConnectorError, Cursor, Io, Mode, Next, Priority, ReadMode, Session};
use connector_testkit::sandbox::arrivals::on_paused_time;
use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::hubspot::{Kind, Limits};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{io, open_with, pages, sandbox};

/// HubSpot's own for an OAuth app.
const CALLS: usize = 110;
const WINDOW: Duration = Duration::from_secs(10);
const SEARCHES: usize = 5;
const SECOND: Duration = Duration::from_secs(1);

fn is_search(operation: &str) -> bool {
    operation.ends_with("/search")
}

/// Reads a stream from there to its end, again and again where it is refused; how many objects.
async fn patiently(session: &dyn Session, stream: &str, mode: ReadMode, from: Option<Cursor>) -> usize {
    let plan = session.plan(stream, mode, chrono::DateTime::UNIX_EPOCH).await.unwrap();
    let (mut cursor, mut seen) = (from, 0);
    loop {
        match session.read_page(stream, mode, &plan[0], cursor.as_ref()).await {
            Err(ConnectorError::RateLimited { .. }) => {}
            answer => {
                let page = answer.unwrap();
                seen += page.records.len();
                match page.next {
                    Next::More(next) => cursor = Some(next),
                    Next::CaughtUp(_) => return seen,
                }
            }
        }
    }
}

/// Workers of every priority share the account's budget. Whether refusals name a time or not, and whatever they are
/// about: within any window no more calls arrive than HubSpot allows, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn a_storm_of_refusals_never_exceeds_the_limits() {
    let sandbox = sandbox().await;
    sandbox.seed(220);
    let budget = Arc::new(Budget::new(Connector::spec(&HubSpot).budget, Mode::Live));
    let free = Arc::new(Budget::unlimited());
    let session = |budget: &Arc<Budget>, priority| {
        let io = Io { budget: Arc::clone(budget), priority, ..io() };
        open_with(&sandbox, json!({"page_size": 2}), io)
    };
    let first = session(&free, Priority::Backfill);
    let [backfill, changes, webhooks] = [Priority::Backfill, Priority::Incremental, Priority::Webhook]
        .map(|priority| session(&budget, priority));
    let searched = [Kind::Companies, Kind::Contacts, Kind::Deals];
    let work = async {
        // Where the incremental reads begin; what it took is not looked at.
        let mut ends = Vec::new();
        for kind in searched {
            ends.push((kind, pages(first.as_ref(), kind.path(), ReadMode::Full, None).await.1));
            for id in sandbox.ids(kind) {
                sandbox.update(kind, id, &json!({"hubspot_owner_id": "1"}));
            }
        }
        sandbox.set_limits(Some(Limits { calls: CALLS, window: WINDOW, searches: SEARCHES, daily: None }));
        for (path, retry_after) in [
            ("/crm/objects/2026-03/contacts/search", Some("1")),
            ("/crm/objects/2026-03/contacts", None),
            ("/crm/objects/2026-03/companies", Some("0")),
            ("/crm/associations", None),
        ] {
            let fault = Fault::TooManyRequests { retry_after: retry_after.map(str::to_owned) };
            sandbox.faults().add(FaultRule { path: path.to_owned(), skip: 2, times: 12, fault });
        }
        sandbox.reset_calls();
        sandbox.arrivals().keep();
        let lists = ["companies", "contacts", "deals"]
            .map(|stream| patiently(backfill.as_ref(), stream, ReadMode::Full, None));
        let searches = ends
            .into_iter()
            .map(|(kind, end)| patiently(changes.as_ref(), kind.path(), ReadMode::Incremental, Some(end)));
        let named = async {
            for id in sandbox.ids(Kind::Companies).iter().take(60).map(u64::to_string) {
                while webhooks.read_many("companies", std::slice::from_ref(&id)).await.is_err() {}
            }
        };
        tokio::join!(join_all(lists), join_all(searches), named)
    };
    let idle = || budget.stats().in_flight + free.stats().in_flight == 0;
    let (listed, found, ()) = on_paused_time(idle, work).await;
    assert_eq!((listed, found), (vec![220; 3], vec![220; 3]));
    let stats = budget.stats();
    assert!(stats.throttled >= 36, "{stats:?}");
    let most = sandbox.arrivals().most_within(WINDOW, |_| true);
    assert!(most * 100 <= CALLS * 105, "{most} calls in ten seconds");
    let searches: u64 =
        searched.map(|kind| sandbox.calls(&format!("POST {}/search", kind.path()))).iter().sum();
    assert!(searches >= 3 * 55, "{searches} searches");
    let most = sandbox.arrivals().most_within(SECOND, is_search);
    assert!(most * 100 <= SEARCHES * 105, "{most} searches in a second");
    assert_eq!(sandbox.refused_calls(), 0, "none but those of the storm");
}
