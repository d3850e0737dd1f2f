//! Values by their path in a record. Numbers are read by the digits that stand in the text: no figure goes through a float.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use connector_sdk::Timestamp;
use connector_sdk::facts::{Decimal, Interval, Period, exponent};
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Where a value comes from: a path (`customer.id`, `lines.0.price`), or a table.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
pub struct Source {
    /// The path in the record: members and places, with points between; with a slash before each where names have points.
    pub path: Option<String>,
    /// A text that holds for every record, instead of a path.
    pub value: Option<String>,
    /// What the record's words mean here; `*` is any other word.
    pub words: BTreeMap<String, String>,
    /// Of money `major` or `minor`; of times that are numbers `seconds` or `milliseconds`, since 1970.
    pub unit: Option<Unit>,
    /// Of a key: the tap's stream that it is of, where several could be meant.
    pub stream: Option<String>,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Major units of the currency: `12.50`.
    Major,
    /// Minor units of the currency: `1250`.
    Minor,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    path: Option<String>,
    value: Option<String>,
    #[serde(default)]
    words: BTreeMap<String, String>,
    unit: Option<Unit>,
    stream: Option<String>,
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Source;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or a table with path or value")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<Source, E> {
                Ok(Source { path: Some(path.to_owned()), ..Source::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
                let Table { path, value, words, unit, stream } =
                    Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Source { path, value, words, unit, stream })
            }
        }
        d.deserialize_any(Either)
    }
}

/// What is wrong with a value, without the value.
pub(crate) type Wrong = String;

fn wrong<T>(what: &str) -> Result<T, Wrong> {
    Err(what.to_owned())
}

/// The value at a path; `None` where there is none, or null.
pub(crate) fn find<'a>(raw: &'a RawValue, path: &str) -> Option<&'a RawValue> {
    let names: Vec<String> = match path.strip_prefix('/') {
        Some(rest) => rest.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect(),
        None => path.split('.').map(str::to_owned).collect(),
    };
    let mut at = raw;
    for name in names {
        at = match at.get().as_bytes().first() {
            Some(b'{') => {
                serde_json::from_str::<HashMap<String, &RawValue>>(at.get()).ok()?.get(&name).copied()?
            }
            Some(b'[') => {
                let place: usize = name.parse().ok()?;
                serde_json::from_str::<Vec<&RawValue>>(at.get()).ok()?.get(place).copied()?
            }
            _ => return None,
        };
    }
    (at.get() != "null").then_some(at)
}

/// A text, number or truth as text, numbers digit by digit; `None` for an empty text.
pub(crate) fn text_of(raw: &RawValue) -> Result<Option<String>, Wrong> {
    let text = match raw.get().as_bytes().first() {
        Some(b'"') => {
            serde_json::from_str::<String>(raw.get()).map_err(|_| "not readable as text".to_owned())?
        }
        Some(b'{' | b'[') => return wrong("a single value is expected, a table or list found"),
        _ => raw.get().to_owned(),
    };
    Ok((!text.trim().is_empty()).then_some(text))
}

/// The number as JSON programs keep it, where that has every digit of the text.
fn whole_digits(text: &str) -> Option<serde_json::Number> {
    let number = serde_json::Number::from_f64(text.parse().ok()?)?;
    let kept: Decimal = number.to_string().parse().ok()?;
    (text.parse() == Ok(kept)).then_some(number)
}

/// A value as it is shown: JSON, in which numbers that would lose digits are texts of them.
pub(crate) fn shown(raw: &RawValue) -> Result<Value, Wrong> {
    let bad = |_| "not readable as JSON".to_owned();
    Ok(match raw.get().as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get()).map_err(bad)?;
            let members: Result<_, Wrong> =
                members.into_iter().map(|(key, value)| Ok((key, shown(value)?))).collect();
            Value::Object(members?)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(bad)?;
            Value::Array(items.into_iter().map(shown).collect::<Result<_, _>>()?)
        }
        Some(b'-' | b'0'..=b'9') => match raw.get().parse::<i64>() {
            Ok(whole) => Value::from(whole),
            Err(_) => whole_digits(raw.get()).map_or_else(|| Value::from(raw.get()), Value::Number),
        },
        _ => serde_json::from_str(raw.get()).map_err(bad)?,
    })
}

impl Source {
    /// The text in a record, by the settings' words.
    pub(crate) fn text(&self, record: &RawValue) -> Result<Option<String>, Wrong> {
        let found = match (&self.value, &self.path) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(path)) => match find(record, path) {
                Some(raw) => text_of(raw)?,
                None => None,
            },
            (None, None) => None,
        };
        let Some(found) = found else { return Ok(None) };
        if self.words.is_empty() {
            return Ok(Some(found));
        }
        Ok(self.words.get(&found).or_else(|| self.words.get("*")).cloned().or(Some(found)))
    }

    /// The value in a record, as it is shown.
    pub(crate) fn shown(&self, record: &RawValue) -> Result<Option<Value>, Wrong> {
        match &self.path {
            Some(path) if self.words.is_empty() => find(record, path).map(shown).transpose(),
            _ => Ok(self.text(record)?.map(Value::from)),
        }
    }
}

/// `true`, `yes`, `1`.
pub(crate) fn flag(text: &str) -> Result<bool, Wrong> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => wrong("true or false is expected"),
    }
}

/// A number by its digits.
pub(crate) fn decimal(text: &str) -> Result<Decimal, Wrong> {
    text.trim().parse().map_err(|_| "a number of at most 38 digits is expected".to_owned())
}

/// A whole number, not negative.
pub(crate) fn count(text: &str) -> Result<u64, Wrong> {
    let number = decimal(text)?;
    match (number.scale(), u64::try_from(number.mantissa())) {
        (0, Ok(count)) => Ok(count),
        _ => wrong("a whole number is expected, not negative"),
    }
}

/// ISO 4217 in lower case.
pub(crate) fn currency(text: &str) -> Result<String, Wrong> {
    let code = text.trim().to_ascii_lowercase();
    match code.len() == 3 && code.bytes().all(|b| b.is_ascii_lowercase()) {
        true => Ok(code),
        false => wrong("a currency's code of three letters is expected, as usd"),
    }
}

/// The number moved by places: to the right for a positive count.
fn moved(number: Decimal, places: i64) -> Result<Decimal, Wrong> {
    let far = || "the amount is too large".to_owned();
    let scale = i64::from(number.scale()) - places;
    match u32::try_from(scale) {
        Ok(scale) => Decimal::new(number.mantissa(), scale).ok_or_else(far),
        Err(_) => {
            let up = u32::try_from(-scale).map_err(|_| far())?;
            let factor = 10_i128.checked_pow(up).ok_or_else(far)?;
            number.mantissa().checked_mul(factor).and_then(|m| Decimal::new(m, 0)).ok_or_else(far)
        }
    }
}

/// An amount in minor units of the currency.
pub(crate) fn minor(text: &str, unit: Option<Unit>, currency: &str) -> Result<Decimal, Wrong> {
    let places = if unit == Some(Unit::Major) { i64::from(exponent(currency)) } else { 0 };
    moved(decimal(text)?, places)
}

/// An amount in major units of the currency.
pub(crate) fn major(text: &str, unit: Option<Unit>, currency: &str) -> Result<Decimal, Wrong> {
    let places = if unit == Some(Unit::Minor) { -i64::from(exponent(currency)) } else { 0 };
    moved(decimal(text)?, places)
}

/// A whole count of minor units.
pub(crate) fn whole(amount: Decimal) -> Result<i64, Wrong> {
    match (amount.scale(), i64::try_from(amount.mantissa())) {
        (0, Ok(whole)) => Ok(whole),
        _ => wrong("the currency has no so small unit; is the unit right?"),
    }
}

/// RFC 3339, a date and time without a zone (UTC), a date (its first instant), or a number with a unit.
pub(crate) fn time(text: &str, unit: Option<Unit>) -> Result<Timestamp, Wrong> {
    let expected = "a time is expected: RFC 3339, a date, or a number with unit seconds or milliseconds";
    let text = text.trim();
    if let Some(unit @ (Unit::Seconds | Unit::Milliseconds)) = unit {
        let number = decimal(text)?;
        let milliseconds = moved(number, if unit == Unit::Seconds { 3 } else { 0 })?;
        // What is finer than a millisecond is cut.
        let scale = 10_i128.checked_pow(milliseconds.scale()).unwrap_or(i128::MAX);
        let whole = i64::try_from(milliseconds.mantissa() / scale).map_err(|_| expected.to_owned())?;
        return DateTime::from_timestamp_millis(whole).ok_or_else(|| expected.to_owned());
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(at) = NaiveDateTime::parse_from_str(text, format) {
            return Ok(at.and_utc());
        }
    }
    if let Ok(at) = DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z") {
        return Ok(at.to_utc());
    }
    match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        Ok(day) => Ok(day.and_time(chrono::NaiveTime::MIN).and_utc()),
        Err(_) => wrong(expected),
    }
}

/// The date of a time, in UTC.
pub(crate) fn date(text: &str, unit: Option<Unit>) -> Result<NaiveDate, Wrong> {
    Ok(time(text, unit)?.date_naive())
}

/// `month`, `3 months`, `monthly`, `quarterly`, `annual`.
pub(crate) fn period(text: &str) -> Result<Period, Wrong> {
    let expected = "how often is expected: 1 month, 3 months, 1 year, 2 weeks, 30 days";
    let text = text.trim().to_ascii_lowercase();
    let (count, unit) = match text.split_once(' ') {
        Some((count, unit)) => (count.parse::<u32>().map_err(|_| expected.to_owned())?, unit.trim()),
        None => (1, text.as_str()),
    };
    let (interval, times) = match unit {
        "day" | "days" | "daily" => (Interval::Day, 1),
        "week" | "weeks" | "weekly" => (Interval::Week, 1),
        "month" | "months" | "monthly" => (Interval::Month, 1),
        "quarter" | "quarters" | "quarterly" => (Interval::Month, 3),
        "year" | "years" | "yearly" | "annual" | "annually" => (Interval::Year, 1),
        _ => return wrong(expected),
    };
    match count.checked_mul(times).filter(|count| *count > 0) {
        Some(count) => Ok(Period { interval, count }),
        None => wrong(expected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn paths_lead_through_tables_and_lists() {
        let record = raw(r#"{"a":{"b":[{"c":1.10},null]},"x.y":"z","n":null,"e":"","u\u0041":1}"#);
        let text = |path: &str| find(&record, path).map(|found| text_of(found).unwrap());
        assert_eq!(text("a.b.0.c"), Some(Some("1.10".to_owned())));
        assert_eq!(text("/x.y"), Some(Some("z".to_owned())));
        assert_eq!(text("uA"), Some(Some("1".to_owned())));
        assert_eq!(text("e"), Some(None));
        for nothing in ["n", "a.b.1", "a.b.2", "a.b.x", "a.b.0.c.d", "q", ""] {
            assert_eq!(text(nothing), None, "{nothing}");
        }
        assert!(text_of(find(&record, "a").unwrap()).is_err());
    }

    #[test]
    fn amounts_are_exact() {
        let minor = |text: &str, unit, code| minor(text, Some(unit), code).map(|amount| amount.to_string());
        assert_eq!(minor("12.50", Unit::Major, "usd").unwrap(), "1250");
        assert_eq!(minor("0.1", Unit::Major, "usd").unwrap(), "10");
        assert_eq!(minor("1e3", Unit::Major, "jpy").unwrap(), "1000");
        assert_eq!(minor("0.0015", Unit::Major, "usd").unwrap(), "0.15");
        assert_eq!(minor("90071992547409.93", Unit::Major, "usd").unwrap(), "9007199254740993");
        assert_eq!(minor("1250", Unit::Minor, "usd").unwrap(), "1250");
        assert_eq!(major("1250", Some(Unit::Minor), "kwd").unwrap().to_string(), "1.25");
        assert!(minor("twelve", Unit::Major, "usd").is_err());
        assert_eq!(whole(decimal("1250").unwrap()), Ok(1250));
        assert!(whole(decimal("0.15").unwrap()).is_err());
    }

    #[test]
    fn times_and_periods_are_read_in_their_usual_forms() {
        for (text, unit) in [
            ("2026-01-02T03:04:05Z", None),
            ("2026-01-02T04:04:05+01:00", None),
            ("2026-01-02T03:04:05+0000", None),
            ("2026-01-02 03:04:05", None),
            ("1767323045", Some(Unit::Seconds)),
            ("1767323045000", Some(Unit::Milliseconds)),
        ] {
            assert_eq!(time(text, unit).unwrap().to_rfc3339(), "2026-01-02T03:04:05+00:00", "{text}");
        }
        assert_eq!(date("2026-01-02", None).unwrap().to_string(), "2026-01-02");
        assert!(time("1767323045", None).is_err() && time("soon", None).is_err());
        let every = |text: &str| period(text).map(|p| (p.interval, p.count));
        assert_eq!(every("monthly"), Ok((Interval::Month, 1)));
        assert_eq!(every("2 quarters"), Ok((Interval::Month, 6)));
        for bad in ["", "0 months", "often", "x months", "4294967295 quarters"] {
            assert!(every(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_keeps_every_digit() {
        let value = shown(&raw(r#"{"a":[1, 2.50, 12345678901234567890], "b":true, "c":null}"#)).unwrap();
        let expected = r#"{"a":[1,2.5,"12345678901234567890"],"b":true,"c":null}"#;
        assert_eq!(value.to_string(), expected);
    }
}
