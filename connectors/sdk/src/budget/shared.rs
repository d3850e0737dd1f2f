//! What several processes that read one account tell each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Bucket, Budget, Priority, State, Throttle, lock};

/// What one process asks of what they share.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Demand {
    /// The most urgent call that waits; `None` when only refusals are told.
    pub priority: Option<Priority>,
    /// Calls that wait for the account.
    pub calls: u32,
    /// Of these, by endpoint, those that wait for the endpoint. Those without a limit of their own are not named.
    pub endpoints: BTreeMap<String, u32>,
    /// Calls per second of endpoints whose limit is other than that of all endpoints.
    pub rates: BTreeMap<String, f64>,
    /// Refusals since the last demand.
    pub refusals: Vec<Refusal>,
}

/// A provider's refusal for too many calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What it is about.
    pub about: Throttle,
    /// The endpoint, when it is about that.
    pub endpoint: Option<String>,
    /// How long to stay away.
    pub pause: Duration,
}

/// What a process is granted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Grant {
    /// The account's.
    pub account: Fill,
    /// Those of endpoints that were asked for.
    pub endpoints: BTreeMap<String, Fill>,
    /// How many processes share the account now, this one included.
    pub processes: u32,
}

/// What one bucket is filled with.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fill {
    /// Calls that may be made now.
    pub tokens: u32,
    /// Calls per second that all processes together may make now.
    pub rate: f64,
    /// How long nobody may call.
    pub blocked_for: Duration,
}

impl State {
    fn demand(&mut self, now: Instant) -> Option<Demand> {
        self.account.advance(now);
        let refusals = std::mem::take(&mut self.refused);
        let rates = self.own_rates.clone();
        let mut demand = Demand { priority: None, calls: 0, endpoints: BTreeMap::new(), rates, refusals };
        if !self.account.is_blocked(now) {
            for ((priority, _), waiter) in &self.waiting {
                if self.endpoints.get(&waiter.endpoint).is_some_and(|bucket| bucket.is_blocked(now)) {
                    continue;
                }
                if waiter.at_most.is_some() || self.per_endpoint.is_some() {
                    *demand.endpoints.entry(waiter.endpoint.clone()).or_default() += 1;
                }
                demand.priority.get_or_insert(*priority);
                demand.calls += 1;
            }
            demand.calls = demand.calls.saturating_sub(self.account.whole_tokens());
            for (endpoint, calls) in &mut demand.endpoints {
                let held = self.endpoints.get(endpoint).map_or(0, Bucket::whole_tokens);
                *calls = calls.saturating_sub(held);
            }
            demand.endpoints.retain(|_, calls| *calls > 0);
        }
        let nothing = demand.calls == 0 && demand.endpoints.is_empty() && demand.refusals.is_empty();
        (!nothing).then_some(demand)
    }

    fn feed(&mut self, grant: &Grant, now: Instant) {
        self.account.advance(now);
        self.account.feed(&grant.account, now);
        for (endpoint, fill) in &grant.endpoints {
            let bucket =
                self.endpoints.entry(endpoint.clone()).or_insert_with(|| Bucket::new(fill.rate, true, now));
            bucket.advance(now);
            bucket.feed(fill, now);
        }
        self.concurrency.share(grant.processes);
    }
}

impl Budget {
    /// What a fed budget needs, or `None`: then it needs nothing until [`Budget::hungry`] is notified.
    pub fn demand(&self) -> Option<Demand> {
        lock(self.state.as_ref()?).demand(Instant::now())
    }

    /// Notified whenever [`Budget::demand`] may have something to say, and when the budget is gone.
    pub fn hungry(&self) -> Arc<Notify> {
        Arc::clone(&self.hungry)
    }

    /// Answers a demand. Calls are let through at once; what is not used soon is lost.
    pub fn grant(&self, grant: &Grant) {
        if let Some(state) = &self.state {
            let now = Instant::now();
            let mut state = lock(state);
            state.feed(grant, now);
            // Whoever is let in wakes by its grant; the others keep their own timers.
            let _again = state.pump(now);
        }
    }
}
