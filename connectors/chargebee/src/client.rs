//! Calls, and how Chargebee words a refusal.

use connector_sdk::{Answer, Call, ConnectorError, Dialect, Io, Refusal, Throttle, Timestamp};
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::streams::READ;

/// What one connection calls Chargebee with.
pub(crate) struct Client {
    io: Io,
    base: Url,
    secret: SecretString,
}

impl Client {
    pub(crate) fn new(io: Io, base: Url, secret: SecretString) -> Result<Self, ConnectorError> {
        let text = secret.expose_secret();
        // A colon would end the user's name, and the rest be taken for a password.
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
            return Err(ConnectorError::Auth {
                message: "the API key is empty, or holds blanks, colons or other characters that none has"
                    .to_owned(),
                missing_permission: None,
            });
        }
        Ok(Self { io, base, secret })
    }

    /// A `GET` below `/api/v2`.
    pub(crate) fn get(&self, endpoint: &'static str, path: &[&str]) -> Result<Call, ConnectorError> {
        let path: Vec<&str> = ["api", crate::API_VERSION].iter().chain(path).copied().collect();
        let call = Call::get(endpoint, &self.base, &path)?;
        Ok(call.basic(&self.secret).dialect(Dialect { refusal, throttle }))
    }

    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, ConnectorError> {
        let answer = self.io.call(call).await?;
        match answer.status {
            // "Error handling and rate limits": another request works on the same object.
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

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }
}

/// The error body: `{"message", "type", "api_error_code", "param"}`.
#[derive(Deserialize)]
struct ErrorBody {
    api_error_code: Option<String>,
    message: Option<String>,
}

pub(crate) fn refusal(answer: &Answer) -> Refusal {
    // Only a refused right is a missing permission; a refused key is not.
    let permission = (answer.status == StatusCode::FORBIDDEN).then(|| READ.to_owned());
    let body: Option<ErrorBody> = serde_json::from_slice(&answer.body).ok();
    let (code, message) = body.map_or((None, None), |body| (body.api_error_code, body.message));
    Refusal { code, message, permission }
}

/// A 429 is about the whole site.
fn throttle(_: &HeaderMap) -> Throttle {
    Throttle::Account
}
