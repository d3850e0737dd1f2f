//! What is known of the traits and context keys that were ever seen, and the fields that an organisation defines.

use chrono::{DateTime, NaiveDate};
use connector_sdk::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Whose attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttributeScope {
    /// A user's.
    User,
    /// A company's.
    Company,
}

/// What it is of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttributeKind {
    /// A trait.
    Trait,
    /// An entry of the context.
    Context,
}

/// An attribute's place: unique in an organisation. Sorts as lists are sorted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttributeName {
    /// Whose.
    pub scope: AttributeScope,
    /// What.
    pub kind: AttributeKind,
    /// The key.
    pub key: String,
}

/// How many values of each JSON type were seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TypeCounts {
    /// Texts.
    pub string: i64,
    /// Numbers.
    pub number: i64,
    /// `true` and `false`.
    pub boolean: i64,
    /// Lists.
    pub list: i64,
    /// Objects.
    pub object: i64,
    /// `null`.
    pub null: i64,
}

impl TypeCounts {
    /// Counts one value.
    pub fn count(&mut self, value: &Value) {
        let counter = match value {
            Value::String(_) => &mut self.string,
            Value::Number(_) => &mut self.number,
            Value::Bool(_) => &mut self.boolean,
            Value::Array(_) => &mut self.list,
            Value::Object(_) => &mut self.object,
            Value::Null => &mut self.null,
        };
        *counter += 1;
    }

    /// All of them.
    pub fn total(&self) -> i64 {
        self.string + self.number + self.boolean + self.list + self.object + self.null
    }

    /// Whether values of more than one type were seen, `null` apart.
    pub fn mixed(&self) -> bool {
        let kinds = [self.string, self.number, self.boolean, self.list, self.object];
        kinds.into_iter().filter(|count| *count > 0).count() > 1
    }
}

/// One of an attribute's distinct values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DistinctValue {
    /// The value: a short text, an integer, a boolean.
    pub value: Value,
    /// How often it was seen.
    pub count: i64,
    /// The row (user, company) that alone said it; nothing when several did. With that row, the value goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
}

/// Characters of a description: it goes into every prompt.
pub const DESCRIPTION_CHARS: usize = 500;

/// Distinct values that are kept.
pub const MOST_VALUES: usize = 50;

/// Adds what was seen of distinct values. Answers whether there are more than are kept.
pub fn add_value(values: &mut Vec<DistinctValue>, value: &Value, count: i64, row: Option<&str>) -> bool {
    if let Some(known) = values.iter_mut().find(|known| known.value == *value) {
        known.count += count;
        if known.row.is_some() && known.row.as_deref() != row {
            known.row = None;
        }
        return false;
    }
    if values.len() >= MOST_VALUES {
        return true;
    }
    values.push(DistinctValue { value: value.clone(), count, row: row.map(str::to_owned) });
    false
}

/// A value as an example; what looks secret or personal in it is replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The value.
    pub value: Value,
    /// Whether something in it is replaced.
    pub redacted: bool,
    /// The row that it comes from.
    pub row: String,
}

/// What is known of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// `atr_…`
    pub id: String,
    /// Its place.
    pub name: AttributeName,
    /// Values by type.
    pub types: TypeCounts,
    /// How many came with a publishable key.
    pub claimed: i64,
    /// How many did not fit the custom field of that key, as it was defined when they came.
    pub mismatches: i64,
    /// Distinct values, none when there are too many.
    pub values: Vec<DistinctValue>,
    /// Whether there are distinct values that are not listed.
    pub more_values: bool,
    /// The latest example.
    pub sample: Option<Sample>,
    /// The latest label of a context entry.
    pub label: Option<String>,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// What it means; goes into the prompt.
    pub description: Option<String>,
    /// Whether it is in the prompt; nothing: as it is by default.
    pub in_prompt: Option<bool>,
    /// Whether lists leave it out.
    pub hidden: bool,
    /// Grows with every change of what the organisation says.
    pub version: i64,
}

/// What was seen of an attribute since the last time that it was stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributeSeen {
    /// Which.
    pub name: AttributeName,
    /// Values by type.
    pub types: TypeCounts,
    /// How many came with a publishable key.
    pub claimed: i64,
    /// How many did not fit their custom field.
    pub mismatches: i64,
    /// Distinct values.
    pub values: Vec<DistinctValue>,
    /// Whether there were more.
    pub more_values: bool,
    /// An example.
    pub sample: Option<Sample>,
    /// A context entry's label.
    pub label: Option<String>,
    /// The first time.
    pub first_seen: Timestamp,
    /// The last time.
    pub last_seen: Timestamp,
}

/// Keys of a scope and kind that were not recorded because there were too many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Overflow {
    /// Whose.
    pub scope: AttributeScope,
    /// What.
    pub kind: AttributeKind,
    /// How many, the same key counted each time.
    pub refused: i64,
    /// When the last of them came.
    pub last_at: Timestamp,
}

/// The type of a custom field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// Any text.
    Text,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Tel,
    /// A number.
    Number,
    /// A date `YYYY-MM-DD`, or an instant of RFC 3339.
    Date,
    /// One of the options.
    Select,
}

/// A field that an organisation defines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CustomField {
    /// `cfd_…`
    pub id: String,
    /// Whose.
    pub scope: AttributeScope,
    /// The trait's key. Does not change.
    pub key: String,
    /// Its name for people.
    pub label: String,
    /// What its values are.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// The values of a `select`; empty for other types.
    pub options: Vec<String>,
    /// Whether a value that does not fit is refused. Otherwise it is taken, and counted as a mismatch.
    pub strict: bool,
    /// When it was defined.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl CustomField {
    /// Why a value does not fit; `null` fits every field, it takes the value away.
    pub fn misfit(&self, value: &Value) -> Option<String> {
        let expected = match (self.kind, value) {
            (_, Value::Null)
            | (FieldType::Text, Value::String(_))
            | (FieldType::Number, Value::Number(_)) => return None,
            (FieldType::Email, Value::String(text)) if is_email(text) => return None,
            (FieldType::Tel, Value::String(text)) if is_tel(text) => return None,
            (FieldType::Date, Value::String(text)) if is_date(text) => return None,
            (FieldType::Select, Value::String(text)) if self.options.contains(text) => return None,
            (FieldType::Text, _) => "a text".to_owned(),
            (FieldType::Number, _) => "a number".to_owned(),
            (FieldType::Email, _) => "an e-mail address".to_owned(),
            (FieldType::Tel, _) => "a telephone number (7 to 15 digits)".to_owned(),
            (FieldType::Date, _) => "a date (YYYY-MM-DD)".to_owned(),
            (FieldType::Select, _) => format!("one of: {}", self.options.join(", ")),
        };
        Some(format!("must be {expected}"))
    }
}

/// A value of the definitions' fields that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit<'a> {
    /// The trait's key.
    pub key: &'a str,
    /// What was expected.
    pub why: String,
    /// Whether it is to be refused.
    pub strict: bool,
}

/// Which traits do not fit the fields that are defined for them. Pure; one pass over the definitions.
pub fn misfits<'a>(
    fields: &'a [CustomField],
    scope: AttributeScope,
    traits: &serde_json::Map<String, Value>,
) -> Vec<Misfit<'a>> {
    let of_scope = fields.iter().filter(|field| field.scope == scope);
    of_scope
        .filter_map(|field| {
            let why = field.misfit(traits.get(&field.key)?)?;
            Some(Misfit { key: &field.key, why, strict: field.strict })
        })
        .collect()
}

/// Something before one `@` and a domain with a dot behind it, without spaces: what can be said without sending a letter.
pub fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    text.len() <= 254
        && !local.is_empty()
        && !domain.contains('@')
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
        && domain.split('.').count() > 1
        && domain.split('.').all(|label| !label.is_empty())
}

/// 7 to 15 digits (ITU-T E.164), with `+` in front and spaces, dots, dashes, slashes, brackets between them.
pub fn is_tel(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let rest = text.strip_prefix('+').unwrap_or(text);
    (7..=15).contains(&digits)
        && rest.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '.' | '-' | '/' | '(' | ')'))
        && rest.starts_with(|c: char| c.is_ascii_digit() || c == '(')
}

/// A date, or an instant.
pub fn is_date(text: &str) -> bool {
    (text.len() == 10 && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok())
        || DateTime::parse_from_rfc3339(text).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(kind: FieldType) -> CustomField {
        CustomField {
            id: "cfd_1".to_owned(),
            scope: AttributeScope::User,
            key: "k".to_owned(),
            label: "K".to_owned(),
            kind,
            options: vec!["a".to_owned(), "b".to_owned()],
            strict: true,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn values_fit_their_type_or_the_field_is_named() {
        let fit = [
            (FieldType::Text, vec![json!(""), json!("x\ny")], vec![json!(1), json!([]), json!(true)]),
            (
                FieldType::Email,
                vec![json!("a@b.example"), json!("ü+x@sub.b.example")],
                vec![
                    json!("a@b"),
                    json!("a b@c.example"),
                    json!("@b.example"),
                    json!("a@b..c"),
                    json!("a@b@c.d"),
                    json!(3),
                ],
            ),
            (
                FieldType::Tel,
                vec![json!("+49 (30) 123-4567"), json!("0301234567")],
                vec![
                    json!("12345"),
                    json!("+"),
                    json!("1234567890123456"),
                    json!("030-CALL-NOW"),
                    json!(301234567),
                ],
            ),
            (FieldType::Number, vec![json!(0), json!(-1.5)], vec![json!("1"), json!({})]),
            (
                FieldType::Date,
                vec![json!("2024-02-29"), json!("2024-02-29T10:00:00Z")],
                vec![json!("2023-02-29"), json!("29.02.2024"), json!("2024-2-9"), json!(20240229)],
            ),
            (FieldType::Select, vec![json!("a"), json!("b")], vec![json!("c"), json!("A"), json!("")]),
        ];
        for (kind, good, bad) in fit {
            let field = field(kind);
            assert_eq!(field.misfit(&Value::Null), None);
            for value in good {
                assert_eq!(field.misfit(&value), None, "{kind:?} {value}");
            }
            for value in bad {
                assert!(field.misfit(&value).unwrap().starts_with("must be "), "{kind:?} {value}");
            }
        }
        let fields = [field(FieldType::Number)];
        let traits = json!({"k": "x", "other": 1});
        let found = misfits(&fields, AttributeScope::User, traits.as_object().unwrap());
        assert_eq!(found, [Misfit { key: "k", why: "must be a number".to_owned(), strict: true }]);
        assert!(misfits(&fields, AttributeScope::Company, traits.as_object().unwrap()).is_empty());
    }

    #[test]
    fn distinct_values_are_bounded_and_know_who_alone_said_them() {
        let mut values = Vec::new();
        for n in 0..MOST_VALUES {
            assert!(!add_value(&mut values, &json!(n), 1, Some("usr_1")));
        }
        assert!(add_value(&mut values, &json!("one more"), 1, Some("usr_1")));
        assert!(!add_value(&mut values, &json!(3), 2, Some("usr_1")));
        assert_eq!((values[3].count, values[3].row.as_deref()), (3, Some("usr_1")));
        assert!(!add_value(&mut values, &json!(3), 1, Some("usr_2")));
        assert_eq!((values[3].count, values[3].row.as_deref()), (4, None));
        assert!(!add_value(&mut values, &json!(3), 1, Some("usr_1")));
        assert_eq!(values[3].row, None);
    }
}
