//! A sandbox HubSpot: one portal with companies, contacts, deals, tickets and engagements, on the loopback.
//!
//! It answers under date versions (`/crm/objects/2026-03/…`) and the numbered ones before them, takes the writes
//! that matter, sends batches of signed events, keeps HubSpot's limits when told to, counts calls, and fails on
//! demand. What callers trip over is in it: searches that end at 10,000 results, know nothing of archived objects
//! and lag behind, bodies and addresses that are too long, lists of associations that are cut, batches that fail in
//! part, merged ids that answer with another object.
//!
//! It is no HubSpot: there are no pipelines, schemas, lists or custom objects in it, and a value is kept as it is
//! written.

mod demo;
mod events;
mod limits;
mod read;
mod refusal;
mod seed;
mod server;
mod store;
mod write;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector_sdk::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use demo::Demo;
pub use events::{BATCH, Delivered, SandboxEvent, batch, sign_v1, sign_v2, sign_v3};
pub use limits::Limits;
pub use store::{KINDS, Kind};

use super::arrivals::Arrivals;
use super::faults::{Faults, Sending, WebhookFaults};
use super::oauth::{OAuthServer, Paths, Refusals};
use events::{Outbox, Portal};
use limits::Spent;
use refusal::Refusal;
use store::Store;

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The token that is accepted.
    pub access_token: String,
    /// The portal's id.
    pub portal: u64,
    /// The portal's name.
    pub name: String,
    /// `STANDARD`, `SANDBOX`, `DEVELOPER_TEST`.
    pub account_type: String,
    /// The portal's currency.
    pub currency: String,
    /// The app that sends webhooks.
    pub app: u64,
    /// The app's secret, with which webhooks are signed.
    pub client_secret: String,
    /// Associations of one object that a batch shows at once.
    pub association_page: usize,
    /// Time: that of objects, events and answers, and of signatures.
    pub clock: Arc<dyn Clock>,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // In two parts, so that no scanner takes it for somebody's token.
            access_token: concat!("pat-na1", "-sandbox-0123456789").to_owned(),
            portal: 62_515,
            name: "Sandbox Inc.".to_owned(),
            account_type: "STANDARD".to_owned(),
            currency: "USD".to_owned(),
            app: 54_321,
            client_secret: "sandbox-client-secret".to_owned(),
            association_page: 500,
            clock: Arc::new(SystemClock),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

/// Where HubSpot has its OAuth endpoints (version 2026-03, and the older way to end a grant).
const OAUTH: Paths = Paths {
    authorize: "/oauth/authorize",
    token: "/oauth/2026-03/token",
    revoke: Some("/oauth/2026-03/token/revoke"),
    delete: Some("/oauth/v1/refresh-tokens/"),
    refusals: Refusals::HubSpot,
};

/// What the server and the handle share.
#[derive(Debug)]
struct Inner {
    options: Options,
    access_token: Mutex<String>,
    oauth: OAuthServer,
    store: Mutex<Store>,
    outbox: Mutex<Outbox>,
    faults: Faults,
    arrivals: Arrivals,
    counts: Mutex<BTreeMap<String, u64>>,
    forbidden: Mutex<HashSet<String>>,
    limits: Mutex<Option<Limits>>,
    spent: Mutex<Spent>,
    /// How far the search index lags behind, in milliseconds.
    index_lag: Mutex<i64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn now(&self) -> i64 {
        self.options.clock.now().timestamp_millis()
    }

    fn portal(&self) -> Portal {
        Portal { id: self.options.portal, app: self.options.app }
    }
}

/// What the sandbox refused, in HubSpot's words.
#[derive(Debug, Clone, thiserror::Error)]
#[error("HTTP {status}: {message}")]
pub struct Refused {
    /// The status.
    pub status: u16,
    /// The sentence.
    pub message: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.status, message: refusal.message }
    }
}

/// A running sandbox; it stops when this is dropped.
#[derive(Debug)]
pub struct HubSpotSandbox {
    inner: Arc<Inner>,
    address: SocketAddr,
    client: reqwest::Client,
    task: JoinHandle<()>,
}

impl Drop for HubSpotSandbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HubSpotSandbox {
    /// Starts a sandbox with an empty portal.
    ///
    /// # Errors
    /// When the address is taken or no HTTP client can be built.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        crate::install_crypto();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(20))
            .no_proxy()
            .build()
            .map_err(std::io::Error::other)?;
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let inner = Arc::new(Inner {
            access_token: Mutex::new(options.access_token.clone()),
            oauth: OAuthServer::new(OAUTH, &options.client_secret, Arc::clone(&options.clock)),
            options,
            store: Mutex::default(),
            outbox: Mutex::default(),
            faults: Faults::default(),
            arrivals: Arrivals::default(),
            counts: Mutex::default(),
            forbidden: Mutex::default(),
            limits: Mutex::default(),
            spent: Mutex::default(),
            index_lag: Mutex::default(),
        });
        let task = tokio::spawn(server::serve(listener, Arc::clone(&inner)));
        Ok(Self { inner, address, client, task })
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The accepted token.
    #[must_use]
    pub fn access_token(&self) -> String {
        lock(&self.inner.access_token).clone()
    }

    /// The OAuth server, whose access tokens are accepted beside the fixed one.
    #[must_use]
    pub fn oauth(&self) -> &OAuthServer {
        &self.inner.oauth
    }

    /// Accepts another token from now on, and the old one no more.
    pub fn set_access_token(&self, token: &str) {
        token.clone_into(&mut lock(&self.inner.access_token));
    }

    /// The secret that webhooks are signed with.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.inner.options.client_secret
    }

    /// The portal's id.
    #[must_use]
    pub fn portal(&self) -> u64 {
        self.inner.options.portal
    }

    /// Faults for coming calls.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    // --- objects

    /// A write as the API takes it (`PATCH`, `/crm/objects/2026-03/companies/1`), without HTTP.
    ///
    /// # Errors
    /// What HubSpot would refuse.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, Refused> {
        write::call(&self.inner, method, path, body).map_err(Refused::from)
    }

    /// Makes an object with these properties; its id.
    pub fn create(&self, kind: Kind, properties: &Value) -> u64 {
        self.inner.create(kind, write::properties(properties))
    }

    /// Changes properties of a live object; false when there is none.
    pub fn update(&self, kind: Kind, id: u64, properties: &Value) -> bool {
        self.inner.update(kind, id, write::properties(properties)).is_some()
    }

    /// Archives an object; false when there is none.
    pub fn archive(&self, kind: Kind, id: u64) -> bool {
        self.inner.archive(kind, id)
    }

    /// Brings an archived object back; false when there is none.
    pub fn restore(&self, kind: Kind, id: u64) -> bool {
        self.inner.restore(kind, id)
    }

    /// Merges two objects into a new one, whose id it gives; `None` where that cannot be. Both old ids answer with it
    /// (<https://developers.hubspot.com/changelog/updated-merge-functionality-for-contacts-and-companies>).
    pub fn merge(&self, kind: Kind, primary: u64, merged: u64) -> Option<u64> {
        self.inner.merge(kind, primary, merged)
    }

    /// Merges the second into the first, which keeps its id, as HubSpot did with companies and contacts before; false
    /// where that cannot be.
    pub fn merge_into(&self, kind: Kind, primary: u64, merged: u64) -> bool {
        self.inner.merge_into(kind, primary, merged)
    }

    /// Deletes a contact for good, as their right to be forgotten demands; false when there is none.
    pub fn erase_contact(&self, id: u64) -> bool {
        self.inner.erase(id)
    }

    /// Associates two objects; `primary` makes a company the main one of the first.
    pub fn associate(&self, from: (Kind, u64), to: (Kind, u64), primary: bool) {
        self.inner.associate(from, to, primary);
    }

    /// Undoes an association; false when there is none.
    pub fn dissociate(&self, from: (Kind, u64), to: (Kind, u64)) -> bool {
        self.inner.dissociate(from, to)
    }

    /// Adds an owner; their id.
    pub fn add_owner(&self, email: &str, first: &str, last: &str, archived: bool) -> u64 {
        let at = store::time(self.inner.now());
        let mut store = lock(&self.inner.store);
        let id = store.new_id();
        let doc = json!({
            "id": id.to_string(), "email": email, "type": "PERSON", "firstName": first, "lastName": last,
            "userId": (!archived).then_some(id), "userIdIncludingInactive": id,
            "createdAt": at, "updatedAt": at, "archived": archived,
        });
        store.owners.insert(id, doc);
        id
    }

    /// Defines a property of companies, contacts, deals or tickets; with options it is an enumeration.
    pub fn define_property(&self, kind: Kind, name: &str, label: &str, options: &[(&str, &str)]) {
        self.inner.define(kind, name, label, options);
    }

    /// Removes a definition; false when there is none.
    pub fn drop_property(&self, kind: Kind, name: &str) -> bool {
        lock(&self.inner.store).definitions.get_mut(&kind).is_some_and(|all| all.remove(name).is_some())
    }

    /// Ids of the live objects of a kind, ascending.
    #[must_use]
    pub fn ids(&self, kind: Kind) -> Vec<u64> {
        lock(&self.inner.store).of(kind).filter(|o| o.archived_at.is_none()).map(|o| o.id).collect()
    }

    /// Ids of the owners, the archived ones included.
    #[must_use]
    pub fn owner_ids(&self) -> Vec<u64> {
        lock(&self.inner.store).owners.keys().copied().collect()
    }

    /// Names of the defined properties, with their object type.
    #[must_use]
    pub fn property_names(&self) -> Vec<(Kind, String)> {
        let store = lock(&self.inner.store);
        let all = store.definitions.iter();
        all.flat_map(|(kind, names)| names.keys().map(|name| (*kind, name.clone()))).collect()
    }

    /// Adds `n` companies with a contact and a won deal each, a day apart. No events.
    pub fn seed(&self, n: usize) {
        seed::companies(&self.inner, n);
    }

    /// Fills an empty portal with customers of the sandbox Stripe's demo, by their domains. No events. `None` where the
    /// portal is not empty.
    pub fn seed_demo(&self) -> Option<Demo> {
        demo::seed(&self.inner)
    }

    /// Lets the demo's company grow and open a ticket.
    pub fn demo_change(&self, demo: &Demo) {
        demo::change(&self.inner, demo);
    }

    /// How far searches lag behind from now on.
    pub fn set_index_lag(&self, lag: Duration) {
        *lock(&self.inner.index_lag) = i64::try_from(lag.as_millis()).unwrap_or(i64::MAX);
    }

    // --- calls

    /// Keeps these limits from now on.
    pub fn set_limits(&self, limits: Option<Limits>) {
        *lock(&self.inner.limits) = limits;
        *lock(&self.inner.spent) = Spent::default();
    }

    /// When calls arrive.
    #[must_use]
    pub fn arrivals(&self) -> &Arrivals {
        &self.inner.arrivals
    }

    /// How many calls the limits refused.
    #[must_use]
    pub fn refused_calls(&self) -> u64 {
        lock(&self.inner.spent).refused
    }

    /// How often an operation was called (`GET companies`, `POST companies/search`, `POST contacts/companies` for
    /// associations).
    #[must_use]
    pub fn calls(&self, operation: &str) -> u64 {
        lock(&self.inner.counts).get(operation).copied().unwrap_or(0)
    }

    /// All calls by operation.
    #[must_use]
    pub fn all_calls(&self) -> BTreeMap<String, u64> {
        lock(&self.inner.counts).clone()
    }

    /// Forgets the counts.
    pub fn reset_calls(&self) {
        lock(&self.inner.counts).clear();
    }

    /// Takes the scope of a stream away (`companies`, `owners`, `properties`, `account`); `false` gives it back.
    pub fn forbid(&self, stream: &str, forbidden: bool) {
        let mut streams = lock(&self.inner.forbidden);
        if forbidden {
            streams.insert(stream.to_owned());
        } else {
            streams.remove(stream);
        }
    }

    // --- webhooks

    /// Posts events to that URL from now on.
    pub fn register_webhook(&self, url: &str) {
        lock(&self.inner.outbox).urls.push(url.to_owned());
    }

    /// Takes the waiting events out without posting them.
    #[must_use]
    pub fn take_events(&self) -> Vec<SandboxEvent> {
        std::mem::take(&mut lock(&self.inner.outbox).waiting)
    }

    /// Posts events in batches, signed now in version 3 (and 1, as HubSpot does beside it).
    pub async fn deliver(&self, events: &[SandboxEvent]) -> Vec<Delivered> {
        let urls = lock(&self.inner.outbox).urls.clone();
        let secret = &self.inner.options.client_secret;
        let mut out = Vec::new();
        for events in events.chunks(BATCH) {
            let body = batch(events);
            for url in &urls {
                let at = self.inner.now();
                let sent = self
                    .client
                    .post(url)
                    .header("x-hubspot-signature-v3", sign_v3(secret, "POST", url, body.as_bytes(), at))
                    .header("x-hubspot-request-timestamp", at.to_string())
                    .header("x-hubspot-signature", sign_v1(secret, body.as_bytes()))
                    .header("x-hubspot-signature-version", "v1")
                    .header("content-type", "application/json")
                    .header("user-agent", "HubSpot Connect 2.0 (sandbox)")
                    .body(body.clone())
                    .send()
                    .await;
                out.push(Delivered { events: events.len(), status: sent.ok().map(|a| a.status().as_u16()) });
            }
        }
        out
    }

    /// Posts the waiting events.
    pub async fn flush(&self) -> Vec<Delivered> {
        let events = self.take_events();
        self.deliver(&events).await
    }

    /// Posts the waiting events as chance has it; late ones wait for [`Self::send_late`].
    pub async fn send(&self, faults: &mut WebhookFaults) -> (Vec<Delivered>, Sending<SandboxEvent>) {
        let sending = faults.send(self.take_events());
        lock(&self.inner.outbox).late.extend(sending.later.iter().cloned());
        (self.deliver(&sending.now).await, sending)
    }

    /// Posts the events that were late.
    pub async fn send_late(&self) -> Vec<Delivered> {
        let late = std::mem::take(&mut lock(&self.inner.outbox).late);
        self.deliver(&late).await
    }
}
