//! What companies are found by, in the one form in which both sides write it.

use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

/// The normal form of a company key's value; `None` when nothing is left that could identify anybody.
///
/// | kind | form |
/// | --- | --- |
/// | `domain` | see [`domain`] |
/// | `name` | NFKC, lower case, single spaces |
/// | `external_id`, `email`, `field:…` | trimmed, lower case |
/// | `party:…` | trimmed |
pub fn normalise(kind: &str, value: &str) -> Option<String> {
    let text = value.trim();
    let form = match kind {
        "domain" => return domain(text),
        "name" => {
            let folded: String = text.nfkc().collect::<String>().to_lowercase();
            folded.split_whitespace().collect::<Vec<_>>().join(" ")
        }
        // A provider's id: upper and lower case may differ in nothing else.
        kind if kind.starts_with(PARTY) => text.to_owned(),
        _ => text.to_lowercase(),
    };
    (!form.is_empty()).then_some(form)
}

/// The kind of the key that a party itself is, for the parties of other connections that name it; the value is the
/// provider's id.
pub fn party_kind(connector: &str, stream: &str) -> String {
    format!("{PARTY}{connector}/{stream}")
}

/// Connector and stream of such a kind.
pub fn party_of_kind(kind: &str) -> Option<(&str, &str)> {
    kind.strip_prefix(PARTY)?.split_once('/')
}

const PARTY: &str = "party:";

/// A web domain in lower case, without scheme, user, `www.`, port, path and closing dot; `None` for what has
/// no dot inside or holds white space.
pub fn domain(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split(['/', '?', '#']).next().unwrap_or_default();
    let text = text.rsplit('@').next().unwrap_or_default();
    let text = text.split(':').next().unwrap_or_default();
    let text = text.trim_end_matches('.').to_lowercase();
    let text = text.strip_prefix("www.").unwrap_or(&text);
    let plausible = text.contains('.')
        && !text.starts_with('.')
        && !text.contains("..")
        && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    plausible.then(|| text.to_owned())
}

/// The text of a scalar custom field as a key; `None` for `null`, lists and objects.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a custom field is one in which derivation notes by which ids providers know the company
/// (`stripe_customer_id`, `hubspot_company_id`).
pub fn notes_party(field: &str) -> bool {
    field.ends_with("_customer_id") || field.ends_with("_company_id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        for (from, to) in [
            ("https://www.Acme.com/pricing?x=1", Some("acme.com")),
            ("ACME.COM.", Some("acme.com")),
            ("acme.com:8080", Some("acme.com")),
            ("jane@acme.co.uk", Some("acme.co.uk")),
            ("www.acme.com", Some("acme.com")),
            ("localhost", None),
            ("", None),
            ("acme com.", None),
            (".com", None),
        ] {
            assert_eq!(domain(from).as_deref(), to, "{from}");
        }
    }

    #[test]
    fn other_kinds() {
        assert_eq!(normalise("name", "  ＡＣＭＥ\t Corp "), Some("acme corp".into()));
        assert_eq!(normalise("email", " Jane@Acme.COM "), Some("jane@acme.com".into()));
        assert_eq!(normalise("field:stripe_id", " cus_AbC "), Some("cus_abc".into()));
        assert_eq!(normalise("field:billing_email", "Jane@Acme.com"), Some("jane@acme.com".into()));
        assert_eq!(normalise("external_id", "  "), None);
    }
}
