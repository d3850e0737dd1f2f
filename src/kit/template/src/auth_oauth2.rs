//! OAuth 2. The engine asks for the token, refreshes it, and hands it to each session.

use connector_sdk::{AuthKind, ConnectorError, Secrets};
use secrecy::SecretString;

/// Name of the secret that holds the access token.
pub const SECRET: &str = "access_token";

/// What an operator is told.
pub(crate) fn kind() -> AuthKind {
    // TODO: the provider's endpoints, and the least scopes that reading needs.
    AuthKind::OAuth2 {
        authorize_url: "https://example.com/oauth/authorize",
        token_url: "https://example.com/oauth/token",
        revoke_url: None,
        scopes: &["accounts.read", "subscriptions.read"],
    }
}

/// The secret of a connection: the token, or one that an operator pasted as a key.
pub(crate) fn secret(secrets: &Secrets) -> Result<SecretString, ConnectorError> {
    match secrets.0.get("api_key") {
        Some(pasted) if !secrets.0.contains_key(SECRET) => Ok(pasted.clone()),
        _ => secrets.require(SECRET).cloned(),
    }
}
