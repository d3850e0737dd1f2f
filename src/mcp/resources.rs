//! What an agent can read by an address.
//!
//! | address | what it is |
//! | --- | --- |
//! | `halo://users/{id}/context` | the prompt's text about a user and their company |
//! | `halo://companies/{id}/context` | the prompt's text about a company alone |
//! | `halo://companies/{id}/derivation` | the company's derivation, as JSON |
//!
//! An id is ours or the product's own, percent-encoded.

use percent_encoding::percent_decode_str;
use rmcp::model::{
    ErrorData, ListResourcesResult, ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
};
use serde_json::json;

use super::view::Asked;
use super::{Agent, Refusal, tools, unavailable};

/// Rows of the store on a page: a company has two resources.
const PAGE: i64 = 50;

const TEXT: &str = "text/plain";
const JSON: &str = "application/json";

/// The forms of addresses.
pub(super) fn templates() -> Vec<ResourceTemplate> {
    let template = |uri: &str, name: &str, title: &str, description: &str, kind: &str| {
        ResourceTemplate::new(uri, name).with_title(title).with_description(description).with_mime_type(kind)
    };
    vec![
        template(
            "halo://users/{id}/context",
            "user_context",
            "What support sees of a user",
            "The text of the prompt about an end user and their company; id: the product's own, or usr_…",
            TEXT,
        ),
        template(
            "halo://companies/{id}/context",
            "company_context",
            "What support sees of a company",
            "The text of the prompt about a company; id: the product's own, or cmp_…",
            TEXT,
        ),
        template(
            "halo://companies/{id}/derivation",
            "company_derivation",
            "Why a company's figures are what they are",
            "Every derived value with its rule, inputs and source records; id: the product's own, or cmp_…",
            JSON,
        ),
    ]
}

/// What an address names.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    User(String),
    Company(String),
    Derivation(String),
}

impl Address {
    fn parse(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix("halo://")?.split('/');
        let (of, id, what) = (parts.next()?, parts.next()?, parts.next()?);
        let id = percent_decode_str(id).decode_utf8().ok()?.into_owned();
        if id.is_empty() || parts.next().is_some() {
            return None;
        }
        match (of, what) {
            ("users", "context") => Some(Self::User(id)),
            ("companies", "context") => Some(Self::Company(id)),
            ("companies", "derivation") => Some(Self::Derivation(id)),
            _ => None,
        }
    }
}

impl Agent {
    /// A page of all resources: companies first, then users.
    pub(super) async fn resources(&self, cursor: Option<&str>) -> Result<ListResourcesResult, ErrorData> {
        let companies = tools::cursor("resources-companies", cursor);
        let users = tools::cursor("resources-users", cursor);
        let (resources, next) = match (companies, users) {
            (Ok(after), _) => self.company_resources(after.as_deref()).await?,
            (_, Ok(after)) => self.user_resources(after.as_deref()).await?,
            _ => return Err(ErrorData::invalid_params("cursor: not one that this list gave", None)),
        };
        let mut page = ListResourcesResult::with_all_items(resources);
        page.next_cursor = next;
        Ok(page)
    }

    async fn company_resources(
        &self,
        after: Option<&str>,
    ) -> Result<(Vec<Resource>, Option<String>), ErrorData> {
        let page = self.store.list_companies(&self.org, None, after, PAGE).await;
        let page = page.map_err(|error| unavailable(&error))?;
        let mut resources = Vec::with_capacity(page.rows.len() * 2);
        for company in &page.rows {
            let id = &company.id;
            let called = company.fields.name.as_deref().or(company.external_id.as_deref());
            let called = called.unwrap_or(id.as_str());
            resources.push(
                Resource::new(format!("halo://companies/{id}/context"), format!("{id}.context"))
                    .with_title(format!("{called}: context"))
                    .with_mime_type(TEXT),
            );
            resources.push(
                Resource::new(format!("halo://companies/{id}/derivation"), format!("{id}.derivation"))
                    .with_title(format!("{called}: derivation"))
                    .with_mime_type(JSON),
            );
        }
        // Behind the last company come the users: those whose id is larger than nothing.
        let next = match &page.next {
            Some(id) => tools::cursor_text("resources-companies", id),
            None => tools::cursor_text("resources-users", ""),
        };
        Ok((resources, Some(next)))
    }

    async fn user_resources(
        &self,
        after: Option<&str>,
    ) -> Result<(Vec<Resource>, Option<String>), ErrorData> {
        let page = self.store.list_users(&self.org, None, after, 2 * PAGE).await;
        let page = page.map_err(|error| unavailable(&error))?;
        let resource = |user: &crate::domain::users::EndUser| {
            let id = &user.id;
            let called = user.fields.name.as_deref().or(user.external_id.as_deref()).unwrap_or(id.as_str());
            Resource::new(format!("halo://users/{id}/context"), format!("{id}.context"))
                .with_title(format!("{called}: context"))
                .with_mime_type(TEXT)
        };
        let next = page.next.as_deref().map(|id| tools::cursor_text("resources-users", id));
        Ok((page.rows.iter().map(resource).collect(), next))
    }

    /// Reads one resource.
    pub(super) async fn resource(&self, uri: &str) -> Result<ReadResourceResult, ErrorData> {
        let (text, kind) = self.read(uri).await.map_err(|refusal| match refusal {
            // The same for what does not exist and for what is another organisation's.
            Refusal::Asked(_) => {
                ErrorData::resource_not_found("there is no such resource", Some(json!({ "uri": uri })))
            }
            Refusal::Store(error) => unavailable(&error),
        })?;
        Ok(ReadResourceResult::new(vec![ResourceContents::text(text, uri).with_mime_type(kind)]))
    }

    async fn read(&self, uri: &str) -> Result<(String, &'static str), Refusal> {
        let asked = match Address::parse(uri).ok_or_else(|| Refusal::Asked(String::new()))? {
            Address::User(id) => Asked { user_id: Some(id), ..Asked::default() },
            Address::Company(id) => Asked { company_id: Some(id), ..Asked::default() },
            Address::Derivation(id) => return Ok((json!(self.derivation(&id).await?).to_string(), JSON)),
        };
        Ok((self.context_of(self.customer(asked).await?).text, TEXT))
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn addresses() {
        for (uri, expected) in [
            ("halo://users/usr_1/context", Some(Address::User("usr_1".to_owned()))),
            ("halo://users/a%2Fb%20c/context", Some(Address::User("a/b c".to_owned()))),
            ("halo://companies/acme/context", Some(Address::Company("acme".to_owned()))),
            ("halo://companies/acme/derivation", Some(Address::Derivation("acme".to_owned()))),
            ("halo://users/acme/derivation", None),
            ("halo://companies//context", None),
            ("halo://companies/a/b/context", None),
            ("halo://companies/%ff/context", None),
            ("https://companies/a/context", None),
            ("halo://companies/a", None),
            ("", None),
        ] {
            assert_eq!(Address::parse(uri), expected, "{uri}");
        }
    }
}
