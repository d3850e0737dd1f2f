//! What an error means for the job that met it: the one function that decides.

use std::time::Duration;

use connector_sdk::{ConnectorError, Timestamp};

use super::ladder::NOT_BEFORE_CAP;
use crate::domain::jobs::JobOutcome;
use crate::store::StoreError;

/// Why a job could not go on.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The connector's call failed.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    /// A unit of work did not commit.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that the job needs is gone, or cannot be used until a person acts.
    #[error("{0}")]
    Refused(String),
}

/// Maps an error to the outcome of the job that met it. `now` turns a provider's instant into a wait.
///
/// | error | outcome | why |
/// | --- | --- | --- |
/// | rate limited | snooze until the provider's instant | nothing is wrong, so no attempt is spent |
/// | cancelled, claim lost | snooze for no time | the process stops, or the row belongs to another holder, whose record stands |
/// | transient, protocol, expired | retry by the ladder | a later try may mend it (a proxy's error page reads as a protocol error; a run takes up an expired feed anew) |
/// | configuration, credentials, not offered | discard | only a person can mend it |
/// | database, storage full or closed, contention, a unit that panicked | retry by the ladder | it may recover by itself |
/// | schema, set-up, read-only store, broken rule, unreadable row | discard | another try meets the same rows with the same program |
pub fn verdict(error: &JobError, now: Timestamp) -> JobOutcome {
    match error {
        JobError::Connector(error) => of_connector(error, now),
        JobError::Store(error) => of_store(error),
        JobError::Refused(reason) => JobOutcome::Discard(reason.clone()),
    }
}

fn of_connector(error: &ConnectorError, now: Timestamp) -> JobOutcome {
    match error {
        ConnectorError::RateLimited { until } => {
            let wait = (*until - now).min(NOT_BEFORE_CAP);
            JobOutcome::Snooze(wait.to_std().unwrap_or(Duration::ZERO))
        }
        ConnectorError::Cancelled => JobOutcome::Snooze(Duration::ZERO),
        ConnectorError::Transient(_) | ConnectorError::Protocol(_) | ConnectorError::Expired(_) => {
            retry(error)
        }
        ConnectorError::Config(_) | ConnectorError::Auth { .. } | ConnectorError::NotOffered(_) => {
            JobOutcome::Discard(error.to_string())
        }
    }
}

fn of_store(error: &StoreError) -> JobOutcome {
    match error {
        StoreError::Fenced { .. } => JobOutcome::Snooze(Duration::ZERO),
        StoreError::Database(_)
        | StoreError::Unavailable(_)
        | StoreError::Locked { .. }
        | StoreError::Contended { .. }
        | StoreError::Panicked(_)
        | StoreError::Closed => retry(error),
        StoreError::NewerSchema { .. }
        | StoreError::OlderSchema { .. }
        | StoreError::Inconsistent { .. }
        | StoreError::Invalid(_)
        | StoreError::ReadOnly
        | StoreError::Setup(_) => JobOutcome::Discard(error.to_string()),
    }
}

fn retry(error: &dyn std::error::Error) -> JobOutcome {
    JobOutcome::Retry { error: error.to_string(), not_before: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(error: impl Into<JobError>) -> JobOutcome {
        verdict(&error.into(), "2026-03-01T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_rate_limit_waits_exactly_and_costs_no_attempt() {
        let until = "2026-03-01T12:00:30.5Z".parse().unwrap();
        assert_eq!(
            judge(ConnectorError::RateLimited { until }),
            JobOutcome::Snooze(Duration::from_millis(30_500))
        );
        let past = "2026-03-01T11:00:00Z".parse().unwrap();
        assert_eq!(judge(ConnectorError::RateLimited { until: past }), JobOutcome::Snooze(Duration::ZERO));
    }

    #[test]
    fn permanent_refusals_stop_at_once_and_say_why() {
        let auth = ConnectorError::Auth { message: "key revoked".into(), missing_permission: None };
        assert_eq!(judge(auth), JobOutcome::Discard("credentials: key revoked".into()));
        assert!(matches!(judge(ConnectorError::Config("no account".into())), JobOutcome::Discard(_)));
        assert!(matches!(judge(StoreError::Invalid("empty key".into())), JobOutcome::Discard(_)));
    }

    #[test]
    fn what_may_mend_itself_is_tried_again() {
        let expected = JobOutcome::Retry { error: "transient: reset".into(), not_before: None };
        assert_eq!(judge(ConnectorError::Transient("reset".into())), expected);
        assert!(matches!(judge(ConnectorError::Protocol("HTML".into())), JobOutcome::Retry { .. }));
        assert!(matches!(judge(StoreError::Unavailable("disk full".into())), JobOutcome::Retry { .. }));
        assert!(matches!(judge(StoreError::Database(sqlx::Error::PoolTimedOut)), JobOutcome::Retry { .. }));
    }

    #[test]
    fn a_stop_is_no_failure() {
        assert_eq!(judge(ConnectorError::Cancelled), JobOutcome::Snooze(Duration::ZERO));
        assert_eq!(judge(StoreError::Fenced { job_id: "job_1".into() }), JobOutcome::Snooze(Duration::ZERO));
    }
}
