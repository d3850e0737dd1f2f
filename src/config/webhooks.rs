use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Findings;

/// Webhooks from providers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// How far a signature's time may lie from ours, in both directions.
    pub tolerance_seconds: u64,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self { tolerance_seconds: 300 }
    }
}

impl Webhooks {
    pub(super) fn check(&self, found: &mut Findings<'_>) {
        found.within("webhooks.tolerance_seconds", self.tolerance_seconds, 1, 3_600);
    }
}
