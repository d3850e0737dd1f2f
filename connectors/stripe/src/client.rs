//! Calls to Stripe: the pinned version, the key, the account header, and how Stripe words a refusal.

use connector_sdk::{Answer, Call, ConnectorError, Dialect, Io, Mode, Refusal, Throttle, Timestamp};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

/// The API version that every call pins. Objects come in this shape whatever the account's default is.
pub const API_VERSION: &str = "2026-07-29.dahlia";

const VERSION_HEADER: HeaderName = HeaderName::from_static("stripe-version");
const ACCOUNT_HEADER: HeaderName = HeaderName::from_static("stripe-account");
const THROTTLE_HEADER: HeaderName = HeaderName::from_static("stripe-rate-limited-reason");

/// What one connection calls Stripe with.
pub(crate) struct Client {
    io: Io,
    base: Url,
    key: SecretString,
    account: Option<HeaderValue>,
}

impl Client {
    pub(crate) fn new(
        io: Io,
        base: Url,
        key: SecretString,
        account: Option<&str>,
    ) -> Result<Self, ConnectorError> {
        let bad_key = |why: &str| ConnectorError::Auth {
            message: format!("the API key {why}"),
            missing_permission: None,
        };
        let text = key.expose_secret();
        if text.is_empty() {
            return Err(bad_key("is empty"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad_key("holds blanks or other characters that no Stripe key has"));
        }
        if text.starts_with("pk_") {
            return Err(bad_key("is a publishable key (pk_…); a secret or restricted key is needed"));
        }
        let account = account
            .map(HeaderValue::from_str)
            .transpose()
            .map_err(|_| ConnectorError::Config("account: no header can hold it".to_owned()))?;
        Ok(Self { io, base, key, account })
    }

    /// Live or test, as the key itself says (`sk_live_…`, `rk_test_…`); `None` for a key that does not.
    pub(crate) fn mode_of_key(&self) -> Option<Mode> {
        self.key.expose_secret().split('_').take(3).find_map(|part| match part {
            "live" => Some(Mode::Live),
            "test" => Some(Mode::Test),
            _ => None,
        })
    }

    pub(crate) fn get(&self, endpoint: &'static str, path: &[&str]) -> Result<Call, ConnectorError> {
        Call::get(endpoint, &self.base, path).map(|call| self.ours(call))
    }

    pub(crate) fn post(
        &self,
        endpoint: &'static str,
        path: &[&str],
        fields: &[(&str, &str)],
    ) -> Result<Call, ConnectorError> {
        Call::post_form(endpoint, &self.base, path, fields).map(|call| self.ours(call))
    }

    pub(crate) fn delete(&self, endpoint: &'static str, path: &[&str]) -> Result<Call, ConnectorError> {
        Call::delete(endpoint, &self.base, path).map(|call| self.ours(call))
    }

    /// With the key, the pinned version and the account.
    fn ours(&self, call: Call) -> Call {
        let call = call
            .bearer(&self.key)
            .dialect(Dialect { refusal, throttle })
            .header(VERSION_HEADER, HeaderValue::from_static(API_VERSION));
        match &self.account {
            Some(account) => call.header(ACCOUNT_HEADER, account.clone()),
            None => call,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.io.clock.now()
    }

    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, ConnectorError> {
        let answer = self.io.call(call).await?;
        // Two writers met on one object, or the same key is in use: Stripe asks to try again.
        if answer.status == http::StatusCode::CONFLICT {
            return Err(ConnectorError::Transient(format!("{}: HTTP 409", call.endpoint)));
        }
        Ok(answer)
    }

    pub(crate) fn unexpected(&self, call: &Call, answer: &Answer) -> ConnectorError {
        self.io.unexpected(call, answer)
    }
}

/// Stripe's error body: `{"error": {"type", "code", "param", "message"}}`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct StripeError {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) param: Option<String>,
    pub(crate) message: Option<String>,
}

impl StripeError {
    /// The error of an answer; `None` where the body is not in Stripe's error shape.
    pub(crate) fn of(answer: &Answer) -> Option<Self> {
        #[derive(Deserialize)]
        struct Envelope {
            error: StripeError,
        }
        serde_json::from_slice::<Envelope>(&answer.body).ok().map(|e| e.error)
    }

    fn says(&self, words: &str) -> bool {
        self.message.as_deref().is_some_and(|m| m.contains(words))
    }

    /// The object that was asked for does not exist (or no longer, or not in this mode).
    pub(crate) fn object_missing(&self) -> bool {
        self.code.as_deref() == Some("resource_missing")
            || self.says("No such ")
            // Older imitations word it so; the real one names the URL when the operation is unknown.
            || (self.kind.as_deref() == Some("invalid_request_error")
                && self.message.as_deref() == Some("Not Found"))
    }

    /// The server refuses an `expand[]` that Stripe itself knows.
    pub(crate) fn about_expansion(&self) -> bool {
        self.param.as_deref().is_some_and(|p| p.starts_with("expand"))
            || self.says("cannot be expanded")
            || self.says("Bad expand")
    }
}

/// The permission that a refusal asks for: "Having the 'rak_customer_read' permission would allow this
/// request to continue."
pub(crate) fn missing_permission(answer: &Answer) -> Option<String> {
    refusal(answer).permission
}

fn refusal(answer: &Answer) -> Refusal {
    let Some(error) = StripeError::of(answer) else { return Refusal::default() };
    let permission = error.message.as_deref().and_then(|message| {
        message
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .find(|word| word.starts_with("rak_"))
            .map(str::to_owned)
    });
    Refusal { code: error.code.or(error.kind), message: error.message.map(|m| without_keys(&m)), permission }
}

/// Stripe shortens keys in its sentences by itself; a proxy or an imitation may not.
fn without_keys(message: &str) -> String {
    message
        .split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '*')
        .map(|word| {
            let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '*');
            let key = ["sk_", "rk_", "pk_", "whsec_"].iter().any(|p| bare.starts_with(p));
            if key { word.replace(bare, "[key]") } else { word.to_owned() }
        })
        .collect()
}

fn throttle(headers: &HeaderMap) -> Throttle {
    match headers.get(&THROTTLE_HEADER).map(HeaderValue::as_bytes) {
        Some(b"endpoint-rate" | b"resource-specific") => Throttle::Endpoint,
        Some(b"global-concurrency" | b"endpoint-concurrency") => Throttle::Concurrency,
        _ => Throttle::Account,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_leave_a_message() {
        assert_eq!(
            without_keys("Invalid API Key provided: sk_test_abc123. See 'rk_live_x' (https://stripe.com)"),
            "Invalid API Key provided: [key]. See '[key]' (https://stripe.com)"
        );
        assert_eq!(without_keys("No such customer: 'cus_123'"), "No such customer: 'cus_123'");
    }

    #[test]
    fn a_missing_object_is_not_a_missing_operation() {
        let error = |message: &str| StripeError {
            kind: Some("invalid_request_error".to_owned()),
            message: Some(message.to_owned()),
            ..StripeError::default()
        };
        assert!(error("No such customer: 'cus_1'").object_missing());
        assert!(error("Not Found").object_missing());
        assert!(!error("Unrecognized request URL (GET: /v1/disputes).").object_missing());
    }
}
