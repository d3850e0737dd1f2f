//! The rate budget of one provider account.

use serde::{Deserialize, Serialize};

/// What a call is for; a smaller one goes first when the budget is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Reading again what a webhook named.
    Webhook,
    /// A scheduled incremental read.
    Incremental,
    /// A backfill.
    Backfill,
}

/// The rate budget of one provider account, shared by everything that reads it.
#[derive(Debug, Default)]
pub struct Budget {}
