//! The rate budget of one provider account.
//!
//! Everything that reads an account waits here before each call: webhook re-reads, incremental reads,
//! backfills, in that order. The budget starts from what the connector's spec says and learns from the
//! answers: a refusal halves what it concerns and is waited out, successes win it back slowly.
//!
//! Where several processes read one account, each has a budget that is *fed*: it hands out what it is granted
//! from what the processes share ([`Budget::demand`], [`Budget::grant`]), and nothing by itself.
//!
//! Time is tokio's, so a test that pauses it sees exact figures.

mod shared;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

pub use shared::{Demand, Fill, Grant, Refusal};

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

/// What an answer says of the calls that its provider allows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quota {
    /// Calls per second of the account, as the provider states them for these credentials.
    pub per_second: Option<f64>,
    /// The quota of the day.
    pub daily: Option<Daily>,
}

/// A quota of calls a day, which the account's owner and their other programs draw on, too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Daily {
    /// Calls a day.
    pub limit: u64,
    /// Calls that are left of them.
    pub remaining: u64,
    /// The part of the quota (0 to 1) that is left to others. Reading again what webhooks named may use half of it.
    pub reserve: f64,
}

impl Daily {
    /// Whether a call of this priority would touch what is left to others.
    #[expect(clippy::cast_precision_loss, reason = "a count of calls a day is small")]
    fn is_spent(&self, priority: Priority) -> bool {
        let reserve = self.limit as f64 * self.reserve;
        let kept = if priority == Priority::Webhook { reserve / 2.0 } else { reserve };
        self.remaining as f64 <= kept
    }
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
/// Granted calls that were not made after this long are lost: others may have been granted since.
const GRANT_KEEPS: Duration = Duration::from_millis(500);
/// While a daily quota is spent, one call goes out after this time to see whether a new day has begun: when a
/// provider's day begins is the account's affair.
const LOOK_AGAIN: Duration = Duration::from_secs(15 * 60);
/// No provider's word keeps an account silent for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// The rate budget of one provider account, shared by everything that reads it.
#[derive(Debug)]
pub struct Budget {
    state: Option<Mutex<State>>,
    free: Mutex<BudgetStats>,
    /// Of a fed budget: told when [`Budget::demand`] may have something to say.
    hungry: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    account: Bucket,
    per_endpoint: Option<f64>,
    endpoints: HashMap<String, Bucket>,
    /// Of endpoints that were called with a rate of their own.
    own_rates: BTreeMap<String, f64>,
    concurrency: Limit,
    refusals: u32,
    last_refusal: Option<Instant>,
    waiting: BTreeMap<(Priority, u64), Waiter>,
    next_ticket: u64,
    stats: BudgetStats,
    /// Whether the buckets are filled by grants alone.
    fed: bool,
    /// Refusals that the other processes do not know of yet.
    refused: Vec<Refusal>,
    /// The quota of the day, and when it was seen.
    daily: Option<(Daily, Instant)>,
}

#[derive(Debug)]
struct Waiter {
    endpoint: String,
    /// The endpoint's own rate, where it has one.
    at_most: Option<f64>,
    grant: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Bucket {
    full_rate: f64,
    rate: f64,
    tokens: f64,
    at: Instant,
    blocked_until: Option<Instant>,
    /// Of a fed bucket: when the granted tokens are worth nothing any more.
    fed_until: Option<Instant>,
    fed: bool,
}

impl Bucket {
    fn new(rate: f64, fed: bool, now: Instant) -> Self {
        // A rate of nothing would wait for ever; a spec that says so means "almost nothing".
        let rate = if rate.is_finite() { rate.max(1e-3) } else { 1e9 };
        let tokens = if fed { 0.0 } else { burst(rate) };
        Self { full_rate: rate, rate, tokens, at: now, blocked_until: None, fed_until: None, fed }
    }

    /// Brings tokens and the learned rate up to `now`.
    fn advance(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        if !self.fed {
            self.tokens = (self.tokens + since * self.rate).min(burst(self.rate));
        } else if self.fed_until.is_some_and(|until| until <= now) {
            (self.tokens, self.fed_until) = (self.tokens.min(0.0), None);
        }
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
        // Of a fed bucket only a grant changes that; it looks again by itself all the same.
        let wait = if self.fed { 1.0 } else { ((1.0 - self.tokens) / self.rate).max(1e-4) };
        Some(now + Duration::from_secs_f64(wait))
    }

    /// Whole calls that it lets through now.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and small")]
    fn whole_tokens(&self) -> u32 {
        (self.tokens + 1e-6).max(0.0) as u32
    }

    fn is_blocked(&self, now: Instant) -> bool {
        self.blocked_until.is_some_and(|until| until > now)
    }

    /// Takes a grant in. Blocks are only ever lengthened: a refusal may have come meanwhile.
    fn feed(&mut self, grant: &shared::Fill, now: Instant) {
        self.tokens = self.tokens.max(0.0) + f64::from(grant.tokens);
        self.fed_until = Some(now + GRANT_KEEPS);
        self.rate = grant.rate;
        if !grant.blocked_for.is_zero() {
            self.block(now + grant.blocked_for);
        }
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
    shared_by: f64,
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
        (self.now / self.shared_by).max(1.0) as usize
    }

    /// So many processes have the provider's limit together, each an equal part.
    fn share(&mut self, processes: u32) {
        self.shared_by = f64::from(processes.max(1));
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
            if let Some(rate) = waiter.at_most.or(self.per_endpoint) {
                let bucket = match self.endpoints.get_mut(&waiter.endpoint) {
                    Some(bucket) => bucket,
                    None => self
                        .endpoints
                        .entry(waiter.endpoint.clone())
                        .or_insert_with(|| Bucket::new(rate, self.fed, now)),
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
        Self::with(budget, mode, false)
    }

    /// A budget that is fed: it lets through what it is granted. Its owner asks [`Budget::demand`] and answers
    /// with [`Budget::grant`].
    #[must_use]
    pub fn fed(budget: RateBudget, mode: Mode) -> Self {
        Self::with(budget, mode, true)
    }

    fn with(budget: RateBudget, mode: Mode, fed: bool) -> Self {
        let rate = budget.per_second(mode);
        let now = Instant::now();
        #[expect(clippy::cast_precision_loss, reason = "a count of calls in flight is small")]
        let concurrency = budget.concurrency.max(1) as f64;
        Self {
            state: Some(Mutex::new(State {
                account: Bucket::new(rate, fed, now),
                per_endpoint: budget.per_endpoint_per_second,
                endpoints: HashMap::new(),
                own_rates: BTreeMap::new(),
                concurrency: Limit {
                    full: concurrency,
                    now: concurrency,
                    shared_by: 1.0,
                    at: now,
                    in_flight: 0,
                },
                refusals: 0,
                last_refusal: None,
                waiting: BTreeMap::new(),
                next_ticket: 0,
                stats: BudgetStats::default(),
                fed,
                refused: Vec::new(),
                daily: None,
            })),
            free: Mutex::default(),
            hungry: Arc::default(),
        }
    }

    /// A budget that never makes anybody wait: for a sandbox on the same machine and for benchmarks.
    /// Refusals are still counted, and still reach the caller as errors.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { state: None, free: Mutex::default(), hungry: Arc::default() }
    }

    /// Waits for a turn. The permit is held while the call runs; dropping it ends the call.
    pub async fn acquire(self: &Arc<Self>, priority: Priority, endpoint: &str) -> Permit {
        self.acquire_at(priority, endpoint, None).await
    }

    /// As [`Budget::acquire`], for an endpoint that takes no more than `at_most` calls a second. All calls of an
    /// endpoint name the same rate.
    pub async fn acquire_at(
        self: &Arc<Self>,
        priority: Priority,
        endpoint: &str,
        at_most: Option<f64>,
    ) -> Permit {
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
            if let Some(rate) = at_most {
                state.own_rates.insert(endpoint.to_owned(), rate);
            }
            state.waiting.insert(ticket, Waiter { endpoint: endpoint.to_owned(), at_most, grant });
            (ticket, state.pump(started))
        };
        self.hungry.notify_one();
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
                () = look_again => {
                    again = lock(state).pump(Instant::now());
                    self.hungry.notify_one();
                }
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
        if state.fed {
            let endpoint = (about == Throttle::Endpoint).then(|| endpoint.to_owned());
            state.refused.push(Refusal { about, endpoint, pause });
        }
        state.account.advance(now);
        state.concurrency.advance(now);
        match about {
            Throttle::Account => state.account.refuse(until, fresh),
            Throttle::Endpoint => {
                let rate = *state.per_endpoint.get_or_insert(state.account.full_rate);
                let bucket = state
                    .endpoints
                    .entry(endpoint.to_owned())
                    .or_insert_with(|| Bucket::new(rate, state.fed, now));
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
        drop(guard);
        self.hungry.notify_one();
        pause
    }

    /// The provider answered: refusals in a row are over.
    pub fn answered(&self) {
        if let Some(state) = &self.state {
            lock(state).refusals = 0;
        }
    }

    /// Takes in what an answer said of the calls that are allowed. The rate of a fed budget stays: it is granted.
    pub fn observe(&self, quota: &Quota) {
        let Some(state) = &self.state else { return };
        let now = Instant::now();
        let mut state = lock(state);
        if let Some(rate) = quota.per_second.filter(|rate| rate.is_finite() && *rate > 0.0)
            && !state.fed
        {
            state.account.advance(now);
            let unhurt = state.account.rate >= state.account.full_rate;
            state.account.full_rate = rate;
            state.account.rate = if unhurt { rate } else { state.account.rate.min(rate) };
        }
        if let Some(daily) = quota.daily {
            state.daily = Some((daily, now));
        }
    }

    /// How long a call of this priority is to wait because the day's quota is used up to its reserve. From time to
    /// time one call is let through to look again.
    pub fn exhausted(&self, priority: Priority) -> Option<Duration> {
        let mut state = lock(self.state.as_ref()?);
        let (daily, at) = state.daily.as_mut()?;
        if !daily.is_spent(priority) {
            return None;
        }
        let now = Instant::now();
        let wait = LOOK_AGAIN.saturating_sub(now.saturating_duration_since(*at));
        if wait.is_zero() {
            *at = now;
            return None;
        }
        Some(wait)
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
        self.hungry.notify_one();
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

impl Drop for Budget {
    fn drop(&mut self) {
        // Whoever feeds it finds it gone.
        self.hungry.notify_one();
    }
}

#[cfg(test)]
mod tests;
