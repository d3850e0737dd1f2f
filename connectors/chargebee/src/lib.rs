//! The Chargebee connector: customers, subscriptions, invoices and payments of one Chargebee site (product catalog 2.0).
//!
//! Written against the pages "Error handling and rate limits", "Pagination", "Customers", "Item prices", "Coupons",
//! "Subscriptions", "Contract terms", "Invoices", "Transactions" and "Items" of apidocs.chargebee.com, API version 2.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `config` | settings of a connection |
//! | `auth` | how a connection proves who it is |
//! | `client` | calls, and how Chargebee words a refusal |
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

/// The version of the API, which is a part of every path.
pub const API_VERSION: &str = "v2";

/// The connector; it holds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chargebee;

impl Connector for Chargebee {
    type Config = Config;

    fn spec(&self) -> Spec {
        Spec {
            id: "chargebee",
            display_name: "Chargebee",
            role: Role::Billing,
            auth: vec![auth::kind()],
            api_version: API_VERSION,
            default_base_url: config::ANY_SITE,
            streams: streams::ALL.iter().map(|stream| stream.spec.clone()).collect(),
            feed: None,
            // Chargebee signs no delivery (it offers basic authentication alone), and an unsigned one proves nothing.
            webhook_events: &[],
            // "Error handling and rate limits": 150 calls a minute for a test site and the smallest plan. The company's
            // own programs share them, so a fifth is left to them; refusals slow a larger plan down never below it.
            budget: RateBudget {
                live_per_second: 2.0,
                test_per_second: 2.0,
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
            Sample { stream: "customers", json: include_str!("../fixtures/customers.json") },
            Sample { stream: "item_prices", json: include_str!("../fixtures/item_prices.json") },
            Sample { stream: "coupons", json: include_str!("../fixtures/coupons.json") },
            Sample { stream: "subscriptions", json: include_str!("../fixtures/subscriptions.json") },
            Sample { stream: "invoices", json: include_str!("../fixtures/invoices.json") },
            Sample { stream: "transactions", json: include_str!("../fixtures/transactions.json") },
        ]
    }
}
