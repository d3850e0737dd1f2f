//! The program as a process runs it, on a database of its own: real store, real queue, real router, and a
//! sandbox Stripe on the loopback. Time stands still until the test moves it.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use connector_sdk::http::HttpConfig;
use connector_sdk::{Clock, HttpClient, RecordKey, Timestamp};
use connector_testkit::sandbox::stripe::{Options, SandboxEvent, StripeSandbox};
use futures_util::StreamExt as _;
use halo_sync::attributes::Attributes;
use halo_sync::chat::Chat;
use halo_sync::domain::companies::Company;
use halo_sync::domain::connections::{Connection, KeyClass};
use halo_sync::domain::jobs::{JobState, JobSummary, NewJob};
use halo_sync::domain::runs::{RunKind, RunStatus, SyncRun};
use halo_sync::domain::{ConnectionId, OrgId, RunId};
use halo_sync::http::sdk::PromptSettings;
use halo_sync::http::sdk::rates::Quotas;
use halo_sync::http::{Limits, Program, program, server};
use halo_sync::jobs::{RuntimeHandle, SeededJitter};
use halo_sync::service::connections::webhook_path;
use halo_sync::service::{Connect, Failure, Request, ScheduleTemplate, Services};
use halo_sync::store::inbox::Delivery;
use halo_sync::store::mirror::StoredRecord;
use halo_sync::store::{self, OpenMode, Store, StoreConfig, Target};
use halo_sync::sync::audit::AUDIT_JOB;
use halo_sync::sync::credentials::Keyring;
use halo_sync::sync::providers::Providers;
use halo_sync::sync::run::RunLimits;
use halo_sync::telemetry::Metrics;
use halo_sync::{derive, registry, worker};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::clock::TestClock;
use super::postgres::Database;

/// The name of the connection that [`App::connect`] makes.
pub const STRIPE: &str = "stripe";
/// How long a condition that nobody announces is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stamps each behaviour (`async fn name(app: &App)`) once for SQLite and once for Postgres.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let app = crate::support::app::App::sqlite().await;
                super::$name(&app).await;
                app.end().await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(app) = crate::support::app::App::postgres().await else { return };
                super::$name(&app).await;
                app.end().await;
            })*
        }
    };
}
pub(crate) use on_both;

enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(Database),
}

/// The running program. [`App::end`] stops it, and fails when dead letters are left that nobody expected.
pub struct App {
    pub store: Arc<dyn Store>,
    pub services: Services,
    pub clock: TestClock,
    pub sandbox: Arc<StripeSandbox>,
    pub runtime: RuntimeHandle,
    pub org: OrgId,
    pub base: String,
    pub http: reqwest::Client,
    place: Place,
    stop: CancellationToken,
    server: JoinHandle<usize>,
    expected_dead: Mutex<Option<String>>,
}

fn sandbox_options(clock: &TestClock) -> Options {
    Options { clock: Arc::new(clock.clone()), ..Options::default() }
}

impl App {
    pub async fn sqlite() -> Self {
        let clock = TestClock::default();
        let sandbox = StripeSandbox::start(sandbox_options(&clock)).await.unwrap();
        Self::sqlite_with(clock, Arc::new(sandbox)).await
    }

    pub async fn postgres() -> Option<Self> {
        let clock = TestClock::default();
        let sandbox = StripeSandbox::start(sandbox_options(&clock)).await.unwrap();
        let database = Database::migrated().await?;
        Some(
            Self::start(Place::Postgres(database), clock, Arc::new(sandbox), derive::Settings::default())
                .await,
        )
    }

    /// Another installation that reads the same sandbox: what it makes of the account owes nothing to the
    /// past of this one.
    pub async fn fresh(&self) -> Self {
        Self::sqlite_with(self.clock.clone(), self.sandbox.clone()).await
    }

    /// As [`App::fresh`], deriving by other settings.
    pub async fn fresh_by(&self, settings: derive::Settings) -> Self {
        let place = Place::Sqlite(tempfile::tempdir().unwrap());
        Self::start(place, self.clock.clone(), self.sandbox.clone(), settings).await
    }

    async fn sqlite_with(clock: TestClock, sandbox: Arc<StripeSandbox>) -> Self {
        let place = Place::Sqlite(tempfile::tempdir().unwrap());
        Self::start(place, clock, sandbox, derive::Settings::default()).await
    }

    async fn start(
        place: Place,
        clock: TestClock,
        sandbox: Arc<StripeSandbox>,
        settings: derive::Settings,
    ) -> Self {
        let target = match &place {
            Place::Sqlite(folder) => Target::Sqlite(folder.path().join("halo.db")),
            Place::Postgres(database) => Target::Postgres(database.url.clone()),
        };
        let time: Arc<dyn Clock> = Arc::new(clock.clone());
        let store = store::open(&StoreConfig::new(target), OpenMode::Exclusive, time.clone()).await.unwrap();
        let http = HttpClient::new(HttpConfig::default(), time.clone()).unwrap();
        let keyring = Arc::new(Keyring::new([7; 32]));
        let providers = Providers::new(store.clone(), time.clone(), http, keyring, registry::connectors());
        let hourly = |kind, expression: &str| ScheduleTemplate {
            kind,
            expression: expression.to_owned(),
            time_zone: "UTC".to_owned(),
        };
        let services = Services {
            attributes: Arc::new(Attributes::new(store.clone(), time.clone())),
            store: store.clone(),
            providers: Arc::new(providers),
            clock: time,
            schedules: Arc::new(vec![
                hourly(RunKind::Incremental, "7 * * * *"),
                hourly(RunKind::FullResync, "23 3 * * *"),
            ]),
            audit: None,
            public_url: None,
        };
        let limits = RunLimits { pages: 3, time: Duration::from_secs(30) };
        let settings = Arc::new(settings);
        let runtime = worker::builder(&services, &settings, &store.jobs_signal(), limits)
            .jitter(Arc::new(SeededJitter::new(5)))
            // Scans run when the test says so.
            .housekeeping(false)
            .sole_process(true)
            .start()
            .await
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        // Tests call as fast as they can, all from one address.
        let limits = Limits { quotas: Quotas::NONE, ..Limits::default() };
        let router = program(Program {
            services: services.clone(),
            prompt: PromptSettings::default(),
            chat: Chat::new(None, services.clock.clone()),
            public_url: base.clone(),
            signature_tolerance: Duration::from_secs(300),
            limits: limits.clone(),
            metrics: Metrics::detached().unwrap(),
        });
        let stop = CancellationToken::new();
        Self {
            server: tokio::spawn(server::serve(listener, router, limits, stop.clone())),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            org: OrgId::default_org(),
            expected_dead: Mutex::default(),
            store,
            services,
            clock,
            sandbox,
            runtime,
            base,
            place,
            stop,
        }
    }

    /// Dead letters whose error holds this text are expected.
    pub fn expect_dead(&self, text: &str) {
        *self.expected_dead.lock().unwrap() = Some(text.to_owned());
    }

    /// Stops everything; fails for dead letters that were not expected, and for calls that did not pin the
    /// version of the provider's API.
    pub async fn end(self) {
        let expected = self.expected_dead.lock().unwrap().clone();
        for job in self.jobs(JobState::Dead).await {
            let error = job.error.clone().unwrap_or_default();
            assert!(expected.as_ref().is_some_and(|text| error.contains(text)), "a dead letter: {job:#?}");
        }
        assert_eq!(self.sandbox.unpinned_calls(), [""; 0]);
        self.runtime.stop(Duration::from_secs(10)).await;
        self.stop.cancel();
        self.server.await.unwrap();
        self.store.close().await;
        if let Place::Postgres(database) = self.place {
            database.drop_it().await;
        }
    }

    // --- time and work

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn pass(&self, seconds: i64) {
        self.clock.advance_us(seconds * 1_000_000);
    }

    /// Works until nothing is due within a few seconds (what a run postpones); longer waits stay.
    pub async fn drain(&self) {
        for _ in 0..1_000 {
            self.drain_due().await;
            let soon = self.now() + TimeDelta::seconds(5);
            let ready = self.jobs(JobState::Ready).await;
            let Some(next) = ready.iter().map(|job| job.at).filter(|at| *at <= soon).min() else { return };
            let wait = (next - self.now()).max(TimeDelta::zero());
            self.clock.advance_us(wait.num_microseconds().unwrap());
        }
        panic!("the queue never empties: {:#?}", self.jobs(JobState::Ready).await);
    }

    /// Works off what is due now.
    pub async fn drain_due(&self) {
        self.runtime.wake();
        self.runtime.drain().await;
    }

    /// Lets every retry and schedule-free wait come, until nothing waits.
    pub async fn drain_retries(&self) {
        for _ in 0..1_000 {
            self.drain().await;
            let Some(next) = self.jobs(JobState::Ready).await.iter().map(|job| job.at).min() else { return };
            let wait = (next - self.now()).max(TimeDelta::zero());
            self.clock.advance_us(wait.num_microseconds().unwrap());
        }
        panic!("the queue never empties: {:#?}", self.jobs(JobState::Ready).await);
    }

    pub async fn jobs(&self, state: JobState) -> Vec<JobSummary> {
        self.store.list_jobs(None, Some(state), 1_000).await.unwrap()
    }

    /// Polls within a bound.
    pub async fn until<F: Future<Output = bool>>(&self, what: &str, look: impl Fn() -> F) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !look().await {
            assert!(tokio::time::Instant::now() < end, "{what} does not come");
            tokio::task::yield_now().await;
        }
    }

    // --- requests

    pub async fn execute(&self, request: Request) -> Result<Value, Failure> {
        self.services.execute(&self.org, request).await
    }

    pub fn connect_request(&self, config: &Value) -> Connect {
        let mut settings = json!({ "base_url": self.sandbox.base_url(), "rate_limit": "none" });
        for (name, value) in config.as_object().into_iter().flatten() {
            settings[name] = value.clone();
        }
        Connect {
            connector: "stripe".to_owned(),
            name: STRIPE.to_owned(),
            config: settings,
            secrets: vec![("api_key".to_owned(), self.sandbox.api_key().to_owned().into())],
            webhook_secrets: vec![self.sandbox.webhook_secret().to_owned().into()],
            backfill: true,
        }
    }

    /// Connects the sandbox and begins its backfill; its webhooks come here.
    pub async fn connect(&self, config: Value) -> Connection {
        self.execute(Request::Connect(self.connect_request(&config))).await.unwrap();
        let connection = self.connection().await;
        self.sandbox.register_webhook(&self.webhook_url(&connection));
        connection
    }

    /// Connects, reads everything, derives.
    pub async fn connected(&self) -> Connection {
        let connection = self.connect(json!({})).await;
        self.drain().await;
        connection
    }

    /// As [`App::connected`], without its webhooks.
    pub async fn read_once(&self) {
        self.execute(Request::Connect(self.connect_request(&Value::Null))).await.unwrap();
        self.drain().await;
    }

    pub async fn connection(&self) -> Connection {
        self.store.find_connection(&self.org, STRIPE).await.unwrap().unwrap()
    }

    pub fn webhook_url(&self, connection: &Connection) -> String {
        format!("{}{}", self.base, webhook_path(connection))
    }

    /// Makes a run; works until it has ended.
    pub async fn sync(&self, full: bool) -> SyncRun {
        let id = self.begin_sync(full).await;
        self.drain().await;
        let run = self.run(&id).await;
        if run.status == RunStatus::Running {
            panic!("{run:#?} has not ended: {:#?}", self.jobs(JobState::Ready).await);
        }
        run
    }

    pub async fn begin_sync(&self, full: bool) -> RunId {
        let request = Request::Sync { connection: STRIPE.to_owned(), full, streams: Vec::new() };
        let answer = self.execute(request).await.unwrap();
        assert_eq!(answer["already_running"], false, "{answer}");
        RunId::from(answer["run"]["id"].as_str().unwrap())
    }

    pub async fn run(&self, id: &RunId) -> SyncRun {
        self.store.find_run(&self.org, id).await.unwrap().unwrap()
    }

    /// Does what a schedule's audit of a connection does.
    pub async fn scheduled_audit(&self, connection: &ConnectionId, repair: bool) {
        let job = NewJob {
            kind: AUDIT_JOB,
            org_id: self.org.clone(),
            connection_id: Some(connection.clone()),
            dedupe_key: None,
            args: json!({"kind": "audit", "sample": 1_000, "repair": repair}),
            run_at: self.now(),
            priority: 100,
            max_attempts: 3,
        };
        self.store.push_jobs(vec![job]).await.unwrap();
        self.drain().await;
    }

    /// The newest run.
    pub async fn last_run(&self) -> SyncRun {
        self.store.list_runs(&self.org, None, None, 1).await.unwrap().remove(0)
    }

    /// Posts an event as it was made; the status.
    pub async fn deliver(&self, event: &SandboxEvent) -> u16 {
        let delivered = self.sandbox.deliver(event).await;
        assert_eq!(delivered.len(), 1);
        delivered[0].status.expect("an answer")
    }

    /// Posts events, several at a time.
    pub async fn deliver_all(&self, events: impl IntoIterator<Item = &SandboxEvent>) {
        let posts: Vec<_> = events.into_iter().map(|event| self.deliver(event)).collect();
        let answers: Vec<u16> = futures_util::stream::iter(posts).buffer_unordered(16).collect().await;
        assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    }

    pub async fn deliveries(&self) -> Vec<Delivery> {
        self.store.list_deliveries(&self.org, None, None, 10_000).await.unwrap()
    }

    /// A key's text.
    pub async fn key(&self, class: KeyClass) -> (String, String) {
        let answer = self.execute(Request::CreateKey { class, name: "test".to_owned() }).await.unwrap();
        (answer["id"].as_str().unwrap().to_owned(), answer["key"].as_str().unwrap().to_owned())
    }

    /// `POST /api/sdk/chat/context`.
    pub async fn chat(&self, key: Option<&str>, body: &Value) -> (u16, Value) {
        let mut call = self.http.post(format!("{}/api/sdk/chat/context", self.base)).json(body);
        if let Some(key) = key {
            call = call.bearer_auth(key);
        }
        let answer = call.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }

    // --- what is stored

    pub async fn companies(&self) -> Vec<Company> {
        self.store.list_companies(&self.org, None, None, 10_000).await.unwrap().rows
    }

    /// The only company of that name.
    pub async fn company(&self, name: &str) -> Company {
        let mut named: Vec<_> = self.companies().await;
        named.retain(|company| company.fields.name.as_deref() == Some(name));
        assert_eq!(named.len(), 1, "{name}: {named:#?}");
        named.remove(0)
    }

    pub async fn document(&self, company: &Company) -> Value {
        self.store.find_derivation(&self.org, &company.id).await.unwrap().unwrap_or(Value::Null)
    }

    pub async fn record(&self, stream: &str, id: &str) -> Option<StoredRecord> {
        let connection: ConnectionId = self.connection().await.id;
        let keys = [RecordKey::new(stream, id)];
        self.store.load_records(&self.org, &connection, &keys).await.unwrap().pop()
    }

    /// Every row of a table as text, sorted.
    pub async fn dump(&self, table: &str) -> Vec<String> {
        let mut rows: Vec<String> = match &self.place {
            Place::Sqlite(folder) => {
                let url = format!("sqlite://{}?mode=ro", folder.path().join("halo.db").display());
                let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
                let names: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info($1)")
                    .bind(table)
                    .fetch_all(&mut database)
                    .await
                    .unwrap();
                let quoted: Vec<_> = names.iter().map(|name| format!("'{name}=' || quote({name})")).collect();
                let sql = format!("SELECT {} FROM {table}", quoted.join(" || ' ' || "));
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut database).await.unwrap()
            }
            Place::Postgres(database) => {
                let mut database = sqlx::PgConnection::connect(&database.url).await.unwrap();
                let sql = format!("SELECT CAST(to_jsonb(t) AS TEXT) FROM {table} t");
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut database).await.unwrap()
            }
        };
        rows.sort_unstable();
        rows
    }

    /// The tables that hold anything of the program's.
    pub async fn tables(&self) -> Vec<String> {
        match &self.place {
            Place::Sqlite(folder) => {
                let url = format!("sqlite://{}?mode=ro", folder.path().join("halo.db").display());
                let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
                let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
                sqlx::query_scalar(sql).fetch_all(&mut database).await.unwrap()
            }
            Place::Postgres(database) => {
                let mut database = sqlx::PgConnection::connect(&database.url).await.unwrap();
                let sql = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'";
                sqlx::query_scalar(sql).fetch_all(&mut database).await.unwrap()
            }
        }
    }

    /// Places that hold one of the texts, as text or in the digits of bytes.
    pub async fn holding(&self, canaries: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for table in self.tables().await {
            for row in self.dump(&table).await {
                let folded = row.to_lowercase();
                for canary in canaries {
                    let canary = canary.to_lowercase();
                    let digits: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
                    if folded.contains(&canary) || folded.contains(&digits) {
                        found.push(format!("{canary} in {table}: {row}"));
                    }
                }
            }
        }
        found
    }

    /// Runs a statement past the store, as its owner.
    pub async fn run_sql(&self, sql: &'static str) {
        self.alter(sql, sql).await;
    }

    /// Every row of an organisation as text, but for its keys, which note when they were used.
    pub async fn rows_of(&self, org: &str) -> BTreeSet<String> {
        let named = [format!("'{org}'"), format!("\"{org}\"")];
        let mut rows = BTreeSet::new();
        for table in self.tables().await.into_iter().filter(|table| table != "api_keys") {
            let of_table = self.dump(&table).await.into_iter();
            let own = of_table.filter(|row| named.iter().any(|org| row.contains(org)));
            rows.extend(own.map(|row| format!("{table}: {row}")));
        }
        rows
    }

    /// From now on no delivery can be stored: a trigger refuses them, as a full disk would.
    pub async fn break_inbox(&self) {
        let (sqlite, postgres) = (
            "CREATE TRIGGER broken BEFORE INSERT ON deliveries BEGIN SELECT RAISE(ABORT, 'planned'); END",
            "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN RAISE EXCEPTION ''planned''; END'; \
             CREATE TRIGGER broken BEFORE INSERT ON deliveries FOR EACH STATEMENT EXECUTE FUNCTION broken()",
        );
        self.alter(sqlite, postgres).await;
    }

    /// Deliveries can be stored again.
    pub async fn mend_inbox(&self) {
        self.alter("DROP TRIGGER broken", "DROP TRIGGER broken ON deliveries").await;
    }

    /// Runs statements past the store, as its owner.
    async fn alter(&self, sqlite: &'static str, postgres: &'static str) {
        match &self.place {
            Place::Sqlite(folder) => {
                let url = format!("sqlite://{}", folder.path().join("halo.db").display());
                let mut database = sqlx::SqliteConnection::connect(&url).await.unwrap();
                sqlx::raw_sql(sqlite).execute(&mut database).await.unwrap();
                database.close().await.unwrap();
            }
            Place::Postgres(database) => {
                let mut database = sqlx::PgConnection::connect(&database.url).await.unwrap();
                sqlx::raw_sql(postgres).execute(&mut database).await.unwrap();
                database.close().await.unwrap();
            }
        }
    }

    // --- the sandbox

    pub fn call(&self, method: &str, path: &str, form: Value) -> Value {
        self.sandbox.call(method, path, &form).unwrap()
    }

    /// A product with a monthly price of so many cents (`prod_NAME`, `price_NAME`).
    pub fn price(&self, name: &str, cents: i64) {
        self.call("POST", "/v1/products", json!({"id": format!("prod_{name}"), "name": name}));
        self.call(
            "POST",
            "/v1/prices",
            json!({
                "id": format!("price_{name}"), "product": format!("prod_{name}"), "currency": "usd",
                "unit_amount": cents.to_string(), "recurring": {"interval": "month"},
            }),
        );
    }

    /// A customer with a subscription to that price; their ids.
    pub fn customer(&self, name: &str, price: &str) -> (String, String) {
        let customer = self.call("POST", "/v1/customers", json!({"name": name}));
        let customer = customer["id"].as_str().unwrap().to_owned();
        let form = json!({"customer": customer, "items": [{"price": format!("price_{price}")}]});
        let subscription = self.call("POST", "/v1/subscriptions", form);
        (customer, subscription["id"].as_str().unwrap().to_owned())
    }

    /// Forgets the events that were made so far: they are lost.
    pub fn lose_events(&self) {
        drop(self.sandbox.take_events());
    }
}
