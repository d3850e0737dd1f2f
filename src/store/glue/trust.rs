//! [`TrustStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::Timestamp;

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::OrgId;
use crate::store::trust::{OrgSecret, OrgTrust, TrustStore};

#[async_trait]
impl TrustStore for Engine {
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

    async fn delete_org_secrets(&self, org: &OrgId, name: &str) -> Result<u64> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), name = name.to_owned()],
            |c| { units::trust::delete_org_secrets(c, org, name) }
        )
    }
}
