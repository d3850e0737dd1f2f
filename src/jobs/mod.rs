//! The job engine: from a committed row to a recorded outcome.
//!
//! ```text
//! push_in (any unit) ──commit──► JobsSignal ─┐           ┌────────── apalis worker ──────────┐
//!                      polling, next_due ────┼─► Claimer ─► channel ─► backend ─► Runner ─► handler
//! Reconciler: scans ─────────────────────────┘      ▲                              │
//!   due schedules, expired leases, prune, …         │ wake, free slots             ▼ Finished
//!                                   leases ◄──── Held table ◄───────────────── Recorder ─► history
//! ```
//!
//! | file | what is in it |
//! | --- | --- |
//! | `kind` | [`JobHandler`], [`JobContext`]: what an author of a kind writes against |
//! | `runtime` | [`Runtime`], [`RuntimeHandle`]: start, wake, drain, stop |
//! | `claimer` | claims for free slots; healthy jobs side by side, suspects alone |
//! | `lanes` | fairness between lanes |
//! | `backend` | the only file that names apalis |
//! | `runner` | one run: time limit, panic, lost claim |
//! | `recorder` | outcomes in batches |
//! | `held`, `leases` | what this process holds, and its heartbeats |
//! | `ladder` | the retry ladder and its jitter |
//! | `verdict` | the one map from errors to outcomes |
//! | `cron`, `schedules` | when a schedule ticks, and the tick that becomes one job |
//! | `reconcile` | the scans that find what events missed |
//! //!
//! The rules of the rows (fence, deduplication, suspects, caps, history) are in the store's units
//! (`store/units/jobs.rs`). The life of a row:
//!
//! - *waiting*, due or not. At most one job with a key waits.
//! - *running*, under a claim number and a lease. Only the holder of that number can end it.
//! - *finished*, in the history: done, merged into a waiting job with its key, or a dead letter.
//!
//! A job whose process dies comes back as a *suspect*: it costs no attempt, but suspects run alone, so that the
//! next death names the culprit. The culprit is charged for both and buried when its attempts are used up.

mod backend;
mod claimer;
pub mod cron;
mod held;
mod kind;
pub mod ladder;
mod lanes;
mod leases;
mod reconcile;
mod recorder;
mod runner;
mod runtime;
pub mod schedules;
mod stats;
mod telemetry;
mod verdict;

pub use kind::{JobContext, JobHandler};
pub use ladder::{Jitter, Ladder, SeededJitter, SystemJitter};
pub use reconcile::Scan;
pub use runtime::{Runtime, RuntimeBuilder, RuntimeHandle, StopReport};
pub use stats::RuntimeStats;
pub use verdict::{JobError, verdict};
