//! The request's side of a webhook: signature on the raw bytes, one durable unit, then the answer.

use std::sync::Arc;
use std::time::Duration;

use connector_sdk::{RawRequest, SignatureError};
use secrecy::SecretString;

use super::gather::Gather;
use crate::domain::ConnectionId;
use crate::domain::connections::Connection;
use crate::recent::Recent;
use crate::store::inbox::{Accepted, NewDelivery};
use crate::store::{Store, StoreError};
use crate::sync::SyncError;
use crate::sync::providers::Providers;

/// How long a connection and its secrets are remembered. A secret that is added or withdrawn holds within
/// this time, on every process.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Connections that are remembered at once.
const REMEMBERED_CONNECTIONS: usize = 10_000;

/// Why a delivery is not taken. The sender learns the status alone.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No such connection, or another connector's. 404.
    #[error("no such webhook endpoint")]
    UnknownConnection,
    /// The signature is not right. 400.
    #[error("signature refused: {0}")]
    Signature(#[from] SignatureError),
    /// Signed, and not readable. 400.
    #[error("not readable: {0}")]
    Malformed(String),
    /// Ours: the sender comes again. 503 with `Retry-After`, never 4xx.
    #[error("storage: {0}")]
    Unavailable(#[from] StoreError),
    /// Ours: secrets that do not open. 503.
    #[error(transparent)]
    Broken(#[from] SyncError),
}

/// What was stored of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Receipt {
    /// New deliveries.
    pub stored: usize,
    /// Events that were there already.
    pub duplicates: usize,
}

struct Endpoint {
    connection: Connection,
    secrets: Vec<SecretString>,
}

/// Takes deliveries.
pub struct Inbox {
    store: Arc<dyn Store>,
    gather: Gather,
    providers: Arc<Providers>,
    remembered: Recent<ConnectionId, Arc<Endpoint>>,
}

impl Inbox {
    /// Over the store and the providers.
    pub fn new(store: Arc<dyn Store>, providers: Arc<Providers>) -> Self {
        let gather = Gather::new(store.clone());
        Self { store, gather, providers, remembered: Recent::new(REMEMBERED, REMEMBERED_CONNECTIONS) }
    }

    /// Verifies, stores durably, and only then answers.
    pub async fn accept(
        &self,
        connector: &str,
        connection: &ConnectionId,
        request: &RawRequest<'_>,
    ) -> Result<Receipt, Refusal> {
        let endpoint = self.endpoint(connection).await?;
        if endpoint.connection.connector != connector {
            return Err(Refusal::UnknownConnection);
        }
        let driver = self.providers.connector(connector)?;
        let webhooks = driver.webhooks().ok_or(Refusal::UnknownConnection)?;
        webhooks.verify(&endpoint.secrets, request)?;
        let events = webhooks.route(request).map_err(Refusal::Malformed)?;
        let org = &endpoint.connection.org_id;
        let deliveries: Vec<_> = events
            .into_iter()
            .map(|event| NewDelivery {
                org_id: org.clone(),
                connection_id: connection.clone(),
                event_id: event.id,
                kind: event.kind,
                body: request.body.to_vec(),
                received_at: request.received_at,
            })
            .collect();
        if deliveries.is_empty() {
            return Ok(Receipt::default());
        }
        let accepted = self.gather.put(deliveries).await?;
        let stored = accepted.iter().filter(|a| matches!(a, Accepted::New(_))).count();
        Ok(Receipt { stored, duplicates: accepted.len() - stored })
    }

    /// The connection that a request on the bare path means: the only one of that connector, over all
    /// organisations. With several there is no telling, and trying every secret would let one tenant's
    /// secret open another's door.
    pub async fn only_connection(&self, connector: &str) -> Result<ConnectionId, Refusal> {
        let all = self.store.list_connections(None).await?;
        let mut ours = all.into_iter().filter(|c| c.connector == connector);
        match (ours.next(), ours.next()) {
            (Some(only), None) => Ok(only.id),
            _ => Err(Refusal::UnknownConnection),
        }
    }

    async fn endpoint(&self, id: &ConnectionId) -> Result<Arc<Endpoint>, Refusal> {
        if let Some(endpoint) = self.remembered.get(id) {
            return Ok(endpoint);
        }
        let connection = self.store.find_connection_any_org(id).await?.ok_or(Refusal::UnknownConnection)?;
        let secrets = self.providers.webhook_secrets(&connection).await?;
        let endpoint = Arc::new(Endpoint { connection, secrets });
        self.remembered.put(id.clone(), endpoint.clone());
        Ok(endpoint)
    }
}
