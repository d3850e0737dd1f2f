//! What traits and context may be. One set of rules for every way in: the SDK API, imports, the chat.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::refusal::{FieldFault, Refusal};
use super::traits::{Traits, json_bytes};
use crate::context::money::Money;
use crate::domain::companies::TraitPatch;
use crate::domain::{ContextEntry, ContextType};
use crate::store::traits::{self as stored, Kind, RESERVED_CONTEXT};

/// The reference's limit on a user's traits and context in one call, in bytes of JSON.
pub const USER_BYTES: usize = 20_000;
/// As [`USER_BYTES`], of a company.
pub const COMPANY_BYTES: usize = 50_000;
/// Traits in one call.
pub const MOST_KEYS: usize = 1_000;
/// Context entries in one call.
pub const MOST_ENTRIES: usize = 200;
/// Bytes of a key.
pub const KEY_BYTES: usize = 256;
/// Bytes of a user's, company's or session's id.
pub const ID_BYTES: usize = 512;
/// Levels of lists and objects inside each other.
pub const DEPTH: usize = 32;
/// The currency of amounts where the configuration names none.
pub const DEFAULT_CURRENCY: &str = "usd";

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// An end user.
    User,
    /// A company.
    Company,
}

impl Record {
    fn most_bytes(self) -> usize {
        match self {
            Self::User => USER_BYTES,
            Self::Company => COMPANY_BYTES,
        }
    }

    fn kind(self, key: &str) -> Option<Kind> {
        match self {
            Self::User => stored::user_kind(key),
            Self::Company => stored::company_kind(key),
        }
    }

    /// Whether a key is set by the server.
    pub(super) fn is_reserved(self, key: &str) -> bool {
        self.reserved(key).is_some()
    }

    /// What to do instead of sending a key that the server sets; `None` for keys that may be sent.
    fn reserved(self, key: &str) -> Option<&'static str> {
        Some(match (self, key) {
            (Self::User, "id") => "is ours; name the user by user_id beside the traits",
            (Self::User, "external_id") => "is the user_id; send that beside the traits",
            (Self::User, "company_id") => {
                "is the link to a company; send company_id beside the traits, or user_id to companies/identify"
            }
            (Self::User, "first_seen" | "last_seen") => "is set by users/identify",
            (Self::Company, "id") => "is ours; name the company by company_id beside the traits",
            (Self::Company, "external_id") => "is the company_id; send that beside the traits",
            (Self::Company, "health_score" | "team_size") => "is computed by the server",
            (_, "org_id") => "follows from the key",
            (_, "created_at") => "is set by the server; send signed_up_at",
            (_, "updated_at" | "last_contacted_at") => "is set by the server",
            _ => return None,
        })
    }
}

/// Checks an id of the caller's.
pub(super) fn id(field: &str, text: &str) -> Result<(), Refusal> {
    let wrong = |message: &str| {
        let fault = FieldFault { field: field.to_owned(), message: message.to_owned() };
        Err(Refusal::fields("invalid_field", vec![fault]))
    };
    if text.is_empty() {
        return Err(Refusal::missing(field));
    }
    if text.contains('\0') {
        return wrong("must be text without NUL");
    }
    if text.len() > ID_BYTES {
        return wrong(&format!("has {} bytes, at most {ID_BYTES} are accepted", text.len()));
    }
    Ok(())
}

/// The patch that traits and context make, everything in its normal form.
pub(super) fn patch(
    record: Record,
    traits: &Traits,
    context: &Map<String, Value>,
    currency: &str,
) -> Result<TraitPatch, Refusal> {
    let bytes = traits.bytes() + if context.is_empty() { 0 } else { json_bytes(context) };
    if bytes > record.most_bytes() {
        return Err(Refusal::too_large("traits and context", bytes, record.most_bytes(), "bytes"));
    }
    reserved(record, traits)?;
    let mut faults = Vec::new();
    let patch = TraitPatch {
        traits: checked_traits(record, traits, currency, &mut faults),
        context: checked_context(context, &mut faults),
    };
    if faults.is_empty() { Ok(patch) } else { Err(Refusal::fields("invalid_field", faults)) }
}

/// Refuses keys that the server sets, all of them at once.
fn reserved(record: Record, traits: &Traits) -> Result<(), Refusal> {
    let found: Vec<(&String, &str)> = traits
        .values
        .keys()
        .chain(traits.amounts.keys())
        .filter_map(|key| record.reserved(key).map(|instead| (key, instead)))
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    let said: Vec<String> = found.iter().map(|(key, instead)| format!("{key} {instead}")).collect();
    let mut refusal =
        Refusal::new("reserved_keys", format!("traits that are set by the server: {}", said.join("; ")));
    refusal.reserved_keys = found.iter().map(|(key, _)| (*key).clone()).collect();
    refusal.fields = found
        .iter()
        .map(|(key, instead)| FieldFault { field: format!("traits.{key}"), message: (*instead).to_owned() })
        .collect();
    Err(refusal)
}

fn checked_traits(
    record: Record,
    traits: &Traits,
    currency: &str,
    faults: &mut Vec<FieldFault>,
) -> Map<String, Value> {
    let mut found = Map::new();
    let mut wrong = |key: &str, message: String| {
        faults.push(FieldFault { field: format!("traits.{key}"), message });
    };
    if traits.len() > MOST_KEYS {
        wrong("*", format!("has {} keys, at most {MOST_KEYS} are accepted", traits.len()));
        return found;
    }
    for (key, value) in &traits.values {
        if let Err(message) = key_is_fine(key) {
            wrong(key, message);
            continue;
        }
        if depth(value) > DEPTH {
            wrong(key, format!("has more than {DEPTH} levels of lists and objects"));
            continue;
        }
        match record.kind(key) {
            None => {
                found.insert(key.clone(), value.clone());
            }
            Some(_) if key == stored::MRR || key == stored::ARR => {
                wrong(key, format!("is kept by the server; send {} in major units", &key[..3]));
            }
            Some(kind) => match stored::normal(key, kind, value) {
                Err(message) => wrong(key, message),
                Ok(Value::String(code))
                    if key == stored::CURRENCY && !code.eq_ignore_ascii_case(currency) =>
                {
                    let ours = currency.to_ascii_uppercase();
                    wrong(key, format!("must be {ours}: amounts are sent in the reporting currency"));
                }
                Ok(value) => {
                    found.insert(key.clone(), value);
                }
            },
        }
    }
    for (key, text) in &traits.amounts {
        match amount(text, currency) {
            Ok(minor) => {
                if minor.is_some() {
                    found.insert(stored::CURRENCY.to_owned(), currency.to_ascii_lowercase().into());
                }
                found.insert(format!("{key}_minor"), minor.into());
            }
            Err(message) => wrong(key, message),
        }
    }
    found
}

/// Minor units of a JSON number in major units, to the last digit; `None` for `null`.
fn amount(text: &str, currency: &str) -> Result<Option<i64>, String> {
    let code = currency.to_ascii_uppercase();
    let text = text.trim();
    if text == "null" {
        return Ok(None);
    }
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Err(format!("must be a number, in major units of {code}, such as 299 or 299.5"));
    }
    match Money::parse_major(text, currency) {
        Some(money) => Ok(Some(money.minor)),
        None => Err(format!("is no amount in {code} that can be kept exactly: {}", shortened(text))),
    }
}

/// A context as it is stored; `null` removes an entry.
fn checked_context(
    context: &Map<String, Value>,
    faults: &mut Vec<FieldFault>,
) -> BTreeMap<String, Option<ContextEntry>> {
    let mut found = BTreeMap::new();
    let mut wrong = |path: String, message: String| faults.push(FieldFault { field: path, message });
    if context.len() > MOST_ENTRIES {
        let message = format!("has {} entries, at most {MOST_ENTRIES} are accepted", context.len());
        wrong("context".to_owned(), message);
        return found;
    }
    for (key, value) in context {
        if let Err(message) = context_key(key) {
            wrong(format!("context.{key}"), message);
            continue;
        }
        match value {
            Value::Null => {
                found.insert(key.clone(), None);
            }
            Value::Object(members) => match entry(members) {
                Ok(entry) => {
                    found.insert(key.clone(), Some(entry));
                }
                Err(all) => {
                    for (member, message) in all {
                        wrong(format!("context.{key}.{member}"), message);
                    }
                }
            },
            _ => wrong(
                format!("context.{key}"),
                "must be an object with label, value and, if you like, type".to_owned(),
            ),
        }
    }
    found
}

/// Checks the key of a context entry.
pub(super) fn context_key(key: &str) -> Result<(), String> {
    key_is_fine(key)?;
    if key.starts_with(RESERVED_CONTEXT) {
        return Err(format!(
            "is reserved: keys that begin with {RESERVED_CONTEXT} are written by the server"
        ));
    }
    Ok(())
}

fn entry(members: &Map<String, Value>) -> Result<ContextEntry, Vec<(&'static str, String)>> {
    let mut wrong = Vec::new();
    let label = match members.get("label") {
        Some(Value::String(label)) if !label.trim().is_empty() => label.clone(),
        Some(Value::String(_)) => {
            wrong.push(("label", "must not be empty: it is the section's header".to_owned()));
            String::new()
        }
        _ => {
            wrong.push(("label", "is required and must be a string: it is the section's header".to_owned()));
            String::new()
        }
    };
    let kind = match members.get("type") {
        None | Some(Value::Null) => None,
        Some(value) => match serde_json::from_value::<ContextType>(value.clone()) {
            Ok(kind) => Some(kind),
            Err(_) => {
                let all = "list, integration, error, status, config, feature, metric, relationship, custom";
                wrong.push(("type", format!("must be one of {all}")));
                None
            }
        },
    };
    let value = match members.get("value") {
        None => {
            wrong.push(("value", "is required".to_owned()));
            Value::Null
        }
        Some(value) if depth(value) > DEPTH => {
            wrong.push(("value", format!("has more than {DEPTH} levels of lists and objects")));
            Value::Null
        }
        Some(value) => value.clone(),
    };
    if wrong.is_empty() { Ok(ContextEntry { label, kind, value }) } else { Err(wrong) }
}

fn key_is_fine(key: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("must not have an empty key".to_owned());
    }
    if key.len() > KEY_BYTES {
        return Err(format!("has a key of {} bytes, at most {KEY_BYTES} are accepted", key.len()));
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn shortened(text: &str) -> String {
    let head: String = text.chars().take(40).collect();
    if head.len() < text.len() { format!("{head}…") } else { head }
}
