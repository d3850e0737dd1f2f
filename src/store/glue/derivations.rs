//! [`DerivationStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::Timestamp;
use serde_json::Value;

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::connections::Connection;
use crate::domain::jobs::Fence;
use crate::domain::{CompanyId, OrgId};
use crate::store::derivations::{CompanyInputs, DerivationCommit, DerivationStore, Dirty, FieldChange};

#[async_trait]
impl DerivationStore for Engine {
    async fn mark_dirty(
        &self,
        org: &OrgId,
        companies: &[CompanyId],
        reason: &str,
        at: Timestamp,
    ) -> Result<()> {
        unit!(
            self.write(Lane::Bulk, Scope::Org(org.clone())),
            [org = org.clone(), companies = companies.to_vec(), reason = reason.to_owned()],
            |c| units::derivations::mark_dirty(c, org, companies, reason, at)
        )
    }

    async fn mark_all_dirty(
        &self,
        org: &OrgId,
        reason: &str,
        after: Option<&str>,
        limit: i64,
        at: Timestamp,
    ) -> Result<Option<String>> {
        unit!(
            self.write(Lane::Whole, Scope::Org(org.clone())),
            [org = org.clone(), reason = reason.to_owned(), after = after.map(str::to_owned)],
            |c| units::derivations::mark_all_dirty(c, org, reason, after.as_deref(), limit, at)
        )
    }

    async fn load_dirty_inputs(
        &self,
        org: &OrgId,
        after: Option<&Dirty>,
        limit: i64,
    ) -> Result<Vec<CompanyInputs>> {
        unit!(self.snapshot(Scope::Org(org.clone())), [org = org.clone(), after = after.cloned()], |c| {
            units::inputs::load_dirty_inputs(c, org, after.as_ref(), limit)
        })
    }

    async fn load_company_inputs(&self, org: &OrgId, company: &CompanyId) -> Result<Option<CompanyInputs>> {
        unit!(self.snapshot(Scope::Org(org.clone())), [org = org.clone(), company = company.clone()], |c| {
            units::inputs::load_company_inputs(c, org, company)
        })
    }

    async fn commit_derivations(
        &self,
        org: &OrgId,
        commits: Vec<DerivationCommit>,
        fence: Option<&Fence>,
        at: Timestamp,
    ) -> Result<Vec<CompanyId>> {
        let lane = Lane::of_many(commits.iter().filter(|commit| commit.write.is_some()).count());
        unit!(
            self.write(lane, Scope::Org(org.clone())),
            [org = org.clone(), commits = commits, fence = fence.cloned()],
            |c| units::derivations::commit_derivations(c, org, commits, fence.as_ref(), at)
        )
    }

    async fn find_derivation(&self, org: &OrgId, company: &CompanyId) -> Result<Option<Value>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), company = company.clone()], |c| {
            units::derivations::find_derivation(c, org, company)
        })
    }

    async fn list_field_changes(
        &self,
        org: &OrgId,
        company: &CompanyId,
        field: Option<&str>,
        limit: i64,
    ) -> Result<Vec<FieldChange>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), company = company.clone(), field = field.map(str::to_owned)],
            |c| units::derivations::list_field_changes(c, org, company, field.as_deref(), limit)
        )
    }

    async fn list_orgs_with_dirty(&self, before: Timestamp) -> Result<Vec<OrgId>> {
        unit!(self.read(Scope::System), [], |c| units::derivations::list_orgs_with_dirty(c, before))
    }

    async fn mark_turned(&self, now: Timestamp, limit: i64) -> Result<i64> {
        unit!(self.write(Lane::Bulk, Scope::System), [], |c| units::derivations::mark_turned(c, now, limit))
    }

    async fn load_connections(&self, org: &OrgId) -> Result<Vec<Connection>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone()], |c| {
            units::settings::list_connections(c, Some(org))
        })
    }
}
