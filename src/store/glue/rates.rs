//! [`RateStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::Timestamp;

use super::{Engine, Lane, Result, Scope, units};
use crate::store::rates::{RateAsk, RateStore, RateTaken};

#[async_trait]
impl RateStore for Engine {
    async fn take_calls(&self, ask: RateAsk, at: Timestamp) -> Result<RateTaken> {
        unit!(self.write(Lane::Ack, Scope::System), [ask = ask], |c| units::rates::take_calls(c, ask, at))
    }
}
