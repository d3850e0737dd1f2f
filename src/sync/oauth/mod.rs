//! OAuth 2: connections that a person grants at the provider, and tokens that renew themselves.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `app` | the app that is registered at a provider, and its calls to the token endpoint |
//! | `flow` | the way of a person: an address with a one-time state, and what they bring back |
//! | `renewal` | one renewal for each expiry, whoever meets it first (`docs/adr/0040-one-refresh.md`) |

mod app;
mod flow;
mod renewal;

use std::collections::BTreeMap;
use std::sync::Arc;

use connector_sdk::{AuthKind, Clock, ConnectorError, DynConnector, HttpClient};

pub(crate) use app::Registered;
pub use app::{App, GrantError};
pub use flow::{Begun, FLOW_MINUTES, Returned};
pub(crate) use flow::{FlowSecrets, digest, open_secrets, random, seal_secrets};
pub(crate) use renewal::Renewals;

use crate::store::Store;
use crate::sync::credentials::Keyring;

/// The secret that holds the token which connectors call with.
pub const ACCESS_TOKEN: &str = "access_token";
/// The secret that holds the token which access tokens are renewed with; no connector gets it.
pub const REFRESH_TOKEN: &str = "refresh_token";

/// Every app that is registered at a provider, and the renewals of this process.
pub(crate) struct OAuth {
    pub(crate) apps: BTreeMap<String, Registered>,
    pub(crate) renewals: Arc<Renewals>,
}

impl OAuth {
    /// Over the apps that the settings name, by connector.
    ///
    /// # Errors
    /// [`ConnectorError::Config`] for an app of a connector that there is not, or that has no OAuth.
    pub(crate) fn new(
        apps: BTreeMap<String, App>,
        connectors: &BTreeMap<&'static str, Arc<dyn DynConnector>>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        http: HttpClient,
        keyring: Arc<Keyring>,
    ) -> Result<Self, ConnectorError> {
        let mut registered = BTreeMap::new();
        for (id, app) in apps {
            let spec = connectors.get(id.as_str()).map(|connector| connector.spec());
            let auth = spec.iter().flat_map(|spec| &spec.auth);
            let Some(auth @ AuthKind::OAuth2 { .. }) =
                auth.into_iter().find(|auth| matches!(auth, AuthKind::OAuth2 { .. }))
            else {
                let able: Vec<_> = connectors
                    .values()
                    .map(|connector| connector.spec())
                    .filter(|spec| spec.auth.iter().any(|auth| matches!(auth, AuthKind::OAuth2 { .. })))
                    .map(|spec| spec.id)
                    .collect();
                return Err(ConnectorError::Config(format!(
                    "oauth.{id}: no connector of that name takes OAuth; there are: {}",
                    able.join(", ")
                )));
            };
            let app = Registered::new(&id, app, auth, http.clone(), clock.clone())?;
            registered.insert(id, app);
        }
        Ok(Self::over(registered, store, clock, keyring))
    }

    /// Without any app: tokens that are stored work until they expire.
    pub(crate) fn none(store: Arc<dyn Store>, clock: Arc<dyn Clock>, keyring: Arc<Keyring>) -> Self {
        Self::over(BTreeMap::new(), store, clock, keyring)
    }

    fn over(
        apps: BTreeMap<String, Registered>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        keyring: Arc<Keyring>,
    ) -> Self {
        let renewals = Renewals::new(store, clock, keyring, apps.clone());
        Self { apps, renewals: Arc::new(renewals) }
    }
}
