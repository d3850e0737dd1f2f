//! The HTTP side: authentication, faults, counting, dispatch.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use tokio::net::TcpListener;

use super::read::{self, Refusal};
use super::store::{KINDS, Kind};
use super::{API_VERSION, Inner, form, lock, render, shapes};
use crate::sandbox::faults::Fault;
use crate::sandbox::wire::{self, Wording, json as json_response};

/// Bodies of writes are forms; none is larger.
const LARGEST_FORM: usize = 1024 * 1024;

/// Stripe keeps an event for 30 days.
const EVENTS_KEPT: i64 = 30 * 86_400;

pub(super) async fn serve(listener: TcpListener, inner: Arc<Inner>) {
    let app = Router::new().fallback(handle).with_state(inner);
    // Small answers must not wait for the acknowledgement of the ones before.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
    });
    if let Err(error) = axum::serve(listener, app).await {
        tracing::warn!(%error, "the sandbox stopped");
    }
}

async fn handle(State(inner): State<Arc<Inner>>, request: Request) -> Result<Response, Infallible> {
    let _answering = Answering::begin(&inner);
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let mut query = form::pairs(parts.uri.query().unwrap_or_default());
    if *lock(&inner.ignores_ranges) {
        query.retain(|(name, _)| !name.starts_with("created"));
    }
    let body = axum::body::to_bytes(body, LARGEST_FORM).await.unwrap_or_default();
    let operation = operation(&parts.method, &path);
    inner.arrivals.note(&operation);
    *lock(&inner.counts).entry(operation.clone()).or_default() += 1;
    let within = lock(&inner.spent).take(&operation);
    if parts.method == Method::GET
        && parts.headers.get("stripe-version").map(HeaderValue::as_bytes) != Some(API_VERSION.as_bytes())
    {
        lock(&inner.unpinned).push(operation);
    }
    let fault = inner.faults.take(&path);
    if let Err(why) = within {
        let mut answer = too_many();
        answer.headers_mut().insert("stripe-rate-limited-reason", HeaderValue::from_static(why));
        return Ok(answer);
    }
    let answer = match answer(&inner, &parts.method, &parts.headers, &path, &query, &body) {
        Ok(text) => json_response(StatusCode::OK, text),
        Err(refusal) => refused(&refusal),
    };
    Ok(match fault {
        None => answer,
        Some(Fault::ThenWrite { method, path, form }) => {
            // Refused where a test asks for what cannot be: the object may have gone meanwhile.
            if let Err(refusal) = inner.write(|cx| cx.call(method, &segments_of(&path), &form)) {
                tracing::debug!(message = refusal.message, "a write between two calls was refused");
            }
            answer
        }
        Some(fault) => spoil(fault, answer).await,
    })
}

/// The segments below `/v1`.
pub(super) fn segments_of(path: &str) -> Vec<&str> {
    path.strip_prefix("/v1/").unwrap_or(path).split('/').collect()
}

/// A call that is being answered.
struct Answering(Arc<Inner>);

impl Answering {
    fn begin(inner: &Arc<Inner>) -> Self {
        let mut at_once = lock(&inner.at_once);
        at_once.0 += 1;
        at_once.1 = at_once.1.max(at_once.0);
        drop(at_once);
        Self(Arc::clone(inner))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        lock(&self.0.at_once).0 -= 1;
    }
}

/// `GET /v1/customers/:id`
fn operation(method: &Method, path: &str) -> String {
    let mut out = method.as_str().to_owned();
    out.push(' ');
    let mut known = true;
    for (n, segment) in path.trim_start_matches('/').split('/').enumerate() {
        // Segments alternate: version, collection, id, sub-collection.
        known = if n < 2 { true } else { !known };
        out.push('/');
        out.push_str(if known { segment } else { ":id" });
    }
    out
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    json_response(status, refusal.body())
}

fn answer(
    inner: &Inner,
    method: &Method,
    headers: &HeaderMap,
    path: &str,
    query: &[(String, String)],
    body: &Bytes,
) -> Result<String, Refusal> {
    authenticate(inner, headers)?;
    let Some(path) = path.strip_prefix("/v1/") else {
        return Err(Refusal::unknown_url(method.as_str(), path));
    };
    let segments: Vec<String> = path.split('/').map(decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let first = segments.first().copied().unwrap_or_default();
    if lock(&inner.not_offered).contains(first) {
        return Err(Refusal::unknown_url(method.as_str(), &format!("/v1/{path}")));
    }
    allow(inner, first)?;
    if let ["webhook_endpoints", rest @ ..] = segments.as_slice() {
        let form = form::tree(&form::pairs(&String::from_utf8_lossy(body)));
        let (id, now) = (rest.first().copied(), inner.options.clock.now().timestamp());
        let answer = lock(&inner.hooks).call(method.as_str(), id, &form, query, now, inner.live());
        return answer.map(|answer| answer.to_string());
    }
    if *method != Method::GET {
        let form = form::tree(&form::pairs(&String::from_utf8_lossy(body)));
        return inner.write(|cx| cx.call(method.as_str(), &segments, &form)).map(|v| v.to_string());
    }
    if let Some((_, path)) = query.iter().find(|(name, _)| name.starts_with("expand"))
        && *lock(&inner.refuses_expansion)
    {
        return Err(Refusal::invalid("expand", format!("This property cannot be expanded ({path}).")));
    }
    let mut store = lock(&inner.store);
    if first == Kind::Events.path() {
        store.of_mut(Kind::Events).forget_before(inner.options.clock.now().timestamp() - EVENTS_KEPT);
    }
    match segments.as_slice() {
        ["account"] => {
            let options = &inner.options;
            Ok(shapes::account(&options.account, inner.created, &options.name).to_string())
        }
        ["subscription_items"] => {
            let id = query.iter().find(|(n, _)| n == "subscription").map(|(_, v)| v.as_str());
            let id =
                id.ok_or_else(|| Refusal::invalid("subscription", "Missing required param: subscription."))?;
            read::nested(&store, (Kind::Subscriptions, id), "items", query)
        }
        ["plans", id] => {
            let price =
                store.find(Kind::Prices, id).ok_or_else(|| Refusal::missing(Kind::Prices, id, "id"))?;
            Ok(render::plan(&render::value(&store, Kind::Prices, &price.doc(), &[])).to_string())
        }
        ["customers", id, "payment_methods"] => {
            let mut query = query.to_vec();
            query.push(("customer".to_owned(), (*id).to_owned()));
            read::list(&store, Kind::PaymentMethods, &query)
        }
        ["invoices", id, "lines"] => read::nested(&store, (Kind::Invoices, id), "lines", query),
        [kind] => match Kind::of_path(kind) {
            Some(kind) => read::list(&store, kind, query),
            None => Err(Refusal::unknown_url("GET", &format!("/v1/{path}"))),
        },
        [kind, id] => match Kind::of_path(kind) {
            Some(kind) => read::retrieve(&store, kind, id, query),
            None => Err(Refusal::unknown_url("GET", &format!("/v1/{path}"))),
        },
        _ => Err(Refusal::unknown_url("GET", &format!("/v1/{path}"))),
    }
}

fn decoded(segment: &str) -> String {
    // A plus sign in a path is a plus sign.
    form::pairs(&segment.replace('+', "%2B").replace('=', "%3D").replace('&', "%26"))
        .into_iter()
        .next()
        .map(|(name, _)| name)
        .unwrap_or_default()
}

fn authenticate(inner: &Inner, headers: &HeaderMap) -> Result<(), Refusal> {
    let unauthorized = |message: String| Refusal {
        status: 401,
        kind: "invalid_request_error",
        message,
        ..Refusal::default()
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let Some(key) = given.strip_prefix("Bearer ") else {
        return Err(unauthorized(
            "You did not provide an API key. You need to provide your API key in the Authorization header."
                .to_owned(),
        ));
    };
    if key != inner.options.api_key || *lock(&inner.revoked) {
        // Like Stripe, but with the whole key: a client must not let it through.
        return Err(unauthorized(format!("Invalid API Key provided: {key}")));
    }
    Ok(())
}

fn allow(inner: &Inner, path: &str) -> Result<(), Refusal> {
    if !lock(&inner.forbidden).contains(path) {
        return Ok(());
    }
    let permission = match path {
        "webhook_endpoints" => "rak_webhook_write",
        path => KINDS
            .into_iter()
            .find(|k| k.path() == path)
            .map_or("rak_accounts_kyc_basic_read", Kind::permission),
    };
    Err(Refusal {
        status: 403,
        kind: "invalid_request_error",
        code: Some("secret_key_required"),
        message: format!(
            "The provided key does not have the required permissions for this endpoint on account '{}'. \
             Having the '{permission}' permission would allow this request to continue.",
            inner.options.account
        ),
        ..Refusal::default()
    })
}

fn too_many() -> Response {
    refused(&Refusal {
        status: 429,
        kind: "invalid_request_error",
        code: Some("rate_limit"),
        message: "Too many requests.".to_owned(),
        ..Refusal::default()
    })
}

async fn spoil(fault: Fault, answer: Response) -> Response {
    let wording = Wording {
        refuse: |status| match status {
            429 => too_many(),
            status => refused(&Refusal {
                status,
                kind: "api_error",
                message: "An error on our side.".to_owned(),
                ..Refusal::default()
            }),
        },
        error: json!({"error": {"type": "api_error", "message": "no"}}).to_string(),
        items: "data",
        undecodable: r#"{"object":"undecodable","id":{"not":"a text"}}"#,
    };
    wire::spoil(fault, answer, wording).await
}
