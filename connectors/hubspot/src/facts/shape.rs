//! How HubSpot writes things: every value of a property is a text, whatever its type.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use connector_sdk::facts::{Decimal, Interval, Period};
use connector_sdk::{FactsError, Timestamp};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::wrong;

/// A CRM object, with what the connector adds to it.
#[derive(Deserialize)]
pub(super) struct Object<'a> {
    pub(super) id: String,
    #[serde(borrow)]
    properties: BTreeMap<Cow<'a, str>, Text>,
    #[serde(rename = "createdAt")]
    created: Option<String>,
    #[serde(default)]
    pub(super) archived: bool,
    #[serde(default)]
    associations: BTreeMap<String, Associated>,
    #[serde(borrow, default)]
    pub(super) line_items: Vec<Line<'a>>,
    /// Which property gives a field, where the settings say so.
    #[serde(default)]
    fields: BTreeMap<String, String>,
    pub(super) stage_status: Option<String>,
}

/// Associated objects, as the connector writes them, or as HubSpot's lists do.
#[derive(Deserialize)]
#[serde(untagged)]
enum Associated {
    Ours(Vec<Linked>),
    Listed { results: Vec<Linked> },
}

#[derive(Deserialize)]
struct Linked {
    id: String,
}

/// A line item of a deal.
#[derive(Deserialize)]
pub(super) struct Line<'a> {
    pub(super) id: String,
    #[serde(borrow)]
    properties: BTreeMap<Cow<'a, str>, Text>,
}

/// The value of a property: a text, or what else a scalar can be written as.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<Text, E> {
                Ok(Text(Some(v.to_owned()).filter(|v| !v.is_empty())))
            }

            fn visit_bool<E: de::Error>(self, v: bool) -> Result<Text, E> {
                Ok(Text(Some(v.to_string())))
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Text, E> {
                Ok(Text(Some(v.to_string())))
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Text, E> {
                Ok(Text(Some(v.to_string())))
            }

            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Text, E> {
                Ok(Text(Some(v.to_string())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Text, E> {
                Ok(Text(None))
            }
        }
        d.deserialize_any(V)
    }
}

impl Object<'_> {
    /// A property that is set.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.properties.get(name)?.0.as_deref()
    }

    /// The property that gives a field: the configured one, else HubSpot's own.
    pub(super) fn property<'b>(&'b self, field: &str, own: &'b str) -> &'b str {
        self.fields.get(field).map_or(own, String::as_str)
    }

    /// A field's value.
    pub(super) fn field(&self, field: &str, own: &str) -> Option<String> {
        self.get(self.property(field, own)).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The values of the fields that the settings name beside `known`.
    pub(super) fn further(&self, known: &[&str]) -> BTreeMap<String, String> {
        let fields = self.fields.iter().filter(|(field, _)| !known.contains(&field.as_str()));
        fields
            .filter_map(|(field, property)| Some((field.clone(), self.get(property)?.trim().to_owned())))
            .collect()
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// Parts of a property that holds several.
    pub(super) fn parts(&self, name: &str) -> Vec<String> {
        let text = self.get(name).unwrap_or_default();
        text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// Associated ids of a type, the main one first, each once.
    pub(super) fn linked(&self, to: &str) -> Vec<String> {
        let all = match self.associations.get(to) {
            Some(Associated::Ours(all) | Associated::Listed { results: all }) => all.as_slice(),
            None => &[],
        };
        let mut ids: Vec<String> = Vec::with_capacity(all.len());
        for one in all {
            if !ids.contains(&one.id) {
                ids.push(one.id.clone());
            }
        }
        ids
    }

    pub(super) fn at(&self, name: &str) -> Option<Timestamp> {
        instant(self.get(name)?)
    }

    pub(super) fn created(&self) -> Option<Timestamp> {
        self.at("createdate").or_else(|| instant(self.created.as_deref()?))
    }

    /// What is set, by HubSpot's names.
    pub(super) fn all(&self) -> BTreeMap<String, String> {
        self.properties.iter().filter_map(|(name, text)| Some((name.to_string(), text.0.clone()?))).collect()
    }

    /// An amount, by its digits.
    pub(super) fn decimal(&self, name: &str) -> Result<Option<Decimal>, FactsError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| wrong(name, "expected a decimal number"))
    }
}

impl Line<'_> {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.properties.get(name)?.0.as_deref()
    }
}

/// An instant as HubSpot writes it: RFC 3339 with or without a fraction, a bare date (midnight UTC), or milliseconds
/// since 1970. `None` for anything else.
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return DateTime::from_timestamp_millis(text.parse().ok()?);
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.with_timezone(&Utc));
    }
    Some(text.parse::<NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc())
}

/// A day: a bare date, or that of an instant.
pub(super) fn date(text: &str) -> Option<NaiveDate> {
    text.trim().parse().ok().or_else(|| instant(text).map(|at| at.date_naive()))
}

/// An ISO 8601 duration of one unit (`P12M`, `P1Y`); `None` for anything else.
pub(super) fn duration(text: &str) -> Option<Period> {
    let rest = text.trim().strip_prefix('P')?;
    let unit = rest.chars().last()?;
    let interval = match unit {
        'Y' => Interval::Year,
        'M' => Interval::Month,
        'W' => Interval::Week,
        'D' => Interval::Day,
        _ => return None,
    };
    let digits = rest.strip_suffix(unit)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count = digits.parse().ok().filter(|count| *count > 0)?;
    Some(Period { interval, count })
}

/// How often a line item bills.
pub(super) fn frequency(word: &str) -> Option<Period> {
    let (interval, count) = match word {
        "weekly" => (Interval::Week, 1),
        "biweekly" => (Interval::Week, 2),
        "monthly" => (Interval::Month, 1),
        "quarterly" => (Interval::Month, 3),
        "per_six_months" => (Interval::Month, 6),
        "annually" => (Interval::Year, 1),
        "per_two_years" => (Interval::Year, 2),
        "per_three_years" => (Interval::Year, 3),
        "per_four_years" => (Interval::Year, 4),
        "per_five_years" => (Interval::Year, 5),
        _ => return None,
    };
    Some(Period { interval, count })
}

/// A web domain without scheme, path and `www.`, in lower case.
pub(super) fn domain(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let bare = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
    let bare = bare.split(['/', '?', '#']).next().unwrap_or_default();
    let bare = bare.strip_prefix("www.").unwrap_or(bare).trim_end_matches('.');
    (bare.contains('.') && !bare.contains(char::is_whitespace) && !bare.contains('@'))
        .then(|| bare.to_owned())
}
