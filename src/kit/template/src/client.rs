//! Calls, and how the provider words a refusal.

use connector_sdk::{Answer, Call, ConnectorError, Dialect, Io, Refusal, Throttle, Timestamp};
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

/// What one connection calls the provider with.
pub(crate) struct Client {
    io: Io,
    base: Url,
    secret: SecretString,
}

impl Client {
    pub(crate) fn new(io: Io, base: Url, secret: SecretString) -> Result<Self, ConnectorError> {
        let text = secret.expose_secret();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ConnectorError::Auth {
                message: "the secret is empty, or holds blanks or other characters that none has".to_owned(),
                missing_permission: None,
            });
        }
        Ok(Self { io, base, secret })
    }

    pub(crate) fn get(&self, endpoint: &'static str, path: &[&str]) -> Result<Call, ConnectorError> {
        let call = Call::get(endpoint, &self.base, path)?;
        Ok(call.bearer(&self.secret).dialect(Dialect { refusal, throttle }))
    }

    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, ConnectorError> {
        let answer = self.io.call(call).await?;
        match answer.status {
            // Somebody else writes to the object at this moment.
            StatusCode::CONFLICT | StatusCode::LOCKED => {
                let status = answer.status.as_u16();
                Err(ConnectorError::Transient(format!("{}: HTTP {status}", call.endpoint)))
            }
            _ => Ok(answer),
        }
    }

    /// An answer that should have been another.
    pub(crate) fn unexpected(&self, call: &Call, answer: &Answer) -> ConnectorError {
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                ConnectorError::NotOffered(call.endpoint.to_owned())
            }
            _ => self.io.unexpected(call, answer),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.io.clock.now()
    }
}

/// The error body: `{"error": {"code", "message", "permission"}}`.
#[derive(Deserialize)]
struct ErrorBody {
    code: Option<String>,
    message: Option<String>,
    permission: Option<String>,
}

pub(crate) fn refusal(answer: &Answer) -> Refusal {
    #[derive(Deserialize)]
    struct Envelope {
        error: ErrorBody,
    }
    let Ok(Envelope { error }) = serde_json::from_slice(&answer.body) else { return Refusal::default() };
    Refusal { code: error.code, message: error.message, permission: error.permission }
}

/// What a 429 is about: the whole account, as long as the provider does not say more.
fn throttle(_: &HeaderMap) -> Throttle {
    Throttle::Account
}
