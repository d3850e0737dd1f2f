use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Findings;
use crate::jobs::cron;

/// Reading from providers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sync {
    /// When a new connection reads what changed: cron, five fields.
    pub incremental_schedule: String,
    /// When a new connection reads everything, which finds what webhooks and cursors missed.
    pub full_schedule: String,
    /// When a sample of each mirror is compared with its provider: cron, five fields; empty for never.
    pub audit_schedule: String,
    /// Records of each mirror in that sample.
    pub audit_sample: u32,
    /// Whether what such an audit finds to differ is read again.
    pub audit_repair: bool,
    /// IANA time zone of all three.
    pub time_zone: String,
    /// Pages that one job reads before it lets others run; it goes on from the last page.
    pub page_budget: u32,
    /// Seconds that one job reads before it lets others run.
    pub job_seconds: u64,
}

impl Default for Sync {
    fn default() -> Self {
        Self {
            incremental_schedule: "7 * * * *".to_owned(),
            full_schedule: "23 3 * * *".to_owned(),
            audit_schedule: "41 5 * * *".to_owned(),
            audit_sample: 200,
            audit_repair: true,
            time_zone: "UTC".to_owned(),
            page_budget: 100,
            job_seconds: 30,
        }
    }
}

impl Sync {
    pub(super) fn check(&self, found: &mut Findings<'_>) {
        for (key, text) in [
            ("sync.incremental_schedule", &self.incremental_schedule),
            ("sync.full_schedule", &self.full_schedule),
            ("sync.audit_schedule", &self.audit_schedule),
        ] {
            if key == "sync.audit_schedule" && text.is_empty() {
                continue;
            }
            if let Err(error) = text.parse::<cron::Cron>() {
                found.add(key, format!("{text:?}: {error}"));
            }
        }
        if let Err(error) = cron::time_zone(&self.time_zone) {
            found.add("sync.time_zone", error.to_string());
        }
        found.within("sync.audit_sample", self.audit_sample, 1, 100_000);
        found.within("sync.page_budget", self.page_budget, 1, 100_000);
        found.within("sync.job_seconds", self.job_seconds, 1, 3_600);
    }
}
