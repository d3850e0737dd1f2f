//! [`ImportStore`] on the engine.

use async_trait::async_trait;

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::OrgId;
use crate::store::imports::{Foreseen, ImportBatch, ImportState, ImportStore, ImportedBatch};
use crate::store::product::ProductWrite;

#[async_trait]
impl ImportStore for Engine {
    async fn put_import(&self, org: &OrgId, batch: ImportBatch) -> Result<ImportedBatch> {
        unit!(self.write(Lane::Bulk, Scope::Org(org.clone())), [org = org.clone(), batch = batch], |c| {
            units::imports::put(c, org, batch)
        })
    }

    async fn find_import(&self, org: &OrgId, id: &str) -> Result<Option<ImportState>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), id = id.to_owned()], |c| {
            units::imports::find(c, org, id)
        })
    }

    async fn foresee_product(&self, org: &OrgId, writes: Vec<ProductWrite>) -> Result<Vec<Foreseen>> {
        unit!(self.snapshot(Scope::Org(org.clone())), [org = org.clone(), writes = writes], |c| {
            units::product::foresee(c, org, writes)
        })
    }
}
