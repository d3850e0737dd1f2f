//! The HubSpot connector: companies, contacts, deals, tickets and engagements of one portal.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `config` | settings of a connection |
//! | `client` | calls: paths by API version, token, quotas, how HubSpot words a refusal |
//! | `streams` | what is read, by which properties, associated with what |
//! | `session` | check, pages, reads by id, one company whole |
//! | `links` | associations, from lists and from batches |
//! | `object` | from the text of an answer to records |
//! | `cursor` | where a read stands |
//! | `webhook` | signatures, and which objects an event names |
//! | `facts` | what an object means |

mod client;
mod config;
mod cursor;
pub mod facts;
mod links;
mod object;
mod session;
mod streams;
mod webhook;

use connector_sdk::{
    AuthKind, Connector, ConnectorError, Extract, FactsError, Io, RateBudget, Record, Role, Secrets, Session,
    Spec, WebhookSource,
};

pub use client::API_VERSION;
pub use config::Config;

/// Name of the secret that holds the token: that of a private app or of OAuth.
pub const ACCESS_TOKEN: &str = "access_token";
/// Where a token is kept that an operator pasted.
const API_KEY: &str = "api_key";

/// The scopes that the streams need, as OAuth asks for them.
const SCOPES: &[&str] = &[
    "oauth",
    "crm.objects.companies.read",
    "crm.objects.contacts.read",
    "crm.objects.deals.read",
    "crm.objects.line_items.read",
    "crm.objects.owners.read",
    "crm.schemas.companies.read",
    "crm.schemas.contacts.read",
    "crm.schemas.deals.read",
    "sales-email-read",
    "tickets",
];

/// The connector; it holds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct HubSpot;

impl Connector for HubSpot {
    type Config = Config;

    fn spec(&self) -> Spec {
        Spec {
            id: "hubspot",
            display_name: "HubSpot",
            role: Role::Crm,
            auth: vec![
                AuthKind::OAuth2 {
                    authorize_url: "https://app.hubspot.com/oauth/authorize",
                    token_url: "https://api.hubapi.com/oauth/2026-03/token",
                    revoke_url: Some("https://api.hubapi.com/oauth/2026-03/token/revoke"),
                    scopes: SCOPES,
                },
                AuthKind::ApiKey {
                    help: "Settings, Integrations, Private Apps: an access token (pat-…) with the read scopes of \
                           companies, contacts, deals, line items, owners and tickets.",
                },
            ],
            api_version: API_VERSION,
            default_base_url: config::DEFAULT_BASE_URL,
            streams: streams::ALL.iter().map(|s| s.spec.clone()).collect(),
            feed: None,
            webhook_events: webhook::EVENTS,
            // developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines: 110 calls in 10 seconds for
            // an OAuth app, more for private apps, which the headers say.
            budget: RateBudget {
                live_per_second: 10.0,
                test_per_second: 10.0,
                per_endpoint_per_second: None,
                concurrency: 8,
            },
            config_schema: schemars::schema_for!(Config).to_value(),
            facts_version: facts::FACTS_VERSION,
        }
    }

    fn open(&self, config: Config, secrets: Secrets, io: Io) -> Result<Box<dyn Session>, ConnectorError> {
        let token = match secrets.0.get(API_KEY) {
            Some(pasted) if !secrets.0.contains_key(ACCESS_TOKEN) => pasted,
            _ => secrets.require(ACCESS_TOKEN)?,
        };
        Ok(Box::new(session::HubSpotSession::open(config, token.clone(), io)?))
    }

    fn webhooks(&self) -> Option<&dyn WebhookSource> {
        Some(&webhook::Webhooks)
    }

    fn facts(&self, record: &Record) -> Result<Extract, FactsError> {
        facts::facts(record)
    }
}
