//! [`IdentityStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::{RecordKey, Timestamp};

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::companies::{Company, TraitPatch};
use crate::domain::users::EndUser;
use crate::domain::{CompanyId, ConnectionId, OrgId, UserId};
use crate::store::identity::{
    CompanyLink, IdentityCounts, IdentityStore, LinkState, Listed, Lookup, StoredView, WriteSource,
};

#[async_trait]
impl IdentityStore for Engine {
    async fn find_company(&self, org: &OrgId, lookup: &Lookup) -> Result<Option<Company>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), lookup = lookup.clone()], |c| {
            units::identity::find_company(c, org, lookup)
        })
    }

    async fn list_companies(
        &self,
        org: &OrgId,
        search: Option<&str>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Listed<Company>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), search = search.map(str::to_owned), after = after.map(str::to_owned)],
            |c| units::identity::list_companies(c, org, search.as_deref(), after.as_deref(), limit)
        )
    }

    async fn put_company(
        &self,
        org: &OrgId,
        lookup: &Lookup,
        patch: &TraitPatch,
        source: &WriteSource,
    ) -> Result<Company> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), lookup = lookup.clone(), patch = patch.clone(), source = source.clone()],
            |c| units::identity::put_company(c, org, lookup, patch, source)
        )
    }

    async fn release_company_fields(
        &self,
        org: &OrgId,
        id: &CompanyId,
        fields: &[String],
        at: Timestamp,
    ) -> Result<()> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), id = id.clone(), fields = fields.to_vec()],
            |c| units::identity::release_company_fields(c, org, id, fields, at)
        )
    }

    async fn find_user(&self, org: &OrgId, lookup: &Lookup) -> Result<Option<EndUser>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), lookup = lookup.clone()], |c| {
            units::identity::find_user(c, org, lookup)
        })
    }

    async fn list_users(
        &self,
        org: &OrgId,
        company: Option<&CompanyId>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Listed<EndUser>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), company = company.cloned(), after = after.map(str::to_owned)],
            |c| units::identity::list_users(c, org, company.as_ref(), after.as_deref(), limit)
        )
    }

    async fn search_users(
        &self,
        org: &OrgId,
        search: &str,
        company: Option<&CompanyId>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Listed<EndUser>> {
        let (search, after) = (search.to_owned(), after.map(str::to_owned));
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), search = search, company = company.cloned(), after = after],
            |c| units::identity::search_users(c, org, search, company.as_ref(), after.as_deref(), limit)
        )
    }

    async fn put_user(
        &self,
        org: &OrgId,
        lookup: &Lookup,
        patch: &TraitPatch,
        company: Option<&CompanyId>,
        source: &WriteSource,
    ) -> Result<EndUser> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [
                org = org.clone(),
                lookup = lookup.clone(),
                patch = patch.clone(),
                company = company.cloned(),
                source = source.clone()
            ],
            |c| units::identity::put_user(c, org, lookup, patch, company.as_ref(), source)
        )
    }

    async fn load_view(
        &self,
        org: &OrgId,
        user: Option<&Lookup>,
        company: Option<&Lookup>,
    ) -> Result<StoredView> {
        unit!(
            self.snapshot(Scope::Org(org.clone())),
            [org = org.clone(), user = user.cloned(), company = company.cloned()],
            |c| units::identity::load_view(c, org, user.as_ref(), company.as_ref())
        )
    }

    async fn list_links(
        &self,
        org: &OrgId,
        state: Option<LinkState>,
        company: Option<&CompanyId>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Listed<CompanyLink>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), company = company.cloned(), after = after.map(str::to_owned)],
            |c| units::identity::list_links(c, org, state, company.as_ref(), after.as_deref(), limit)
        )
    }

    async fn put_manual_link(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        party: &RecordKey,
        company: Option<&CompanyId>,
        at: Timestamp,
    ) -> Result<Option<CompanyLink>> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [
                org = org.clone(),
                connection = connection.clone(),
                party = party.clone(),
                company = company.cloned()
            ],
            |c| units::identity::put_manual_link(c, org, connection, party, company.as_ref(), at)
        )
    }

    async fn count_identities(&self, org: &OrgId) -> Result<IdentityCounts> {
        unit!(self.snapshot(Scope::Org(org.clone())), [org = org.clone()], |c| {
            units::identity::count_identities(c, org)
        })
    }

    async fn delete_user(&self, org: &OrgId, id: &UserId, at: Timestamp) -> Result<bool> {
        unit!(self.write(Lane::Ack, Scope::Org(org.clone())), [org = org.clone(), id = id.clone()], |c| {
            units::identity::delete_user(c, org, id, at)
        })
    }
}
