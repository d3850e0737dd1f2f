//! Stripe's form encoding: `items[0][price]=price_1&expand[]=customer`.

use serde_json::{Map, Value};

/// Decodes `application/x-www-form-urlencoded` pairs.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let mut ahead = bytes.clone();
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                match (digit(ahead.next()), digit(ahead.next())) {
                    (Some(high), Some(low)) => {
                        out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                        bytes = ahead;
                    }
                    _ => out.push(b'%'),
                }
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The tree that the pairs write down; leaves are strings.
pub(super) fn tree(pairs: &[(String, String)]) -> Value {
    let mut root = Value::Object(Map::new());
    for (name, value) in pairs {
        let (first, rest) = name.split_once('[').unwrap_or((name, ""));
        let mut path = vec![first];
        if !rest.is_empty() {
            path.extend(rest.trim_end_matches(']').split("]["));
        }
        insert(&mut root, &path, value);
    }
    lists(root)
}

fn insert(node: &mut Value, path: &[&str], value: &str) {
    let Some((first, rest)) = path.split_first() else {
        *node = Value::String(value.to_owned());
        return;
    };
    if !node.is_object() {
        *node = Value::Object(Map::new());
    }
    let Value::Object(map) = node else { return };
    let key = if first.is_empty() { map.len().to_string() } else { (*first).to_owned() };
    insert(map.entry(key).or_insert(Value::Null), rest, value);
}

/// Maps whose keys are all numbers are lists.
fn lists(node: Value) -> Value {
    let Value::Object(map) = node else { return node };
    let numbered =
        !map.is_empty() && map.keys().all(|k| k.bytes().all(|b| b.is_ascii_digit()) && !k.is_empty());
    if !numbered {
        return Value::Object(map.into_iter().map(|(k, v)| (k, lists(v))).collect());
    }
    let mut items: Vec<(u64, Value)> =
        map.into_iter().map(|(k, v)| (k.parse().unwrap_or(u64::MAX), lists(v))).collect();
    items.sort_by_key(|(n, _)| *n);
    Value::Array(items.into_iter().map(|(_, v)| v).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_names_become_a_tree() {
        let form = pairs(
            "name=A+%26+B&items[0][price]=p1&items[0][quantity]=3&items[1][price]=p2&expand%5B%5D=x&expand[]=y&metadata[id]=7",
        );
        assert_eq!(
            tree(&form),
            serde_json::json!({
                "name": "A & B",
                "items": [{"price": "p1", "quantity": "3"}, {"price": "p2"}],
                "expand": ["x", "y"],
                "metadata": {"id": "7"},
            })
        );
    }
}
