//! API keys: made, shown once, kept as a hash.

use chrono::TimeDelta;
use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Failure, FailureKind, Services};
use crate::domain::connections::{ApiKey, KeyClass};
use crate::domain::origin::OriginRule;
use crate::domain::{KeyId, OrgId};

/// Random bytes in a key: 192 bits.
const KEY_BYTES: usize = 24;
/// Characters that are kept to recognise a key by: the class and four of the random part.
const SHOWN: usize = 4;
/// Characters of a key's name.
const LONGEST_NAME: usize = 200;
/// Origins of one key or organisation.
pub(super) const MOST_ORIGINS: usize = 100;

/// Where and how long a key works.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyBounds {
    /// Web origins that a publishable key is taken from; `None` where the organisation's list counts.
    pub origins: Option<Vec<OriginRule>>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
}

/// The prefix of each class: the reference's for what a browser holds, ours for the server.
pub fn prefix(class: KeyClass) -> &'static str {
    match class {
        KeyClass::Publishable => "ab_live_",
        KeyClass::Server => "hs_server_",
    }
}

/// What is stored of a key: hex SHA-256. Keys are random and long, so a plain hash cannot be guessed back, and how
/// far a look-up by it gets tells nothing about a key.
pub fn hash(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

/// So many random bytes, in hex, behind a prefix.
pub(super) fn random_text(prefix: &str, bytes: usize) -> Result<String, Failure> {
    let mut random = vec![0u8; bytes];
    getrandom::fill(&mut random).map_err(|_| {
        Failure::new(FailureKind::Internal, "no_randomness", "the operating system gave no randomness")
    })?;
    Ok(format!("{prefix}{}", hex::encode(random)))
}

/// The instant so many seconds from now.
pub(super) fn after(now: Timestamp, seconds: u64) -> Result<Timestamp, Failure> {
    i64::try_from(seconds)
        .ok()
        .and_then(TimeDelta::try_seconds)
        .and_then(|span| now.checked_add_signed(span))
        .ok_or_else(|| Failure::invalid("too_long", "the time lies beyond the calendar"))
}

impl Services {
    pub(super) async fn create_key(
        &self,
        org: &OrgId,
        class: KeyClass,
        name: &str,
        bounds: KeyBounds,
    ) -> Result<Value, Failure> {
        let (stored, key) = self.new_key(org, class, name, bounds)?;
        self.store.put_key(&stored, &hash(&key)).await?;
        Ok(shown(&stored, &key))
    }

    pub(super) async fn rotate_key(
        &self,
        org: &OrgId,
        old: &KeyId,
        overlap_seconds: u64,
    ) -> Result<Value, Failure> {
        let keys = self.store.list_keys(org).await?;
        let unknown = || {
            Failure::not_found("key_not_found", format!("no live key {old}"))
                .hint("List them: halo-sync keys list")
        };
        let found = keys.into_iter().find(|key| key.id == *old).ok_or_else(unknown)?;
        let bounds = KeyBounds { origins: found.origins.clone(), expires_at: None };
        let (stored, key) = self.new_key(org, found.class, &found.name, bounds)?;
        let until = after(stored.created_at, overlap_seconds)?;
        if !self.store.rotate_key(old, &stored, &hash(&key), until).await? {
            return Err(unknown());
        }
        let mut answer = shown(&stored, &key);
        answer["replaces"] = json!({ "id": old, "works_until": until });
        Ok(answer)
    }

    pub(super) async fn revoke_key(&self, org: &OrgId, key: &KeyId) -> Result<Value, Failure> {
        if self.store.revoke_key(org, key, self.clock.now()).await? {
            return Ok(json!({ "id": key, "revoked": true }));
        }
        Err(Failure::not_found("key_not_found", format!("no live key {key}"))
            .hint("List them: halo-sync keys list"))
    }

    /// A key that is not stored yet, and its text.
    fn new_key(
        &self,
        org: &OrgId,
        class: KeyClass,
        name: &str,
        bounds: KeyBounds,
    ) -> Result<(ApiKey, String), Failure> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > LONGEST_NAME {
            return Err(Failure::invalid("name", format!("a name has 1 to {LONGEST_NAME} characters")));
        }
        let now = self.clock.now();
        if bounds.expires_at.is_some_and(|end| end <= now) {
            return Err(Failure::invalid(
                "expires_at",
                "the key would have stopped working before it is made",
            ));
        }
        match &bounds.origins {
            Some(_) if class == KeyClass::Server => {
                return Err(Failure::invalid("origins", "a server key is never taken from a browser")
                    .hint("Origins are for publishable keys."));
            }
            Some(origins) if origins.is_empty() || origins.len() > MOST_ORIGINS => {
                return Err(Failure::invalid("origins", format!("1 to {MOST_ORIGINS} origins can be given")));
            }
            _ => {}
        }
        let key = random_text(prefix(class), KEY_BYTES)?;
        let stored = ApiKey {
            id: KeyId::generate(&*self.clock),
            org_id: org.clone(),
            class,
            name: name.to_owned(),
            prefix: key.chars().take(prefix(class).len() + SHOWN).collect(),
            created_at: now,
            revoked_at: None,
            origins: bounds.origins,
            expires_at: bounds.expires_at,
            last_used_at: None,
        };
        Ok((stored, key))
    }
}

/// A new key as it is shown, this one time with its text.
fn shown(stored: &ApiKey, key: &str) -> Value {
    json!({
        "id": stored.id, "class": stored.class, "name": stored.name, "key": key,
        "origins": stored.origins, "expires_at": stored.expires_at,
    })
}
