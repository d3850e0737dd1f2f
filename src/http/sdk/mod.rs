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
pub mod rates;
pub mod tickets;
pub mod token;
mod unique;
mod users;

use std::sync::Arc;

use crate::attributes::Attributes;
use crate::chat::Chat;
use crate::domain::OrgId;
use crate::http::ApiError;
use crate::http::openapi::Routes;
use crate::product::{Author, Product};
use crate::store::Store;

pub use crate::context::PromptSettings;
pub use caller::{Anybody, Caller, Voice};

/// What the routes need.
#[derive(Clone)]
pub struct Sdk {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Who calls.
    pub keys: Arc<auth::Keys>,
    /// Writes users and companies.
    pub product: Product,
    /// How the prompt is printed where an organisation says nothing ([`Self::prompt_of`]).
    pub prompt: Arc<PromptSettings>,
    /// Who answers chats.
    pub chat: Arc<Chat>,
    /// What is seen, and what organisations say about it.
    pub attributes: Arc<Attributes>,
}

impl Sdk {
    /// How an organisation's prompts are printed: what it says itself over what the settings file says.
    ///
    /// # Errors
    ///
    /// 503 when the store does not answer.
    pub async fn prompt_of(&self, org: &OrgId) -> Result<Arc<PromptSettings>, ApiError> {
        let prompt = self.attributes.prompt(org, &self.prompt).await;
        prompt.map_err(|e| ApiError::unavailable(auth::RETRY_SECONDS, &e))
    }
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
    Author { rank: voice.rank, claims: voice.claims, verified: voice.verified, ..Author::server() }
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
        .merge(users::routes())
        .merge(companies::routes())
        .merge(context::routes())
        .merge(deletion::routes())
        .add(config::operation(), config::show)
}
