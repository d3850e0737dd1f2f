//! The way of a person to the provider and back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connector_sdk::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::{FlowId, OrgId};
use crate::store::settings::SealedSecret;
use crate::sync::credentials::{CredentialError, Keyring};

/// How long a person has at the provider.
pub const FLOW_MINUTES: i64 = 10;

/// A flow that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Its id.
    pub flow: FlowId,
    /// Where the person grants access. Holds the one-time state: it is for them alone.
    pub authorize_url: String,
    /// Where the provider sends them back to; it must be registered there exactly so.
    pub redirect_uri: String,
    /// Until when they may come back.
    pub expires_at: Timestamp,
}

/// What a person brings back: the callback's parameters, each of them there once at most.
#[derive(Clone, Default)]
pub struct Returned {
    /// The one-time state.
    pub state: SecretString,
    /// What tokens are got for.
    pub code: Option<SecretString>,
    /// The provider's word for why there is no code (`access_denied`).
    pub error: Option<String>,
    /// Which server sent them back (RFC 9207).
    pub issuer: Option<String>,
}

/// Secrets of a flow, sealed while it waits.
pub(crate) struct FlowSecrets {
    pub(crate) verifier: SecretString,
    pub(crate) webhook_secrets: Vec<SecretString>,
}

/// 32 random bytes as text that a URL can hold: a state, or a PKCE verifier (RFC 7636: 43 characters).
pub(crate) fn random() -> Result<SecretString, CredentialError> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|_| CredentialError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
}

/// What is stored of a state.
pub(crate) fn digest(state: &SecretString) -> String {
    hex::encode(Sha256::digest(state.expose_secret()))
}

impl FlowSecrets {
    /// With a new verifier.
    pub(crate) fn new(webhook_secrets: Vec<SecretString>) -> Result<Self, CredentialError> {
        Ok(Self { verifier: random()?, webhook_secrets })
    }
}

/// The name that a flow's secrets are sealed under: no other flow's open in its place.
fn name(flow: &FlowId) -> String {
    format!("oauth_flow:{flow}")
}

pub(crate) fn seal_secrets(
    keyring: &Keyring,
    org: &OrgId,
    flow: &FlowId,
    secrets: &FlowSecrets,
) -> Result<Vec<u8>, CredentialError> {
    let all = std::iter::once(&secrets.verifier).chain(&secrets.webhook_secrets);
    let text = serde_json::json!(all.map(ExposeSecret::expose_secret).collect::<Vec<_>>()).to_string();
    Ok(keyring.seal_for_org(org, &name(flow), 0, &text.into())?.sealed)
}

pub(crate) fn open_secrets(
    keyring: &Keyring,
    org: &OrgId,
    flow: &FlowId,
    sealed: Vec<u8>,
) -> Result<FlowSecrets, CredentialError> {
    let sealed = SealedSecret { name: name(flow), slot: 0, sealed, expires_at: None };
    let text = keyring.open_for_org(org, &sealed)?;
    let damaged = || CredentialError::Damaged { name: name(flow) };
    let mut all: Vec<SecretString> =
        serde_json::from_str(text.expose_secret()).map_err(|_| damaged())?;
    if all.is_empty() {
        return Err(damaged());
    }
    Ok(FlowSecrets { verifier: all.remove(0), webhook_secrets: all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flows_secrets_open_for_it_alone() {
        let keyring = Keyring::new([7; 32]);
        let (org, flow) = (OrgId::from("org_a"), FlowId::from("flw_1"));
        let secrets = FlowSecrets::new(vec!["hook".to_owned().into()]).unwrap();
        let sealed = seal_secrets(&keyring, &org, &flow, &secrets).unwrap();
        let opened = open_secrets(&keyring, &org, &flow, sealed.clone()).unwrap();
        assert_eq!(opened.verifier.expose_secret(), secrets.verifier.expose_secret());
        assert_eq!(opened.webhook_secrets[0].expose_secret(), "hook");
        assert_eq!(secrets.verifier.expose_secret().len(), 43);
        assert!(open_secrets(&keyring, &org, &FlowId::from("flw_2"), sealed.clone()).is_err());
        assert!(open_secrets(&keyring, &OrgId::from("org_b"), &flow, sealed).is_err());
    }
}
