//! Why a request was not carried out: what failed, why, what to type.

use connector_sdk::ConnectorError;
use serde::{Deserialize, Serialize};

use crate::product::ProductError;
use crate::store::StoreError;
use crate::sync::SyncError;

/// The class of a failure; decides exit code and HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request itself is wrong.
    Invalid,
    /// What it names does not exist.
    NotFound,
    /// Credentials or permissions; a person must act.
    Credentials,
    /// The provider is down or asks to wait; later.
    Provider,
    /// Settings or schema.
    Setup,
    /// Ours.
    Internal,
}

/// A failure for people and programs: the same object on the command line, over HTTP and in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The class.
    pub kind: FailureKind,
    /// Stable code.
    pub code: String,
    /// What failed and why.
    pub message: String,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure of that class.
    pub fn new(kind: FailureKind, code: &str, message: impl Into<String>) -> Self {
        Self { kind, code: code.to_owned(), message: message.into(), hint: None }
    }

    /// The request itself is wrong.
    pub fn invalid(code: &str, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Invalid, code, message)
    }

    /// What the request names does not exist.
    pub fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::new(FailureKind::NotFound, code, message)
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<ProductError> for Failure {
    fn from(error: ProductError) -> Self {
        match error {
            ProductError::Refused(refusal) => Self::invalid(refusal.code, refusal.message),
            ProductError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (kind, code) = match &error {
            StoreError::Invalid(_) => (FailureKind::Invalid, "invalid"),
            StoreError::NewerSchema { .. } => (FailureKind::Setup, "newer_schema"),
            StoreError::OlderSchema { .. } => (FailureKind::Setup, "older_schema"),
            StoreError::Setup(_) => (FailureKind::Setup, "database_setup"),
            StoreError::Locked { .. } => (FailureKind::Setup, "database_locked"),
            StoreError::Unavailable(_) => (FailureKind::Internal, "storage_unavailable"),
            _ => (FailureKind::Internal, "database"),
        };
        Self::new(kind, code, error.to_string())
    }
}

impl From<ConnectorError> for Failure {
    fn from(error: ConnectorError) -> Self {
        let message = error.to_string();
        match error {
            ConnectorError::Config(_) => Self::new(FailureKind::Setup, "connector_config", message)
                .hint("See the connector's settings: halo-sync connectors list --json"),
            ConnectorError::Auth { missing_permission: Some(permission), .. } => {
                Self::new(FailureKind::Credentials, "missing_permission", message)
                    .hint(format!("Grant the key the permission {permission}, then try again."))
            }
            ConnectorError::Auth { message: why, .. } if why.starts_with("needs_reauth") => {
                Self::new(FailureKind::Credentials, "needs_reauth", message)
                    .hint("Connect again, as somebody who may grant access at the provider.")
            }
            ConnectorError::Auth { .. } => {
                Self::new(FailureKind::Credentials, "credentials_refused", message)
                    .hint("Check that the key is whole, not revoked, and of the account that you mean.")
            }
            ConnectorError::RateLimited { .. } => Self::new(FailureKind::Provider, "rate_limited", message),
            ConnectorError::Transient(_) => Self::new(FailureKind::Provider, "provider_unreachable", message)
                .hint("Nothing was changed. Try again; if it stays, check the base URL and the network."),
            ConnectorError::NotOffered(_) => Self::new(FailureKind::Provider, "not_offered", message),
            ConnectorError::Protocol(_) => Self::new(FailureKind::Provider, "unexpected_answer", message)
                .hint("The address answers, but not as the provider's API does: check the base URL."),
            ConnectorError::Expired(_) => Self::new(FailureKind::Provider, "feed_expired", message),
            ConnectorError::Cancelled => Self::new(FailureKind::Internal, "cancelled", message),
        }
    }
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Connector(e) => e.into(),
            SyncError::Store(e) => e.into(),
            SyncError::Credential(e) => Self::new(FailureKind::Setup, "secret_key", e.to_string()),
            SyncError::Gone(message) => Self::not_found("not_found", message),
        }
    }
}
