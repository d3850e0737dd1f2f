//! Settings: one file a section, layered flags over environment over file over defaults.
//!
//! A key is named `section.key` everywhere: `[section]` and `key = …` in `halo-sync.toml`,
//! `HALO_SYNC_SECTION__KEY` in the environment. Every secret `section.key` can instead be read from a file
//! that `section.key_file` names. A key that does not exist is an error that names the nearest one that
//! does, and where the mistake stands. Relative paths are relative to the working directory, whichever layer
//! they come from.

mod backup;
mod chat;
mod data;
mod database;
mod error;
mod layers;
mod limits;
mod log;
mod oauth;
mod orgs;
mod prompt;
mod retention;
mod secret;
mod security;
mod server;
mod singer;
mod sync;
mod webhooks;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use backup::Backup;
pub use chat::Chat;
pub use data::Data;
pub use database::{Database, DatabaseTarget};
pub use error::{ConfigError, Problem};
pub use layers::{ENV_PREFIX, FILE_NAME, FileChoice, Flag, Origin, Sources};
pub use limits::Limits;
pub use log::{Log, LogFormat};
pub use oauth::{OAuth, OAuthApp};
pub use orgs::{OrgEntry, Orgs};
pub use prompt::Prompt;
pub use retention::Retention;
pub use secret::Secret;
pub use security::{SecretKeySource, Security};
pub use server::Server;
pub use singer::Singer;
pub use sync::Sync;
pub use webhooks::Webhooks;
pub use worker::Worker;

/// The text of `config init`: every key with its meaning, at its default.
pub const EXAMPLE: &str = include_str!("../../config.example.toml");

/// All settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where files are kept.
    pub data: Data,
    /// The database.
    pub database: Database,
    /// The HTTP server.
    pub server: Server,
    /// The worker.
    pub worker: Worker,
    /// The key that stored credentials are sealed with.
    pub security: Security,
    /// Log lines.
    pub log: Log,
    /// Webhooks from providers.
    pub webhooks: Webhooks,
    /// Reading from providers.
    pub sync: Sync,
    /// Copies of the embedded database by the clock.
    pub backup: Backup,
    /// How often the SDK API may be called.
    pub limits: Limits,
    /// Apps that are registered at providers, by connector.
    pub oauth: OAuth,
    /// Programs that Singer connections may run.
    pub singer: Singer,
    /// Organisations.
    pub orgs: Orgs,
    /// The text that the chat's prompt gets.
    pub prompt: Prompt,
    /// The model that answers chats.
    pub chat: Chat,
    /// How long things are kept that gather by themselves.
    pub retention: Retention,
    /// Settings of derivation, which validates them itself.
    pub derive: serde_json::Map<String, Value>,
}

/// The variable by which systemd says where a process's credentials lie.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Settings, and where each of them comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    origins: BTreeMap<String, Origin>,
    /// Where systemd lays credentials for this process.
    credentials: Option<PathBuf>,
}

/// One line of `config show`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// `section.key`.
    pub key: String,
    /// The value; a secret shows as `[redacted]`, something that is not set as `null`.
    pub value: Value,
    /// Where it comes from, in words.
    pub origin: String,
}

impl Config {
    /// Reads all layers.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names each key that is wrong and where it stands: a file that cannot be read or
    /// parsed, unknown keys, values of the wrong type, values that do not fit together.
    pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
        let (merged, mut origins, file) = layers::merge(sources)?;
        let mut config: Config = serde_path_to_error::deserialize(merged).map_err(|e| {
            let key = e.path().to_string();
            let origin = origins.get(&key).cloned().unwrap_or(Origin::Default);
            ConfigError::Invalid(vec![Problem { key, origin, message: e.into_inner().to_string() }])
        })?;
        config.database.read_secret_files(&mut origins)?;
        config.chat.read_secret_files(&mut origins)?;
        config.oauth.read_secret_files(&mut origins)?;
        let credentials = sources.env.iter().find(|(name, value)| name == CREDENTIALS && !value.is_empty());
        let credentials = credentials.map(|(_, folder)| PathBuf::from(folder));
        let loaded = Loaded { config, file, origins, credentials };
        let problems = loaded.problems();
        if problems.is_empty() { Ok(loaded) } else { Err(ConfigError::Invalid(problems)) }
    }

    /// The JSON Schema of the settings file.
    pub fn schema() -> Value {
        schemars::schema_for!(Config).to_value()
    }

    /// The database that the settings name.
    ///
    /// # Errors
    ///
    /// The reason why `database.url` is not understood. Cannot happen for settings that
    /// [`Config::load`] answered.
    pub fn database(&self) -> Result<DatabaseTarget, String> {
        self.database.target(&self.data)
    }
}

impl Loaded {
    /// Where a key's value comes from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Where the key that stored credentials are sealed with comes from.
    pub fn secret_key(&self) -> SecretKeySource {
        self.config.security.source(&self.config.data, self.credentials.as_deref())
    }

    /// Every key with its value and origin, in the order of the sections.
    pub fn rows(&self) -> Vec<Row> {
        layers::flatten(&self.config)
            .into_iter()
            .map(|(key, value)| Row { origin: self.origin(&key).to_string(), key, value })
            .collect()
    }

    fn problems(&self) -> Vec<Problem> {
        let mut found = Findings { loaded: self, problems: Vec::new() };
        self.config.database.check(&self.config.data, &mut found);
        self.config.server.check(&mut found);
        self.config.worker.check(&mut found);
        self.config.security.check(&mut found);
        self.config.log.check(&mut found);
        self.config.webhooks.check(&mut found);
        self.config.sync.check(&mut found);
        self.config.backup.check(&mut found);
        self.config.limits.check(&mut found);
        self.config.orgs.check(&mut found);
        self.config.chat.check(&mut found);
        self.config.oauth.check(&mut found);
        self.config.singer.check(&mut found);
        self.config.retention.check(&mut found);
        found.problems
    }
}

/// Collects what the sections' checks find, so that one run names every mistake.
struct Findings<'a> {
    loaded: &'a Loaded,
    problems: Vec<Problem>,
}

impl Findings<'_> {
    fn add(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            key: key.to_owned(),
            origin: self.loaded.origin(key),
            message: message.into(),
        });
    }

    fn within<T: PartialOrd + std::fmt::Display>(&mut self, key: &str, value: T, least: T, most: T) {
        if value < least || value > most {
            self.add(key, format!("{value} is not between {least} and {most}"));
        }
    }
}

#[cfg(test)]
mod tests;
