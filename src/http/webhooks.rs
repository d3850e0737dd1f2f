//! `POST /api/integrations/{connector}/webhook/{connection or organisation}`: a provider's deliveries.
//!
//! The answer says as little as it can: 200 when everything is stored, 400 for a signature or a body that is
//! not right, 404 for an endpoint that does not exist, 503 with `Retry-After` when we could not store. A
//! trouble of ours is never 4xx: providers do not come again after those.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use connector_sdk::{Clock, RawRequest};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::http::ApiError;
use crate::http::extract::{Named, RawBody};
use crate::http::openapi::{Access, In, Operation, Routes, Tag};
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
    /// How far a signed time may be from the arrival, in both directions.
    pub tolerance: Duration,
}

/// What a provider is told.
#[derive(Serialize, JsonSchema)]
struct Received {
    /// Always true: everything of the delivery is stored.
    received: bool,
}

/// Whom the query names, and what else providers put there.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it describes the query, which the connector reads with the signature over it")]
struct Team {
    /// The organisation's id, where the provider (PandaDoc) is told to send with it.
    #[serde(default)]
    team: Option<String>,
    /// The signature, where the provider (PandaDoc) puts it here.
    #[serde(default)]
    signature: Option<String>,
}

/// The routes.
pub fn routes() -> Routes<Webhooks> {
    let described = |path, id, summary| {
        Operation::post(path, id, summary)
            .about(
                "Answered when the delivery is stored durably; what it says is worked off afterwards. The same delivery \
                 again is answered the same and changes nothing.",
            )
            .tag(Tag::Webhooks)
            .access(Access::Signature)
            .parameter::<String>(In::Path, "connector", "The connector's name, `stripe` for one.")
            .raw_body("application/json")
            .answer::<Received>(200, "Stored.", json!({"received": true}))
            .codes(&["malformed", "not_found", "signature_refused"])
    };
    let to_one = "/api/integrations/{connector}/webhook/{connection}";
    let to_one = described(to_one, "receive_webhook", "A delivery for a connection").parameter::<String>(
        In::Path,
        "connection",
        "The connection's id, `con_…`; or, where a provider sends the events of several accounts to one address \
         (HubSpot), the organisation's: each event goes to the connection of the account that it names.",
    );
    let to_only = "/api/integrations/{connector}/webhook";
    let to_only = described(
        to_only,
        "receive_webhook_of_only_connection",
        "A delivery for the only connection, or for a team",
    )
    .query::<Team>();
    Routes::new().add(to_one, to_connection).add(to_only, to_only_connection)
}

async fn to_connection(
    State(webhooks): State<Webhooks>,
    Named((connector, connection)): Named<(String, String)>,
    method: Method,
    uri: OriginalUri,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, ApiError> {
    webhooks.take(&connector, Some(&connection), &method, &uri, &headers, &body).await
}

async fn to_only_connection(
    State(webhooks): State<Webhooks>,
    Named(connector): Named<String>,
    method: Method,
    uri: OriginalUri,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, ApiError> {
    webhooks.take(&connector, None, &method, &uri, &headers, &body).await
}

impl Webhooks {
    async fn take(
        &self,
        connector: &str,
        named: Option<&str>,
        method: &Method,
        uri: &OriginalUri,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Response, ApiError> {
        let path = uri.0.path_and_query().map_or("/", |p| p.as_str());
        let url = format!("{}{path}", self.public_url);
        let request = RawRequest {
            method: method.as_str(),
            url: &url,
            headers,
            body,
            received_at: self.clock.now(),
            tolerance: self.tolerance,
        };
        match self.inbox.accept(connector, named, &request).await {
            Ok(receipt) => {
                count(connector, "stored", receipt.stored);
                count(connector, "duplicate", receipt.duplicates);
                count(connector, "unknown_account", receipt.unknown);
                Ok((StatusCode::OK, axum::Json(Received { received: true })).into_response())
            }
            Err(refusal) => Err(refuse(connector, &refusal)),
        }
    }
}

/// When to come again after a trouble of ours.
const RETRY_SECONDS: u64 = 5;

fn refuse(connector: &str, refusal: &Refusal) -> ApiError {
    // The connector in the path is the sender's word until it is known to exist.
    let (label, outcome, error) = match refusal {
        Refusal::UnknownConnection => {
            ("unknown", "unknown", ApiError::not_found("there is no such endpoint"))
        }
        Refusal::Signature(_) => (
            connector,
            "bad_signature",
            ApiError::bad_request("signature_refused", "the signature is not right"),
        ),
        Refusal::Malformed(_) => {
            (connector, "malformed", ApiError::bad_request("malformed", "the body is not what was expected"))
        }
        Refusal::Unavailable(_) | Refusal::Broken(_) => {
            (connector, "unavailable", ApiError::unavailable(RETRY_SECONDS, refusal))
        }
    };
    count(label, outcome, 1);
    tracing::debug!(reason = %refusal, "a delivery was refused");
    error
}

fn count(connector: &str, outcome: &'static str, n: usize) {
    if n > 0 {
        metrics::counter!(metric::WEBHOOKS, "connector" => connector.to_owned(), "outcome" => outcome)
            .increment(n as u64);
    }
}
