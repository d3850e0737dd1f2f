//! From the text of an answer to records.
//!
//! The same object comes in three ways (list, search, batch), which differ in what they add. A record is the object's
//! text without that (`url`, associations as the list shows them), and with what was read beside it.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use connector_sdk::{ConnectorError, Record, RecordKey, Rejected};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A list or the results of a search or batch; the items stay text.
#[derive(Deserialize)]
pub(crate) struct List<'a> {
    #[serde(borrow)]
    pub(crate) results: Vec<&'a RawValue>,
    pub(crate) paging: Option<Paging>,
    /// Of a search: how many objects it found in all.
    pub(crate) total: Option<u64>,
    /// Of a batch: what could not be read.
    #[serde(borrow, default)]
    pub(crate) errors: Option<Vec<BatchError<'a>>>,
}

/// What follows a page.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Paging {
    next: Option<NextPage>,
}

#[derive(Debug, Clone, Deserialize)]
struct NextPage {
    after: String,
}

impl Paging {
    pub(crate) fn after(paging: Option<Self>) -> Option<String> {
        paging?.next.map(|next| next.after).filter(|after| !after.is_empty())
    }
}

/// Why a part of a batch failed.
#[derive(Debug, Deserialize)]
pub(crate) struct BatchError<'a> {
    #[serde(borrow)]
    category: Option<Cow<'a, str>>,
}

impl BatchError<'_> {
    /// Whether it only says that something is not there.
    pub(crate) fn is_absence(&self) -> bool {
        self.category.as_deref() == Some("OBJECT_NOT_FOUND")
    }
}

/// An id, as a number or as digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(pub(crate) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id")
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Number, E> {
                Ok(Number(v))
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<Number, E> {
                id(v).map(Number).ok_or_else(|| E::invalid_value(de::Unexpected::Other("other text"), &self))
            }
        }
        d.deserialize_any(V)
    }
}

/// An object's id: digits, as HubSpot writes them.
pub(crate) fn id(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !(text.len() > 1 && text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// The id of an object, whatever else there is in it.
pub(crate) fn id_in(text: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Named {
        id: Number,
    }
    serde_json::from_str::<Named>(text).ok().map(|named| named.id.0)
}

/// When the object in that text last changed, by its property of that name, in milliseconds since 1970.
pub(crate) fn changed_at(text: &str, property: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        properties: Members<'a>,
    }
    let object: Object<'_> = serde_json::from_str(text).ok()?;
    let at = DateTime::parse_from_rfc3339(&object.properties.text(property)?).ok()?;
    Some(at.timestamp_millis())
}

/// The members of an object, in order, their values as text.
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(members)
            }
        }
        d.deserialize_map(V).map(Members)
    }
}

impl<'a> Members<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// The text of a member that is one.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
        serde_json::from_str::<Text<'a>>(self.get(name)?.get()).ok().map(|t| t.0)
    }

    /// The object's text without `dropped`, and with `own` members at its end.
    pub(crate) fn write(&self, dropped: &[&str], own: &[(&str, String)]) -> String {
        let kept = self
            .0
            .iter()
            .filter(|(key, _)| !dropped.contains(&key.as_ref()) && own.iter().all(|(name, _)| name != key))
            .map(|(key, value)| (key.as_ref(), value.get()));
        let mut out = String::from("{");
        for (key, value) in kept.chain(own.iter().map(|(name, value)| (*name, value.as_str()))) {
            if out.len() > 1 {
                out.push(',');
            }
            // A key is text: writing it as JSON cannot fail.
            out.push_str(&serde_json::to_string(key).unwrap_or_default());
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        out
    }
}

/// What not every way of reading shows.
pub(crate) const DROPPED: [&str; 3] = ["url", "objectWriteTraceId", "associations"];

/// A CRM object, as it stands in a page.
pub(crate) struct Found<'a> {
    pub(crate) id: u64,
    pub(crate) members: Members<'a>,
    pub(crate) properties: Members<'a>,
}

impl<'a> Found<'a> {
    /// A property that is set.
    pub(crate) fn property(&self, name: &str) -> Option<Cow<'a, str>> {
        self.properties.text(name).filter(|text| !text.is_empty())
    }

    /// Whether a flag among the properties is set.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.property(name).as_deref() == Some("true")
    }

    /// Ids of objects that were merged into this one.
    pub(crate) fn merged(&self) -> Vec<String> {
        let ids = self.property("hs_merged_object_ids").unwrap_or_default();
        ids.split(';').map(str::trim).filter(|text| id(text).is_some()).map(str::to_owned).collect()
    }

    /// When it was archived, in milliseconds since 1970.
    pub(crate) fn archived_at(&self) -> Option<i64> {
        let text = self.members.text("archivedAt")?;
        DateTime::parse_from_rfc3339(&text).ok().map(|at| at.with_timezone(&Utc).timestamp_millis())
    }
}

/// Reads an object of a page; one that is none is set aside with the reason.
pub(crate) fn read<'a>(stream: &str, text: &'a str) -> Result<Found<'a>, Rejected> {
    let rejected = |id: Option<String>, reason: String| Rejected {
        stream: stream.to_owned(),
        id,
        reason,
        payload: text.to_owned(),
    };
    let members: Members<'a> =
        serde_json::from_str(text).map_err(|e| rejected(None, format!("not an object: {e}")))?;
    let named = members.text("id");
    let Some(id) = named.as_deref().and_then(id) else {
        let reason = if members.get("id").is_some() { "id: no id of an object" } else { "id: missing" };
        return Err(rejected(named.map(Cow::into_owned), reason.to_owned()));
    };
    let properties = members.get("properties").ok_or_else(|| "properties: missing".to_owned());
    let properties: Result<Members<'a>, String> = properties.and_then(|raw| {
        serde_json::from_str(raw.get()).map_err(|e| format!("properties: not an object: {e}"))
    });
    match properties {
        Ok(properties) => Ok(Found { id, members, properties }),
        Err(reason) => Err(rejected(Some(id.to_string()), reason)),
    }
}

/// A record of that text.
pub(crate) fn record(stream: &str, id: impl Into<String>, text: String) -> Result<Record, ConnectorError> {
    let payload = RawValue::from_string(text)
        .map_err(|_| ConnectorError::Protocol(format!("{stream}: an object is not JSON")))?;
    Ok(Record { key: RecordKey::new(stream, id), payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stays_byte_for_byte() {
        let text = "{ \"id\" : \"7\", \"properties\":{\"a\" : \"\\u00e9\" ,\"b\":null},\"url\":\"x\", \
                    \"associations\":{},\"n\":1.50 }";
        let found = read("companies", text).map_err(|r| r.reason).unwrap();
        let own = [("associations", "[]".to_owned())];
        let written = found.members.write(&DROPPED, &own);
        assert_eq!(
            written,
            "{\"id\":\"7\",\"properties\":{\"a\" : \"\\u00e9\" ,\"b\":null},\"n\":1.50,\"associations\":[]}"
        );
        assert_eq!((found.property("a").as_deref(), found.property("b")), (Some("é"), None));
    }

    #[test]
    fn ids_are_digits() {
        assert_eq!(id("406260751575"), Some(406_260_751_575));
        assert_eq!(id("0"), Some(0));
        for bad in ["", "07", "+7", "-7", " 7", "7 ", "7.0", "99999999999999999999", "never_was_1", "٣"] {
            assert_eq!(id(bad), None, "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_set_aside(text in "\\PC*") {
            let _ = read("companies", &text);
            let _ = serde_json::from_str::<List<'_>>(&text).map(|l| l.results.len());
        }

        #[test]
        fn json_of_any_shape_is_set_aside_or_read(
            id in "[0-9a-z\"{}\\[\\]:,]{0,12}", properties in "[a-z0-9\"{}\\[\\]:,]{0,24}",
        ) {
            let text = format!("{{\"id\":{id},\"properties\":{properties}}}");
            if let Ok(found) = read("deals", &text) {
                let written = found.members.write(&DROPPED, &[]);
                proptest::prop_assert!(serde_json::from_str::<serde_json::Value>(&written).is_ok());
            }
        }
    }
}
