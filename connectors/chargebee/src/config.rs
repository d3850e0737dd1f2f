//! Settings of a connection: what is read, and where from. Secrets are no settings.

use connector_sdk::{ConnectorError, Mode};
use schemars::JsonSchema;
use serde::Deserialize;
use url::{Host, Url};

use crate::paging::PAGE_SIZES;

/// Where the API of a site lives.
pub(crate) const ANY_SITE: &str = "https://{site}.chargebee.com";
const DOMAIN: &str = ".chargebee.com";
/// What the names of test sites end with.
const TEST: &str = "-test";

/// Settings of a Chargebee connection.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The site: the first part of its address (`acme`, or `acme-test` for its test site). Needed, unless `base_url` is
    /// given.
    pub site: Option<String>,
    /// Address of the API, where it is not the site's own; `http` is taken for this machine alone.
    pub base_url: Option<String>,
    /// Objects a page, 1 to 100 (Chargebee's own limit).
    #[schemars(range(min = 1, max = 100))]
    pub page_size: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self { site: None, base_url: None, page_size: 100 }
    }
}

impl Config {
    /// The checks that types cannot make; gives the parsed base URL.
    pub(crate) fn validate(&self) -> Result<Url, ConnectorError> {
        let wrong = |text: &str| Err(ConnectorError::Config(text.to_owned()));
        if !PAGE_SIZES.contains(&self.page_size) {
            return wrong("page_size: must be 1 to 100");
        }
        if let Some(site) = &self.site {
            let plain = site.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if site.is_empty() || !plain || site.starts_with('-') || site.ends_with('-') {
                return wrong(
                    "site: must be the first part of the site's address, as acme in acme.chargebee.com",
                );
            }
        }
        match (&self.base_url, &self.site) {
            (Some(url), _) => connector_sdk::http::base_url(url),
            (None, Some(site)) => connector_sdk::http::base_url(&ANY_SITE.replace("{site}", site)),
            (None, None) => wrong("site: missing; it is the first part of the site's address"),
        }
    }
}

/// Whether a site is live, as its address says: no call does.
pub(crate) fn mode(base: &Url) -> Mode {
    let site = match base.host() {
        Some(Host::Domain(name)) => name.strip_suffix(DOMAIN),
        _ => None,
    };
    match site {
        Some(site) if !site.ends_with(TEST) => Mode::Live,
        _ => Mode::Test,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_its_address_and_its_mode() {
        let of = |site: &str| Config { site: Some(site.to_owned()), ..Config::default() }.validate();
        assert_eq!(of("acme").unwrap().as_str(), "https://acme.chargebee.com/");
        assert_eq!(mode(&of("acme").unwrap()), Mode::Live);
        assert_eq!(mode(&of("acme-test").unwrap()), Mode::Test);
        assert_eq!(mode(&Url::parse("http://127.0.0.1:1").unwrap()), Mode::Test);
        for bad in ["", "acme.example", "acme/", "-a", "a-", "Acme", "a@b"] {
            assert!(matches!(of(bad), Err(ConnectorError::Config(_))), "{bad}");
        }
        assert!(matches!(Config::default().validate(), Err(ConnectorError::Config(_))));
    }
}
