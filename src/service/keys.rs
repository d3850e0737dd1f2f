//! API keys: made, shown once, kept as a hash.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Failure, FailureKind, Services};
use crate::domain::connections::{ApiKey, KeyClass};
use crate::domain::{KeyId, OrgId};

/// Random bytes in a key: 192 bits.
const KEY_BYTES: usize = 24;
/// Characters that are kept to recognise a key by: the class and four of the random part.
const SHOWN: usize = 4;

/// The prefix of each class: the reference's for what a browser holds, ours for the server.
pub fn prefix(class: KeyClass) -> &'static str {
    match class {
        KeyClass::Publishable => "ab_live_",
        KeyClass::Server => "hs_server_",
    }
}

/// What is stored of a key: hex SHA-256. Keys are random and long, so a plain hash cannot be guessed back.
pub fn hash(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

impl Services {
    pub(super) async fn create_key(
        &self,
        org: &OrgId,
        class: KeyClass,
        name: &str,
    ) -> Result<Value, Failure> {
        let mut random = [0u8; KEY_BYTES];
        getrandom::fill(&mut random).map_err(|_| {
            Failure::new(FailureKind::Internal, "no_randomness", "the operating system gave no randomness")
        })?;
        let key = format!("{}{}", prefix(class), hex::encode(random));
        let stored = ApiKey {
            id: KeyId::generate(&*self.clock),
            org_id: org.clone(),
            class,
            name: name.to_owned(),
            prefix: key.chars().take(prefix(class).len() + SHOWN).collect(),
            created_at: self.clock.now(),
            revoked_at: None,
        };
        self.store.put_key(&stored, &hash(&key)).await?;
        Ok(json!({ "id": stored.id, "class": class, "name": name, "key": key }))
    }

    pub(super) async fn revoke_key(&self, org: &OrgId, key: &KeyId) -> Result<Value, Failure> {
        if self.store.revoke_key(org, key, self.clock.now()).await? {
            return Ok(json!({ "id": key, "revoked": true }));
        }
        Err(Failure::not_found("key_not_found", format!("no live key {key}"))
            .hint("List them: halo-sync keys list"))
    }
}
