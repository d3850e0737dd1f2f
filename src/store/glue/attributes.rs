//! [`AttributeStore`] on the engine.

use async_trait::async_trait;
use connector_sdk::Timestamp;

use super::{Engine, Lane, Result, Scope, units};
use crate::domain::OrgId;
use crate::domain::attributes::{Attribute, AttributeName, AttributeSeen, CustomField, Overflow};
use crate::store::attributes::{
    AttributeChange, AttributeFilter, AttributeSaying, AttributeStore, Begun, Changed, IdempotentRequest,
    StoredAnswer,
};

#[async_trait]
impl AttributeStore for Engine {
    async fn record_attributes(
        &self,
        org: &OrgId,
        seen: &[AttributeSeen],
        refused: &[Overflow],
        at: Timestamp,
    ) -> Result<()> {
        unit!(
            self.write(Lane::Bulk, Scope::Org(org.clone())),
            [org = org.clone(), seen = seen.to_vec(), refused = refused.to_vec()],
            |c| units::attributes::record_attributes(c, org, seen, refused, at)
        )
    }

    async fn list_attributes(
        &self,
        org: &OrgId,
        filter: &AttributeFilter,
        after: Option<&AttributeName>,
        limit: u32,
    ) -> Result<Vec<Attribute>> {
        unit!(
            self.read(Scope::Org(org.clone())),
            [org = org.clone(), filter = filter.clone(), after = after.cloned()],
            |c| units::attributes::list_attributes(c, org, filter, after.as_ref(), limit)
        )
    }

    async fn find_attribute(&self, org: &OrgId, id: &str) -> Result<Option<Attribute>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone(), id = id.to_owned()], |c| {
            units::attributes::find_attribute(c, org, id)
        })
    }

    async fn change_attribute(
        &self,
        org: &OrgId,
        id: &str,
        change: &AttributeChange,
        version: Option<i64>,
    ) -> Result<Changed> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), id = id.to_owned(), change = change.clone()],
            |c| units::attributes::change_attribute(c, org, id, change, version)
        )
    }

    async fn put_attribute(&self, org: &OrgId, name: &AttributeName, at: Timestamp) -> Result<String> {
        unit!(self.write(Lane::Ack, Scope::Org(org.clone())), [org = org.clone(), name = name.clone()], |c| {
            units::attributes::put_attribute(c, org, name, at)
        })
    }

    async fn forget_attribute_samples(&self, org: &OrgId, row: &str) -> Result<u64> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), row = row.to_owned()],
            |c| units::attributes::forget_samples(c, org, row)
        )
    }

    async fn load_attribute_sayings(&self, org: &OrgId) -> Result<Vec<AttributeSaying>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone()], |c| {
            units::attributes::load_sayings(c, org)
        })
    }

    async fn list_attribute_overflows(&self, org: &OrgId) -> Result<Vec<Overflow>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone()], |c| {
            units::attributes::list_overflows(c, org)
        })
    }

    async fn list_custom_fields(&self, org: &OrgId) -> Result<Vec<CustomField>> {
        unit!(self.read(Scope::Org(org.clone())), [org = org.clone()], |c| {
            units::custom_fields::list_custom_fields(c, org)
        })
    }

    async fn add_custom_field(&self, org: &OrgId, field: &CustomField) -> Result<bool> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), field = field.clone()],
            |c| units::custom_fields::add_custom_field(c, org, field)
        )
    }

    async fn put_custom_field(&self, org: &OrgId, field: &CustomField) -> Result<bool> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), field = field.clone()],
            |c| units::custom_fields::put_custom_field(c, org, field)
        )
    }

    async fn delete_custom_field(&self, org: &OrgId, id: &str) -> Result<bool> {
        unit!(self.write(Lane::Ack, Scope::Org(org.clone())), [org = org.clone(), id = id.to_owned()], |c| {
            units::custom_fields::delete_custom_field(c, org, id)
        })
    }

    async fn begin_idempotent(
        &self,
        org: &OrgId,
        request: &IdempotentRequest,
        at: Timestamp,
    ) -> Result<Begun> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), request = request.clone()],
            |c| units::idempotency::begin_idempotent(c, org, request, at)
        )
    }

    async fn end_idempotent(
        &self,
        org: &OrgId,
        request: &IdempotentRequest,
        answer: Option<&StoredAnswer>,
    ) -> Result<()> {
        unit!(
            self.write(Lane::Ack, Scope::Org(org.clone())),
            [org = org.clone(), request = request.clone(), answer = answer.cloned()],
            |c| units::idempotency::end_idempotent(c, org, request, answer.as_ref())
        )
    }
}
