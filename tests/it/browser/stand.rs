//! A server that pages meet in place of the program: it serves the SDK's files, keeps what it is sent, and answers
//! as it is told, also by letting the program answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::response::Response;
use halo_sync::http::browser;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How long what a page does is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A call that came.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// Behind `/api/sdk`.
    pub(super) path: String,
    pub(super) body: Value,
    pub(super) key: String,
}

/// What is answered next.
#[derive(Debug, Clone)]
pub(super) enum Next {
    /// This.
    Say(u16, &'static [(&'static str, &'static str)], Value),
    /// An answer that the page may not read, which to it is a broken network.
    Unreadable,
    /// Nothing, for as long as the page lives.
    Hang,
}

/// A page's headers and text.
type Page = (Vec<(&'static str, String)>, String);

#[derive(Default)]
struct Kept {
    calls: Vec<Call>,
    next: VecDeque<Next>,
    pages: BTreeMap<String, Page>,
    behind: Option<String>,
}

#[derive(Clone)]
pub(super) struct Stand {
    kept: Arc<Mutex<Kept>>,
    client: reqwest::Client,
    /// Where the SDK and its API are.
    pub(super) api: String,
    /// Where pages are: another origin.
    pub(super) site: String,
}

impl Stand {
    pub(super) async fn start() -> Self {
        connector_testkit::install_crypto();
        let (first, second) = (listener().await, listener().await);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let stand = Self { kept: Arc::default(), client, api: address(&first), site: address(&second) };
        let router = Router::new()
            .route("/api/sdk/{*path}", axum::routing::any(api))
            .route("/pages/{name}", axum::routing::get(page))
            .with_state(stand.clone())
            .merge(browser::routes().into_router());
        for listener in [first, second] {
            let router = router.clone();
            tokio::spawn(async move { axum_serve(listener, router).await });
        }
        stand
    }

    /// Calls that nothing was planned for are from now on answered by the server there.
    pub(super) fn before(&self, address: String) {
        self.kept.lock().unwrap().behind = Some(address);
    }

    /// A page; its address.
    pub(super) fn page(&self, name: &str, html: &str) -> String {
        self.page_with(name, &[("content-type", "text/html; charset=utf-8")], html)
    }

    /// Something with headers; its address.
    pub(super) fn page_with(&self, name: &str, headers: &[(&'static str, &str)], text: &str) -> String {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.kept.lock().unwrap().pages.insert(name.to_owned(), (headers, text.to_owned()));
        format!("{}/pages/{name}", self.site)
    }

    /// A page with the script tag and what it runs after it.
    pub(super) fn plain(&self, name: &str, script: &str) -> String {
        let html = format!(
            "<!doctype html><title>{name}</title><script src=\"{}/sdk/v1.js\"></script><script>{script}</script>",
            self.api
        );
        self.page(name, &html)
    }

    /// The next calls are answered with these.
    pub(super) fn plan(&self, next: impl IntoIterator<Item = Next>) {
        self.kept.lock().unwrap().next.extend(next);
    }

    /// What came so far.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.kept.lock().unwrap().calls.clone()
    }

    /// Their paths.
    pub(super) fn paths(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.path).collect()
    }

    /// Waits until so many have come.
    pub(super) async fn until(&self, count: usize) -> Vec<Call> {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let calls = self.calls();
            if calls.len() >= count {
                return calls;
            }
            assert!(tokio::time::Instant::now() < end, "{count} calls do not come: {calls:#?}");
            tokio::time::sleep(crate::support::program::LOOK).await;
        }
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap()
}

fn address(listener: &TcpListener) -> String {
    format!("http://{}", listener.local_addr().unwrap())
}

/// With the program's own accept loop: the one that pages will meet.
async fn axum_serve(listener: TcpListener, router: Router) {
    let stop = tokio_util::sync::CancellationToken::new();
    halo_sync::http::server::serve(listener, router, halo_sync::http::Limits::default(), stop).await;
}

async fn page(State(stand): State<Stand>, Path(name): Path<String>) -> Response {
    let Some((headers, text)) = stand.kept.lock().unwrap().pages.get(&name).cloned() else {
        return Response::builder().status(404).body(Body::empty()).unwrap();
    };
    let builder = headers.iter().fold(Response::builder(), |all, (name, value)| all.header(*name, value));
    builder.body(Body::from(text)).unwrap()
}

/// As permissive as the reference.
fn cors(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-headers", "authorization, content-type"),
        ("access-control-allow-methods", "POST"),
        ("access-control-expose-headers", "retry-after"),
        ("access-control-max-age", "600"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    response
}

async fn api(State(stand): State<Stand>, Path(path): Path<String>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let behind = stand.kept.lock().unwrap().behind.clone();
    if head.method == Method::OPTIONS {
        return match behind {
            Some(address) => forward(&stand.client, &address, &head, bytes).await,
            None => cors(Response::builder().status(204).body(Body::empty()).unwrap()),
        };
    }
    let key = head.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let next = {
        let mut kept = stand.kept.lock().unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        kept.calls.push(Call { path: format!("/{path}"), body, key: key.to_owned() });
        kept.next.pop_front()
    };
    match (next, behind) {
        (Some(Next::Say(status, headers, body)), _) => {
            let builder = headers
                .iter()
                .fold(Response::builder().status(status), |all, (name, value)| all.header(*name, *value));
            cors(builder.body(Body::from(body.to_string())).unwrap())
        }
        (Some(Next::Unreadable), _) => Response::new(Body::empty()),
        (Some(Next::Hang), _) => std::future::pending().await,
        (None, Some(address)) => forward(&stand.client, &address, &head, bytes).await,
        (None, None) => cors(
            Response::builder().status(200).body(Body::from(json!({"success": true}).to_string())).unwrap(),
        ),
    }
}

async fn forward(
    client: &reqwest::Client,
    address: &str,
    head: &http::request::Parts,
    body: Bytes,
) -> Response {
    let mut headers = head.headers.clone();
    headers.remove("host");
    let url = format!("{address}{}", head.uri.path());
    let sent = client.request(head.method.clone(), url).headers(headers).body(body).send().await;
    let Ok(answer) = sent else {
        return Response::builder().status(StatusCode::BAD_GATEWAY).body(Body::empty()).unwrap();
    };
    let (status, headers): (_, HeaderMap) = (answer.status(), answer.headers().clone());
    let mut response = Response::new(Body::from(answer.bytes().await.unwrap_or_default()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
