//! What a derivation writes: columns, traits, context entries.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::currency::major_text;
use super::document::Derivation;
use super::notes::Noted;
use crate::domain::companies::CompanyFields;
use crate::domain::{ContextEntry, ContextType};

/// What a derivation writes to its company.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DerivedFields {
    /// Columns. `None` clears a column of [`DerivedFields::owned`], and says nothing about any other.
    pub columns: CompanyFields,
    /// Names of the columns that the derivation speaks about.
    pub owned: Vec<String>,
    /// Traits; a null removes what an earlier derivation wrote.
    pub traits: Map<String, Value>,
    /// Context entries under the reserved prefix; `None` removes.
    pub context: BTreeMap<String, Option<ContextEntry>>,
    /// Whether the figures come from test objects.
    pub test: bool,
}

/// Columns that a derivation speaks about.
const OWNED: [&str; 13] = [
    "plan",
    "renewal_status",
    "renewal_date",
    "contract_term",
    "contract_term_months",
    "payment_terms",
    "on_contract",
    "mrr_minor",
    "arr_minor",
    "mrr_currency",
    "team_size",
    "industry",
    "employee_count",
];

/// Names of a company's other columns, and of what is none of its fields: a noted custom field cannot be called so.
const COLUMNS: [&str; 10] = [
    "name",
    "domain",
    "signed_up_at",
    "health_score",
    "last_contacted_at",
    "id",
    "external_id",
    "org_id",
    "created_at",
    "updated_at",
];

/// The context entry that lists subscriptions.
const SUBSCRIPTIONS: &str = "halo.subscriptions";

/// The context entry that lists agreements.
const CONTRACTS: &str = "halo.contracts";

/// Columns, traits and context entries of a derivation.
///
/// Amounts among the traits are texts in major units with their currency (`520.00 USD`): a bare number would
/// not say which money it is. A company without anything at a billing tool gets no billing values at all, not
/// zeros.
pub fn outputs(derivation: &Derivation) -> DerivedFields {
    let v = &derivation.values;
    let billed = !derivation.accounts.is_empty()
        || !derivation.mrr.subscriptions.is_empty()
        || v.last_payment_date.is_some();
    let if_billed = |value: Option<i64>| value.filter(|_| billed);
    let entered = |field: &str| derivation.provenance.get(field).is_some_and(|p| p.rule == "manual");
    let columns = CompanyFields {
        plan: v.plan.clone(),
        renewal_status: v.renewal_status.clone(),
        renewal_date: v.renewal_date,
        contract_term: v.contract_term.clone(),
        contract_term_months: v.contract_term_months.map(i64::from),
        payment_terms: v.payment_terms.clone(),
        on_contract: Some(v.on_contract).filter(|on| *on || billed || entered("on_contract")),
        mrr_minor: if entered("mrr_minor") { v.mrr_minor } else { if_billed(v.mrr_minor) },
        arr_minor: if entered("mrr_minor") || entered("arr_minor") {
            v.arr_minor
        } else {
            if_billed(v.arr_minor)
        },
        mrr_currency: v.currency.clone().filter(|_| v.mrr_minor.is_some()),
        team_size: v.team_size.and_then(|n| i64::try_from(n).ok()),
        industry: v.industry.clone(),
        employee_count: v.employee_count,
        ..CompanyFields::default()
    };

    let money = |amount: Option<i64>, currency: Option<&str>| match (amount, currency) {
        (Some(amount), Some(currency)) if billed => {
            json!(format!("{} {}", major_text(amount, currency), currency.to_ascii_uppercase()))
        }
        _ => Value::Null,
    };
    let mut traits = Map::new();
    traits.insert("lifetime_value".to_owned(), money(v.ltv_minor, v.ltv_currency.as_deref()));
    traits.insert("monthly_spend".to_owned(), money(v.monthly_spend_minor, v.currency.as_deref()));
    traits.insert("last_payment_date".to_owned(), json!(v.last_payment_date));
    let status = if billed { json!(v.subscription_status) } else { Value::Null };
    traits.insert("subscription_status".to_owned(), status);
    traits.insert("lifecycle_stage".to_owned(), json!(v.lifecycle_stage));
    traits.insert("owner".to_owned(), json!(v.owner));
    for (kind, by_connector) in [("customer", &derivation.accounts), ("company", &derivation.organizations)] {
        for (connector, ids) in by_connector {
            let value = match ids.as_slice() {
                [one] => json!(one),
                several => json!(several),
            };
            traits.insert(format!("{connector}_{kind}_id"), value);
        }
    }

    for (key, value) in &derivation.noted.traits {
        if !OWNED.contains(&key.as_str()) && !COLUMNS.contains(&key.as_str()) {
            traits.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }

    let mut context = BTreeMap::new();
    let label = if derivation.test { "Subscriptions (TEST)" } else { "Subscriptions" };
    let subscriptions = (!derivation.subscriptions.is_empty()).then(|| ContextEntry {
        label: label.to_owned(),
        kind: Some(ContextType::List),
        value: Value::Array(derivation.subscriptions.iter().map(entry).collect()),
    });
    context.insert(SUBSCRIPTIONS.to_owned(), subscriptions);
    let contracts = (!derivation.contracts.is_empty()).then(|| ContextEntry {
        label: "Contracts".to_owned(),
        kind: Some(ContextType::List),
        value: contracts(&derivation.contracts),
    });
    context.insert(CONTRACTS.to_owned(), contracts);
    for (key, entry) in &derivation.noted.context {
        context.insert(Noted::context_key(key), Some(entry.clone()));
    }

    DerivedFields {
        columns,
        owned: OWNED.map(str::to_owned).to_vec(),
        traits,
        context,
        test: derivation.test,
    }
}

/// Of agreements without end only the latest are for a prompt; how many more there are is told.
const MOST_CONTRACTS: usize = 20;

fn contracts(all: &[super::ContractState]) -> Value {
    let mut items: Vec<Value> = all.iter().take(MOST_CONTRACTS).map(super::ContractState::entry).collect();
    if all.len() > MOST_CONTRACTS {
        items.push(json!({ "label": format!("{} older ones", all.len() - MOST_CONTRACTS) }));
    }
    Value::Array(items)
}

/// A subscription without what is not known about it. A list's item is called by its `label`: the plan.
fn entry(state: &super::SubscriptionState) -> Value {
    match serde_json::to_value(state) {
        Ok(Value::Object(members)) => Value::Object(
            members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| if key == "plan" { ("label".to_owned(), value) } else { (key, value) })
                .collect(),
        ),
        _ => Value::Null,
    }
}
