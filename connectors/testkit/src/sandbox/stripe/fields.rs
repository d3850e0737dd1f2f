//! Members of a form as Stripe reads them: leaves are texts, an empty text clears.

use serde_json::{Value, json};

use super::read::Refusal;

pub(super) fn text<'a>(form: &'a Value, name: &str) -> Option<&'a str> {
    form.get(name).and_then(Value::as_str)
}

/// A text that is not empty.
pub(super) fn filled<'a>(form: &'a Value, name: &str) -> Option<&'a str> {
    text(form, name).filter(|t| !t.is_empty())
}

pub(super) fn number(form: &Value, name: &str) -> Option<i64> {
    text(form, name).and_then(|t| t.parse().ok())
}

pub(super) fn flag(form: &Value, name: &str) -> bool {
    text(form, name) == Some("true")
}

pub(super) fn missing_param(name: &str) -> Refusal {
    Refusal {
        code: Some("parameter_missing"),
        ..Refusal::invalid(name, format!("Missing required param: {name}."))
    }
}

pub(super) fn required<'a>(form: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    filled(form, name).ok_or_else(|| missing_param(name))
}

pub(super) fn required_number(form: &Value, name: &str) -> Result<i64, Refusal> {
    required(form, name)?.parse().map_err(|_| Refusal::invalid(name, format!("Invalid integer: {name}")))
}

/// Copies texts, numbers, flags and metadata from a form.
pub(super) fn set(doc: &mut Value, form: &Value, texts: &[&str], numbers: &[&str], flags: &[&str]) {
    for name in texts {
        if let Some(value) = text(form, name) {
            doc[*name] = if value.is_empty() { Value::Null } else { json!(value) };
        }
    }
    for name in numbers {
        if let Some(value) = text(form, name) {
            doc[*name] = value.parse::<i64>().map_or(Value::Null, |n| json!(n));
        }
    }
    for name in flags {
        if let Some(value) = text(form, name) {
            doc[*name] = json!(value == "true");
        }
    }
    set_metadata(doc, form);
}

/// Copies metadata from a form; an empty text removes its key.
pub(super) fn set_metadata(doc: &mut Value, form: &Value) {
    if let Some(Value::Object(metadata)) = form.get("metadata") {
        for (key, value) in metadata {
            let Some(kept) = doc["metadata"].as_object_mut() else { break };
            if value.as_str() == Some("") {
                kept.remove(key);
            } else {
                kept.insert(key.clone(), value.clone());
            }
        }
    }
}
