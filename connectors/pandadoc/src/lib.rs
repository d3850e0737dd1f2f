//! The PandaDoc connector: the documents of one workspace, as agreements with their dates and people.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `config` | settings of a connection |
//! | `client` | calls: key or token, how PandaDoc words a refusal |
//! | `cursor` | where a read stands |
//! | `walk` | from page to page of a list that has no cursor of its own |
//! | `record` | what a document's record is made of |
//! | `session` | check, plan, pages, reads by id, subscriptions, what changed since |
//! | `webhook` | signatures, and which documents an event names |
//! | `facts` | what a document means |

mod client;
mod config;
mod cursor;
pub mod facts;
mod record;
mod session;
mod walk;
mod webhook;

use connector_sdk::{
    AuthKind, Connector, ConnectorError, Extract, FactsError, Io, RateBudget, Record, Role, Secrets, Session,
    Spec, StreamSpec, WebhookSource,
};

pub use client::API_VERSION;
pub use config::{Config, Fields};
pub use webhook::sign;

/// Name of the secret that holds an API key.
pub const API_KEY: &str = "api_key";
/// Name of the secret that holds an OAuth access token. Where both are there, the token is used.
pub const ACCESS_TOKEN: &str = "access_token";
/// The one stream. A document is its own party: one agreement, with one company behind it.
pub const DOCUMENTS: &str = "documents";

/// What PandaDoc's own words for the right to read are.
pub(crate) const READ: &str = "read";

pub(crate) const STREAM: StreamSpec = StreamSpec {
    name: DOCUMENTS,
    about: "Documents with recipients, fields, pricing, links to other tools and extracted contract data.",
    permission: Some(READ),
    incremental: true,
    party: true,
    full_pass_deletes: true,
    feed: false,
    order: 0,
};

/// The connector; it holds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct PandaDoc;

impl Connector for PandaDoc {
    type Config = Config;

    fn spec(&self) -> Spec {
        Spec {
            id: "pandadoc",
            display_name: "PandaDoc",
            role: Role::Signature,
            auth: vec![
                AuthKind::OAuth2 {
                    authorize_url: "https://app.pandadoc.com/oauth2/authorize",
                    token_url: "https://api.pandadoc.com/oauth2/access_token",
                    // None is documented: a person ends the grant in PandaDoc's own settings.
                    revoke_url: None,
                    scopes: &["read", "write"],
                },
                AuthKind::ApiKey {
                    help: "Developer dashboard, API keys: a production key of the workspace, or a sandbox key \
                           together with the setting sandbox.",
                },
            ],
            api_version: API_VERSION,
            default_base_url: config::DEFAULT_BASE_URL,
            streams: vec![STREAM],
            feed: None,
            webhook_events: webhook::EVENTS,
            // PandaDoc counts each operation by itself, and each call names its own rate. All of them together are the
            // details, and beside them the list and what comes with it.
            budget: RateBudget {
                live_per_second: 12.0,
                test_per_second: 0.5,
                per_endpoint_per_second: None,
                concurrency: 8,
            },
            config_schema: schemars::schema_for!(Config).to_value(),
            facts_version: facts::FACTS_VERSION,
        }
    }

    fn open(&self, config: Config, secrets: Secrets, io: Io) -> Result<Box<dyn Session>, ConnectorError> {
        Ok(Box::new(session::PandaDocSession::open(config, &secrets, io)?))
    }

    fn webhooks(&self) -> Option<&dyn WebhookSource> {
        Some(&webhook::Webhooks)
    }

    fn facts(&self, record: &Record) -> Result<Extract, FactsError> {
        facts::facts(record)
    }

    fn is_partial(&self, record: &Record) -> bool {
        record::is_partial(record)
    }

    fn completed(&self, record: &Record, stored: &str) -> Option<Record> {
        record::completed(record, stored)
    }
}
