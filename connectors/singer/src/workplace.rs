//! A private folder with the files that a tap is given. Secrets are written there and nowhere else.

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use connector_sdk::ConnectorError;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tempfile::TempDir;

/// A secret shorter than this is not looked for in what a tap says: it would hit words of every line.
const LEAST: usize = 4;
const MARK: &str = "{secret";

/// The folder. It is removed with this value, or by the keeper that it is handed to.
pub(crate) struct Workplace {
    folder: TempDir,
}

impl Workplace {
    pub(crate) fn new() -> Result<Self, ConnectorError> {
        let made = tempfile::Builder::new()
            .prefix("halo-sync-tap-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir();
        Ok(Self { folder: made.map_err(failed)? })
    }

    /// Writes a file that nobody else may read.
    pub(crate) fn write(&self, name: &str, value: &impl serde::Serialize) -> Result<PathBuf, ConnectorError> {
        let path = self.folder.path().join(name);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        let text = serde_json::to_vec(value).map_err(|e| failed(e.into()))?;
        file.write_all(&text).map_err(failed)?;
        Ok(path)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder to whoever removes it.
    pub(crate) fn hand_over(self) {
        let _ = self.folder.keep();
    }
}

fn failed(error: std::io::Error) -> ConnectorError {
    ConnectorError::Transient(format!("the tap's private folder: {error}"))
}

/// The tap's settings with the secret in its places.
pub(crate) fn filled(config: &Value, secret: Option<&SecretString>) -> Result<Value, ConnectorError> {
    let filling = Filling {
        text: secret.map(|secret| secret.expose_secret()),
        members: secret.and_then(|secret| serde_json::from_str(secret.expose_secret()).ok()),
    };
    let mut places = 0;
    let filled = filling.fill(config, "config", &mut places)?;
    if secret.is_some() && places == 0 {
        return Err(ConnectorError::Config(
            "config: the connection has a secret, and no text of config says {secret} or {secret.MEMBER}"
                .to_owned(),
        ));
    }
    Ok(filled)
}

struct Filling<'a> {
    text: Option<&'a str>,
    members: Option<serde_json::Map<String, Value>>,
}

impl Filling<'_> {
    fn fill(&self, value: &Value, at: &str, places: &mut usize) -> Result<Value, ConnectorError> {
        Ok(match value {
            Value::String(text) if text.contains(MARK) => self.fill_text(text, at, places)?,
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(n, item)| self.fill(item, &format!("{at}.{n}"), places))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(key, item)| Ok((key.clone(), self.fill(item, &format!("{at}.{key}"), places)?)))
                    .collect::<Result<_, ConnectorError>>()?,
            ),
            other => other.clone(),
        })
    }

    /// A text that is a place and nothing else becomes what is put there, whatever it is; else texts are joined.
    fn fill_text(&self, text: &str, at: &str, places: &mut usize) -> Result<Value, ConnectorError> {
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, behind)) = rest.split_once(MARK) {
            out.push_str(before);
            let Some((name, after)) =
                behind.split_once('}').filter(|(n, _)| n.is_empty() || n.starts_with('.'))
            else {
                out.push_str(MARK);
                rest = behind;
                continue;
            };
            *places += 1;
            let put = self.put(name.strip_prefix('.'), at)?;
            if before.is_empty() && after.is_empty() && out.is_empty() {
                return Ok(put);
            }
            match put {
                Value::String(put) => out.push_str(&put),
                other => out.push_str(&other.to_string()),
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(Value::String(out))
    }

    fn put(&self, member: Option<&str>, at: &str) -> Result<Value, ConnectorError> {
        let refused = |message: String| ConnectorError::Auth { message, missing_permission: None };
        let Some(text) = self.text else {
            return Err(refused(format!("{at}: asks for the connection's secret, and it has none")));
        };
        let Some(member) = member else { return Ok(Value::String(text.to_owned())) };
        let found = self.members.as_ref().and_then(|members| members.get(member));
        found
            .cloned()
            .ok_or_else(|| refused(format!("{at}: the secret is no JSON object with the member {member:?}")))
    }
}

/// Cuts secrets out of texts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redaction(Vec<SecretString>);

impl Redaction {
    /// Of that secret: it itself, and where it is JSON every text in it.
    pub(crate) fn of(secret: Option<&SecretString>) -> Self {
        fn texts(value: &Value, out: &mut Vec<String>) {
            match value {
                Value::String(text) => out.push(text.clone()),
                Value::Array(items) => items.iter().for_each(|item| texts(item, out)),
                Value::Object(members) => members.values().for_each(|item| texts(item, out)),
                _ => {}
            }
        }
        let mut all: Vec<String> = secret.iter().map(|secret| secret.expose_secret().to_owned()).collect();
        if let Some(value) = secret.and_then(|secret| serde_json::from_str(secret.expose_secret()).ok()) {
            texts(&value, &mut all);
        }
        all.retain(|text| text.len() >= LEAST);
        // The longest first: a secret may be a part of another.
        all.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(all.into_iter().map(SecretString::from).collect())
    }

    pub(crate) fn clean(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose_secret(), "[redacted]"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_secret_is_put_where_the_settings_say() {
        let secret = SecretString::from(r#"{"id":"client-1","key":"k-12345","n":7}"#.to_owned());
        let config = json!({"a": "Bearer {secret.key}", "b": ["{secret.n}"], "c": {"d": "{secretive} {x}"}});
        let filled_in = filled(&config, Some(&secret)).unwrap();
        assert_eq!(filled_in, json!({"a": "Bearer k-12345", "b": [7], "c": {"d": "{secretive} {x}"}}));
        let plain = SecretString::from("sk-1".to_owned());
        assert_eq!(filled(&json!({"k": "{secret}"}), Some(&plain)).unwrap(), json!({"k": "sk-1"}));
        for (config, secret, says) in [
            (json!({"k": "v"}), Some(&plain), "no text of config says {secret}"),
            (json!({"k": ["{secret}"]}), None, "config.k.0: asks for the connection's secret"),
            (json!({"k": "{secret.key}"}), Some(&plain), "no JSON object with the member \"key\""),
        ] {
            let error = filled(&config, secret).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("sk-1"), "{error}");
        }
    }

    #[test]
    fn no_part_of_a_secret_is_said() {
        let secret = SecretString::from(r#"{"id":"client-1","key":["k-12345"],"x":"ab"}"#.to_owned());
        let redaction = Redaction::of(Some(&secret));
        assert_eq!(redaction.clean("id client-1, key k-12345, ab"), "id [redacted], key [redacted], ab");
        assert_eq!(Redaction::of(None).clean("plain"), "plain");
    }

    #[test]
    fn files_are_private_and_go_with_the_folder() {
        let place = Workplace::new().unwrap();
        let path = place.write("config.json", &json!({"k": 1})).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(place.path())), (0o600, 0o700));
        drop(place);
        assert!(!path.exists());
    }
}
