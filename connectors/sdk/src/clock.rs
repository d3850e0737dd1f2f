//! Time as a parameter, cut to microseconds (what both databases keep).

use chrono::{DateTime, SubsecRound, Utc};

/// An instant in UTC. Always cut to microseconds when it comes from a [`Clock`].
pub type Timestamp = DateTime<Utc>;

/// Where "now" comes from. Nothing else in the project asks the operating system for the time of day.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The current instant, cut to microseconds.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    fn now(&self) -> Timestamp {
        Utc::now().trunc_subsecs(6)
    }
}
