//! A sandbox Stripe: one account with customers, catalogue, subscriptions and money, on the loopback.
//!
//! It answers in the shapes of [`API_VERSION`], takes the writes that Stripe's own command line makes for the
//! events of the core streams (`stripe trigger EVENT --api-base URL --api-key KEY`), sends signed webhooks, counts
//! calls, and fails on demand. Test payment methods and tokens (`pm_card_chargeCustomerFail`, `tok_chargeDeclined`,
//! `pm_card_createDispute`, …) do what Stripe says they do, and the evidence `winning_evidence` or
//! `losing_evidence` decides a dispute. Nothing changes without an event that names it.
//!
//! It is no Stripe. Proration, tax, credit notes, checkout, quotes and test clocks are not in it; periods end when
//! [`StripeSandbox::bill`] says so; a payment that Stripe would finish later is finished at once; and a customer
//! who has nothing to pay with pays well, so that a test needs no card.

mod balance;
mod billing;
mod cards;
mod catalog;
mod customers;
mod demo;
mod events;
mod fields;
mod form;
mod hooks;
mod limits;
mod payments;
mod read;
mod render;
mod schedules;
mod seed;
mod server;
mod shapes;
mod shapes_of_money;
mod store;
mod subscriptions;
mod write;

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector_sdk::{Clock, SystemClock};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub use demo::Demo;
pub use events::{Delivered, Endpoint, Flush, Order, SandboxEvent, sign};
pub use limits::Limits;
pub use store::{KINDS, Kind};

use super::arrivals::Arrivals;
use super::faults::{Faults, Sending, WebhookFaults};
use events::Outbox;
use hooks::Hooks;
use read::Refusal;
use store::Store;
use write::Ctx;

/// The API version whose shapes the sandbox answers in.
pub const API_VERSION: &str = "2026-07-29.dahlia";

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The key that is accepted; `sk_live_…` makes a live account.
    pub api_key: String,
    /// The account's id.
    pub account: String,
    /// The account's name.
    pub name: String,
    /// The secret of webhooks (`whsec_…`).
    pub webhook_secret: String,
    /// Events are posted by themselves as they happen; else they wait for [`StripeSandbox::flush`].
    pub auto_deliver: bool,
    /// Time: that of objects and events, and of signatures.
    pub clock: Arc<dyn Clock>,
    /// Signatures are made at this clock's time instead, where the receiver lives at another one.
    pub signing_clock: Option<Arc<dyn Clock>>,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // In two parts, so that no scanner takes it for somebody's key.
            api_key: concat!("sk_test", "_sandbox0123456789").to_owned(),
            account: "acct_sandbox".to_owned(),
            name: "Sandbox Inc.".to_owned(),
            webhook_secret: "whsec_sandbox".to_owned(),
            auto_deliver: false,
            clock: Arc::new(SystemClock),
            signing_clock: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

/// What the server and the handle share.
#[derive(Debug)]
struct Inner {
    options: Options,
    created: i64,
    store: Mutex<Store>,
    outbox: Mutex<Outbox>,
    hooks: Mutex<Hooks>,
    faults: Faults,
    arrivals: Arrivals,
    spent: Mutex<limits::Spent>,
    counts: Mutex<BTreeMap<String, u64>>,
    /// Calls without a pinned version, or with another one than [`API_VERSION`].
    unpinned: Mutex<Vec<String>>,
    forbidden: Mutex<HashSet<String>>,
    not_offered: Mutex<HashSet<String>>,
    revoked: Mutex<bool>,
    refuses_expansion: Mutex<bool>,
    ignores_ranges: Mutex<bool>,
    /// Calls being answered now, and the most of them so far.
    at_once: Mutex<(usize, usize)>,
    wake: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn live(&self) -> bool {
        self.options.api_key.contains("_live_")
    }

    fn write<T>(&self, f: impl FnOnce(&mut Ctx<'_>) -> T) -> T {
        let now = self.options.clock.now().timestamp();
        let mut store = lock(&self.store);
        let mut outbox = lock(&self.outbox);
        let out = f(&mut Ctx { store: &mut store, outbox: &mut outbox, now, live: self.live() });
        let waiting = !outbox.waiting.is_empty();
        drop((store, outbox));
        if waiting {
            self.wake.notify_one();
        }
        out
    }
}

/// A running sandbox; it stops when this is dropped.
#[derive(Debug)]
pub struct StripeSandbox {
    inner: Arc<Inner>,
    address: SocketAddr,
    client: reqwest::Client,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for StripeSandbox {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What the sandbox refused, in Stripe's words.
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

impl StripeSandbox {
    /// Starts a sandbox with an empty account.
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
        let auto = options.auto_deliver;
        let now = options.clock.now().timestamp();
        let inner = Arc::new(Inner {
            options,
            created: now - 3 * 365 * 86_400,
            store: Mutex::default(),
            outbox: Mutex::default(),
            hooks: Mutex::default(),
            faults: Faults::default(),
            arrivals: Arrivals::default(),
            spent: Mutex::default(),
            counts: Mutex::default(),
            unpinned: Mutex::default(),
            forbidden: Mutex::default(),
            not_offered: Mutex::default(),
            revoked: Mutex::default(),
            refuses_expansion: Mutex::default(),
            ignores_ranges: Mutex::default(),
            at_once: Mutex::default(),
            wake: Notify::new(),
        });
        let mut tasks = vec![tokio::spawn(server::serve(listener, Arc::clone(&inner)))];
        if auto {
            tasks.push(tokio::spawn(deliver_for_ever(Arc::clone(&inner), client.clone())));
        }
        Ok(Self { inner, address, client, tasks })
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

    /// The secret that webhooks are signed with.
    #[must_use]
    pub fn webhook_secret(&self) -> &str {
        &self.inner.options.webhook_secret
    }

    /// The account's id.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.inner.options.account
    }

    /// Faults for coming calls.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    // --- objects

    /// A write as the API takes it (`POST`, `/v1/customers`, form fields as a tree whose leaves are
    /// text), without HTTP. Events are made as over the API.
    ///
    /// # Errors
    /// What Stripe would refuse.
    pub fn call(&self, method: &str, path: &str, form: &Value) -> Result<Value, Refused> {
        self.inner.write(|cx| cx.call(method, &server::segments_of(path), form)).map_err(Refused::from)
    }

    /// Stores a document as it is: references as ids, `items`, `lines` and `discounts` as arrays.
    /// `event` is sent about it, if given.
    pub fn put(&self, kind: Kind, doc: Value, event: Option<&str>) -> Value {
        self.inner.write(|cx| cx.put(kind, doc, event))
    }

    /// Stores an object as finished text, which every read answers byte for byte. Nothing in it is
    /// expanded, no event is sent.
    pub fn put_text(&self, kind: Kind, text: String) {
        let doc: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let object = store::Object { body: store::Body::Text(Arc::from(text)), ..store::Object::of_doc(doc) };
        lock(&self.inner.store).of_mut(kind).put(object);
    }

    /// Changes a stored document and sends `event` when something changed.
    ///
    /// # Errors
    /// When there is no such object.
    pub fn change(
        &self,
        kind: Kind,
        id: &str,
        event: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Value, Refused> {
        let changed = self.inner.write(|cx| {
            cx.change(kind, id, event, |_, doc| {
                change(doc);
                Ok(())
            })
        });
        changed.map_err(Refused::from)
    }

    /// Deletes an object and sends its event.
    ///
    /// # Errors
    /// When there is no such object.
    pub fn delete(&self, kind: Kind, id: &str) -> Result<(), Refused> {
        self.inner.write(|cx| cx.delete(kind, id)).map(drop).map_err(Refused::from)
    }

    /// Opens a dispute of a charge.
    ///
    /// # Errors
    /// When there is no such charge.
    pub fn dispute(&self, charge: &str) -> Result<Value, Refused> {
        self.inner.write(|cx| cx.dispute(charge)).map_err(Refused::from)
    }

    /// Binds a subscription to a schedule of one phase that ends at `end` (Unix seconds) with `release`
    /// or `cancel`.
    ///
    /// # Errors
    /// When there is no such subscription.
    pub fn schedule(&self, subscription: &str, end: i64, end_behavior: &str) -> Result<Value, Refused> {
        self.inner.write(|cx| cx.schedule(subscription, end, end_behavior)).map_err(Refused::from)
    }

    /// Invoices a period of a subscription and takes the money, or fails to.
    ///
    /// # Errors
    /// When there is no such subscription.
    pub fn bill(&self, subscription: &str, succeeds: bool) -> Result<Value, Refused> {
        self.inner.write(|cx| cx.bill(subscription, succeeds)).map_err(Refused::from)
    }

    /// An object as a read of it answers, without expansion.
    #[must_use]
    pub fn object(&self, kind: Kind, id: &str) -> Option<Value> {
        let store = lock(&self.inner.store);
        let object = store.find(kind, id)?;
        Some(render::value(&store, kind, &object.doc(), &[]))
    }

    /// An object as a read of it answers with these members expanded; a deleted one as it last was.
    #[must_use]
    pub fn expanded(&self, kind: Kind, id: &str, expand: &[&str]) -> Option<Value> {
        let store = lock(&self.inner.store);
        let object = store.find_ever(kind, id)?;
        let expand: Vec<String> = expand.iter().map(|&path| path.to_owned()).collect();
        Some(render::value(&store, kind, &object.doc(), &expand))
    }

    /// Ids of the objects of a kind that were deleted.
    #[must_use]
    pub fn deleted_ids(&self, kind: Kind) -> Vec<String> {
        lock(&self.inner.store).of(kind).map(store::Collection::deleted_ids).unwrap_or_default()
    }

    /// Ids of a kind, newest first.
    #[must_use]
    pub fn ids(&self, kind: Kind) -> Vec<String> {
        lock(&self.inner.store).of(kind).map(store::Collection::ids).unwrap_or_default()
    }

    /// How many objects of a kind there are.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        lock(&self.inner.store).of(kind).map_or(0, store::Collection::len)
    }

    /// Adds `n` customers with a subscription each (`cus_seed00000000`, `sub_seed00000000`, …), created
    /// evenly over the last two years. No events.
    pub fn seed_customers(&self, n: usize) {
        let now = self.inner.options.clock.now().timestamp();
        seed::customers(&mut lock(&self.inner.store), n, now, self.inner.live());
    }

    /// Fills an empty account with a dozen named customers in the situations that matter. No events.
    ///
    /// # Errors
    /// When the account is not empty.
    pub fn seed_demo(&self) -> Result<Demo, Refused> {
        self.inner.write(demo::seed).map_err(Refused::from)
    }

    /// Raises the demo customer's plan, and lets another customer's payment fail.
    ///
    /// # Errors
    /// When the demo's objects are gone.
    pub fn demo_change(&self, demo: &Demo) -> Result<(), Refused> {
        self.inner.write(|cx| demo::change(cx, demo)).map_err(Refused::from)
    }

    // --- calls

    /// How often an operation was called (`GET /v1/customers`, `GET /v1/customers/:id`).
    #[must_use]
    pub fn calls(&self, operation: &str) -> u64 {
        lock(&self.inner.counts).get(operation).copied().unwrap_or(0)
    }

    /// All calls by operation.
    #[must_use]
    pub fn all_calls(&self) -> BTreeMap<String, u64> {
        lock(&self.inner.counts).clone()
    }

    /// When calls arrive.
    #[must_use]
    pub fn arrivals(&self) -> &Arrivals {
        &self.inner.arrivals
    }

    /// Keeps these limits from now on.
    pub fn set_limits(&self, limits: Option<Limits>) {
        *lock(&self.inner.spent) = limits::Spent::under(limits);
    }

    /// How many calls the limits refused.
    #[must_use]
    pub fn refused_calls(&self) -> u64 {
        lock(&self.inner.spent).refused
    }

    /// The most calls that were answered at the same time.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        lock(&self.inner.at_once).1
    }

    /// Forgets the counts.
    pub fn reset_calls(&self) {
        lock(&self.inner.at_once).1 = 0;
        lock(&self.inner.counts).clear();
    }

    /// Reads that did not pin [`API_VERSION`], by operation.
    #[must_use]
    pub fn unpinned_calls(&self) -> Vec<String> {
        lock(&self.inner.unpinned).clone()
    }

    /// Refuses `path` (`customers`, `account`) with 403, as for a restricted key; `false` allows it again.
    pub fn forbid(&self, path: &str, forbidden: bool) {
        let mut paths = lock(&self.inner.forbidden);
        if forbidden {
            paths.insert(path.to_owned());
        } else {
            paths.remove(path);
        }
    }

    /// Answers `path` (`disputes`, `account`) with 404, as a server that does not know it.
    pub fn do_not_offer(&self, path: &str) {
        lock(&self.inner.not_offered).insert(path.to_owned());
    }

    /// Refuses the key from now on.
    pub fn revoke_key(&self) {
        *lock(&self.inner.revoked) = true;
    }

    /// Refuses every `expand[]` from now on, as imitations of Stripe do.
    pub fn refuse_expansion(&self) {
        *lock(&self.inner.refuses_expansion) = true;
    }

    /// Lists from now on as if `created[…]` were not there, as imitations of Stripe do.
    pub fn ignore_ranges(&self) {
        *lock(&self.inner.ignores_ranges) = true;
    }

    // --- webhooks

    /// Posts events to that URL from now on, signed with the sandbox's secret.
    pub fn register_webhook(&self, url: &str) {
        let secret = self.inner.options.webhook_secret.clone();
        lock(&self.inner.outbox).endpoints.push(Endpoint { url: url.to_owned(), secret });
    }

    /// The endpoints that were made through the API, oldest first, as a read answers them.
    #[must_use]
    pub fn webhook_endpoints(&self) -> Vec<Value> {
        lock(&self.inner.hooks).all().iter().map(|hook| hook.doc.clone()).collect()
    }

    /// Changes an endpoint past the API, as its account's owner does on the dashboard; false when there is none.
    pub fn change_webhook_endpoint(&self, id: &str, change: impl FnOnce(&mut Value)) -> bool {
        lock(&self.inner.hooks).find_mut(id).map(|hook| change(&mut hook.doc)).is_some()
    }

    /// Takes the waiting events out without posting them: lost, or to be posted by [`Self::deliver`].
    #[must_use]
    pub fn take_events(&self) -> Vec<SandboxEvent> {
        lock(&self.inner.outbox).waiting.drain(..).collect()
    }

    /// Posts one event to every endpoint, signed now.
    pub async fn deliver(&self, event: &SandboxEvent) -> Vec<Delivered> {
        deliver(&self.inner, &self.client, event).await
    }

    /// Posts the waiting events as chance has it; late ones wait for [`Self::send_late`]. What came to each, and
    /// what the sending was.
    pub async fn send(&self, faults: &mut WebhookFaults) -> (Vec<Delivered>, Sending<SandboxEvent>) {
        let sending = faults.send(self.take_events());
        lock(&self.inner.outbox).late.extend(sending.later.iter().cloned());
        (self.deliver_all(&sending.now).await, sending)
    }

    /// Posts the events that were late, in the order in which they became so.
    pub async fn send_late(&self) -> Vec<Delivered> {
        let late: Vec<SandboxEvent> = lock(&self.inner.outbox).late.drain(..).collect();
        self.deliver_all(&late).await
    }

    async fn deliver_all(&self, events: &[SandboxEvent]) -> Vec<Delivered> {
        let mut out = Vec::new();
        for event in events {
            out.extend(self.deliver(event).await);
        }
        out
    }

    /// Posts the waiting events as `flush` says, one after the other.
    pub async fn flush(&self, flush: &Flush) -> Vec<Delivered> {
        self.deliver_all(&events::arrange(self.take_events(), flush)).await
    }
}

async fn deliver(inner: &Inner, client: &reqwest::Client, event: &SandboxEvent) -> Vec<Delivered> {
    let mut endpoints = lock(&inner.outbox).endpoints.clone();
    endpoints.extend(lock(&inner.hooks).all().iter().filter(|hook| hook.takes(&event.kind)).map(|hook| {
        let url = hook.doc["url"].as_str().unwrap_or_default().to_owned();
        Endpoint { url, secret: hook.secret.clone() }
    }));
    let mut out = Vec::with_capacity(endpoints.len());
    for endpoint in endpoints {
        let clock = inner.options.signing_clock.as_ref().unwrap_or(&inner.options.clock);
        let at = clock.now().timestamp();
        let sent = client
            .post(&endpoint.url)
            .header("stripe-signature", sign(&endpoint.secret, event.body.as_bytes(), at))
            .header("content-type", "application/json; charset=utf-8")
            .header("user-agent", "Stripe/1.0 (sandbox)")
            .body(event.body.clone())
            .send()
            .await;
        out.push(Delivered {
            id: event.id.clone(),
            kind: event.kind.clone(),
            status: sent.ok().map(|answer| answer.status().as_u16()),
        });
    }
    out
}

/// Posts events as they happen. One that is refused is tried twice more, as a provider would.
async fn deliver_for_ever(inner: Arc<Inner>, client: reqwest::Client) {
    loop {
        inner.wake.notified().await;
        loop {
            let next = lock(&inner.outbox).waiting.pop_front();
            let Some(event) = next else { break };
            for wait in [1, 2, 0] {
                let delivered = deliver(&inner, &client, &event).await;
                if delivered.iter().all(|d| d.status.is_some_and(|s| (200..300).contains(&s))) {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(wait)).await;
            }
        }
    }
}
