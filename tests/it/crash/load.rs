//! The provider's side: an account whose objects change, and senders that post each event until it is
//! acknowledged, as a provider does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use connector_testkit::sandbox::stripe::{Kind, Options, SandboxEvent, StripeSandbox};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::oracle::Expected;
use crate::support::installation::LOOK;

/// Customers, each with one subscription.
pub(super) const CUSTOMERS: usize = 12;
const SENDERS: usize = 4;
/// An account has busy moments and quiet ones: changes are made in the first part of each period only, so that
/// kills meet a growing backlog, a shrinking one and none.
const PERIOD: Duration = Duration::from_millis(400);
const BUSY: Duration = Duration::from_millis(250);
/// Between two changes of one sender in a busy moment.
const PACE: Duration = Duration::from_millis(4);
/// The longest that an event may stay unacknowledged. Only a program that does not come back needs it.
const PATIENCE: Duration = Duration::from_secs(60);
/// A type that nothing is kept of.
const UNKNOWN: &str = "balance.available";

/// The same numbers from the same seed on every machine (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// One customer of the account.
#[derive(Debug, Clone)]
pub(super) struct Customer {
    pub(super) id: String,
    pub(super) subscription: String,
    item: String,
    /// Of the one monthly price, cents.
    pub(super) unit_amount: i64,
}

/// What the senders have written down.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Every event that was made.
    pub(super) sent: BTreeMap<String, Expected>,
    /// Those that got a 2xx.
    pub(super) acked: BTreeSet<String>,
    /// To be posted again.
    old: Vec<SandboxEvent>,
    /// Posts that got a 2xx for an event that had one before.
    pub(super) duplicates: u64,
    /// Posts without an answer, or answered with 5xx.
    pub(super) unanswered: u64,
}

/// The account.
pub(super) struct Account {
    pub(super) sandbox: StripeSandbox,
    pub(super) customers: Vec<Customer>,
    pub(super) book: Mutex<Book>,
    /// Held while an object changes and its events are taken.
    changes: Mutex<()>,
    stop: AtomicBool,
}

fn id_of(object: &Value) -> String {
    object["id"].as_str().unwrap().to_owned()
}

impl Account {
    /// An account with customers and nothing to tell.
    pub(super) async fn start() -> Arc<Self> {
        let sandbox = StripeSandbox::start(Options::default()).await.unwrap();
        let write = |path: &str, form: Value| sandbox.call("POST", path, &form).unwrap();
        write("/v1/products", json!({"id": "prod_1", "name": "Plan"}));
        let mut customers = Vec::new();
        for n in 0..CUSTOMERS {
            let unit_amount = 700 + 100 * i64::try_from(n).unwrap();
            let price = write(
                "/v1/prices",
                json!({"product": "prod_1", "currency": "usd", "unit_amount": unit_amount.to_string(),
                    "recurring": {"interval": "month"}}),
            );
            let customer = write(
                "/v1/customers",
                json!({"name": format!("Customer {n}"), "metadata": {"company_id": format!("company-{n}")}}),
            );
            let subscription = write(
                "/v1/subscriptions",
                json!({"customer": customer["id"], "items": [{"price": price["id"], "quantity": "1"}]}),
            );
            customers.push(Customer {
                id: id_of(&customer),
                subscription: id_of(&subscription),
                item: id_of(&subscription["items"]["data"][0]),
                unit_amount,
            });
        }
        // All that happened before the account was connected.
        drop(sandbox.take_events());
        Arc::new(Self {
            sandbox,
            customers,
            book: Mutex::default(),
            changes: Mutex::default(),
            stop: AtomicBool::new(false),
        })
    }

    /// Changes something of one customer; the events that tell of it. The quantity of a subscription only
    /// ever grows, so that each state of it is there once.
    fn change(&self, customer: &Customer, rng: &mut Rng) -> Vec<SandboxEvent> {
        let _changing = self.changes.lock().unwrap();
        let sandbox = &self.sandbox;
        match rng.below(16) {
            0 => {
                let product = sandbox.object(Kind::Products, "prod_1").unwrap();
                sandbox.put(Kind::Products, product, Some(UNKNOWN));
            }
            1..3 => {
                let form = json!({"description": format!("change {}", rng.next())});
                sandbox.call("POST", &format!("/v1/customers/{}", customer.id), &form).unwrap();
            }
            3..7 => {
                let amount = (1 + rng.below(5_000)).to_string();
                let form = json!({"customer": customer.id, "amount": amount, "currency": "usd"});
                sandbox.call("POST", "/v1/charges", &form).unwrap();
            }
            _ => {
                let quantity = self.quantity(customer) + 1 + i64::try_from(rng.below(3)).unwrap();
                let form = json!({"items": [{"id": customer.item, "quantity": quantity.to_string()}]});
                sandbox.call("POST", &format!("/v1/subscriptions/{}", customer.subscription), &form).unwrap();
            }
        }
        let events = sandbox.take_events();
        let mut book = self.book.lock().unwrap();
        for event in &events {
            let expected = if event.kind == UNKNOWN { Expected::Ignored } else { Expected::Applied };
            assert!(book.sent.insert(event.id.clone(), expected).is_none(), "{} made twice", event.id);
        }
        events
    }

    /// The quantity of a customer's subscription.
    pub(super) fn quantity(&self, customer: &Customer) -> i64 {
        let subscription = self.sandbox.object(Kind::Subscriptions, &customer.subscription).unwrap();
        subscription["items"]["data"][0]["quantity"].as_i64().unwrap()
    }

    /// Posts an event once; whether it was acknowledged.
    async fn post(&self, event: &SandboxEvent) -> bool {
        let delivered = self.sandbox.deliver(event).await;
        let status = delivered[0].status;
        let mut book = self.book.lock().unwrap();
        match status {
            Some(200..300) => {
                if !book.acked.insert(event.id.clone()) {
                    book.duplicates += 1;
                }
                true
            }
            Some(500..) | None => {
                book.unanswered += 1;
                false
            }
            Some(status) => panic!("{}: a good event was refused with {status}", event.id),
        }
    }

    async fn send(self: Arc<Self>, number: usize, seed: u64) {
        let began = Instant::now();
        let mut rng = Rng(seed ^ (number as u64 + 1).wrapping_mul(0xD134_2543_DE82_EF95));
        let mine: Vec<&Customer> = self.customers.iter().skip(number).step_by(SENDERS).collect();
        while !self.stop.load(Ordering::SeqCst) {
            let customer = mine[usize::try_from(rng.below(mine.len() as u64)).unwrap()];
            for event in self.change(customer, &mut rng) {
                let until = Instant::now() + PATIENCE;
                while !self.post(&event).await {
                    assert!(Instant::now() < until, "{} is not acknowledged within {PATIENCE:?}", event.id);
                    tokio::time::sleep(LOOK).await;
                }
                self.book.lock().unwrap().old.push(event);
            }
            if rng.below(4) == 0 {
                let again = {
                    let book = self.book.lock().unwrap();
                    let n = book.old.len() as u64;
                    (n > 0).then(|| book.old[usize::try_from(rng.below(n)).unwrap()].clone())
                };
                if let Some(event) = again {
                    self.post(&event).await;
                }
            }
            let into = Duration::from_millis(
                u64::try_from(began.elapsed().as_millis() % PERIOD.as_millis()).unwrap(),
            );
            tokio::time::sleep(if into < BUSY { PACE } else { PERIOD - into }).await;
        }
    }

    /// Starts the senders.
    pub(super) fn begin(self: &Arc<Self>, webhook: &str, seed: u64) -> Senders {
        self.sandbox.register_webhook(webhook);
        let tasks = (0..SENDERS).map(|n| tokio::spawn(Arc::clone(self).send(n, seed))).collect();
        Senders { account: Arc::clone(self), tasks }
    }
}

/// Running senders.
pub(super) struct Senders {
    account: Arc<Account>,
    tasks: Vec<JoinHandle<()>>,
}

impl Senders {
    /// A sender that has ended has failed.
    pub(super) async fn assert_live(&mut self) {
        for task in &mut self.tasks {
            if task.is_finished() {
                task.await.unwrap();
                panic!("a sender ended by itself");
            }
        }
    }

    /// No more changes; returns when every event that was made is acknowledged.
    pub(super) async fn end(self) {
        self.account.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}
