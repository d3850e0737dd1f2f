//! Settings of a PandaDoc connection: which documents count, and where they keep their dates. Keys are no settings.

use chrono::{DateTime, Utc};
use connector_sdk::ConnectorError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// Where PandaDoc's API lives.
pub(crate) const DEFAULT_BASE_URL: &str = "https://api.pandadoc.com";
/// Each combination of template, folder and tag is a list of its own to read.
const MOST_LISTS: usize = 100;

/// Settings of a PandaDoc connection.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the API; `http` is taken for this machine alone.
    pub base_url: String,
    /// Id of the workspace that the credentials must belong to; the check refuses any other. A key belongs to
    /// one workspace, so several workspaces are several connections.
    pub workspace: Option<String>,
    /// Whether the key is a sandbox key, which no call can tell. Then everything is labelled TEST, and documents
    /// that were made with a sandbox key (named `[DEV] …`) count; else they do not.
    pub sandbox: bool,
    /// Ids of templates; only documents made from one of them count. Empty: all.
    pub templates: Vec<String>,
    /// Ids of folders; only documents in one of them count. Empty: all.
    pub folders: Vec<String>,
    /// Tags; only documents with one of them count. Empty: all.
    pub tags: Vec<String>,
    /// Documents created before this instant are not read by a listing.
    pub created_since: Option<DateTime<Utc>>,
    /// Whether PandaDoc's extracted contract data (beta) of completed documents is read: one call for forty
    /// documents. Without it, dates and terms come from fields, variables, metadata and quotes alone.
    pub ai_metadata: bool,
    /// Where documents keep their dates, by the names of fields, variables and metadata.
    pub fields: Fields,
    /// Documents a page, 1 to 100 (PandaDoc's own limit). A page takes one call, and one more for each document.
    #[schemars(range(min = 1, max = 100))]
    pub page_size: u8,
}

/// Names of fields, variables (tokens), metadata and extracted data, compared without case, blanks and
/// punctuation, the first that has a readable value first. They come before the names that are known by
/// themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// The id that the company has in your own program.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub company_id: Vec<String>,
    /// First day of the agreement.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub effective: Vec<String>,
    /// Last day of the agreement.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub end: Vec<String>,
    /// How long it runs first (`12 months`, `P1Y`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub term: Vec<String>,
    /// By how much it renews itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub renewal_term: Vec<String>,
    /// Whether it renews itself (`Auto-renewal`, `yes`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auto_renews: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_url: DEFAULT_BASE_URL.to_owned(),
            workspace: None,
            sandbox: false,
            templates: Vec::new(),
            folders: Vec::new(),
            tags: Vec::new(),
            created_since: None,
            ai_metadata: true,
            fields: Fields::default(),
            page_size: 50,
        }
    }
}

impl Config {
    /// The checks that types cannot make; gives the parsed base URL.
    pub(crate) fn validate(&self) -> Result<Url, ConnectorError> {
        let wrong = |text: &str| Err(ConnectorError::Config(text.to_owned()));
        if !(1..=100).contains(&self.page_size) {
            return wrong("page_size: must be 1 to 100");
        }
        for (name, list) in [("templates", &self.templates), ("folders", &self.folders), ("tags", &self.tags)]
        {
            if list.iter().any(|item| item.trim().is_empty()) {
                return wrong(&format!("{name}: holds an empty text"));
            }
            let mut sorted: Vec<&String> = list.iter().collect();
            sorted.sort_unstable();
            if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                return wrong(&format!("{name}: names one twice"));
            }
        }
        if self.workspace.as_deref().is_some_and(|id| id.trim().is_empty()) {
            return wrong("workspace: is empty");
        }
        let lists = [&self.templates, &self.folders, &self.tags].map(|list| list.len().max(1));
        if lists.iter().product::<usize>() > MOST_LISTS {
            return wrong(&format!(
                "templates, folders, tags: more than {MOST_LISTS} combinations, each a list of its own to read"
            ));
        }
        connector_sdk::http::base_url(&self.base_url)
    }
}
