//! Keeps the leases of held jobs, and stops the runs whose claim is gone.

use std::sync::Arc;
use std::time::Duration;

use connector_sdk::Clock;
use tokio::time::MissedTickBehavior;

use super::claimer::LEASE;
use super::held::Held;
use super::stats::Stats;
use super::telemetry;
use crate::store::JobStore;

/// How often leases are extended.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(2);

/// Extends all leases of the process in one update, again and again. While the store does not answer the runs go
/// on: if a claim is lost meanwhile, the fence keeps its result out.
pub(super) async fn keep(
    store: Arc<dyn JobStore>,
    clock: Arc<dyn Clock>,
    held: Arc<Held>,
    stats: Arc<Stats>,
    worker: String,
) {
    let mut beat = tokio::time::interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        beat.tick().await;
        let fences = held.fences();
        if fences.is_empty() {
            continue;
        }
        match store.heartbeat_jobs(&worker, &fences, clock.now() + LEASE).await {
            Ok(lost) => {
                failing = false;
                for fence in lost {
                    // One that was recorded while the heartbeat was on its way is not lost.
                    if held.lose(&fence) {
                        stats.lost(1);
                        metrics::counter!(telemetry::LOST).increment(1);
                        tracing::warn!(
                            job = %fence.job_id, claim = fence.claim,
                            "the claim was lost, its run is stopped"
                        );
                    }
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, jobs = fences.len(), "leases cannot be extended, trying again");
                }
                failing = true;
            }
        }
    }
}
