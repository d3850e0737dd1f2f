//! The SDK API: paths, bodies and refusals of the reference.

pub mod auth;
pub mod chat_context;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::ApiError;
use crate::context::AttributeInfo;
use crate::store::Store;

/// What the routes need.
#[derive(Clone)]
pub struct Sdk {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Who calls.
    pub keys: Arc<auth::Keys>,
    /// How the prompt is printed.
    pub prompt: Arc<PromptSettings>,
}

/// How the prompt is printed, unless a request says otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptSettings {
    /// Descriptions, and what is kept out of the prompt.
    pub attributes: Vec<AttributeInfo>,
    /// Tokens that the text may take; `None` for no limit.
    pub budget_tokens: Option<usize>,
    /// ISO 4217 code for plain numbers in `mrr` and `arr`.
    pub reporting_currency: Option<String>,
}

/// The routes.
pub fn routes(sdk: Sdk) -> Router {
    Router::new().route("/api/sdk/chat/context", post(chat_context::handle)).with_state(sdk)
}

/// A refusal in the reference's shape: `{"error": …}`, with a stable `code` added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SdkError {
    status: StatusCode,
    code: &'static str,
    error: String,
}

impl SdkError {
    /// A refusal.
    pub fn new(status: StatusCode, code: &'static str, error: impl Into<String>) -> Self {
        Self { status, code, error: error.into() }
    }

    /// 400.
    pub fn bad_request(code: &'static str, error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, error)
    }
}

impl IntoResponse for SdkError {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        ApiError::new(self.status, self.code, title).detail(self.error).into_response()
    }
}

impl From<crate::store::StoreError> for SdkError {
    fn from(error: crate::store::StoreError) -> Self {
        tracing::error!(%error, "a request could not be answered");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "try_again", "the store is not available at the moment")
    }
}
