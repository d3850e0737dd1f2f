//! Access tokens that change while a session is open.

use async_trait::async_trait;
use secrecy::SecretString;

use crate::error::ConnectorError;

/// Where the calls of an OAuth connection get their token from. The engine provides it: a connector is opened with
/// the token of that moment (secret `access_token`), calls with [`Call::bearer`](crate::Call::bearer), and need know
/// nothing of expiry.
#[async_trait]
pub trait AccessTokens: Send + Sync {
    /// The token to call with now. One that is about to expire is renewed first.
    ///
    /// # Errors
    /// [`ConnectorError::Auth`] when a person must connect again; what the token endpoint failed with, where the old
    /// token has expired.
    async fn current(&self) -> Result<SecretString, ConnectorError>;

    /// The token to call with after the provider refused `refused` with 401: one that was got meanwhile, or a renewed
    /// one.
    ///
    /// # Errors
    /// As [`Self::current`]; [`ConnectorError::Auth`] too where `refused` was just got, so that another would fare no
    /// better.
    async fn renewed(&self, refused: &SecretString) -> Result<SecretString, ConnectorError>;

    /// The tokens that calls of this session were made with lately: what is kept out of errors.
    fn held(&self) -> Vec<SecretString>;
}
