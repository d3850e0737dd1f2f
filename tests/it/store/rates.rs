//! Calls of an account that processes share.

use std::collections::BTreeMap;
use std::time::Duration;

use connector_sdk::budget::Refusal;
use connector_sdk::{Demand, Priority, Throttle};
use halo_sync::store::RateStore;
use halo_sync::store::rates::{RateAsk, RateTaken};

use super::kit::*;

/// As [`at`], in milliseconds.
fn ms(n: i64) -> connector_sdk::Timestamp {
    at(n * 1_000)
}

fn ask(process: &str, priority: Priority, calls: u32) -> RateAsk {
    RateAsk {
        account: "stripe/acct_1".to_owned(),
        process: process.to_owned(),
        per_second: 10.0,
        per_endpoint_per_second: None,
        demand: Demand { priority: Some(priority), calls, ..Demand::default() },
    }
}

fn of_endpoint(process: &str, endpoint: &str, calls: u32) -> RateAsk {
    let mut ask = ask(process, Priority::Backfill, calls);
    ask.per_endpoint_per_second = Some(2.0);
    ask.demand.endpoints = BTreeMap::from([(endpoint.to_owned(), calls)]);
    ask
}

fn refused(process: &str, about: Throttle, endpoint: Option<&str>, pause: u64) -> RateAsk {
    let mut ask = of_endpoint(process, "GET /v1/a", 0);
    ask.demand = Demand {
        refusals: vec![Refusal {
            about,
            endpoint: endpoint.map(str::to_owned),
            pause: Duration::from_secs(pause),
        }],
        ..Demand::default()
    };
    ask
}

async fn take(store: &dyn RateStore, ask: RateAsk, at_ms: i64) -> RateTaken {
    store.take_calls(ask, ms(at_ms)).await.unwrap()
}

async fn tokens(store: &dyn RateStore, ask: RateAsk, at_ms: i64) -> u32 {
    take(store, ask, at_ms).await.grant.account.tokens
}

/// Two hungry processes get what one would, and each its part of it; also when one's clock is behind.
async fn processes_share_a_rate(store: &dyn RateStore) {
    for (account, behind) in [("stripe/same", 0), ("stripe/behind", 7_000)] {
        let mut got = [0u32; 2];
        for step in 0..400i64 {
            for (n, process) in ["a", "b"].into_iter().enumerate() {
                let mut ask = ask(process, Priority::Backfill, 100);
                ask.account = account.to_owned();
                let now = 20_000 + step * 50 - if n == 1 { behind } else { 0 };
                got[n] += tokens(store, ask, now).await;
            }
        }
        // Twenty seconds of ten calls, and the one that was there at the start.
        let all = got[0] + got[1];
        assert!((190..=202).contains(&all), "{got:?}");
        assert!(got.iter().all(|one| *one >= 60), "{got:?}");
    }
}

async fn a_lone_process_gets_the_whole_rate(store: &dyn RateStore) {
    let mut got = 0;
    for step in 0..200i64 {
        got += tokens(store, ask("a", Priority::Backfill, 5), step * 50).await;
    }
    assert!((96..=102).contains(&got), "{got}");
    // What nobody draws does not gather beyond a burst.
    assert_eq!(tokens(store, ask("a", Priority::Backfill, 100), 3_600_000).await, 1);
}

async fn the_urgent_go_first_over_all_processes(store: &dyn RateStore) {
    assert_eq!(tokens(store, ask("backfill", Priority::Backfill, 50), 0).await, 1);
    assert_eq!(tokens(store, ask("webhooks", Priority::Webhook, 1), 10).await, 0);
    let mut order = Vec::new();
    for step in 1..20i64 {
        if tokens(store, ask("backfill", Priority::Backfill, 50), 10 + step * 20).await > 0 {
            order.push("backfill");
        }
        if order.len() < 2 && tokens(store, ask("webhooks", Priority::Webhook, 1), 15 + step * 20).await > 0 {
            order.push("webhooks");
        }
    }
    assert_eq!(order[..2], ["webhooks", "webhooks"], "{order:?}");
    // Who asks no more keeps nobody waiting.
    assert!(order[2..].iter().all(|who| *who == "backfill") && order.len() > 2, "{order:?}");
}

async fn a_refusal_stops_everybody_and_halves_the_rate_once(store: &dyn RateStore) {
    tokens(store, ask("a", Priority::Backfill, 1), 0).await;
    take(store, refused("a", Throttle::Account, None, 5), 100).await;
    // Of the calls that were in flight with it.
    take(store, refused("b", Throttle::Account, None, 3), 200).await;
    for at_ms in [300, 3_300, 5_050] {
        let taken = take(store, ask("b", Priority::Webhook, 1), at_ms).await;
        assert_eq!(taken.grant.account.tokens, 0, "{at_ms}");
        let left = Duration::from_millis(u64::try_from(5_100 - at_ms).unwrap());
        assert_eq!(taken.grant.account.blocked_for, left);
    }
    let half = take(store, ask("b", Priority::Webhook, 1), 5_200).await.grant.account;
    // Half of ten, and what five seconds of the minute have won back.
    assert!((half.rate - (5.0 + 10.0 * 5.1 / 60.0)).abs() < 0.01, "{half:?}");
    let full = take(store, ask("b", Priority::Webhook, 1), 70_000).await.grant.account;
    assert!((full.rate - 10.0).abs() < 1e-6, "{full:?}");
    // Again and again: never nothing.
    for n in 0..20 {
        take(store, refused("a", Throttle::Account, None, 0), 80_000 + n * 1_000).await;
    }
    let floor = take(store, ask("b", Priority::Webhook, 1), 100_000).await.grant.account;
    assert!(floor.rate > 0.15, "{floor:?}");
}

async fn an_endpoint_has_a_bucket_of_its_own(store: &dyn RateStore) {
    let mut got = BTreeMap::from([("GET /v1/a", 0), ("GET /v1/b", 0)]);
    let mut calls = 0;
    for step in 0..200i64 {
        for (endpoint, got) in &mut got {
            let taken = take(store, of_endpoint("a", endpoint, 9), step * 50).await;
            *got += taken.grant.endpoints[*endpoint].tokens;
            calls += taken.grant.account.tokens;
        }
    }
    // Ten seconds of two calls each; none of the account's was drawn for nothing.
    assert!(got.values().all(|one| (19..=21).contains(one)), "{got:?}");
    assert_eq!(calls, got.values().sum::<u32>());

    take(store, refused("b", Throttle::Endpoint, Some("GET /v1/a"), 60), 20_000).await;
    let closed = take(store, of_endpoint("a", "GET /v1/a", 1), 21_000).await;
    assert_eq!((closed.grant.account.tokens, closed.grant.endpoints["GET /v1/a"].tokens), (0, 0));
    let open = take(store, of_endpoint("a", "GET /v1/b", 1), 21_000).await;
    assert_eq!((open.grant.account.tokens, open.grant.endpoints["GET /v1/b"].tokens), (1, 1));
}

async fn processes_are_counted_while_they_ask(store: &dyn RateStore) {
    for (process, at_ms, count) in [("a", 0, 1), ("b", 100, 2), ("a", 1_500, 2), ("a", 4_000, 1)] {
        let taken = take(store, ask(process, Priority::Backfill, 1), at_ms).await;
        assert_eq!(taken.grant.processes, count, "{process} at {at_ms}");
    }
}

/// An endpoint whose limit is its own, beside others that have none: HubSpot's searches.
async fn an_endpoint_of_its_own_rate_is_shared_too(store: &dyn RateStore) {
    let (mut searches, mut calls) = (Vec::new(), 0);
    for step in 0..200i64 {
        for process in ["a", "b", "c"] {
            let mut ask = ask(process, Priority::Backfill, 9);
            ask.demand.endpoints = BTreeMap::from([("search".to_owned(), 5)]);
            ask.demand.rates = BTreeMap::from([("search".to_owned(), 4.0)]);
            let grant = take(store, ask, step * 50).await.grant;
            let drawn = grant.endpoints["search"].tokens;
            assert!(drawn <= grant.account.tokens, "a search is of use with one of the account's calls");
            searches.extend((0..drawn).map(|_| step * 50));
            calls += grant.account.tokens;
        }
    }
    // Ten seconds of ten calls each; whoever waits for no search is not kept waiting. A search needs one of the
    // account's calls too, so of four a second one comes every 300 ms, and the first at once.
    assert!((33..=41).contains(&searches.len()), "{searches:?}");
    assert!((96..=101).contains(&calls), "{calls}");
    assert!(most_within(&searches, 1_000) <= 5, "{searches:?}");
}

/// The most of these times, in milliseconds, within any stretch of so many.
fn most_within(times: &[i64], window: i64) -> usize {
    let within = |from: &i64| times.iter().filter(|at| (*from..*from + window).contains(at)).count();
    times.iter().map(within).max().unwrap_or(0)
}

/// Hungry processes in a storm of refusals: together they never exceed what each provider allows by a twentieth, and
/// before it they use most of that.
async fn a_storm_never_exceeds_the_limits_of_any_provider(store: &dyn RateStore) {
    /// Calls a minute of PandaDoc's details and of any other operation.
    const DETAILS: usize = 600;
    const OTHERS: usize = 100;
    const ENDPOINTS: [&str; 5] = ["details", "list", "extracted", "log", "deleted"];

    // Milliseconds, calls in any so many, calls of one endpoint, and the rates that calls name.
    let of_pandadoc = |endpoint: &str| if endpoint == "details" { DETAILS } else { OTHERS };
    let own: BTreeMap<String, f64> =
        ENDPOINTS.map(|e| (e.to_owned(), f64::from(of_pandadoc(e) as u32) * 0.8 / 60.0)).into();
    for (connector, window, all, rates) in [
        ("hubspot", 10_000, 110, BTreeMap::new()),
        ("pandadoc", 60_000, DETAILS + 4 * OTHERS, own),
        ("stripe", 1_000, 100, BTreeMap::new()),
    ] {
        let connectors = halo_sync::registry::connectors();
        let budget = connectors.iter().find(|c| c.spec().id == connector).unwrap().spec().budget;
        let counts_endpoints = budget.per_endpoint_per_second.is_some() || !rates.is_empty();
        let (mut called, mut by_endpoint) = (Vec::new(), BTreeMap::<String, Vec<i64>>::new());
        // As often as processes ask; a third of the time is calm, a third a storm, a third its end.
        let step_ms = (window / 200).clamp(20, 50);
        let third = window / 2 / step_ms;
        for step in 0..3 * third {
            let now = step * step_ms;
            for (n, process) in (0..).zip(["a", "b", "c", "d"]) {
                let mut ask = ask(process, Priority::Backfill, 60);
                (ask.account, ask.per_second) = (connector.to_owned(), budget.live_per_second);
                ask.per_endpoint_per_second = budget.per_endpoint_per_second;
                if counts_endpoints {
                    ask.demand.endpoints = ENDPOINTS.map(|endpoint| (endpoint.to_owned(), 12)).into();
                }
                ask.demand.rates.clone_from(&rates);
                // They are refused again and again.
                if (third..2 * third).contains(&step) && step % 4 == n {
                    let pause = Duration::from_millis(u64::try_from(step_ms).unwrap() * 3);
                    ask.demand.refusals = vec![Refusal { about: Throttle::Account, endpoint: None, pause }];
                }
                let grant = take(store, ask, now).await.grant;
                called.extend((0..grant.account.tokens).map(|_| now));
                for (endpoint, fill) in grant.endpoints {
                    by_endpoint.entry(endpoint).or_default().extend((0..fill.tokens).map(|_| now));
                }
            }
        }
        let calm = third * step_ms;
        let before = called.iter().filter(|at| **at < calm).count() as i64;
        let allowed = budget.live_per_second as i64 * calm / 1_000;
        assert!(before * 10 >= allowed * 7, "{connector}: {before} calls in {calm} ms of {allowed}");
        let most = most_within(&called, window);
        assert!(most * 100 <= all * 105, "{connector}: {most} calls in {window} ms, {all} are allowed");
        for (endpoint, called) in by_endpoint {
            let most = most_within(&called, window);
            let of_one = if rates.is_empty() { 25 } else { of_pandadoc(&endpoint) };
            assert!(most * 100 <= of_one * 105, "{connector}, {endpoint}: {most} in {window} ms");
        }
    }
}

contract!(
    an_endpoint_of_its_own_rate_is_shared_too,
    a_storm_never_exceeds_the_limits_of_any_provider,
    processes_share_a_rate,
    a_lone_process_gets_the_whole_rate,
    the_urgent_go_first_over_all_processes,
    a_refusal_stops_everybody_and_halves_the_rate_once,
    an_endpoint_has_a_bucket_of_its_own,
    processes_are_counted_while_they_ask,
);
