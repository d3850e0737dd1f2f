//! A key that an operator pastes. Chargebee takes it as the user of HTTP basic authentication.

use connector_sdk::{AuthKind, ConnectorError, Secrets};
use secrecy::SecretString;

/// Name of the secret that holds the API key.
pub const SECRET: &str = "api_key";

/// What an operator is told.
pub(crate) fn kind() -> AuthKind {
    AuthKind::ApiKey {
        help: "Settings, Configure Chargebee, API keys: a read-only key for all data of the site.",
    }
}

/// The secret of a connection.
pub(crate) fn secret(secrets: &Secrets) -> Result<SecretString, ConnectorError> {
    secrets.require(SECRET).cloned()
}
