//! Refusals by the dozen, on paused time: what Stripe's limits see of it.

use std::sync::Arc;
use std::time::Duration;

use connector_sdk::{
    Budget, Connector, ConnectorError, DynConnector, HttpConfig, Io, Mode, Next, Priority, ReadMode, Session,
    SystemClock,
};
use connector_stripe::Stripe;
use connector_testkit::sandbox::arrivals::on_paused_time;
use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::stripe::{Limits, Options, StripeSandbox};
use futures_util::future::join_all;
use serde_json::json;

use crate::support::secrets;

const SECOND: Duration = Duration::from_secs(1);

/// Reads a stream to its end, again and again where it is refused; how many objects.
async fn patiently(session: &dyn Session, stream: &str) -> usize {
    let plan = session.plan(stream, ReadMode::Full, chrono::DateTime::UNIX_EPOCH).await.unwrap();
    let (mut cursor, mut seen) = (None, 0);
    loop {
        match session.read_page(stream, ReadMode::Full, &plan[0], cursor.as_ref()).await {
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

/// Workers of every priority share the account's budget, live and in test mode: within any second no more calls
/// arrive than Stripe allows, of the account and of any endpoint, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn a_storm_of_refusals_never_exceeds_the_limits() {
    for (mode, limits) in
        [(Mode::Live, Limits { calls: 100, of_one: 25 }), (Mode::Test, Limits { calls: 25, of_one: 25 })]
    {
        let sandbox = StripeSandbox::start(Options::default()).await.unwrap();
        sandbox.seed_customers(150);
        sandbox.set_limits(Some(limits));
        sandbox.arrivals().keep();
        for (path, retry_after) in
            [("/v1/customers", None), ("/v1/subscriptions", Some("0")), ("/v1/prices", Some("3"))]
        {
            let fault = Fault::TooManyRequests { retry_after: retry_after.map(str::to_owned) };
            sandbox.faults().add(FaultRule { path: path.to_owned(), skip: 5, times: 12, fault });
        }
        let budget = Arc::new(Budget::new(Connector::spec(&Stripe).budget, mode));
        let session = |priority| {
            let io = Io {
                http: connector_testkit::http_client(HttpConfig::default()).unwrap(),
                clock: Arc::new(SystemClock),
                budget: Arc::clone(&budget),
                priority,
            };
            let settings = json!({"base_url": sandbox.base_url(), "page_size": 1, "partitions": 1});
            DynConnector::open(&Stripe, &settings, secrets(sandbox.api_key()), io).unwrap()
        };
        let (backfill, changes) = (session(Priority::Backfill), session(Priority::Incremental));
        let streams = ["customers", "subscriptions", "products", "invoices", "charges", "coupons"];
        let reads = streams.map(|stream| patiently(backfill.as_ref(), stream));
        let more = ["customers", "subscriptions"].map(|stream| patiently(changes.as_ref(), stream));
        let work = async { tokio::join!(join_all(reads), join_all(more)) };
        let (read, again) = on_paused_time(|| budget.stats().in_flight == 0, work).await;
        assert_eq!((&read[..2], &again[..]), (&[150, 150][..], &[150, 150][..]), "{mode:?}");
        assert!(budget.stats().throttled >= 20, "{:?}", budget.stats());
        let arrivals = sandbox.arrivals();
        let most = arrivals.most_within(SECOND, |_| true);
        assert!(most * 100 <= limits.calls * 105, "{mode:?}: {most} calls in a second");
        for operation in sandbox.all_calls().keys() {
            let most = arrivals.most_within(SECOND, |called| called == operation);
            assert!(most * 100 <= limits.of_one * 105, "{mode:?}, {operation}: {most} calls in a second");
        }
        assert_eq!(sandbox.refused_calls(), 0, "none but those of the storm");
    }
}
