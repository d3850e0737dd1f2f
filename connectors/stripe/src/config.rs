//! Settings of a Stripe connection: what is read, and where from. The secret key is no setting.

use chrono::{DateTime, Utc};
use connector_sdk::ConnectorError;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// Where Stripe's API lives.
pub(crate) const DEFAULT_BASE_URL: &str = "https://api.stripe.com";

/// Settings of a Stripe connection.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the API; `http` is taken for this machine alone.
    pub base_url: String,
    /// The connected account to read (`acct_…`, sent as `Stripe-Account`), for a platform's key.
    pub account: Option<String>,
    /// Invoices, charges, refunds, disputes and balance transactions created before this instant are not read
    /// by a listing. Lifetime value then counts from here.
    pub created_since: Option<DateTime<Utc>>,
    /// How many ranges of creation time of one stream a backfill reads at once, each with its own
    /// checkpoint; 1 reads a stream from its end to its start.
    #[schemars(range(min = 1, max = 64))]
    pub partitions: u8,
    /// Objects a page, 1 to 100 (Stripe's own limit).
    #[schemars(range(min = 1, max = 100))]
    pub page_size: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_url: DEFAULT_BASE_URL.to_owned(),
            account: None,
            created_since: None,
            partitions: 4,
            page_size: 100,
        }
    }
}

impl Config {
    /// The checks that types cannot make; gives the parsed base URL.
    pub(crate) fn validate(&self) -> Result<Url, ConnectorError> {
        if !(1..=64).contains(&self.partitions) {
            return Err(ConnectorError::Config("partitions: must be 1 to 64".to_owned()));
        }
        if !(1..=100).contains(&self.page_size) {
            return Err(ConnectorError::Config("page_size: must be 1 to 100".to_owned()));
        }
        if let Some(account) = &self.account {
            let plain = account.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !account.starts_with("acct_") || !plain {
                return Err(ConnectorError::Config("account: must look like acct_123".to_owned()));
            }
        }
        connector_sdk::http::base_url(&self.base_url)
    }
}
