//! Syncing: from a provider's pages to the mirror.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`providers`] | sessions: a connection with its settings, secrets and rate budget |
//! | [`dry_run`] | what a full read would change |
//! | [`compare`] | the mirror beside the provider: what differs, and where |
//! | [`audit`] | a sample of the mirror, or all of it, compared |
//! | [`resync`] | everything of one company, compared |
//! | [`reread`] | records read again by their keys |
//! | [`ingest`] | records prepared for the mirror; pages and webhook touches join here |
//! | [`links`] | who is whose company |
//! | [`people`] | who of a provider's people is an end user |
//! | [`run`] | the job that reads the streams of a run |
//! | `reader` | reading a stream page by page, several partitions at once |
//! | `feed` | a provider's list of what changed, instead of listing streams |
//! | [`scheduled`] | the job behind a schedule's tick |
//! | [`start`] | making runs: on connect, on schedule, by hand |
//! | [`credentials`] | secrets at rest |
//! | [`oauth`] | connections that a person grants at the provider, and tokens that renew themselves |

pub mod audit;
mod canonical;
pub mod compare;
pub mod credentials;
pub mod dry_run;
mod feed;
pub mod ingest;
pub mod links;
pub mod oauth;
pub mod people;
pub mod providers;
mod reader;
pub mod reread;
pub mod resync;
pub mod run;
pub mod scheduled;
mod shared_rates;
pub mod start;
mod whole;

use connector_sdk::{ConnectorError, Timestamp};

use crate::domain::jobs::JobOutcome;
use crate::jobs::{JobError, verdict};
use crate::store::StoreError;

/// Why syncing did not go on.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The provider, or our account there.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    /// Our database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A sealed secret.
    #[error(transparent)]
    Credential(#[from] credentials::CredentialError),
    /// What the job was about is no longer there (connection removed, connector not in this build).
    #[error("{0}")]
    Gone(String),
}

impl SyncError {
    /// Whether only a person can mend it: credentials or settings that are refused.
    pub fn needs_person(&self) -> bool {
        matches!(
            self,
            Self::Connector(ConnectorError::Auth { .. } | ConnectorError::Config(_)) | Self::Credential(_)
        )
    }

    /// What the error means for the job that met it, by the one function that decides.
    pub fn outcome(self, now: Timestamp) -> JobOutcome {
        let error = match self {
            Self::Connector(error) => JobError::Connector(error),
            Self::Store(error) => JobError::Store(error),
            Self::Credential(error) => JobError::Refused(error.to_string()),
            Self::Gone(reason) => JobError::Refused(reason),
        };
        verdict(&error, now)
    }
}
