//! The endpoint at the provider that sends a connection's webhooks: registered, looked after, removed.
//!
//! It is found again by the id that we stored, by the mark that we gave it, or by its address. The secret is told
//! once, when an endpoint is made; one of ours whose secret we do not have is replaced.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use connector_sdk::{
    Clock, ConnectorError, Endpoint, EndpointAdmin, Mode, Priority, Session, Spec, Timestamp,
};
use serde::Serialize;
use serde_json::json;

use crate::domain::ConnectionId;
use crate::domain::connections::{Connection, ConnectionStatus};
use crate::domain::jobs::{JobOutcome, NewJob};
use crate::domain::watch::{EndpointFault, WebhookEndpoint};
use crate::jobs::{JobContext, JobHandler, Scan};
use crate::store::settings::SealedSecret;
use crate::store::{self, Store};
use crate::sync::SyncError;
use crate::sync::providers::{Providers, WEBHOOK_SECRET};

/// The kind of the job that looks at a connection's endpoint.
pub const CHECK_JOB: &str = "webhooks.endpoint";
/// How often each endpoint is looked at.
const EVERY: TimeDelta = TimeDelta::hours(1);
/// How long a replaced secret is still accepted: what the old endpoint sent may still be tried again.
const ROTATION: TimeDelta = TimeDelta::hours(24);

/// The connection's own address for webhooks, below the public address. What its provider is told may be another
/// ([`Providers::webhook_path`]).
pub fn webhook_path(connection: &Connection) -> String {
    format!("/api/integrations/{}/webhook/{}", connection.connector, connection.id)
}

/// Looks after endpoints.
#[derive(Clone)]
pub struct Endpoints {
    store: Arc<dyn Store>,
    providers: Arc<Providers>,
    clock: Arc<dyn Clock>,
    /// The address that the world reaches us by, without a trailing slash, where it is set.
    public_url: Option<String>,
}

/// What registering did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// There was none.
    Created,
    /// There was one as it should be.
    Unchanged,
    /// Address, event types or its being enabled were put right.
    Updated,
    /// A new one took the place of ours, whose API version or secret was not right.
    Replaced,
    /// One that a person made is kept and has the right event types now.
    Adopted,
}

/// Why an endpoint is not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The connector's provider has no such API.
    #[error("{0} has no API that registers webhooks: make the endpoint there by hand")]
    NotOffered(&'static str),
    /// Nobody said how the world reaches us.
    #[error("the address that the provider is to send to is not known")]
    NoPublicUrl,
    /// A live account only sends to https.
    #[error("a live account sends webhooks to https only, not to {0}")]
    NotHttps(String),
    /// A person made an endpoint with this address, and its secret was not given to us.
    #[error("endpoint {0} with this address exists already, and its signing secret is not known here")]
    Foreign(String),
    /// The provider, the store, a secret.
    #[error(transparent)]
    Sync(#[from] SyncError),
}

impl From<ConnectorError> for RegisterError {
    fn from(error: ConnectorError) -> Self {
        Self::Sync(error.into())
    }
}

impl From<store::StoreError> for RegisterError {
    fn from(error: store::StoreError) -> Self {
        Self::Sync(error.into())
    }
}

impl Endpoints {
    /// Over the store and the providers.
    pub fn new(
        store: Arc<dyn Store>,
        providers: Arc<Providers>,
        clock: Arc<dyn Clock>,
        public_url: Option<String>,
    ) -> Self {
        Self { store, providers, clock, public_url }
    }

    fn wanted_url(&self, connection: &Connection) -> Option<String> {
        self.public_url.as_ref().map(|base| address(base, &self.providers.webhook_path(connection)))
    }

    /// Looks at the connection's endpoint and keeps what was seen. `None` where there is nothing to look at: the
    /// provider has no such API, or neither an endpoint of ours nor our public address is known.
    ///
    /// # Errors
    /// The provider's, and the store's.
    pub async fn inspect(
        &self,
        connection: &Connection,
        session: &dyn Session,
    ) -> Result<Option<WebhookEndpoint>, SyncError> {
        let known = self.store.find_endpoint(&connection.org_id, &connection.id).await?;
        let wanted = self.wanted_url(connection);
        let Some(url) = wanted.clone().or_else(|| known.as_ref().map(|k| k.url.clone())) else {
            return Ok(None);
        };
        let Some(admin) = session.endpoints() else { return Ok(None) };
        let mut seen = WebhookEndpoint {
            connection_id: connection.id.clone(),
            endpoint_id: known.as_ref().and_then(|k| k.endpoint_id.clone()),
            url: url.clone(),
            made_by_us: known.as_ref().is_some_and(|k| k.made_by_us),
            secret_slot: known.as_ref().and_then(|k| k.secret_slot),
            faults: Vec::new(),
            checked_at: self.clock.now(),
        };
        match admin.list().await {
            Ok(all) => {
                let spec = self.providers.connector(&connection.connector)?.spec();
                let found = find(&all, known.as_ref(), connection, &url);
                if let Some(found) = found {
                    seen.endpoint_id = Some(found.id.clone());
                } else if !seen.made_by_us {
                    seen.endpoint_id = None;
                }
                let mut has_secret = true;
                if found.is_some() {
                    has_secret = !self.providers.webhook_secrets(connection).await?.is_empty();
                }
                seen.faults = faults(&spec, connection, found, &url, has_secret);
            }
            Err(ConnectorError::NotOffered(_)) => {
                // Kept, so that it is not asked for again before its time.
                self.store.put_endpoint(&connection.org_id, &seen).await?;
                return Ok(None);
            }
            // Credentials that may only read objects are good ones; whoever registered through the API is told.
            Err(ConnectorError::Auth { missing_permission: Some(permission), .. }) => {
                if seen.made_by_us {
                    let message = format!(
                        "whether its endpoint is well cannot be seen: permission {permission} is missing"
                    );
                    seen.faults = vec![fault(
                        "not_permitted",
                        message,
                        format!("grant the key the permission {permission}"),
                    )];
                } else if known.is_none() {
                    seen.endpoint_id = None;
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.store.put_endpoint(&connection.org_id, &seen).await?;
        Ok(Some(seen))
    }

    /// Makes the connection's endpoint, or puts the one there is right. `base` is the public address, where it is
    /// not the configured one.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub async fn register(
        &self,
        connection: &Connection,
        base: Option<&str>,
    ) -> Result<(Registration, WebhookEndpoint), RegisterError> {
        let url = base
            .map(|base| address(base, &self.providers.webhook_path(connection)))
            .or_else(|| self.wanted_url(connection));
        let url = url.ok_or(RegisterError::NoPublicUrl)?;
        if connection.mode == Mode::Live && !url.starts_with("https://") {
            return Err(RegisterError::NotHttps(url));
        }
        let spec = self.providers.connector(&connection.connector)?.spec();
        let session = self.providers.session(connection, Priority::Webhook).await?;
        let admin = session.endpoints().ok_or(RegisterError::NotOffered(spec.display_name))?;
        let known = self.store.find_endpoint(&connection.org_id, &connection.id).await?;
        let all = admin.list().await?;
        let found = find(&all, known.as_ref(), connection, &url);
        let slots = self.live_slots(connection).await?;
        let known_secret = |endpoint: &Endpoint| {
            let known = known.as_ref().filter(|k| k.endpoint_id.as_deref() == Some(endpoint.id.as_str()));
            known.and_then(|k| k.secret_slot).filter(|slot| slots.contains(slot))
        };
        let (did, endpoint, slot, ours) = match found {
            None => {
                let (endpoint, slot) = self.make(connection, admin, &url).await?;
                (Registration::Created, endpoint, Some(slot), true)
            }
            Some(found) if found.tag.as_deref() != Some(connection.id.as_str()) => {
                if slots.is_empty() {
                    return Err(RegisterError::Foreign(found.id.clone()));
                }
                let endpoint = admin.update(&found.id, &url).await?;
                (Registration::Adopted, endpoint, None, false)
            }
            Some(found) => match known_secret(found) {
                Some(slot) if version_fault(&spec, found).is_none() => {
                    let right = found.enabled && found.url == url && missing_events(&spec, found).is_empty();
                    let (did, endpoint) = match right {
                        true => (Registration::Unchanged, found.clone()),
                        false => (Registration::Updated, admin.update(&found.id, &url).await?),
                    };
                    (did, endpoint, Some(slot), true)
                }
                old => {
                    let (endpoint, slot) = self.make(connection, admin, &url).await?;
                    self.retire(connection, old).await?;
                    (Registration::Replaced, endpoint, Some(slot), true)
                }
            },
        };
        // Ours that were left behind, by the replacement or by a registration that was cut off.
        for other in all.iter().filter(|e| e.tag.as_deref() == Some(connection.id.as_str())) {
            if other.id != endpoint.id {
                admin.remove(&other.id).await?;
            }
        }
        let seen = WebhookEndpoint {
            connection_id: connection.id.clone(),
            endpoint_id: Some(endpoint.id.clone()),
            faults: faults(&spec, connection, Some(&endpoint), &url, true),
            url,
            made_by_us: ours,
            secret_slot: slot,
            checked_at: self.clock.now(),
        };
        self.store.put_endpoint(&connection.org_id, &seen).await?;
        Ok((did, seen))
    }

    /// Removes the endpoint from the provider, if we made it. Its id, if there was one.
    ///
    /// # Errors
    /// The provider's, and the store's.
    pub async fn remove(&self, connection: &Connection) -> Result<Option<String>, SyncError> {
        let Some(id) = self.made_by_us(connection).await? else { return Ok(None) };
        let session = self.providers.session(connection, Priority::Webhook).await?;
        if let Some(admin) = session.endpoints() {
            admin.remove(&id).await?;
        }
        Ok(Some(id))
    }

    /// The id of the endpoint that we made for the connection.
    ///
    /// # Errors
    /// The store's.
    pub async fn made_by_us(&self, connection: &Connection) -> Result<Option<String>, SyncError> {
        let known = self.store.find_endpoint(&connection.org_id, &connection.id).await?;
        Ok(known.filter(|k| k.made_by_us).and_then(|k| k.endpoint_id))
    }

    async fn live_slots(&self, connection: &Connection) -> Result<Vec<i64>, SyncError> {
        let now = self.clock.now();
        let all = self.store.load_secrets(&connection.org_id, &connection.id).await?;
        let live = |s: &&SealedSecret| s.name == WEBHOOK_SECRET && s.expires_at.is_none_or(|at| at > now);
        Ok(all.iter().filter(live).map(|s| s.slot).collect())
    }

    /// Makes an endpoint and keeps its secret, sealed, in a new slot.
    async fn make(
        &self,
        connection: &Connection,
        admin: &dyn EndpointAdmin,
        url: &str,
    ) -> Result<(Endpoint, i64), SyncError> {
        let made = admin.create(url, connection.id.as_str()).await?;
        let all = self.store.load_secrets(&connection.org_id, &connection.id).await?;
        let slot = all.iter().filter(|s| s.name == WEBHOOK_SECRET).map(|s| s.slot + 1).max().unwrap_or(0);
        let sealed = self.providers.keyring().seal(
            &connection.org_id,
            &connection.id,
            WEBHOOK_SECRET,
            slot,
            &made.secret,
        )?;
        self.store.put_secret(&connection.org_id, &connection.id, &sealed).await?;
        Ok((made.endpoint, slot))
    }

    /// Lets the secret of a replaced endpoint end, a day from now.
    async fn retire(&self, connection: &Connection, slot: Option<i64>) -> Result<(), SyncError> {
        let until = self.clock.now() + ROTATION;
        let all = self.store.load_secrets(&connection.org_id, &connection.id).await?;
        for mut old in all {
            if old.name == WEBHOOK_SECRET && Some(old.slot) == slot {
                old.expires_at = Some(old.expires_at.map_or(until, |at| at.min(until)));
                self.store.put_secret(&connection.org_id, &connection.id, &old).await?;
            }
        }
        Ok(())
    }
}

/// The connection's address below a public one; an address that is that already stays.
fn address(base: &str, path: &str) -> String {
    let base = base.trim_end_matches('/');
    if base.ends_with(path) { base.to_owned() } else { format!("{base}{path}") }
}

fn find<'a>(
    all: &'a [Endpoint],
    known: Option<&WebhookEndpoint>,
    connection: &Connection,
    url: &str,
) -> Option<&'a Endpoint> {
    let stored = known.and_then(|k| k.endpoint_id.as_deref());
    all.iter()
        .find(|e| Some(e.id.as_str()) == stored)
        .or_else(|| all.iter().find(|e| e.tag.as_deref() == Some(connection.id.as_str())))
        .or_else(|| all.iter().find(|e| e.url == url))
}

fn version_fault(spec: &Spec, found: &Endpoint) -> Option<String> {
    let version = found.api_version.as_ref()?;
    (version != spec.api_version).then(|| version.clone())
}

fn missing_events(spec: &Spec, found: &Endpoint) -> Vec<&'static str> {
    match &found.events {
        None => Vec::new(),
        Some(events) => {
            spec.webhook_events.iter().copied().filter(|wanted| !events.iter().any(|e| e == wanted)).collect()
        }
    }
}

fn fault(code: &str, message: String, hint: String) -> EndpointFault {
    EndpointFault { code: code.to_owned(), message, hint }
}

/// What is wrong with an endpoint.
fn faults(
    spec: &Spec,
    connection: &Connection,
    found: Option<&Endpoint>,
    url: &str,
    has_secret: bool,
) -> Vec<EndpointFault> {
    let vendor = spec.display_name;
    let register = || format!("halo-sync webhooks register {}", connection.name);
    let Some(found) = found else {
        let message =
            format!("{vendor} has no endpoint that sends to {url}: changes are seen at the next read only");
        return vec![fault("missing", message, register())];
    };
    let id = &found.id;
    let mut faults = Vec::new();
    if !found.enabled {
        let message = format!(
            "{vendor} has disabled endpoint {id}: it sends nothing, and what it did not send is seen at the next read only"
        );
        faults.push(fault("disabled", message, register()));
    }
    if found.url != url {
        let message = format!("endpoint {id} sends to {}, not to {url}", found.url);
        faults.push(fault("other_url", message, register()));
    }
    if let Some(version) = version_fault(spec, found) {
        let message = format!(
            "endpoint {id} sends API version {version}, and {} is what is read here",
            spec.api_version
        );
        let ours = found.tag.as_deref() == Some(connection.id.as_str());
        let hint =
            if ours { register() } else { format!("delete endpoint {id} at {vendor}, then: {}", register()) };
        faults.push(fault("wrong_version", message, hint));
    }
    let missing = missing_events(spec, found);
    if !missing.is_empty() {
        let message =
            format!("endpoint {id} does not send {} event types: {}", missing.len(), missing.join(", "));
        faults.push(fault("missing_events", message, register()));
    }
    if !has_secret {
        let message =
            format!("the signing secret of endpoint {id} is not known here: what it sends is refused");
        let hint = format!(
            "halo-sync connect {} --name {} --api-key-file FILE --webhook-secret-file FILE",
            connection.connector, connection.name
        );
        faults.push(fault("no_secret", message, hint));
    }
    faults
}

/// The job that looks at a connection's endpoint.
pub fn check_job(org: &crate::domain::OrgId, connection: &ConnectionId, at: Timestamp) -> NewJob {
    NewJob {
        kind: CHECK_JOB,
        org_id: org.clone(),
        connection_id: Some(connection.clone()),
        dedupe_key: Some(format!("{CHECK_JOB}:{connection}")),
        args: json!({}),
        run_at: at,
        priority: 20,
        max_attempts: 3,
    }
}

/// The handler of [`CHECK_JOB`].
pub struct CheckHandler(pub Endpoints);

#[async_trait]
impl JobHandler for CheckHandler {
    fn kind(&self) -> &'static str {
        CHECK_JOB
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(120)
    }

    async fn run(&self, cx: JobContext) -> JobOutcome {
        let Endpoints { store, providers, .. } = &self.0;
        let looked = async {
            let Some(id) = &cx.job.connection_id else { return Ok(None) };
            let Some(connection) = store.find_connection(&cx.job.org_id, id.as_str()).await? else {
                return Ok(None);
            };
            if connection.status != ConnectionStatus::Active {
                return Ok(None);
            }
            let seen = async {
                let session = providers.session(&connection, Priority::Incremental).await?;
                self.0.inspect(&connection, &*session).await
            };
            match seen.await {
                Err(error @ SyncError::Credential(_)) => {
                    providers.note_unusable(&connection, &error).await?;
                    Ok(None)
                }
                seen => seen,
            }
        };
        match looked.await {
            Ok(seen) => {
                for fault in seen.iter().flat_map(|seen| &seen.faults) {
                    tracing::warn!(connection = ?cx.job.connection_id, fault = fault.code, "webhook endpoint: {}", fault.message);
                }
                JobOutcome::Done
            }
            // The next hour asks again; what is wrong with the credentials is seen by reading.
            Err(SyncError::Connector(error)) => {
                tracing::debug!(connection = ?cx.job.connection_id, %error, "the webhook endpoint could not be looked at");
                JobOutcome::Done
            }
            Err(error) => error.outcome(cx.now()),
        }
    }
}

/// Endpoints that nobody has looked at for an hour.
pub struct UnseenEndpoints {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Whether our public address is known, by which endpoints are found that were made by hand.
    pub by_url: bool,
}

#[async_trait]
impl Scan for UnseenEndpoints {
    fn name(&self) -> &'static str {
        "webhooks.endpoints"
    }

    fn every(&self) -> Duration {
        Duration::from_secs(300)
    }

    async fn run(&self, now: Timestamp) -> store::Result<u64> {
        let known = self.store.list_endpoints().await?;
        let mut jobs = Vec::new();
        for connection in self.store.list_connections(None).await? {
            let seen = known.iter().find(|k| k.connection_id == connection.id);
            let due = seen.map_or(self.by_url, |seen| seen.checked_at <= now - EVERY);
            if due && connection.status == ConnectionStatus::Active {
                jobs.push(check_job(&connection.org_id, &connection.id, now));
            }
        }
        let found = jobs.len() as u64;
        if found > 0 {
            self.store.push_jobs(jobs).await?;
        }
        Ok(found)
    }
}
