use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Findings;

/// Copies of the embedded database by the clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Backup {
    /// Hours after which the serving process makes a copy again; 0 makes none. Not for Postgres.
    pub every_hours: u32,
    /// Copies that stay; the oldest goes when another is made.
    pub keep: u32,
}

impl Default for Backup {
    fn default() -> Self {
        Self { every_hours: 24, keep: 7 }
    }
}

impl Backup {
    pub(super) fn check(&self, found: &mut Findings<'_>) {
        found.within("backup.every_hours", self.every_hours, 0, 24 * 366);
        found.within("backup.keep", self.keep, 1, 10_000);
    }
}
