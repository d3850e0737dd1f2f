//! The keys that secrets are sealed with, and where they are kept.
//!
//! The text of a key file, of the setting and of a systemd credential is the same: keys of 32 bytes in base64, each on
//! a line of its own. The first is the current one, with which is sealed; the others are older ones, which still
//! open. A line that begins with `#` says something to people.

use std::fs::{File, Permissions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret as _, SecretBox, zeroize::Zeroizing};
use sha2::{Digest as _, Sha256};

use super::{CredentialError, KEY_ID_LEN};

/// A key, with its id.
pub struct SealingKey {
    key: SecretBox<[u8; 32]>,
    id: [u8; KEY_ID_LEN],
}

impl SealingKey {
    /// Over 32 bytes.
    pub fn new(key: [u8; 32]) -> Self {
        let digest = Sha256::digest(key);
        let mut id = [0u8; KEY_ID_LEN];
        id.copy_from_slice(&digest[..KEY_ID_LEN]);
        Self { key: SecretBox::new(Box::new(key)), id }
    }

    /// A random one.
    pub(super) fn generate() -> Result<Self, CredentialError> {
        let mut key = Zeroizing::new([0u8; 32]);
        getrandom::fill(&mut *key).map_err(|_| CredentialError::NoRandomness)?;
        Ok(Self::new(*key))
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        self.key.expose_secret()
    }

    pub(super) fn id(&self) -> &[u8; KEY_ID_LEN] {
        &self.id
    }

    /// The id, hex.
    pub fn id_text(&self) -> String {
        hex::encode(self.id)
    }

    fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(self.bytes()))
    }
}

/// Where keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// They are given.
    Fixed,
    /// The setting `security.secret_key`.
    Setting,
    /// A file that a rotation may write.
    File(PathBuf),
    /// A file that systemd laid there for this process (`LoadCredential=`).
    Credential(PathBuf),
}

/// By what a changed file is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Option<SystemTime>, u64, u64);

type Keys = (Vec<SealingKey>, Option<Stamp>);

impl KeySource {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Credential(path) => Some(path),
            Self::Fixed | Self::Setting => None,
        }
    }

    /// The file as it is now; `None` where there is none.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let about = std::fs::metadata(self.path()?).ok()?;
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&about);
        #[cfg(not(unix))]
        let number = 0;
        Some(Stamp(about.modified().ok(), about.len(), number))
    }

    /// The keys, where they are in a file.
    pub(super) fn read(&self) -> Result<Option<Keys>, CredentialError> {
        let Some(path) = self.path() else { return Ok(None) };
        // Before the text: a change in between is seen the next time.
        let stamp = self.stamp();
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|e| wrong(path.display(), e))?);
        Ok(Some((parse(path.display(), &text)?, stamp)))
    }

    /// Changes the keys of a file, as one step that a killed process has done or not begun.
    pub(super) fn rewrite(
        &self,
        change: impl FnOnce(&mut Vec<SealingKey>) -> Result<(), CredentialError>,
    ) -> Result<(), CredentialError> {
        let path = match self {
            Self::File(path) => path,
            Self::Fixed | Self::Setting => {
                return Err(wrong("security.secret_key", "a setting cannot be written by a command"));
            }
            Self::Credential(path) => {
                return Err(wrong(path.display(), "systemd's credential cannot be written by a command"));
            }
        };
        let file = |e: std::io::Error| wrong(path.display(), e);
        // What a link leads to is replaced, not the link.
        let path = path.canonicalize().map_err(file)?;
        let lock = Lock::of(&path).map_err(file)?;
        let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(file)?);
        let mut keys = parse(path.display(), &text)?;
        let before: Vec<String> = keys.iter().map(SealingKey::id_text).collect();
        change(&mut keys)?;
        if keys.iter().map(SealingKey::id_text).eq(before) {
            return Ok(());
        }
        let mut text = Zeroizing::new(String::new());
        for key in &keys {
            text.push_str(&key.text());
            text.push('\n');
        }
        let mode = std::fs::metadata(&path).map_err(file)?.permissions();
        lock.put(&path, &text, Some(mode)).map_err(file)
    }
}

/// The keys that a text holds, the current one first.
pub(super) fn parse(place: impl std::fmt::Display, text: &str) -> Result<Vec<SealingKey>, CredentialError> {
    let mut keys: Vec<SealingKey> = Vec::new();
    for (n, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let reason = format!("line {n} does not hold exactly 32 bytes in base64");
        let bytes = BASE64.decode(line).map(Zeroizing::new).map_err(|_| wrong(&place, &reason))?;
        let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| wrong(&place, &reason))?;
        let key = SealingKey::new(key);
        if keys.iter().any(|known| known.id == key.id) {
            return Err(wrong(&place, format!("line {n} holds a key that an earlier line holds")));
        }
        keys.push(key);
    }
    match keys.is_empty() {
        true => Err(wrong(place, "it holds no key")),
        false => Ok(keys),
    }
}

/// Makes a key file with one key, readable by its owner alone. One that another process made meanwhile stays.
pub(super) fn create(path: &Path) -> Result<(), CredentialError> {
    let file = |e: std::io::Error| wrong(path.display(), e);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(file)?;
    }
    let lock = Lock::of(path).map_err(file)?;
    if path.try_exists().map_err(file)? {
        return Ok(());
    }
    let mut text = SealingKey::generate()?.text();
    text.push('\n');
    lock.put(path, &text, None).map_err(file)
}

/// The folder of a key file, held until this ends, however it ends: two changes at once would lose a key.
struct Lock(File);

impl Lock {
    fn of(path: &Path) -> std::io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or_else(|| Path::new(".")))?;
        folder.lock()?;
        Ok(Self(folder))
    }

    /// Puts a text in a file's place, whole and on disk, readable by its owner only where nothing else is said.
    fn put(&self, path: &Path, text: &str, mode: Option<Permissions>) -> std::io::Result<()> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        // What a killed process left.
        let _ = std::fs::remove_file(&temporary);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut file = options.open(&temporary)?;
        file.write_all(text.as_bytes())?;
        if let Some(mode) = mode {
            file.set_permissions(mode)?;
        }
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        // The name is on disk before anything is sealed with the new key.
        self.0.sync_all()
    }
}

fn wrong(place: impl std::fmt::Display, reason: impl std::fmt::Display) -> CredentialError {
    CredentialError::KeyFile { place: place.to_string(), reason: reason.to_string() }
}
