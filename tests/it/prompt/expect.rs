//! What a reader of the prompt is to recover, from the rules of `docs/prompt-format.md`, and the comparison up
//! to what the page says cannot be told apart.

use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization;

use super::parser::Tree;

/// The characters that the page lists as removed; a comparison leaves them out on both sides, so it does
/// not matter which of them a neighbour needed.
pub(crate) fn strip(text: &str) -> String {
    let invisible = |c: char| {
        matches!(c as u32,
            0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
            | 0x202A..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
            | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF)
    };
    text.chars().filter(|c| !invisible(*c)).collect()
}

/// A key up to humanising.
pub(crate) fn fold(key: &str) -> String {
    // `{200B}` shows a character that is not ASCII.
    let mut shown = String::new();
    let mut rest = key;
    while let Some(at) = rest.find('{') {
        shown.push_str(&rest[..at]);
        let code = rest[at + 1..]
            .split_once('}')
            .and_then(|(hex, tail)| Some((char::from_u32(u32::from_str_radix(hex, 16).ok()?)?, tail)));
        match code {
            Some((c, tail)) => {
                shown.push(c);
                rest = tail;
            }
            None => {
                shown.push('{');
                rest = &rest[at + 1..];
            }
        }
    }
    shown.push_str(rest);
    let folded: String = strip(&shown).nfkc().flat_map(char::to_lowercase).nfkc().collect();
    folded.chars().filter(|c| !matches!(c, '_' | '-' | '.' | '/' | ' ')).collect()
}

fn text(s: &str) -> Tree {
    Tree::Text(s.to_owned(), 0)
}

fn is_scalar(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => true,
    }
}

/// A value of a field or of a pair.
pub(crate) fn value(value: &Value) -> Tree {
    match value {
        Value::String(s) => text(s),
        Value::Array(items) if items.is_empty() => Tree::EmptyList,
        Value::Object(map) if map.is_empty() => Tree::EmptyObject,
        Value::Array(items) => Tree::List(items.iter().map(item).collect(), 0),
        Value::Object(map) => {
            Tree::Map(sorted(map).map(|(key, v)| (key.clone(), self::value(v))).collect(), 0)
        }
        scalar => Tree::Scalar(scalar.clone()),
    }
}

fn sorted(map: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    let mut members: Vec<_> = map.iter().collect();
    members.sort_by_key(|(key, _)| *key);
    members.into_iter()
}

/// Scalars in parentheses, then containers below.
fn fields(map: &Map<String, Value>, taken: &[&str]) -> Vec<(String, Tree)> {
    let rest = || sorted(map).filter(|(key, _)| !taken.contains(&key.as_str()));
    let flat = rest().filter(|(_, v)| is_scalar(v));
    let deep = rest().filter(|(_, v)| !is_scalar(v));
    flat.chain(deep).map(|(key, v)| (key.clone(), value(v))).collect()
}

fn head(map: &Map<String, Value>) -> Option<(&'static str, String)> {
    ["label", "name", "title"].into_iter().find_map(|key| Some((key, map.get(key)?.as_str()?.to_owned())))
}

fn item(item: &Value) -> Tree {
    let Value::Object(map) = item else { return value(item) };
    if map.is_empty() {
        return Tree::EmptyObject;
    }
    let head = head(map);
    let status = map.get("status").filter(|status| is_scalar(status));
    let mut taken: Vec<&str> = head.iter().map(|(key, _)| *key).collect();
    taken.extend(status.map(|_| "status"));
    let fields = fields(map, &taken);
    match head {
        Some((_, head)) if fields.is_empty() && status.is_none() => text(&head),
        head => Tree::Item {
            head: head.map(|(_, head)| head),
            fields,
            status: status.map(|s| Box::new(value(s))),
        },
    }
}

/// The body of an entry.
pub(crate) fn entry(kind: &str, body: &Value) -> Tree {
    match (kind, body) {
        ("error", Value::Array(items)) if !items.is_empty() => {
            Tree::List(items.iter().map(|item| error_item(None, item)).collect(), 0)
        }
        ("error", Value::Object(map)) if map.get("message").is_some_and(Value::is_string) => {
            Tree::List(vec![error_item(None, body)], 0)
        }
        ("error", Value::Object(map)) if !map.is_empty() => {
            Tree::List(sorted(map).map(|(key, v)| error_item(Some(key), v)).collect(), 0)
        }
        ("integration", Value::Array(items)) if !items.is_empty() => {
            let one = |v: &Value| match v {
                Value::Object(map) => match head(map) {
                    Some((key, name)) => service(&name, map, &[key]),
                    None => item(v),
                },
                _ => item(v),
            };
            Tree::List(items.iter().map(one).collect(), 0)
        }
        ("integration", Value::Object(map)) if !map.is_empty() => {
            let word = |w: &str| Tree::Scalar(Value::from(w));
            let one = |(key, v): (&String, &Value)| {
                let states = match v {
                    Value::Bool(true) => vec![word("connected")],
                    Value::Bool(false) => vec![word("not connected")],
                    Value::String(s) => vec![text(s)],
                    Value::Object(map) if !map.is_empty() => return service(key, map, &[]),
                    _ => return Tree::Map(vec![(key.clone(), value(v))], 0),
                };
                Tree::Service { name: key.clone(), states, fields: Vec::new(), error: None }
            };
            Tree::List(sorted(map).map(one).collect(), 0)
        }
        ("feature", Value::Object(map)) if !map.is_empty() => {
            let one = |(key, v): (&String, &Value)| {
                let name = key.clone();
                match v {
                    Value::Bool(enabled) => Tree::Feature { name, enabled: *enabled, fields: Vec::new() },
                    Value::Object(map) if map.get("enabled").is_some_and(Value::is_boolean) => {
                        Tree::Feature {
                            name,
                            enabled: map["enabled"] == true,
                            fields: fields(map, &["enabled"]),
                        }
                    }
                    _ => Tree::Map(vec![(name, value(v))], 0),
                }
            };
            Tree::List(sorted(map).map(one).collect(), 0)
        }
        ("relationship", Value::Object(map)) if !map.is_empty() => {
            Tree::List(sorted(map).map(|(key, v)| Tree::Map(vec![(key.clone(), value(v))], 0)).collect(), 0)
        }
        _ => value(body),
    }
}

fn error_item(key: Option<&String>, v: &Value) -> Tree {
    let map = match v {
        Value::Object(map) if map.get("message").is_some_and(Value::is_string) => map,
        Value::String(message) if key.is_some() => {
            return Tree::Error {
                area: key.cloned(),
                fields: Vec::new(),
                message: message.clone(),
                status: None,
            };
        }
        _ => {
            return match key {
                Some(key) => Tree::Map(vec![(key.clone(), value(v))], 0),
                // A descriptor without fields in parentheses reads as a message.
                None => match item(v) {
                    Tree::Item { head: Some(message), fields, status }
                        if fields.iter().all(|(_, v)| matches!(v, Tree::List(..) | Tree::Map(..))) =>
                    {
                        Tree::Error { area: None, fields, message, status }
                    }
                    other => other,
                },
            };
        }
    };
    let area = if key.is_none() { map.get("area").and_then(Value::as_str) } else { None };
    let status = map.get("status").filter(|status| is_scalar(status));
    let mut taken = vec!["message"];
    taken.extend(area.map(|_| "area"));
    taken.extend(status.map(|_| "status"));
    let fields = fields(map, &taken);
    let message = map["message"].as_str().unwrap().to_owned();
    let area = key.cloned().or(area.map(str::to_owned));
    match status {
        None if area.is_none() && fields.is_empty() => text(&message),
        status => Tree::Error { area, fields, message, status: status.map(|s| Box::new(value(s))) },
    }
}

fn service(name: &str, map: &Map<String, Value>, also: &[&str]) -> Tree {
    let word = |w: &str| Tree::Scalar(Value::from(w));
    let mut states = Vec::new();
    let mut taken = also.to_vec();
    if let Some(connected) = map.get("connected").and_then(Value::as_bool) {
        states.push(word(if connected { "connected" } else { "not connected" }));
        taken.push("connected");
    }
    let said = |key: &str| map.get(key).and_then(Value::as_str).filter(|s| !s.is_empty());
    for key in ["status", "error"] {
        if said(key).is_some() || map.get(key).is_some_and(Value::is_null) {
            taken.push(key);
        }
    }
    let failed = said("status").is_some_and(|s| s.eq_ignore_ascii_case("error"));
    states.extend(said("status").filter(|_| !failed).map(text));
    if failed || said("error").is_some() {
        states.push(word("ERROR"));
    }
    let error = said("error").map(str::to_owned);
    Tree::Service { name: name.to_owned(), states, fields: fields(map, &taken), error }
}

fn same_text(found: &str, wanted: &str) -> bool {
    strip(found) == strip(wanted)
}

fn same_name(found: &str, wanted: &str) -> bool {
    fold(found) == fold(wanted)
}

fn same_fields(found: &[(String, Tree)], wanted: &[(String, Tree)]) -> bool {
    found.len() == wanted.len()
        && found.iter().zip(wanted).all(|((a, x), (b, y))| same_name(a, b) && same(x, y))
}

fn same_option(found: Option<&str>, wanted: Option<&str>) -> bool {
    match (found, wanted) {
        (Some(a), Some(b)) => same_text(a, b) || same_name(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// Whether what was read is what was to be read.
pub(crate) fn same(found: &Tree, wanted: &Tree) -> bool {
    use Tree::{Error, Feature, Item, List, Map, Service, Text};
    match (found, wanted) {
        (Text(a, 0), Text(b, 0)) => same_text(a, b),
        (List(a, n), List(b, m)) => n == m && a.len() == b.len() && a.iter().zip(b).all(|(x, y)| same(x, y)),
        (Map(a, n), Map(b, m)) => n == m && same_fields(a, b),
        (Item { head: a, fields: f, status: s }, Item { head: b, fields: g, status: t }) => {
            same_option(a.as_deref(), b.as_deref()) && same_fields(f, g) && same_box(s, t)
        }
        (
            Error { area: a, fields: f, message: m, status: s },
            Error { area: b, fields: g, message: n, status: t },
        ) => {
            same_option(a.as_deref(), b.as_deref()) && same_fields(f, g) && same_text(m, n) && same_box(s, t)
        }
        (
            Service { name: a, states: s, fields: f, error: e },
            Service { name: b, states: t, fields: g, error: d },
        ) => {
            (same_name(a, b) || same_text(a, b))
                && s.len() == t.len()
                && s.iter().zip(t).all(|(x, y)| same(x, y))
                && same_fields(f, g)
                && same_option(e.as_deref(), d.as_deref())
        }
        (Feature { name: a, enabled: x, fields: f }, Feature { name: b, enabled: y, fields: g }) => {
            same_name(a, b) && x == y && same_fields(f, g)
        }
        (a, b) => a == b,
    }
}

fn same_box(found: &Option<Box<Tree>>, wanted: &Option<Box<Tree>>) -> bool {
    match (found, wanted) {
        (Some(a), Some(b)) => same(a, b),
        (None, None) => true,
        _ => false,
    }
}
