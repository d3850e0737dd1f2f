//! Calls to HubSpot: paths by API version, the token, quotas, and how HubSpot words a refusal.

use connector_sdk::{Answer, Call, ConnectorError, Daily, Dialect, Io, Quota, Refusal, Throttle, Timestamp};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::config::Config;

/// The API version that calls are made in where the settings name no other.
pub const API_VERSION: &str = "2026-03";

/// Searches a second of a portal. HubSpot allows 5, which the portal's other apps draw on, too.
const SEARCHES: f64 = 4.0;
/// The part of the stated rate that is used: what is on its way counts when it arrives.
const PART: f64 = 0.95;
/// Cloudflare's answer to a token that is none.
const MALFORMED_TOKEN: u16 = 530;
/// HubSpot is moving the portal to another data centre, and says when to come back.
const MIGRATING: u16 = 477;

/// What one connection calls HubSpot with.
pub(crate) struct Client {
    io: Io,
    base: Url,
    token: SecretString,
    version: String,
    reserve: f64,
}

/// What a path leads to; versions differ in where they write themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Area<'a> {
    Account,
    Objects(&'a str),
    Associations(&'a str, &'a str),
    Owners,
    Properties(&'a str),
}

impl Client {
    pub(crate) fn new(
        io: Io,
        base: Url,
        token: SecretString,
        config: &Config,
    ) -> Result<Self, ConnectorError> {
        let text = token.expose_secret();
        let why = if text.is_empty() {
            Some("is empty")
        } else if !text.bytes().all(|b| b.is_ascii_graphic()) {
            Some("holds blanks or other characters that no HubSpot token has")
        } else {
            None
        };
        if let Some(why) = why {
            let message = format!("the access token {why}");
            return Err(ConnectorError::Auth { message, missing_permission: None });
        }
        let reserve = f64::from(config.daily_reserve_percent) / 100.0;
        Ok(Self { io, base, token, version: config.api_version.clone(), reserve })
    }

    pub(crate) fn get(
        &self,
        endpoint: &'static str,
        area: Area<'_>,
        rest: &[&str],
    ) -> Result<Call, ConnectorError> {
        Call::get(endpoint, &self.base, &path(&self.version, area, rest)).map(|call| self.ours(call))
    }

    pub(crate) fn post(
        &self,
        endpoint: &'static str,
        area: Area<'_>,
        rest: &[&str],
        body: &Value,
    ) -> Result<Call, ConnectorError> {
        let path = path(&self.version, area, rest);
        Call::post_json(endpoint, &self.base, &path, body).map(|call| self.ours(call))
    }

    /// A search: one rate for the searches of all object types.
    pub(crate) fn search(&self, object: &str, body: &Value) -> Result<Call, ConnectorError> {
        let call = self.post("POST /crm/objects/:type/search", Area::Objects(object), &["search"], body)?;
        Ok(call.at_most(SEARCHES).dialect(Dialect { refusal, throttle: throttle_of_search }))
    }

    fn ours(&self, call: Call) -> Call {
        call.bearer(&self.token)
            .dialect(Dialect { refusal, throttle: |_| Throttle::Account })
            .leave(StatusCode::FORBIDDEN)
            .leave(StatusCode::from_u16(MALFORMED_TOKEN).unwrap_or(StatusCode::UNAUTHORIZED))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.io.clock.now()
    }

    /// Sends a call. `scope` is what a refusal that names no scope is taken to be about.
    pub(crate) async fn send(&self, call: &Call, scope: Option<&str>) -> Result<Answer, ConnectorError> {
        let answer = self.io.call(call).await?;
        self.io.budget.observe(&quota(&answer.headers, self.reserve));
        match answer.status.as_u16() {
            MALFORMED_TOKEN => Err(ConnectorError::Auth {
                message: format!("{}: HTTP 530: HubSpot does not take this for a token", call.endpoint),
                missing_permission: None,
            }),
            403 => {
                let refusal = refusal(&answer);
                let lacks_scope = refusal.code.as_deref() == Some("MISSING_SCOPES");
                let ConnectorError::Protocol(message) = self.io.unexpected(call, &answer) else {
                    return Err(ConnectorError::Protocol(format!("{}: HTTP 403", call.endpoint)));
                };
                Err(ConnectorError::Auth {
                    message,
                    missing_permission: refusal
                        .permission
                        .or_else(|| scope.filter(|_| lacks_scope).map(str::to_owned)),
                })
            }
            // Two writers met, or the object is locked while something is worked out: HubSpot asks to try again.
            409 | 423 => {
                Err(ConnectorError::Transient(format!("{}: HTTP {}", call.endpoint, answer.status.as_u16())))
            }
            MIGRATING => {
                let seconds = answer.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
                let wait = chrono::TimeDelta::try_seconds(seconds.unwrap_or(3_600).clamp(1, 86_400));
                Err(ConnectorError::RateLimited { until: self.now() + wait.unwrap_or_default() })
            }
            _ => Ok(answer),
        }
    }

    pub(crate) fn unexpected(&self, call: &Call, answer: &Answer) -> ConnectorError {
        self.io.unexpected(call, answer)
    }
}

fn path<'a>(version: &'a str, area: Area<'a>, rest: &[&'a str]) -> Vec<&'a str> {
    let numbered = version == "v3";
    let mut path = match area {
        Area::Account => vec!["account-info", version, "details"],
        Area::Objects(object) if numbered => vec!["crm", "v3", "objects", object],
        Area::Objects(object) => vec!["crm", "objects", version, object],
        Area::Associations(from, to) if numbered => vec!["crm", "v4", "associations", from, to],
        Area::Associations(from, to) => vec!["crm", "associations", version, from, to],
        Area::Owners if numbered => vec!["crm", "v3", "owners"],
        Area::Owners => vec!["crm", "owners", version],
        Area::Properties(object) if numbered => vec!["crm", "v3", "properties", object],
        Area::Properties(object) => vec!["crm", "properties", version, object],
    };
    path.extend(rest);
    path
}

/// HubSpot's error body.
#[derive(Debug, Default, Deserialize)]
struct HubSpotError {
    category: Option<String>,
    message: Option<String>,
    errors: Option<Vec<Detail>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    context: Value,
}

fn refusal(answer: &Answer) -> Refusal {
    let Ok(error) = serde_json::from_slice::<HubSpotError>(&answer.body) else { return Refusal::default() };
    let mut scopes: Vec<String> = Vec::new();
    for detail in error.errors.iter().flatten() {
        for member in ["requiredGranularScopes", "requiredScopes", "missingScopes"] {
            let named = detail.context.get(member).and_then(Value::as_array);
            scopes.extend(named.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        }
    }
    scopes.dedup();
    Refusal {
        code: error.category,
        message: error.message,
        permission: (!scopes.is_empty()).then(|| scopes.join(", ")),
    }
}

/// Whether a body is HubSpot's error, whatever status it came with.
pub(crate) fn is_error(answer: &Answer) -> bool {
    #[derive(Deserialize)]
    struct Status {
        status: String,
        #[serde(rename = "correlationId")]
        _correlation: Value,
    }
    serde_json::from_slice::<Status>(&answer.body).is_ok_and(|s| s.status == "error")
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// A search is refused for searches a second, unless the window of all calls is used up.
fn throttle_of_search(headers: &HeaderMap) -> Throttle {
    match number(headers, "x-hubspot-ratelimit-remaining") {
        Some(0) => Throttle::Account,
        _ => Throttle::Endpoint,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls are small")]
fn quota(headers: &HeaderMap, reserve: f64) -> Quota {
    let window = number(headers, "x-hubspot-ratelimit-interval-milliseconds").filter(|ms| *ms > 0);
    let per_second = number(headers, "x-hubspot-ratelimit-max")
        .zip(window)
        .map(|(calls, ms)| calls as f64 * 1_000.0 / ms as f64 * PART);
    let daily = number(headers, "x-hubspot-ratelimit-daily")
        .zip(number(headers, "x-hubspot-ratelimit-daily-remaining"))
        .map(|(limit, remaining)| Daily { limit, remaining, reserve });
    Quota { per_second, daily }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| ((*n).parse().unwrap(), HeaderValue::from_str(v).unwrap())).collect()
    }

    #[test]
    fn quotas_are_read_from_headers() {
        let recorded = headers(&[
            ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
            ("x-hubspot-ratelimit-max", "110"),
            ("x-hubspot-ratelimit-remaining", "104"),
            ("x-hubspot-ratelimit-secondly", "11"),
        ]);
        let found = quota(&recorded, 0.1);
        assert!((found.per_second.unwrap() - 10.45).abs() < 1e-9 && found.daily.is_none());
        let private = headers(&[
            ("x-hubspot-ratelimit-daily", "650000"),
            ("x-hubspot-ratelimit-daily-remaining", "65000"),
        ]);
        let daily = quota(&private, 0.1).daily.unwrap();
        assert_eq!((daily.limit, daily.remaining), (650_000, 65_000));
        for bad in ["", "x", "-1", "1e9"] {
            let strange = headers(&[
                ("x-hubspot-ratelimit-interval-milliseconds", "0"),
                ("x-hubspot-ratelimit-max", bad),
                ("x-hubspot-ratelimit-daily", bad),
            ]);
            assert_eq!(quota(&strange, 0.1), Quota::default());
        }
    }

    #[test]
    fn versions_write_themselves_in_different_places() {
        let text = |version, area, rest: &[&str]| path(version, area, rest).join("/");
        assert_eq!(text("2026-09", Area::Objects("deals"), &["search"]), "crm/objects/2026-09/deals/search");
        assert_eq!(text("v3", Area::Objects("deals"), &["search"]), "crm/v3/objects/deals/search");
        let pair = Area::Associations("contacts", "companies");
        assert_eq!(
            text("2026-03", pair, &["batch", "read"]),
            "crm/associations/2026-03/contacts/companies/batch/read"
        );
        assert_eq!(text("v3", pair, &["batch", "read"]), "crm/v4/associations/contacts/companies/batch/read");
        assert_eq!(text("v3", Area::Owners, &[]), "crm/v3/owners");
        assert_eq!(text("2026-03", Area::Owners, &["1"]), "crm/owners/2026-03/1");
        assert_eq!(text("2026-03", Area::Properties("deals"), &[]), "crm/properties/2026-03/deals");
        assert_eq!(text("v3", Area::Account, &[]), "account-info/v3/details");
    }
}
