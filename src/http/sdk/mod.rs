//! The SDK API: paths, bodies and refusals of the reference.

pub mod auth;
pub mod caller;
pub mod chat_context;
pub mod rates;
pub mod token;
mod unique;

use std::sync::Arc;

use crate::context::AttributeInfo;
use crate::http::openapi::Routes;
use crate::store::Store;

pub use caller::{Anybody, Caller, Voice};

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
pub fn routes() -> Routes<Sdk> {
    Routes::new().add(chat_context::operation(), chat_context::handle)
}
