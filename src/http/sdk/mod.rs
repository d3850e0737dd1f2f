//! The SDK API: paths, bodies and refusals of the reference.

pub mod auth;
pub mod caller;
pub mod chat_context;
pub mod token;
mod unique;

use std::sync::Arc;

use crate::attributes::Attributes;
use crate::domain::OrgId;
use crate::http::ApiError;
use crate::http::openapi::Routes;
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

/// The routes.
pub fn routes() -> Routes<Sdk> {
    Routes::new().add(chat_context::operation(), chat_context::handle)
}
