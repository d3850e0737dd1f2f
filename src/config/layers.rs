//! The layers and how they are put on top of each other.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Map, Source, ValueKind};
use serde::Serialize;
use serde_json::Value;

use super::error::UnknownKey;
use super::{Config, ConfigError, OAuthApp, Problem};

/// What a variable that is a setting begins with.
pub const ENV_PREFIX: &str = "HALO_SYNC_";

/// The settings file that is looked for in the working directory.
pub const FILE_NAME: &str = "halo-sync.toml";

/// The section whose keys are not checked here: derivation validates them.
const OPEN_SECTION: &str = "derive";

/// The section whose keys stand one level deeper, below names that are not known here: connectors.
const NAMED_SECTION: &str = "oauth";

/// Where settings may come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Which file.
    pub file: FileChoice,
    /// The environment's variables; those that are not ours are passed over.
    pub env: Vec<(OsString, OsString)>,
    /// Settings from the command line.
    pub flags: Vec<Flag>,
}

/// Which settings file is read.
#[derive(Debug, Clone, Default)]
pub enum FileChoice {
    /// None.
    #[default]
    None,
    /// This one, if it is there.
    IfPresent(PathBuf),
    /// This one, which must be there.
    Required(PathBuf),
}

/// A setting from the command line.
#[derive(Debug, Clone)]
pub struct Flag {
    /// As it was typed, for messages: `--data-dir`.
    pub name: String,
    /// `section.key`.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The settings file.
    File(PathBuf),
    /// A variable of the environment.
    Env(String),
    /// A flag of the command line.
    Flag(String),
    /// A file that holds one secret.
    SecretFile {
        /// The file.
        path: PathBuf,
        /// Where the file is named.
        named_by: Box<Origin>,
    },
}

impl Origin {
    /// Larger wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(_) => 1,
            Self::Env(_) => 2,
            Self::Flag(_) => 3,
            Self::SecretFile { named_by, .. } => named_by.rank(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::SecretFile { path, named_by } => write!(f, "secret file {} ({named_by})", path.display()),
        }
    }
}

/// One layer: typed values by `section.key`, each with its origin.
#[derive(Debug, Clone, Default)]
struct Layer(Vec<(String, Value, Origin)>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, config::Value>, config::ConfigError> {
        Ok(self.0.iter().map(|(key, value, origin)| (key.clone(), to_config(value, origin))).collect())
    }
}

fn to_config(value: &Value, origin: &Origin) -> config::Value {
    let kind = match value {
        Value::Null => ValueKind::Nil,
        Value::Bool(b) => ValueKind::Boolean(*b),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(i), _) => ValueKind::I64(i),
            (None, Some(f)) => ValueKind::Float(f),
            (None, None) => ValueKind::Nil,
        },
        Value::String(s) => ValueKind::String(s.clone()),
        Value::Array(items) => ValueKind::Array(items.iter().map(|v| to_config(v, origin)).collect()),
        Value::Object(members) => {
            ValueKind::Table(members.iter().map(|(k, v)| (k.clone(), to_config(v, origin))).collect())
        }
    };
    config::Value::new(Some(&origin.to_string()), kind)
}

/// Back to plain JSON, so that the settings are read strictly: `config` itself would take 1.7 or `true` for
/// an integer.
fn from_config(value: config::Value) -> Value {
    match value.kind {
        ValueKind::Nil => Value::Null,
        ValueKind::Boolean(b) => Value::Bool(b),
        ValueKind::I64(i) => Value::from(i),
        ValueKind::U64(u) => Value::from(u),
        ValueKind::I128(i) => i64::try_from(i).map_or(Value::Null, Value::from),
        ValueKind::U128(u) => u64::try_from(u).map_or(Value::Null, Value::from),
        ValueKind::Float(f) => Value::from(f),
        ValueKind::String(s) => Value::String(s),
        ValueKind::Array(items) => Value::Array(items.into_iter().map(from_config).collect()),
        ValueKind::Table(members) => {
            Value::Object(members.into_iter().map(|(k, v)| (k, from_config(v))).collect())
        }
    }
}

/// The merged settings as JSON, the origin of each key that is not at its default, and the file read.
pub(super) type Merged = (Value, BTreeMap<String, Origin>, Option<PathBuf>);

pub(super) fn merge(sources: &Sources) -> Result<Merged, ConfigError> {
    let known: BTreeMap<String, Value> = flatten(&Config::default()).into_iter().collect();
    let mut unknown = Vec::new();
    let mut layers = Vec::new();

    let (file, path) = read_file(&sources.file)?;
    if let (Some(table), Some(path)) = (file, &path) {
        let mut layer = Layer::default();
        file_layer(&table, path, &known, &mut layer, &mut unknown);
        layers.push(layer);
    }
    layers.push(env_layer(&sources.env, &known, &mut unknown)?);
    layers.push(flag_layer(&sources.flags, &known)?);
    if !unknown.is_empty() {
        return Err(ConfigError::Unknown(unknown));
    }

    let mut origins = BTreeMap::new();
    let mut builder = config::Config::builder();
    for layer in layers {
        for (key, _, origin) in &layer.0 {
            origins.insert(key.clone(), origin.clone());
        }
        builder = builder.add_source(layer);
    }
    let merged = builder.build().map_err(|e| {
        ConfigError::Invalid(vec![Problem {
            key: "settings".to_owned(),
            origin: Origin::Default,
            message: e.to_string(),
        }])
    })?;
    Ok((from_config(merged.cache), origins, path))
}

fn read_file(choice: &FileChoice) -> Result<(Option<toml::Table>, Option<PathBuf>), ConfigError> {
    let (path, required) = match choice {
        FileChoice::None => return Ok((None, None)),
        FileChoice::IfPresent(path) => (path, false),
        FileChoice::Required(path) => (path, true),
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if !required && e.kind() == std::io::ErrorKind::NotFound => return Ok((None, None)),
        Err(reason) => return Err(ConfigError::Unreadable { path: path.clone(), reason }),
    };
    let table = text
        .parse::<toml::Table>()
        .map_err(|e| ConfigError::Syntax { path: path.clone(), reason: syntax(&text, &e) })?;
    Ok((Some(table), Some(path.clone())))
}

/// Place and message, without the source line that the parser's own text quotes: it may hold a secret.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.as_bytes().get(..at).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    format!("line {line}, column {column}: {}", error.message().trim_end())
}

fn file_layer(
    table: &toml::Table,
    path: &Path,
    known: &BTreeMap<String, Value>,
    layer: &mut Layer,
    unknown: &mut Vec<UnknownKey>,
) {
    let origin = Origin::File(path.to_owned());
    for (section, value) in table {
        match value {
            toml::Value::Table(members) if section == OPEN_SECTION => {
                for (key, value) in members {
                    layer.0.push((format!("{section}.{key}"), from_toml(value), origin.clone()));
                }
            }
            toml::Value::Table(names) if section == NAMED_SECTION => {
                for (name, members) in names {
                    let toml::Value::Table(members) = members else {
                        unknown.push(UnknownKey {
                            nearest: None,
                            written: format!("{section}.{name}"),
                            origin: origin.clone(),
                        });
                        continue;
                    };
                    for (key, value) in members {
                        named(layer, unknown, (name, key), from_toml(value), &origin);
                    }
                }
            }
            toml::Value::Table(members) if !members.is_empty() => {
                for (key, value) in members {
                    let full = format!("{section}.{key}");
                    if known.contains_key(&full) {
                        layer.0.push((full, from_toml(value), origin.clone()));
                    } else {
                        unknown.push(UnknownKey {
                            nearest: nearest(&full, known.keys()),
                            written: full,
                            origin: origin.clone(),
                        });
                    }
                }
            }
            toml::Value::Table(_) if known.keys().any(|k| section_of(k) == section) => {}
            _ => unknown.push(UnknownKey {
                nearest: nearest_to_section(section, known),
                written: section.clone(),
                origin: origin.clone(),
            }),
        }
    }
}

fn env_layer(
    env: &[(OsString, OsString)],
    known: &BTreeMap<String, Value>,
    unknown: &mut Vec<UnknownKey>,
) -> Result<Layer, ConfigError> {
    let mut layer = Layer::default();
    for (name, value) in env {
        // A variable that is not text cannot be one of ours: all our names are ASCII.
        let Some(name) = name.to_str() else { continue };
        let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
        // Only SECTION__KEY is a setting. A platform that runs a service of this name adds variables of its
        // own (Kubernetes: HALO_SYNC_SERVICE_HOST, HALO_SYNC_PORT): a single underscore is not ours to judge.
        let Some((section, key)) = rest.split_once("__") else { continue };
        let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
        let full = format!("{section}.{key}");
        let origin = Origin::Env(name.to_owned());
        let Some(text) = value.to_str() else {
            return Err(ConfigError::Invalid(vec![Problem {
                key: full,
                origin,
                message: "is not UTF-8 text".to_owned(),
            }]));
        };
        if section == OPEN_SECTION {
            layer.0.push((full, toml_scalar(text), origin));
        } else if let (NAMED_SECTION, Some((name, key))) = (section.as_str(), key.split_once("__")) {
            named(&mut layer, unknown, (name, key), Value::String(text.to_owned()), &origin);
        } else if let Some(default) = known.get(&full) {
            layer.0.push((full.clone(), typed(&full, text, default, &origin)?, origin));
        } else {
            let names: Vec<String> = known.keys().map(|key| env_name(key)).collect();
            unknown.push(UnknownKey {
                nearest: nearest(name, names.iter()),
                written: name.to_owned(),
                origin: Origin::Env(name.to_owned()),
            });
        }
    }
    Ok(layer)
}

/// A key of the section whose keys stand below names.
fn named(
    layer: &mut Layer,
    unknown: &mut Vec<UnknownKey>,
    (name, key): (&str, &str),
    value: Value,
    origin: &Origin,
) {
    let full = |key: &str| format!("{NAMED_SECTION}.{name}.{key}");
    let members = serde_json::to_value(OAuthApp::default()).unwrap_or_default();
    let known: Vec<String> = members.as_object().into_iter().flatten().map(|(key, _)| full(key)).collect();
    let written = full(key);
    // What a name may be; a dot or a bracket would lead elsewhere.
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.is_empty();
    if is_name && known.contains(&written) {
        layer.0.push((written, value, origin.clone()));
    } else {
        unknown.push(UnknownKey {
            nearest: nearest(&written, known.iter()),
            written,
            origin: origin.clone(),
        });
    }
}

fn flag_layer(flags: &[Flag], known: &BTreeMap<String, Value>) -> Result<Layer, ConfigError> {
    let mut layer = Layer::default();
    for flag in flags {
        let origin = Origin::Flag(flag.name.clone());
        let default = known.get(&flag.key).unwrap_or(&Value::Null);
        layer.0.push((flag.key.clone(), typed(&flag.key, &flag.value, default, &origin)?, origin));
    }
    Ok(layer)
}

/// The variable of a key: `server.listen` is `HALO_SYNC_SERVER__LISTEN`.
pub(super) fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replacen('.', "__", 1).to_ascii_uppercase())
}

/// Text from outside the file, as the type that the key's default has.
fn typed(key: &str, text: &str, default: &Value, origin: &Origin) -> Result<Value, ConfigError> {
    let wrong = |expected: &str| {
        ConfigError::Invalid(vec![Problem {
            key: key.to_owned(),
            origin: origin.clone(),
            message: format!("{text:?} is not {expected}"),
        }])
    };
    match default {
        Value::Number(_) => text.trim().parse::<i64>().map(Value::from).map_err(|_| wrong("a whole number")),
        Value::Bool(_) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(Value::Bool(true)),
            "false" | "0" | "no" | "off" => Ok(Value::Bool(false)),
            _ => Err(wrong("true or false")),
        },
        Value::Object(_) => match toml_scalar(text) {
            table @ Value::Object(_) => Ok(table),
            _ => Err(wrong("a table, as { name = \"value\" }")),
        },
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// A value of the open section, whose types are not known here: what TOML would make of it, else text.
fn toml_scalar(text: &str) -> Value {
    match format!("v = {text}").parse::<toml::Table>() {
        Ok(mut table) if table.len() == 1 => table.remove("v").map_or(Value::Null, |v| from_toml(&v)),
        _ => Value::String(text.to_owned()),
    }
}

fn from_toml(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(s) => Value::String(s.clone()),
        toml::Value::Integer(i) => Value::from(*i),
        toml::Value::Float(f) => Value::from(*f),
        toml::Value::Boolean(b) => Value::Bool(*b),
        toml::Value::Datetime(d) => Value::String(d.to_string()),
        toml::Value::Array(items) => Value::Array(items.iter().map(from_toml).collect()),
        toml::Value::Table(members) => {
            Value::Object(members.iter().map(|(k, v)| (k.clone(), from_toml(v))).collect())
        }
    }
}

/// Every `section.key` with its value, in the order of the sections. The open section's keys are one level
/// deep, those of `oauth` two.
pub(super) fn flatten(config: &impl Serialize) -> Vec<(String, Value)> {
    let Ok(Value::Object(sections)) = serde_json::to_value(config) else { return Vec::new() };
    sections
        .into_iter()
        .filter_map(|(section, value)| match value {
            Value::Object(members) => Some((section, members)),
            _ => None,
        })
        .flat_map(|(section, members)| {
            let mut keys = Vec::new();
            for (key, value) in members {
                match value {
                    Value::Object(members) if section == NAMED_SECTION => {
                        keys.extend(members.into_iter().map(|(k, v)| (format!("{section}.{key}.{k}"), v)));
                    }
                    value => keys.push((format!("{section}.{key}"), value)),
                }
            }
            keys
        })
        .collect()
}

fn section_of(key: &str) -> &str {
    key.split_once('.').map_or(key, |(section, _)| section)
}

/// The key that somebody most likely meant; `None` when nothing is near.
fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a String>) -> Option<String> {
    known
        .map(|key| (strsim::normalized_damerau_levenshtein(written, key), key))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key.clone())
}

/// For something at the top of the file that is no section: a section of a like name, or a key of that name
/// that stands in a section.
fn nearest_to_section(written: &str, known: &BTreeMap<String, Value>) -> Option<String> {
    if let Some(key) = known.keys().find(|key| key.split_once('.').is_some_and(|(_, k)| k == written)) {
        return Some(key.clone());
    }
    let mut sections: Vec<String> = known.keys().map(|key| section_of(key).to_owned()).collect();
    sections.extend([OPEN_SECTION, NAMED_SECTION].map(str::to_owned));
    sections.dedup();
    nearest(written, sections.iter())
}
