use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Findings;
use crate::domain::OrgId;

/// Organisations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Orgs {
    /// The organisation that commands act for when `--org` is not given.
    pub default: String,
}

impl Default for Orgs {
    fn default() -> Self {
        Self { default: OrgId::default_org().0 }
    }
}

impl Orgs {
    pub(super) fn check(&self, found: &mut Findings<'_>) {
        let rest = self.default.strip_prefix(OrgId::PREFIX).and_then(|rest| rest.strip_prefix('_'));
        if rest.is_none_or(str::is_empty) {
            found.add("orgs.default", format!("{:?} is not an organisation's id (org_…)", self.default));
        }
    }
}
