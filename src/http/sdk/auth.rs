//! Who calls the SDK API: `Authorization: Bearer` and a key.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};

use crate::domain::connections::{ApiKey, KeyClass};
use crate::http::ApiError;
use crate::recent::Recent;
use crate::service::keys;
use crate::store::Store;

/// How long a key is remembered: a revoked one stops working within this time, on every process.
const REMEMBERED: Duration = Duration::from_millis(500);
/// Keys that are remembered at once.
const REMEMBERED_KEYS: usize = 10_000;
/// When to come again after a trouble of ours.
const RETRY_SECONDS: u64 = 5;
/// Longer texts are no key of ours.
const LONGEST_KEY: usize = 200;

/// Looks keys up by their hash.
pub struct Keys {
    store: Arc<dyn Store>,
    remembered: Recent<String, ApiKey>,
}

impl Keys {
    /// Over the store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, remembered: Recent::new(REMEMBERED, REMEMBERED_KEYS) }
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
        if let Some(found) = self.remembered.get(&hash) {
            return Ok(found);
        }
        let found = self.store.find_key(&hash).await.map_err(|e| ApiError::unavailable(RETRY_SECONDS, &e))?;
        let found = found.ok_or_else(ApiError::unauthorized)?;
        self.remembered.put(hash, found.clone());
        Ok(found)
    }

    /// As [`Self::authenticate`], and the key must be a server's. A request that carries an `Origin` comes
    /// from a browser, where a server key has no business.
    pub async fn authenticate_server(&self, headers: &HeaderMap) -> Result<ApiKey, ApiError> {
        let key = self.authenticate(headers).await?;
        if key.class != KeyClass::Server {
            return Err(ApiError::forbidden("server_key_needed", "this call needs a server key")
                .hint("make one: halo-sync keys create --class server --name NAME"));
        }
        if headers.contains_key(header::ORIGIN) {
            return Err(ApiError::forbidden(
                "server_key_in_browser",
                "a server key must not be used from a browser",
            ));
        }
        Ok(key)
    }
}
