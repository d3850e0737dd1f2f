use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Findings;

/// How long things are kept that gather by themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Days that users' events are kept.
    pub events_days: u32,
    /// Days that the counts of a user's activity by day are kept.
    pub activity_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { events_days: 90, activity_days: 400 }
    }
}

impl Retention {
    pub(super) fn check(&self, found: &mut Findings<'_>) {
        found.within("retention.events_days", self.events_days, 1, 3_650);
        // Health looks back over a window of days.
        found.within("retention.activity_days", self.activity_days, 90, 3_650);
    }
}
