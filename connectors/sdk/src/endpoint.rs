//! Webhook endpoints: where a provider sends a connection's webhooks, for providers whose API can say and set it.

use async_trait::async_trait;
use secrecy::SecretString;

use crate::error::ConnectorError;

/// An endpoint as the provider has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The provider's id.
    pub id: String,
    /// Where it sends.
    pub url: String,
    /// Whether it sends.
    pub enabled: bool,
    /// The API version of what it sends, where the provider has versions.
    pub api_version: Option<String>,
    /// The event types that it sends; `None` for all.
    pub events: Option<Vec<String>>,
    /// What [`EndpointAdmin::create`] marked it with.
    pub tag: Option<String>,
}

/// An endpoint that was just made, with the secret that it signs with: the only time that it is told.
#[derive(Debug)]
pub struct NewEndpoint {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its signing secret.
    pub secret: SecretString,
}

/// Making and looking after endpoints. The event types and the API version are those of the connector's spec.
///
/// Credentials that may read objects and not endpoints are
/// [`ConnectorError::Auth`] with the permission that is missing.
#[async_trait]
pub trait EndpointAdmin: Send + Sync {
    /// Every endpoint of the account.
    async fn list(&self) -> Result<Vec<Endpoint>, ConnectorError>;

    /// Makes an endpoint that sends to `url`, marked with `tag`, so that it is found again.
    async fn create(&self, url: &str, tag: &str) -> Result<NewEndpoint, ConnectorError>;

    /// Sets where an endpoint sends and which event types, and switches it on. Its API version stays: providers do
    /// not change that of an endpoint.
    async fn update(&self, id: &str, url: &str) -> Result<Endpoint, ConnectorError>;

    /// Removes an endpoint; one that is gone already is no error.
    async fn remove(&self, id: &str) -> Result<(), ConnectorError>;
}
