//! A small provider server for a connector's own tests.
//!
//! The author writes an [`Api`]: what each call is answered with. The rest is here: a listener on the loopback, faults
//! in every way that the conformance suite asks for, a journal of the calls.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State as Shared};
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;
use tokio::net::TcpListener;

use super::faults::{Fault, Faults};
use super::wire;

/// No request that a connector makes here is larger.
const LARGEST_BODY: usize = 1024 * 1024;

/// A call, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Upper-case method.
    pub method: String,
    /// The path's segments; an escaped slash is part of its segment.
    pub path: Vec<String>,
    /// Query parameters in order.
    pub query: Vec<(String, String)>,
    /// Headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Asked {
    /// The first query parameter of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A query parameter that is a whole number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<usize> {
        self.parameter(name)?.parse().ok()
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers beside the content type.
    pub headers: Vec<(HeaderName, String)>,
    /// The JSON body.
    pub body: Value,
}

impl Reply {
    /// A JSON body with that status.
    #[must_use]
    pub fn json(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// What a provider answers.
pub trait Api: Send + Sync + 'static {
    /// The answer to a call.
    fn answer(&self, call: &Asked) -> Reply;

    /// The error body that the provider sends with that status.
    fn error(&self, status: u16) -> Value;

    /// The member of a list's answer that holds the items: where [`Fault::BadItem`] puts one that is no object of the
    /// stream.
    fn items(&self) -> &'static str;
}

/// A running server. It stops when it is dropped.
pub struct Loopback<A> {
    api: Arc<A>,
    base_url: String,
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Inner {
    faults: Faults,
    calls: Mutex<Vec<Asked>>,
}

struct Served<A> {
    api: Arc<A>,
    inner: Arc<Inner>,
}

impl<A> Clone for Served<A> {
    fn clone(&self) -> Self {
        Self { api: self.api.clone(), inner: self.inner.clone() }
    }
}

impl<A: Api> Loopback<A> {
    /// Starts on a free port.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn start(api: A) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let base_url = format!("http://{}", listener.local_addr()?);
        let (api, inner) = (Arc::new(api), Arc::new(Inner::default()));
        let served = Served { api: api.clone(), inner: inner.clone() };
        let app = Router::new().fallback(handle::<A>).with_state(served);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::warn!(%error, "the sandbox stopped");
            }
        });
        Ok(Self { api, base_url, inner, task })
    }

    /// The provider behind it.
    pub fn api(&self) -> &A {
        &self.api
    }

    /// Its address, without a trailing slash.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The faults that wait for their calls.
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// The calls so far, and forgets them.
    pub fn take_calls(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.inner.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<A> Drop for Loopback<A> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle<A: Api>(Shared(served): Shared<Served<A>>, request: Request) -> Result<Response, Infallible> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LARGEST_BODY).await.unwrap_or_default();
    let raw_path = parts.uri.path().to_owned();
    let asked = Asked {
        method: parts.method.as_str().to_owned(),
        path: raw_path.trim_start_matches('/').split('/').map(decoded).collect(),
        query: url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect(),
        headers: parts.headers,
        body,
    };
    let fault = served.inner.faults.take(&raw_path);
    served.inner.calls.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
    let reply = served.api.answer(&asked);
    Ok(match fault {
        None => respond(&reply),
        Some(fault) => spoil(&*served.api, fault, reply).await,
    })
}

/// Percent escapes undone, in one segment.
fn decoded(segment: &str) -> String {
    // A form's decoding, but for the plus sign, which stands for itself in a path.
    let form = segment.replace('+', "%2B");
    url::form_urlencoded::parse(form.as_bytes()).next().map(|(text, _)| text.into_owned()).unwrap_or_default()
}

fn respond(reply: &Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = wire::json(status, reply.body.to_string());
    for (name, value) in &reply.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().append(name.clone(), value);
        }
    }
    response
}

async fn spoil<A: Api>(api: &A, fault: Fault, mut reply: Reply) -> Response {
    let text = reply.body.to_string();
    let half = Bytes::from(text.as_bytes()[..text.len() / 2].to_vec());
    match fault {
        Fault::TooManyRequests { retry_after } => {
            let mut refusal = Reply::json(429, api.error(429));
            refusal.headers.extend(retry_after.map(|value| (header::RETRY_AFTER, value)));
            respond(&refusal)
        }
        Fault::Status(status) => respond(&Reply::json(status, api.error(status))),
        Fault::CutBody => wire::cut(respond(&reply), text.len(), half),
        Fault::NoBody => wire::cut(respond(&reply), text.len(), Bytes::new()),
        Fault::Html => wire::raw("text/html", "<!doctype html><html><body>502 Bad Gateway</body></html>"),
        Fault::Garbage => wire::raw("application/json", Bytes::from_static(&[0xff, 0xfe, 0x00, 0x80, 0x1b])),
        Fault::TruncatedJson => respond(&reply).map(|_| Body::from(half)),
        Fault::ErrorWith200 => respond(&Reply::json(200, api.error(500))),
        Fault::Stall => std::future::pending().await,
        Fault::Slow(by) => {
            tokio::time::sleep(by).await;
            respond(&reply)
        }
        // The author's own tests change the objects themselves.
        Fault::ThenWrite { .. } => respond(&reply),
        Fault::Doubled | Fault::Reversed => {
            let body = wire::rearranged(&fault, Bytes::from(text), api.items());
            respond(&reply).map(|_| Body::from(body))
        }
        Fault::BadItem => {
            if let Some(items) = reply.body.get_mut(api.items()).and_then(Value::as_array_mut) {
                items.insert(0, serde_json::json!({"id": {"not": "a text"}, "undecodable": true}));
            }
            respond(&reply)
        }
    }
}
