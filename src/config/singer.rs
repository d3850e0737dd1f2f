use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Findings;

/// Programs that Singer connections may run (`docs/singer.md`). None, unless they are named here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Singer {
    /// Absolute paths of taps, by the names that connections use.
    pub taps: BTreeMap<String, PathBuf>,
    /// Mebibytes of address space of a tap.
    pub memory_mb: u64,
    /// Seconds that one run of a tap may take.
    pub run_seconds: u64,
    /// Seconds that a tap may say nothing.
    pub idle_seconds: u64,
    /// Bytes of the longest line that a tap may write.
    pub line_bytes: usize,
}

impl Default for Singer {
    fn default() -> Self {
        Self {
            taps: BTreeMap::new(),
            memory_mb: 2_048,
            run_seconds: 21_600,
            idle_seconds: 600,
            line_bytes: 8_388_608,
        }
    }
}

impl Singer {
    pub(super) fn check(&self, found: &mut Findings<'_>) {
        for (name, path) in &self.taps {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
            if name.is_empty() || !name.bytes().all(plain) {
                found.add("singer.taps", format!("{name:?} is no name: lower-case letters, digits, _ and -"));
            }
            if !path.is_absolute() {
                found.add("singer.taps", format!("{name}: {} is not an absolute path", path.display()));
            }
        }
        found.within("singer.memory_mb", self.memory_mb, 64, 1_048_576);
        found.within("singer.run_seconds", self.run_seconds, 1, 604_800);
        found.within("singer.idle_seconds", self.idle_seconds, 1, 86_400);
        found.within("singer.line_bytes", self.line_bytes, 1_024, 268_435_456);
    }
}
