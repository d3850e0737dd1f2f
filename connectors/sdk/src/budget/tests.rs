use super::*;

fn budget(rate: f64, per_endpoint: Option<f64>, concurrency: usize) -> Arc<Budget> {
    Arc::new(Budget::new(
        RateBudget {
            live_per_second: rate,
            test_per_second: rate / 4.0,
            per_endpoint_per_second: per_endpoint,
            concurrency,
        },
        Mode::Live,
    ))
}

async fn calls(budget: &Arc<Budget>, endpoint: &str, n: usize) -> Duration {
    let started = Instant::now();
    for _ in 0..n {
        drop(budget.acquire(Priority::Backfill, endpoint).await);
    }
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn keeps_to_the_rate_within_a_twentieth() {
    let budget = budget(100.0, None, 8);
    let took = calls(&budget, "a", 1_000).await;
    assert!(took >= Duration::from_millis(9_900), "{took:?}");
    assert!(took <= Duration::from_millis(11_500), "{took:?}");
    let stats = budget.stats();
    assert_eq!((stats.calls, stats.in_flight, stats.waiting), (1_000, 0, 0));
    assert!(stats.waited > 900);
}

#[tokio::test(start_paused = true)]
async fn the_mode_chooses_the_rate() {
    let spec = RateBudget {
        live_per_second: 100.0,
        test_per_second: 10.0,
        per_endpoint_per_second: None,
        concurrency: 1,
    };
    let took = calls(&Arc::new(Budget::new(spec, Mode::Test)), "a", 100).await;
    assert!(took >= Duration::from_millis(9_800), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_busy_endpoint_does_not_hold_up_another() {
    let budget = budget(1_000.0, Some(10.0), 64);
    let slow = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { calls(&budget, "slow", 50).await }
    });
    tokio::task::yield_now().await;
    // Of lower urgency or not: the other endpoint has tokens.
    let took = calls(&budget, "fast", 5).await;
    assert!(took < Duration::from_millis(600), "{took:?}");
    assert!(slow.await.unwrap() >= Duration::from_millis(4_800));
}

#[tokio::test(start_paused = true)]
async fn the_urgent_go_first() {
    let budget = budget(10.0, None, 1);
    let held = budget.acquire(Priority::Backfill, "a").await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for (n, priority) in [
        (0, Priority::Backfill),
        (1, Priority::Incremental),
        (2, Priority::Webhook),
        (3, Priority::Backfill),
        (4, Priority::Webhook),
    ] {
        let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let _permit = budget.acquire(priority, "a").await;
            lock(&order).push(n);
        }));
        tokio::task::yield_now().await;
    }
    assert_eq!(budget.stats().waiting, 5);
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*lock(&order), [2, 4, 1, 0, 3]);
}

#[tokio::test(start_paused = true)]
async fn never_more_in_flight_than_allowed() {
    let budget = budget(1e6, None, 3);
    let permits = [
        budget.acquire(Priority::Webhook, "a").await,
        budget.acquire(Priority::Webhook, "b").await,
        budget.acquire(Priority::Webhook, "c").await,
    ];
    let fourth = tokio::time::timeout(Duration::from_secs(5), budget.acquire(Priority::Webhook, "d")).await;
    assert!(fourth.is_err());
    // Giving up leaves no trace.
    assert_eq!((budget.stats().waiting, budget.stats().in_flight), (0, 3));
    drop(permits);
    drop(budget.acquire(Priority::Webhook, "d").await);
    assert_eq!(budget.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_waited_out_halves_the_rate_and_is_won_back() {
    let budget = budget(100.0, None, 8);
    calls(&budget, "a", 10).await;
    let pause = budget.refused("a", Throttle::Account, Some(Duration::from_secs(7)));
    assert_eq!(pause, Duration::from_secs(7));
    // The calls that were in flight with it are the same refusal.
    budget.refused("a", Throttle::Account, Some(Duration::from_secs(7)));
    assert!((budget.stats().rate - 50.0).abs() < 1e-6);
    let first = calls(&budget, "a", 1).await;
    assert!(first >= Duration::from_secs(7) && first < Duration::from_millis(7_100), "{first:?}");
    tokio::time::advance(RECOVERY).await;
    drop(budget.acquire(Priority::Backfill, "a").await);
    assert!((budget.stats().rate - 100.0).abs() < 1e-6);
    assert_eq!(budget.stats().throttled, 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_time_the_pause_doubles_until_an_answer() {
    let budget = budget(100.0, None, 8);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let pause = budget.refused("a", Throttle::Account, None);
        pauses.push(pause.as_secs());
        tokio::time::advance(pause).await;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
    budget.answered();
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(budget.refused("a", Throttle::Account, None).as_secs(), 1);
    assert_eq!(
        budget.refused("a", Throttle::Account, Some(Duration::from_secs(u64::from(u32::MAX)))),
        LONGEST_PAUSE
    );
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_refused_leaves_the_others_alone() {
    let budget = budget(1_000.0, Some(100.0), 8);
    budget.refused("a", Throttle::Endpoint, Some(Duration::from_secs(30)));
    assert!(calls(&budget, "b", 10).await < Duration::from_secs(1));
    assert!(calls(&budget, "a", 1).await >= Duration::from_secs(29));
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_refusal_halves_what_may_be_in_flight() {
    let budget = budget(1e6, None, 8);
    budget.refused("a", Throttle::Concurrency, Some(Duration::from_millis(1)));
    tokio::time::advance(Duration::from_millis(2)).await;
    let mut permits = Vec::new();
    for _ in 0..4 {
        permits.push(budget.acquire(Priority::Webhook, "a").await);
    }
    let fifth =
        tokio::time::timeout(Duration::from_millis(100), budget.acquire(Priority::Webhook, "a")).await;
    assert!(fifth.is_err());
    // Time alone wins the limit back, even while no call ends.
    let took = Instant::now();
    permits.push(budget.acquire(Priority::Webhook, "a").await);
    assert!(took.elapsed() <= RECOVERY);
}

#[tokio::test(start_paused = true)]
async fn unlimited_never_waits_and_still_counts() {
    let budget = Arc::new(Budget::unlimited());
    assert_eq!(calls(&budget, "a", 10_000).await, Duration::ZERO);
    assert_eq!(budget.refused("a", Throttle::Account, None), Duration::from_secs(1));
    let stats = budget.stats();
    assert_eq!((stats.calls, stats.waited, stats.throttled, stats.in_flight), (10_000, 0, 1, 0));
}

fn fed(per_endpoint: Option<f64>) -> Arc<Budget> {
    let limits = RateBudget {
        live_per_second: 100.0,
        test_per_second: 100.0,
        per_endpoint_per_second: per_endpoint,
        concurrency: 8,
    };
    Arc::new(Budget::fed(limits, Mode::Live))
}

fn grant(calls: u32) -> Grant {
    let fill = |tokens| Fill { tokens, rate: 100.0, blocked_for: Duration::ZERO };
    Grant { account: fill(calls), endpoints: BTreeMap::from([("a".to_owned(), fill(calls))]), processes: 1 }
}

/// Starts calls that wait, and answers when all of them do.
async fn waiting(
    budget: &Arc<Budget>,
    calls: &[(Priority, &'static str)],
) -> Vec<tokio::task::JoinHandle<()>> {
    let before = budget.stats().waiting;
    let mut tasks = Vec::new();
    for (priority, endpoint) in calls.iter().copied() {
        let budget = Arc::clone(budget);
        tasks.push(tokio::spawn(async move { drop(budget.acquire(priority, endpoint).await) }));
    }
    while budget.stats().waiting < before + calls.len() {
        tokio::task::yield_now().await;
    }
    tasks
}

#[tokio::test(start_paused = true)]
async fn a_fed_budget_lets_through_what_it_is_granted() {
    let budget = fed(Some(50.0));
    assert_eq!(budget.demand(), None, "nobody waits");
    let tasks =
        waiting(&budget, &[(Priority::Backfill, "a"), (Priority::Backfill, "a"), (Priority::Webhook, "a")])
            .await;
    let demand = budget.demand().unwrap();
    assert_eq!((demand.priority, demand.calls), (Some(Priority::Webhook), 3));
    assert_eq!(demand.endpoints, BTreeMap::from([("a".to_owned(), 3)]));
    budget.grant(&grant(2));
    while budget.stats().waiting > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(budget.demand().unwrap().calls, 1);
    budget.grant(&grant(1));
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((budget.demand(), budget.stats().calls), (None, 3));
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_not_used_is_lost() {
    let budget = fed(None);
    budget.grant(&grant(5));
    tokio::time::advance(GRANT_KEEPS + Duration::from_millis(1)).await;
    let tasks = waiting(&budget, &[(Priority::Backfill, "a")]).await;
    assert_eq!(budget.demand().unwrap().calls, 1);
    budget.grant(&grant(1));
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_are_told_once_and_kept_to() {
    let budget = fed(Some(50.0));
    budget.refused("a", Throttle::Endpoint, Some(Duration::from_secs(9)));
    let told = budget.demand().unwrap();
    let pause = Duration::from_secs(9);
    let expected = Refusal { about: Throttle::Endpoint, endpoint: Some("a".to_owned()), pause };
    assert_eq!((told.refusals, told.priority), (vec![expected], None));
    assert_eq!(budget.demand(), None);
    // A call for what is closed asks for nothing.
    let tasks = waiting(&budget, &[(Priority::Backfill, "a")]).await;
    assert_eq!(budget.demand(), None);
    let blocked = Fill { tokens: 0, rate: 50.0, blocked_for: Duration::from_secs(60) };
    budget.grant(&Grant { account: blocked, ..grant(0) });
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(budget.demand(), None, "another process was refused for the whole account");
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(budget.demand().unwrap().calls, 1);
    budget.grant(&grant(1));
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn processes_share_what_may_be_in_flight() {
    let budget = fed(None);
    budget.grant(&Grant { processes: 4, ..grant(8) });
    let held = [budget.acquire(Priority::Webhook, "b").await, budget.acquire(Priority::Webhook, "b").await];
    assert_eq!(budget.stats().in_flight, 2);
    let third =
        tokio::time::timeout(Duration::from_millis(100), budget.acquire(Priority::Webhook, "b")).await;
    assert!(third.is_err(), "eight over four processes");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_goes_says_so() {
    let budget = fed(None);
    let hungry = budget.hungry();
    drop(budget);
    hungry.notified().await;
}

fn quota(per_second: f64) -> Quota {
    Quota { per_second: Some(per_second), daily: None }
}

#[tokio::test(start_paused = true)]
async fn the_rate_that_a_provider_states_is_taken_over() {
    let budget = budget(100.0, None, 8);
    calls(&budget, "a", 10).await;
    budget.observe(&quota(10.0));
    let took = calls(&budget, "a", 100).await;
    assert!(took >= Duration::from_millis(9_300) && took <= Duration::from_secs(11), "{took:?}");
    budget.observe(&quota(1_000.0));
    assert!((budget.stats().rate - 1_000.0).abs() < 1e-6, "no refusal speaks against it");
    // After a refusal the rate is won back slowly, whatever is stated.
    budget.refused("a", Throttle::Account, Some(Duration::ZERO));
    budget.observe(&quota(1_000.0));
    assert!((budget.stats().rate - 500.0).abs() < 1.0);
    for nonsense in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        budget.observe(&quota(nonsense));
    }
    assert!((budget.stats().rate - 500.0).abs() < 1.0);
    // A fed one has its rate from what the processes share.
    let fed = Arc::new(Budget::fed(
        RateBudget {
            live_per_second: 50.0,
            test_per_second: 1.0,
            per_endpoint_per_second: None,
            concurrency: 1,
        },
        Mode::Live,
    ));
    fed.observe(&quota(1.0));
    assert!((fed.stats().rate - 50.0).abs() < 1e-6);
}

#[tokio::test(start_paused = true)]
async fn the_reserve_of_a_daily_quota_is_left_to_others() {
    let budget = budget(100.0, None, 8);
    let left =
        |remaining| Quota { per_second: None, daily: Some(Daily { limit: 1_000, remaining, reserve: 0.1 }) };
    for priority in [Priority::Webhook, Priority::Incremental, Priority::Backfill] {
        assert_eq!(budget.exhausted(priority), None, "nothing is known");
    }
    for (remaining, spent) in [
        (101, [false; 3]),
        (100, [false, true, true]),
        (51, [false, true, true]),
        (50, [true; 3]),
        (0, [true; 3]),
    ] {
        budget.observe(&left(remaining));
        let found = [Priority::Webhook, Priority::Incremental, Priority::Backfill]
            .map(|priority| budget.exhausted(priority).is_some());
        assert_eq!(found, spent, "{remaining} left");
    }
    // A new day begins unseen: one call looks, and the others wait for what it finds.
    assert_eq!(budget.exhausted(Priority::Backfill), Some(LOOK_AGAIN));
    tokio::time::advance(LOOK_AGAIN).await;
    assert_eq!(budget.exhausted(Priority::Backfill), None);
    assert_eq!(budget.exhausted(Priority::Backfill), Some(LOOK_AGAIN));
    budget.observe(&left(1_000));
    assert_eq!(budget.exhausted(Priority::Backfill), None);
    assert_eq!(Budget::unlimited().exhausted(Priority::Backfill), None);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_may_have_a_rate_of_its_own() {
    let budget = budget(1_000.0, None, 64);
    let started = Instant::now();
    for _ in 0..20 {
        drop(budget.acquire_at(Priority::Backfill, "search", Some(4.0)).await);
        drop(budget.acquire(Priority::Backfill, "list").await);
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(4_700) && took < Duration::from_millis(5_500), "{took:?}");
    // Others pass it.
    let waiting = tokio::spawn({
        let budget = Arc::clone(&budget);
        async move { drop(budget.acquire_at(Priority::Webhook, "search", Some(4.0)).await) }
    });
    tokio::task::yield_now().await;
    assert!(calls(&budget, "list", 5).await < Duration::from_millis(50));
    waiting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fed_budget_is_granted_what_an_endpoint_of_its_own_rate_takes() {
    let limits = RateBudget {
        live_per_second: 100.0,
        test_per_second: 1.0,
        per_endpoint_per_second: None,
        concurrency: 64,
    };
    let budget = Arc::new(Budget::fed(limits, Mode::Live));
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let budget = Arc::clone(&budget);
        tasks.push(tokio::spawn(async move {
            drop(budget.acquire_at(Priority::Backfill, "search", Some(4.0)).await);
        }));
    }
    tokio::task::yield_now().await;
    let started = Instant::now();
    let mut granted = 0;
    while tasks.iter().any(|task| !task.is_finished()) {
        if let Some(demand) = budget.demand() {
            assert_eq!(demand.rates, BTreeMap::from([("search".to_owned(), 4.0)]));
            assert_eq!(demand.endpoints.get("search"), Some(&demand.calls));
            // Four a second are granted, and the account's calls go with them.
            let due = u32::try_from(started.elapsed().as_millis() * 4 / 1_000).unwrap();
            let tokens = due.saturating_sub(granted).min(demand.calls);
            granted += tokens;
            let fill = |rate| Fill { tokens, rate, blocked_for: Duration::ZERO };
            let endpoints = BTreeMap::from([("search".to_owned(), fill(4.0))]);
            budget.grant(&Grant { account: fill(100.0), endpoints, processes: 1 });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!((granted, budget.demand()), (10, None), "no more than was needed");
}
