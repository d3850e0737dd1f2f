use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::database::read_secret;
use super::{ConfigError, Findings, Origin, Secret};

/// Apps that are registered at providers, by connector: `[oauth.hubspot]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OAuth(pub BTreeMap<String, OAuthApp>);

/// An app that is registered at a provider.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OAuthApp {
    /// The app's id, as the provider shows it.
    pub client_id: Option<String>,
    /// The app's secret. A file is better: other processes can read an environment.
    pub client_secret: Option<Secret>,
    /// File that holds `client_secret`.
    pub client_secret_file: Option<PathBuf>,
    /// Another authorisation endpoint than the connector's: a region's, or a sandbox's.
    pub authorize_url: Option<String>,
    /// Another token endpoint.
    pub token_url: Option<String>,
    /// Another revocation endpoint.
    pub revoke_url: Option<String>,
    /// Other scopes than the connector's, with blanks between them.
    pub scopes: Option<String>,
}

impl OAuth {
    /// Takes the place of the secrets that files hold.
    pub(super) fn read_secret_files(
        &mut self,
        origins: &mut BTreeMap<String, Origin>,
    ) -> Result<(), ConfigError> {
        for (connector, app) in &mut self.0 {
            let file = app.client_secret_file.clone();
            let key = format!("oauth.{connector}.client_secret");
            read_secret(&key, &mut app.client_secret, file.as_deref(), origins)?;
        }
        Ok(())
    }

    pub(super) fn check(&self, found: &mut Findings<'_>) {
        for (connector, app) in &self.0 {
            let key = |member: &str| format!("oauth.{connector}.{member}");
            for (member, is_set) in [
                ("client_id", app.client_id.as_ref().is_some_and(|id| !id.is_empty())),
                ("client_secret_file", app.client_secret.is_some()),
            ] {
                if !is_set {
                    found.add(&key(member), "is missing: an app has an id and a secret");
                }
            }
            let addresses = [
                ("authorize_url", &app.authorize_url),
                ("token_url", &app.token_url),
                ("revoke_url", &app.revoke_url),
            ];
            for (member, text) in addresses {
                if let Some(text) = text
                    && connector_sdk::http::base_url(text).is_err()
                {
                    found.add(
                        &key(member),
                        "is not an https address without query (http to this machine alone)",
                    );
                }
            }
            if app.scopes.as_ref().is_some_and(|scopes| scopes.trim().is_empty()) {
                found.add(&key("scopes"), "is empty");
            }
        }
    }
}
