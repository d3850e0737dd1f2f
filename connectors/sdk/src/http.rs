//! The HTTP client that connectors call providers with.
//!
//! One place decides what an answer means ([`ConnectorError`]'s classes), so a connector only says
//! where to call and how its provider words a refusal. Every call ends: it has a time for connecting, a
//! time for the whole, and a largest body. Nothing follows redirects, nothing is logged, and no error
//! holds a body, a header or a secret.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use url::Url;

use crate::access::AccessTokens;
use crate::budget::Throttle;
use crate::clock::{Clock, Timestamp};
use crate::connector::Io;
use crate::error::ConnectorError;

/// Limits of the client.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Time for a connection, TLS included.
    pub connect_timeout: Duration,
    /// Time for a whole call, from the first byte sent to the last byte of the body. At most 30 s.
    pub total_timeout: Duration,
    /// Largest body that is taken, after decompression, in bytes.
    pub max_body: usize,
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            total_timeout: LONGEST_CALL,
            max_body: 32 * 1024 * 1024,
            user_agent: concat!("halo-sync/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

const LONGEST_CALL: Duration = Duration::from_secs(30);
/// The scheme whose credentials are encoded.
const BASIC: &str = "Basic";
const BEARER: &str = "Bearer";
/// Largest answer of [`HttpClient::exchange_plain`], in bytes: tokens are small.
const LARGEST_PLAIN: usize = 64 * 1024;
/// The pause after a 429 of [`HttpClient::exchange_plain`] that says nothing of one.
const PLAIN_PAUSE: Duration = Duration::from_secs(30);

/// A client with time-outs and size limits in it; cheap to clone, one connection pool behind all clones.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    config: Arc<HttpConfig>,
    clock: Arc<dyn Clock>,
    tokens: Option<Arc<dyn AccessTokens>>,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How a provider words a refusal, read from the answer by the connector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The provider's own code (`resource_missing`), put into the error.
    pub code: Option<String>,
    /// The provider's sentence; cut and cleaned of the call's secret before it is put into an error.
    pub message: Option<String>,
    /// The permission that is missing, as the provider names it.
    pub permission: Option<String>,
}

/// What a connector knows about the answers of its provider.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// Reads a refusal from an error answer.
    pub refusal: fn(&Answer) -> Refusal,
    /// What a 429 is about.
    pub throttle: fn(&HeaderMap) -> Throttle,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { refusal: |_| Refusal::default(), throttle: |_| Throttle::Account }
    }
}

/// One call.
pub struct Call {
    /// The operation as the provider counts it (`GET /v1/customers/:id`); the key of its endpoint
    /// budget and the name in errors. Never holds ids.
    pub endpoint: &'static str,
    method: Method,
    url: Url,
    authorization: Option<(&'static str, SecretString)>,
    headers: HeaderMap,
    body: Option<(HeaderValue, Bytes)>,
    dialect: Dialect,
    left: Vec<StatusCode>,
    at_most: Option<f64>,
}

impl Call {
    /// A `GET` of `path` below `base`. Each segment is escaped by itself, so an id can hold anything
    /// and still names one object.
    ///
    /// # Errors
    /// [`ConnectorError::Protocol`] for a segment that a URL cannot hold (empty, `.`, `..`).
    pub fn get(endpoint: &'static str, base: &Url, path: &[&str]) -> Result<Self, ConnectorError> {
        Ok(Self {
            endpoint,
            method: Method::GET,
            url: join(base, path)?,
            authorization: None,
            headers: HeaderMap::new(),
            body: None,
            dialect: Dialect::default(),
            left: Vec::new(),
            at_most: None,
        })
    }

    /// A `POST` of a JSON body.
    ///
    /// # Errors
    /// As [`Call::get`], and for a body that JSON cannot hold.
    pub fn post_json(
        endpoint: &'static str,
        base: &Url,
        path: &[&str],
        body: &impl serde::Serialize,
    ) -> Result<Self, ConnectorError> {
        let body = serde_json::to_vec(body)
            .map_err(|e| ConnectorError::Protocol(format!("{endpoint}: request body: {e}")))?;
        let json = HeaderValue::from_static("application/json");
        Ok(Self {
            method: Method::POST,
            body: Some((json, Bytes::from(body))),
            ..Self::get(endpoint, base, path)?
        })
    }

    /// A `PATCH` of a JSON body.
    ///
    /// # Errors
    /// As [`Call::post_json`].
    pub fn patch_json(
        endpoint: &'static str,
        base: &Url,
        path: &[&str],
        body: &impl serde::Serialize,
    ) -> Result<Self, ConnectorError> {
        Ok(Self { method: Method::PATCH, ..Self::post_json(endpoint, base, path, body)? })
    }

    /// A `POST` of form fields.
    ///
    /// # Errors
    /// As [`Call::get`].
    pub fn post_form(
        endpoint: &'static str,
        base: &Url,
        path: &[&str],
        fields: &[(&str, &str)],
    ) -> Result<Self, ConnectorError> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        Ok(Self {
            method: Method::POST,
            body: Some((form, Bytes::from(body))),
            ..Self::get(endpoint, base, path)?
        })
    }

    /// A `DELETE`.
    ///
    /// # Errors
    /// As [`Call::get`].
    pub fn delete(endpoint: &'static str, base: &Url, path: &[&str]) -> Result<Self, ConnectorError> {
        Ok(Self { method: Method::DELETE, ..Self::get(endpoint, base, path)? })
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// Sends the secret as `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(self, secret: &SecretString) -> Self {
        self.authorization(BEARER, secret)
    }

    /// Sends the secret as `Authorization` with another scheme (`API-Key`).
    #[must_use]
    pub fn authorization(mut self, scheme: &'static str, secret: &SecretString) -> Self {
        self.authorization = Some((scheme, secret.clone()));
        self
    }

    /// Sends the secret as the user of `Authorization: Basic`, without a password.
    #[must_use]
    pub fn basic(self, secret: &SecretString) -> Self {
        self.authorization(BASIC, secret)
    }

    fn takes_bearer(&self) -> bool {
        self.authorization.as_ref().is_some_and(|(scheme, _)| *scheme == BEARER)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Leaves answers of this status to the connector instead of making an error of them (a probe that
    /// asks what is forbidden). May be said of several.
    #[must_use]
    pub fn leave(mut self, status: StatusCode) -> Self {
        self.left.push(status);
        self
    }

    /// This endpoint takes no more than so many calls a second, whatever others of the account take.
    #[must_use]
    pub fn at_most(mut self, per_second: f64) -> Self {
        self.at_most = Some(per_second);
        self
    }

    /// Says how this provider words refusals.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// An answer that the client leaves to the connector: 2xx, and the refusals whose meaning depends on
/// the call (400, 402, 404, 409, 410, 422, 501 and other 4xx).
#[derive(Clone)]
pub struct Answer {
    /// The call's name, for errors.
    pub endpoint: &'static str,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, decompressed.
    pub body: Bytes,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("endpoint", &self.endpoint)
            .field("status", &self.status.as_u16())
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// The provider's time at this answer (its `Date`), never later than ours: a pass that is reckoned to begin then
    /// misses nothing, whichever of the two clocks is wrong.
    #[must_use]
    pub fn time(&self, ours: Timestamp) -> Timestamp {
        let theirs = self.headers.get(DATE).and_then(|date| date.to_str().ok());
        let theirs = theirs.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        theirs.map_or(ours, |at| at.to_utc().min(ours))
    }

    /// Reads the body as JSON. The error says what was there instead in kind, never in content.
    ///
    /// # Errors
    /// [`ConnectorError::Protocol`].
    pub fn json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, ConnectorError> {
        serde_json::from_slice(&self.body).map_err(|e| self.not_json(&e))
    }

    /// Reads the body as JSON into an owned value, naming the member that is wrong.
    ///
    /// # Errors
    /// [`ConnectorError::Protocol`].
    pub fn json_owned<T: DeserializeOwned>(&self) -> Result<T, ConnectorError> {
        let mut json = serde_json::Deserializer::from_slice(&self.body);
        serde_path_to_error::deserialize(&mut json).map_err(|e| {
            let path = e.path().to_string();
            let ConnectorError::Protocol(text) = self.not_json(e.inner()) else {
                return ConnectorError::Protocol(format!("{}: bad answer", self.endpoint));
            };
            ConnectorError::Protocol(format!("{text} at {path}"))
        })
    }

    fn not_json(&self, e: &serde_json::Error) -> ConnectorError {
        let mut text = format!("{}: HTTP {}: ", self.endpoint, self.status.as_u16());
        let start = self.body.iter().find(|b| !b.is_ascii_whitespace());
        // serde_json's sentences can quote the value that was found; its class and place cannot.
        let _ = match (start, e.classify()) {
            (None, _) => write!(text, "the body is empty"),
            (Some(b'<'), _) => write!(text, "the body is HTML or XML, not JSON"),
            (_, serde_json::error::Category::Data) => {
                write!(text, "the JSON lacks what was promised (line {}, column {})", e.line(), e.column())
            }
            (_, serde_json::error::Category::Eof) => write!(text, "the JSON ends too early"),
            _ => write!(text, "the body is not JSON (line {}, column {})", e.line(), e.column()),
        };
        ConnectorError::Protocol(text)
    }
}

impl HttpClient {
    /// Builds the client. The caller has installed rustls's ring provider before; times longer than
    /// 30 s for a call are cut to that.
    ///
    /// # Errors
    /// [`ConnectorError::Config`] when no TLS provider is installed or the system's certificates cannot
    /// be read.
    pub fn new(mut config: HttpConfig, clock: Arc<dyn Clock>) -> Result<Self, ConnectorError> {
        // reqwest panics in build() without a provider.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(ConnectorError::Config("no TLS provider is installed".to_owned()));
        }
        config.total_timeout = config.total_timeout.min(LONGEST_CALL);
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(config.connect_timeout)
            .user_agent(config.user_agent.as_str())
            .pool_idle_timeout(Duration::from_secs(60))
            .no_proxy()
            .build()
            .map_err(|e| ConnectorError::Config(format!("HTTP client: {}", kind(&e))))?;
        Ok(Self { client, config: Arc::new(config), clock, tokens: None })
    }

    /// A client whose calls with a bearer token ([`Call::bearer`]) are sent with the token that is current then,
    /// whichever the connector was opened with.
    #[must_use]
    pub fn authorized(mut self, tokens: Arc<dyn AccessTokens>) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Sends a request as it is, beside every account's budget: for what is no call of a provider's API (its token
    /// endpoint). The answer is whatever came back, 4xx included.
    ///
    /// # Errors
    /// 429: [`ConnectorError::RateLimited`]. 408, 5xx, time-outs, refused, reset and cut connections:
    /// [`ConnectorError::Transient`]. A redirect, a body over 64 KiB: [`ConnectorError::Protocol`]. Each names
    /// `endpoint`, and none the address, a body or a header.
    pub async fn exchange_plain(
        &self,
        endpoint: &'static str,
        request: http::Request<Vec<u8>>,
    ) -> Result<http::Response<Vec<u8>>, ConnectorError> {
        let failed = |e: &reqwest::Error| ConnectorError::Transient(format!("{endpoint}: {}", kind(e)));
        let exchange = async {
            let request = reqwest::Request::try_from(request).map_err(|e| failed(&e))?;
            let mut response = self.client.execute(request).await.map_err(|e| failed(&e))?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| failed(&e))? {
                if body.len() + chunk.len() > LARGEST_PLAIN {
                    return Err(ConnectorError::Protocol(format!(
                        "{endpoint}: the body is over {LARGEST_PLAIN} bytes"
                    )));
                }
                body.extend_from_slice(&chunk);
            }
            Ok((response.status(), std::mem::take(response.headers_mut()), body))
        };
        let limit = self.config.total_timeout;
        let (status, headers, body) = tokio::time::timeout(limit, exchange).await.map_err(|_| {
            ConnectorError::Transient(format!("{endpoint}: no whole answer within {} s", limit.as_secs_f32()))
        })??;
        match status.as_u16() {
            429 => {
                let now = self.clock.now();
                let wait = retry_after(&headers, now).unwrap_or(PLAIN_PAUSE);
                let wait = chrono::TimeDelta::from_std(wait).unwrap_or(chrono::TimeDelta::days(1));
                Err(ConnectorError::RateLimited { until: now + wait })
            }
            408 | 500..=599 => {
                Err(ConnectorError::Transient(format!("{endpoint}: HTTP {}", status.as_u16())))
            }
            300..=399 => Err(ConnectorError::Protocol(format!(
                "{endpoint}: HTTP {}: a redirect, which is not followed",
                status.as_u16()
            ))),
            _ => {
                let mut response = http::Response::new(body);
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                Ok(response)
            }
        }
    }

    async fn exchange(
        &self,
        call: &Call,
        authorization: Option<(&'static str, &SecretString)>,
    ) -> Result<Answer, ConnectorError> {
        let endpoint = call.endpoint;
        let failed = |e: &reqwest::Error| ConnectorError::Transient(format!("{endpoint}: {}", kind(e)));
        let mut request = self.client.request(call.method.clone(), call.url.clone());
        request = request.headers(call.headers.clone());
        if !call.headers.contains_key(ACCEPT) {
            request = request.header(ACCEPT, "application/json");
        }
        if let Some((scheme, secret)) = authorization {
            // Encoded here and not by the caller, so that the secret itself is what leaves a provider's sentence.
            let text = match scheme {
                BASIC => BASE64.encode(format!("{}:", secret.expose_secret())),
                _ => secret.expose_secret().to_owned(),
            };
            let mut value = HeaderValue::from_str(&format!("{scheme} {text}"))
                .map_err(|_| refused_credentials("the secret holds characters that no header can"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some((content_type, body)) = &call.body {
            request = request.header(CONTENT_TYPE, content_type).body(body.clone());
        }
        let mut response = request.send().await.map_err(|e| failed(&e))?;
        let too_large = || {
            ConnectorError::Protocol(format!("{endpoint}: the body is over {} bytes", self.config.max_body))
        };
        let announced = response.content_length().unwrap_or(0);
        if announced > self.config.max_body as u64 {
            return Err(too_large());
        }
        let mut body = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(chunk) = response.chunk().await.map_err(|e| failed(&e))? {
            if body.len() + chunk.len() > self.config.max_body {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            endpoint,
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: body.freeze(),
        })
    }
}

impl Io {
    /// Makes a call within the account's budget, at this session's priority.
    ///
    /// # Errors
    /// 401 (of an OAuth connection after one renewal of its token), 403: [`ConnectorError::Auth`]. 429: [`ConnectorError::RateLimited`], which the budget
    /// remembers; also without a call, while the reserve of a daily quota is reached
    /// ([`Budget::observe`](crate::Budget::observe)). 408, 5xx (but 501), time-outs, refused, reset and cut connections:
    /// [`ConnectorError::Transient`]. A redirect, a body over the limit: [`ConnectorError::Protocol`].
    pub async fn call(&self, call: &Call) -> Result<Answer, ConnectorError> {
        let tokens = self.http.tokens.as_ref().filter(|_| call.takes_bearer());
        let Some(tokens) = tokens else {
            let fixed = call.authorization.as_ref().map(|(scheme, secret)| (*scheme, secret));
            let answer = self.send(call, fixed).await?;
            return self.judge(call, answer);
        };
        let mut token = tokens.current().await?;
        let mut answer = self.send(call, Some((BEARER, &token))).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            token = tokens.renewed(&token).await?;
            answer = self.send(call, Some((BEARER, &token))).await?;
        }
        self.judge(call, answer)
    }

    /// One exchange within the budget.
    async fn send(
        &self,
        call: &Call,
        authorization: Option<(&'static str, &SecretString)>,
    ) -> Result<Answer, ConnectorError> {
        let endpoint = call.endpoint;
        if let Some(wait) = self.budget.exhausted(self.priority) {
            let wait = chrono::TimeDelta::from_std(wait).unwrap_or(chrono::TimeDelta::days(1));
            return Err(ConnectorError::RateLimited { until: self.http.clock.now() + wait });
        }
        let _permit = self.budget.acquire_at(self.priority, endpoint, call.at_most).await;
        let limit = self.http.config.total_timeout;
        match tokio::time::timeout(limit, self.http.exchange(call, authorization)).await {
            Ok(answer) => answer,
            Err(_) => Err(ConnectorError::Transient(format!(
                "{endpoint}: no whole answer within {} s",
                limit.as_secs_f32()
            ))),
        }
    }

    /// What an answer means.
    fn judge(&self, call: &Call, answer: Answer) -> Result<Answer, ConnectorError> {
        let endpoint = call.endpoint;
        let status = answer.status;
        if status != StatusCode::TOO_MANY_REQUESTS {
            self.budget.answered();
        }
        if call.left.contains(&status) {
            return Ok(answer);
        }
        match status.as_u16() {
            401 | 403 => {
                let refusal = self.words(call, &answer);
                Err(ConnectorError::Auth {
                    message: format!("{endpoint}: HTTP {}{}", status.as_u16(), refusal.0),
                    missing_permission: refusal.1,
                })
            }
            429 => {
                let now = self.http.clock.now();
                let wait = retry_after(&answer.headers, now);
                let about = (call.dialect.throttle)(&answer.headers);
                let pause = self.budget.refused(endpoint, about, wait);
                let pause = chrono::TimeDelta::from_std(pause).unwrap_or(chrono::TimeDelta::days(1));
                Err(ConnectorError::RateLimited { until: now + pause })
            }
            501 => Ok(answer),
            408 | 500..=599 => {
                let words = self.words(call, &answer).0;
                Err(ConnectorError::Transient(format!("{endpoint}: HTTP {}{words}", status.as_u16())))
            }
            300..=399 => Err(ConnectorError::Protocol(format!(
                "{endpoint}: HTTP {}: a redirect, which is not followed; is the base URL right?",
                status.as_u16()
            ))),
            _ => Ok(answer),
        }
    }

    /// A refusal that is left to the connector, as the error of a call that should have worked.
    #[must_use]
    pub fn unexpected(&self, call: &Call, answer: &Answer) -> ConnectorError {
        let words = self.words(call, answer).0;
        ConnectorError::Protocol(format!("{}: HTTP {}{words}", call.endpoint, answer.status.as_u16()))
    }

    /// The provider's words on one line, without the secret, and the missing permission.
    fn words(&self, call: &Call, answer: &Answer) -> (String, Option<String>) {
        const LONGEST: usize = 300;
        let refusal = (call.dialect.refusal)(answer);
        let own = call.authorization.as_ref().map(|(_, secret)| secret.clone());
        let held = self.http.tokens.as_ref().map(|tokens| tokens.held()).unwrap_or_default();
        let clean = |text: &str| {
            let mut text = text.to_owned();
            for secret in own.iter().chain(&held).filter(|secret| !secret.expose_secret().is_empty()) {
                text = text.replace(secret.expose_secret(), "[secret]");
            }
            text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect::<String>()
        };
        let mut words = String::new();
        if let Some(code) = &refusal.code {
            let _ = write!(words, " ({})", clean(code));
        }
        if let Some(message) = &refusal.message {
            let _ = write!(words, ": {}", clean(message));
        }
        (words, refusal.permission.as_deref().map(clean))
    }
}

fn refused_credentials(why: &str) -> ConnectorError {
    ConnectorError::Auth { message: why.to_owned(), missing_permission: None }
}

/// What went wrong, in our own words: reqwest's sentence holds the URL with its query.
fn kind(e: &reqwest::Error) -> &'static str {
    if e.is_timeout() {
        "timed out"
    } else if e.is_connect() {
        "cannot connect"
    } else if e.is_body() || e.is_decode() {
        "the body was cut or cannot be decompressed"
    } else if e.is_builder() {
        "the request cannot be built"
    } else if e.is_request() {
        "the connection broke"
    } else {
        "the exchange failed"
    }
}

/// `Retry-After`, as seconds or as an HTTP date; `None` where it is absent or unreadable.
fn retry_after(headers: &HeaderMap, now: crate::clock::Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
        && seconds >= 0.0
    {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    // A date that has gone by means "now".
    Some(at.to_utc().signed_duration_since(now).to_std().unwrap_or(Duration::ZERO))
}

fn join(base: &Url, path: &[&str]) -> Result<Url, ConnectorError> {
    let mut url = base.clone();
    let bad = || ConnectorError::Protocol("a path that no URL can hold".to_owned());
    {
        let mut segments = url.path_segments_mut().map_err(|()| bad())?;
        segments.pop_if_empty();
        for segment in path {
            // The url crate drops these two without a word, which would name another object.
            if segment.is_empty() || *segment == "." || *segment == ".." {
                return Err(bad());
            }
            segments.push(segment);
        }
    }
    Ok(url)
}

/// The address of a provider's API, as an operator may set it: `https`, or `http` to this machine
/// alone, and nothing in it but host, port and path.
///
/// # Errors
/// [`ConnectorError::Config`] that says what is wrong.
pub fn base_url(text: &str) -> Result<Url, ConnectorError> {
    let wrong = |why: &str| ConnectorError::Config(format!("base_url: {why}"));
    let url = Url::parse(text).map_err(|e| wrong(&e.to_string()))?;
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => return Err(wrong("names no host")),
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => return Err(wrong("http would send the key in the clear; use https")),
        _ => return Err(wrong("must begin with https://")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not hold credentials"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must not hold a query or a fragment"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = DateTime::parse_from_rfc3339("2026-11-22T10:00:00Z").unwrap().to_utc();
        let read = |v: &str| retry_after(&headers(v), now);
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read(" 0.5 "), Some(Duration::from_millis(500)));
        assert_eq!(read("Sun, 22 Nov 2026 10:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(read("Sun, 22 Nov 2026 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-3"), None);
        assert_eq!(read("1e999"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_providers_time_is_never_later_than_ours() {
        let ours = DateTime::parse_from_rfc3339("2026-11-22T10:00:00Z").unwrap().to_utc();
        let time = |date: Option<&str>| {
            let headers = date.map(|date| (DATE, HeaderValue::from_str(date).unwrap())).into_iter().collect();
            Answer { endpoint: "GET /x", status: StatusCode::OK, headers, body: Bytes::new() }.time(ours)
        };
        let minute = chrono::TimeDelta::minutes(1);
        assert_eq!(time(Some("Sun, 22 Nov 2026 09:59:00 GMT")), ours - minute);
        assert_eq!(time(Some("Sun, 22 Nov 2026 10:01:00 GMT")), ours);
        assert_eq!((time(Some("today")), time(None)), (ours, ours));
    }

    #[test]
    fn an_id_stays_one_segment() {
        let base = Url::parse("http://127.0.0.1:9/prefix/").unwrap();
        let path = |id: &str| join(&base, &["v1", "coupons", id]).map(|u| u.path().to_owned());
        assert_eq!(path("25OFF").unwrap(), "/prefix/v1/coupons/25OFF");
        assert_eq!(path("a/../b?c#d %").unwrap(), "/prefix/v1/coupons/a%2F..%2Fb%3Fc%23d%20%25");
        for bad in ["", ".", ".."] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn base_urls_keep_the_key_off_the_wire() {
        for good in
            ["https://api.stripe.com", "http://127.0.0.1:8000", "http://[::1]:1/x", "http://localhost:1"]
        {
            assert!(base_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://api.stripe.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "ftp://127.0.0.1",
            "https://user:pw@host",
            "https://host/?q=1",
            "not a url",
            "",
        ] {
            assert!(matches!(base_url(bad), Err(ConnectorError::Config(_))), "{bad}");
        }
    }

    #[test]
    fn errors_about_json_tell_the_kind_and_not_the_content() {
        let answer = |body: &'static str| Answer {
            endpoint: "GET /x",
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        };
        let text = |body| match answer(body).json::<Vec<u8>>() {
            Err(ConnectorError::Protocol(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(text("  <html>s3cret</html>").contains("HTML"));
        assert!(text("").contains("empty"));
        assert!(text("[1,2").contains("ends too early"));
        assert!(text("nope").contains("not JSON"));
        let wrong = text("[\"s3cret\"]");
        assert!(wrong.contains("lacks what was promised") && !wrong.contains("s3cret"), "{wrong}");
    }
}

#[cfg(test)]
#[path = "http_network_tests.rs"]
mod network;
