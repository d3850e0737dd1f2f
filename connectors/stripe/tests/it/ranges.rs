//! What a backfill in ranges costs, however dense the objects lie in time.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta};
use connector_sdk::{
    Budget, Clock, Cursor, DynConnector, HttpConfig, Io, Next, Partition, Priority, ReadMode, Session,
    SystemClock, Timestamp,
};
use connector_stripe::Stripe;
use connector_testkit::sandbox::stripe::{Kind, Options, StripeSandbox};
use serde_json::json;

use crate::support::{config, secrets};

const LIST: &str = "GET /v1/customers";
const PAGE: usize = 10;

/// Stands still; the account is three years older.
#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
    }
}

async fn account(created: impl IntoIterator<Item = i64>) -> (StripeSandbox, Box<dyn Session>) {
    let options = Options { clock: Arc::new(Noon), ..Options::default() };
    let sandbox = StripeSandbox::start(options).await.unwrap();
    for (n, at) in created.into_iter().enumerate() {
        let doc = json!({"id": format!("cus_{n:05}"), "object": "customer", "created": at});
        sandbox.put(Kind::Customers, doc, None);
    }
    let io = Io {
        http: connector_testkit::http_client(HttpConfig::default()).unwrap(),
        clock: Arc::new(SystemClock),
        budget: Arc::new(Budget::unlimited()),
        priority: Priority::Backfill,
    };
    let settings = config(&sandbox, 4, u8::try_from(PAGE).unwrap());
    let session = DynConnector::open(&Stripe, &settings, secrets(sandbox.api_key()), io).unwrap();
    (sandbox, session)
}

/// Reads every partition a page in turn, with at most `seats` of them open; ids and the most that were open.
async fn read(session: &dyn Session, seats: usize) -> (Vec<String>, usize) {
    let plan = session.plan("customers", ReadMode::Full, Noon.now()).await.unwrap();
    let mut open: Vec<(Partition, Option<Cursor>)> = plan.into_iter().map(|p| (p, None)).collect();
    let (mut ids, mut most, mut names) = (Vec::new(), 0, BTreeSet::new());
    names.extend(open.iter().map(|(p, _)| p.id.clone()));
    while !open.is_empty() {
        most = most.max(open.len());
        let (partition, cursor) = open.remove(0);
        let page = session.read_page("customers", ReadMode::Full, &partition, cursor.as_ref()).await.unwrap();
        ids.extend(page.records.into_iter().map(|r| r.key.id));
        let Next::More(mut next) = page.next else {
            assert_eq!(page.split, None, "nothing is left to be divided");
            continue;
        };
        if let Some(split) = page.split.filter(|s| open.len() + 1 + s.partitions.len() <= seats) {
            for part in split.partitions {
                assert!(names.insert(part.id.clone()), "{} is there twice", part.id);
                open.push((part, None));
            }
            next = split.rest;
        }
        open.push((partition, Some(next)));
    }
    (ids, most)
}

#[tokio::test]
async fn a_backfill_takes_at_most_twice_the_fewest_calls() {
    const DAY: i64 = 86_400;
    let now = Noon.now().timestamp();
    let evenly = |n: i64| (0..n).map(|k| now - k * 700 * DAY / n).collect::<Vec<_>>();
    let accounts: Vec<(&str, Vec<i64>)> = vec![
        ("nothing", vec![]),
        ("one object", vec![now - 400 * DAY]),
        ("a full page", evenly(10)),
        ("a full page and one", evenly(11)),
        ("full pages", evenly(100)),
        ("evenly", evenly(473)),
        ("all in one second", vec![now - 200 * DAY; 331]),
        ("all in two seconds", (0..331).map(|k| now - 200 * DAY - k % 2).collect()),
        ("one burst", (0..400).map(|k| now - 500 * DAY - k % 3_600).collect()),
        ("a burst now", (0..400).map(|k| now - k).collect()),
        (
            "few now, a burst at the start",
            evenly(30).into_iter().chain((0..300).map(|k| now - 1_000 * DAY + k)).collect(),
        ),
        ("older than the account", (0..120).map(|k| now - 4_000 * DAY + k * DAY).collect()),
        (
            "ever denser",
            (0..300_i64).map(|k| now - 900 * DAY * 0.97_f64.powi(i32::try_from(k).unwrap()) as i64).collect(),
        ),
    ];
    for (what, created) in accounts {
        let n = created.len();
        let fewest = n.div_ceil(PAGE).max(1);
        let (sandbox, session) = account(created).await;
        for seats in [1, 4, usize::MAX] {
            sandbox.reset_calls();
            let (mut ids, most) = read(session.as_ref(), seats).await;
            ids.sort_unstable();
            let all = ids.len();
            ids.dedup();
            assert_eq!((ids.len(), all), (n, n), "{what}: each object once");
            let calls = usize::try_from(sandbox.calls(LIST)).unwrap();
            assert!(calls <= 2 * fewest, "{what}, {seats} at once: {calls} calls, {fewest} are the fewest");
            if seats == 1 {
                assert_eq!(calls, fewest, "{what}: undivided");
            }
            if what == "evenly" && seats == 4 {
                assert_eq!(most, 4, "there is enough for all");
                assert!(calls <= fewest + 8, "{calls} calls, {fewest} are the fewest");
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_knows_no_ranges_is_read_as_one() {
    let (sandbox, session) = account((0..50).map(|k| Noon.now().timestamp() - k * 1_000)).await;
    let plan = session.plan("customers", ReadMode::Full, Noon.now()).await.unwrap();
    let first = session.read_page("customers", ReadMode::Full, &plan[0], None).await.unwrap();
    let split = first.split.unwrap();
    // It answers with what it was not asked for, as if the parameter were not there.
    sandbox.ignore_ranges();
    let page = session.read_page("customers", ReadMode::Full, &split.partitions[0], None).await.unwrap();
    assert_eq!(page.records.len(), PAGE);
    let Next::More(next) = page.next else { panic!("there is more") };
    assert_eq!(page.split, None);
    let page = session.read_page("customers", ReadMode::Full, &plan[0], Some(&next)).await.unwrap();
    assert_eq!(page.split, None, "it is not tried again");
}
