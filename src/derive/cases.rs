//! Worked cases: provider objects in, derived fields out, without a database.
//!
//! A case is a JSON object with `id`, `now`, `settings` and `input`. Members of `input` hold provider objects;
//! each is named after a stream of one of the given connectors, with the connector's id before it where that is
//! needed to tell (`subscriptions`, `acme_deals`). Three members are ours: `end_users`, `company` (values entered
//! by hand under `overrides`) and `previous` (what the last derivation said).

use std::collections::BTreeMap;

use connector_sdk::{DynConnector, FactsError, Mode, Record, RecordKey, Role, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::inputs::{DeriveError, FactRecord, Inputs, Previous, Source};
use super::settings::{Settings, SettingsError};
use super::team::{Member, team_size};
use super::{Derivation, derive};

/// A connector, as far as a case needs one.
#[derive(Clone, Copy)]
pub struct CaseConnector<'a> {
    /// Its id.
    pub id: &'a str,
    /// What the provider is to a company.
    pub role: Role,
    /// Its translation into facts.
    pub facts: &'a dyn Fn(&Record) -> Result<connector_sdk::Extract, FactsError>,
}

/// A case that cannot be answered. Every message names the member.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The text is no JSON, or a member has the wrong type.
    #[error("{at}: {message}")]
    Shape {
        /// Which case and member.
        at: String,
        /// What was expected and found.
        message: String,
    },
    /// A setting cannot be meant.
    #[error("{at}: settings.{source}")]
    Settings {
        /// Which case.
        at: String,
        /// The member and what is wrong.
        source: SettingsError,
    },
    /// An object of a connector cannot be understood.
    #[error("{at}: {source}")]
    Facts {
        /// Which case, member and element.
        at: String,
        /// The path inside the object.
        source: FactsError,
    },
    /// The derivation refused its inputs.
    #[error("{at}: {source}")]
    Derive {
        /// Which case.
        at: String,
        /// Why.
        source: DeriveError,
    },
}

#[derive(Deserialize)]
struct Case<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    now: Option<Timestamp>,
    #[serde(borrow)]
    settings: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<BTreeMap<String, &'a RawValue>>,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    defaults: Option<&'a RawValue>,
    #[serde(borrow)]
    cases: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct UserShape {
    id: Option<Value>,
    deleted_at: Option<Value>,
    merged_into: Option<Value>,
    #[serde(default)]
    is_test: Option<bool>,
}

#[derive(Deserialize)]
struct CompanyShape {
    overrides: Option<Map<String, Value>>,
}

/// Reads one member; an error names its path below `at`.
pub(super) fn read<'a, T: Deserialize<'a>>(text: &'a str, at: &str) -> Result<T, CaseError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let path = e.path().to_string();
        let at = if path == "." { at.to_owned() } else { format!("{at}.{path}") };
        CaseError::Shape { at, message: e.into_inner().to_string() }
    })?;
    reader.end().map_err(|e| CaseError::Shape { at: at.to_owned(), message: e.to_string() })?;
    Ok(value)
}

/// The cases of a text: one case, an array of cases, or a file `{"defaults": …, "cases": […]}`.
#[derive(Debug, Clone)]
pub struct Cases<'a> {
    cases: Vec<&'a str>,
    defaults: Option<&'a str>,
}

impl<'a> Cases<'a> {
    /// Finds the cases in `text`.
    ///
    /// # Errors
    ///
    /// [`CaseError::Shape`] when the text is none of the three.
    pub fn read(text: &'a str) -> Result<Self, CaseError> {
        let get = |raws: Vec<&'a RawValue>| raws.into_iter().map(RawValue::get).collect();
        if text.trim_start().starts_with('[') {
            return Ok(Self { cases: get(read(text, "input")?), defaults: None });
        }
        let members: BTreeMap<String, &'a RawValue> = read(text, "input")?;
        if members.contains_key("cases") {
            let file: File<'a> = read(text, "input")?;
            return Ok(Self { cases: get(file.cases), defaults: file.defaults.map(RawValue::get) });
        }
        Ok(Self { cases: vec![text], defaults: None })
    }

    /// How many cases there are.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Their texts, in the order of the whole.
    pub(super) fn texts(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.cases.iter().copied()
    }

    /// Answers case after case, in the order of the text.
    pub fn answers<'c>(
        &'c self,
        connectors: &'c [CaseConnector<'c>],
    ) -> impl Iterator<Item = Result<Value, CaseError>> + 'c {
        self.cases.iter().enumerate().map(move |(i, text)| {
            let (id, derivation, ignored) = run(text, i, self.defaults, connectors)?;
            Ok(answer_of(id, &derivation, &ignored))
        })
    }

    /// The whole derivation of each case, with its id.
    pub fn derivations<'c>(
        &'c self,
        connectors: &'c [CaseConnector<'c>],
    ) -> impl Iterator<Item = Result<(Value, Derivation), CaseError>> + 'c {
        self.cases.iter().enumerate().map(move |(i, text)| {
            let (id, derivation, _) = run(text, i, self.defaults, connectors)?;
            Ok((id, derivation))
        })
    }
}

/// Answers one case that is a value already. Numbers with more digits than a binary float are read exactly only
/// from text ([`Cases::read`]).
pub fn answer(case: &Value, connectors: &[CaseConnector<'_>]) -> Result<Value, CaseError> {
    let text = case.to_string();
    let (id, derivation, ignored) = run(&text, 0, None, connectors)?;
    Ok(answer_of(id, &derivation, &ignored))
}

/// Calls `f` with the case's view of whole connectors.
pub fn with_connectors<T>(connectors: &[&dyn DynConnector], f: impl FnOnce(&[CaseConnector<'_>]) -> T) -> T {
    let facts: Vec<_> = connectors.iter().map(|c| move |record: &Record| c.facts(record)).collect();
    let views: Vec<CaseConnector<'_>> = connectors
        .iter()
        .zip(&facts)
        .map(|(c, facts)| {
            let spec = c.spec();
            CaseConnector { id: spec.id, role: spec.role, facts }
        })
        .collect();
    f(&views)
}

/// The values of a derivation as the answer to a case.
fn answer_of(id: Value, derivation: &Derivation, ignored: &[String]) -> Value {
    let mut answer = Map::new();
    answer.insert("id".to_owned(), id);
    if let Ok(Value::Object(values)) = serde_json::to_value(&derivation.values) {
        answer.extend(values);
    }
    answer.insert("missing".to_owned(), json!(derivation.missing));
    answer.insert("test".to_owned(), json!(derivation.test));
    answer.insert("next_turn".to_owned(), json!(derivation.next_turn));
    if !ignored.is_empty() {
        answer.insert("ignored_input".to_owned(), json!(ignored));
    }
    Value::Object(answer)
}

fn run(
    text: &str,
    index: usize,
    defaults: Option<&str>,
    connectors: &[CaseConnector<'_>],
) -> Result<(Value, Derivation, Vec<String>), CaseError> {
    let position = format!("case {index}");
    let case: Case<'_> = read(text, &position)?;
    let id: Value = case.id.map_or(Ok(Value::Null), |raw| read(raw.get(), &format!("{position}.id")))?;
    let at = match &id {
        Value::String(id) => format!("case {id:?}"),
        _ => position,
    };
    let shape = |member: &str, message: &str| CaseError::Shape {
        at: format!("{at}.{member}"),
        message: message.to_owned(),
    };
    let now = case.now.ok_or_else(|| shape("now", "expected an instant (RFC 3339)"))?;
    let input = case.input.ok_or_else(|| shape("input", "expected an object with provider objects"))?;
    let settings = settings(defaults, case.settings.map(RawValue::get), &at)?;

    let mode = if settings.include_test { Mode::Test } else { Mode::Live };
    let sources: Vec<Source> = connectors
        .iter()
        .map(|c| Source { connection: c.id.to_owned(), connector: c.id.to_owned(), role: c.role, mode })
        .collect();
    let mut records: BTreeMap<(String, RecordKey), String> = BTreeMap::new();
    let mut members = None;
    let mut manual = Map::new();
    let mut previous = None;
    let mut ignored = Vec::new();
    for (name, raw) in &input {
        let member = format!("{at}.input.{name}");
        match name.as_str() {
            "end_users" => members = Some(read::<Vec<UserShape>>(raw.get(), &member)?),
            "company" => {
                let company: CompanyShape = read(raw.get(), &member)?;
                manual = company.overrides.unwrap_or_default();
            }
            "previous" => previous = read::<Option<Previous>>(raw.get(), &member)?,
            _ => {
                let objects: Option<Vec<&RawValue>> = read(raw.get(), &member)?;
                if !translate(name, &objects.unwrap_or_default(), connectors, &member, &mut records)? {
                    ignored.push(name.clone());
                }
            }
        }
    }
    let records: Vec<FactRecord> = records
        .into_iter()
        .map(|((connection, key), facts)| FactRecord { connection, key, own: true, facts })
        .collect();
    let team_size = members.map(|users| count(&users));
    let inputs = Inputs {
        now,
        settings: &settings,
        sources: &sources,
        records: &records,
        team_size,
        manual: &manual,
        previous: previous.as_ref(),
    };
    let derivation = derive(&inputs).map_err(|source| CaseError::Derive { at: at.clone(), source })?;
    Ok((id, derivation, ignored))
}

/// A case's settings over the file's defaults.
fn settings(defaults: Option<&str>, own: Option<&str>, at: &str) -> Result<Settings, CaseError> {
    let mut merged: Map<String, Value> = match defaults {
        Some(text) => read(text, "defaults")?,
        None => Map::new(),
    };
    if let Some(own) = own {
        merged
            .extend(read::<Option<Map<String, Value>>>(own, &format!("{at}.settings"))?.unwrap_or_default());
    }
    let text = Value::Object(merged).to_string();
    let settings: Settings = read(&text, &format!("{at}.settings"))?;
    settings.check().map_err(|source| CaseError::Settings { at: at.to_owned(), source })?;
    Ok(settings)
}

fn count(users: &[UserShape]) -> u64 {
    let set = |value: &Option<Value>| value.as_ref().is_some_and(|v| !v.is_null());
    let ids: Vec<String> = users
        .iter()
        .map(|u| match &u.id {
            Some(Value::String(id)) => id.clone(),
            other => other.as_ref().map(Value::to_string).unwrap_or_default(),
        })
        .collect();
    team_size(users.iter().zip(&ids).map(|(u, id)| Member {
        id,
        deleted: set(&u.deleted_at),
        merged: set(&u.merged_into),
        test: u.is_test.unwrap_or(false),
    }))
}

/// Translates the objects of one member; answers whether a connector knows them. Of equal ids the last stays,
/// as a newer read replaces an older one.
fn translate(
    name: &str,
    objects: &[&RawValue],
    connectors: &[CaseConnector<'_>],
    member: &str,
    records: &mut BTreeMap<(String, RecordKey), String>,
) -> Result<bool, CaseError> {
    // A name with a connector's id before it is that connector's; a bare name is the first one's that knows it.
    let prefixed = connectors.iter().filter_map(|c| Some((c, name.strip_prefix(c.id)?.strip_prefix('_')?)));
    for (connector, stream) in prefixed.chain(connectors.iter().map(|c| (c, name))) {
        let mut known = true;
        for (i, raw) in objects.iter().enumerate() {
            #[derive(Deserialize)]
            struct Named {
                id: Option<String>,
            }
            let at = format!("{member}[{i}]");
            let id = read::<Named>(raw.get(), &at)?.id.unwrap_or_default();
            let key = RecordKey::new(stream, id);
            let record = Record { key: key.clone(), payload: (*raw).to_owned() };
            match (connector.facts)(&record) {
                Ok(extract) => {
                    let facts = serde_json::to_string(&extract.facts)
                        .map_err(|e| CaseError::Shape { at: at.clone(), message: e.to_string() })?;
                    records.insert((connector.id.to_owned(), key), facts);
                }
                Err(e) if e.is_unknown_stream() => {
                    known = false;
                    break;
                }
                Err(source) => return Err(CaseError::Facts { at, source }),
            }
        }
        if known {
            return Ok(true);
        }
    }
    Ok(objects.is_empty())
}
