//! What an organisation says about who may call for it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::origin::OriginRule;

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
