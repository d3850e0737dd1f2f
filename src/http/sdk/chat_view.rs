//! What a chat knows of a customer: loaded, merged, rendered, explained. `chat/context` shows it, `chat` uses it.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::PromptSettings;
use crate::context::{
    CompanyDoc, MergeOptions, Merged, RenderOptions, Rendered, Request, UserDoc, merge, render,
};
use crate::domain::companies::FieldSource;
use crate::domain::{CompanyId, Rank, UserId};
use crate::store::identity::StoredView;
use crate::telemetry::metric;

/// The provenance of the link from a user to its company.
pub(super) const COMPANY_LINK: &str = "company_id";

/// What is stored, and what the request lays over it.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) user_id: Option<UserId>,
    pub(super) company_id: Option<CompanyId>,
    user: Option<UserDoc>,
    company: Option<CompanyDoc>,
    request: Request,
    sources: [BTreeMap<String, FieldSource>; 2],
}

impl Known {
    pub(super) fn new(view: StoredView, request: Request) -> Self {
        let StoredView { user, company } = view;
        Self {
            user_id: user.as_ref().map(|user| user.id.clone()),
            company_id: company.as_ref().map(|company| company.id.clone()),
            sources: [
                user.as_ref().map(|user| user.provenance.clone()).unwrap_or_default(),
                company.as_ref().map(|company| company.provenance.clone()).unwrap_or_default(),
            ],
            user: user.map(UserDoc::from),
            company: company.map(CompanyDoc::from),
            request,
        }
    }

    /// Merges and renders, and hands both to `with` (the merged document borrows from what is known).
    pub(super) fn render<T>(
        &self,
        prompt: &PromptSettings,
        budget_tokens: Option<usize>,
        with: impl FnOnce(&Merged<'_>, &Rendered) -> T,
    ) -> T {
        let began = Instant::now();
        let options = MergeOptions { reporting_currency: prompt.reporting_currency.clone() };
        let attributes = &prompt.attributes;
        let merged = merge(self.user.as_ref(), self.company.as_ref(), &self.request, attributes, &options);
        let budget_tokens = budget_tokens.or(prompt.budget_tokens);
        let rendered = render(&merged, &RenderOptions { budget_tokens, ..RenderOptions::default() });
        metrics::histogram!(metric::RENDER_SECONDS).record(began.elapsed().as_secs_f64());
        with(&merged, &rendered)
    }

    /// Each value with its origin, its rank, what it beat, and, where it is stored, who wrote it and when.
    pub(super) fn explain(&self, merged: &Merged<'_>) -> Value {
        let mut explained = json!(merged);
        let [user, company] = &self.sources;
        for (party, sources) in [("user", user), ("company", company)] {
            let fields = explained.pointer_mut(&format!("/{party}/fields")).and_then(Value::as_array_mut);
            for field in fields.into_iter().flatten() {
                let key = field["key"].as_str().unwrap_or_default().to_owned();
                let minor = format!("{key}_minor");
                let stored = sources.get(&key).or_else(|| sources.get(&minor));
                sign(field, stored);
            }
        }
        for entry in explained["entries"].as_array_mut().into_iter().flatten() {
            let name = format!("context.{}", entry["key"].as_str().unwrap_or_default());
            let of = |scope: &Value| if scope == "company" { company.get(&name) } else { user.get(&name) };
            let stored = of(&entry["scope"]);
            sign(entry, stored);
            for loser in entry["losers"].as_array_mut().into_iter().flatten() {
                let stored = of(&loser["scope"]);
                sign(loser, stored);
            }
        }
        explained
    }
}

/// Adds `source` and `observed_at` to a value and to those that lost to it.
fn sign(value: &mut Value, stored: Option<&FieldSource>) {
    let (source, at) = match value["origin"].as_str() {
        Some("stored") => (stored.map(|from| json!(from.source)), stored.map(|from| json!(from.at))),
        Some("token") => (Some(json!("user_token")), None),
        _ => (Some(json!("request")), None),
    };
    value["source"] = source.unwrap_or(Value::Null);
    value["observed_at"] = at.unwrap_or(Value::Null);
    if value.get("scope").is_none() {
        for loser in value["losers"].as_array_mut().into_iter().flatten() {
            sign(loser, stored);
        }
    }
}

/// Whether the user's company may be shown to whoever speaks for the user: a browser that says which company its
/// user belongs to does not learn that company's secrets by it.
pub(super) fn company_is_known(view: &StoredView) -> bool {
    let link = view.user.as_ref().and_then(|user| user.provenance.get(COMPANY_LINK));
    link.is_none_or(|link| link.rank != Rank::Claimed)
}
