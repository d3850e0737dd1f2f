//! Stripe's limits: so many calls a second of the account, and of any one endpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sandbox::arrivals::Recent;

const SECOND: Duration = Duration::from_secs(1);

/// What an account may call in any second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls of all endpoints.
    pub calls: usize,
    /// Calls of any one endpoint.
    pub of_one: usize,
}

/// What was called lately.
#[derive(Debug, Default)]
pub(super) struct Spent {
    limits: Option<Limits>,
    all: Recent,
    endpoints: BTreeMap<String, Recent>,
    /// Calls that were refused.
    pub(super) refused: u64,
}

impl Spent {
    pub(super) fn under(limits: Option<Limits>) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Counts a call in; what refuses it, as Stripe's header says.
    pub(super) fn take(&mut self, operation: &str) -> Result<(), &'static str> {
        let Some(limits) = self.limits else { return Ok(()) };
        let endpoint = self.endpoints.entry(operation.to_owned()).or_default();
        let refused = if !endpoint.has_room(limits.of_one, SECOND) {
            "endpoint-rate"
        } else if !self.all.has_room(limits.calls, SECOND) {
            "global-rate"
        } else {
            endpoint.take();
            self.all.take();
            return Ok(());
        };
        self.refused += 1;
        Err(refused)
    }
}
