//! Calls to PandaDoc: the key or token, and how PandaDoc words a refusal.

use connector_sdk::{Answer, Call, ConnectorError, Dialect, Io, Refusal, Secrets, Throttle, Timestamp};
use http::header::DATE;
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::{ACCESS_TOKEN, API_KEY, READ};

/// The version in the paths of the API; PandaDoc has no other to pin. Written against its OpenAPI file 8.8.0.
pub const API_VERSION: &str = "v1";

/// The operation that there is a call of for each document.
pub(crate) const DETAILS: &str = "GET /public/v1/documents/:id/details";
/// Calls a second of any one operation but the details of documents. PandaDoc takes 100 a minute, of which a fifth is
/// left to the company's own programs.
const OTHERS: f64 = 80.0 / 60.0;

/// What one connection calls PandaDoc with.
pub(crate) struct Client {
    io: Io,
    base: Url,
    scheme: &'static str,
    secret: SecretString,
}

impl Client {
    pub(crate) fn new(io: Io, base: Url, secrets: &Secrets) -> Result<Self, ConnectorError> {
        let (scheme, name) = match secrets.0.contains_key(ACCESS_TOKEN) {
            true => ("Bearer", ACCESS_TOKEN),
            false => ("API-Key", API_KEY),
        };
        let secret = secrets.require(name)?.clone();
        let text = secret.expose_secret();
        let bad = |why: &str| ConnectorError::Auth {
            message: format!("the {name} {why}"),
            missing_permission: None,
        };
        if text.is_empty() {
            return Err(bad("is empty"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad(
                "holds blanks or other characters that none of PandaDoc's has (no \"API-Key \" in front)",
            ));
        }
        Ok(Self { io, base, scheme, secret })
    }

    pub(crate) fn get(&self, endpoint: &'static str, path: &[&str]) -> Result<Call, ConnectorError> {
        Call::get(endpoint, &self.base, path).map(|call| self.ours(call))
    }

    pub(crate) fn post(
        &self,
        endpoint: &'static str,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Call, ConnectorError> {
        Call::post_json(endpoint, &self.base, path, body).map(|call| self.ours(call))
    }

    pub(crate) fn patch(
        &self,
        endpoint: &'static str,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Call, ConnectorError> {
        Call::patch_json(endpoint, &self.base, path, body).map(|call| self.ours(call))
    }

    pub(crate) fn delete(&self, endpoint: &'static str, path: &[&str]) -> Result<Call, ConnectorError> {
        Call::delete(endpoint, &self.base, path).map(|call| self.ours(call))
    }

    fn ours(&self, call: Call) -> Call {
        let call = call.authorization(self.scheme, &self.secret).dialect(Dialect { refusal, throttle });
        if call.endpoint == DETAILS { call } else { call.at_most(OTHERS) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.io.clock.now()
    }

    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, ConnectorError> {
        self.io.call(call).await
    }

    pub(crate) fn unexpected(&self, call: &Call, answer: &Answer) -> ConnectorError {
        match answer.status {
            // Somebody edits the document, or two writers met: PandaDoc asks to try again.
            StatusCode::CONFLICT | StatusCode::LOCKED => {
                ConnectorError::Transient(format!("{}: HTTP {}", call.endpoint, answer.status.as_u16()))
            }
            _ => self.io.unexpected(call, answer),
        }
    }

    /// 403 of one call that is asked for by itself.
    pub(crate) fn forbidden(&self, call: &Call, permission: &str) -> ConnectorError {
        ConnectorError::Auth {
            message: format!("{}: the credentials may not do this", call.endpoint),
            missing_permission: Some(permission.to_owned()),
        }
    }

    /// PandaDoc's time at an answer, never later than ours: a pass that begins there misses nothing, whichever of
    /// the two clocks is wrong.
    pub(crate) fn time_of(&self, answer: &Answer) -> Timestamp {
        let now = self.now();
        provider_time(&answer.headers).map_or(now, |at| at.min(now))
    }
}

/// The `Date` of an answer.
pub(crate) fn provider_time(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    chrono::DateTime::parse_from_rfc2822(text).ok().map(|at| at.to_utc())
}

/// PandaDoc's error bodies: `{"type", "detail", "info_message"}`, of newer operations `{"code", "description"}`.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    detail: Option<Value>,
    info_message: Option<String>,
    description: Option<String>,
}

fn error_body(answer: &Answer) -> Option<ErrorBody> {
    serde_json::from_slice(&answer.body).ok()
}

/// Whether an answer is an error, whatever its status says.
pub(crate) fn is_error(answer: &Answer) -> bool {
    error_body(answer).is_some_and(|body| body.kind.is_some() && body.detail.is_some())
}

/// PandaDoc's sentence about a refusal.
pub(crate) fn sentence(answer: &Answer) -> Option<String> {
    refusal(answer).message
}

fn refusal(answer: &Answer) -> Refusal {
    // Only a refused right is a missing permission; a refused key is not.
    let permission = (answer.status == StatusCode::FORBIDDEN).then(|| READ.to_owned());
    let Some(body) = error_body(answer) else { return Refusal { permission, ..Refusal::default() } };
    let detail = body.detail.map(|detail| match detail {
        Value::String(text) => text,
        other => other.to_string(),
    });
    Refusal {
        code: body.kind.or(body.code),
        message: detail.or(body.info_message).or(body.description),
        permission,
    }
}

/// PandaDoc counts each operation by itself.
fn throttle(_: &HeaderMap) -> Throttle {
    Throttle::Endpoint
}
