use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Data, Findings, Secret};

/// The name of the key file in `data.dir`, and of the systemd credential.
const KEY_FILE: &str = "secret.key";

/// The key that stored credentials are sealed with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// The key itself, as the key file would hold it. A file is better: other processes can read an
    /// environment.
    pub secret_key: Option<Secret>,
    /// The key file: 32 bytes in base64; older keys, which still open, on lines of their own below. Not set: the systemd
    /// credential `secret.key`, or else `secret.key` in `data.dir`, made on the first start.
    pub secret_key_file: Option<PathBuf>,
}

/// Where the key comes from.
#[derive(Debug, Clone)]
pub enum SecretKeySource {
    /// The settings hold it.
    Value(Secret),
    /// A file that must exist.
    File(PathBuf),
    /// A file that systemd laid there for this process (`LoadCredential=secret.key:…`).
    Credential(PathBuf),
    /// The file in the data folder, to be made when it is missing.
    FileOrNew(PathBuf),
}

impl Security {
    pub(super) fn source(&self, data: &Data, credentials: Option<&Path>) -> SecretKeySource {
        match (&self.secret_key, &self.secret_key_file) {
            (Some(key), _) => SecretKeySource::Value(key.clone()),
            (None, Some(path)) => SecretKeySource::File(path.clone()),
            (None, None) => {
                let credential = credentials.map(|folder| folder.join(KEY_FILE)).filter(|path| path.exists());
                credential.map_or_else(
                    || SecretKeySource::FileOrNew(data.dir.join(KEY_FILE)),
                    SecretKeySource::Credential,
                )
            }
        }
    }

    pub(super) fn check(&self, found: &mut Findings<'_>) {
        if self.secret_key.is_some() && self.secret_key_file.is_some() {
            // Which of two keys is meant is not guessed: sealing with the wrong one loses credentials.
            found.add("security.secret_key", "security.secret_key_file is set too; set one of them");
        }
    }
}
