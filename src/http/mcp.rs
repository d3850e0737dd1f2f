//! `POST /api/mcp`: the MCP server over streamable HTTP.
//!
//! Stateless: no session, every answer is one JSON document, so any process behind a load balancer answers any
//! request. A server key is needed; a request with an `Origin` comes from a browser and is refused, which is the
//! protocol's rule against DNS rebinding, too. What is wrong with a request as HTTP is a problem document, what is
//! wrong with its message a JSON-RPC error.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest as _, FromRequestParts as _, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderName, StatusCode};
use http_body_util::{BodyExt as _, Full};
use rmcp::model::ClientJsonRpcMessage;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Value, json};

use super::ApiError;
use super::extract::RawBody;
use super::openapi::Routes;
use super::sdk::{Caller, Sdk};
use crate::mcp::Agent;

/// The reference's path.
const PATH: &str = "/api/mcp";

/// The route.
pub fn routes() -> Routes<Sdk> {
    Routes::new().plain(PATH, post(handle), "the Model Context Protocol describes itself")
}

async fn handle(State(sdk): State<Sdk>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    // Who asks comes before what is asked: a stranger's body is not read.
    let caller = match Caller::from_request_parts(&mut parts, &sdk).await {
        Ok(caller) => caller,
        Err(error) => return refused(error, &parts.headers),
    };
    if let Err(error) = caller.need_server() {
        return error.into_response();
    }
    let bytes = match RawBody::from_request(Request::new(body), &()).await {
        Ok(RawBody(bytes)) => bytes,
        Err(error) => return error.into_response(),
    };
    if let Some(fault) = fault(&bytes) {
        return fault;
    }
    let prompt = match sdk.prompt_of(caller.org()).await {
        Ok(prompt) => prompt,
        Err(error) => return error.into_response(),
    };
    let agent = Agent::new(sdk.store.clone(), prompt, caller.org().clone());
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(bytes.len())
        // Names that this installation is reached under are its operator's; the key and the refusal of every
        // Origin keep browsers out.
        .disable_allowed_hosts()
        .enforce_origin_validation();
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(agent.clone()), sessions, config);
    answer(service.handle(http::Request::from_parts(parts, Full::new(bytes))).await).await
}

/// The refusal, with what RFC 6750 and the protocol's authorization part want of a 401: how to authenticate, and
/// whether what was sent is the trouble.
fn refused(error: ApiError, headers: &HeaderMap) -> Response {
    if error.status() != StatusCode::UNAUTHORIZED {
        return error.into_response();
    }
    let challenge = if headers.contains_key(http::header::AUTHORIZATION) {
        r#"Bearer realm="halo-sync", error="invalid_token""#
    } else {
        r#"Bearer realm="halo-sync""#
    };
    let challenge: [(HeaderName, HeaderValue); 1] = [(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))];
    let mut response = error.into_response();
    response.headers_mut().extend(challenge);
    response
}

/// What is no message of the protocol, answered as JSON-RPC answers it.
fn fault(bytes: &[u8]) -> Option<Response> {
    let message: Value = match serde_json::from_slice(bytes) {
        Ok(message) => message,
        Err(error) => return Some(rpc_error(None, -32700, &format!("not JSON: {error}"))),
    };
    let Value::Object(members) = &message else {
        let wrong = match message {
            Value::Array(_) => "batches are not part of the protocol: send one message a request",
            _ => "a JSON-RPC message is an object",
        };
        return Some(rpc_error(None, -32600, wrong));
    };
    if members.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Some(rpc_error(None, -32600, "jsonrpc: \"2.0\" is expected"));
    }
    let id = members.get("id").filter(|id| id.is_string() || id.is_i64() || id.is_u64());
    if members.contains_key("id") && id.is_none() {
        return Some(rpc_error(None, -32600, "id: a string or a whole number is expected"));
    }
    let wrong = match (members.get("method"), members.contains_key("result") || members.contains_key("error"))
    {
        (Some(Value::String(_)), false) => match serde_json::from_slice::<ClientJsonRpcMessage>(bytes) {
            Ok(_) => return None,
            Err(_) => "params: an object is expected, and an object in its _meta",
        },
        (Some(Value::String(_)), true) => "a request has neither result nor error",
        (Some(_), _) => "method: a string is expected",
        (None, true) => "nothing was asked that this could answer",
        (None, false) => "method is missing",
    };
    Some(rpc_error(id, -32600, wrong))
}

fn rpc_error(id: Option<&Value>, code: i64, message: &str) -> Response {
    let body = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } });
    (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// The library's answer. What it says as plain text becomes a problem document, as everywhere below `/api`.
async fn answer<B>(response: http::Response<B>) -> Response
where
    B: http_body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    let status = response.status();
    let is_message = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/json"));
    if status.is_success() || is_message {
        return response.map(Body::new);
    }
    let (parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(never) => match never {},
    };
    let detail = String::from_utf8_lossy(&bytes).into_owned();
    let error = match status {
        StatusCode::NOT_ACCEPTABLE => ApiError::new(status, "not_acceptable", "Not acceptable"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            ApiError::new(status, "unsupported_media_type", "Unsupported media type")
        }
        StatusCode::FORBIDDEN => ApiError::new(status, "forbidden", "Forbidden"),
        status if status.is_client_error() => ApiError::new(status, "bad_request", "Bad request"),
        _ => return ApiError::internal(&std::io::Error::other(detail)).into_response(),
    };
    let mut response = error.detail(detail).into_response();
    for (name, value) in &parts.headers {
        if *name == http::header::ALLOW {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}
