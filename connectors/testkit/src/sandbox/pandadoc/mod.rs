//! A sandbox PandaDoc: one workspace with documents, webhook subscriptions and their log, on the loopback.
//!
//! It answers in the shapes of PandaDoc's OpenAPI file (a test judges every answer by it), lists with its filters
//! and its page numbers, sends signed webhooks to the subscriptions that ask for them, keeps their log, deactivates
//! a subscription after one 410, counts calls, and fails on demand.
//!
//! It is no PandaDoc. Documents are data here: nobody sees them, a template is an id, and prices, fields and
//! extracted contract data are what [`PandaDocSandbox::change`] and [`PandaDocSandbox::extract`] say.

mod demo;
mod documents;
mod hooks;
mod list;
mod server;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector_sdk::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use hooks::{Delivered, SandboxEvent, sign};

use super::arrivals::{Arrivals, Recent};
use super::faults::{Faults, Sending, WebhookFaults};
use super::oauth::{OAuthServer, Paths, Refusals};
use documents::{Documents, Extraction};
use hooks::Hooks;

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The API key that is accepted.
    pub api_key: String,
    /// The OAuth access token that is accepted.
    pub access_token: String,
    /// The workspace's id.
    pub workspace: String,
    /// The workspace's name.
    pub name: String,
    /// Time: that of documents and events, and of the `Date` of answers.
    pub clock: Arc<dyn Clock>,
    /// Whether every exchange is kept, for [`PandaDocSandbox::exchanges`].
    pub journal: bool,
    /// How many calls of one operation are taken within how long; more are refused with 429.
    pub limit: Option<(u32, Duration)>,
    /// The same of details, where their limit is another.
    pub details_limit: Option<(u32, Duration)>,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            api_key: "sandboxkey0123456789abcdef0123456789abcd".to_owned(),
            access_token: "sandboxtoken0123456789abcdef0123456789ab".to_owned(),
            workspace: "n7SK7prHeoWJSXb9VkrPve".to_owned(),
            name: "Sandbox Workspace".to_owned(),
            clock: Arc::new(SystemClock),
            journal: false,
            limit: None,
            details_limit: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

/// One call and its answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Upper-case method.
    pub method: String,
    /// The path.
    pub path: String,
    /// Query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The request's JSON, where it had any.
    pub request: Option<Value>,
    /// The status.
    pub status: u16,
    /// The answer's JSON, where it had any.
    pub answer: Option<Value>,
}

/// Where PandaDoc has its OAuth endpoints; it has none to end a grant.
const OAUTH: Paths = Paths {
    authorize: "/oauth2/authorize",
    token: "/oauth2/access_token",
    revoke: None,
    delete: None,
    refusals: Refusals::Standard,
};

/// What the server and the handle share.
#[derive(Debug)]
struct Inner {
    options: Options,
    state: Mutex<State>,
    oauth: OAuthServer,
    faults: Faults,
    arrivals: Arrivals,
    counts: Mutex<BTreeMap<String, u64>>,
    journal: Mutex<Vec<Exchange>>,
    forbidden: Mutex<HashSet<String>>,
    revoked: Mutex<bool>,
    no_extraction: Mutex<bool>,
    recent: Mutex<BTreeMap<String, Recent>>,
    refused: Mutex<u64>,
}

/// All that changes.
#[derive(Debug, Default)]
struct State {
    documents: Documents,
    hooks: Hooks,
    last: Option<Timestamp>,
    made: u64,
}

impl State {
    /// An instant that no earlier one was given for.
    fn now(&mut self, clock: &dyn Clock) -> Timestamp {
        let now = clock.now();
        let now = self.last.map_or(now, |last| now.max(last + chrono::TimeDelta::microseconds(1)));
        self.last = Some(now);
        now
    }

    /// 22 letters and digits, as PandaDoc's ids.
    fn id(&mut self) -> String {
        self.made += 1;
        let mut chance = super::chance::Chance::new(self.made);
        let letters = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
        (0..22).map(|_| chance.pick(letters).copied().map_or('x', char::from)).collect()
    }

    fn uuid(&mut self) -> String {
        self.made += 1;
        let mut chance = super::chance::Chance::new(self.made);
        let (a, b) = (chance.draw(), chance.draw());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An instant as PandaDoc writes it.
fn stamp(at: Timestamp) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// What the sandbox refused, in PandaDoc's shape.
#[derive(Debug, Clone, thiserror::Error)]
#[error("HTTP {status}: {body}")]
pub struct Refused {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Refused {
    fn new(status: u16, kind: &str, detail: impl Into<Value>) -> Self {
        Self { status, body: json!({"type": kind, "detail": detail.into()}) }
    }

    fn missing() -> Self {
        Self::new(404, "request_error", "Not found")
    }

    fn invalid(field: &str, why: &str) -> Self {
        Self::new(400, "validation_error", json!({ field: [why] }))
    }
}

/// A running sandbox; it stops when this is dropped.
#[derive(Debug)]
pub struct PandaDocSandbox {
    inner: Arc<Inner>,
    address: SocketAddr,
    client: reqwest::Client,
    task: JoinHandle<()>,
}

impl Drop for PandaDocSandbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PandaDocSandbox {
    /// Starts a sandbox with an empty workspace.
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
            oauth: OAuthServer::new(OAUTH, "sandbox-client-secret", Arc::clone(&options.clock)),
            options,
            state: Mutex::default(),
            faults: Faults::default(),
            arrivals: Arrivals::default(),
            counts: Mutex::default(),
            journal: Mutex::default(),
            forbidden: Mutex::default(),
            revoked: Mutex::default(),
            no_extraction: Mutex::default(),
            recent: Mutex::default(),
            refused: Mutex::default(),
        });
        let task = tokio::spawn(server::serve(listener, Arc::clone(&inner)));
        Ok(Self { inner, address, client, task })
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The accepted key.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.inner.options.api_key
    }

    /// The accepted OAuth token.
    #[must_use]
    pub fn access_token(&self) -> &str {
        &self.inner.options.access_token
    }

    /// The OAuth server, whose access tokens are accepted beside the fixed one.
    #[must_use]
    pub fn oauth(&self) -> &OAuthServer {
        &self.inner.oauth
    }

    /// The workspace's id.
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.inner.options.workspace
    }

    /// Faults for coming calls.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    // --- documents

    /// A call as the API takes it, without HTTP: method, path below the address, JSON body. Events are made as over
    /// the API.
    ///
    /// # Errors
    /// What PandaDoc would refuse.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, Refused> {
        server::call(&self.inner, method, path, &[], Some(body))
            .map(|(_, answer)| answer.unwrap_or(Value::Null))
    }

    /// Makes a draft of that name with one signer; its id.
    pub fn create(&self, name: &str, email: &str) -> String {
        let body = json!({"name": name, "recipients": [{"email": email, "first_name": "Ada", "last_name": "Byron", "role": "Client"}]});
        let made = self.call("POST", "/public/v1/documents", &body).unwrap_or_default();
        made["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Puts a document into the store as it is: details in PandaDoc's shape. No event is sent.
    pub fn put(&self, details: Value) {
        lock(&self.inner.state).documents.put(details);
    }

    /// Changes a document's details past the API. Its `date_modified` moves and `event` is sent when one is named;
    /// with none nothing moves, as when only metadata or a link changes.
    ///
    /// # Errors
    /// When there is no such document.
    pub fn change(
        &self,
        id: &str,
        event: Option<&str>,
        change: impl FnOnce(&mut Value),
    ) -> Result<(), Refused> {
        let mut state = lock(&self.inner.state);
        let now = state.now(&*self.inner.options.clock);
        documents::change(&mut state, id, event, now, change)
    }

    /// Everybody signs: the document is complete.
    ///
    /// # Errors
    /// When there is no such document.
    pub fn complete(&self, id: &str) -> Result<(), Refused> {
        let mut state = lock(&self.inner.state);
        let now = state.now(&*self.inner.options.clock);
        documents::complete(&mut state, id, now)
    }

    /// Says what was extracted from a document: an array of fields as PandaDoc answers them; `None` for an extraction
    /// that goes on.
    ///
    /// # Errors
    /// When there is no such document.
    pub fn extract(&self, id: &str, fields: Option<Value>) -> Result<(), Refused> {
        let mut state = lock(&self.inner.state);
        let document = state.documents.find_mut(id).ok_or_else(Refused::missing)?;
        document.extraction = match fields {
            Some(fields) => Extraction::Done(fields),
            None => Extraction::Pending,
        };
        Ok(())
    }

    /// Deletes a document, with its event.
    ///
    /// # Errors
    /// When there is no such document.
    pub fn delete(&self, id: &str) -> Result<(), Refused> {
        self.call("DELETE", &format!("/public/v1/documents/{id}"), &Value::Null).map(drop)
    }

    /// A document's details as a read of it answers.
    #[must_use]
    pub fn document(&self, id: &str) -> Option<Value> {
        lock(&self.inner.state).documents.find(id).map(|document| document.details.clone())
    }

    /// The ids of all documents that are there.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        lock(&self.inner.state).documents.ids()
    }

    /// Adds `n` completed documents (one signer each, a price, a linked deal), made a second apart up to now. No
    /// events.
    pub fn seed(&self, n: usize) {
        let mut state = lock(&self.inner.state);
        let now = self.inner.options.clock.now();
        documents::seed(&mut state, n, now);
    }

    /// Adds the agreements of the demo's customers, one in each situation that matters. No events.
    pub fn seed_demo(&self) {
        let mut state = lock(&self.inner.state);
        let now = self.inner.options.clock.now();
        demo::seed(&mut state, now);
    }

    /// Lets the demo's company sign a renewal for two years; the document's id.
    pub fn demo_change(&self) -> String {
        let mut state = lock(&self.inner.state);
        let now = state.now(&*self.inner.options.clock);
        demo::change(&mut state, now)
    }

    // --- calls

    /// How often an operation was called (`GET /public/v1/documents/:id/details`).
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

    /// When calls arrive.
    #[must_use]
    pub fn arrivals(&self) -> &Arrivals {
        &self.inner.arrivals
    }

    /// How many calls were over the limit ([`Options::limit`]).
    #[must_use]
    pub fn over_limit(&self) -> u64 {
        *lock(&self.inner.refused)
    }

    /// Every exchange so far, where the journal is on.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.inner.journal).clone()
    }

    /// Refuses `collection` (`documents`, `webhook-subscriptions`) with 403; `false` allows it again.
    pub fn forbid(&self, collection: &str, forbidden: bool) {
        let mut all = lock(&self.inner.forbidden);
        if forbidden {
            all.insert(collection.to_owned());
        } else {
            all.remove(collection);
        }
    }

    /// Refuses key and token from now on.
    pub fn revoke(&self) {
        *lock(&self.inner.revoked) = true;
    }

    /// Refuses extracted contract data from now on, as of a workspace that has none.
    pub fn offer_no_extraction(&self) {
        *lock(&self.inner.no_extraction) = true;
    }

    // --- webhooks

    /// The subscriptions, as a read answers them.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Value> {
        lock(&self.inner.state).hooks.subscriptions.clone()
    }

    /// Changes a subscription past the API, as its owner does on the dashboard; false when there is none.
    pub fn change_subscription(&self, id: &str, change: impl FnOnce(&mut Value)) -> bool {
        lock(&self.inner.state).hooks.find_mut(id).map(change).is_some()
    }

    /// Takes the waiting events out without posting them: lost, or to be posted by [`Self::deliver`].
    #[must_use]
    pub fn take_events(&self) -> Vec<SandboxEvent> {
        lock(&self.inner.state).hooks.waiting.drain(..).collect()
    }

    /// Posts events as one body to every active subscription that asks for the first one's type.
    pub async fn deliver(&self, events: &[SandboxEvent]) -> Vec<Delivered> {
        hooks::deliver(&self.inner, &self.client, events).await
    }

    /// Posts the waiting events, each in a body of its own.
    pub async fn flush(&self) -> Vec<Delivered> {
        self.deliver_all(&self.take_events()).await
    }

    /// Posts the waiting events as chance has it; late ones wait for [`Self::send_late`].
    pub async fn send(&self, faults: &mut WebhookFaults) -> (Vec<Delivered>, Sending<SandboxEvent>) {
        let sending = faults.send(self.take_events());
        lock(&self.inner.state).hooks.late.extend(sending.later.iter().cloned());
        (self.deliver_all(&sending.now).await, sending)
    }

    /// Posts the events that were late.
    pub async fn send_late(&self) -> Vec<Delivered> {
        let late: Vec<SandboxEvent> = lock(&self.inner.state).hooks.late.drain(..).collect();
        self.deliver_all(&late).await
    }

    async fn deliver_all(&self, events: &[SandboxEvent]) -> Vec<Delivered> {
        let mut out = Vec::new();
        for event in events {
            out.extend(self.deliver(std::slice::from_ref(event)).await);
        }
        out
    }
}
