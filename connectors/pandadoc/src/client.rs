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

/// The operation that PandaDoc counts apart from all others.
pub(crate) const DETAILS: &str = "GET /public/v1/documents/:id/details";

/// Calls a second of one operation (developers.pandadoc.com, "Limits"): with a production key 600 a minute of details
/// and 100 of any other, with a sandbox key 10 of any. A fifth is left to the company's own programs.
pub(crate) fn most_a_second(endpoint: &str, sandbox: bool) -> f64 {
    let a_minute = match (sandbox, endpoint) {
        (true, _) => 10.0,
        (false, DETAILS) => 600.0,
        (false, _) => 100.0,
    };
    0.8 * a_minute / 60.0
}

/// What one connection calls PandaDoc with.
pub(crate) struct Client {
    io: Io,
    base: Url,
    sandbox: bool,
    scheme: &'static str,
    secret: SecretString,
}

impl Client {
    /// `sandbox` says whose rates hold: those of a sandbox key.
    pub(crate) fn new(io: Io, base: Url, secrets: &Secrets, sandbox: bool) -> Result<Self, ConnectorError> {
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
        Ok(Self { io, base, sandbox, scheme, secret })
    }

    pub(crate) fn get(&self, endpoint: &'static str, path: &[&str]) -> Result<Call, ConnectorError> {
        Call::get(endpoint, &self.base, path).map(|call| self.ours(endpoint, call))
    }

    pub(crate) fn post(
        &self,
        endpoint: &'static str,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Call, ConnectorError> {
        Call::post_json(endpoint, &self.base, path, body).map(|call| self.ours(endpoint, call))
    }

    pub(crate) fn patch(
        &self,
        endpoint: &'static str,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Call, ConnectorError> {
        Call::patch_json(endpoint, &self.base, path, body).map(|call| self.ours(endpoint, call))
    }

    pub(crate) fn delete(&self, endpoint: &'static str, path: &[&str]) -> Result<Call, ConnectorError> {
        Call::delete(endpoint, &self.base, path).map(|call| self.ours(endpoint, call))
    }

    fn ours(&self, endpoint: &str, call: Call) -> Call {
        call.authorization(self.scheme, &self.secret)
            .at_most(most_a_second(endpoint, self.sandbox))
            .dialect(Dialect { refusal, throttle })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use connector_sdk::{Budget, Connector as _, Mode, Priority};
    use futures_util::StreamExt as _;
    use tokio::time::Instant;

    use super::*;
    use crate::PandaDoc;

    const LIST: &str = "GET /public/v1/documents";

    /// When each of so many calls of both operations is let through, where a dozen of each always wait.
    async fn let_through(mode: Mode, of_each: [usize; 2]) -> [Vec<Instant>; 2] {
        let budget = Arc::new(Budget::new(PandaDoc.spec().budget, mode));
        let calls = |endpoint: &'static str, n: usize| {
            let budget = &budget;
            let wanted = (0..n).map(move |_| {
                let budget = Arc::clone(budget);
                async move {
                    let most = most_a_second(endpoint, mode == Mode::Test);
                    drop(budget.acquire_at(Priority::Backfill, endpoint, Some(most)).await);
                    Instant::now()
                }
            });
            futures_util::stream::iter(wanted).buffer_unordered(12).collect::<Vec<Instant>>()
        };
        let (details, lists) = tokio::join!(calls(DETAILS, of_each[0]), calls(LIST, of_each[1]));
        [details, lists]
    }

    /// The most calls in any time of that length.
    fn most_within(calls: &[Instant], length: Duration) -> usize {
        let within = |from: &Instant| calls.iter().filter(|at| (*from..*from + length).contains(at)).count();
        calls.iter().map(within).max().unwrap_or(0)
    }

    #[tokio::test(start_paused = true)]
    async fn each_operation_keeps_to_its_own_documented_rate() {
        let minute = Duration::from_secs(60);
        for (mode, of_each, documented) in
            [(Mode::Live, [700, 150], [600, 100]), (Mode::Test, [30, 30], [10, 10])]
        {
            let began = Instant::now();
            let [mut details, mut lists] = let_through(mode, of_each).await;
            for (calls, most) in [(&mut details, documented[0]), (&mut lists, documented[1])] {
                calls.sort_unstable();
                let met = most_within(calls, minute);
                assert!(met <= most, "{met} calls in a minute, {most} are allowed");
                assert!(met * 4 >= most * 3, "{met} calls in a minute, {most} are allowed: too few");
            }
            // Details are not held up by the slower list.
            let until = *details.last().unwrap() - began;
            let alone = Duration::from_secs_f64(
                f64::from(u16::try_from(of_each[0]).unwrap()) / most_a_second(DETAILS, mode == Mode::Test),
            );
            assert!(until <= alone + Duration::from_secs(5), "{until:?}, alone {alone:?}");
        }
    }
}
