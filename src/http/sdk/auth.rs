//! Keys and organisations' rules, as the store has them or had them half a second ago; and how often they may be
//! used.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use chrono::DurationRound as _;
use chrono::TimeDelta;
use connector_sdk::{Clock, Timestamp};
use secrecy::SecretString;

use super::rates::{Quotas, Rates};
use crate::domain::connections::{ApiKey, KeyClass};
use crate::domain::orgs::OrgRules;
use crate::domain::{KeyId, OrgId};
use crate::http::ApiError;
use crate::http::address::Proxies;
use crate::http::edge::{Notes, PageOrigin};
use crate::recent::Recent;
use crate::service::{identity, keys};
use crate::store::Store;
use crate::sync::providers::Providers;

/// How long a key and an organisation's rules are remembered: what is revoked stops working within this time, on
/// every process.
const REMEMBERED: Duration = Duration::from_millis(500);
/// Keys, and organisations, that are remembered at once.
const REMEMBERED_AT_ONCE: usize = 10_000;
/// How long a key's use is not noted again.
const NOTED: Duration = Duration::from_secs(60);
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

/// Looks keys up by their hash, and organisations' rules by their id; counts calls.
pub struct Keys {
    store: Arc<dyn Store>,
    providers: Arc<Providers>,
    clock: Arc<dyn Clock>,
    rates: Rates,
    proxies: Proxies,
    keys: Recent<String, ApiKey>,
    orgs: Recent<OrgId, Arc<OpenTrust>>,
    noted: Recent<KeyId, ()>,
}

impl Keys {
    /// Over the store, with the limits that hold where nothing is set; `providers` has what opens sealed secrets.
    pub fn new(store: Arc<dyn Store>, providers: Arc<Providers>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            providers,
            clock,
            rates: Rates::new(Quotas::default()),
            proxies: Proxies::default(),
            keys: Recent::new(REMEMBERED, REMEMBERED_AT_ONCE),
            orgs: Recent::new(REMEMBERED, REMEMBERED_AT_ONCE),
            noted: Recent::new(NOTED, REMEMBERED_AT_ONCE),
        }
    }

    /// With these limits, and these proxies between a client and us.
    #[must_use]
    pub fn limited(self, quotas: Quotas, proxies: Proxies) -> Self {
        Self { rates: Rates::new(quotas), proxies, ..self }
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Judges a request's head: its key, its origin, and whether it comes too often.
    pub(in crate::http) async fn admit(&self, parts: &Parts) -> Result<ApiKey, ApiError> {
        let notes = Notes::of(&parts.extensions);
        let address = self.proxies.client(parts);
        let key = self.authenticate(&parts.headers, address, &notes).await?;
        match (key.class, parts.headers.get(header::ORIGIN)) {
            (KeyClass::Server, Some(_)) => {
                return Err(ApiError::forbidden(
                    "server_key_in_browser",
                    "a server key must not be used from a browser",
                )
                .hint("revoke it, for pages can show it to anybody; pages use a publishable key"));
            }
            (KeyClass::Publishable, Some(origin)) => {
                self.judge_origin(&key, origin.to_str().unwrap_or_default(), &notes).await?;
            }
            (_, None) => {}
        }
        if key.class == KeyClass::Publishable
            && let Some(address) = address
        {
            noted(&notes, self.rates.take_address(address))?;
        }
        noted(&notes, self.rates.take_key(&key, 1))?;
        self.note_use(&key);
        Ok(key)
    }

    /// Judges the head of a request that needs no key.
    pub(super) fn admit_anybody(&self, parts: &Parts) -> Result<(), ApiError> {
        match self.proxies.client(parts) {
            Some(address) => noted(&Notes::of(&parts.extensions), self.rates.take_address(address)),
            None => Ok(()),
        }
    }

    /// Counts what a call holds beyond itself.
    pub(super) fn charge(&self, key: &ApiKey, notes: &Notes, calls: u32) -> Result<(), ApiError> {
        noted(notes, self.rates.take_key(key, calls))
    }

    /// The live key of the request.
    async fn authenticate(
        &self,
        headers: &HeaderMap,
        address: Option<IpAddr>,
        notes: &Notes,
    ) -> Result<ApiKey, ApiError> {
        let key = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .map(str::trim)
            .filter(|key| !key.is_empty() && key.len() <= LONGEST_KEY)
            .ok_or_else(|| ApiError::unauthorized().hint("send `Authorization: Bearer` and a key"));
        let found = match key {
            Err(error) => Err(error),
            Ok(key) => self.find(keys::hash(key), address, notes).await,
        };
        if let (Err(error), Some(address)) = (&found, address)
            && error.status() == http::StatusCode::UNAUTHORIZED
        {
            self.rates.note_failure(address);
        }
        found
    }

    async fn find(&self, hash: String, address: Option<IpAddr>, notes: &Notes) -> Result<ApiKey, ApiError> {
        let found = match self.keys.get(&hash) {
            Some(found) => found,
            None => {
                if let Some(address) = address {
                    noted(notes, self.rates.admit_stranger(address).map(|()| None))?;
                }
                let found = self.store.find_key(&hash).await;
                let found = found.map_err(|e| ApiError::unavailable(RETRY_SECONDS, &e))?;
                let found = found.ok_or_else(ApiError::unauthorized)?;
                self.keys.put(hash, found.clone());
                found
            }
        };
        if found.is_live(self.clock.now()) { Ok(found) } else { Err(ApiError::unauthorized()) }
    }

    /// Whether the key is taken from pages of that origin: by the key's own list, else by the organisation's.
    async fn judge_origin(&self, key: &ApiKey, origin: &str, notes: &Notes) -> Result<(), ApiError> {
        let trust;
        let rules = match &key.origins {
            Some(own) => Some(own),
            None => {
                trust = self.trust(&key.org_id).await?;
                trust.rules.origins.as_ref()
            }
        };
        let Some(rules) = rules else { return Ok(()) };
        if rules.iter().any(|rule| rule.admits(origin)) {
            notes.origin(PageOrigin::Listed);
            return Ok(());
        }
        notes.origin(PageOrigin::Refused);
        Err(ApiError::forbidden("origin_not_allowed", "the key is not taken from pages of this origin")
            .hint("name the origin: halo-sync orgs set ORG --origin ORIGIN, or keys create --origin ORIGIN"))
    }

    /// Has the key's use noted, once a minute.
    fn note_use(&self, key: &ApiKey) {
        if self.noted.get(&key.id).is_some() {
            return;
        }
        self.noted.put(key.id.clone(), ());
        let now = self.clock.now();
        // The same minute from every process: one of them writes it.
        let minute = now.duration_trunc(TimeDelta::minutes(1)).unwrap_or(now);
        let (store, org, id) = (self.store.clone(), key.org_id.clone(), key.id.clone());
        tokio::spawn(async move {
            if let Err(error) = store.touch_key(&org, &id, minute).await {
                tracing::debug!(key = %id, %error, "the use of a key was not noted");
            }
        });
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

type Taken = Result<Option<super::rates::Left>, (ApiError, super::rates::Left)>;

/// Notes what is left, for the answer's headers.
fn noted(notes: &Notes, taken: Taken) -> Result<(), ApiError> {
    match taken {
        Ok(left) => {
            notes.left(left);
            Ok(())
        }
        Err((error, left)) => {
            notes.left(Some(left));
            Err(error)
        }
    }
}
