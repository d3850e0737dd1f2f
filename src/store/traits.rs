//! How a patch is merged into a company or a user: recognised keys to columns, everything else to custom
//! fields, each key judged by its rank.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, SubsecRound, Utc};
use connector_sdk::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Result, StoreError};
use crate::domain::companies::{FieldSource, TraitPatch};
use crate::domain::{ContextEntry, Rank, keys};

/// Keys of context entries that derivation alone writes begin with this.
pub(crate) const RESERVED_CONTEXT: &str = "halo.";

/// What the provenance calls the link of a user to a company.
pub(crate) const COMPANY_LINK: &str = "company_id";

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A web domain, normalised.
    Domain,
    /// A currency code, three letters, kept in lower case.
    Currency,
    /// A whole number.
    Integer,
    /// True or false.
    Flag,
    /// RFC 3339, or a date (midnight UTC).
    Instant,
    /// `YYYY-MM-DD`, or RFC 3339 (its UTC date).
    Date,
    /// Known, and never written under this name: says what to write instead.
    Refused(&'static str),
}

const MONEY: Kind = Kind::Refused("is stored in minor units: convert it and write");

/// What a renewal may be.
pub(crate) const RENEWAL_STATUSES: &[&str] = &[
    "up_for_renewal",
    "in_progress",
    "likely_to_renew",
    "expansion_opportunity",
    "set_to_cancel",
    "set_to_cancel_trial",
    "at_risk",
    "renewed",
    "lost",
];

/// How often an agreement ends, or a bill comes.
pub(crate) const TERMS: &[&str] = &["monthly", "quarterly", "annual", "bi_annual"];

/// Amounts, and the currency that both are in.
pub(crate) const MRR: &str = "mrr_minor";
pub(crate) const ARR: &str = "arr_minor";
pub(crate) const CURRENCY: &str = "mrr_currency";

/// The recognised keys of a company.
pub(crate) fn company_kind(key: &str) -> Option<Kind> {
    Some(match key {
        "name" | "industry" | "plan" => Kind::Text,
        "renewal_status" => Kind::Word(RENEWAL_STATUSES),
        "contract_term" | "payment_terms" => Kind::Word(TERMS),
        "domain" => Kind::Domain,
        "mrr_currency" => Kind::Currency,
        "employee_count"
        | "contract_term_months"
        | "mrr_minor"
        | "arr_minor"
        | "team_size"
        | "health_score" => Kind::Integer,
        "on_contract" => Kind::Flag,
        "signed_up_at" | "last_contacted_at" => Kind::Instant,
        "renewal_date" => Kind::Date,
        "mrr" | "arr" => MONEY,
        _ => return None,
    })
}

/// The recognised keys of a user.
pub(crate) fn user_kind(key: &str) -> Option<Kind> {
    Some(match key {
        "name" | "email" => Kind::Text,
        "renewal_status" => Kind::Word(RENEWAL_STATUSES),
        "contract_term" | "payment_terms" => Kind::Word(TERMS),
        "mrr_currency" => Kind::Currency,
        "mrr_minor" | "arr_minor" => Kind::Integer,
        "on_contract" => Kind::Flag,
        "signed_up_at" => Kind::Instant,
        "renewal_date" => Kind::Date,
        "mrr" | "arr" => MONEY,
        _ => return None,
    })
}

/// The normal form of a recognised key's value, as the field type's own JSON; `null` clears.
///
/// # Errors
/// What the value must be, as the end of a sentence that begins with the key.
pub(crate) fn normal(key: &str, kind: Kind, value: &Value) -> std::result::Result<Value, String> {
    let wrong = |wanted: &str| Err(format!("must be {wanted}"));
    if let Kind::Refused(instead) = kind {
        return Err(format!("{instead} {key}_minor and {CURRENCY}"));
    }
    if value.is_null() {
        return Ok(Value::Null);
    }
    Ok(match kind {
        Kind::Text => match value.as_str() {
            Some(text) if text.contains('\0') => return wrong("text without NUL"),
            Some(text) => Value::from(text),
            None => return wrong("a string"),
        },
        Kind::Word(words) => match value.as_str() {
            Some(word) if words.contains(&word) => Value::from(word),
            _ => return Err(format!("must be one of {}", words.join(", "))),
        },
        Kind::Domain => match value.as_str().map(keys::domain) {
            Some(Some(domain)) if !domain.contains('\0') => Value::from(domain),
            _ => return wrong("a web domain such as acme.com"),
        },
        Kind::Currency => match value.as_str() {
            Some(code) if code.len() == 3 && code.bytes().all(|b| b.is_ascii_alphabetic()) => {
                Value::from(code.to_ascii_lowercase())
            }
            _ => return wrong("an ISO 4217 code of three letters"),
        },
        Kind::Integer => match integer(value) {
            Some(number) => Value::from(number),
            None => return wrong("a whole number"),
        },
        Kind::Flag => match value.as_bool() {
            Some(flag) => Value::from(flag),
            None => return wrong("true or false"),
        },
        Kind::Instant => match value.as_str().and_then(instant).map(serde_json::to_value) {
            Some(Ok(at)) => at,
            _ => return wrong("an ISO 8601 date or time such as 2024-08-12T15:32:00Z"),
        },
        Kind::Date => match value.as_str().and_then(date).map(serde_json::to_value) {
            Some(Ok(day)) => day,
            _ => return wrong("an ISO 8601 date such as 2026-12-31"),
        },
        Kind::Refused(_) => Value::Null,
    })
}

/// A JSON number without a fraction (`42` or `42.0`).
fn integer(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let number = value.as_f64()?;
    // Up to 2^53 a double is exact.
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and within 2^53")]
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}

/// ISO 8601 as clients write it: an offset with or without its colon, none for UTC, a space for the `T`, seconds
/// left out, or a date alone.
fn instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let at = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%#z"))
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"))
        .map(|at| at.with_timezone(&Utc));
    let at = match at {
        Ok(at) => at,
        Err(_) => ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
            .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))?
            .and_utc(),
    };
    // Four digits: what is printed must be read by those who sent it.
    (1..=9999).contains(&at.year()).then(|| at.trunc_subsecs(6))
}

fn date(text: &str) -> Option<NaiveDate> {
    instant(text).map(|at| at.date_naive())
}

fn to_value<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|e| StoreError::Invalid(e.to_string()))
}

/// The set fields by name.
pub(crate) fn to_map<T: Serialize>(fields: &T) -> Result<Map<String, Value>> {
    match to_value(fields)? {
        Value::Object(map) => Ok(map),
        _ => Err(StoreError::Invalid("fields must be an object".to_owned())),
    }
}

/// The inverse of [`to_map`].
pub(crate) fn from_map<T: DeserializeOwned>(map: Map<String, Value>) -> Result<T> {
    serde_json::from_value(Value::Object(map)).map_err(|e| StoreError::Invalid(e.to_string()))
}

/// The mutable parts of a company or a user.
pub(crate) struct Traits<'a> {
    /// Columns by name.
    pub fields: &'a mut Map<String, Value>,
    /// Everything else.
    pub custom: &'a mut Map<String, Value>,
    /// Entries.
    pub context: &'a mut BTreeMap<String, ContextEntry>,
    /// Ranks.
    pub provenance: &'a mut BTreeMap<String, FieldSource>,
}

/// What a patch changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Traits whose value changed.
    pub traits: Vec<String>,
    /// Entries whose value changed.
    pub context: Vec<String>,
    /// Whether only a rank changed somewhere.
    pub ranks: bool,
}

impl Changed {
    /// Adds what another patch changed.
    pub(crate) fn add(&mut self, other: Self) {
        self.traits.extend(other.traits);
        self.context.extend(other.context);
        self.ranks |= other.ranks;
    }

    /// Whether the row must be written.
    pub(crate) fn any(&self) -> bool {
        self.ranks || !self.traits.is_empty() || !self.context.is_empty()
    }
}

/// Merges a patch, key by key. A key whose stored rank is higher keeps its value; an equal value of an equal
/// rank writes nothing.
///
/// # Errors
/// [`StoreError::Invalid`] names the first key whose value has the wrong type, or a reserved entry.
pub(crate) fn merge(
    row: &mut Traits<'_>,
    patch: &TraitPatch,
    kind_of: fn(&str) -> Option<Kind>,
    from: &FieldSource,
) -> Result<Changed> {
    let mut changed = Changed::default();
    let money = money(row, patch, from.rank, &mut changed);
    for (key, value) in &patch.traits {
        if !money && is_money(key) {
            continue;
        }
        let kind = kind_of(key);
        let value = match kind {
            Some(kind) => {
                normal(key, kind, value).map_err(|wrong| StoreError::Invalid(format!("{key} {wrong}")))?
            }
            None => value.clone(),
        };
        let place = if kind.is_some() { &mut *row.fields } else { &mut *row.custom };
        if outranked(row.provenance, key, place.contains_key(key), from.rank) {
            continue;
        }
        let same = place.get(key).unwrap_or(&Value::Null) == &value;
        if value.is_null() {
            place.remove(key);
        } else if !same {
            place.insert(key.clone(), value.clone());
        }
        changed.ranks |= rank(row.provenance, key, value.is_null(), same, from);
        if !same {
            changed.traits.push(key.clone());
        }
    }
    for (key, entry) in &patch.context {
        if key.starts_with(RESERVED_CONTEXT) {
            return Err(StoreError::Invalid(format!(
                "context keys that begin with {RESERVED_CONTEXT} are reserved: {key}"
            )));
        }
        let name = format!("context.{key}");
        if outranked(row.provenance, &name, row.context.contains_key(key), from.rank) {
            continue;
        }
        let same = row.context.get(key) == entry.as_ref();
        match entry {
            None => {
                row.context.remove(key);
            }
            Some(entry) if !same => {
                row.context.insert(key.clone(), entry.clone());
            }
            Some(_) => {}
        }
        changed.ranks |= rank(row.provenance, &name, entry.is_none(), same, from);
        if !same {
            changed.context.push(key.clone());
        }
    }
    Ok(changed)
}

fn is_money(key: &str) -> bool {
    matches!(key, MRR | ARR | CURRENCY)
}

/// Whether the amounts of a patch may be merged: the two amounts share one currency, so that they are of one
/// currency or one of the writers loses with all of them. An amount that is left over in another currency goes.
fn money(row: &mut Traits<'_>, patch: &TraitPatch, rank: Rank, changed: &mut Changed) -> bool {
    let Some(code) = patch.traits.get(CURRENCY).and_then(Value::as_str) else { return true };
    let stored = row.fields.get(CURRENCY).and_then(Value::as_str);
    if stored.is_none_or(|stored| stored.eq_ignore_ascii_case(code)) {
        return true;
    }
    let amounts = [MRR, ARR];
    let lost = |key: &str| outranked(row.provenance, key, row.fields.contains_key(key), rank);
    if lost(CURRENCY) || amounts.iter().any(|key| row.fields.contains_key(*key) && lost(key)) {
        return false;
    }
    for key in amounts {
        if !patch.traits.contains_key(key) && row.fields.remove(key).is_some() {
            row.provenance.remove(key);
            changed.traits.push(key.to_owned());
        }
    }
    true
}

/// Whether what is stored outranks a writer. A value without a record is of rank server.
pub(crate) fn outranked(
    provenance: &BTreeMap<String, FieldSource>,
    name: &str,
    present: bool,
    rank: Rank,
) -> bool {
    let stored = provenance.get(name).map(|stored| stored.rank).or(present.then_some(Rank::Server));
    stored.is_some_and(|stored| stored.level() > rank.level())
}

/// Records where a value comes from; true when a record changed although the value did not. A value that a
/// person removed stays removed: the record is kept for a `null` of rank manual.
pub(crate) fn rank(
    provenance: &mut BTreeMap<String, FieldSource>,
    name: &str,
    gone: bool,
    same: bool,
    from: &FieldSource,
) -> bool {
    if gone && from.rank != Rank::Manual {
        return provenance.remove(name).is_some() && same;
    }
    let stored = provenance.get(name);
    if same && stored.is_some_and(|stored| stored.rank.level() == from.rank.level()) {
        return false;
    }
    // Absent means `server`: an equal value confirmed at that level needs no record.
    if same && !gone && stored.is_none() && from.rank.level() == Rank::Server.level() {
        return false;
    }
    provenance.insert(name.to_owned(), from.clone());
    same
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(us: i64) -> Timestamp {
        DateTime::from_timestamp_micros(us).unwrap()
    }

    fn from(rank: Rank) -> FieldSource {
        FieldSource { rank, source: "sdk".into(), at: at(1) }
    }

    struct Row(
        Map<String, Value>,
        Map<String, Value>,
        BTreeMap<String, ContextEntry>,
        BTreeMap<String, FieldSource>,
    );

    impl Row {
        fn merge(&mut self, traits: Value, rank: Rank) -> Result<Changed> {
            let Value::Object(traits) = traits else { panic!("an object") };
            let mut row = Traits {
                fields: &mut self.0,
                custom: &mut self.1,
                context: &mut self.2,
                provenance: &mut self.3,
            };
            merge(&mut row, &TraitPatch { traits, context: BTreeMap::new() }, company_kind, &from(rank))
        }
    }

    fn row() -> Row {
        Row(Map::new(), Map::new(), BTreeMap::new(), BTreeMap::new())
    }

    #[test]
    fn recognised_keys_go_to_columns_and_are_normalised() {
        let mut row = row();
        row.merge(
            json!({"name": "Acme", "domain": "https://www.ACME.com/x", "employee_count": 12.0, "on_contract": true,
                "signed_up_at": "2026-01-02T03:04:05.123456789+01:00", "renewal_date": "2026-12-31T23:30:00-02:00",
                "mrr_currency": "EUR", "tier": [1, 2]}),
            Rank::Server,
        )
        .unwrap();
        assert_eq!(
            Value::Object(row.0),
            json!({"name": "Acme", "domain": "acme.com", "employee_count": 12, "on_contract": true,
                "signed_up_at": "2026-01-02T02:04:05.123456Z", "renewal_date": "2027-01-01", "mrr_currency": "eur"})
        );
        assert_eq!(Value::Object(row.1), json!({"tier": [1, 2]}));
    }

    #[test]
    fn a_wrong_type_names_the_field() {
        for (key, value) in [
            ("name", json!(1)),
            ("employee_count", json!("12")),
            ("employee_count", json!(1.5)),
            ("on_contract", json!("yes")),
            ("signed_up_at", json!("soon")),
            ("renewal_date", json!(20261231)),
            ("domain", json!("not a domain")),
            ("mrr_currency", json!("euro")),
            ("mrr", json!(299)),
        ] {
            let error = row().merge(json!({key: value}), Rank::Server).unwrap_err().to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
    }

    #[test]
    fn times_are_read_as_clients_write_them() {
        for (text, expected) in [
            ("2024-08-12T15:32:00Z", "2024-08-12T15:32:00Z"),
            ("2024-08-12T15:32:00.5+02:00", "2024-08-12T13:32:00.500Z"),
            ("2024-08-12T15:32:00+0200", "2024-08-12T13:32:00Z"),
            ("2024-08-12 15:32:00+00:00", "2024-08-12T15:32:00Z"),
            ("2024-08-12T15:32:00", "2024-08-12T15:32:00Z"),
            ("2024-08-12T15:32", "2024-08-12T15:32:00Z"),
            (" 2024-08-12 ", "2024-08-12T00:00:00Z"),
        ] {
            let read = normal("signed_up_at", Kind::Instant, &json!(text));
            assert_eq!(read, Ok(json!(expected)), "{text}");
        }
        for text in
            ["", "12.08.2024", "2024-13-01", "2024-02-30", "1723476720", "+12024-08-12", "0000-01-01", "now"]
        {
            assert!(normal("signed_up_at", Kind::Instant, &json!(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn words_are_of_their_list() {
        assert!(normal("renewal_status", Kind::Word(RENEWAL_STATUSES), &json!("at_risk")).is_ok());
        let wrong = normal("contract_term", Kind::Word(TERMS), &json!("yearly")).unwrap_err();
        assert_eq!(wrong, "must be one of monthly, quarterly, annual, bi_annual");
    }

    #[test]
    fn amounts_of_two_currencies_never_stand_together() {
        let usd = |mrr: i64| json!({"mrr_minor": mrr, "mrr_currency": "usd"});
        let eur = json!({"mrr_minor": 1, "arr_minor": 12, "mrr_currency": "eur"});
        // A lower rank loses with all of it, and an equal one takes what is left over along.
        let mut row = row();
        row.merge(eur.clone(), Rank::Synced).unwrap();
        assert!(!row.merge(usd(5), Rank::Claimed).unwrap().any());
        assert_eq!(Value::Object(row.0.clone()), eur);
        row.merge(usd(5), Rank::Server).unwrap();
        assert_eq!(Value::Object(row.0.clone()), usd(5));
        // One amount that is held by a person holds the currency.
        row.merge(json!({"arr_minor": 60}), Rank::Manual).unwrap();
        assert!(!row.merge(eur, Rank::Server).unwrap().any());
        assert_eq!(row.0["mrr_currency"], "usd");
        // In the same currency each amount is judged by itself.
        row.merge(json!({"mrr_minor": 7, "arr_minor": 84, "mrr_currency": "usd"}), Rank::Server).unwrap();
        assert_eq!((&row.0["mrr_minor"], &row.0["arr_minor"]), (&json!(7), &json!(60)));
    }

    #[test]
    fn a_lower_rank_loses_and_an_equal_one_wins_later() {
        let mut row = row();
        row.merge(json!({"plan": "Pro", "tier": 1}), Rank::Manual).unwrap();
        assert!(!row.merge(json!({"plan": "Free", "tier": 2}), Rank::Server).unwrap().any());
        assert_eq!(row.0["plan"], "Pro");
        row.merge(json!({"plan": "Team"}), Rank::Manual).unwrap();
        assert_eq!(row.0["plan"], "Team");
        row.merge(json!({"industry": "x"}), Rank::Claimed).unwrap();
        row.merge(json!({"industry": "y"}), Rank::Synced).unwrap();
        assert!(!row.merge(json!({"industry": "z"}), Rank::Claimed).unwrap().any());
        assert_eq!(row.0["industry"], "y");
    }

    #[test]
    fn an_equal_value_changes_at_most_its_rank() {
        let mut row = row();
        assert_eq!(row.merge(json!({"plan": "Pro"}), Rank::Server).unwrap().traits, ["plan"]);
        assert!(!row.merge(json!({"plan": "Pro"}), Rank::Server).unwrap().any());
        let raised = row.merge(json!({"plan": "Pro"}), Rank::Manual).unwrap();
        assert!(raised.ranks && raised.traits.is_empty());
        assert!(!row.merge(json!({"plan": "Pro"}), Rank::Manual).unwrap().any());
    }

    #[test]
    fn null_removes_and_a_removal_by_hand_stays() {
        let mut row = row();
        row.merge(json!({"plan": "Pro", "tier": 1}), Rank::Server).unwrap();
        row.merge(json!({"plan": null, "tier": null}), Rank::Manual).unwrap();
        assert!(row.0.is_empty() && row.1.is_empty());
        assert!(!row.merge(json!({"plan": "Pro"}), Rank::Synced).unwrap().any());
        assert!(!row.merge(json!({"plan": null}), Rank::Manual).unwrap().any());
    }
}
