//! Where each line of the prompt comes from, as text for people and agents.

use serde::Serialize;
use serde_json::Value;

use super::merge::Merged;

/// One line for each field, entry and refusal: where it comes from, what it beat, and what is kept out of the
/// prompt. What a customer named is quoted where it is more than a plain word, so that it can neither begin a line
/// nor look like one of ours.
pub fn explain(merged: &Merged<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for (who, party) in [("user", &merged.user), ("company", &merged.company)] {
        for field in party.iter().flat_map(|p| &p.fields) {
            let hidden = if field.in_prompt { "" } else { ", not in the prompt" };
            lines.push(format!(
                "{who}.{} from {} as {}{hidden}",
                name(field.key),
                word(&field.origin),
                word(&field.rank)
            ));
            for loser in &field.losers {
                let (value, origin, why) = (json(&loser.value), word(&loser.origin), word(&loser.why));
                lines.push(format!("    beat {value} from {origin}: {why}"));
            }
        }
    }
    for entry in &merged.entries {
        let hidden = if entry.in_prompt { "" } else { ", not in the prompt" };
        lines.push(format!(
            "context.{} of the {} from {} as {}{hidden}",
            name(entry.key),
            word(&entry.scope),
            word(&entry.origin),
            word(&entry.rank)
        ));
        for loser in &entry.losers {
            let (scope, origin, why) = (word(&loser.scope), word(&loser.origin), word(&loser.why));
            lines.push(format!("    beat the {scope}'s from {origin}: {why}"));
        }
    }
    for refused in &merged.refused {
        let (key, scope, why) = (name(refused.key), word(&refused.scope), word(&refused.why));
        lines.push(format!("refused {key} of the {scope}: {why}"));
    }
    lines
}

/// A key as it is where it is a plain word, else as a JSON string.
fn name(key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if plain { key.to_owned() } else { Value::from(key).to_string() }
}

/// The word that serde gives a fieldless variant.
fn word(value: &impl Serialize) -> String {
    let json = json(value);
    json.trim_matches('"').to_owned()
}

/// What came from JSON goes back to JSON.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::context::{MergeOptions, Request, UserDoc, merge};

    #[test]
    fn what_lost_is_said_and_a_key_cannot_begin_a_line() {
        let user: UserDoc = serde_json::from_value(json!({
            "plan": "pro", "custom_fields": {"a\nb": 1},
            "context": {"k": {"label": "K", "value": 1}}
        }))
        .unwrap();
        let request: Request = serde_json::from_value(json!({
            "custom_fields": {"plan": "free", "id": 7}, "context": {"k": {"label": "K", "value": 2}}
        }))
        .unwrap();
        let options = MergeOptions::default();
        let lines = explain(&merge(Some(&user), None, &request, &[], &options));
        assert_eq!(
            lines,
            [
                "user.plan from request as server",
                "    beat \"pro\" from stored: overwritten",
                "user.\"a\\nb\" from stored as server",
                "context.k of the user from request as server",
                "    beat the user's from stored: overwritten",
                "refused id of the user: system_managed",
            ]
        );
    }
}
