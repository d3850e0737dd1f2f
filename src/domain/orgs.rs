//! What an organisation says about who may call for it.

use connector_sdk::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::OrgId;
use super::origin::OriginRule;

/// An organisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Org {
    /// Its id.
    pub id: OrgId,
    /// Its name, for people.
    pub name: String,
    /// Its settings document: [`OrgRules`], and what other parts keep there.
    pub settings: Value,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The members of an organisation's settings document that trust rests on. Others have other readers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrgRules {
    /// Whether a publishable key may name a user only with a token that its backend signed.
    pub identity_verification: Switch,
    /// Whether what is stored of a user may enter a chat's prompt for a publishable key that names the user without a
    /// token, as the reference does it: anybody who knows the id can then have it recited.
    pub unverified_chat: Switch,
    /// The web origins that publishable keys are taken from, unless a key has a list of its own; `None` for all.
    pub origins: Option<Vec<OriginRule>>,
}

/// On or off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// Off.
    #[default]
    Off,
    /// On.
    On,
}

impl OrgRules {
    /// The rules that a settings document holds.
    ///
    /// # Errors
    ///
    /// What cannot be read: rules that are not understood are not taken for none.
    pub fn read(settings: &Value) -> Result<Self, serde_json::Error> {
        if settings.is_null() { Ok(Self::default()) } else { Self::deserialize(settings) }
    }
}

/// Characters of an organisation's id, its prefix included.
pub const LONGEST_ORG_ID: usize = 64;

/// Whether a text can be an organisation's id: `org_` and letters, digits, `_` and `-`.
pub fn is_org_id(text: &str) -> bool {
    let rest = text.strip_prefix(OrgId::PREFIX).and_then(|rest| rest.strip_prefix('_'));
    text.len() <= LONGEST_ORG_ID
        && rest.is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
        })
}
