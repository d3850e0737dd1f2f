//! The accept loop.
//!
//! Our own, because the usual one has no time-out for a request's head: an idle connection, half a head and
//! a stalled body would each be held for ever. Here a client has so long for the head (and an idle connection
//! is kept no longer), so long for the body, and must read its answer; connections are counted; a stop lets
//! requests in flight end, up to a deadline.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::address::Proxies;
use super::io::{Guarded, HeadFault};
use super::observe::Unread;
use super::sdk::rates::Quotas;
use crate::config;
use crate::telemetry::metric;

/// Header lines of a request; more are answered with 431.
const MAX_HEADERS: usize = 100;
/// Bytes of a request's head; more are answered with 431.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// How long, and how many bytes, a peer that is still sending is listened to after its early answer. A socket
/// closed over unread bytes resets, and the reset can overtake the answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 16 * 1024 * 1024;
/// Pause after an accept that failed for want of file descriptors or memory; doubles up to the second.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What a client may take: bytes, time, connections, calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest body, bytes.
    pub max_body_bytes: usize,
    /// For the head; also how long an idle connection is kept.
    pub header_timeout: Duration,
    /// For the whole body.
    pub body_timeout: Duration,
    /// Without a byte of the body, or without reading the answer.
    pub stall_timeout: Duration,
    /// At once.
    pub max_connections: usize,
    /// For requests in flight, after a stop.
    pub shutdown: Duration,
    /// How often the SDK API may be called.
    pub quotas: Quotas,
    /// Proxies between clients and us.
    pub proxies: Proxies,
}

impl From<&config::Server> for Limits {
    fn from(server: &config::Server) -> Self {
        Self {
            max_body_bytes: server.max_body_bytes,
            header_timeout: Duration::from_secs(server.header_timeout_seconds),
            body_timeout: Duration::from_secs(server.body_timeout_seconds),
            stall_timeout: Duration::from_secs(server.stall_timeout_seconds),
            max_connections: server.max_connections,
            shutdown: Duration::from_secs(server.shutdown_seconds),
            quotas: Quotas::default(),
            proxies: server.proxies().collect(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&config::Server::default())
    }
}

/// Serves until `stop`, then lets requests in flight end. Answers how many connections were cut at the
/// deadline.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) -> usize {
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let mut connections = JoinSet::new();
    let mut pause = ACCEPT_PAUSE.0;
    loop {
        while connections.try_join_next().is_some() {}
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = stop.cancelled() => break,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = ACCEPT_PAUSE.0;
                connections.spawn(connection(
                    (stream, peer),
                    router.clone(),
                    limits.clone(),
                    stop.clone(),
                    slot,
                ));
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections, trying again");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => break,
                }
                pause = (pause * 2).min(ACCEPT_PAUSE.1);
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(limits.shutdown, ended).await;
    let cut = connections.len();
    connections.shutdown().await;
    cut
}

/// Errors that concern the one connection that was being accepted.
fn is_of_the_peer(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Counts itself while it lives.
struct Counted(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Counted {
    fn new(slot: OwnedSemaphorePermit) -> Self {
        metrics::gauge!(metric::HTTP_CONNECTIONS).increment(1);
        Self(slot)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!(metric::HTTP_CONNECTIONS).decrement(1);
    }
}

async fn connection(
    (stream, peer): (TcpStream, SocketAddr),
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    slot: OwnedSemaphorePermit,
) {
    let _counted = Counted::new(slot);
    // Answers are small and written whole: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let unread = Unread::default();
    let fault = HeadFault::default();
    let of_requests = (ConnectInfo(peer), unread.clone(), fault.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (peer, unread, fault) = of_requests.clone();
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(unread);
        request.extensions_mut().insert(fault);
        Box::pin(router.clone().oneshot(request.map(Body::new)))
    });
    let io = TokioIo::new(Guarded::new(stream, limits.stall_timeout, fault));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(io, service);
    let mut stopping = false;
    let result = loop {
        tokio::select! {
            result = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break result,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    match result {
        Err(error) if error.is_timeout() => {
            metrics::counter!(metric::HTTP_CUT_OFF, "reason" => "head_too_slow").increment(1);
        }
        // Whatever else a peer does to its connection is its own affair; operations log their own errors.
        _ => {}
    }
    let stream = connection.into_parts().io.into_inner().into_stream();
    farewell(stream, unread.0.load(Ordering::Acquire)).await;
}

/// Ends our side, and, where the peer may still be sending, listens until it has heard.
async fn farewell(mut stream: TcpStream, still_sending: bool) {
    if stream.shutdown().await.is_err() || !still_sending {
        return;
    }
    let drain = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES;
        while let Ok(n) = stream.read(&mut buffer).await {
            left = left.saturating_sub(n);
            if n == 0 || left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drain).await;
}
