//! How a command ends: exit codes, and errors in three parts.

use std::borrow::Cow;
use std::fmt;

use anyhow::Error as AnyError;
use connector_sdk::ConnectorError;
use serde::Serialize;

use crate::config::ConfigError;
use crate::service::{Failure, FailureKind};
use crate::store::StoreError;

/// Exit codes; documented in `--help` and `docs/operations.md`, never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Ok = 0,
    /// It failed.
    Failed = 1,
    /// The command line was not understood.
    Usage = 2,
    /// Done, but records were rejected.
    RecordErrors = 3,
    /// Credentials or a permission: a person must act.
    NeedsPerson = 4,
    /// The provider or the database is not available or asks to wait: try later.
    TryLater = 5,
    /// Settings or the database's schema.
    Config = 6,
    /// `audit`: the mirror differs from the provider.
    Drift = 7,
    /// `--exit-code`: something would change.
    ChangesPending = 10,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command did not do what it was asked: what failed, why, and what to type next.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommandError {
    /// The exit code.
    #[serde(rename = "exit_code", serialize_with = "as_number")]
    pub exit: ExitCode,
    /// A stable name for programs (`config_invalid`); the same as the API's where the API has it too.
    pub code: Cow<'static, str>,
    /// What failed, in one line.
    #[serde(rename = "title")]
    pub message: String,
    /// Why, a line each.
    #[serde(rename = "detail", skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What to type.
    #[serde(rename = "hint", skip_serializing_if = "Option::is_none")]
    pub what_to_type: Option<String>,
}

fn as_number<S: serde::Serializer>(code: &ExitCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(*code as u8)
}

/// The code of an error that only says that whoever read our output has gone.
const BROKEN_PIPE: &str = "broken_pipe";

impl CommandError {
    /// An error with the given exit code and stable name.
    pub fn new(exit: ExitCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { exit, code: code.into(), message: message.into(), why: None, what_to_type: None }
    }

    /// An error of what was asked for, that clap could not see.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, "usage", message)
    }

    /// Something that was named does not exist.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(ExitCode::Failed, "not_found", format!("there is no {what}"))
    }

    /// Adds the reason.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// Adds what to type next.
    #[must_use]
    pub fn try_this(mut self, what_to_type: impl Into<String>) -> Self {
        self.what_to_type = Some(what_to_type.into());
        self
    }

    /// Whether whoever read our output has gone: the command ends quietly, as `head` expects.
    pub fn is_broken_pipe(&self) -> bool {
        self.code == BROKEN_PIPE
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.why {
            Some(why) => write!(f, ": {}", why.replace('\n', "; ")),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CommandError {}

impl From<AnyError> for CommandError {
    /// The first text is what failed, its causes are why. An error that one of ours is at the root of keeps
    /// that one's exit code.
    fn from(error: AnyError) -> Self {
        let error = match error.downcast::<CommandError>() {
            Ok(own) => return own,
            Err(other) => other,
        };
        let base = error.chain().find_map(|cause| {
            cause
                .downcast_ref::<StoreError>()
                .map(of_store)
                .or_else(|| cause.downcast_ref::<ConnectorError>().map(of_connector))
                .or_else(|| cause.downcast_ref::<Failure>().map(|failure| failure.clone().into()))
                .or_else(|| cause.downcast_ref::<std::io::Error>().map(of_io))
        });
        let why: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
        let mut own = base.unwrap_or_else(|| Self::new(ExitCode::Failed, "failed", ""));
        own.message = error.to_string();
        if !why.is_empty() {
            own.why = Some(why.join("\n"));
        } else if own.why.as_deref() == Some(own.message.as_str()) {
            own.why = None;
        }
        own
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::new(ExitCode::Config, "config_invalid", "the settings cannot be used")
            .why(error.to_string())
            .try_this("halo-sync config check")
    }
}

fn of_store(error: &StoreError) -> CommandError {
    let (exit, code, message, hint) = match error {
        StoreError::NewerSchema { .. } => {
            (ExitCode::Config, "newer_schema", "the database was written by a newer halo-sync", None)
        }
        StoreError::OlderSchema { .. } => {
            (ExitCode::Config, "older_schema", "the database must be migrated", Some("halo-sync migrate run"))
        }
        StoreError::Setup(_) => {
            (ExitCode::Config, "database_setup", "the database is not set up as needed", None)
        }
        StoreError::Locked { .. } => {
            (ExitCode::Config, "database_locked", "the database file is in use", None)
        }
        StoreError::Unavailable(_) => {
            (ExitCode::TryLater, "storage_unavailable", "the database cannot be written", None)
        }
        _ => (ExitCode::Failed, "database", "the database refused", None),
    };
    let own = CommandError::new(exit, code, message).why(error.to_string());
    match hint {
        Some(hint) => own.try_this(hint),
        None => own,
    }
}

fn of_connector(error: &ConnectorError) -> CommandError {
    let (exit, code, message) = match error {
        ConnectorError::Config(_) => {
            (ExitCode::Config, "connection_config", "the connection's settings are wrong")
        }
        ConnectorError::Auth { .. } => {
            (ExitCode::NeedsPerson, "credentials_refused", "the provider refused the credentials")
        }
        ConnectorError::RateLimited { .. } => {
            (ExitCode::TryLater, "rate_limited", "the provider asks to wait")
        }
        ConnectorError::Transient(_) => {
            (ExitCode::TryLater, "provider_unavailable", "the provider could not be reached")
        }
        ConnectorError::NotOffered(_) => {
            (ExitCode::Failed, "not_offered", "the provider does not offer this")
        }
        ConnectorError::Protocol(_) => {
            (ExitCode::Failed, "provider_protocol", "the provider's answer was not understood")
        }
        ConnectorError::Expired(_) => (
            ExitCode::TryLater,
            "feed_expired",
            "the provider's list of changes does not reach back far enough",
        ),
        ConnectorError::Cancelled => (ExitCode::Interrupted, "cancelled", "stopped"),
    };
    CommandError::new(exit, code, message).why(error.to_string())
}

fn of_io(error: &std::io::Error) -> CommandError {
    let code = if error.kind() == std::io::ErrorKind::BrokenPipe { BROKEN_PIPE } else { "io" };
    CommandError::new(ExitCode::Failed, code, error.to_string())
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        let exit = match failure.kind {
            FailureKind::Invalid => ExitCode::Usage,
            FailureKind::NotFound | FailureKind::Internal => ExitCode::Failed,
            FailureKind::Credentials => ExitCode::NeedsPerson,
            FailureKind::Provider => ExitCode::TryLater,
            FailureKind::Setup => ExitCode::Config,
        };
        let own = Self::new(exit, failure.code, failure.message);
        match failure.hint {
            Some(hint) => own.try_this(hint),
            None => own,
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        of_store(&error)
    }
}

impl From<ConnectorError> for CommandError {
    fn from(error: ConnectorError) -> Self {
        of_connector(&error)
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        of_io(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_keeps_its_exit_code_and_the_chain_is_the_reason() {
        let refused = ConnectorError::Auth { message: "key revoked".into(), missing_permission: None };
        let error = Err::<(), _>(refused).context("cannot read customers").unwrap_err();
        let error = CommandError::from(error);
        assert_eq!((error.exit, &*error.code), (ExitCode::NeedsPerson, "credentials_refused"));
        assert_eq!(error.message, "cannot read customers");
        assert_eq!(error.why.as_deref(), Some("credentials: key revoked"));

        let own = CommandError::not_found("company acme").try_this("halo-sync companies list");
        let wrapped = Err::<(), _>(own.clone()).context("x").unwrap_err();
        assert_eq!(CommandError::from(wrapped), own);
    }

    #[test]
    fn a_chain_without_ours_is_a_plain_failure_said_once() {
        let error = CommandError::from(anyhow::anyhow!("no room"));
        assert_eq!((error.exit, error.message.as_str(), error.why), (ExitCode::Failed, "no room", None));
    }

    #[test]
    fn a_broken_pipe_is_told_apart() {
        let gone = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(CommandError::from(gone).is_broken_pipe());
        let other = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert!(!CommandError::from(other).is_broken_pipe());
    }
}
