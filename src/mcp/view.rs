//! A customer: loaded, merged with what the caller adds, rendered.

use std::collections::BTreeMap;

use connector_sdk::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Agent, Refusal};
use crate::context::merge::{Merged, Origin, Party};
use crate::context::render::Trimmed;
use crate::context::{
    CompanyDoc, CompanyPart, MergeOptions, RenderOptions, Request, Scope, Section, UserDoc, explain, merge,
    render,
};
use crate::domain::ContextEntry;
use crate::domain::companies::FieldSource;
use crate::store::identity::Lookup;

/// Whom it is about, and what is laid over what is stored, for this answer only.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Asked {
    /// The end user: the product's own id of them, or `usr_…`. At least one of user_id and company_id is needed
    pub(super) user_id: Option<String>,
    /// The company: the product's own id of it, or `cmp_…`. Without it: the user's company
    pub(super) company_id: Option<String>,
    /// Traits of the user, laid over the stored ones
    pub(super) custom_fields: Map<String, Value>,
    /// Context entries by key, laid over the stored ones of the user and the company
    pub(super) context: BTreeMap<String, ContextEntry>,
    /// What to lay over what is stored of the company
    pub(super) company: CompanyPart,
    /// The text may take at most this many tokens
    pub(super) budget_tokens: Option<usize>,
}

/// What a support agent sees of a customer.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CustomerContext {
    /// Our id of the user, where one was asked for
    user_id: Option<String>,
    /// Our id of the company, where there is one
    company_id: Option<String>,
    /// The text as the prompt of a chat has it
    pub(super) text: String,
    /// About how many tokens it takes
    tokens: usize,
    /// Its sections, in order
    sections: Vec<Section>,
    /// What was left out for its size
    trimmed: Vec<Trimmed>,
    /// The values that won, by key
    document: Document,
}

/// The values that won, by key.
#[derive(Debug, Serialize, JsonSchema)]
struct Document {
    /// The user's fields
    user: Option<Map<String, Value>>,
    /// The company's fields
    company: Option<Map<String, Value>>,
    /// Context entries
    context: Entries,
}

/// Context entries by key.
#[derive(Debug, Serialize, JsonSchema)]
struct Entries {
    /// The user's
    user: Map<String, Value>,
    /// The company's
    company: Map<String, Value>,
}

/// Where each line comes from.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Explanation {
    /// Our id of the user, where one was asked for
    user_id: Option<String>,
    /// Our id of the company, where there is one
    company_id: Option<String>,
    /// Every field and context entry
    lines: Vec<Line>,
    /// What the caller may not say
    refused: Vec<Refused>,
    /// What was left out of the text for its size
    trimmed: Vec<Trimmed>,
    /// The same in words
    #[serde(skip)]
    pub(super) text: String,
}

/// A field or a context entry, and where it comes from.
#[derive(Debug, Serialize, JsonSchema)]
struct Line {
    /// `user` or `company`: whose
    of: &'static str,
    /// `field` or `context`
    kind: &'static str,
    /// Its key
    key: String,
    /// The value that won
    value: Value,
    /// `stored` or `request`
    origin: Value,
    /// Who said it: `claimed`, `synced`, `server`, `verified`, `manual`. The higher wins
    rank: Value,
    /// `sdk`, `manual`, `derived` or a connector's id, where it is known
    source: Option<String>,
    /// When it was written
    at: Option<Timestamp>,
    /// Whether the prompt shows it
    in_prompt: bool,
    /// What the operator says that it means
    description: Option<String>,
    /// The values that lost to it, and why
    losers: Vec<Lost>,
}

/// A value that did not win.
#[derive(Debug, Serialize, JsonSchema)]
struct Lost {
    /// What it said
    value: Value,
    /// Where it came from
    origin: Value,
    /// Who said it
    rank: Value,
    /// Why it lost
    why: Value,
}

/// Something that the caller may not say.
#[derive(Debug, Serialize, JsonSchema)]
struct Refused {
    /// `user`, `company` or `context`
    of: Value,
    /// The key
    key: String,
    /// Why
    why: Value,
}

/// Provenance of a user's and a company's values.
#[derive(Default)]
struct Sources {
    user: BTreeMap<String, FieldSource>,
    company: BTreeMap<String, FieldSource>,
}

/// A customer as loaded, with its request.
pub(super) struct Customer {
    user_id: Option<String>,
    company_id: Option<String>,
    user: Option<UserDoc>,
    company: Option<CompanyDoc>,
    sources: Sources,
    request: Request,
    budget_tokens: Option<usize>,
}

impl Agent {
    /// Loads whom it is about.
    pub(super) async fn customer(&self, asked: Asked) -> Result<Customer, Refusal> {
        let lookup = |id: &Option<String>| id.as_deref().filter(|id| !id.is_empty()).map(Lookup::parse);
        let (user, company) = (lookup(&asked.user_id), lookup(&asked.company_id));
        if user.is_none() && company.is_none() {
            let text = "user_id or company_id is needed; find_users and find_companies give them";
            return Err(Refusal::Asked(text.to_owned()));
        }
        let view = self.store.load_view(&self.org, user.as_ref(), company.as_ref()).await?;
        if let (Some(id), None) = (&asked.user_id, &view.user)
            && user.is_some()
        {
            return Err(Refusal::Asked(format!("user_id: there is no user {id:?}; find_users finds one")));
        }
        if let (Some(id), None) = (&asked.company_id, &view.company)
            && company.is_some()
        {
            let text = format!("company_id: there is no company {id:?}; find_companies finds one");
            return Err(Refusal::Asked(text));
        }
        Ok(Customer {
            user_id: view.user.as_ref().map(|user| user.id.0.clone()),
            company_id: view.company.as_ref().map(|company| company.id.0.clone()),
            sources: Sources {
                user: view.user.as_ref().map(|user| user.provenance.clone()).unwrap_or_default(),
                company: view.company.as_ref().map(|company| company.provenance.clone()).unwrap_or_default(),
            },
            user: view.user.map(UserDoc::from),
            company: view.company.map(CompanyDoc::from),
            request: Request {
                custom_fields: asked.custom_fields,
                context: asked.context,
                company: asked.company,
                ..Request::default()
            },
            budget_tokens: asked.budget_tokens,
        })
    }

    fn merged<'a>(&'a self, customer: &'a Customer, options: &'a MergeOptions) -> Merged<'a> {
        let Customer { user, company, request, .. } = customer;
        merge(user.as_ref(), company.as_ref(), request, &self.prompt.attributes, options)
    }

    fn merge_options(&self) -> MergeOptions {
        MergeOptions { reporting_currency: self.prompt.reporting_currency.clone() }
    }

    fn render_options(&self, customer: &Customer) -> RenderOptions {
        let budget_tokens = customer.budget_tokens.or(self.prompt.budget_tokens);
        RenderOptions { budget_tokens, ..RenderOptions::default() }
    }

    /// What a support agent sees of them.
    pub(super) fn context_of(&self, customer: Customer) -> CustomerContext {
        let options = self.merge_options();
        let merged = self.merged(&customer, &options);
        let rendered = render(&merged, &self.render_options(&customer));
        let document = document(&merged);
        CustomerContext {
            user_id: customer.user_id,
            company_id: customer.company_id,
            text: rendered.text,
            tokens: rendered.tokens,
            sections: rendered.sections,
            trimmed: rendered.trimmed,
            document,
        }
    }

    /// Where each line of that comes from.
    pub(super) fn explanation_of(&self, customer: Customer) -> Explanation {
        let options = self.merge_options();
        let merged = self.merged(&customer, &options);
        let trimmed = render(&merged, &self.render_options(&customer)).trimmed;
        let text = explain(&merged).join("\n");
        let mut lines = fields("user", merged.user.as_ref(), &customer.sources.user);
        lines.extend(fields("company", merged.company.as_ref(), &customer.sources.company));
        for entry in &merged.entries {
            let (of, sources) = match entry.scope {
                Scope::Company => ("company", &customer.sources.company),
                _ => ("user", &customer.sources.user),
            };
            let stored = sources.get(&format!("context.{}", entry.key));
            let stored = stored.filter(|_| entry.origin == Origin::Stored);
            lines.push(Line {
                of,
                kind: "context",
                key: entry.key.to_owned(),
                value: json!(entry.entry),
                origin: json!(entry.origin),
                rank: json!(entry.rank),
                source: stored.map(|source| source.source.clone()),
                at: stored.map(|source| source.at),
                in_prompt: entry.in_prompt,
                description: entry.description.map(str::to_owned),
                losers: (entry.losers.iter())
                    .map(|l| lost(json!(l.entry), json!(l.origin), json!(l.rank), json!(l.why)))
                    .collect(),
            });
        }
        let refused = merged.refused.iter().map(|refused| Refused {
            of: json!(refused.scope),
            key: refused.key.to_owned(),
            why: json!(refused.why),
        });
        Explanation {
            user_id: customer.user_id.clone(),
            company_id: customer.company_id.clone(),
            lines,
            refused: refused.collect(),
            trimmed,
            text,
        }
    }
}

fn document(merged: &Merged<'_>) -> Document {
    let fields = |party: &Party<'_>| {
        party.fields.iter().map(|field| (field.key.to_owned(), json!(field.value))).collect()
    };
    let entries = |scope: Scope| {
        let of_scope = merged.entries.iter().filter(|entry| entry.scope == scope);
        of_scope.map(|entry| (entry.key.to_owned(), json!(entry.entry))).collect()
    };
    Document {
        user: merged.user.as_ref().map(fields),
        company: merged.company.as_ref().map(fields),
        context: Entries { user: entries(Scope::User), company: entries(Scope::Company) },
    }
}

fn fields(of: &'static str, party: Option<&Party<'_>>, sources: &BTreeMap<String, FieldSource>) -> Vec<Line> {
    let fields = party.map(|party| party.fields.as_slice()).unwrap_or_default();
    let line = |field: &crate::context::merge::Field<'_>| {
        // An amount is stored under the name of its minor units.
        let stored = sources.get(field.key).or_else(|| sources.get(&format!("{}_minor", field.key)));
        let stored = stored.filter(|_| field.origin == Origin::Stored);
        Line {
            of,
            kind: "field",
            key: field.key.to_owned(),
            value: json!(field.value),
            origin: json!(field.origin),
            rank: json!(field.rank),
            source: stored.map(|source| source.source.clone()),
            at: stored.map(|source| source.at),
            in_prompt: field.in_prompt,
            description: field.description.map(str::to_owned),
            losers: (field.losers.iter())
                .map(|l| lost(json!(l.value), json!(l.origin), json!(l.rank), json!(l.why)))
                .collect(),
        }
    };
    fields.iter().map(line).collect()
}

fn lost(value: Value, origin: Value, rank: Value, why: Value) -> Lost {
    Lost { value, origin, rank, why }
}
