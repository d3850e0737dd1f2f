//! Identity secrets: what a customer's backend signs `user_token` with. Kept sealed, for tokens are checked with the
//! secret itself; shown once.

use connector_sdk::Timestamp;
use serde_json::{Value, json};

use super::keys::{after, random_text};
use super::{Failure, FailureKind, Services};
use crate::domain::OrgId;
use crate::domain::orgs::OrgRules;
use crate::store::settings::SealedSecret;
use crate::store::trust::{OrgSecret, OrgTrust};

/// The name that identity secrets are kept under.
pub const IDENTITY: &str = "identity";
/// The reference's prefix.
const PREFIX: &str = "ha_secret_";
/// Random bytes in a secret: as many as HS256 has bits to use.
const SECRET_BYTES: usize = 32;

/// The sealed identity secrets of an organisation, with when each stops being accepted.
pub fn sealed(trust: &OrgTrust) -> impl Iterator<Item = (&SealedSecret, Option<Timestamp>)> {
    let identity = trust.secrets.iter().filter(|stored| stored.secret.name == IDENTITY);
    identity.map(|stored| (&stored.secret, stored.secret.expires_at))
}

/// Whether an organisation has an identity secret that does not run out.
pub(super) fn has_current(trust: &OrgTrust) -> bool {
    sealed(trust).any(|(_, until)| until.is_none())
}

impl Services {
    pub(super) async fn create_identity_secret(&self, org: &OrgId) -> Result<Value, Failure> {
        let trust = self.org_trust(org).await?;
        if has_current(&trust) {
            return Err(Failure::invalid("identity_secret_exists", "there is an identity secret already")
                .hint("Put another in its place: halo-sync keys identity rotate"));
        }
        self.add_identity_secret(org, &trust, 0).await
    }

    pub(super) async fn rotate_identity_secret(
        &self,
        org: &OrgId,
        overlap_seconds: u64,
    ) -> Result<Value, Failure> {
        let trust = self.org_trust(org).await?;
        if !has_current(&trust) {
            return Err(Failure::not_found("identity_secret_not_found", "there is no identity secret yet")
                .hint("Make one: halo-sync keys identity create"));
        }
        self.add_identity_secret(org, &trust, overlap_seconds).await
    }

    /// What there is of identity secrets and verification, without the secrets.
    pub async fn identity_status(&self, org: &OrgId) -> Result<Value, Failure> {
        let trust = self.org_trust(org).await?;
        let rules = read_rules(&trust.settings)?;
        let identity = trust.secrets.iter().filter(|stored| stored.secret.name == IDENTITY);
        let secrets: Vec<Value> = identity
            .filter(|stored| stored.secret.expires_at.is_none_or(|until| until > self.clock.now()))
            .map(|stored| {
                json!({ "slot": stored.secret.slot, "created_at": stored.created_at,
                        "accepted_until": stored.secret.expires_at })
            })
            .collect();
        Ok(json!({ "identity_verification": rules.identity_verification, "secrets": secrets }))
    }

    async fn add_identity_secret(
        &self,
        org: &OrgId,
        trust: &OrgTrust,
        overlap_seconds: u64,
    ) -> Result<Value, Failure> {
        let now = self.clock.now();
        let until = after(now, overlap_seconds)?;
        let slot = sealed(trust).map(|(secret, _)| secret.slot).max().map_or(0, |slot| slot + 1);
        let text = random_text(PREFIX, SECRET_BYTES)?;
        let secret = self
            .providers
            .keyring()
            .seal_for_org(org, IDENTITY, slot, &text.clone().into())
            .map_err(|e| Failure::new(FailureKind::Internal, "sealing", e.to_string()))?;
        self.store.add_org_secret(org, &OrgSecret { secret, created_at: now }, until).await?;
        let replaced = has_current(trust).then_some(until);
        Ok(json!({ "identity_secret": text, "old_accepted_until": replaced }))
    }

    pub(super) async fn org_trust(&self, org: &OrgId) -> Result<OrgTrust, Failure> {
        self.store.load_org_trust(org).await?.ok_or_else(|| super::orgs::unknown(org))
    }
}

/// The rules in a settings document.
pub(super) fn read_rules(settings: &Value) -> Result<OrgRules, Failure> {
    OrgRules::read(settings).map_err(|e| {
        Failure::new(
            FailureKind::Internal,
            "org_settings",
            format!("the stored settings are not understood: {e}"),
        )
    })
}
