//! What a request's body may be: at most so large, sent in at most so long, never encoded.
//!
//! Sizes are refused before the body is read where the head tells (413), and at the first byte too many
//! otherwise. An encoded body is refused (415) rather than inflated. A verdict reached while an operation
//! read the body replaces whatever the operation made of the broken body.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use super::error::ApiError;
use super::io::HeadFault;
use super::server::Limits;

/// Paths that take many records at once, and the most bytes of their bodies. Their keys are judged from the head,
/// before the body is read.
const BULK_PATHS: [&str; 2] = ["/api/sdk/users/update", "/api/sdk/companies/update"];
const BULK_BYTES: usize = 24 * 1024 * 1024;

/// The most bytes that a body at this path may have.
pub(super) fn most_bytes(path: &str, limits: &Limits) -> usize {
    if BULK_PATHS.contains(&path) { limits.max_body_bytes.max(BULK_BYTES) } else { limits.max_body_bytes }
}

const GOING: u8 = 0;
const TOO_LARGE: u8 = 1;
const TOO_SLOW: u8 = 2;

/// What has become of a request's body.
#[derive(Debug, Default)]
pub(super) struct BodyState {
    verdict: AtomicU8,
    finished: AtomicBool,
}

impl BodyState {
    /// Whether all of the body was read.
    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// The error that replaces the operation's answer.
    pub(super) fn verdict(&self, most: usize) -> Option<ApiError> {
        match self.verdict.load(Ordering::Acquire) {
            TOO_LARGE => Some(too_large(most)),
            TOO_SLOW => Some(
                ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "Request time-out")
                    .detail("the body did not arrive in time")
                    .closing(),
            ),
            _ => None,
        }
    }
}

fn too_large(most: usize) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Content too large")
        .detail(format!("a body may have at most {most} bytes"))
        .with("max_bytes", most)
        .closing()
}

/// A body that is no larger waits for nobody.
const SMALL: u64 = 64 * 1024;
/// KiB of larger bodies that are worked on at once: until it is stored one is in memory several times.
const LARGE_KIB: u32 = 48 * 1024;

/// Room for large bodies, shared by all requests: as many as come at once would otherwise take all memory.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_KIB as usize)))
    }
}

impl Room {
    /// Waits until there is room for a body of that size, as long as a body may take to arrive. A small one needs
    /// none.
    async fn take(&self, size: u64, limits: &Limits) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
        if size <= SMALL {
            return Ok(None);
        }
        let kib = u32::try_from(size.div_ceil(1024)).unwrap_or(LARGE_KIB).min(LARGE_KIB);
        let room = Arc::clone(&self.0).acquire_many_owned(kib);
        match tokio::time::timeout(limits.body_timeout, room).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Temporarily unavailable")
                .detail("too many large bodies at once")
                .retry_after(5)
                .closing()),
        }
    }
}

/// A request whose body has its limits around it.
pub(super) struct Limiting {
    pub(super) request: Request<Body>,
    pub(super) body: Arc<BodyState>,
    /// Its place among the large ones, until it is answered.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// Refuses what the head already shows to be wrong; otherwise puts the limits around the body.
pub(super) async fn limit(
    request: Request<Body>,
    limits: &Limits,
    room: &Room,
) -> Result<Limiting, ApiError> {
    let headers = request.headers();
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "encoded_body",
            "Unsupported media type",
        )
        .detail("an encoded body is not taken")
        .hint("Send the body as it is, without Content-Encoding.")
        .closing());
    }
    if let Some(fault) = request.extensions().get::<HeadFault>().and_then(HeadFault::found) {
        return Err(ApiError::bad_request("malformed_head", fault).closing());
    }
    let most_bytes = most_bytes(request.uri().path(), limits);
    let most = u64::try_from(most_bytes).unwrap_or(u64::MAX);
    if request.body().size_hint().lower() > most {
        return Err(too_large(most_bytes));
    }
    let state = Arc::new(BodyState::default());
    if request.body().is_end_stream() {
        state.finished.store(true, Ordering::Release);
        return Ok(Limiting { request, body: state, room: None });
    }
    let exact = request.body().size_hint().exact();
    let room = room.take(exact.unwrap_or(most), limits).await?;
    let of_body = Arc::clone(&state);
    let request = request.map(|body| {
        Body::new(Limited {
            body,
            exact,
            left: most_bytes,
            until: Instant::now() + limits.body_timeout,
            stall_after: limits.stall_timeout,
            timer: None,
            state: of_body,
        })
    });
    Ok(Limiting { request, body: state, room })
}

/// Why reading a body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is too large")]
    TooLarge,
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("the body was cut off")]
    Cut(#[source] axum::Error),
}

struct Limited {
    body: Body,
    exact: Option<u64>,
    left: usize,
    until: Instant,
    stall_after: Duration,
    /// Runs while we wait for a frame; a body that is there already costs no timer.
    timer: Option<Pin<Box<Sleep>>>,
    state: Arc<BodyState>,
}

impl Limited {
    fn end(&self, verdict: u8, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.state.verdict.store(verdict, Ordering::Release);
        Poll::Ready(Some(Err(error)))
    }
}

impl HttpBody for Limited {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let (until, stall_after) = (this.until, this.stall_after);
                let timer = this.timer.get_or_insert_with(|| {
                    let first = until.min(Instant::now() + stall_after);
                    Box::pin(tokio::time::sleep_until(first))
                });
                ready!(timer.as_mut().poll(cx));
                return this.end(TOO_SLOW, BodyError::TooSlow);
            }
        };
        this.timer = None;
        // The total time is looked at also while bytes keep coming.
        if Instant::now() >= this.until {
            return this.end(TOO_SLOW, BodyError::TooSlow);
        }
        match frame {
            None => {
                this.state.finished.store(true, Ordering::Release);
                Poll::Ready(None)
            }
            Some(Err(error)) => this.end(GOING, BodyError::Cut(error)),
            Some(Ok(frame)) => {
                let size = frame.data_ref().map_or(0, Bytes::len);
                match this.left.checked_sub(size) {
                    Some(left) => this.left = left,
                    None => return this.end(TOO_LARGE, BodyError::TooLarge),
                }
                if this.body.is_end_stream() {
                    this.state.finished.store(true, Ordering::Release);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// All of a body within the limits.
pub(super) async fn read(body: Body) -> Result<Bytes, ApiError> {
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        // Too large and too slow are said by the verdict; what is left is a body that ended early.
        Err(_) => Err(ApiError::bad_request("body_cut", "the body was cut off").closing()),
    }
}
