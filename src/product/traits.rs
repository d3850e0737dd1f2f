//! Traits as they are sent: JSON, with the amounts of money as they were written.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Amounts, in major units.
pub(super) const AMOUNTS: [&str; 2] = ["mrr", "arr"];

/// Traits by key.
///
/// A JSON number may have more digits than a binary fraction holds; amounts keep the text that was sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traits {
    /// All but the amounts.
    pub values: Map<String, Value>,
    /// `mrr` and `arr`, as JSON text.
    pub amounts: BTreeMap<String, String>,
}

impl Traits {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.amounts.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len() + self.amounts.len()
    }

    /// Their size, in bytes of JSON.
    pub fn bytes(&self) -> usize {
        let amounts: usize = self.amounts.iter().map(|(key, text)| key.len() + text.len() + 4).sum();
        json_bytes(&self.values) + amounts
    }

    /// Adds one, whose amounts are written as JSON would.
    pub fn insert(&mut self, key: String, value: Value) {
        if AMOUNTS.contains(&key.as_str()) {
            self.amounts.insert(key, value.to_string());
        } else {
            self.values.insert(key, value);
        }
    }
}

impl JsonSchema for Traits {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Traits".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let number = json_schema!({ "type": ["number", "null"] });
        json_schema!({
            "type": ["object", "null"],
            "description": "Traits by key. Recognised keys have types of their own, every other key is kept as it is; \
                `null` removes. `mrr` and `arr` are major units of the reporting currency.",
            "properties": { "mrr": number, "arr": number },
            "additionalProperties": true,
        })
    }
}

impl From<Map<String, Value>> for Traits {
    fn from(map: Map<String, Value>) -> Self {
        let mut traits = Self::default();
        map.into_iter().for_each(|(key, value)| traits.insert(key, value));
        traits
    }
}

/// The size of a value, in bytes of JSON.
pub(super) fn json_bytes(value: &impl serde::Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What came from JSON goes back to JSON; a size beyond every limit stands for what does not.
    serde_json::to_writer(&mut count, value).map_or(usize::MAX / 4, |()| count.0)
}

impl<'de> Deserialize<'de> for Traits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Traits;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of traits")
            }

            fn visit_unit<E>(self) -> Result<Traits, E> {
                Ok(Traits::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Traits, A::Error> {
                let mut traits = Traits::default();
                while let Some(key) = members.next_key::<String>()? {
                    if AMOUNTS.contains(&key.as_str()) {
                        let text: Box<RawValue> = members.next_value()?;
                        traits.amounts.insert(key, text.get().to_owned());
                    } else {
                        traits.values.insert(key, members.next_value()?);
                    }
                }
                Ok(traits)
            }
        }

        deserializer.deserialize_any(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_every_digit() {
        let text = r#"{"mrr": 90071992547409.93, "arr": 1e2, "plan": "pro", "mrr": 12345678901234.56}"#;
        let traits: Traits = serde_json::from_str(text).unwrap();
        assert_eq!(traits.amounts["mrr"], "12345678901234.56");
        assert_eq!(traits.amounts["arr"], "1e2");
        assert_eq!(traits.values["plan"], "pro");
        assert_eq!(traits.len(), 3);
        assert!(serde_json::from_str::<Traits>("null").unwrap().is_empty());
        assert!(serde_json::from_str::<Traits>("[1]").is_err());
    }

    #[test]
    fn amounts_keep_every_digit_also_behind_a_reader_that_names_paths() {
        let mut reader = serde_json::Deserializer::from_str(r#"{"mrr": 0.10000000000000000000001}"#);
        let traits: Traits = serde_path_to_error::deserialize(&mut reader).unwrap();
        assert_eq!(traits.amounts["mrr"], "0.10000000000000000000001");
    }

    #[test]
    fn a_size_is_that_of_the_json() {
        let traits: Traits = serde_json::from_str(r#"{"a":"é","mrr":299}"#).unwrap();
        assert_eq!(traits.bytes(), r#"{"a":"é"}"#.len() + r#""mrr":299,"#.len());
    }
}
