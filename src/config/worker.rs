use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Findings;

/// The worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    /// Whether `serve` works off jobs in its own process; `worker` always does.
    pub enabled: bool,
    /// Jobs at once.
    pub concurrency: usize,
    /// Time that running jobs have after a request to stop; what is not finished is released to others.
    pub shutdown_seconds: u64,
}

impl Default for Worker {
    fn default() -> Self {
        Self { enabled: true, concurrency: 8, shutdown_seconds: 20 }
    }
}

impl Worker {
    pub(super) fn check(&self, found: &mut Findings<'_>) {
        found.within("worker.concurrency", self.concurrency, 1, 1_000);
        found.within("worker.shutdown_seconds", self.shutdown_seconds, 0, 600);
    }
}
