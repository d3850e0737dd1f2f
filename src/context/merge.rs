//! One document from what is stored and what a request says: later wins within a rank, a higher rank always.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::fields::{
    MONEY_FIELDS, RESERVED_PREFIX, Scope, is_bookkeeping, order_of, printed_by_default, system_fields,
};
use super::input::{AttributeInfo, CompanyDoc, Request, UserDoc};
use super::money::Money;
use crate::domain::{ContextEntry, Rank};

/// What merge needs to know of the organisation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MergeOptions {
    /// ISO 4217 code. A plain number for `mrr` or `arr` is an amount of major units in it; without it
    /// the stored `mrr_currency` is taken, and without that the number is printed as a number.
    pub reporting_currency: Option<String>,
}

/// Which layer a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The database.
    Stored,
    /// A verified user token.
    Token,
    /// The request's body.
    Request,
}

/// Why a value did not win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A later value of the same or a higher rank took its place.
    Overwritten,
    /// The value that stood there ranks higher.
    Outranked,
    /// A custom field named like a column that has a value.
    Shadowed,
    /// Only the system writes this field.
    SystemManaged,
    /// The key belongs to derivation.
    ReservedKey,
    /// The number is no amount of minor units in its currency.
    NotExact,
}

/// A value that did not win.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Loser<'a> {
    /// What it said.
    pub value: FieldValue<'a>,
    /// Where it came from.
    pub origin: Origin,
    /// Its rank.
    pub rank: Rank,
    /// Why it lost.
    pub why: Why,
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum FieldValue<'a> {
    /// As it was given; `null` where a request takes a stored value away.
    Json(&'a Value),
    /// An amount of money.
    Money(Money),
}

/// A field of the merged user or company.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field<'a> {
    /// Its key.
    pub key: &'a str,
    /// The value that won.
    pub value: FieldValue<'a>,
    /// Where it came from.
    pub origin: Origin,
    /// Its rank.
    pub rank: Rank,
    /// The values that lost to it, in the order of the layers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub losers: Vec<Loser<'a>>,
    /// What the operator says that it means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<&'a str>,
    /// Whether it is printed.
    pub in_prompt: bool,
}

/// The merged user or company: fields in printed order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Party<'a> {
    /// Derived from a test-mode connection.
    pub test: bool,
    /// Fields in printed order: recognised ones first, then by code point.
    pub fields: Vec<Field<'a>>,
}

impl<'a> Party<'a> {
    /// The field with this key.
    pub fn field(&self, key: &str) -> Option<&Field<'a>> {
        self.fields.iter().find(|field| field.key == key)
    }
}

/// An entry that did not win.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EntryLoser<'a> {
    /// Whose entry it was.
    pub scope: Scope,
    /// What it said.
    pub entry: &'a ContextEntry,
    /// Where it came from.
    pub origin: Origin,
    /// Its rank.
    pub rank: Rank,
    /// Why it lost.
    pub why: Why,
}

/// A context entry that won.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry<'a> {
    /// Its key.
    pub key: &'a str,
    /// Whose it is: the user's or the company's.
    pub scope: Scope,
    /// The entry, whole.
    pub entry: &'a ContextEntry,
    /// Where it came from.
    pub origin: Origin,
    /// Its rank.
    pub rank: Rank,
    /// The user and the company both have an entry with this key.
    pub shared: bool,
    /// The entries that lost to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub losers: Vec<EntryLoser<'a>>,
    /// What the operator says that it means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<&'a str>,
    /// Whether it is printed.
    pub in_prompt: bool,
}

/// Something that the request may not say at all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refused<'a> {
    /// About whom.
    pub scope: Scope,
    /// The field's or the entry's key.
    pub key: &'a str,
    /// Why.
    pub why: Why,
}

/// What is known for this chat. Borrows from the inputs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Merged<'a> {
    /// The user, if one is known or the request says anything of one.
    pub user: Option<Party<'a>>,
    /// The company, likewise.
    pub company: Option<Party<'a>>,
    /// Context entries by key, the user's before the company's.
    pub entries: Vec<Entry<'a>>,
    /// What the visitor is doing, as the page saw it: a claim, whoever passes it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behavior: Option<&'a str>,
    /// What the request may not say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused<'a>>,
}

/// Lays the request over what is stored (`docs/prompt-format.md`, "Who wins").
///
/// Fields merge key by key, in the order stored, token claims, request; a context entry is replaced whole. A
/// request's own entry (`context`) lies over the stored entries of both the user and the company: it takes the
/// place of each with its key, unless one of them ranks higher, in which case it is refused.
pub fn merge<'a>(
    user: Option<&'a UserDoc>,
    company: Option<&'a CompanyDoc>,
    request: &'a Request,
    attributes: &'a [AttributeInfo],
    options: &'a MergeOptions,
) -> Merged<'a> {
    let known: BTreeMap<(Scope, &str), &AttributeInfo> =
        attributes.iter().map(|attribute| ((attribute.scope, attribute.key.as_str()), attribute)).collect();
    let mut refused = Vec::new();
    let rank = request.key.rank();

    let has_user = user.is_some() || !request.custom_fields.is_empty() || !request.claims.is_empty();
    let merged_user = has_user.then(|| {
        let mut fields = Fields::new(Scope::User, options);
        if let Some(user) = user {
            fields.stored(&user.columns, &user.custom_fields, &user.provenance);
        }
        fields.layer(&request.claims, Origin::Token, Rank::Server, &mut refused);
        fields.layer(&request.custom_fields, Origin::Request, rank, &mut refused);
        Party { test: false, fields: fields.finish(&known) }
    });
    let has_company = company.is_some() || !request.company.custom_fields.is_empty();
    let merged_company = has_company.then(|| {
        let mut fields = Fields::new(Scope::Company, options);
        if let Some(company) = company {
            fields.stored(&company.columns, &company.custom_fields, &company.provenance);
        }
        fields.layer(&request.company.custom_fields, Origin::Request, rank, &mut refused);
        Party { test: company.is_some_and(|company| company.test), fields: fields.finish(&known) }
    });
    let entries = merge_entries(user, company, request, &known, &mut refused);
    let behavior = request.behavior_context.as_deref().filter(|text| !text.trim().is_empty());
    Merged { user: merged_user, company: merged_company, entries, behavior, refused }
}

struct Fields<'a> {
    scope: Scope,
    options: &'a MergeOptions,
    stored_currency: Option<&'a str>,
    by_key: BTreeMap<&'a str, Field<'a>>,
}

impl<'a> Fields<'a> {
    fn new(scope: Scope, options: &'a MergeOptions) -> Self {
        Self { scope, options, stored_currency: None, by_key: BTreeMap::new() }
    }

    fn stored(
        &mut self,
        columns: &'a Map<String, Value>,
        custom: &'a Map<String, Value>,
        provenance: &BTreeMap<String, Rank>,
    ) {
        let rank_of = |key: &str| provenance.get(key).copied().unwrap_or(Rank::Server);
        let text = |key: &str| columns.get(key).or_else(|| custom.get(key)).and_then(Value::as_str);
        self.stored_currency = text("mrr_currency");
        for (key, value) in columns {
            if !value.is_null() && !is_bookkeeping(self.scope, key) {
                self.put(key, FieldValue::Json(value), Origin::Stored, rank_of(key));
            }
        }
        for (key, value) in custom {
            if value.is_null() {
                continue;
            }
            let rank = rank_of(key);
            match self.by_key.get_mut(key.as_str()) {
                Some(column) => {
                    let value = FieldValue::Json(value);
                    column.losers.push(Loser { value, origin: Origin::Stored, rank, why: Why::Shadowed });
                }
                None => self.put(key, FieldValue::Json(value), Origin::Stored, rank),
            }
        }
        for &base in MONEY_FIELDS {
            let (Some((minor, minor_key)), currency) = (
                [columns, custom].into_iter().find_map(|map| money_minor(map, base)),
                text(own_currency(base)).or(self.stored_currency),
            ) else {
                continue;
            };
            if let Some(money) = currency.and_then(|currency| Money::new(minor, currency)) {
                let rank = if provenance.contains_key(base) { rank_of(base) } else { rank_of(minor_key) };
                let mut losers = Vec::new();
                self.by_key.remove(minor_key);
                if let Some(Field { value, origin, rank, .. }) = self.by_key.remove(base) {
                    losers.push(Loser { value, origin, rank, why: Why::Shadowed });
                }
                self.put(base, FieldValue::Money(money), Origin::Stored, rank);
                if let Some(field) = self.by_key.get_mut(base) {
                    field.losers = losers;
                }
            }
        }
        // What derivation writes as an amount is one; the same text from anybody else is a text.
        for &base in MONEY_FIELDS {
            if let Some(field) = self.by_key.get_mut(base)
                && field.rank == Rank::Synced
                && let FieldValue::Json(Value::String(text)) = field.value
                && let Some(money) = Money::from_text(text)
            {
                field.value = FieldValue::Money(money);
            }
        }
        // A currency is part of its amounts, not a trait.
        for &base in MONEY_FIELDS {
            if text(own_currency(base)).is_some_and(|currency| Money::new(0, currency).is_some()) {
                self.by_key.remove(own_currency(base));
            }
        }
        for base in ["mrr", "arr"] {
            let Some(field) = self.by_key.get_mut(base) else { continue };
            if let FieldValue::Json(Value::Number(number)) = field.value
                && let Some(currency) = text(own_currency(base))
                    .or(self.stored_currency)
                    .or(self.options.reporting_currency.as_deref())
                && let Some(money) = Money::from_major(number, currency)
            {
                field.value = FieldValue::Money(money);
            }
        }
    }

    fn put(&mut self, key: &'a str, value: FieldValue<'a>, origin: Origin, rank: Rank) {
        let field =
            Field { key, value, origin, rank, losers: Vec::new(), description: None, in_prompt: true };
        self.by_key.insert(key, field);
    }

    fn layer(
        &mut self,
        layer: &'a Map<String, Value>,
        origin: Origin,
        rank: Rank,
        refused: &mut Vec<Refused<'a>>,
    ) {
        for (key, value) in layer {
            let key = key.as_str();
            let money_part = MONEY_FIELDS.iter().any(|base| {
                key.strip_prefix(base).is_some_and(|rest| matches!(rest, "_minor" | "_currency"))
            });
            if system_fields(self.scope).contains(&key) || money_part {
                // A token names the user and the company; that is its purpose, not a trait.
                if origin == Origin::Request {
                    refused.push(Refused { scope: self.scope, key, why: Why::SystemManaged });
                }
                continue;
            }
            if origin == Origin::Token && matches!(key, "user_id" | "sub" | "exp" | "iat" | "nbf" | "scope") {
                continue;
            }
            let mut new = FieldValue::Json(value);
            if let (Value::Number(number), "mrr" | "arr") = (value, key)
                && let Some(currency) = self.options.reporting_currency.as_deref().or(self.stored_currency)
            {
                match Money::from_major(number, currency) {
                    Some(money) => new = FieldValue::Money(money),
                    None => {
                        let loser = Loser { value: new, origin, rank, why: Why::NotExact };
                        match self.by_key.get_mut(key) {
                            Some(field) => field.losers.push(loser),
                            None => refused.push(Refused { scope: self.scope, key, why: Why::NotExact }),
                        }
                        continue;
                    }
                }
            }
            match self.by_key.get_mut(key) {
                Some(field) if field.rank.level() > rank.level() => {
                    field.losers.push(Loser { value: new, origin, rank, why: Why::Outranked });
                }
                Some(field) => {
                    let (value, why) = (field.value, Why::Overwritten);
                    field.losers.push(Loser { value, origin: field.origin, rank: field.rank, why });
                    (field.value, field.origin, field.rank) = (new, origin, rank);
                }
                None => self.put(key, new, origin, rank),
            }
        }
    }

    fn finish(self, known: &BTreeMap<(Scope, &'a str), &'a AttributeInfo>) -> Vec<Field<'a>> {
        let order = order_of(self.scope);
        let mut fields = Vec::with_capacity(self.by_key.len());
        let mut rest = self.by_key;
        for key in order {
            fields.extend(rest.remove(key));
        }
        fields.extend(rest.into_values());
        for field in &mut fields {
            let attribute = known.get(&(self.scope, field.key));
            field.description = attribute.and_then(|attribute| attribute.description.as_deref());
            field.in_prompt = attribute
                .and_then(|attribute| attribute.in_prompt)
                .unwrap_or_else(|| printed_by_default(field.key, field.rank == Rank::Synced));
        }
        fields
    }
}

fn own_currency(base: &str) -> &'static str {
    match base {
        "mrr" => "mrr_currency",
        "arr" => "arr_currency",
        "monthly_spend" => "monthly_spend_currency",
        _ => "lifetime_value_currency",
    }
}

fn money_minor(map: &Map<String, Value>, base: &str) -> Option<(i64, &'static str)> {
    let key = match base {
        "mrr" => "mrr_minor",
        "arr" => "arr_minor",
        "monthly_spend" => "monthly_spend_minor",
        _ => "lifetime_value_minor",
    };
    map.get(key).and_then(Value::as_i64).map(|minor| (minor, key))
}

fn merge_entries<'a>(
    user: Option<&'a UserDoc>,
    company: Option<&'a CompanyDoc>,
    request: &'a Request,
    known: &BTreeMap<(Scope, &'a str), &'a AttributeInfo>,
    refused: &mut Vec<Refused<'a>>,
) -> Vec<Entry<'a>> {
    // By key, the user's before the company's: the printed order.
    let mut entries: BTreeMap<(&'a str, Scope), Entry<'a>> = BTreeMap::new();
    let stored = [
        (Scope::User, user.map(|user| (&user.context, &user.provenance))),
        (Scope::Company, company.map(|company| (&company.context, &company.provenance))),
    ];
    for (scope, doc) in stored {
        let Some((context, provenance)) = doc else { continue };
        let ranked = provenance.iter().any(|(key, _)| key.starts_with("context."));
        for (key, entry) in context {
            let rank = if ranked { provenance.get(&format!("context.{key}")).copied() } else { None };
            let entry = won(key, scope, entry, Origin::Stored, rank.unwrap_or(Rank::Server));
            entries.insert((key, scope), entry);
        }
    }
    let rank = request.key.rank();
    // The request's company entries lie over the company's; its own over both sides.
    let layers: [(Scope, &BTreeMap<String, ContextEntry>, &[Scope]); 2] = [
        (Scope::Company, &request.company.context, &[Scope::Company]),
        (Scope::User, &request.context, &[Scope::User, Scope::Company]),
    ];
    for (scope, layer, over) in layers {
        for (key, entry) in layer {
            let key = key.as_str();
            if key.starts_with(RESERVED_PREFIX) {
                refused.push(Refused { scope: Scope::Context, key, why: Why::ReservedKey });
                continue;
            }
            let mut outranked = false;
            for side in over {
                if let Some(standing) = entries.get_mut(&(key, *side))
                    && standing.rank.level() > rank.level()
                {
                    let why = Why::Outranked;
                    standing.losers.push(EntryLoser { scope, entry, origin: Origin::Request, rank, why });
                    outranked = true;
                }
            }
            if outranked {
                continue;
            }
            let mut winner = won(key, scope, entry, Origin::Request, rank);
            for side in over {
                // What the same request says of the company stands beside what it says of the user.
                if entries.get(&(key, *side)).is_some_and(|standing| standing.origin == Origin::Stored)
                    && let Some(old) = entries.remove(&(key, *side))
                {
                    winner.losers.extend(old.losers);
                    let (origin, rank, why) = (old.origin, old.rank, Why::Overwritten);
                    winner.losers.push(EntryLoser { scope: *side, entry: old.entry, origin, rank, why });
                }
            }
            entries.insert((key, scope), winner);
        }
    }
    let mut entries: Vec<Entry<'a>> = entries.into_values().collect();
    for at in 0..entries.len() {
        if at > 0 && entries[at - 1].key == entries[at].key {
            entries[at - 1].shared = true;
            entries[at].shared = true;
        }
        if let Some(attribute) = known.get(&(Scope::Context, entries[at].key)) {
            entries[at].description = attribute.description.as_deref();
            entries[at].in_prompt = attribute.in_prompt.unwrap_or(true);
        }
    }
    entries
}

fn won<'a>(key: &'a str, scope: Scope, entry: &'a ContextEntry, origin: Origin, rank: Rank) -> Entry<'a> {
    let (losers, shared, description, in_prompt) = (Vec::new(), false, None, true);
    Entry { key, scope, entry, origin, rank, shared, losers, description, in_prompt }
}
