//! `POST /api/integrations/{connector}/webhook/{connection}`: a provider's deliveries.
//!
//! The answer says as little as it can: 200 when everything is stored, 400 for a signature or a body that is
//! not right, 404 for an endpoint that does not exist, 503 with `Retry-After` when we could not store. A
//! trouble of ours is never 4xx: providers do not come again after those.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{OriginalUri, Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use connector_sdk::{Clock, RawRequest};
use serde_json::json;

use crate::domain::ConnectionId;
use crate::telemetry::metric;
use crate::webhooks::inbox::{Inbox, Refusal};

/// What the routes need.
#[derive(Clone)]
pub struct Webhooks {
    /// Verifies and stores.
    pub inbox: Arc<Inbox>,
    /// Stamps arrivals.
    pub clock: Arc<dyn Clock>,
    /// The address that providers know us by, without a trailing slash; signatures may cover it.
    pub public_url: Arc<str>,
}

/// The routes.
pub fn routes(webhooks: Webhooks) -> Router {
    Router::new()
        .route("/api/integrations/{connector}/webhook/{connection}", post(to_connection))
        .route("/api/integrations/{connector}/webhook", post(to_only_connection))
        .with_state(webhooks)
}

async fn to_connection(
    State(webhooks): State<Webhooks>,
    Path((connector, connection)): Path<(String, String)>,
    method: Method,
    uri: OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let connection = ConnectionId(connection);
    webhooks.take(&connector, &connection, &method, &uri, &headers, &body).await
}

async fn to_only_connection(
    State(webhooks): State<Webhooks>,
    Path(connector): Path<String>,
    method: Method,
    uri: OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match webhooks.inbox.only_connection(&connector).await {
        Ok(connection) => webhooks.take(&connector, &connection, &method, &uri, &headers, &body).await,
        Err(refusal) => refuse(&connector, &refusal),
    }
}

impl Webhooks {
    async fn take(
        &self,
        connector: &str,
        connection: &ConnectionId,
        method: &Method,
        uri: &OriginalUri,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Response {
        let path = uri.0.path_and_query().map_or("/", |p| p.as_str());
        let url = format!("{}{path}", self.public_url);
        let request =
            RawRequest { method: method.as_str(), url: &url, headers, body, received_at: self.clock.now() };
        match self.inbox.accept(connector, connection, &request).await {
            Ok(receipt) => {
                count(connector, "stored", receipt.stored);
                count(connector, "duplicate", receipt.duplicates);
                (StatusCode::OK, axum::Json(json!({ "received": true }))).into_response()
            }
            Err(refusal) => refuse(connector, &refusal),
        }
    }
}

fn refuse(connector: &str, refusal: &Refusal) -> Response {
    let (status, code, outcome) = match refusal {
        Refusal::UnknownConnection => (StatusCode::NOT_FOUND, "unknown_endpoint", "unknown"),
        Refusal::Signature(_) => (StatusCode::BAD_REQUEST, "signature_refused", "bad_signature"),
        Refusal::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed", "malformed"),
        Refusal::Unavailable(_) | Refusal::Broken(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "try_again", "unavailable")
        }
    };
    // The connector in the path is the sender's word until it is known to exist.
    let label = if matches!(refusal, Refusal::UnknownConnection) { "unknown" } else { connector };
    count(label, outcome, 1);
    if status.is_server_error() {
        tracing::error!(error = %refusal, "a delivery could not be stored");
    } else {
        tracing::debug!(reason = %refusal, "a delivery was refused");
    }
    let mut response = (status, axum::Json(json!({ "error": reason(status), "code": code }))).into_response();
    if status.is_server_error() {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
    }
    response
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("error")
}

fn count(connector: &str, outcome: &'static str, n: usize) {
    if n > 0 {
        metrics::counter!(metric::WEBHOOKS, "connector" => connector.to_owned(), "outcome" => outcome)
            .increment(n as u64);
    }
}
