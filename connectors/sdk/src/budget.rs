//! The rate budget of one provider account.
//!
//! Everything that reads an account waits here before each call: webhook re-reads, incremental reads,
//! backfills, in that order. The budget starts from what the connector's spec says and learns from the
//! answers: a refusal halves what it concerns and is waited out, successes win it back slowly.
//!
//! Time is tokio's, so a test that pauses it sees exact figures.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::connector::Mode;
use crate::spec::RateBudget;

/// What a call is for; a smaller one goes first when the budget is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Reading again what a webhook named.
    Webhook,
    /// A scheduled incremental read.
    Incremental,
    /// A backfill.
    Backfill,
}

/// What a refusal for too many calls is about, where the provider says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// Calls per second of the whole account.
    Account,
    /// Calls per second of the one endpoint.
    Endpoint,
    /// Calls in flight.
    Concurrency,
}

/// What a budget has seen since it was made; the source of metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BudgetStats {
    /// Calls let through.
    pub calls: u64,
    /// Calls that had to wait.
    pub waited: u64,
    /// Time spent waiting, summed over calls.
    pub waited_for: Duration,
    /// Refusals for too many calls.
    pub throttled: u64,
    /// Calls in flight now.
    pub in_flight: usize,
    /// Calls waiting now.
    pub waiting: usize,
    /// Calls per second allowed now; infinite without a limit.
    pub rate: f64,
}

/// A burst of this many seconds' worth of calls is allowed after a pause. Small, because a provider
/// counts by the second and a burst comes on top of the sustained rate.
const BURST_SECONDS: f64 = 0.05;
/// How long a halved rate or concurrency takes to win back its full value.
const RECOVERY: Duration = Duration::from_secs(60);
/// Refusals within this time of each other are one event: calls that were in flight together.
const SAME_REFUSAL: Duration = Duration::from_secs(1);
/// A learned rate never falls below this part of the stated one.
const FLOOR: f64 = 1.0 / 64.0;
/// First and longest pause after a refusal that names no time.
const DEFAULT_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(64));
/// No provider's word keeps an account silent for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// The rate budget of one provider account, shared by everything that reads it.
#[derive(Debug)]
pub struct Budget {
    state: Option<Mutex<State>>,
    free: Mutex<BudgetStats>,
}

#[derive(Debug)]
struct State {
    account: Bucket,
    per_endpoint: Option<f64>,
    endpoints: HashMap<String, Bucket>,
    concurrency: Limit,
    refusals: u32,
    last_refusal: Option<Instant>,
    waiting: BTreeMap<(Priority, u64), Waiter>,
    next_ticket: u64,
    stats: BudgetStats,
}

#[derive(Debug)]
struct Waiter {
    endpoint: String,
    grant: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Bucket {
    full_rate: f64,
    rate: f64,
    tokens: f64,
    at: Instant,
    blocked_until: Option<Instant>,
}

impl Bucket {
    fn new(rate: f64, now: Instant) -> Self {
        // A rate of nothing would wait for ever; a spec that says so means "almost nothing".
        let rate = if rate.is_finite() { rate.max(1e-3) } else { 1e9 };
        Self { full_rate: rate, rate, tokens: burst(rate), at: now, blocked_until: None }
    }

    /// Brings tokens and the learned rate up to `now`.
    fn advance(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + since * self.rate).min(burst(self.rate));
        let won_back = self.full_rate * since / RECOVERY.as_secs_f64();
        self.rate = (self.rate + won_back).min(self.full_rate);
    }

    /// When a token is there; `None` for now.
    fn ready_at(&self, now: Instant) -> Option<Instant> {
        if let Some(until) = self.blocked_until
            && until > now
        {
            return Some(until);
        }
        // The tolerance takes up what division and the timer's millisecond leave over.
        if self.tokens >= 1.0 - 1e-6 {
            return None;
        }
        Some(now + Duration::from_secs_f64(((1.0 - self.tokens) / self.rate).max(1e-4)))
    }

    fn refuse(&mut self, until: Instant, halve: bool) {
        if halve {
            self.rate = (self.rate / 2.0).max(self.full_rate * FLOOR);
        }
        self.tokens = self.tokens.min(0.0);
        self.block(until);
    }

    fn block(&mut self, until: Instant) {
        self.blocked_until = Some(self.blocked_until.map_or(until, |u| u.max(until)));
    }
}

fn burst(rate: f64) -> f64 {
    (rate * BURST_SECONDS).max(1.0)
}

#[derive(Debug)]
struct Limit {
    full: f64,
    now: f64,
    at: Instant,
    in_flight: usize,
}

impl Limit {
    fn advance(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.now = (self.now + self.full * since / RECOVERY.as_secs_f64()).min(self.full);
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 1, at most usize")]
    fn allowed(&self) -> usize {
        self.now as usize
    }
}

impl State {
    fn pause(&mut self, retry_after: Option<Duration>) -> Duration {
        let shift = self.refusals.saturating_sub(1).min(6);
        retry_after
            .unwrap_or_else(|| (DEFAULT_PAUSE.0 * (1 << shift)).min(DEFAULT_PAUSE.1))
            .min(LONGEST_PAUSE)
    }

    /// Grants what can be granted now, in order, and says when to look again (`None`: when a call ends).
    fn pump(&mut self, now: Instant) -> Option<Instant> {
        self.account.advance(now);
        self.concurrency.advance(now);
        let mut again: Option<Instant> = None;
        let mut granted = Vec::new();
        for (ticket, waiter) in &self.waiting {
            if self.concurrency.in_flight >= self.concurrency.allowed() {
                // A learned limit grows with time alone, so look again even if no call ends.
                again = earlier(again, now + Duration::from_secs(1));
                break;
            }
            if let Some(at) = self.account.ready_at(now) {
                again = earlier(again, at);
                break;
            }
            if let Some(rate) = self.per_endpoint {
                let bucket = match self.endpoints.get_mut(&waiter.endpoint) {
                    Some(bucket) => bucket,
                    None => self
                        .endpoints
                        .entry(waiter.endpoint.clone())
                        .or_insert_with(|| Bucket::new(rate, now)),
                };
                bucket.advance(now);
                if let Some(at) = bucket.ready_at(now) {
                    // Only this endpoint is short: whoever wants another one may pass.
                    again = earlier(again, at);
                    continue;
                }
                bucket.tokens -= 1.0;
            }
            self.account.tokens -= 1.0;
            self.concurrency.in_flight += 1;
            granted.push(*ticket);
        }
        for ticket in granted {
            if let Some(waiter) = self.waiting.remove(&ticket)
                && waiter.grant.send(()).is_err()
            {
                // The caller went away between its last poll and now.
                self.concurrency.in_flight = self.concurrency.in_flight.saturating_sub(1);
            }
        }
        again
    }
}

fn earlier(a: Option<Instant>, b: Instant) -> Option<Instant> {
    Some(a.map_or(b, |a| a.min(b)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics while it holds the lock; if something ever did, the counts are still sound.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Budget {
    /// The budget of an account in this mode, as the connector's spec states it.
    #[must_use]
    pub fn new(budget: RateBudget, mode: Mode) -> Self {
        let rate = match mode {
            Mode::Live => budget.live_per_second,
            Mode::Test => budget.test_per_second,
        };
        let now = Instant::now();
        #[expect(clippy::cast_precision_loss, reason = "a count of calls in flight is small")]
        let concurrency = budget.concurrency.max(1) as f64;
        Self {
            state: Some(Mutex::new(State {
                account: Bucket::new(rate, now),
                per_endpoint: budget.per_endpoint_per_second,
                endpoints: HashMap::new(),
                concurrency: Limit { full: concurrency, now: concurrency, at: now, in_flight: 0 },
                refusals: 0,
                last_refusal: None,
                waiting: BTreeMap::new(),
                next_ticket: 0,
                stats: BudgetStats::default(),
            })),
            free: Mutex::default(),
        }
    }

    /// A budget that never makes anybody wait: for a sandbox on the same machine and for benchmarks.
    /// Refusals are still counted, and still reach the caller as errors.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { state: None, free: Mutex::default() }
    }

    /// Waits for a turn. The permit is held while the call runs; dropping it ends the call.
    pub async fn acquire(self: &Arc<Self>, priority: Priority, endpoint: &str) -> Permit {
        let Some(state) = &self.state else {
            let mut stats = lock(&self.free);
            stats.calls += 1;
            stats.in_flight += 1;
            return Permit { budget: Arc::clone(self) };
        };
        let started = Instant::now();
        let (grant, mut granted) = oneshot::channel();
        let (ticket, mut again) = {
            let mut state = lock(state);
            let ticket = (priority, state.next_ticket);
            state.next_ticket += 1;
            state.waiting.insert(ticket, Waiter { endpoint: endpoint.to_owned(), grant });
            (ticket, state.pump(started))
        };
        let mut place = Place { budget: self, ticket, done: false };
        loop {
            let look_again = async {
                match again {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = &mut granted => break,
                () = look_again => again = lock(state).pump(Instant::now()),
            }
        }
        place.done = true;
        let waited = started.elapsed();
        let mut state = lock(state);
        state.stats.calls += 1;
        if !waited.is_zero() {
            state.stats.waited += 1;
            state.stats.waited_for += waited;
        }
        drop(state);
        Permit { budget: Arc::clone(self) }
    }

    /// The provider refused a call for too many calls. Gives how long to stay away: what it asked for,
    /// or a pause that doubles with each refusal in a row.
    pub fn refused(&self, endpoint: &str, about: Throttle, retry_after: Option<Duration>) -> Duration {
        let Some(state) = &self.state else {
            lock(&self.free).throttled += 1;
            return retry_after.unwrap_or(DEFAULT_PAUSE.0).min(LONGEST_PAUSE);
        };
        let mut guard = lock(state);
        let state = &mut *guard;
        let now = Instant::now();
        state.stats.throttled += 1;
        let fresh = state.last_refusal.is_none_or(|at| now.saturating_duration_since(at) >= SAME_REFUSAL);
        if fresh {
            state.refusals = state.refusals.saturating_add(1);
            state.last_refusal = Some(now);
        }
        let pause = state.pause(retry_after);
        let until = now + pause;
        state.account.advance(now);
        state.concurrency.advance(now);
        match about {
            Throttle::Account => state.account.refuse(until, fresh),
            Throttle::Endpoint => {
                let rate = *state.per_endpoint.get_or_insert(state.account.full_rate);
                let bucket =
                    state.endpoints.entry(endpoint.to_owned()).or_insert_with(|| Bucket::new(rate, now));
                bucket.advance(now);
                bucket.refuse(until, fresh);
            }
            Throttle::Concurrency => {
                if fresh {
                    state.concurrency.now = (state.concurrency.now / 2.0).max(1.0);
                }
                state.account.block(until);
            }
        }
        pause
    }

    /// The provider answered: refusals in a row are over.
    pub fn answered(&self) {
        if let Some(state) = &self.state {
            lock(state).refusals = 0;
        }
    }

    /// What this budget has seen.
    #[must_use]
    pub fn stats(&self) -> BudgetStats {
        match &self.state {
            None => BudgetStats { rate: f64::INFINITY, ..*lock(&self.free) },
            Some(state) => {
                let state = lock(state);
                BudgetStats {
                    in_flight: state.concurrency.in_flight,
                    waiting: state.waiting.len(),
                    rate: state.account.rate,
                    ..state.stats
                }
            }
        }
    }

    fn release(&self) {
        match &self.state {
            None => {
                let mut stats = lock(&self.free);
                stats.in_flight = stats.in_flight.saturating_sub(1);
            }
            Some(state) => {
                let mut state = lock(state);
                state.concurrency.in_flight = state.concurrency.in_flight.saturating_sub(1);
                // Whoever is let in now wakes by its grant; the others keep their own timers.
                let _again = state.pump(Instant::now());
            }
        }
    }
}

/// A place in the line; leaving it unserved gives it up.
struct Place<'a> {
    budget: &'a Budget,
    ticket: (Priority, u64),
    done: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let Some(state) = &self.budget.state else { return };
        let still_waiting = lock(state).waiting.remove(&self.ticket).is_some();
        if !still_waiting {
            // Granted and never taken up.
            self.budget.release();
        }
    }
}

/// One call in flight.
#[derive(Debug)]
#[must_use = "the call is over when this is dropped"]
pub struct Permit {
    budget: Arc<Budget>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.release();
    }
}

#[cfg(test)]
mod tests {
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
        let fourth =
            tokio::time::timeout(Duration::from_secs(5), budget.acquire(Priority::Webhook, "d")).await;
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
}
