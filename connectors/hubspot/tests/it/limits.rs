//! HubSpot's limits: rates that its headers state, searches a second, the quota of the day, storms of refusals.

use std::sync::Arc;
use std::time::Duration;

use connector_hubspot::HubSpot;
use connector_sdk::{
    Budget, Clock, Connector, ConnectorError, Mode, Next, Priority, RateBudget, ReadMode, Session,
    SystemClock,
};
use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::hubspot::{HubSpotSandbox, Kind, Limits};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::{io, open_with, pages, sandbox};

fn budget(per_second: f64) -> Arc<Budget> {
    let budget = RateBudget { live_per_second: per_second, ..Connector::spec(&HubSpot).budget };
    Arc::new(Budget::new(budget, Mode::Live))
}

fn session(sandbox: &HubSpotSandbox, budget: &Arc<Budget>, priority: Priority) -> Box<dyn Session> {
    let io = connector_sdk::Io { budget: Arc::clone(budget), priority, ..io() };
    open_with(sandbox, json!({"page_size": 2}), io)
}

/// Reads a stream to its end, again and again where it is refused; how many objects.
async fn patiently(session: &dyn Session, stream: &str) -> usize {
    let plan = session.plan(stream, ReadMode::Full, chrono::DateTime::UNIX_EPOCH).await.unwrap();
    let (mut cursor, mut seen) = (None, 0);
    loop {
        let page = match session.read_page(stream, ReadMode::Full, &plan[0], cursor.as_ref()).await {
            // The budget waits it out before the next call.
            Err(ConnectorError::RateLimited { .. }) => continue,
            other => other.unwrap(),
        };
        seen += page.records.len();
        match page.next {
            Next::More(next) => cursor = Some(next),
            Next::CaughtUp(_) => return seen,
        }
    }
}

/// The rate is the stated one after the first answer, and it is kept: hardly a call is refused.
#[tokio::test]
async fn the_rate_that_headers_state_is_kept() {
    let sandbox = sandbox().await;
    sandbox.seed(100);
    // Far less than the budget begins with, and far more than it: both are learned.
    for (limit, begin) in [(30, 60.0), (200, 40.0)] {
        sandbox.reset_calls();
        sandbox.set_limits(Some(Limits {
            calls: limit,
            window: Duration::from_secs(1),
            searches: 5,
            daily: None,
        }));
        let budget = budget(begin);
        let session = session(&sandbox, &budget, Priority::Backfill);
        let reads = ["companies", "contacts"].map(|stream| patiently(session.as_ref(), stream));
        assert_eq!(join_all(reads).await, [100, 100]);
        let (calls, refused) = (sandbox.all_calls().values().sum::<u64>(), sandbox.refused_calls());
        assert!(refused * 20 <= calls, "{refused} of {calls} calls were refused at {limit} a second");
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let stated = limit as f64;
        let rate = budget.stats().rate;
        assert!(rate <= stated && rate > stated * 0.4, "{rate} of {stated}");
    }
}

/// Searches have a rate of their own, whatever the object type, and lists go on beside them.
#[tokio::test]
async fn searches_of_all_types_share_one_rate() {
    let sandbox = sandbox().await;
    sandbox.seed(1);
    let budget = budget(1_000.0);
    let session = session(&sandbox, &budget, Priority::Incremental);
    let mut ends = Vec::new();
    for stream in ["companies", "contacts", "deals", "tickets", "notes", "calls"] {
        ends.push((stream, pages(session.as_ref(), stream, ReadMode::Full, None).await.1));
    }
    sandbox.set_limits(Some(Limits {
        calls: 1_000,
        window: Duration::from_secs(1),
        searches: 5,
        daily: None,
    }));
    let reads = ends.into_iter().map(|(stream, end)| {
        let session = session.as_ref();
        async move { pages(session, stream, ReadMode::Incremental, Some(end)).await.0.len() }
    });
    // A page of what changed and one of what is archived; of deals one of edited line items.
    assert_eq!(join_all(reads).await, [2, 2, 3, 2, 2, 2]);
    assert_eq!(sandbox.refused_calls(), 0);
}

/// A storm of refusals is waited out, and the limit is not exceeded by more than a twentieth meanwhile.
#[tokio::test]
async fn a_storm_of_refusals_is_waited_out() {
    let sandbox = sandbox().await;
    sandbox.seed(60);
    let budget = budget(400.0);
    let session = session(&sandbox, &budget, Priority::Backfill);
    sandbox.faults().add(FaultRule {
        path: "/crm/objects/2026-03/contacts".to_owned(),
        skip: 3,
        times: 4,
        fault: Fault::TooManyRequests { retry_after: Some("0".to_owned()) },
    });
    assert_eq!(patiently(session.as_ref(), "contacts").await, 60);
    let stats = budget.stats();
    assert_eq!((stats.throttled, stats.in_flight, stats.waiting), (4, 0, 0));
    assert!(stats.rate < 400.0, "slower than before: {}", stats.rate);
}

/// The day's quota is used up to its reserve, which belongs to the portal's other apps; webhooks may use half of it.
#[tokio::test]
async fn the_reserve_of_the_day_is_left_to_others() {
    let sandbox = sandbox().await;
    sandbox.seed(40);
    // A tenth of 1,000 is the reserve: 108 are left, so that 8 calls are ours, 58 for webhooks.
    let limits =
        Limits { calls: 1_000, window: Duration::from_secs(1), searches: 5, daily: Some((1_000, 892)) };
    sandbox.set_limits(Some(limits));
    let budget = budget(500.0);
    let backfill = session(&sandbox, &budget, Priority::Backfill);
    let plan = backfill.plan("companies", ReadMode::Full, chrono::DateTime::UNIX_EPOCH).await.unwrap();
    let mut calls = 0;
    let refused = loop {
        match backfill.read_page("companies", ReadMode::Full, &plan[0], None).await {
            Ok(_) => calls += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(calls, 8);
    let ConnectorError::RateLimited { until } = refused else { panic!("{refused:?}") };
    assert!(until > SystemClock.now(), "{until}");
    assert_eq!(sandbox.all_calls().values().sum::<u64>(), 8, "no call was made to find out");
    let webhook = session(&sandbox, &budget, Priority::Webhook);
    let id = sandbox.ids(Kind::Companies)[0].to_string();
    let mut more = 0;
    while webhook.read_many("companies", std::slice::from_ref(&id)).await.is_ok() {
        more += 1;
    }
    assert_eq!(more, 50);
    assert_eq!(sandbox.refused_calls(), 0);
}

#[tokio::test]
async fn refusals_that_are_hubspots_own_have_their_class() {
    let sandbox = sandbox().await;
    sandbox.seed(3);
    let budget = budget(500.0);
    let session = session(&sandbox, &budget, Priority::Backfill);
    let plan = session.plan("companies", ReadMode::Full, chrono::DateTime::UNIX_EPOCH).await.unwrap();
    let mut seen = Vec::new();
    for status in [530, 423, 477, 521, 414] {
        sandbox.faults().add(FaultRule::next("/crm/", Fault::Status(status)));
        let error = session.read_page("companies", ReadMode::Full, &plan[0], None).await.unwrap_err();
        seen.push(match error {
            // Cloudflare does not take it for a token.
            ConnectorError::Auth { missing_permission: None, .. } => "auth",
            ConnectorError::Transient(_) => "transient",
            // The portal moves to another data centre.
            ConnectorError::RateLimited { .. } => "later",
            ConnectorError::Protocol(_) => "protocol",
            other => panic!("{status}: {other:?}"),
        });
    }
    assert_eq!(seen, ["auth", "transient", "later", "transient", "protocol"]);
    // A token that expires while we read is a matter of credentials, and of nothing else.
    sandbox.set_access_token("another");
    let error = session.read_page("companies", ReadMode::Full, &plan[0], None).await.unwrap_err();
    assert!(matches!(error, ConnectorError::Auth { missing_permission: None, .. }), "{error:?}");
}
