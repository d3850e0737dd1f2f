//! Sessions: a connection with its settings, its secrets and its account's rate budget.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use connector_sdk::{
    Budget, Clock, ConnectorError, Demand, DynConnector, HttpClient, Io, Priority, Programs, Secrets,
    Session, WebhookAddress, WebhookSource,
};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::credentials::Keyring;
use super::links::LinkSettings;
use super::oauth::{ACCESS_TOKEN, App, OAuth, REFRESH_TOKEN, Registered};
use super::{SyncError, shared_rates};
use crate::domain::connections::{Connection, ConnectionStatus};
use crate::domain::ids::new_id;
use crate::store::rates::RateAsk;
use crate::store::settings::SealedSecret;
use crate::store::{self, Store};
use crate::webhooks::endpoint::webhook_path;

/// The name under which webhook secrets are kept; several slots may hold one each.
pub const WEBHOOK_SECRET: &str = "webhook_secret";

/// Opens sessions and knows the connectors of this build.
pub struct Providers {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    http: HttpClient,
    keyring: Arc<Keyring>,
    connectors: BTreeMap<&'static str, Arc<dyn DynConnector>>,
    oauth: OAuth,
    budgets: Mutex<HashMap<String, Arc<Budget>>>,
    /// What tells this process from others that share accounts with it.
    process: String,
}

impl Providers {
    /// Over the connectors of the registry.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        http: HttpClient,
        keyring: Arc<Keyring>,
        connectors: Vec<Arc<dyn DynConnector>>,
    ) -> Self {
        let connectors = connectors.into_iter().map(|c| (c.spec().id, c)).collect();
        let process = new_id("proc", &*clock);
        let oauth = OAuth::none(store.clone(), clock.clone(), keyring.clone());
        Self { store, clock, http, keyring, connectors, oauth, budgets: Mutex::default(), process }
    }

    /// With apps that are registered at providers, by connector.
    ///
    /// # Errors
    /// [`ConnectorError::Config`] for an app of a connector that there is not, or that takes no OAuth, and for an
    /// endpoint that is no https address.
    pub fn with_apps(mut self, apps: BTreeMap<String, App>) -> Result<Self, ConnectorError> {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        self.oauth =
            OAuth::new(apps, &self.connectors, store, clock, self.http.clone(), self.keyring.clone())?;
        Ok(self)
    }

    /// With programs of others that connectors may run.
    #[must_use]
    pub fn with_programs(mut self, programs: &Programs) -> Self {
        for connector in self.connectors.values_mut() {
            if let Some(able) = connector.with_programs(programs) {
                *connector = able;
            }
        }
        self
    }

    /// The app that is registered at a connector's provider.
    pub(crate) fn app(&self, connector: &str) -> Option<&Registered> {
        self.oauth.apps.get(connector)
    }

    /// Ends the grant of a connection at its provider; see [`Renewals::end`](super::oauth::Renewals::end).
    pub(crate) async fn end_grant(
        &self,
        connection: &Connection,
    ) -> Result<Option<Result<(), super::oauth::GrantError>>, SyncError> {
        Ok(self.oauth.renewals.end(connection).await?)
    }

    /// The connector of that id, or an error that names those there are.
    pub fn connector(&self, id: &str) -> Result<&Arc<dyn DynConnector>, SyncError> {
        self.connectors.get(id).ok_or_else(|| {
            let known: Vec<_> = self.connectors.keys().copied().collect();
            SyncError::Gone(format!("no connector {id:?} in this build; there are: {}", known.join(", ")))
        })
    }

    /// Every connector, by id.
    pub fn connectors(&self) -> impl Iterator<Item = &Arc<dyn DynConnector>> {
        self.connectors.values()
    }

    /// The keyring, for commands that seal.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Opens a session. Makes no call.
    pub async fn session(
        &self,
        connection: &Connection,
        priority: Priority,
    ) -> Result<Box<dyn Session>, SyncError> {
        // The grant first: tokens that are newer than what it says are only taken for older ones.
        let grant = self.store.find_grant(&connection.org_id, &connection.id).await?;
        let sealed = self.store.load_secrets(&connection.org_id, &connection.id).await?;
        let mut secrets = BTreeMap::new();
        for secret in sealed.iter().filter(|s| s.name != WEBHOOK_SECRET) {
            // The refresh token is opened to see that it opens, not to be handed on.
            let opened = self.unseal(connection, secret)?;
            if secret.name != REFRESH_TOKEN {
                secrets.insert(secret.name.clone(), opened);
            }
        }
        let http = match (grant, secrets.get(ACCESS_TOKEN)) {
            (Some(grant), Some(token)) => {
                let tokens = self.oauth.renewals.tokens(connection, grant, token.clone());
                self.http.clone().authorized(Arc::new(tokens))
            }
            _ => self.http.clone(),
        };
        self.open_session(connection, Secrets(secrets), priority, http)
    }

    /// Opens a session with secrets that are not stored yet (`connect` checks before it saves).
    pub fn session_with(
        &self,
        connection: &Connection,
        secrets: Secrets,
        priority: Priority,
    ) -> Result<Box<dyn Session>, SyncError> {
        self.open_session(connection, secrets, priority, self.http.clone())
    }

    fn open_session(
        &self,
        connection: &Connection,
        secrets: Secrets,
        priority: Priority,
        http: HttpClient,
    ) -> Result<Box<dyn Session>, SyncError> {
        let connector = self.connector(&connection.connector)?;
        let settings = ConnectionSettings::parse(&connection.config)?;
        let budget = self.budget(connection, settings.rate_limit)?;
        let io = Io { http, clock: self.clock.clone(), budget, priority };
        Ok(connector.open(&settings.connector, secrets, io)?)
    }

    /// Live webhook secrets of a connection: all that have not expired.
    pub async fn webhook_secrets(&self, connection: &Connection) -> Result<Vec<SecretString>, SyncError> {
        let now = self.clock.now();
        let sealed = self.store.load_secrets(&connection.org_id, &connection.id).await?;
        sealed
            .iter()
            .filter(|s| s.name == WEBHOOK_SECRET && s.expires_at.is_none_or(|at| at > now))
            .map(|s| self.unseal(connection, s))
            .collect()
    }

    fn unseal(&self, connection: &Connection, secret: &SealedSecret) -> Result<SecretString, SyncError> {
        Ok(self.keyring.open(&connection.org_id, &connection.id, secret)?)
    }

    /// Where the provider is told to send a connection's webhooks, below the public address.
    pub fn webhook_path(&self, connection: &Connection) -> String {
        let driver = self.connectors.get(connection.connector.as_str());
        let address = driver.and_then(|driver| driver.webhooks()).map(WebhookSource::address);
        let bare = format!("/api/integrations/{}/webhook", connection.connector);
        match address.unwrap_or_default() {
            WebhookAddress::Connection => webhook_path(connection),
            WebhookAddress::Organisation => format!("{bare}/{}", connection.org_id),
            WebhookAddress::OrganisationQuery(name) => format!("{bare}?{name}={}", connection.org_id),
        }
    }

    /// Lets a connection need attention when only a person can mend what was met. One that is paused, or needs
    /// attention already, stays as it is.
    ///
    /// # Errors
    /// The store's.
    pub async fn note_unusable(&self, connection: &Connection, error: &SyncError) -> store::Result<()> {
        if connection.status != ConnectionStatus::Active || !error.needs_person() {
            return Ok(());
        }
        let (status, why) = (ConnectionStatus::NeedsAttention, error.to_string());
        let (org, now) = (&connection.org_id, self.clock.now());
        self.store.set_connection_status(org, &connection.id, status, Some(&why), now).await
    }

    /// One budget for an account, whichever connection reads it.
    fn budget(&self, connection: &Connection, limit: RateLimit) -> Result<Arc<Budget>, SyncError> {
        if limit == RateLimit::None {
            return Ok(Arc::new(Budget::unlimited()));
        }
        let account = connection.account_id.as_deref().unwrap_or(connection.id.as_str());
        let key = format!("{}/{account}", connection.connector);
        let limits = self.connector(&connection.connector)?.spec().budget;
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = budgets.get(&key) {
            return Ok(budget.clone());
        }
        // Whoever holds an SQLite file reads its accounts alone; a Postgres database may have any number of
        // processes.
        let budget = if self.store.engine() == "sqlite" {
            Arc::new(Budget::new(limits, connection.mode))
        } else {
            let budget = Arc::new(Budget::fed(limits, connection.mode));
            let ask = RateAsk {
                account: key.clone(),
                process: self.process.clone(),
                per_second: limits.per_second(connection.mode),
                per_endpoint_per_second: limits.per_endpoint_per_second,
                demand: Demand::default(),
            };
            shared_rates::feed(&budget, self.store.clone(), self.clock.clone(), ask);
            budget
        };
        budgets.insert(key, budget.clone());
        Ok(budget)
    }
}

/// A connection's settings: ours, and the connector's.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionSettings {
    /// How parties find companies.
    pub link: LinkSettings,
    /// Whose rate budget holds.
    pub rate_limit: RateLimit,
    /// Every other member; the connector refuses what it does not know.
    pub connector: Value,
}

/// Whose rate budget holds (member `rate_limit` of a connection's settings).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateLimit {
    /// The connector's, learning from the provider's answers.
    #[default]
    Provider,
    /// None: for a sandbox. Refused unless `base_url` is a loopback address.
    None,
}

impl ConnectionSettings {
    /// Splits a connection's settings.
    ///
    /// # Errors
    /// [`ConnectorError::Config`] that names the member.
    pub fn parse(config: &Value) -> Result<Self, ConnectorError> {
        let mut members = match config {
            Value::Object(members) => members.clone(),
            Value::Null => serde_json::Map::new(),
            _ => return Err(ConnectorError::Config("settings: an object is expected".to_owned())),
        };
        let link: LinkSettings = member(&mut members, "link")?;
        let rate_limit: RateLimit = member(&mut members, "rate_limit")?;
        if rate_limit == RateLimit::None && !is_loopback(members.get("base_url")) {
            return Err(ConnectorError::Config(
                "rate_limit: none is for a sandbox on this machine; base_url is not a loopback address"
                    .to_owned(),
            ));
        }
        Ok(Self { link, rate_limit, connector: Value::Object(members) })
    }
}

fn member<T: DeserializeOwned + Default>(
    members: &mut serde_json::Map<String, Value>,
    name: &str,
) -> Result<T, ConnectorError> {
    match members.remove(name) {
        None => Ok(T::default()),
        Some(value) => serde_path_to_error::deserialize(value)
            .map_err(|e| ConnectorError::Config(format!("{name}.{}: {}", e.path(), e.inner()))),
    }
}

fn is_loopback(base_url: Option<&Value>) -> bool {
    let host = base_url.and_then(Value::as_str).and_then(|u| url::Url::parse(u).ok());
    match host.as_ref().and_then(url::Url::host) {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
