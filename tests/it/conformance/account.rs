//! What a rule needs of a provider's sandbox, and a program that reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use connector_sdk::{Clock, RecordKey};
use connector_testkit::sandbox::faults::Faults;
use halo_sync::domain::companies::{Company, TraitPatch};
use halo_sync::domain::connections::Connection;
use halo_sync::domain::runs::{RunStatus, SyncRun};
use halo_sync::domain::{Rank, RunId};
use halo_sync::registry;
use halo_sync::service::{Connect, Request};
use halo_sync::store::identity::{Lookup, WriteSource};
use halo_sync::store::mirror::StoredRecord;
use serde_json::{Value, json};

use crate::support::app::App;

/// Records in a look at the store.
const ALL: i64 = 10_000;

/// A customer at the provider, and what there is of it.
#[derive(Debug, Clone)]
pub(super) struct Customer {
    /// Whose customer: the name and, with `.example` behind it, the domain of a company.
    pub(super) name: String,
    /// Who the company is at the provider.
    pub(super) party: RecordKey,
    /// The record that says the figure.
    pub(super) says: RecordKey,
}

/// An account at a provider's sandbox. Of each customer one figure is derived, which the provider's objects say.
pub(super) trait Account: Send + Sync + Sized + 'static {
    /// The connector that reads it.
    const CONNECTOR: &'static str;
    /// The path of the list that holds what [`Customer::says`] is of.
    const LIST: &'static str;

    /// Starts an account without customers.
    async fn start(clock: Arc<dyn Clock>) -> Self;

    /// Settings of the connection, with small pages.
    fn settings(&self) -> Value;

    /// The key or token.
    fn secret(&self) -> String;

    /// Adds a customer with records in as many streams as the sandbox has.
    fn add(&self, name: &str, figure: u32) -> Customer;

    /// The provider says another figure of it from now on.
    fn set(&self, customer: &Customer, figure: u32);

    /// One more record of that customer; `None` where a customer is one record.
    fn extend(&self, customer: &Customer) -> Option<()>;

    /// Deletes or archives what says the figure; gives what is gone.
    fn remove(&self, customer: &Customer) -> RecordKey;

    /// Every record that the provider has now.
    fn records(&self) -> BTreeSet<RecordKey>;

    /// How often [`Self::LIST`] was asked for.
    fn lists(&self) -> u64;

    /// Faults of coming calls.
    fn faults(&self) -> &Faults;

    /// Refuses [`Self::secret`] from now on.
    fn revoke(&self);

    /// The figure that was derived, where one was.
    fn figure(company: &Company) -> Option<i64>;
}

/// Every record of the kinds that a connector reads; `ids` gives those of a stream.
pub(super) fn records_of(connector: &str, ids: impl Fn(&'static str) -> Vec<String>) -> BTreeSet<RecordKey> {
    let all = registry::connectors();
    let spec = all.iter().map(|c| c.spec()).find(|spec| spec.id == connector).unwrap();
    let streams = spec.streams.into_iter().map(|stream| stream.name);
    streams.flat_map(|stream| ids(stream).into_iter().map(move |id| RecordKey::new(stream, id))).collect()
}

/// An account with customers, and how the companies should be.
pub(super) struct Stand<A> {
    pub(super) account: A,
    pub(super) customers: Vec<Customer>,
    figures: BTreeMap<String, Option<i64>>,
}

impl<A: Account> Stand<A> {
    /// With so many customers.
    pub(super) async fn new(clock: Arc<dyn Clock>, customers: u32) -> Self {
        let account = A::start(clock).await;
        let mut stand = Self { account, customers: Vec::new(), figures: BTreeMap::new() };
        for n in 0..customers {
            stand.add(&format!("c{n}"), n + 3);
        }
        stand
    }

    /// A program that has read an account with so many customers.
    pub(super) async fn read(app: &App, customers: u32) -> Self {
        let stand = Self::new(Arc::new(app.clock.clone()), customers).await;
        stand.tell(app).await;
        stand.connect(app, true).await;
        stand.settled(app).await;
        stand
    }

    pub(super) fn add(&mut self, name: &str, figure: u32) -> Customer {
        let customer = self.account.add(name, figure);
        self.figures.insert(name.to_owned(), Some(i64::from(figure)));
        self.customers.push(customer.clone());
        customer
    }

    pub(super) fn set(&mut self, n: usize, figure: u32) -> Customer {
        let customer = self.customers[n].clone();
        self.account.set(&customer, figure);
        self.figures.insert(customer.name.clone(), Some(i64::from(figure)));
        customer
    }

    /// What is gone.
    pub(super) fn remove(&mut self, n: usize) -> RecordKey {
        let customer = &self.customers[n];
        self.figures.insert(customer.name.clone(), None);
        self.account.remove(customer)
    }

    /// The product tells of the companies, each with its domain: not every connector makes companies.
    pub(super) async fn tell(&self, app: &App) {
        for name in self.figures.keys() {
            let traits = json!({"name": name, "domain": format!("{name}.example")});
            let patch = TraitPatch { traits: traits.as_object().unwrap().clone(), ..TraitPatch::default() };
            let source = WriteSource { rank: Rank::Server, source: "sdk".to_owned(), at: app.now() };
            app.store.put_company(&app.org, &Lookup::External(name.clone()), &patch, &source).await.unwrap();
        }
        app.drain().await;
    }

    /// Connects the account; reads it, where that is asked for.
    pub(super) async fn connect(&self, app: &App, backfill: bool) {
        self.begin(app, backfill).await;
        app.drain().await;
    }

    /// As [`Self::connect`], before any work is done.
    pub(super) async fn begin(&self, app: &App, backfill: bool) {
        let mut config = self.account.settings();
        config["rate_limit"] = json!("none");
        let connect = Connect {
            connector: A::CONNECTOR.to_owned(),
            name: A::CONNECTOR.to_owned(),
            config,
            secrets: vec![("api_key".to_owned(), self.account.secret().into())],
            webhook_secrets: Vec::new(),
            backfill,
        };
        app.execute(Request::Connect(connect)).await.unwrap();
    }

    pub(super) async fn connection(&self, app: &App) -> Connection {
        app.store.find_connection(&app.org, A::CONNECTOR).await.unwrap().unwrap()
    }

    /// Makes a run.
    pub(super) async fn begin_sync(&self, app: &App, full: bool) -> RunId {
        let request = Request::Sync { connection: A::CONNECTOR.to_owned(), full, streams: Vec::new() };
        let answer = app.execute(request).await.unwrap();
        RunId::from(answer["run"]["id"].as_str().unwrap())
    }

    /// Makes a run and works until it has ended.
    pub(super) async fn sync(&self, app: &App, full: bool) -> SyncRun {
        let id = self.begin_sync(app, full).await;
        app.drain().await;
        app.run(&id).await
    }

    /// The keys of the live rows of the mirror.
    pub(super) async fn mirror(&self, app: &App) -> BTreeSet<RecordKey> {
        let connection = self.connection(app).await;
        let mut all = BTreeSet::new();
        for stream in registry_streams(A::CONNECTOR) {
            let keys = app.store.list_record_keys(&app.org, &connection.id, stream, None, ALL).await;
            all.extend(keys.unwrap());
        }
        all
    }

    /// The rows of those records, the tombstones among them.
    pub(super) async fn rows(
        &self,
        app: &App,
        keys: &BTreeSet<RecordKey>,
    ) -> BTreeMap<RecordKey, StoredRecord> {
        let connection = self.connection(app).await;
        let keys: Vec<RecordKey> = keys.iter().cloned().collect();
        let rows = app.store.load_records(&app.org, &connection.id, &keys).await.unwrap();
        rows.into_iter().map(|row| (row.key.clone(), row)).collect()
    }

    /// The figure of every company, as derived.
    pub(super) async fn figures(&self, app: &App) -> BTreeMap<String, Option<i64>> {
        let named = |company: Company| (company.fields.name.clone().unwrap_or_default(), A::figure(&company));
        app.companies().await.into_iter().map(named).collect()
    }

    /// The last run went well, the mirror holds what the provider has and nothing else, and each company has its
    /// figure.
    pub(super) async fn settled(&self, app: &App) {
        let run = app.last_run().await;
        assert_eq!((run.status, run.error.as_deref()), (RunStatus::Succeeded, None), "{run:#?}");
        self.agrees(app).await;
    }

    /// As [`Self::settled`], whatever became of the last run.
    pub(super) async fn agrees(&self, app: &App) {
        assert_eq!(self.mirror(app).await, self.account.records());
        assert_eq!(self.figures(app).await, self.figures);
        assert_eq!(app.dump("rejected_records").await, [""; 0]);
    }

    /// What people and prompts see, and what the mirror holds, without what only this installation knows: our ids,
    /// and when it read.
    pub(super) async fn state(&self, app: &App) -> Value {
        let keys = self.mirror(app).await;
        let rows = self.rows(app, &keys).await;
        let records: BTreeMap<String, Value> = rows
            .into_iter()
            .map(|(key, row)| {
                let payload: Value = serde_json::from_str(&row.payload).unwrap();
                (key.to_string(), json!([payload, row.facts, row.party]))
            })
            .collect();
        let companies: BTreeMap<String, Value> = app
            .companies()
            .await
            .into_iter()
            .map(|c| {
                let seen = json!({"fields": c.fields, "traits": c.custom_fields, "context": c.context, "test": c.test});
                (c.fields.name.clone().unwrap_or_default(), seen)
            })
            .collect();
        json!({"records": records, "companies": companies})
    }
}

fn registry_streams(connector: &str) -> Vec<&'static str> {
    let all = registry::connectors();
    let spec = all.iter().map(|c| c.spec()).find(|spec| spec.id == connector).unwrap();
    spec.streams.into_iter().map(|stream| stream.name).collect()
}
