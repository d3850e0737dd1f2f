//! A connector's page, from what it says about itself.

use std::fmt::Write as _;

use connector_sdk::spec::{AuthKind, Spec, StreamSpec};
use serde_json::Value;

/// The page in Markdown. The same spec gives the same text.
#[must_use]
pub fn page(spec: &Spec) -> String {
    let mut out = format!(
        "# {}\n\nWhat the connector `{}` says about itself, written by `halo-sync connectors docs {}`. How it reads, and \
         why: [its README](../../connectors/{}/README.md).\n\n",
        spec.display_name, spec.id, spec.id, spec.id
    );
    let _ = writeln!(out, "| | |\n| --- | --- |");
    let _ = writeln!(out, "| role | {} |", word(&spec.role));
    let _ = writeln!(out, "| API version | `{}` |", spec.api_version);
    let _ = writeln!(out, "| address | `{}` |", spec.default_base_url);
    let _ = writeln!(out, "| version of its translation | {} |", spec.facts_version);
    credentials(&mut out, spec);
    settings(&mut out, spec);
    streams(&mut out, spec);
    webhooks(&mut out, spec);
    limits(&mut out, spec);
    out
}

/// A unit variant as serde spells it.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn credentials(out: &mut String, spec: &Spec) {
    out.push_str("\n## Credentials\n\n");
    for auth in &spec.auth {
        let _ = match auth {
            AuthKind::ApiKey { help } => writeln!(out, "- API key (`--api-key-file`). {}", cell(help)),
            AuthKind::NoSecret => writeln!(out, "- None, where the account asks for none."),
            AuthKind::OAuth2 { scopes, .. } => {
                let scopes: Vec<String> = scopes.iter().map(|scope| format!("`{scope}`")).collect();
                writeln!(out, "- OAuth 2, with the scopes {}.", scopes.join(", "))
            }
        };
    }
}

/// What a setting takes, in a few words.
fn takes(schema: &Value) -> String {
    let one = |kind: &str| match kind {
        "string" => "text".to_owned(),
        "boolean" => "`true`, `false`".to_owned(),
        "array" => "a list".to_owned(),
        "object" => "a table".to_owned(),
        other => other.to_owned(),
    };
    if let (Some(min), Some(max)) = (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        return format!("{min} to {max}");
    }
    match &schema["type"] {
        Value::String(kind) => one(kind),
        Value::Array(kinds) => {
            let kinds: Vec<String> =
                kinds.iter().filter_map(Value::as_str).filter(|k| *k != "null").map(one).collect();
            kinds.join(" or ")
        }
        _ => "a value".to_owned(),
    }
}

fn settings(out: &mut String, spec: &Spec) {
    let Some(properties) = spec.config_schema["properties"].as_object().filter(|p| !p.is_empty()) else {
        return;
    };
    out.push_str(
        "\n## Settings\n\nGiven as `halo-sync connect … --set KEY=VALUE`. Any other key is refused.\n\n",
    );
    out.push_str("| setting | what it is | takes | default |\n| --- | --- | --- | --- |\n");
    for (key, schema) in properties {
        let about = cell(schema["description"].as_str().unwrap_or_default());
        let default = match &schema["default"] {
            Value::Null => "none".to_owned(),
            Value::Array(list) if list.is_empty() => "none".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let _ = writeln!(out, "| `{key}` | {about} | {} | {} |", takes(schema), cell(&default));
    }
}

fn streams(out: &mut String, spec: &Spec) {
    out.push_str("\n## Streams\n\nIn the order in which a backfill reads them.\n\n");
    out.push_str("| stream | what it gives | permission | a later run reads | what is gone |\n| --- | --- | --- | --- | --- |\n");
    let mut streams: Vec<&StreamSpec> = spec.streams.iter().collect();
    streams.sort_by_key(|stream| (stream.order, stream.name));
    for stream in streams {
        let permission = stream.permission.map_or_else(|| "none".to_owned(), |p| format!("`{p}`"));
        let later = match (stream.feed, stream.incremental) {
            (true, _) => "what the list of changes names",
            (_, true) => "what changed since",
            (_, false) => "everything",
        };
        let gone = if stream.full_pass_deletes { "a full run finds it" } else { "nothing is ever gone" };
        let party = if stream.party { " Says who the customers are." } else { "" };
        let _ = writeln!(
            out,
            "| `{}` | {}{party} | {permission} | {later} | {gone} |",
            stream.name,
            cell(stream.about)
        );
    }
    if let Some(feed) = &spec.feed {
        let permission = feed.permission.map_or_else(String::new, |p| format!(" (permission `{p}`)"));
        let _ = writeln!(
            out,
            "\nThe list of changes is `{}`{permission}, which the provider keeps for {} days. {}",
            feed.name,
            feed.retention_days,
            cell(feed.about)
        );
    }
}

fn webhooks(out: &mut String, spec: &Spec) {
    out.push_str("\n## Webhooks\n\n");
    if spec.webhook_events.is_empty() {
        out.push_str("None: what changed is found by the runs of the schedule.\n");
        return;
    }
    let _ = writeln!(
        out,
        "To `/api/integrations/{}/webhook/CONNECTION`; `halo-sync connect` prints the whole address. An event names what is \
         read again.\n",
        spec.id
    );
    for event in spec.webhook_events {
        let _ = writeln!(out, "- `{event}`");
    }
}

fn limits(out: &mut String, spec: &Spec) {
    let budget = &spec.budget;
    let _ = writeln!(
        out,
        "\n## Limits\n\nUntil the provider's own answers say otherwise: {} calls a second of a live account, {} of a test \
         account, {} at once{}. A refusal for their number halves the rate and is waited out.",
        budget.live_per_second,
        budget.test_per_second,
        budget.concurrency,
        budget
            .per_endpoint_per_second
            .map_or_else(String::new, |n| format!(", {n} a second of any one operation")),
    );
}
