//! The ACME connector.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `config` | settings of a connection |
//! | `auth` | how a connection proves who it is |
//! | `client` | calls, and how the provider words a refusal |
//! | `streams` | what is read |
//! | `paging` | one page of a list, and where the next one begins |
//! | `session` | check, plan, pages, reads by id |
//! | `facts` | what an object means |

mod auth;
mod client;
mod config;
mod facts;
mod paging;
mod session;
mod streams;

use connector_sdk::{
    Connector, ConnectorError, Extract, FactsError, Io, RateBudget, Record, Role, Sample, Secrets, Session,
    Spec, WebhookSource,
};

pub use auth::SECRET;
pub use config::Config;

/// The version of the API that this is written against. Where the provider takes a version with each call, send it.
pub const API_VERSION: &str = "v1";

/// The connector; it holds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Acme;

impl Connector for Acme {
    type Config = Config;

    fn spec(&self) -> Spec {
        Spec {
            id: "acme",
            display_name: "ACME",
            role: Role::Billing,
            auth: vec![auth::kind()],
            api_version: API_VERSION,
            default_base_url: config::DEFAULT_BASE_URL,
            streams: streams::ALL.iter().map(|stream| stream.spec.clone()).collect(),
            feed: None,
            webhook_events: &[],
            // TODO: what the provider's page about rate limits says; the company's own programs share the limit.
            budget: RateBudget {
                live_per_second: 10.0,
                test_per_second: 10.0,
                per_endpoint_per_second: None,
                concurrency: 4,
            },
            config_schema: schemars::schema_for!(Config).to_value(),
            facts_version: facts::FACTS_VERSION,
        }
    }

    fn open(&self, config: Config, secrets: Secrets, io: Io) -> Result<Box<dyn Session>, ConnectorError> {
        Ok(Box::new(session::Reading::open(config, &secrets, io)?))
    }

    fn webhooks(&self) -> Option<&dyn WebhookSource> {
        None
    }

    fn facts(&self, record: &Record) -> Result<Extract, FactsError> {
        facts::facts(record)
    }

    fn samples(&self) -> &'static [Sample] {
        &[
            Sample { stream: "accounts", json: include_str!("../fixtures/accounts.json") },
            Sample { stream: "subscriptions", json: include_str!("../fixtures/subscriptions.json") },
        ]
    }
}
