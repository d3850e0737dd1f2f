//! The SDK API: paths, bodies and refusals of the reference.

pub mod auth;
pub mod caller;
pub mod chat;
mod chat_body;
pub mod chat_context;
mod chat_view;
pub mod conversations;
pub mod events;
pub mod tickets;
pub mod token;
mod unique;

use std::sync::Arc;

use crate::chat::Chat;
use crate::context::AttributeInfo;
use crate::http::openapi::Routes;
use crate::store::Store;

pub use caller::{Caller, Voice};

/// What the routes need.
#[derive(Clone)]
pub struct Sdk {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Who calls.
    pub keys: Arc<auth::Keys>,
    /// How the prompt is printed.
    pub prompt: Arc<PromptSettings>,
    /// Who answers chats.
    pub chat: Arc<Chat>,
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

impl PromptSettings {
    /// Tells these settings from any others.
    fn stamp(&self) -> String {
        serde_json::to_string(&(&self.attributes, self.budget_tokens, &self.reporting_currency))
            .unwrap_or_default()
    }
}

/// The routes.
pub fn routes() -> Routes<Sdk> {
    Routes::new()
        .add(chat_context::operation(), chat_context::handle)
        .add(chat::operation(), chat::handle)
        .add(chat::stream_operation(), chat::stream)
        .add(conversations::operation(), conversations::handle)
        .add(tickets::create_operation(), tickets::create)
        .add(tickets::update_operation(), tickets::update)
        .add(events::operation(), events::handle)
}
