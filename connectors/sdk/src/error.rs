//! Errors of a connector, classified where the provider's response is seen.

use crate::clock::Timestamp;

/// Why a call to a provider did not give what was asked.
///
/// The class decides what happens next; the one function that turns it into a job outcome lives in
/// the engine (`jobs::verdict`). Messages name the operation and the provider's own error code; they
/// never hold a body, a header or a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectorError {
    /// The connection's settings are wrong; a person must change them. Not retried.
    #[error("configuration: {0}")]
    Config(String),
    /// The credentials are refused, or a permission is missing. Not retried until they change.
    #[error("credentials: {message}")]
    Auth {
        /// What was refused, in words for the operator.
        message: String,
        /// The permission that is missing, as the provider names it, where it says so.
        missing_permission: Option<String>,
    },
    /// The provider asks to come back later.
    #[error("rate limited until {}", until.to_rfc3339())]
    RateLimited {
        /// The first instant at which another call is allowed.
        until: Timestamp,
    },
    /// The provider or the network failed in a way that a later try may mend.
    #[error("transient: {0}")]
    Transient(String),
    /// The provider does not offer this stream or operation at all (HTTP 404/501 on a listing).
    #[error("not offered: {0}")]
    NotOffered(String),
    /// A change feed no longer reaches back to the cursor, or there is no cursor: only reading everything
    /// again finds what changed since. Says why.
    #[error("expired: {0}")]
    Expired(String),
    /// The answer is not what the provider's documents promise (HTML, cut JSON, a missing member).
    #[error("protocol: {0}")]
    Protocol(String),
    /// The process is stopping; nothing went wrong.
    #[error("cancelled")]
    Cancelled,
}

impl ConnectorError {
    /// Whether one stream alone cannot be read, with this server or these credentials, while others can: it is
    /// passed over and named.
    #[must_use]
    pub fn is_of_one_stream(&self) -> bool {
        matches!(self, Self::NotOffered(_) | Self::Auth { missing_permission: Some(_), .. })
    }
}

/// A record that could not be translated. The record is quarantined with this text; the page goes on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FactsError {
    /// Where in the record, as a dotted path (`items.data[0].price.unit_amount`).
    pub path: String,
    /// What was expected and what was found, without the value itself.
    pub message: String,
}

impl FactsError {
    /// The path of an error that is not about the record: its stream holds nothing of the vocabulary.
    const STREAM: &str = "stream";

    /// The connector has no translation for records of that stream.
    pub fn unknown_stream(stream: &str) -> Self {
        Self { path: Self::STREAM.to_owned(), message: format!("no facts are made of {stream:?}") }
    }

    /// Whether the stream is the reason, so that any other record of it fails too.
    pub fn is_unknown_stream(&self) -> bool {
        self.path == Self::STREAM
    }
}
