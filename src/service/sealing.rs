//! Sealing every stored secret anew under the current key: after a new key, piece by piece, and again after a crash.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Failure, FailureKind, Services};
use crate::domain::OrgId;
use crate::domain::connections::ConnectionStatus;
use crate::store::sealing::{Resealed, SealedPlace, SealedRow};
use crate::sync::credentials::CredentialError;

/// Secrets in one commit: one that waits behind it waits for milliseconds.
const BATCH: i64 = 100;

/// One step of sealing anew. Steps follow each other until an answer names no place to go on from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SealStep {
    /// Whether a new key is made first, and put in front of the others.
    pub new_key: bool,
    /// Where the last step ended.
    pub after: Option<SealedPlace>,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealStepDone {
    /// The current key's id.
    pub key: String,
    /// Secrets sealed anew.
    pub sealed: u64,
    /// Secrets that do not open; they stay as they are.
    pub refused: Vec<RefusedSecret>,
    /// Where the next step goes on; `None` at the end.
    pub next: Option<SealedPlace>,
}

/// A secret that does not open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSecret {
    /// Where it lies.
    pub place: SealedPlace,
    /// Why.
    pub why: String,
}

impl Services {
    /// Refuses a database of which something is sealed with a key that is not here: what is sealed from now on would
    /// be of another key than what is there.
    ///
    /// # Errors
    /// A failure that names each key that is missing.
    pub async fn need_keys(&self) -> Result<(), Failure> {
        let used = self.store.count_sealed().await?;
        // Afterwards: a rotation in another process puts a key into the file before it seals anything with it.
        self.providers.keyring().refresh().map_err(key_failure)?;
        let have = self.providers.keyring().key_ids();
        let missing: Vec<String> =
            used.into_iter().map(|with| with.key).filter(|key| !have.contains(key)).collect();
        if missing.is_empty() { Ok(()) } else { Err(missing_keys(&missing, &have)) }
    }

    pub(super) async fn seal_step(&self, step: &SealStep) -> Result<Value, Failure> {
        let keyring = self.providers.keyring();
        keyring.refresh().map_err(key_failure)?;
        self.need_keys().await?;
        if step.new_key {
            let key = keyring.add_key().map_err(key_failure)?;
            tracing::info!(key, "a new key seals what is stored");
        }
        let key = keyring.key_id();
        let mut done = SealStepDone { key: key.clone(), sealed: 0, refused: Vec::new(), next: None };
        let orgs = self.store.list_orgs_sealed_otherwise(&key).await?;
        let begun = step.after.as_ref().map(|place| &place.org);
        for org in orgs.into_iter().filter(|org| begun.is_none_or(|begun| org >= begun)) {
            let after = step.after.as_ref().filter(|place| place.org == org);
            let rows = self.store.load_sealed_otherwise(&org, &key, after, BATCH).await?;
            let Some(last) = rows.last() else { continue };
            done.next = Some(place(&org, last));
            done.sealed = self.seal_rows(&org, rows, &mut done.refused).await?;
            return Ok(json!(done));
        }
        Ok(json!(done))
    }

    async fn seal_rows(
        &self,
        org: &OrgId,
        rows: Vec<SealedRow>,
        refused: &mut Vec<RefusedSecret>,
    ) -> Result<u64, Failure> {
        let mut resealed = Vec::with_capacity(rows.len());
        for row in rows {
            match self.providers.keyring().seal_anew(org, row.connection.as_ref(), &row.secret) {
                Ok(anew) => resealed.push(Resealed { row, sealed: anew.sealed }),
                Err(error @ (CredentialError::Damaged { .. } | CredentialError::OtherKey { .. })) => {
                    refused.push(RefusedSecret { place: place(org, &row), why: error.to_string() });
                }
                Err(error) => return Err(key_failure(error)),
            }
        }
        let now = self.clock.now();
        let concerned: BTreeSet<_> = refused.iter().filter_map(|r| r.place.connection.clone()).collect();
        for id in concerned {
            let reason = "a stored secret does not open: connect again";
            let status = ConnectionStatus::NeedsAttention;
            self.store.set_connection_status(org, &id, status, Some(reason), now).await?;
        }
        Ok(self.store.reseal(org, resealed).await?)
    }

    /// Takes the keys out of the key file that nothing is sealed with any more.
    pub(super) async fn retire_keys(&self) -> Result<Value, Failure> {
        let keyring = self.providers.keyring();
        keyring.refresh().map_err(key_failure)?;
        self.need_keys().await?;
        let used = self.store.count_sealed().await?.into_iter().map(|with| with.key).collect();
        let retired = keyring.retire(&used).map_err(key_failure)?;
        Ok(json!({ "retired": retired }))
    }

    /// Deletes what is sealed with a key that is lost.
    pub(super) async fn forget_key(&self, key: &str) -> Result<Value, Failure> {
        if self.providers.keyring().key_ids().iter().any(|known| known == key) {
            return Err(Failure::invalid("key_is_here", format!("key {key} is here: what it seals opens")));
        }
        let used = self.store.count_sealed().await?;
        let Some(with) = used.iter().find(|with| with.key == key) else {
            return Err(Failure::not_found("key_not_found", format!("nothing is sealed with key {key}"))
                .hint("See which keys are in use: halo-sync credentials"));
        };
        let reason = format!("its credentials were sealed with key {key}, which is lost: connect again");
        let mut connections = Vec::new();
        for org in self.store.list_orgs_sealed_otherwise(&self.providers.keyring().key_id()).await? {
            connections.extend(self.store.forget_sealed(&org, key, &reason, self.clock.now()).await?);
        }
        Ok(json!({ "key": key, "forgotten": with.secrets, "connections": connections }))
    }
}

fn place(org: &OrgId, row: &SealedRow) -> SealedPlace {
    SealedPlace {
        org: org.clone(),
        connection: row.connection.clone(),
        name: row.secret.name.clone(),
        slot: row.secret.slot,
    }
}

/// A database whose secrets need keys that are not here.
pub fn missing_keys(missing: &[String], have: &[String]) -> Failure {
    let named = |ids: &[String]| match ids {
        [] => "no key".to_owned(),
        [one] => format!("key {one}"),
        many => format!("keys {}", many.join(", ")),
    };
    let message = format!(
        "stored credentials are sealed with {}, and this installation has {}",
        named(missing),
        named(have)
    );
    Failure::new(FailureKind::Setup, "secret_key", message).hint(format!(
        "Put the key back (the file secret.key that belongs to this database, or its line below the others). If it is \
         lost: halo-sync credentials forget {0} --confirm {0}, then connect again",
        missing.first().map_or("KEY", String::as_str)
    ))
}

fn key_failure(error: CredentialError) -> Failure {
    Failure::new(FailureKind::Setup, "secret_key", error.to_string())
}
