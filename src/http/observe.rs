//! What surrounds every request: its id, the limits of its body, the form of its errors, one line in the
//! access log, metrics, and a wall against panics.
//!
//! The access line holds method, path (never the query), status and time. Probes are not logged: they come
//! every few seconds and say nothing.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::header::{CONNECTION, HeaderName, HeaderValue};
use tracing::Instrument;

use super::error::ApiError;
use super::guard;
use super::probes;
use super::server::Limits;
use crate::clock::Clock;
use crate::domain::ids::new_id;
use crate::telemetry::{metric, span};

/// The header that a request's id comes and goes in.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, as an extension: the caller's own where it is a sensible one, else ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

/// Set on a connection whose request was answered before its body was read: the answer must arrive although
/// the peer is still sending.
#[derive(Debug, Clone, Default)]
pub(super) struct Unread(pub(super) Arc<AtomicBool>);

/// What `observe` works with.
#[derive(Debug, Clone)]
pub struct Observer {
    pub(super) limits: Limits,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) room: guard::Room,
}

/// Wraps one request.
pub(super) async fn observe(State(observer): State<Observer>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(&request, &*observer.clock);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map(|matched| matched.as_str().to_owned());
    let unread = request.extensions().get::<Unread>().cloned().unwrap_or_default();
    request.extensions_mut().insert(RequestId(id.clone()));

    let log = !probes::is_probe(&path);
    let span = tracing::info_span!(span::HTTP_REQUEST, %method, path, request_id = id);
    let mut response = run(&observer, request, next, &unread).instrument(span.clone()).await;
    let error = response.extensions_mut().remove::<ApiError>();
    let unread = unread.0.load(Ordering::Acquire);
    if let Some(error) = &error {
        response = keep_headers(response, error.render(&path, &id));
    }
    if unread {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }

    let took = began.elapsed();
    let status = response.status().as_u16();
    // A path that no route matched is the caller's text: as a label it would be one series each.
    let route = route.unwrap_or_else(|| "unmatched".to_owned());
    metrics::counter!(
        metric::HTTP_REQUESTS,
        "method" => known_method(&method), "route" => route.clone(), "status" => status.to_string()
    )
    .increment(1);
    metrics::histogram!(metric::HTTP_SECONDS, "route" => route).record(took.as_secs_f64());
    if log {
        let ms = took.as_secs_f64() * 1_000.0;
        let code = error.as_ref().map(ApiError::code);
        span.in_scope(|| match error.as_ref().and_then(ApiError::logged) {
            Some(cause) => tracing::error!(status, ms, code, cause, "request failed"),
            None => tracing::info!(status, ms, code, "request"),
        });
    }
    response
}

async fn run(observer: &Observer, request: Request<Body>, next: Next, unread: &Unread) -> Response {
    let most = guard::most_bytes(request.uri().path(), &observer.limits);
    let limited = guard::limit(request, &observer.limits, &observer.room).await;
    let guard::Limiting { request, body, room: _until_answered } = match limited {
        Ok(limited) => limited,
        Err(error) => {
            unread.0.store(true, Ordering::Release);
            return error.into_response();
        }
    };
    let response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => ApiError::panicked().into_response(),
    };
    if !body.is_finished() {
        unread.0.store(true, Ordering::Release);
    }
    match body.verdict(most) {
        Some(error) => error.into_response(),
        None => response,
    }
}

/// The rendered error, with headers that the operation had set (`WWW-Authenticate`, `Allow`).
fn keep_headers(from: Response, mut rendered: Response) -> Response {
    for (name, value) in from.headers() {
        if *name != http::header::CONTENT_LENGTH && !rendered.headers().contains_key(name) {
            rendered.headers_mut().insert(name, value.clone());
        }
    }
    rendered
}

/// The caller's id, when it is short and plain: it goes into logs and answers.
fn request_id(request: &Request, clock: &dyn Clock) -> String {
    request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|text| (1..=128).contains(&text.len()))
        .filter(|text| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')))
        .map_or_else(|| new_id("req", clock), str::to_owned)
}

fn known_method(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
