//! How Stripe writes things: ids that may be expanded, lists, seconds, decimals.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use chrono::DateTime;
use connector_sdk::facts::Decimal;
use connector_sdk::{Mode, Timestamp};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A member that is an id, or the object itself where it was expanded.
pub(super) enum IdOr<T> {
    Id(String),
    Object(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for IdOr<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for V<T> {
            type Value = IdOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id or an object")
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
                Ok(IdOr::Id(v.to_owned()))
            }

            fn visit_string<E: de::Error>(self, v: String) -> Result<Self::Value, E> {
                Ok(IdOr::Id(v))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(IdOr::Object)
            }
        }
        d.deserialize_any(V(PhantomData))
    }
}

/// An expandable object of which only the id matters here.
#[derive(Deserialize)]
pub(super) struct Stub {
    pub(super) id: String,
}

/// An id, expanded or not.
pub(super) type Id = IdOr<Stub>;

impl Id {
    pub(super) fn into_id(self) -> String {
        match self {
            Self::Id(id) | Self::Object(Stub { id }) => id,
        }
    }
}

/// The id of an expandable member.
pub(super) fn id(member: Option<Id>) -> Option<String> {
    member.map(Id::into_id)
}

/// Stripe's list object.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct List<T> {
    pub(super) data: Option<Vec<T>>,
    pub(super) has_more: Option<bool>,
}

/// A number or a numeric string, by its digits.
pub(super) struct Exact(pub(super) Decimal);

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(d)?;
        Decimal::from_json(raw).map(Exact).map_err(de::Error::custom)
    }
}

/// An amount that Stripe writes twice: exactly, and where it is whole as an integer.
pub(super) fn amount(exact: Option<Exact>, whole: Option<i64>) -> Option<Decimal> {
    exact.map(|x| x.0).or(whole.map(Decimal::from))
}

/// Seconds since 1970 as an instant; `None` outside of what a calendar holds.
pub(super) fn at(seconds: Option<i64>) -> Option<Timestamp> {
    seconds.and_then(|s| DateTime::from_timestamp(s, 0))
}

/// `livemode`.
pub(super) fn mode(livemode: Option<bool>) -> Option<Mode> {
    livemode.map(|live| if live { Mode::Live } else { Mode::Test })
}

/// Currency codes are lower case in the vocabulary.
pub(super) fn lower(currency: Option<String>) -> Option<String> {
    currency.map(|mut c| {
        c.make_ascii_lowercase();
        c
    })
}

/// Stripe's metadata: texts by key. Other scalars are taken by their spelling, a null is no entry.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Metadata(BTreeMap<String, Text>);

impl Metadata {
    pub(super) fn into_text(self) -> BTreeMap<String, String> {
        self.0.into_iter().filter_map(|(key, Text(text))| Some((key, text?))).collect()
    }
}

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
                Ok(Text(Some(v.to_owned())))
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

            fn visit_unit<E: de::Error>(self) -> Result<Text, E> {
                Ok(Text(None))
            }
        }
        d.deserialize_any(V)
    }
}
