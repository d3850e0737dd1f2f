//! Settings of a HubSpot connection: what is read, and where from. The token is no setting.

use std::collections::BTreeMap;

use connector_sdk::ConnectorError;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::client::API_VERSION;
use crate::streams::{self, Reads};

/// Where HubSpot's API lives.
pub(crate) const DEFAULT_BASE_URL: &str = "https://api.hubapi.com";

/// Settings of a HubSpot connection.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the API; `http` is taken for this machine alone.
    pub base_url: String,
    /// Version of the API: a date (`2026-03`), or `v3` for the numbered paths, which end in 2027.
    pub api_version: String,
    /// The portal (Hub ID) that the credentials must belong to; any where absent.
    pub portal: Option<u64>,
    /// Further properties to read, by stream (`{"companies": ["tier"]}`). They come beside those that are read anyway.
    pub properties: BTreeMap<String, Vec<String>>,
    /// Which property gives a field, by stream, where it is not HubSpot's own:
    /// `{"companies": {"industry": "sector", "employee_count": "headcount"}}`. Fields of companies: `name`, `domain`,
    /// `industry`, `employee_count`, `lifecycle_stage`, `owner`; of contacts: `name`, `email`, `lifecycle_stage`,
    /// `owner`, and any other name, which is then a trait of the end user (`{"contacts": {"job_title": "jobtitle"}}`);
    /// of deals: `name`, `amount`, `currency`; of tickets: `title`, `priority`.
    pub fields: BTreeMap<String, BTreeMap<String, String>>,
    /// What the stages of ticket pipelines mean, by stage id, where HubSpot does not say it itself (it says what is
    /// closed, and the stages of its own pipeline are known).
    pub ticket_stages: BTreeMap<String, StageStatus>,
    /// Whether the texts of e-mails, notes, calls and meetings are read, too.
    pub bodies: bool,
    /// Whether the line items of won deals are read (contract terms come from them).
    pub line_items: bool,
    /// Whether an incremental read also lists what was archived: one call for each 100 archived objects of a stream.
    /// A full pass finds deletions without it.
    pub archived: bool,
    /// How far an incremental read goes behind the last one, in seconds: HubSpot's search learns of a change up to a
    /// minute late.
    #[schemars(range(min = 60, max = 86_400))]
    pub overlap_seconds: u32,
    /// Part of the day's calls, in percent, that is left to the portal's other apps.
    #[schemars(range(min = 0, max = 90))]
    pub daily_reserve_percent: u8,
    /// Ways of signing a webhook that are taken. `v1` and `v2` sign no time, so that a delivery can be repeated by
    /// whoever has seen it.
    pub webhook_signatures: Vec<SignatureVersion>,
    /// Objects a page of a list, 1 to 100 (HubSpot's own limit); a search takes twice as many, a list of owners five
    /// times.
    #[schemars(range(min = 1, max = 100))]
    pub page_size: u8,
}

/// What a stage of a ticket means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageStatus {
    /// Somebody of ours has to do something.
    Open,
    /// The customer is waited for.
    Pending,
    /// Done.
    Closed,
}

impl StageStatus {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Pending => "pending",
            Self::Closed => "closed",
        }
    }
}

/// A way in which HubSpot signs webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureVersion {
    /// SHA-256 of secret and body.
    V1,
    /// SHA-256 of secret, method, address and body.
    V2,
    /// HMAC-SHA256 of method, address, body and time.
    V3,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_url: DEFAULT_BASE_URL.to_owned(),
            api_version: API_VERSION.to_owned(),
            portal: None,
            properties: BTreeMap::new(),
            fields: BTreeMap::new(),
            ticket_stages: BTreeMap::new(),
            bodies: false,
            line_items: true,
            archived: true,
            overlap_seconds: 300,
            daily_reserve_percent: 10,
            webhook_signatures: vec![SignatureVersion::V3],
            page_size: 100,
        }
    }
}

/// Fields of a contact that have a meaning here; any other name is a trait of the end user.
pub(crate) const CONTACT_FIELDS: [&str; 4] = ["name", "email", "lifecycle_stage", "owner"];

/// What no property can be a user's trait as: what is kept of a user otherwise, and amounts, which are no texts.
const NO_TRAITS: [&str; 14] = [
    "id",
    "external_id",
    "org_id",
    "company_id",
    "created_at",
    "updated_at",
    "first_seen",
    "last_seen",
    "last_contacted_at",
    "mrr",
    "arr",
    "mrr_minor",
    "arr_minor",
    "mrr_currency",
];

/// Fields that a property can be chosen for.
const FIELDS: [(&str, &[&str]); 4] = [
    ("companies", &["name", "domain", "industry", "employee_count", "lifecycle_stage", "owner"]),
    ("contacts", &CONTACT_FIELDS),
    ("deals", &["name", "amount", "currency"]),
    ("tickets", &["title", "priority"]),
];

impl Config {
    /// The checks that types cannot make; gives the parsed base URL.
    pub(crate) fn validate(&self) -> Result<Url, ConnectorError> {
        let wrong = |text: String| Err(ConnectorError::Config(text));
        if !(1..=100).contains(&self.page_size) {
            return wrong("page_size: must be 1 to 100".to_owned());
        }
        if !(60..=86_400).contains(&self.overlap_seconds) {
            return wrong("overlap_seconds: must be 60 to 86400".to_owned());
        }
        if self.daily_reserve_percent > 90 {
            return wrong("daily_reserve_percent: must be 0 to 90".to_owned());
        }
        if self.api_version != "v3" && !is_dated(&self.api_version) {
            return wrong("api_version: must be a date like 2026-03, or v3".to_owned());
        }
        for (stream, names) in &self.properties {
            let objects = streams::ALL.iter().filter(|s| matches!(s.reads, Reads::Objects(_)));
            let known: Vec<&str> = objects.map(|s| s.spec.name).collect();
            if !known.contains(&stream.as_str()) {
                return wrong(format!("properties.{stream}: no such stream; there are {}", known.join(", ")));
            }
            for name in names {
                check_property(name, &format!("properties.{stream}"))?;
            }
        }
        for (stream, fields) in &self.fields {
            let Some((_, known)) = FIELDS.iter().find(|(name, _)| name == stream) else {
                return wrong(format!("fields.{stream}: must be companies, contacts, deals or tickets"));
            };
            for (field, property) in fields {
                let is_trait =
                    stream == "contacts" && is_property(field) && !NO_TRAITS.contains(&field.as_str());
                if !known.contains(&field.as_str()) && stream == "contacts" && !is_trait {
                    return wrong(format!(
                        "fields.{stream}.{field}: must be one of {}, or the name of another trait of the user \
                         (lower case, digits, underscores; none that is kept otherwise)",
                        known.join(", ")
                    ));
                }
                if !known.contains(&field.as_str()) && !is_trait {
                    return wrong(format!("fields.{stream}.{field}: must be one of {}", known.join(", ")));
                }
                check_property(property, &format!("fields.{stream}.{field}"))?;
            }
        }
        connector_sdk::http::base_url(&self.base_url)
    }

    /// How far behind the last read an incremental one begins, in milliseconds.
    pub(crate) fn overlap(&self) -> i64 {
        i64::from(self.overlap_seconds) * 1_000
    }

    /// The properties of a stream that are named here.
    pub(crate) fn named(&self, stream: &str) -> impl Iterator<Item = &str> {
        let further = self.properties.get(stream).into_iter().flatten();
        let mapped = self.fields.get(stream).into_iter().flat_map(BTreeMap::values);
        further.chain(mapped).map(String::as_str)
    }
}

/// `2026-03`, also with a suffix (`2027-03-beta`).
fn is_dated(version: &str) -> bool {
    let mut parts = version.splitn(3, '-');
    let digits = |part: Option<&str>, n: usize| {
        part.is_some_and(|p| p.len() == n && p.bytes().all(|b| b.is_ascii_digit()))
    };
    digits(parts.next(), 4)
        && digits(parts.next(), 2)
        && parts.next().is_none_or(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// HubSpot's internal names: lower case, digits, underscores.
pub(crate) fn is_property(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn check_property(name: &str, path: &str) -> Result<(), ConnectorError> {
    if is_property(name) {
        return Ok(());
    }
    Err(ConnectorError::Config(format!(
        "{path}: {name:?} is no internal name of a property (lower case, digits, underscores)"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refused = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        for (path, change) in [
            ("page_size", (|c| c.page_size = 0) as fn(&mut Config)),
            ("page_size", |c| c.page_size = 101),
            ("overlap_seconds", |c| c.overlap_seconds = 59),
            ("daily_reserve_percent", |c| c.daily_reserve_percent = 91),
            ("api_version", |c| c.api_version = "v4".to_owned()),
            ("api_version", |c| c.api_version = "2026-3".to_owned()),
            ("api_version", |c| c.api_version = "2026-03/../x".to_owned()),
            ("base_url", |c| c.base_url = "http://api.hubapi.com".to_owned()),
            ("properties.owners", |c| drop(c.properties.insert("owners".to_owned(), vec![]))),
            ("properties.deals", |c| {
                c.properties.insert("deals".to_owned(), vec!["Amount,name".to_owned()]);
            }),
            ("fields.notes", |c| drop(c.fields.insert("notes".to_owned(), BTreeMap::new()))),
            ("fields.contacts.company_id", |c| {
                let fields = BTreeMap::from([("company_id".to_owned(), "company".to_owned())]);
                c.fields.insert("contacts".to_owned(), fields);
            }),
            ("fields.companies.mrr", |c| {
                let fields = BTreeMap::from([("mrr".to_owned(), "mrr".to_owned())]);
                c.fields.insert("companies".to_owned(), fields);
            }),
        ] {
            assert!(refused(change).contains(path), "{path}: {}", refused(change));
        }
        for version in ["v3", "2026-03", "2026-09", "2027-03-beta"] {
            let config = Config { api_version: version.to_owned(), ..Config::default() };
            assert!(config.validate().is_ok(), "{version}");
        }
    }
}
