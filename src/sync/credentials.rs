//! Secrets at rest: sealed with XChaCha20-Poly1305, bound to the row that they belong to.
//!
//! A sealed secret is `version (1) ‖ key id (8) ‖ nonce (24) ‖ ciphertext and tag`. The associated data
//! names organisation, connection, secret and slot, so that a ciphertext copied to another row, another
//! organisation or another column does not open. The key id is the first eight bytes of the key's SHA-256:
//! it says which key a record needs without saying anything about the key.

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::{Digest, Sha256};

use crate::domain::{ConnectionId, OrgId};
use crate::store::settings::SealedSecret;

const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 8;
const NONCE_LEN: usize = 24;
const HEADER_LEN: usize = 1 + KEY_ID_LEN + NONCE_LEN;

/// Why a secret could not be sealed or opened. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The key file cannot be read or made.
    #[error("secret key file {path}: {reason}")]
    KeyFile {
        /// The file.
        path: String,
        /// What went wrong.
        reason: String,
    },
    /// The record was sealed with another key.
    #[error(
        "sealed with key {found}, this process has key {have}: restore the key file that belongs to this database"
    )]
    OtherKey {
        /// Key id in the record.
        found: String,
        /// Key id of this process.
        have: String,
    },
    /// The record is cut, altered, or belongs to another row.
    #[error("sealed secret does not open: it is damaged or was copied from another row")]
    Damaged,
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system")]
    NoRandomness,
}

/// The key that seals this database's secrets.
pub struct Keyring {
    key: SecretSlice<u8>,
    id: [u8; KEY_ID_LEN],
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("id", &self.key_id()).finish()
    }
}

impl Keyring {
    /// A keyring over a 32-byte key.
    pub fn new(key: [u8; 32]) -> Self {
        let digest = Sha256::digest(key);
        let mut id = [0u8; KEY_ID_LEN];
        id.copy_from_slice(&digest[..KEY_ID_LEN]);
        Self { key: SecretSlice::from(key.to_vec()), id }
    }

    /// The key's id, hex.
    pub fn key_id(&self) -> String {
        hex::encode(self.id)
    }

    /// Reads the key file (base64 of 32 bytes), or makes it with mode 0600 when it is absent.
    pub fn load_or_create(path: &Path) -> Result<Self, CredentialError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Self::create(path),
            Err(e) => Err(key_file(path, e)),
        }
    }

    /// Reads the key file; an absent one is an error.
    pub fn load(path: &Path) -> Result<Self, CredentialError> {
        Self::parse(path, &std::fs::read_to_string(path).map_err(|e| key_file(path, e))?)
    }

    /// A key that the settings hold: base64 of 32 bytes.
    pub fn from_text(text: &str) -> Result<Self, CredentialError> {
        Self::parse(Path::new("security.secret_key"), text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CredentialError> {
        let bytes = BASE64.decode(text.trim()).map_err(|_| key_file(path, "it is not base64"))?;
        let key: [u8; 32] =
            bytes.try_into().map_err(|_| key_file(path, "it does not hold exactly 32 bytes in base64"))?;
        Ok(Self::new(key))
    }

    fn create(path: &Path) -> Result<Self, CredentialError> {
        let mut key = [0u8; 32];
        getrandom::fill(&mut key).map_err(|_| CredentialError::NoRandomness)?;
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(|e| key_file(path, e))?;
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        match options.open(path) {
            Ok(mut file) => {
                writeln!(file, "{}", BASE64.encode(key)).map_err(|e| key_file(path, e))?;
                file.sync_all().map_err(|e| key_file(path, e))?;
                Ok(Self::new(key))
            }
            // Another process made it between our read and our open: its key is the key.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Self::load(path),
            Err(e) => Err(key_file(path, e)),
        }
    }

    /// Seals `secret` for that row of a connection.
    pub fn seal(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        name: &str,
        slot: i64,
        secret: &SecretString,
    ) -> Result<SealedSecret, CredentialError> {
        self.seal_with(
            &associated_data(OF_CONNECTION, &[org.as_str(), connection.as_str(), name], slot),
            name,
            slot,
            secret,
        )
    }

    /// Seals `secret` for that row of an organisation itself.
    pub fn seal_for_org(
        &self,
        org: &OrgId,
        name: &str,
        slot: i64,
        secret: &SecretString,
    ) -> Result<SealedSecret, CredentialError> {
        self.seal_with(&associated_data(OF_ORG, &[org.as_str(), name], slot), name, slot, secret)
    }

    fn seal_with(
        &self,
        aad: &[u8],
        name: &str,
        slot: i64,
        secret: &SecretString,
    ) -> Result<SealedSecret, CredentialError> {
        let mut nonce = [0u8; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| CredentialError::NoRandomness)?;
        let payload = Payload { msg: secret.expose_secret().as_bytes(), aad };
        let ciphertext =
            self.cipher()?.encrypt(&XNonce::from(nonce), payload).map_err(|_| CredentialError::Damaged)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + ciphertext.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&ciphertext);
        Ok(SealedSecret { name: name.to_owned(), slot, sealed, expires_at: None })
    }

    /// Opens a sealed secret of that row of a connection.
    pub fn open(
        &self,
        org: &OrgId,
        connection: &ConnectionId,
        secret: &SealedSecret,
    ) -> Result<SecretString, CredentialError> {
        let parts = [org.as_str(), connection.as_str(), &secret.name];
        self.open_with(&associated_data(OF_CONNECTION, &parts, secret.slot), secret)
    }

    /// Opens a sealed secret of that row of an organisation itself.
    pub fn open_for_org(&self, org: &OrgId, secret: &SealedSecret) -> Result<SecretString, CredentialError> {
        self.open_with(&associated_data(OF_ORG, &[org.as_str(), &secret.name], secret.slot), secret)
    }

    fn open_with(&self, aad: &[u8], secret: &SealedSecret) -> Result<SecretString, CredentialError> {
        let (Some(&[version]), Some(id), Some(nonce), Some(ciphertext)) = (
            secret.sealed.first_chunk::<1>(),
            secret.sealed.get(1..1 + KEY_ID_LEN),
            secret.sealed.get(1 + KEY_ID_LEN..HEADER_LEN),
            secret.sealed.get(HEADER_LEN..),
        ) else {
            return Err(CredentialError::Damaged);
        };
        if version != VERSION {
            return Err(CredentialError::Damaged);
        }
        if id != self.id {
            return Err(CredentialError::OtherKey { found: hex::encode(id), have: self.key_id() });
        }
        let nonce: [u8; NONCE_LEN] = nonce.try_into().map_err(|_| CredentialError::Damaged)?;
        let plain = self
            .cipher()?
            .decrypt(&XNonce::from(nonce), Payload { msg: ciphertext, aad })
            .map_err(|_| CredentialError::Damaged)?;
        String::from_utf8(plain).map(SecretString::from).map_err(|_| CredentialError::Damaged)
    }

    fn cipher(&self) -> Result<XChaCha20Poly1305, CredentialError> {
        let key: [u8; 32] = self.key.expose_secret().try_into().map_err(|_| CredentialError::Damaged)?;
        Ok(XChaCha20Poly1305::new(&Key::from(key)))
    }
}

fn key_file(path: &Path, reason: impl std::fmt::Display) -> CredentialError {
    CredentialError::KeyFile { path: path.display().to_string(), reason: reason.to_string() }
}

/// What the associated data of a connection's secrets begins with.
const OF_CONNECTION: &[u8] = b"halo-sync credential v1";
/// What the associated data of an organisation's own secrets begins with.
const OF_ORG: &[u8] = b"halo-sync organisation secret v1";

/// Length-prefixed, so that no two rows give the same bytes.
fn associated_data(kind: &[u8], parts: &[&str], slot: i64) -> Vec<u8> {
    let mut aad = kind.to_vec();
    for part in parts {
        aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
        aad.extend_from_slice(part.as_bytes());
    }
    aad.extend_from_slice(&slot.to_be_bytes());
    aad
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(text: &str) -> (OrgId, ConnectionId) {
        (OrgId::from("org_a"), ConnectionId::from(text))
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let ring = Keyring::new([7; 32]);
        let (org, con) = row("con_1");
        let sealed = ring.seal(&org, &con, "api_key", 0, &"sk_test_1".to_owned().into()).unwrap();
        assert_eq!(ring.open(&org, &con, &sealed).unwrap().expose_secret(), "sk_test_1");
        assert!(!sealed.sealed.windows(9).any(|w| w == b"sk_test_1"));

        let other_row = row("con_2").1;
        assert!(matches!(ring.open(&org, &other_row, &sealed), Err(CredentialError::Damaged)));
        assert!(matches!(ring.open(&OrgId::from("org_b"), &con, &sealed), Err(CredentialError::Damaged)));
        let renamed = SealedSecret { name: "webhook_secret".into(), ..sealed.clone() };
        assert!(matches!(ring.open(&org, &con, &renamed), Err(CredentialError::Damaged)));
        let moved = SealedSecret { slot: 1, ..sealed.clone() };
        assert!(matches!(ring.open(&org, &con, &moved), Err(CredentialError::Damaged)));
        let error = Keyring::new([8; 32]).open(&org, &con, &sealed).unwrap_err();
        assert!(error.to_string().contains(&ring.key_id()), "{error}");
    }

    proptest! {
        #[test]
        fn every_flipped_bit_and_every_cut_is_an_error(bit in 0usize..(33 + 9 + 16) * 8, cut in 0usize..58) {
            let ring = Keyring::new([7; 32]);
            let (org, con) = row("con_1");
            let sealed = ring.seal(&org, &con, "api_key", 0, &"sk_test_1".to_owned().into()).unwrap();
            let mut flipped = sealed.clone();
            flipped.sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(ring.open(&org, &con, &flipped).is_err());
            let mut short = sealed;
            short.sealed.truncate(cut);
            prop_assert!(ring.open(&org, &con, &short).is_err());
        }
    }

    #[test]
    fn the_key_file_is_made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/secret.key");
        let first = Keyring::load_or_create(&path).unwrap();
        assert_eq!(first.key_id(), Keyring::load_or_create(&path).unwrap().key_id());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&path, "short").unwrap();
        assert!(Keyring::load(&path).unwrap_err().to_string().contains("secret.key"));
    }
}
