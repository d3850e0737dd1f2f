//! The request's side of a webhook: signature on the raw bytes, one durable unit, then the answer.
//!
//! An address names a connection or, for providers that send the events of several accounts to one address, an
//! organisation. Then the connections are asked whose secret signed the request, and an event goes to those of them
//! that are of the account that it names; nothing of a request reaches a connection whose secret did not sign it.
//! Where one address serves all accounts of an app, the account is the tenant and not the address: an event goes to
//! connections of any organisation, still to none whose own secret did not sign the request.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use connector_sdk::{Event, RawRequest, SignatureError, WebhookAddress};
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::gather::Gather;
use crate::domain::connections::Connection;
use crate::domain::{ConnectionId, OrgId};
use crate::recent::Recent;
use crate::store::inbox::{Accepted, NewDelivery};
use crate::store::{Store, StoreError};
use crate::sync::SyncError;
use crate::sync::providers::{ConnectionSettings, Providers};

/// How long an address and its secrets are remembered. A secret that is added or withdrawn holds within
/// this time, on every process.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Addresses that are remembered at once.
const REMEMBERED_ADDRESSES: usize = 10_000;

/// Why a delivery is not taken. The sender learns the status alone.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No such connection or organisation, or none of that connector. 404.
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
    /// Events of accounts that are not connected.
    pub unknown: usize,
}

struct Endpoint {
    connection: Connection,
    /// The connector's own settings.
    settings: Value,
    secrets: Vec<SecretString>,
}

/// What is behind an address.
struct Address {
    endpoints: Vec<Endpoint>,
    /// Whether it is that of a connection.
    of_connection: bool,
}

/// A connection whose secrets do not open, or whose settings cannot be read.
type Broken = (Connection, SyncError);

/// Takes deliveries.
pub struct Inbox {
    store: Arc<dyn Store>,
    gather: Gather,
    providers: Arc<Providers>,
    remembered: Recent<(String, String), Arc<Address>>,
    /// The connections of a connector, over all organisations.
    connections: Recent<String, Arc<Vec<Connection>>>,
}

impl Inbox {
    /// Over the store and the providers.
    pub fn new(store: Arc<dyn Store>, providers: Arc<Providers>) -> Self {
        let gather = Gather::new(store.clone());
        let remembered = Recent::new(REMEMBERED, REMEMBERED_ADDRESSES);
        Self {
            store,
            gather,
            providers,
            remembered,
            connections: Recent::new(REMEMBERED, REMEMBERED_ADDRESSES),
        }
    }

    /// Verifies, stores durably, and only then answers. `named` is what ends the path: the id of a connection, or of an
    /// organisation where the connector is sent to one.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing is stored, or the rest is when the sender comes again.
    pub async fn accept(
        &self,
        connector: &str,
        named: Option<&str>,
        request: &RawRequest<'_>,
    ) -> Result<Receipt, Refusal> {
        let driver = self.providers.connector(connector).map_err(|_| Refusal::UnknownConnection)?;
        let webhooks = driver.webhooks().ok_or(Refusal::UnknownConnection)?;
        let named = match named {
            Some(named) => named.to_owned(),
            None => self.unnamed(connector, webhooks.address(), request.url).await?,
        };
        let (address, mut broken) = self.address(connector, &named, webhooks.address()).await?;

        let mut refused = SignatureError::NoSecret;
        let mut signed_by = Vec::new();
        for endpoint in &address.endpoints {
            match webhooks.verify_with(&endpoint.settings, &endpoint.secrets, request) {
                Ok(()) => signed_by.push(&endpoint.connection),
                Err(SignatureError::NoSecret) => {}
                Err(error) => refused = error,
            }
        }
        if signed_by.is_empty() {
            return Err(match broken.into_iter().next() {
                Some((_, error)) => Refusal::Broken(error),
                None => refused.into(),
            });
        }
        // Only a request that somebody behind its address signed has others looked for.
        let events = webhooks.route(request).map_err(Refusal::Malformed)?;
        let elsewhere = match webhooks.address() {
            WebhookAddress::Organisation => self.elsewhere(connector, &events, &address, &mut broken).await?,
            WebhookAddress::Connection | WebhookAddress::OrganisationQuery(_) => Vec::new(),
        };
        let signed = |e: &&Endpoint| webhooks.verify_with(&e.settings, &e.secrets, request).is_ok();
        let also_signed_by: Vec<&Connection> =
            elsewhere.iter().flat_map(|a| &a.endpoints).filter(signed).map(|e| &e.connection).collect();
        // A provider that knows one account for each address is believed to mean it, and the mistake is shown.
        let takes_all = address.of_connection && webhooks.address() == WebhookAddress::Connection;
        let known: HashSet<&str> = elsewhere
            .iter()
            .flat_map(|a| &a.endpoints)
            .map(|e| &e.connection)
            .chain(broken.iter().map(|(connection, _)| connection))
            .filter_map(|connection| connection.account_id.as_deref())
            .collect();

        let mut own: HashMap<String, Vec<u8>> = match events.len() {
            0 | 1 => HashMap::new(),
            _ => webhooks.bodies(request).map_err(Refusal::Malformed)?.into_iter().collect(),
        };
        let mut receipt = Receipt::default();
        let mut deliveries = Vec::new();
        let mut withheld = None;
        for event in events {
            // What is another's by name is not taken for the lone connection's whose account is not known.
            let alone = signed_by.len() == 1 && event.account.as_deref().is_none_or(|a| !known.contains(a));
            let here = signed_by.iter().filter(|c| takes_all || concerns(&event, c, alone));
            let there =
                also_signed_by.iter().filter(|c| event.account.is_some() && concerns(&event, c, false));
            let concerned: Vec<&Connection> = here.chain(there).copied().collect();
            // Of one that may have signed it, had its secret been opened: the sender is to come again.
            let shut = broken.iter().position(|(c, _)| concerns(&event, c, false));
            if let Some(n) = shut.filter(|_| concerned.is_empty()) {
                withheld.get_or_insert(n);
                continue;
            }
            if concerned.is_empty() {
                receipt.unknown += 1;
                continue;
            }
            let body = own.remove(&event.id).unwrap_or_else(|| request.body.to_vec());
            deliveries.extend(concerned.into_iter().map(|connection| NewDelivery {
                org_id: connection.org_id.clone(),
                connection_id: connection.id.clone(),
                event_id: event.id.clone(),
                kind: event.kind.clone(),
                body: body.clone(),
                received_at: request.received_at,
            }));
        }
        if !deliveries.is_empty() {
            let accepted = self.gather.put(deliveries).await?;
            receipt.stored = accepted.iter().filter(|a| matches!(a, Accepted::New(_))).count();
            receipt.duplicates = accepted.len() - receipt.stored;
        }
        // The others' events are stored: one organisation's lost key holds nobody else back.
        match withheld {
            Some(n) => Err(Refusal::Broken(broken.swap_remove(n).1)),
            None => Ok(receipt),
        }
    }

    /// What is behind the addresses of the connections, of any organisation, that are of the accounts which the events
    /// name and are not behind this address. Whether their secrets signed the request is still to be asked.
    async fn elsewhere(
        &self,
        connector: &str,
        events: &[Event],
        here: &Address,
        broken: &mut Vec<Broken>,
    ) -> Result<Vec<Arc<Address>>, Refusal> {
        let accounts: HashSet<&str> = events.iter().filter_map(|event| event.account.as_deref()).collect();
        let key = connector.to_owned();
        let all = match self.connections.get(&key) {
            Some(all) => all,
            None => {
                let mut all = self.store.list_connections(None).await?;
                all.retain(|connection| connection.connector == connector);
                let all = Arc::new(all);
                self.connections.put(key, all.clone());
                all
            }
        };
        let is_behind = |one: &Connection| {
            here.endpoints
                .iter()
                .map(|e| &e.connection)
                .chain(broken.iter().map(|(c, _)| c))
                .any(|c| c.id == one.id)
        };
        let wanted: Vec<&Connection> = all
            .iter()
            .filter(|c| c.account_id.as_deref().is_some_and(|id| accounts.contains(id)) && !is_behind(c))
            .collect();
        let mut found = Vec::with_capacity(wanted.len());
        for connection in wanted {
            match self.address(connector, connection.id.as_str(), WebhookAddress::Connection).await {
                Ok((address, theirs)) => {
                    found.push(address);
                    broken.extend(theirs);
                }
                // Removed meanwhile.
                Err(Refusal::UnknownConnection) => {}
                Err(Refusal::Broken(error)) => broken.push((connection.clone(), error)),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Whom a request on the bare path means: the organisation that its query names, where the connector is sent to
    /// such an address; else the only connection of that connector, over all organisations. With several there is no
    /// telling, and trying every secret would let one tenant's secret open another's door.
    async fn unnamed(&self, connector: &str, address: WebhookAddress, url: &str) -> Result<String, Refusal> {
        if let (WebhookAddress::OrganisationQuery(parameter), Ok(url)) = (address, Url::parse(url)) {
            let mut named = url.query_pairs().filter(|(name, _)| name == parameter).map(|(_, value)| value);
            match (named.next(), named.next()) {
                (Some(one), None) => return Ok(one.into_owned()),
                (Some(_), Some(_)) => return Err(Refusal::UnknownConnection),
                (None, _) => {}
            }
        }
        let all = self.store.list_connections(None).await?;
        let mut ours = all.into_iter().filter(|c| c.connector == connector);
        match (ours.next(), ours.next()) {
            (Some(only), None) => Ok(only.id.0),
            _ => Err(Refusal::UnknownConnection),
        }
    }

    async fn address(
        &self,
        connector: &str,
        named: &str,
        address: WebhookAddress,
    ) -> Result<(Arc<Address>, Vec<Broken>), Refusal> {
        let key = (connector.to_owned(), named.to_owned());
        if let Some(found) = self.remembered.get(&key) {
            return Ok((found, Vec::new()));
        }
        // No id holds one, and databases refuse it.
        if named.contains('\0') {
            return Err(Refusal::UnknownConnection);
        }
        let connection = self.store.find_connection_any_org(&ConnectionId(named.to_owned())).await?;
        let of_connection = connection.is_some();
        let connections = match connection {
            Some(connection) => vec![connection],
            None if address == WebhookAddress::Connection => Vec::new(),
            None => self.store.list_connections(Some(&OrgId(named.to_owned()))).await?,
        };
        let mut found = Address { endpoints: Vec::new(), of_connection };
        let mut broken = Vec::new();
        for connection in connections.into_iter().filter(|c| c.connector == connector) {
            match self.providers.webhook_secrets(&connection).await {
                Ok(secrets) => {
                    let settings = ConnectionSettings::parse(&connection.config).map_err(SyncError::from)?;
                    found.endpoints.push(Endpoint { connection, settings: settings.connector, secrets });
                }
                Err(error @ SyncError::Credential(_)) => {
                    self.providers.note_unusable(&connection, &error).await?;
                    broken.push((connection, error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if found.endpoints.is_empty() && broken.is_empty() {
            return Err(Refusal::UnknownConnection);
        }
        let found = Arc::new(found);
        // What is broken may be mended any moment, and must be told each time.
        if broken.is_empty() {
            self.remembered.put(key, found.clone());
        }
        Ok((found, broken))
    }
}

/// Whether an event is about a connection's account. One that names none is about all; a connection whose account is
/// not known is taken for the one meant where it is the only one.
fn concerns(event: &Event, connection: &Connection, alone: bool) -> bool {
    match (&event.account, &connection.account_id) {
        (Some(theirs), Some(ours)) => theirs == ours,
        (Some(_), None) => alone,
        (None, _) => true,
    }
}
