//! Organisations: made, changed, deleted with everything that is theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::identity::{has_current, read_rules};
use super::keys::MOST_ORIGINS;
use super::{Failure, Services};
use crate::domain::OrgId;
use crate::domain::ids::new_id;
use crate::domain::orgs::{LONGEST_ORG_ID, Org, Switch, is_org_id};
use crate::domain::origin::OriginRule;

/// How long a process may remember a key or be at work with one: what it writes meanwhile is swept after that.
const SETTLE: Duration = Duration::from_secs(1);
/// Characters of an organisation's name.
const LONGEST_NAME: usize = 200;

/// What is changed of an organisation; nothing where a member is not given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrgChange {
    /// Its name.
    pub name: Option<String>,
    /// Whether a publishable key may name a user only with a `user_token`.
    pub identity_verification: Option<Switch>,
    /// Whether a chat with a publishable key and no `user_token` is answered from what is stored of the user it names.
    pub unverified_chat: Option<Switch>,
    /// The web origins that publishable keys are taken from; an empty list for all.
    pub origins: Option<Vec<OriginRule>>,
}

/// The failure that says how organisations come about.
pub(super) fn unknown(org: &OrgId) -> Failure {
    Failure::not_found("org_not_found", format!("no organisation {org}"))
        .hint(format!("List them: halo-sync orgs list. Make it: halo-sync orgs create {org} --name NAME"))
}

impl Services {
    /// Fails when there is no such organisation.
    ///
    /// # Errors
    ///
    /// `org_not_found`; the store's.
    pub async fn need_org(&self, org: &OrgId) -> Result<(), Failure> {
        self.store.find_org_settings(org).await?.map(drop).ok_or_else(|| unknown(org))
    }

    /// Makes the organisations that are missing, and puts into force what is said of each; what is not said of one
    /// stays as it is.
    ///
    /// # Errors
    ///
    /// A change that cannot be made; the store's.
    pub async fn ensure_orgs(&self, orgs: &[(OrgId, OrgChange)]) -> Result<(), Failure> {
        for (id, change) in orgs {
            if self.store.find_org_settings(id).await?.is_none() {
                self.create_org(Some(id.clone()), change.name.as_deref().unwrap_or(id.as_str())).await?;
            }
            self.set_org(id, change).await?;
        }
        Ok(())
    }

    pub(super) async fn create_org(&self, id: Option<OrgId>, name: &str) -> Result<Value, Failure> {
        let id = id.unwrap_or_else(|| OrgId(new_id(OrgId::PREFIX, &*self.clock)));
        if !is_org_id(id.as_str()) {
            return Err(Failure::invalid("org_id", format!("{:?} is not an organisation's id", id.as_str()))
                .hint(format!(
                    "org_ and letters, digits, _ and -, at most {LONGEST_ORG_ID} characters in all"
                )));
        }
        let org = Org { id, name: checked(name)?, settings: json!({}), created_at: self.clock.now() };
        if !self.store.add_org(&org).await? {
            return Err(Failure::invalid(
                "org_exists",
                format!("there is already an organisation {}", org.id),
            )
            .hint(format!("Change it: halo-sync orgs set {}", org.id)));
        }
        Ok(shown(&org))
    }

    pub(super) async fn set_org(&self, id: &OrgId, change: &OrgChange) -> Result<Value, Failure> {
        let trust = self.org_trust(id).await?;
        let mut members = Map::new();
        if let Some(switch) = change.identity_verification {
            let was = read_rules(&trust.settings)?.identity_verification;
            if switch == Switch::On && was == Switch::Off && !has_current(&trust) {
                return Err(Failure::invalid(
                    "identity_secret_missing",
                    "without an identity secret no token can be signed, and every user would be refused",
                )
                .hint(format!("Make one first: halo-sync keys identity create --org {id}")));
            }
            members.insert("identity_verification".to_owned(), json!(switch));
        }
        if let Some(switch) = change.unverified_chat {
            members.insert("unverified_chat".to_owned(), json!(switch));
        }
        if let Some(origins) = &change.origins {
            if origins.len() > MOST_ORIGINS {
                return Err(Failure::invalid(
                    "origins",
                    format!("at most {MOST_ORIGINS} origins can be given"),
                ));
            }
            let value = if origins.is_empty() { Value::Null } else { json!(origins) };
            members.insert("origins".to_owned(), value);
        }
        let name = change.name.as_deref().map(checked).transpose()?;
        if name.is_some() || !members.is_empty() {
            self.store.patch_org(id, name.as_deref(), &members, self.clock.now()).await?;
        }
        self.show_org(id).await
    }

    /// An organisation with its rules.
    ///
    /// # Errors
    ///
    /// `org_not_found`; the store's.
    pub async fn show_org(&self, id: &OrgId) -> Result<Value, Failure> {
        let orgs = self.store.list_org_rows().await?;
        orgs.iter().find(|org| org.id == *id).map(shown).ok_or_else(|| unknown(id))
    }

    pub(super) async fn remove_org(&self, id: &OrgId) -> Result<Value, Failure> {
        self.need_org(id).await?;
        if self.store.list_orgs().await?.len() == 1 {
            return Err(Failure::invalid("last_org", format!("{id} is the only organisation"))
                .hint("Make another first: halo-sync orgs create --name NAME"));
        }
        // What we made at providers goes with the connection, as when it is removed alone. A provider that does not
        // answer keeps nothing alive.
        let mut endpoints = Vec::new();
        for connection in self.store.list_connections(Some(id)).await? {
            let removed = self.remove_connection(id, connection.id.as_str()).await?;
            if removed["endpoint"]["removed"] == false {
                endpoints.push(removed["endpoint"].clone());
            }
        }
        let mut rows = self.sweep(id).await?;
        // A request that was judged before its key was gone may still have written something.
        tokio::time::sleep(SETTLE).await;
        for (table, late) in self.sweep(id).await? {
            *rows.entry(table).or_default() += late;
        }
        self.store.delete_org(id).await?;
        Ok(json!({ "id": id, "removed": true, "rows": rows, "endpoints_left": endpoints }))
    }

    async fn sweep(&self, id: &OrgId) -> Result<BTreeMap<&'static str, u64>, Failure> {
        Ok(self.store.clear_org(id).await?.into_iter().collect())
    }
}

fn checked(name: &str) -> Result<String, Failure> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME {
        return Err(Failure::invalid("name", format!("a name has 1 to {LONGEST_NAME} characters")));
    }
    Ok(name.to_owned())
}

/// An organisation as it is shown: what other parts keep in its settings is theirs.
fn shown(org: &Org) -> Value {
    let rules = read_rules(&org.settings).unwrap_or_default();
    json!({
        "id": org.id, "name": org.name, "identity_verification": rules.identity_verification,
        "unverified_chat": rules.unverified_chat, "origins": rules.origins, "created_at": org.created_at,
    })
}
