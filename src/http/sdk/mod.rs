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
pub mod rates;
pub mod token;
mod unique;
mod users;

use std::sync::Arc;

use crate::context::AttributeInfo;
use crate::http::openapi::Routes;
use crate::product::{Author, Product};
use crate::store::Store;

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
