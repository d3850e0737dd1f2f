//! Names of the job engine's span and figures.

/// Span of one run; fields: kind, job, claim, org, connection.
pub(super) const RUN_SPAN: &str = "job.run";
/// Counter of ended runs; labels: kind, outcome.
pub(super) const RUNS: &str = "halo_job_runs_total";
/// Histogram of run times, seconds; label: kind.
pub(super) const RUN_SECONDS: &str = "halo_job_run_seconds";
/// Histogram of the time from due to start, seconds; label: kind.
pub(super) const WAIT_SECONDS: &str = "halo_job_wait_seconds";
/// Counter of claims that were lost while their job ran.
pub(super) const LOST: &str = "halo_job_claims_lost_total";
