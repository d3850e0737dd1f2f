//! [`TrustStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::Timestamp;
use serde_json::{Map, Value};

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::connections::ApiKey;
use crate::domain::orgs::Org;
use crate::domain::{KeyId, OrgId};
use crate::store::trust::{OrgSecret, OrgTrust, TrustStore};

#[async_trait]
impl TrustStore for Engine {
    async fn add_org(&self, org: &Org) -> Result<bool> {
        unit!(self.write(Lane::Ack, Scope::Org(org.id.clone())), [org = org.clone()], |c| {
            units::trust::add_org(c, org)
        })
    }

    async fn patch_org(
        &self,
        org: &OrgId,
        name: Option<&str>,
        members: &Map<String, Value>,
        at: Timestamp,
    ) -> Result<bool> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), name = name.map(str::to_owned), members = members.clone()],
            |c| units::trust::patch_org(c, org, name.as_deref(), members, at)
        )
    }

    async fn list_org_rows(&self) -> Result<Vec<Org>> {
        unit!(self.read(Scope::System), [], |c| units::trust::list_org_rows(c))
    }

    async fn clear_org(&self, org: &OrgId) -> Result<Vec<(&'static str, u64)>> {
        let mut gone = Vec::new();
        for table in units::trust::ORG_TABLES {
            let rows = unit!(self.write(Lane::Whole, Scope::Org(org.clone())), [org = org.clone()], |c| {
                units::trust::clear_table(c, org, table)
            })?;
            if rows > 0 {
                gone.push((table, rows));
            }
        }
        Ok(gone)
    }

    async fn delete_org(&self, org: &OrgId) -> Result<bool> {
        unit!(self.write(Lane::Whole, Scope::Org(org.clone())), [org = org.clone()], |c| {
            units::trust::delete_org(c, org)
        })
    }

    async fn load_org_trust(&self, org: &OrgId) -> Result<Option<OrgTrust>> {
        unit!(self.snapshot(Scope::Org(org.clone())), [org = org.clone()], |c| {
            units::trust::load_org_trust(c, org)
        })
    }

    async fn add_org_secret(&self, org: &OrgId, secret: &OrgSecret, until: Timestamp) -> Result<()> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), secret = secret.clone()],
            |c| units::trust::add_org_secret(c, org, secret, until)
        )
    }

    async fn put_key(&self, key: &ApiKey, hash: &str) -> Result<()> {
        unit!(
            self.write(Lane::Ack, Scope::Org(key.org_id.clone())),
            [key = key.clone(), hash = hash.to_owned()],
            |c| units::trust::put_key(c, key, hash)
        )
    }

    async fn find_key(&self, hash: &str) -> Result<Option<ApiKey>> {
        unit!(self.read(Scope::System), [hash = hash.to_owned()], |c| units::trust::find_key(c, hash))
    }

    async fn list_keys(&self, org: &OrgId) -> Result<Vec<ApiKey>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone()], |c| units::trust::list_keys(c, org))
    }

    async fn rotate_key(&self, old: &KeyId, new: &ApiKey, hash: &str, until: Timestamp) -> Result<bool> {
        unit!(
            self.write(Lane::Ack, Scope::Org(new.org_id.clone())),
            [old = old.clone(), new = new.clone(), hash = hash.to_owned()],
            |c| units::trust::rotate_key(c, old, new, hash, until)
        )
    }

    async fn revoke_key(&self, org: &OrgId, id: &KeyId, at: Timestamp) -> Result<bool> {
        unit!(self.write(Lane::Ack, Scope::Org(org.clone())), [org = org.clone(), id = id.clone()], |c| {
            units::trust::revoke_key(c, org, id, at)
        })
    }

    async fn touch_key(&self, org: &OrgId, id: &KeyId, at: Timestamp) -> Result<()> {
        unit!(self.write(Lane::Bulk, Scope::Org(org.clone())), [org = org.clone(), id = id.clone()], |c| {
            units::trust::touch_key(c, org, id, at)
        })
    }
}
