//! The SDK API: paths, bodies and refusals of the reference.

mod answers;
pub mod auth;
mod bulk;
pub mod caller;
pub mod chat;
mod chat_body;
pub mod chat_context;
mod chat_view;
mod companies;
mod config;
mod context;
pub mod conversations;
mod deletion;
pub mod events;
pub mod tickets;
pub mod token;
mod unique;
mod users;

use std::sync::Arc;

use axum::routing::{delete, get, post};

use crate::chat::Chat;
use crate::context::AttributeInfo;
use crate::http::openapi::Routes;
use crate::product::{Author, Product};
use crate::store::Store;

pub use caller::{Caller, Voice};

/// What the routes need.
#[derive(Clone)]
pub struct Sdk {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Who calls.
    pub keys: Arc<auth::Keys>,
    /// Writes users and companies.
    pub product: Product,
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

/// In whose voice a body's values are written.
fn author(voice: Voice) -> Author {
    Author { rank: voice.rank, claims: voice.claims, ..Author::server() }
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
        .plain("/api/sdk/users/identify", post(users::identify), "TODO")
        .plain("/api/sdk/users/update", post(users::update), "TODO")
        .plain("/api/sdk/users/delete", post(deletion::named_user), "TODO")
        .plain("/api/sdk/users/{user_id}", delete(deletion::user), "TODO")
        .plain("/api/sdk/companies/identify", post(companies::identify), "TODO")
        .plain("/api/sdk/companies/update", post(companies::update), "TODO")
        .plain("/api/sdk/companies/delete", post(deletion::named_company), "TODO")
        .plain("/api/sdk/companies/{company_id}", delete(deletion::company), "TODO")
        .plain("/api/sdk/context/set", post(context::set), "TODO")
        .plain("/api/sdk/context/clear", post(context::clear), "TODO")
        .plain("/api/sdk/config", get(config::show), "TODO")
}
