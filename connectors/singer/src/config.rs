//! Settings of a connection, and the checks that types cannot make. Each error names the member and what would be right.

use std::collections::BTreeMap;

use connector_sdk::{ConnectorError, Mode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::kinds::{Holds, Kind};
use crate::value::{Source, Unit};

/// Whether the account that a tap reads holds real or test objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountMode {
    /// Real ones.
    #[default]
    Live,
    /// Test objects.
    Test,
}

/// Settings of a Singer connection.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The program: a name of the server's own setting `singer.taps`.
    pub tap: String,
    /// A name of your own for the account that the tap reads, as `acme-crm`; a part of every record's id.
    pub account: String,
    /// Whether the account holds real or test objects.
    #[serde(default)]
    pub mode: AccountMode,
    /// The tap's own settings. `{secret}` in a text stands for the connection's secret, `{secret.MEMBER}` for a member
    /// of a secret that is a JSON object.
    #[serde(default)]
    pub config: Map<String, Value>,
    /// The tap's catalog. Without it the tap is asked for one, in which the streams of `streams` are selected.
    #[serde(default)]
    pub catalog: Option<Value>,
    /// What the tap's streams mean, by their names; others are passed over.
    pub streams: BTreeMap<String, StreamMap>,
}

/// What the records of a stream mean.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamMap {
    /// What they are.
    #[serde(rename = "as")]
    pub kind: Kind,
    /// The members that are a record's key, where the tap names none.
    #[serde(default)]
    pub key: Vec<String>,
    /// Where each field of the kind comes from.
    #[serde(default)]
    pub fields: BTreeMap<String, Source>,
    /// Of a party: what tells whose it is (`company_id`, or another provider's id as `stripe_customer_id`).
    #[serde(default)]
    pub metadata: BTreeMap<String, Source>,
    /// Custom fields of the company.
    #[serde(default)]
    pub traits: BTreeMap<String, Source>,
    /// Context entries of the company.
    #[serde(default)]
    pub context: BTreeMap<String, Shown>,
}

/// A context entry.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// The header of its section.
    pub label: String,
    /// Its value.
    #[serde(default)]
    pub value: Option<Source>,
    /// Instead of a value: the members of a table.
    #[serde(default)]
    pub members: BTreeMap<String, Source>,
    /// Makes it a list, with an item of each record: how many it holds at most, 1 to 100.
    #[serde(default)]
    pub most: Option<u32>,
    /// When an item was: the newest come first.
    #[serde(default)]
    pub at: Option<Source>,
}

/// The longest list in a context entry.
const MOST: u32 = 100;

fn wrong<T>(text: String) -> Result<T, ConnectorError> {
    Err(ConnectorError::Config(text))
}

/// Letters, digits, `_` and `-`.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

impl Config {
    /// Live or test.
    pub(crate) fn mode(&self) -> Mode {
        match self.mode {
            AccountMode::Live => Mode::Live,
            AccountMode::Test => Mode::Test,
        }
    }

    /// The only stream whose records are such; `None` for none or several.
    fn only(&self, is: impl Fn(Kind) -> bool) -> Option<&str> {
        let mut found = self.streams.iter().filter(|(_, map)| is(map.kind)).map(|(name, _)| name.as_str());
        found.next().filter(|_| found.next().is_none())
    }

    /// The stream that a key is of.
    pub(crate) fn stream_of<'a>(&'a self, source: &'a Source, holds: Holds) -> Option<&'a str> {
        let is = |kind: Kind| match holds {
            Holds::Party => kind.is_party(),
            Holds::Subscription => kind == Kind::Subscription,
            _ => false,
        };
        match &source.stream {
            Some(name) => self.streams.get(name).filter(|map| is(map.kind)).map(|_| name.as_str()),
            None => self.only(is),
        }
    }

    /// The id of a record, unlike that of any other account's.
    pub(crate) fn id(&self, stream: &str, key: &str) -> String {
        format!("{}/{stream}/{key}", self.account)
    }

    /// The checks that types cannot make.
    pub(crate) fn validate(&self) -> Result<(), ConnectorError> {
        if !is_name(&self.account) {
            return wrong(
                "account: must be a name of your own for the account, of letters, digits, _ and -, as acme-crm".into(),
            );
        }
        if self.streams.is_empty() {
            return wrong(
                "streams: must name at least one stream of the tap, as {\"accounts\": {\"as\": \"company\"}}"
                    .into(),
            );
        }
        if self.catalog.as_ref().is_some_and(|catalog| !catalog["streams"].is_array()) {
            return wrong(
                "catalog: must be an object with the list streams, as the tap's --discover prints it".into(),
            );
        }
        for (name, map) in &self.streams {
            self.check_stream(&format!("streams.{name}"), map)?;
        }
        Ok(())
    }

    fn check_stream(&self, at: &str, map: &StreamMap) -> Result<(), ConnectorError> {
        let fields = map.kind.fields();
        for (name, source) in &map.fields {
            let at = format!("{at}.fields.{name}");
            let Some(field) = fields.iter().find(|field| field.name == name) else {
                let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
                return wrong(format!(
                    "{at}: a {} has no such field; it has {}",
                    map.kind.word(),
                    known.join(", ")
                ));
            };
            self.check_source(&at, source, Some(field.holds))?;
        }
        if let Some(field) = fields.iter().find(|field| field.needed && !map.fields.contains_key(field.name))
        {
            return wrong(format!(
                "{at}.fields.{}: missing; a {} needs it, as a path in the record or {{\"value\": \"…\"}}",
                field.name,
                map.kind.word()
            ));
        }
        let has_money = |holds| matches!(holds, Holds::Minor | Holds::Major);
        let money = fields.iter().find(|field| has_money(field.holds) && map.fields.contains_key(field.name));
        if let Some(money) = money.filter(|_| !map.fields.contains_key("currency")) {
            return wrong(format!(
                "{at}.fields.currency: missing; {} is an amount of a currency, as {{\"value\": \"usd\"}}",
                money.name
            ));
        }
        if !map.metadata.is_empty() && !map.kind.is_party() {
            return wrong(format!(
                "{at}.metadata: is for a company or customer, a {} has none",
                map.kind.word()
            ));
        }
        for (name, source) in &map.metadata {
            self.check_source(&format!("{at}.metadata.{name}"), source, None)?;
        }
        for (name, source) in &map.traits {
            let at = format!("{at}.traits.{name}");
            if !is_name(name) {
                return wrong(format!("{at}: a custom field's name is of letters, digits, _ and -"));
            }
            self.check_source(&at, source, None)?;
        }
        for (name, shown) in &map.context {
            self.check_shown(&format!("{at}.context.{name}"), name, shown)?;
        }
        if map.kind == Kind::Note && map.traits.is_empty() && map.context.is_empty() {
            return wrong(format!("{at}: a note shows nothing; name traits or context"));
        }
        Ok(())
    }

    fn check_shown(&self, at: &str, name: &str, shown: &Shown) -> Result<(), ConnectorError> {
        if !is_name(name) {
            return wrong(format!("{at}: an entry's name is of letters, digits, _ and -"));
        }
        if shown.label.trim().is_empty() {
            return wrong(format!("{at}.label: is empty; it is the header of the entry in the prompt"));
        }
        if shown.value.is_some() != shown.members.is_empty() {
            return wrong(format!("{at}: one of value and members is expected"));
        }
        if shown.most.is_some_and(|most| most == 0 || most > MOST) {
            return wrong(format!("{at}.most: must be 1 to {MOST}"));
        }
        if shown.at.is_some() && shown.most.is_none() {
            return wrong(format!("{at}.at: orders a list; set most, too"));
        }
        if let Some(value) = &shown.value {
            self.check_source(&format!("{at}.value"), value, None)?;
        }
        for (member, source) in &shown.members {
            self.check_source(&format!("{at}.members.{member}"), source, None)?;
        }
        match &shown.at {
            Some(source) => self.check_source(&format!("{at}.at"), source, Some(Holds::Time)),
            None => Ok(()),
        }
    }

    fn check_source(&self, at: &str, source: &Source, holds: Option<Holds>) -> Result<(), ConnectorError> {
        match (&source.path, &source.value) {
            (Some(path), None) if !path.is_empty() => {}
            (None, Some(_)) => {}
            _ => return wrong(format!("{at}: one of path and value is expected")),
        }
        let units: &[Unit] = match holds {
            Some(Holds::Minor | Holds::Major) => &[Unit::Major, Unit::Minor],
            Some(Holds::Time | Holds::Date) => &[Unit::Seconds, Unit::Milliseconds],
            _ => &[],
        };
        match source.unit {
            None if units.contains(&Unit::Major) => {
                return wrong(format!("{at}.unit: missing; major (12.50) or minor (1250) is expected"));
            }
            Some(unit) if !units.contains(&unit) => {
                return wrong(format!(
                    "{at}.unit: does not fit; major and minor are of amounts, seconds and milliseconds of times"
                ));
            }
            _ => {}
        }
        if let Some(Holds::Word(known)) = holds {
            let said = source.words.values().chain(&source.value);
            if let Some(word) = said.into_iter().find(|word| !known.contains(&word.as_str())) {
                return wrong(format!("{at}: {word:?} is none of {}", known.join(", ")));
            }
        }
        match holds {
            Some(holds @ (Holds::Party | Holds::Subscription)) if self.stream_of(source, holds).is_none() => {
                let what = if holds == Holds::Party { "company or customer" } else { "subscription" };
                wrong(format!("{at}.stream: must name the stream of `streams` that is a {what}"))
            }
            Some(Holds::Party | Holds::Subscription) => Ok(()),
            _ if source.stream.is_some() => wrong(format!("{at}.stream: is for keys of other records")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(streams: Value) -> Config {
        serde_json::from_value(json!({"tap": "t", "account": "acme", "streams": streams})).unwrap()
    }

    fn complaint(streams: Value) -> String {
        config(streams).validate().unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        let subscription = |fields: Value| json!({"customers": {"as": "customer"}, "subs": {"as": "subscription", "fields": fields}});
        let whole = json!({
            "party": "customer_id", "status": {"path": "state", "words": {"live": "active"}},
            "amount": {"path": "price", "unit": "major"}, "currency": {"value": "usd"}, "every": {"value": "1 month"},
        });
        assert!(config(subscription(whole.clone())).validate().is_ok());
        let but = |name: &str, value: Value| {
            let mut fields = whole.clone();
            match value {
                Value::Null => drop(fields.as_object_mut().unwrap().remove(name)),
                value => fields[name] = value,
            }
            complaint(subscription(fields))
        };
        for (name, value, says) in [
            (
                "plam",
                json!("x"),
                "streams.subs.fields.plam: a subscription has no such field; it has party, status",
            ),
            ("currency", Value::Null, "streams.subs.fields.currency: missing"),
            ("amount", json!("price"), "streams.subs.fields.amount.unit: missing; major"),
            ("amount", json!({"path": "p", "unit": "seconds"}), "fields.amount.unit: does not fit"),
            ("status", json!({"path": "s", "words": {"x": "alive"}}), "\"alive\" is none of active"),
            ("status", json!({"value": "alive"}), "\"alive\" is none of active"),
            ("party", json!({"path": "c", "stream": "subs"}), "fields.party.stream: must name the stream"),
            ("plan", json!({"path": "c", "stream": "subs"}), "fields.plan.stream: is for keys"),
            ("plan", json!({}), "fields.plan: one of path and value"),
            ("plan", json!({"path": "a", "value": "b"}), "fields.plan: one of path and value"),
            ("plan", json!(""), "fields.plan: one of path and value"),
        ] {
            let said = but(name, value);
            assert!(said.contains(says), "{name}: {said}");
        }
        for (streams, says) in [
            (json!({}), "streams: must name at least one"),
            (json!({"n": {"as": "note", "fields": {"party": "c"}}}), "streams.n.fields.party.stream"),
            (
                json!({"c": {"as": "company"}, "n": {"as": "note", "fields": {"party": "c"}}}),
                "streams.n: a note shows nothing",
            ),
            (json!({"c": {"as": "company", "traits": {"a b": "x"}}}), "streams.c.traits.a b"),
            (
                json!({"c": {"as": "company", "context": {"x": {"label": "X"}}}}),
                "streams.c.context.x: one of value and members",
            ),
            (
                json!({"c": {"as": "company", "context": {"x": {"label": "X", "value": "a", "most": 0}}}}),
                "streams.c.context.x.most: must be 1 to 100",
            ),
            (
                json!({"c": {"as": "company", "context": {"x": {"label": "", "value": "a"}}}}),
                "streams.c.context.x.label",
            ),
        ] {
            let said = complaint(streams);
            assert!(said.contains(says), "{said}");
        }
        let mut nameless = config(json!({"c": {"as": "company"}}));
        nameless.account = "a/b".to_owned();
        assert!(nameless.validate().unwrap_err().to_string().contains("account: must be"));
    }
}
