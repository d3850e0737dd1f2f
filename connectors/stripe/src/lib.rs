//! The Stripe connector: customers, catalogue, subscriptions and money of one Stripe account.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `config` | settings of a connection |
//! | `client` | calls: pinned version, key, how Stripe words a refusal |
//! | `streams` | one file a stream |
//! | `feed` | the list of events: what changed since a cursor |
//! | `session` | check, plan, pages, reads by id |
//! | `cursor` | where a read stands |
//! | `webhook` | signatures, and which objects an event names |
//! | `facts` | what an object means |

mod client;
mod config;
mod cursor;
pub mod facts;
mod feed;
mod object;
mod session;
mod splice;
mod streams;
mod webhook;

use connector_sdk::{
    AuthKind, Connector, ConnectorError, Extract, FactsError, Io, RateBudget, Record, Role, Secrets, Session,
    Spec, WebhookSource,
};

pub use client::API_VERSION;
pub use config::Config;
pub use webhook::sign;

/// Name of the secret that holds the API key.
pub const API_KEY: &str = "api_key";

/// The connector; it holds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stripe;

impl Connector for Stripe {
    type Config = Config;

    fn spec(&self) -> Spec {
        Spec {
            id: "stripe",
            display_name: "Stripe",
            role: Role::Billing,
            auth: vec![AuthKind::ApiKey {
                help: "Dashboard, Developers, API keys: a restricted key (rk_…) with read access to \
                       customers, products, prices, coupons, tax rates, subscriptions, invoices, charges, \
                       disputes, the balance and events, or a secret key (sk_…).",
            }],
            api_version: API_VERSION,
            default_base_url: config::DEFAULT_BASE_URL,
            streams: streams::ALL.iter().map(|s| s.spec.clone()).collect(),
            feed: Some(feed::SPEC),
            webhook_events: webhook::EVENTS,
            // docs.stripe.com/rate-limits: 100 calls a second live, 25 in a sandbox, 25 on any one
            // endpoint. The company's own programs share these, so a fifth is left to them.
            budget: RateBudget {
                live_per_second: 80.0,
                test_per_second: 20.0,
                per_endpoint_per_second: Some(20.0),
                concurrency: 16,
            },
            config_schema: schemars::schema_for!(Config).to_value(),
            facts_version: facts::FACTS_VERSION,
        }
    }

    fn open(&self, config: Config, secrets: Secrets, io: Io) -> Result<Box<dyn Session>, ConnectorError> {
        let key = secrets.require(API_KEY)?.clone();
        Ok(Box::new(session::StripeSession::open(config, key, io)?))
    }

    fn webhooks(&self) -> Option<&dyn WebhookSource> {
        Some(&webhook::Webhooks)
    }

    fn facts(&self, record: &Record) -> Result<Extract, FactsError> {
        facts::facts(record)
    }
}
