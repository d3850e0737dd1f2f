//! A key that an operator pastes.

use connector_sdk::{AuthKind, ConnectorError, Secrets};
use secrecy::SecretString;

/// Name of the secret that holds the API key.
pub const SECRET: &str = "api_key";

/// What an operator is told.
pub(crate) fn kind() -> AuthKind {
    // TODO: where the key is found, and the least permissions that it needs.
    AuthKind::ApiKey { help: "Settings, API keys: a key that may read accounts and subscriptions." }
}

/// The secret of a connection.
pub(crate) fn secret(secrets: &Secrets) -> Result<SecretString, ConnectorError> {
    secrets.require(SECRET).cloned()
}
