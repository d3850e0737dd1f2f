//! Who wins when two sources name the same field.

use serde::{Deserialize, Serialize};

/// The rank of a value's source. A larger rank wins; within a rank the later write wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// What a publishable key claims.
    Claimed,
    /// Synced from a provider or derived, by the field's source setting.
    Synced,
    /// A server key or a verified token; of one rank with `Synced` (see [`Rank::level`]).
    Server,
    /// A person, in the dashboard or on the command line. Stays until released.
    Manual,
}

impl Rank {
    /// The level that decides: server and synced are equal, the later of them wins.
    pub fn level(self) -> u8 {
        match self {
            Self::Claimed => 0,
            Self::Synced | Self::Server => 1,
            Self::Manual => 2,
        }
    }
}
