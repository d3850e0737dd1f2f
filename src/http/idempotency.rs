//! `Idempotency-Key`: a request that is sent again, because its answer was lost, is not done again.
//!
//! For operations that say so ([`Operation::idempotent`](super::openapi::Operation::idempotent)). An answer is kept for 24
//! hours under the API key and the header; the same request gets it again with `Idempotent-Replayed: true`, on whichever
//! process. Refusals are not kept: nothing was done, and the same request is refused again by itself. Who sends the header
//! pays two writes; who does not, none.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use sha2::{Digest as _, Sha256};

use super::sdk::Sdk;
use super::{ApiError, guard};
use crate::clock::Clock;
use crate::store::attributes::{Begun, IdempotentRequest, StoredAnswer};

/// The request's header.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long a request counts as being worked on whose process does not say what became of it.
const LEASE: Duration = Duration::from_secs(120);
/// Longer answers are given and not kept.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;
const LONGEST_KEY: usize = 255;
const RETRY_SECONDS: u64 = 5;

/// What the layer works with.
#[derive(Clone)]
pub(super) struct Idempotency {
    pub(super) sdk: Sdk,
    pub(super) clock: Arc<dyn Clock>,
    /// Paths of the operations that take the header.
    pub(super) paths: Arc<HashSet<&'static str>>,
}

/// Around every operation; does something for those that take the header, when it is there.
pub(super) async fn layer(State(own): State<Idempotency>, request: Request, next: Next) -> Response {
    let takes = request.method() == Method::POST
        && request.headers().contains_key(&IDEMPOTENCY_KEY)
        && request.extensions().get::<MatchedPath>().is_some_and(|path| own.paths.contains(path.as_str()));
    if !takes {
        return next.run(request).await;
    }
    match own.once(request, next).await {
        Ok(response) => response,
        Err(error) => axum::response::IntoResponse::into_response(error),
    }
}

impl Idempotency {
    async fn once(&self, request: Request, next: Next) -> Result<Response, ApiError> {
        let key = key(&request)?;
        let api_key = self.sdk.keys.authenticate(request.headers()).await?;
        let (parts, body) = request.into_parts();
        let body = guard::read(body).await?;
        let mut hash = Sha256::new();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        for part in [parts.method.as_str().as_bytes(), target.as_bytes(), &body] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let now = self.clock.now();
        let request = IdempotentRequest {
            api_key: api_key.id,
            key,
            hash: hex::encode(hash.finalize()),
            lease_until: now + LEASE,
            expires_at: now + KEPT,
        };
        let (store, org) = (&self.sdk.store, &api_key.org_id);
        let begun = store.begin_idempotent(org, &request, now).await;
        match begun.map_err(|e| ApiError::unavailable(RETRY_SECONDS, &e))? {
            Begun::First => {}
            Begun::Answered(answer) => return Ok(replay(answer)),
            Begun::Running => {
                return Err(ApiError::new(StatusCode::CONFLICT, "idempotency_in_flight", "Conflict")
                    .detail("a request with this Idempotency-Key is being worked on")
                    .retry_after(1));
            }
            Begun::Other => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return Err(ApiError::new(status, "idempotency_mismatch", "Unprocessable content")
                    .detail("this Idempotency-Key was used for another request")
                    .hint("use a new key for a new request"));
            }
        }
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        let refused = response.extensions().get::<ApiError>().is_some();
        let (parts, body) = response.into_parts();
        let size = axum::body::HttpBody::size_hint(&body).upper();
        let kept = !refused
            && parts.status.is_success()
            && size.is_some_and(|size| size <= u64::try_from(LARGEST_ANSWER).unwrap_or(u64::MAX));
        if !kept {
            let ended = store.end_idempotent(org, &request, None).await;
            ended.map_err(|e| ApiError::unavailable(RETRY_SECONDS, &e))?;
            return Ok(Response::from_parts(parts, body));
        }
        let bytes = to_bytes(body, LARGEST_ANSWER).await.map_err(|e| ApiError::internal(&e))?;
        let headers = [CONTENT_TYPE, LOCATION, ETAG]
            .iter()
            .filter_map(|name| Some((name.to_string(), parts.headers.get(name)?.to_str().ok()?.to_owned())))
            .collect();
        let answer = StoredAnswer { status: parts.status.as_u16(), headers, body: bytes.to_vec() };
        if let Err(error) = store.end_idempotent(org, &request, Some(&answer)).await {
            // It is done: the caller is told so. Sent again, it is refused until the lease has run out.
            tracing::warn!(%error, "an answer is not kept for its Idempotency-Key");
        }
        Ok(Response::from_parts(parts, Body::from(bytes)))
    }
}

fn key(request: &Request) -> Result<String, ApiError> {
    let mut values = request.headers().get_all(&IDEMPOTENCY_KEY).iter();
    let key = values.next().and_then(|value| value.to_str().ok());
    match key {
        Some(key) if (1..=LONGEST_KEY).contains(&key.len()) && values.next().is_none() => Ok(key.to_owned()),
        _ => Err(ApiError::bad_request(
            "bad_idempotency_key",
            format!("Idempotency-Key: one, of 1 to {LONGEST_KEY} visible ASCII characters, is accepted"),
        )),
    }
}

fn replay(answer: StoredAnswer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
