//! What the processes that read one provider account share: how many calls they may make together.

use std::time::Duration;

use async_trait::async_trait;
use connector_sdk::{Demand, Grant, Timestamp};

use super::Result;

/// What a process asks for an account.
#[derive(Debug, Clone, PartialEq)]
pub struct RateAsk {
    /// The account, over all connections that read it.
    pub account: String,
    /// The process that asks.
    pub process: String,
    /// Calls per second that the provider allows the account.
    pub per_second: f64,
    /// Calls per second that it allows any one endpoint, where it counts them apart.
    pub per_endpoint_per_second: Option<f64>,
    /// What waits.
    pub demand: Demand,
}

/// What it gets.
#[derive(Debug, Clone, PartialEq)]
pub struct RateTaken {
    /// Calls that may be made now.
    pub grant: Grant,
    /// When to ask again for what was not granted.
    pub again_in: Duration,
}

/// Rates that processes share.
#[async_trait]
pub trait RateStore: Send + Sync {
    /// Takes calls for a process. Whoever asks with a more urgent call goes first, over all processes; those of
    /// equal urgency share alike. Refusals stop everybody.
    async fn take_calls(&self, ask: RateAsk, at: Timestamp) -> Result<RateTaken>;
}
