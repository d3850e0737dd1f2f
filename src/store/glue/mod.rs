//! The traits on an engine: which pool, which lane, which unit. Compiled twice, as the units are.

use async_trait::async_trait;

mod identity;
mod jobs;
use super::{Engine, Lane, NAME, Result, Scope, units};
use crate::store::{JobsSignal, Store};

mod attributes;
mod conversations;
mod derivations;
mod grants;
mod imports;
mod inbox;
mod mirror;
mod product;
mod rates;
mod sealing;
mod settings;
mod trust;
mod watch;

#[async_trait]
impl Store for Engine {
    fn engine(&self) -> &'static str {
        NAME
    }

    fn jobs_signal(&self) -> JobsSignal {
        self.jobs_signal()
    }

    async fn close(&self) {
        self.close().await;
    }
}
