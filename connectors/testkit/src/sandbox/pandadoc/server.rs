//! The HTTP side: authentication, limits, faults, counting, dispatch.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::documents::{self, Extraction};
use super::{Exchange, Inner, Refused, hooks, list, lock, stamp};
use crate::sandbox::faults::Fault;
use crate::sandbox::wire::{self, Wording};

/// No body that the API takes here is larger.
const LARGEST_BODY: usize = 1024 * 1024;
/// What a call comes to: a status and, where there is one, a body.
type Outcome = Result<(u16, Option<Value>), Refused>;

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

async fn handle(Shared(inner): Shared<Arc<Inner>>, request: Request) -> Result<Response, Infallible> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query = pairs(parts.uri.query().unwrap_or_default());
    let body = axum::body::to_bytes(body, LARGEST_BODY).await.unwrap_or_default();
    let operation = operation(&parts.method, &path);
    inner.arrivals.note(&operation);
    *lock(&inner.counts).entry(operation.clone()).or_default() += 1;
    let fault = inner.faults.take(&path);
    let asked = parts.uri.query().unwrap_or_default();
    if let Some(answer) = inner.oauth.answer(&parts.method, &path, asked, &body) {
        return Ok(match fault {
            Some(fault) => spoil(fault, answer).await,
            None => answer,
        });
    }
    let request: Option<Value> = serde_json::from_slice(&body).ok();
    let outcome = authenticate(&inner, &parts.headers, &path)
        .and_then(|()| limit(&inner, &operation))
        .and_then(|()| call(&inner, parts.method.as_str(), &path, &query, request.as_ref()));
    let answer = respond(&outcome);
    let mut answer = match fault {
        None => {
            if inner.options.journal {
                let (status, text) = written(&outcome);
                lock(&inner.journal).push(Exchange {
                    method: parts.method.as_str().to_owned(),
                    path,
                    query,
                    request,
                    status,
                    answer: text.cloned(),
                });
            }
            answer
        }
        Some(Fault::ThenWrite { method, path, form }) => {
            // Refused where a test asks for what cannot be: the document may have gone meanwhile.
            if let Err(refused) = call(&inner, method, &path, &[], Some(&form)) {
                tracing::debug!(%refused, "a write between two calls was refused");
            }
            answer
        }
        Some(fault) => spoil(fault, answer).await,
    };
    let date = inner.options.clock.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::from_str(&date) {
        answer.headers_mut().insert(header::DATE, date);
    }
    Ok(answer)
}

/// Query parameters, decoded.
fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
        })
        .collect()
}

/// Percent escapes undone.
fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut n = 0;
    while let Some(&byte) = bytes.get(n) {
        let code = bytes.get(n + 1..n + 3).filter(|_| byte == b'%').and_then(|hex| {
            let hex = std::str::from_utf8(hex).ok()?;
            u8::from_str_radix(hex, 16).ok()
        });
        out.push(code.unwrap_or(byte));
        n += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `GET /public/v1/documents/:id/details`
fn operation(method: &Method, path: &str) -> String {
    let words =
        ["public", "v1", "v2", "beta", "details", "status", "current", "shared-key", "linked-objects"];
    let collections = ["documents", "members", "webhook-subscriptions", "webhook-events", "ai-metadata"];
    let mut out = method.as_str().to_owned();
    out.push(' ');
    for segment in path.trim_start_matches('/').split('/') {
        let known = words.contains(&segment) || collections.contains(&segment);
        out.push('/');
        out.push_str(if known { segment } else { ":id" });
    }
    out
}

fn authenticate(inner: &Inner, headers: &HeaderMap, path: &str) -> Result<(), Refused> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let options = &inner.options;
    let good = given == format!("API-Key {}", options.api_key)
        || given == format!("Bearer {}", options.access_token)
        || given.strip_prefix("Bearer ").is_some_and(|token| inner.oauth.accepts(token));
    if good && !*lock(&inner.revoked) {
        return Ok(());
    }
    // With what was sent in the sentence, as careless servers answer.
    let sentence = format!("Invalid credentials: {given}");
    // The one operation whose refusal has its sentence a level deeper, as PandaDoc's file has it.
    let detail = match path.ends_with("/members/current") {
        true => json!({ "message": sentence }),
        false => json!(sentence),
    };
    Err(Refused::new(401, "authentication_error", detail))
}

fn limit(inner: &Inner, operation: &str) -> Result<(), Refused> {
    let options = &inner.options;
    let own = options.details_limit.filter(|_| operation.ends_with("/details"));
    let Some((most, within)) = own.or(options.limit) else { return Ok(()) };
    let mut recent = lock(&inner.recent);
    let calls = recent.entry(operation.to_owned()).or_default();
    if !calls.has_room(most as usize, within) {
        *lock(&inner.refused) += 1;
        return Err(Refused::new(429, "throttled", "Request was throttled."));
    }
    calls.take();
    Ok(())
}

fn allow(inner: &Inner, collection: &str) -> Result<(), Refused> {
    match lock(&inner.forbidden).contains(collection) {
        true => {
            Err(Refused::new(403, "permissions_error", "You do not have permission to perform this action."))
        }
        false => Ok(()),
    }
}

pub(super) fn call(
    inner: &Inner,
    method: &str,
    path: &str,
    query: &[(String, String)],
    body: Option<&Value>,
) -> Outcome {
    let segments: Vec<String> = path.trim_start_matches('/').split('/').map(decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["public", version, rest @ ..] = segments.as_slice() else { return Err(Refused::missing()) };
    allow(inner, rest.first().copied().unwrap_or_default())?;
    let null = Value::Null;
    let body = body.unwrap_or(&null);
    let mut state = lock(&inner.state);
    let now = |state: &mut super::State| state.now(&*inner.options.clock);
    match (method, *version, rest) {
        ("GET", "v1", ["members", "current"]) => Ok((200, Some(member(inner)))),
        ("GET", "v1", ["documents"]) => Ok((200, Some(list::list(&state.documents, query)?))),
        ("POST", "v1", ["documents"]) => {
            let at = now(&mut state);
            let made = documents::create(&mut state, body, at);
            let answer = json!({
                "id": made["id"], "name": made["name"], "status": "document.uploaded",
                "date_created": made["date_created"], "date_modified": made["date_modified"],
                "expiration_date": null, "version": "2",
            });
            Ok((201, Some(answer)))
        }
        ("GET", "v1", ["documents", id]) => {
            Ok((200, Some(state.documents.find(id).ok_or_else(Refused::missing)?.row())))
        }
        ("DELETE", "v1", ["documents", id]) => {
            let at = now(&mut state);
            documents::delete(&mut state, id, at)?;
            Ok((204, None))
        }
        ("PATCH", "v1", ["documents", id, "status"]) => {
            let at = now(&mut state);
            documents::set_status(&mut state, id, &body["status"], at)?;
            Ok((204, None))
        }
        ("GET", "v1", ["documents", id, "details"]) => {
            let document = state.documents.find(id).ok_or_else(Refused::missing)?;
            if document.is_unmade() {
                return Err(Refused {
                    status: 409,
                    body: json!({"id": id, "status": document.text("status"), "info_message": "Processing happens asynchronously."}),
                });
            }
            Ok((200, Some(document.details.clone())))
        }
        ("POST", "beta", ["documents", "ai-metadata"]) => extracted(inner, &state, body),
        (_, "v1", ["webhook-subscriptions", path @ ..]) => {
            hooks::subscriptions(&mut state, &inner.options.workspace, method, path, body)
        }
        ("GET", "v1", ["webhook-events", path @ ..]) => hooks::events(&state, path, query),
        _ => Err(Refused::missing()),
    }
}

fn member(inner: &Inner) -> Value {
    let since = stamp(chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(19_000));
    json!({
        "user_id": "FA5QAu8UGA3oVDDZuPL75B", "membership_id": "RyMNXBjBPRppi56TfYBrXi", "email": "owner@sandbox.example",
        "first_name": "Panda", "last_name": "Owner", "is_active": true, "workspace": inner.options.workspace,
        "workspace_name": inner.options.name, "email_verified": true, "role": "Admin", "user_license": "Full",
        "date_created": since, "date_modified": since,
    })
}

fn extracted(inner: &Inner, state: &super::State, body: &Value) -> Outcome {
    if *lock(&inner.no_extraction) {
        return Err(Refused {
            status: 403,
            body: json!({"type": "permissions_error", "detail": "Not in this plan."}),
        });
    }
    let bad = || Refused { status: 400, body: json!({"code": "bad_request", "details": []}) };
    let ids = body["document_ids"].as_array().filter(|ids| (1..=40).contains(&ids.len())).ok_or_else(bad)?;
    let mut results = Vec::new();
    for (n, id) in ids.iter().enumerate() {
        let text = id.as_str().filter(|id| id.len() <= 22).ok_or_else(bad)?;
        if ids.iter().take(n).any(|other| other == id) {
            return Err(bad());
        }
        let described =
            |status: &str| json!({"document_id": id, "status": status, "description": "In other words."});
        results.push(match state.documents.find(text).map(|document| &document.extraction) {
            None => described("not_found"),
            Some(Extraction::NotStarted) => described("extraction_not_started"),
            Some(Extraction::Pending) => {
                json!({"document_id": id, "status": "extraction_pending", "retry_after": 5, "description": "Being made."})
            }
            Some(Extraction::Done(fields)) => {
                let count = fields.as_array().map_or(0, Vec::len);
                json!({"document_id": id, "status": "ok", "ai_metadata": {"count": count, "results": fields}})
            }
        });
    }
    Ok((200, Some(json!({ "count": results.len(), "results": results }))))
}

fn written(outcome: &Outcome) -> (u16, Option<&Value>) {
    match outcome {
        Ok((status, body)) => (*status, body.as_ref()),
        Err(refused) => (refused.status, Some(&refused.body)),
    }
}

fn respond(outcome: &Outcome) -> Response {
    let (status, body) = written(outcome);
    let mut response = Response::new(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    if status != 204 {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

async fn spoil(fault: Fault, answer: Response) -> Response {
    let wording = Wording {
        refuse: |status| {
            let (kind, detail) = match status {
                429 => ("throttled", "Request was throttled."),
                _ => ("error", "An error on our side."),
            };
            respond(&Err(Refused::new(status, kind, detail)))
        },
        error: json!({"type": "error", "detail": "no"}).to_string(),
        // A list alone has items; the extracted data of a document stands below `count`.
        items: "results",
        undecodable: r#"{"name":"undecodable","id":{"not":"a text"}}"#,
    };
    wire::spoil(fault, answer, wording).await
}
