//! What browsers ask of a server before and beside a call: preflights, who may read an answer, and how much of a
//! limit is left. And what no call may have: a key in its address.
//!
//! Pages may call the operations that take a publishable key, and no others: elsewhere there is no answer that a
//! browser would show to a page. No credentials of the browser's are ever taken, so `*` lets nobody act for another.
//! The headers are put on from outside everything else, so that refusals have them, too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HeaderName,
    HeaderValue, ORIGIN, VARY,
};
use http::{Extensions, Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::error::ApiError;
use super::sdk::rates::{Left, whole_seconds};

/// What texts that give their bearer power begin with.
const SECRET_PREFIXES: [&str; 3] = ["ab_live_", "hs_server_", "ha_secret_"];
/// Headers that a page may send.
const ALLOWED_HEADERS: &str = "authorization, content-type, idempotency-key, if-none-match, x-request-id";
/// Headers that a page may read.
const EXPOSED_HEADERS: &str = "etag, retry-after, x-agent-id, x-ratelimit-after, x-ratelimit-limit, \
                               x-ratelimit-remaining, x-request-id, x-session-id";
/// For how long a browser need not ask again, seconds: what the longest of them heed.
const PREFLIGHT_SECONDS: &str = "7200";

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const AFTER: HeaderName = HeaderName::from_static("x-ratelimit-after");

/// The operations that pages may call: paths without parameters, with their methods.
#[derive(Debug, Clone, Default)]
pub struct Pages(Arc<BTreeMap<&'static str, Vec<Method>>>);

impl FromIterator<(&'static str, Method)> for Pages {
    fn from_iter<I: IntoIterator<Item = (&'static str, Method)>>(operations: I) -> Self {
        let mut pages: BTreeMap<_, Vec<Method>> = BTreeMap::new();
        for (path, method) in operations {
            pages.entry(path).or_default().push(method);
        }
        Self(Arc::new(pages))
    }
}

/// What was found out about a call that its answer's headers tell. An extension of the request.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes(Arc<Mutex<Told>>);

#[derive(Debug, Clone, Default)]
struct Told {
    origin: PageOrigin,
    left: Option<Left>,
}

/// Which pages may read an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum PageOrigin {
    /// All.
    #[default]
    Any,
    /// The one that asks: it stands in a list.
    Listed,
    /// The one that asks may not: it stands not in the list.
    Refused,
}

impl Notes {
    /// Those of a request; where nobody made any, what is noted is read by nobody.
    pub(super) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    pub(super) fn origin(&self, origin: PageOrigin) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).origin = origin;
    }

    /// Notes what is left of a limit; the tightest stands.
    pub(super) fn left(&self, left: Option<Left>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.left = super::sdk::rates::tighter(left, told.left);
    }

    fn told(&self) -> Told {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Within everything: refuses an address that holds a key, and answers preflights.
pub(super) async fn gate(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    let uri = request.uri();
    if holds_secret(uri.path()) || uri.query().is_some_and(holds_secret) {
        return ApiError::bad_request(
            "key_in_url",
            "a key must never stand in an address: addresses are logged",
        )
        .hint("send it as `Authorization: Bearer`, and revoke this one: halo-sync keys revoke KEY")
        .into_response();
    }
    if request.method() != Method::OPTIONS {
        return next.run(request).await;
    }
    let Some(methods) = pages.0.get(uri.path()) else { return next.run(request).await };
    let text = methods.iter().map(Method::as_str).chain(["OPTIONS"]).collect::<Vec<_>>().join(", ");
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    if let Ok(text) = HeaderValue::from_str(&text) {
        headers.insert(ALLOW, text.clone());
        if request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, text);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
            headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
        }
    }
    response
}

/// Around everything: puts on the headers that tell what was found out.
pub(super) async fn edge(State(pages): State<Pages>, mut request: Request, next: Next) -> Response {
    let notes = Notes::default();
    request.extensions_mut().insert(notes.clone());
    let of_page = pages.0.contains_key(request.uri().path());
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = next.run(request).await;
    let told = notes.told();
    let headers = response.headers_mut();
    if of_page {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let allowed = match told.origin {
            PageOrigin::Any => Some(HeaderValue::from_static("*")),
            PageOrigin::Listed => origin,
            PageOrigin::Refused => None,
        };
        if let Some(allowed) = allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
        }
    }
    if let Some(left) = told.left {
        headers.insert(LIMIT, left.limit.into());
        headers.insert(REMAINING, left.remaining.into());
        headers.insert(AFTER, whole_seconds(left.after).into());
    }
    response
}

/// Whether a part of an address holds what looks like a key, encoded or not.
fn holds_secret(part: &str) -> bool {
    let decoded = percent_decode_str(part).decode_utf8_lossy();
    SECRET_PREFIXES.iter().any(|prefix| decoded.contains(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_however_they_are_written() {
        for bad in
            ["key=ab_live_1", "x=1&t=hs_server_00", "ha%5Fsecret%5Fx", "%61b_live_1", "/api/sdk/hs_server_1"]
        {
            assert!(holds_secret(bad), "{bad}");
        }
        for good in ["", "q=ab_live", "user=hs%server", "a=%", "a=%zz", "org_id=org_1"] {
            assert!(!holds_secret(good), "{good}");
        }
    }
}
