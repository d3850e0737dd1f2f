//! Settings of a connection: what is read, and where from. Secrets are no settings.

use connector_sdk::ConnectorError;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::paging::PAGE_SIZES;

/// Where the API lives.
pub(crate) const DEFAULT_BASE_URL: &str = "https://api.example.com";

/// Settings of a connection.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the API; `http` is taken for this machine alone.
    pub base_url: String,
    /// Objects a page, 20 to 100.
    #[schemars(range(min = 20, max = 100))]
    pub page_size: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self { base_url: DEFAULT_BASE_URL.to_owned(), page_size: 100 }
    }
}

impl Config {
    /// The checks that types cannot make; gives the parsed base URL.
    pub(crate) fn validate(&self) -> Result<Url, ConnectorError> {
        if !PAGE_SIZES.contains(&self.page_size) {
            return Err(ConnectorError::Config("page_size: must be 20 to 100".to_owned()));
        }
        connector_sdk::http::base_url(&self.base_url)
    }
}
