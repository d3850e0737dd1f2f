//! The SDK API: paths, bodies and refusals of the reference.

mod answers;
pub mod auth;
mod bulk;
pub mod caller;
pub mod chat_context;
mod companies;
mod config;
mod context;
mod deletion;
pub mod token;
mod unique;
mod users;

use std::sync::Arc;

use crate::attributes::Attributes;
use crate::domain::OrgId;
use crate::http::ApiError;
use crate::http::openapi::Routes;
use crate::product::{Author, Product};
use crate::store::Store;

pub use crate::context::PromptSettings;
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
    /// How the prompt is printed where an organisation says nothing ([`Self::prompt_of`]).
    pub prompt: Arc<PromptSettings>,
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

/// In whose voice a body's values are written.
fn author(voice: Voice) -> Author {
    Author { rank: voice.rank, claims: voice.claims, verified: voice.verified, ..Author::server() }
}

/// The routes.
pub fn routes() -> Routes<Sdk> {
    Routes::new()
        .add(chat_context::operation(), chat_context::handle)
        .merge(users::routes())
        .merge(companies::routes())
        .merge(context::routes())
        .merge(deletion::routes())
        .add(config::operation(), config::show)
}
