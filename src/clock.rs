//! Time as a parameter: the trait and the system's clock come from the connector SDK, so that connectors and
//! the engine tell the time the same way.

pub use connector_sdk::{Clock, SystemClock, Timestamp};

use std::sync::{Mutex, PoisonError};

use chrono::SubsecRound;

/// A clock that stands still until it is moved. For tests, and for runs that must be the same each time.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that stands at `start`, cut to microseconds.
    pub fn new(start: Timestamp) -> Self {
        Self(Mutex::new(start.trunc_subsecs(6)))
    }

    /// Moves the hands; also back, as an operating system's clock may go.
    pub fn set(&self, to: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = to.trunc_subsecs(6);
    }

    /// Moves the hands forward.
    pub fn advance(&self, by: std::time::Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = (*now + by).trunc_subsecs(6);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_until_it_is_moved_and_cuts_to_microseconds() {
        let start: Timestamp = "2026-11-22T05:00:00.123456789Z".parse().unwrap();
        let clock = ManualClock::new(start);
        assert_eq!(clock.now().to_rfc3339(), "2026-11-22T05:00:00.123456+00:00");
        assert_eq!(clock.now(), clock.now());
        clock.advance(std::time::Duration::from_nanos(1_999));
        assert_eq!(clock.now().to_rfc3339(), "2026-11-22T05:00:00.123457+00:00");
        clock.set(start);
        assert_eq!(clock.now().to_rfc3339(), "2026-11-22T05:00:00.123456+00:00");
    }
}
