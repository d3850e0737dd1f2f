//! Rate budgets of accounts that several processes read: what one asks for is drawn from what all share.

use std::sync::Arc;
use std::time::Duration;

use connector_sdk::{Budget, Clock};

use crate::store::Store;
use crate::store::StoreError;
use crate::store::rates::RateAsk;

/// After the store refused; the provider is not called meanwhile.
const STORE_AWAY: Duration = Duration::from_secs(1);

/// Feeds a budget until it is gone. `ask` names account, process and limits; its demand is the budget's.
pub(super) fn feed(budget: &Arc<Budget>, store: Arc<dyn Store>, clock: Arc<dyn Clock>, ask: RateAsk) {
    let (hungry, budget) = (budget.hungry(), Arc::downgrade(budget));
    tokio::spawn(async move {
        let mut failing = false;
        while let Some(budget) = budget.upgrade() {
            let Some(demand) = budget.demand() else {
                // It must be able to go while nothing is asked for; it says so when it goes.
                drop(budget);
                hungry.notified().await;
                continue;
            };
            let ask = RateAsk { demand, ..ask.clone() };
            match store.take_calls(ask, clock.now()).await {
                Ok(taken) => {
                    failing = false;
                    budget.grant(&taken.grant);
                    drop(budget);
                    tokio::time::sleep(taken.again_in).await;
                }
                Err(StoreError::Closed) => return,
                Err(error) => {
                    // Refusals that were told with it stay in this process, which keeps to them; the provider
                    // tells the others itself.
                    if !failing {
                        tracing::warn!(%error, "calls cannot be shared with other processes");
                    }
                    failing = true;
                    drop(budget);
                    tokio::time::sleep(STORE_AWAY).await;
                }
            }
        }
    });
}
