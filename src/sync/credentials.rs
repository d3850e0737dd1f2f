//! Secrets at rest: sealed with XChaCha20-Poly1305, bound to the row that they belong to.
//!
//! A sealed secret is `version (1) ‖ key id (8) ‖ nonce (24) ‖ ciphertext and tag`. The associated data
//! names version and key, organisation, connection, secret and slot, so that a ciphertext copied to another row,
//! another organisation or another column does not open. The key id is the first eight bytes of the key's SHA-256:
//! it says which key a record needs without saying anything about the key. Records of version 1, whose associated
//! data names neither version nor key, are read; none is written.
//!
//! The keys are those of a [`KeySource`]: the first seals, all open ([`keys`]).

pub mod keys;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};

use self::keys::{KeySource, SealingKey, Stamp};
use crate::domain::{ConnectionId, OrgId};
use crate::store::settings::SealedSecret;

/// The format before associated data named it and the key.
const VERSION_1: u8 = 1;
const VERSION: u8 = 2;
const KEY_ID_LEN: usize = 8;
const NONCE_LEN: usize = 24;
const HEADER_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// Why a secret could not be sealed or opened. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The keys cannot be read, made or written.
    #[error("secret key {place}: {reason}")]
    KeyFile {
        /// The file or setting.
        place: String,
        /// What went wrong.
        reason: String,
    },
    /// The record was sealed with another key.
    #[error(
        "sealed with key {found}, this process has {have}: restore the key file that belongs to this database"
    )]
    OtherKey {
        /// Key id in the record.
        found: String,
        /// Key ids of this process.
        have: String,
    },
    /// There is no key to seal with.
    #[error("there is no key to seal with")]
    NoKey,
    /// The record is cut, altered, or belongs to another row.
    #[error("sealed secret {name} does not open: it is damaged or was copied from another row")]
    Damaged {
        /// The secret's name.
        name: String,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    NoRandomness,
}

/// The keys that seal this database's secrets. They are read again when their file changes, so that a running
/// process takes part in a rotation.
pub struct Keyring {
    source: KeySource,
    held: RwLock<Arc<Held>>,
}

/// What was read of the source.
struct Held {
    /// The current one first.
    keys: Vec<SealingKey>,
    /// The file as it was when it was read.
    stamp: Option<Stamp>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.key_ids()).finish()
    }
}

impl Keyring {
    /// A keyring over a 32-byte key.
    pub fn new(key: [u8; 32]) -> Self {
        Self::holding(KeySource::Fixed, vec![SealingKey::new(key)], None)
    }

    /// One without a key: it opens nothing and seals nothing.
    pub fn empty() -> Self {
        Self::holding(KeySource::Fixed, Vec::new(), None)
    }

    /// Reads the key file, or makes it with mode 0600 and a key when it is absent.
    ///
    /// # Errors
    /// [`CredentialError::KeyFile`], [`CredentialError::NoRandomness`].
    pub fn load_or_create(path: &Path) -> Result<Self, CredentialError> {
        if let Ok(false) = path.try_exists() {
            keys::create(path)?;
        }
        Self::load(path)
    }

    /// Reads the key file; an absent one is an error.
    ///
    /// # Errors
    /// [`CredentialError::KeyFile`].
    pub fn load(path: &Path) -> Result<Self, CredentialError> {
        Self::of(KeySource::File(path.to_owned()))
    }

    /// Keys that the settings hold, as the key file would.
    ///
    /// # Errors
    /// [`CredentialError::KeyFile`].
    pub fn from_text(text: &str) -> Result<Self, CredentialError> {
        let keys = keys::parse("security.secret_key", text)?;
        Ok(Self::holding(KeySource::Setting, keys, None))
    }

    /// Reads the keys of a source.
    ///
    /// # Errors
    /// [`CredentialError::KeyFile`].
    pub fn of(source: KeySource) -> Result<Self, CredentialError> {
        let (keys, stamp) = source.read()?.unwrap_or_default();
        Ok(Self::holding(source, keys, stamp))
    }

    fn holding(source: KeySource, keys: Vec<SealingKey>, stamp: Option<Stamp>) -> Self {
        Self { source, held: RwLock::new(Arc::new(Held { keys, stamp })) }
    }

    /// The current key's id, hex; `none` without one.
    pub fn key_id(&self) -> String {
        self.held().keys.first().map_or_else(|| "none".to_owned(), SealingKey::id_text)
    }

    /// The ids of all keys, the current one first.
    pub fn key_ids(&self) -> Vec<String> {
        self.held().keys.iter().map(SealingKey::id_text).collect()
    }

    /// Where the keys come from.
    pub fn source(&self) -> &KeySource {
        &self.source
    }

    fn held(&self) -> Arc<Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the source again if it has changed. What cannot be read leaves the keys as they are.
    ///
    /// # Errors
    /// [`CredentialError::KeyFile`].
    pub fn refresh(&self) -> Result<(), CredentialError> {
        let stamp = self.source.stamp();
        if stamp.is_none() || stamp == self.held().stamp {
            return Ok(());
        }
        if let Some((keys, stamp)) = self.source.read()? {
            *self.held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Held { keys, stamp });
        }
        Ok(())
    }

    /// Makes a new key and puts it before the others, in the file as well; answers its id.
    ///
    /// # Errors
    /// [`CredentialError::KeyFile`] where the keys are not in a file that can be written.
    pub fn add_key(&self) -> Result<String, CredentialError> {
        self.source.rewrite(|keys| {
            keys.insert(0, SealingKey::generate()?);
            Ok(())
        })?;
        self.refresh()?;
        Ok(self.key_id())
    }

    /// Takes the keys out of the file, but for the current one and those of `keep`; answers the ids of those that
    /// went.
    ///
    /// # Errors
    /// As [`Self::add_key`].
    pub fn retire(&self, keep: &BTreeSet<String>) -> Result<Vec<String>, CredentialError> {
        let mut gone = Vec::new();
        self.source.rewrite(|keys| {
            let current = keys.first().map(SealingKey::id_text);
            keys.retain(|key| {
                let id = key.id_text();
                let stays = Some(&id) == current.as_ref() || keep.contains(&id);
                if !stays {
                    gone.push(id);
                }
                stays
            });
            Ok(())
        })?;
        self.refresh()?;
        Ok(gone)
    }

    /// Seals `secret` for that row of a connection, with the current key.
    ///
    /// # Errors
    /// [`CredentialError::NoKey`], [`CredentialError::NoRandomness`].
    pub fn seal(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        name: &str,
        slot: i64,
        secret: &SecretString,
    ) -> Result<SealedSecret, CredentialError> {
        self.seal_row(org, Some(connection), name, slot, secret)
    }

    /// Seals `secret` for that row of an organisation itself, with the current key.
    ///
    /// # Errors
    /// As [`Self::seal`].
    pub fn seal_for_org(
        &self,
        org: &OrgId,
        name: &str,
        slot: i64,
        secret: &SecretString,
    ) -> Result<SealedSecret, CredentialError> {
        self.seal_row(org, None, name, slot, secret)
    }

    fn seal_row(
        &self,
        org: &OrgId,
        connection: Option<&ConnectionId>,
        name: &str,
        slot: i64,
        secret: &SecretString,
    ) -> Result<SealedSecret, CredentialError> {
        // A rotation in another process may have begun: what is sealed from now on is the new key's.
        if let Err(error) = self.refresh() {
            tracing::warn!(%error, "the key file has changed and cannot be read");
        }
        let held = self.held();
        let key = held.keys.first().ok_or(CredentialError::NoKey)?;
        let mut nonce = [0u8; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| CredentialError::NoRandomness)?;
        let aad = associated_data(VERSION, key, org, connection, name, slot);
        let ciphertext = encrypt(key.bytes(), nonce, &aad, secret.expose_secret().as_bytes())
            .ok_or_else(|| damaged(name))?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + ciphertext.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(key.id());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        Ok(SealedSecret { name: name.to_owned(), slot, sealed, expires_at: None })
    }

    /// Opens a sealed secret of that row of a connection.
    ///
    /// # Errors
    /// [`CredentialError::OtherKey`], [`CredentialError::Damaged`].
    pub fn open(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        secret: &SealedSecret,
    ) -> Result<SecretString, CredentialError> {
        self.open_row(org, Some(connection), secret)
    }

    /// Opens a sealed secret of that row of an organisation itself.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_for_org(&self, org: &OrgId, secret: &SealedSecret) -> Result<SecretString, CredentialError> {
        self.open_row(org, None, secret)
    }

    /// The same secret, sealed for the same row with the current key.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::seal`].
    pub fn seal_anew(
        &self,
        org: &OrgId,
        connection: Option<&ConnectionId>,
        secret: &SealedSecret,
    ) -> Result<SealedSecret, CredentialError> {
        let plain = self.open_row(org, connection, secret)?;
        let anew = self.seal_row(org, connection, &secret.name, secret.slot, &plain)?;
        Ok(SealedSecret { expires_at: secret.expires_at, ..anew })
    }

    fn open_row(
        &self,
        org: &OrgId,
        connection: Option<&ConnectionId>,
        secret: &SealedSecret,
    ) -> Result<SecretString, CredentialError> {
        let damaged = || damaged(&secret.name);
        let (Some(&[version]), Some(id), Some(nonce), Some(ciphertext)) = (
            secret.sealed.first_chunk::<1>(),
            secret.sealed.get(1..1 + KEY_ID_LEN),
            secret.sealed.get(1 + KEY_ID_LEN..HEADER_LEN),
            secret.sealed.get(HEADER_LEN..),
        ) else {
            return Err(damaged());
        };
        if version != VERSION && version != VERSION_1 {
            return Err(damaged());
        }
        let mut held = self.held();
        if !held.keys.iter().any(|key| key.id() == id) {
            // Sealed by a process that has seen the newer key file already.
            if let Err(error) = self.refresh() {
                tracing::warn!(%error, "the key file has changed and cannot be read");
            }
            held = self.held();
        }
        let Some(key) = held.keys.iter().find(|key| key.id() == id) else {
            let have = match held.keys.len() {
                0 => "no key".to_owned(),
                1 => format!("key {}", self.key_id()),
                _ => format!("keys {}", self.key_ids().join(", ")),
            };
            return Err(CredentialError::OtherKey { found: hex::encode(id), have });
        };
        let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| damaged())?;
        let aad = associated_data(version, key, org, connection, &secret.name, secret.slot);
        let plain = decrypt(key.bytes(), nonce, &aad, ciphertext).ok_or_else(damaged)?;
        String::from_utf8(plain).map(SecretString::from).map_err(|_| damaged())
    }
}

fn damaged(name: &str) -> CredentialError {
    CredentialError::Damaged { name: name.to_owned() }
}

/// XChaCha20-Poly1305; `None` for a message that is longer than it can be.
fn encrypt(key: &[u8; 32], nonce: [u8; NONCE_LEN], aad: &[u8], msg: &[u8]) -> Option<Vec<u8>> {
    XChaCha20Poly1305::new(&Key::from(*key)).encrypt(&XNonce::from(nonce), Payload { msg, aad }).ok()
}

/// XChaCha20-Poly1305; `None` for what was not encrypted with all of this.
fn decrypt(key: &[u8; 32], nonce: [u8; NONCE_LEN], aad: &[u8], msg: &[u8]) -> Option<Vec<u8>> {
    XChaCha20Poly1305::new(&Key::from(*key)).decrypt(&XNonce::from(nonce), Payload { msg, aad }).ok()
}

/// What the associated data of a connection's secrets begins with.
const OF_CONNECTION: [&[u8]; 2] = [b"halo-sync credential v1", b"halo-sync credential v2"];
/// What the associated data of an organisation's own secrets begins with.
const OF_ORG: [&[u8]; 2] = [b"halo-sync organisation secret v1", b"halo-sync organisation secret v2"];

/// Length-prefixed, so that no two rows give the same bytes.
fn associated_data(
    version: u8,
    key: &SealingKey,
    org: &OrgId,
    connection: Option<&ConnectionId>,
    name: &str,
    slot: i64,
) -> Vec<u8> {
    let kinds = if connection.is_some() { OF_CONNECTION } else { OF_ORG };
    let mut aad = match version {
        VERSION_1 => kinds[0].to_vec(),
        _ => [kinds[1], key.id()].concat(),
    };
    for part in [Some(org.as_str()), connection.map(ConnectionId::as_str), Some(name)].into_iter().flatten() {
        aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
        aad.extend_from_slice(part.as_bytes());
    }
    aad.extend_from_slice(&slot.to_be_bytes());
    aad
}

#[cfg(test)]
#[path = "credentials/tests.rs"]
mod tests;
