//! Companies by hand: found, linked, set, released, derived again.

use connector_sdk::RecordKey;
use serde_json::{Map, Value, json};

use super::{Failure, Linked, Services};
use crate::domain::companies::{Company, TraitPatch};
use crate::domain::{OrgId, Rank};
use crate::store::Store;
use crate::store::identity::{Lookup, WriteSource};

/// The company of that id, external id or (when only one has it) name.
pub async fn find(store: &dyn Store, org: &OrgId, text: &str) -> Result<Company, Failure> {
    if let Some(found) = store.find_company(org, &Lookup::parse(text)).await? {
        return Ok(found);
    }
    let named: Vec<_> = store
        .list_companies(org, Some(text), None, 50)
        .await?
        .rows
        .into_iter()
        .filter(|c| c.fields.name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(text)))
        .collect();
    match <[Company; 1]>::try_from(named) {
        Ok([only]) => Ok(only),
        Err(none) if none.is_empty() => {
            Err(Failure::not_found("company_not_found", format!("no company {text:?}"))
                .hint("List them: halo-sync companies list"))
        }
        Err(several) => {
            let ids: Vec<_> = several.iter().map(|c| c.id.as_str()).collect();
            Err(Failure::invalid("company_ambiguous", format!("{} companies are called {text:?}", ids.len()))
                .hint(format!("Use an id: {}", ids.join(", "))))
        }
    }
}

impl Services {
    fn by_hand(&self) -> WriteSource {
        WriteSource { rank: Rank::Manual, source: "manual".to_owned(), at: self.clock.now() }
    }

    pub(super) async fn link(
        &self,
        org: &OrgId,
        connection: &str,
        party: &RecordKey,
        company: Option<&str>,
    ) -> Result<Value, Failure> {
        let connection = self.connection(org, connection).await?;
        let company = match company {
            Some(text) => Some(self.company(org, text).await?),
            None => None,
        };
        let link = self
            .store
            .put_manual_link(org, &connection.id, party, company.as_ref().map(|c| &c.id), self.clock.now())
            .await?;
        if link.is_none() {
            return Err(Failure::not_found(
                "party_not_found",
                format!("{} has no party {party}", connection.name),
            )
            .hint("List those without a company: halo-sync companies list --unmatched"));
        }
        Ok(json!(Linked { connection: &connection.id, party, company: company.as_ref().map(|c| &c.id) }))
    }

    pub(super) async fn set_company(
        &self,
        org: &OrgId,
        company: &str,
        traits: Map<String, Value>,
    ) -> Result<Value, Failure> {
        let id = self.company(org, company).await?.id;
        let patch = TraitPatch { traits, ..TraitPatch::default() };
        let lookup = Lookup::Id(id.0);
        let company = self.store.put_company(org, &lookup, &patch, &self.by_hand()).await?;
        Ok(json!(company))
    }

    pub(super) async fn release_company(
        &self,
        org: &OrgId,
        company: &str,
        fields: &[String],
    ) -> Result<Value, Failure> {
        let company = self.company(org, company).await?;
        self.store.release_company_fields(org, &company.id, fields, self.clock.now()).await?;
        Ok(json!({ "company": company.id, "released": fields }))
    }

    pub(super) async fn rederive(&self, org: &OrgId, company: Option<&str>) -> Result<Value, Failure> {
        let now = self.clock.now();
        if let Some(text) = company {
            let company = self.company(org, text).await?;
            self.store.mark_dirty(org, std::slice::from_ref(&company.id), "asked by hand", now).await?;
            return Ok(json!({ "marked": 1 }));
        }
        let mut after: Option<String> = None;
        loop {
            after = self.store.mark_all_dirty(org, "asked by hand", after.as_deref(), 1_000, now).await?;
            if after.is_none() {
                let marked = self.store.count_identities(org).await?.companies;
                return Ok(json!({ "marked": marked }));
            }
        }
    }
}
