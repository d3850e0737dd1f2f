use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Findings;

/// How often the SDK API may be called, in each process: so many calls a second in the long run, and so many at once
/// after a pause. `users/update` counts its items. 0 a second: no limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Calls a second of one server key.
    pub server_key_per_second: u32,
    /// Calls at once of one server key.
    pub server_key_burst: u32,
    /// Calls a second of one publishable key: all visitors of a product together.
    pub publishable_key_per_second: u32,
    /// Calls at once of one publishable key.
    pub publishable_key_burst: u32,
    /// Calls a second of one organisation, over all its keys.
    pub org_per_second: u32,
    /// Calls at once of one organisation.
    pub org_burst: u32,
    /// Calls a second of one address (in IPv6 of one /64) with a publishable key, or without a key.
    pub address_per_second: u32,
    /// Calls at once of one address.
    pub address_burst: u32,
    /// Calls a second of one address whose key is no key.
    pub failures_per_second: u32,
    /// Such calls at once.
    pub failures_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            server_key_per_second: 50_000,
            server_key_burst: 100_000,
            publishable_key_per_second: 1_000,
            publishable_key_burst: 2_000,
            org_per_second: 50_000,
            org_burst: 100_000,
            address_per_second: 50,
            address_burst: 500,
            failures_per_second: 5,
            failures_burst: 100,
        }
    }
}

impl Limits {
    pub(super) fn check(&self, found: &mut Findings<'_>) {
        const MOST: u32 = 10_000_000;
        let pairs = [
            ("server_key", self.server_key_per_second, self.server_key_burst),
            ("publishable_key", self.publishable_key_per_second, self.publishable_key_burst),
            ("org", self.org_per_second, self.org_burst),
            ("address", self.address_per_second, self.address_burst),
            ("failures", self.failures_per_second, self.failures_burst),
        ];
        for (whose, per_second, burst) in pairs {
            found.within(&format!("limits.{whose}_per_second"), per_second, 0, MOST);
            found.within(&format!("limits.{whose}_burst"), burst, 1, MOST);
        }
    }
}
