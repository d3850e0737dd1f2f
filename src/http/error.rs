//! Errors of the API.
//!
//! One type, two forms: `/api/sdk/*` answers what the clients of the reference know
//! (`{"error", "code", "request_id"}` and members such as `reserved_keys`), everything else answers
//! `application/problem+json` (RFC 9457) with `code`, `errors`, `hint` and `request_id`. Operations return
//! [`ApiError`]; the form is chosen by the path, once, in [`super::observe`].

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Paths below here answer in the reference's form.
const SDK_PATH: &str = "/api/sdk";

/// Why a request is not done.
#[derive(Debug, Clone)]
pub struct ApiError(Box<Parts>);

/// Boxed: an error is rare and large, what it stands in for is common and small.
#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Option<String>,
    errors: Vec<FieldError>,
    hint: Option<String>,
    retry_after_seconds: Option<u64>,
    extra: Map<String, Value>,
    close: bool,
    logged: Option<String>,
}

/// One wrong member of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON Pointer to the member.
    pub pointer: String,
    /// Stable name of the mistake.
    pub code: &'static str,
    /// What is wrong, and what to send instead.
    pub detail: String,
}

impl ApiError {
    /// An error with a stable `code` and a title that is the same for every occurrence.
    pub fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self(Box::new(Parts {
            status,
            code,
            title,
            detail: None,
            errors: Vec::new(),
            hint: None,
            retry_after_seconds: None,
            extra: Map::new(),
            close: false,
            logged: None,
        }))
    }

    /// 400: the request is not what the operation takes.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, "Bad request").detail(detail)
    }

    /// 401: no key, or one that is not known. Does not say which.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "Unauthorized")
            .detail("no valid API key was sent")
    }

    /// 403: the key may not do this.
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, "Forbidden").detail(detail)
    }

    /// 404. Say the same for what does not exist and for what is another organisation's.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found").detail(detail)
    }

    /// 503 with `Retry-After`: try later; nothing was kept.
    pub fn unavailable(retry_after_seconds: u64, cause: &dyn std::error::Error) -> Self {
        let mut own = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable");
        own.0.retry_after_seconds = Some(retry_after_seconds);
        own.0.logged = Some(chain(cause));
        own
    }

    /// 500. The cause is logged with the request's id; the client sees the id only.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        let mut own = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error");
        own.0.logged = Some(chain(cause));
        own
    }

    pub(super) fn panicked() -> Self {
        let mut own = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error");
        own.0.logged = Some("the operation panicked".to_owned());
        own
    }

    /// Adds what is particular to this occurrence.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds a wrong member.
    #[must_use]
    pub fn field(
        mut self,
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        self.0.errors.push(FieldError { pointer: pointer.into(), code, detail: detail.into() });
        self
    }

    /// Adds a member of the body that clients of the reference know (`reserved_keys`).
    #[must_use]
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0.extra.insert(member.to_owned(), value.into());
        self
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    /// Ends the connection after the answer: what is left of the request is not read.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.0.close = true;
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable name.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The cause for the log, where the client is not told.
    pub(super) fn logged(&self) -> Option<&str> {
        self.0.logged.as_deref()
    }

    /// The answer, in the form of the path.
    pub(super) fn render(&self, path: &str, request_id: &str) -> Response {
        let (kind, body) = if is_sdk_path(path) {
            ("application/json", self.sdk(request_id))
        } else {
            ("application/problem+json", self.problem(path, request_id))
        };
        let mut response = (self.0.status, Value::Object(body).to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(seconds) = self.0.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.0.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn sdk(&self, request_id: &str) -> Map<String, Value> {
        let mut body = self.0.extra.clone();
        let error = self.0.detail.as_deref().unwrap_or(self.0.title);
        body.insert("error".to_owned(), error.into());
        body.insert("code".to_owned(), self.0.code.into());
        body.insert("request_id".to_owned(), request_id.into());
        body
    }

    fn problem(&self, path: &str, request_id: &str) -> Map<String, Value> {
        let mut body = self.0.extra.clone();
        // No page of ours explains a type yet, and RFC 9457 has a word for that.
        body.insert("type".to_owned(), "about:blank".into());
        body.insert("title".to_owned(), self.0.title.into());
        body.insert("status".to_owned(), self.0.status.as_u16().into());
        body.insert("code".to_owned(), self.0.code.into());
        if let Some(detail) = &self.0.detail {
            body.insert("detail".to_owned(), detail.as_str().into());
        }
        if !self.0.errors.is_empty() {
            body.insert("errors".to_owned(), json!(self.0.errors));
        }
        if let Some(hint) = &self.0.hint {
            body.insert("hint".to_owned(), hint.as_str().into());
        }
        body.insert("instance".to_owned(), path.into());
        body.insert("request_id".to_owned(), request_id.into());
        body
    }
}

/// Whether a path's clients know errors in the reference's form.
pub(super) fn is_sdk_path(path: &str) -> bool {
    path == SDK_PATH || path.strip_prefix(SDK_PATH).is_some_and(|rest| rest.starts_with('/'))
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Many errors print their cause themselves; it is said once.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

impl IntoResponse for ApiError {
    /// The error, carried along for `observe`, which knows path and request id and renders it again; the body
    /// here is for a router without the base around it.
    fn into_response(self) -> Response {
        let mut response = self.render("", "");
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn rendered(error: &ApiError, path: &str) -> (http::response::Parts, Value) {
        let (parts, body) = error.render(path, "req_1").into_parts();
        let bytes = to_bytes(body, 100_000).await.unwrap();
        (parts, serde_json::from_slice(&bytes).unwrap())
    }

    fn reserved() -> ApiError {
        ApiError::bad_request("reserved_traits", "2 traits are set by the server")
            .field("/traits/team_size", "reserved", "is computed")
            .hint("Remove them.")
            .with("reserved_keys", json!(["team_size", "created_at"]))
    }

    #[tokio::test]
    async fn our_paths_get_a_problem() {
        let (parts, body) = rendered(&reserved(), "/api/v1/companies").await;
        assert_eq!(parts.status, 400);
        assert_eq!(parts.headers["content-type"], "application/problem+json");
        assert_eq!(
            body,
            json!({"type": "about:blank", "title": "Bad request", "status": 400, "code": "reserved_traits",
                   "detail": "2 traits are set by the server", "hint": "Remove them.",
                   "errors": [{"pointer": "/traits/team_size", "code": "reserved", "detail": "is computed"}],
                   "reserved_keys": ["team_size", "created_at"],
                   "instance": "/api/v1/companies", "request_id": "req_1"})
        );
    }

    #[tokio::test]
    async fn the_sdk_paths_get_the_references_form() {
        let (parts, body) = rendered(&reserved(), "/api/sdk/companies/identify").await;
        assert_eq!(parts.headers["content-type"], "application/json");
        assert_eq!(
            body,
            json!({"error": "2 traits are set by the server", "code": "reserved_traits",
                   "reserved_keys": ["team_size", "created_at"], "request_id": "req_1"})
        );
        let (parts, _) = rendered(&reserved(), "/api/sdkish").await;
        assert_eq!(parts.headers["content-type"], "application/problem+json");
    }

    #[tokio::test]
    async fn a_cause_is_for_the_log_only() {
        let cause = std::io::Error::other("postgres://u:hunter2@h/d refused");
        let error = ApiError::internal(&cause);
        assert_eq!(error.logged(), Some("postgres://u:hunter2@h/d refused"));
        let (_, body) = rendered(&error, "/api/v1/x").await;
        assert!(!body.to_string().contains("hunter2"));
        let (parts, _) = rendered(&ApiError::unavailable(7, &cause), "/api/v1/x").await;
        assert_eq!(parts.headers["retry-after"], "7");
    }
}
