use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Findings;
use crate::domain::OrgId;
use crate::domain::orgs::{Switch, is_org_id};
use crate::domain::origin::OriginRule;

/// Organisations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Orgs {
    /// The organisation that commands act for when `--org` is not given.
    pub default: String,
    /// Organisations that a start makes when they are missing. What is said of one is put into force at each start;
    /// what is not said stays as `halo-sync orgs set` made it.
    pub list: Vec<OrgEntry>,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgEntry {
    /// Its id: `org_` and letters, digits, `_`, `-`.
    pub id: String,
    /// Its name, for people.
    pub name: Option<String>,
    /// Whether a publishable key may name a user only with a `user_token`.
    pub identity_verification: Option<Switch>,
    /// Whether a chat with a publishable key and no `user_token` is answered from what is stored of the user it names.
    pub unverified_chat: Option<Switch>,
    /// The web origins that publishable keys are taken from (`https://app.acme.com`, `https://*.acme.com`); an empty
    /// list for all.
    pub origins: Option<Vec<String>>,
}

impl Default for Orgs {
    fn default() -> Self {
        Self { default: OrgId::default_org().0, list: Vec::new() }
    }
}

impl Orgs {
    pub(super) fn check(&self, found: &mut Findings<'_>) {
        if !is_org_id(&self.default) {
            found.add("orgs.default", format!("{:?} is not an organisation's id (org_…)", self.default));
        }
        for (n, entry) in self.list.iter().enumerate() {
            if !is_org_id(&entry.id) {
                found.add(
                    "orgs.list",
                    format!("[{n}].id: {:?} is not an organisation's id (org_…)", entry.id),
                );
            }
            if self.list.iter().take(n).any(|earlier| earlier.id == entry.id) {
                found.add("orgs.list", format!("[{n}].id: {} is named twice", entry.id));
            }
            for origin in entry.origins.iter().flatten() {
                if let Err(error) = origin.parse::<OriginRule>() {
                    found.add("orgs.list", format!("[{n}].origins: {error}"));
                }
            }
        }
    }
}
