use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{ConfigError, Data, Findings, Origin, Problem, Secret};

/// The database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `sqlite:PATH` or `postgres://USER@HOST/NAME`; not set: `halo-sync.db` in `data.dir`.
    pub url: Option<Secret>,
    /// File that holds `url`.
    pub url_file: Option<PathBuf>,
    /// Password for a Postgres `url` that has none.
    pub password: Option<Secret>,
    /// File that holds `password`.
    pub password_file: Option<PathBuf>,
    /// Connections that the process keeps at most, for each of Postgres's roles.
    pub max_connections: u32,
    /// Whether a start migrates the schema. When off, a start on an older schema is refused.
    pub migrate: bool,
}

/// Which database the settings name.
#[derive(Debug, Clone)]
pub enum DatabaseTarget {
    /// The embedded engine and its file.
    Sqlite(PathBuf),
    /// A server, by its address with the password in it.
    Postgres(SecretString),
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            password: None,
            password_file: None,
            max_connections: 10,
            migrate: true,
        }
    }
}

impl Database {
    /// Takes the place of the secrets that files hold.
    pub(super) fn read_secret_files(
        &mut self,
        origins: &mut BTreeMap<String, Origin>,
    ) -> Result<(), ConfigError> {
        read_secret("database.url", &mut self.url, self.url_file.as_deref(), origins)?;
        read_secret("database.password", &mut self.password, self.password_file.as_deref(), origins)
    }

    pub(super) fn target(&self, data: &Data) -> Result<DatabaseTarget, String> {
        let Some(secret) = &self.url else {
            return Ok(DatabaseTarget::Sqlite(data.dir.join("halo-sync.db")));
        };
        let text = secret.expose();
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            // The parser's own message may quote the address, password included: it is not passed on.
            let mut url = url::Url::parse(text).map_err(|_| "is not a valid address".to_owned())?;
            if let Some(password) = &self.password {
                if url.password().is_some() {
                    return Err("has a password, and database.password is set too".to_owned());
                }
                url.set_password(Some(password.expose())).map_err(|()| "takes no password".to_owned())?;
            }
            return Ok(DatabaseTarget::Postgres(SecretString::from(url.to_string())));
        }
        if let Some(rest) = text.strip_prefix("sqlite:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() || path == ":memory:" || path.contains('?') {
                return Err("names no file: sqlite:PATH, without parameters".to_owned());
            }
            if self.password.is_some() {
                return Err("is a SQLite file, which takes no database.password".to_owned());
            }
            return Ok(DatabaseTarget::Sqlite(PathBuf::from(path)));
        }
        Err("begins neither with sqlite: nor with postgres://".to_owned())
    }

    pub(super) fn check(&self, data: &Data, found: &mut Findings<'_>) {
        if let Err(message) = self.target(data) {
            found.add("database.url", message);
        }
        found.within("database.max_connections", self.max_connections, 2, 1_000);
    }
}

/// `key` and `key_file` are two ways to say one thing: the one from the higher layer wins, both in the same
/// layer is a mistake.
pub(super) fn read_secret(
    key: &str,
    value: &mut Option<Secret>,
    file: Option<&Path>,
    origins: &mut BTreeMap<String, Origin>,
) -> Result<(), ConfigError> {
    let Some(file) = file else { return Ok(()) };
    let file_key = format!("{key}_file");
    let named_by = origins.get(&file_key).cloned().unwrap_or(Origin::Default);
    let invalid = |message: String| {
        ConfigError::Invalid(vec![Problem { key: file_key.clone(), origin: named_by.clone(), message }])
    };
    if value.is_some() {
        let direct = origins.get(key).map_or(0, Origin::rank);
        match direct.cmp(&named_by.rank()) {
            std::cmp::Ordering::Greater => return Ok(()),
            std::cmp::Ordering::Equal => {
                return Err(invalid(format!("{key} is set too; set one of them")));
            }
            std::cmp::Ordering::Less => {}
        }
    }
    let text = std::fs::read_to_string(file)
        .map_err(|e| invalid(format!("{} cannot be read: {e}", file.display())))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(invalid(format!("{} is empty", file.display())));
    }
    *value = Some(Secret::from(text.to_owned()));
    origins
        .insert(key.to_owned(), Origin::SecretFile { path: file.to_owned(), named_by: Box::new(named_by) });
    Ok(())
}
