//! Keys and organisations' rules, as the store has them or had them half a second ago.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use connector_sdk::{Clock, Timestamp};
use secrecy::SecretString;

use crate::domain::OrgId;
use crate::domain::connections::ApiKey;
use crate::domain::orgs::OrgRules;
use crate::http::ApiError;
use crate::recent::Recent;
use crate::service::{identity, keys};
use crate::store::Store;
use crate::sync::providers::Providers;

/// How long a key and an organisation's rules are remembered: what is revoked stops working within this time, on
/// every process.
const REMEMBERED: Duration = Duration::from_millis(500);
/// Keys, and organisations, that are remembered at once.
const REMEMBERED_AT_ONCE: usize = 10_000;
/// When to come again after a trouble of ours.
pub(super) const RETRY_SECONDS: u64 = 5;
/// Longer texts are no key of ours.
const LONGEST_KEY: usize = 200;

/// An organisation's rules, with its identity secrets opened.
#[derive(Debug, Default)]
pub(super) struct OpenTrust {
    pub(super) rules: OrgRules,
    secrets: Vec<(SecretString, Option<Timestamp>)>,
}

impl OpenTrust {
    /// The secrets that sign tokens now.
    pub(super) fn live_secrets(&self, now: Timestamp) -> Vec<SecretString> {
        let live = self.secrets.iter().filter(|(_, until)| until.is_none_or(|until| until > now));
        live.map(|(secret, _)| secret.clone()).collect()
    }
}

/// Looks keys up by their hash, and organisations' rules by their id.
pub struct Keys {
    store: Arc<dyn Store>,
    providers: Arc<Providers>,
    clock: Arc<dyn Clock>,
    keys: Recent<String, ApiKey>,
    orgs: Recent<OrgId, Arc<OpenTrust>>,
}

impl Keys {
    /// Over the store; `providers` has what opens sealed secrets.
    pub fn new(store: Arc<dyn Store>, providers: Arc<Providers>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            providers,
            clock,
            keys: Recent::new(REMEMBERED, REMEMBERED_AT_ONCE),
            orgs: Recent::new(REMEMBERED, REMEMBERED_AT_ONCE),
        }
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The live key of the request.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<ApiKey, ApiError> {
        let key = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .map(str::trim)
            .filter(|key| !key.is_empty() && key.len() <= LONGEST_KEY)
            .ok_or_else(|| ApiError::unauthorized().hint("send `Authorization: Bearer` and a key"))?;
        let hash = keys::hash(key);
        let found = match self.keys.get(&hash) {
            Some(found) => found,
            None => {
                let found = self.store.find_key(&hash).await;
                let found = found.map_err(|e| ApiError::unavailable(RETRY_SECONDS, &e))?;
                let found = found.ok_or_else(ApiError::unauthorized)?;
                self.keys.put(hash, found.clone());
                found
            }
        };
        Ok(found)
    }

    /// The rules of an organisation.
    pub(super) async fn trust(&self, org: &OrgId) -> Result<Arc<OpenTrust>, ApiError> {
        if let Some(found) = self.orgs.get(org) {
            return Ok(found);
        }
        let stored = self.store.load_org_trust(org).await;
        let stored = stored.map_err(|e| ApiError::unavailable(RETRY_SECONDS, &e))?;
        // Its organisation was deleted a moment ago.
        let stored = stored.ok_or_else(ApiError::unauthorized)?;
        let mut open = OpenTrust {
            rules: OrgRules::read(&stored.settings).map_err(|e| ApiError::internal(&e))?,
            secrets: Vec::new(),
        };
        for (secret, until) in identity::sealed(&stored) {
            let opened = self.providers.keyring().open_for_org(org, secret);
            open.secrets.push((opened.map_err(|e| ApiError::internal(&e))?, until));
        }
        let open = Arc::new(open);
        self.orgs.put(org.clone(), open.clone());
        Ok(open)
    }
}
