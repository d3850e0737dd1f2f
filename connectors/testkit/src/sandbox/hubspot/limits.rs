//! Limits of calls, kept as HubSpot keeps them: so many in a rolling window, so many searches a second, so many a
//! day.

use std::collections::VecDeque;
use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use tokio::time::Instant;

/// What an account may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls in a window; searches count, too.
    pub calls: usize,
    /// How long the window is.
    pub window: Duration,
    /// Searches a second.
    pub searches: usize,
    /// Calls a day, and how many of them are used up already; `None` for an app that has no such limit.
    pub daily: Option<(u64, u64)>,
}

/// What was called lately.
#[derive(Debug, Default)]
pub(super) struct Spent {
    calls: VecDeque<Instant>,
    searches: VecDeque<Instant>,
    today: u64,
    /// Calls that were refused.
    pub(super) refused: u64,
}

fn recent(times: &mut VecDeque<Instant>, now: Instant, window: Duration) -> usize {
    while times.front().is_some_and(|at| now.saturating_duration_since(*at) >= window) {
        times.pop_front();
    }
    times.len()
}

impl Spent {
    /// Counts a call in; the name of the limit that refuses it, if one does.
    pub(super) fn take(&mut self, limits: &Limits, search: bool) -> Result<(), &'static str> {
        let now = Instant::now();
        let verdict = if limits.daily.is_some_and(|(limit, used)| used + self.today >= limit) {
            Err("DAILY")
        } else if recent(&mut self.calls, now, limits.window) >= limits.calls {
            Err("TEN_SECONDLY_ROLLING")
        } else if search && recent(&mut self.searches, now, Duration::from_secs(1)) >= limits.searches {
            Err("SECONDLY")
        } else {
            Ok(())
        };
        match verdict {
            Ok(()) => {
                self.today += 1;
                self.calls.push_back(now);
                if search {
                    self.searches.push_back(now);
                }
            }
            Err(_) => self.refused += 1,
        }
        verdict
    }

    /// The headers of an answer; those of searches have none.
    pub(super) fn headers(&mut self, limits: &Limits) -> HeaderMap {
        let left = limits.calls.saturating_sub(recent(&mut self.calls, Instant::now(), limits.window));
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: u64| {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        };
        put("x-hubspot-ratelimit-max", limits.calls as u64);
        put("x-hubspot-ratelimit-remaining", left as u64);
        put(
            "x-hubspot-ratelimit-interval-milliseconds",
            u64::try_from(limits.window.as_millis()).unwrap_or(u64::MAX),
        );
        if let Some((limit, used)) = limits.daily {
            put("x-hubspot-ratelimit-daily", limit);
            put("x-hubspot-ratelimit-daily-remaining", limit.saturating_sub(used + self.today));
        }
        headers
    }
}
