//! The program with a HubSpot and a PandaDoc that grant access by OAuth, and a second process beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use connector_sdk::http::HttpConfig;
use connector_sdk::{Clock, HttpClient, Priority, Session};
use connector_testkit::sandbox::hubspot::{self, HubSpotSandbox};
use connector_testkit::sandbox::oauth::OAuthServer;
use connector_testkit::sandbox::pandadoc::{self, PandaDocSandbox};
use halo_sync::attributes::Attributes;
use halo_sync::chat::Chat;
use halo_sync::domain::OrgId;
use halo_sync::domain::connections::Connection;
use halo_sync::domain::runs::{RunStatus, SyncRun};
use halo_sync::http::sdk::PromptSettings;
use halo_sync::http::sdk::rates::Quotas;
use halo_sync::http::{Limits, Program, program, server};
use halo_sync::jobs::{RuntimeHandle, SeededJitter};
use halo_sync::service::{Authorize, Request, Services};
use halo_sync::store::{self, OpenMode, Store, StoreConfig, Target};
use halo_sync::sync::credentials::Keyring;
use halo_sync::sync::oauth::{App, Begun};
use halo_sync::sync::providers::Providers;
use halo_sync::sync::run::RunLimits;
use halo_sync::telemetry::Metrics;
use halo_sync::{derive, registry, worker};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::clock::TestClock;
use crate::support::postgres::Database;

/// How long a condition that nobody announces is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stamps each behaviour (`async fn name(stand: &Stand)`) once for SQLite and once for Postgres.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let stand = crate::oauth::stand::Stand::sqlite().await;
                super::$name(&stand).await;
                stand.end().await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(stand) = crate::oauth::stand::Stand::postgres().await else { return };
                super::$name(&stand).await;
                stand.end().await;
            })*
        }
    };
}
pub(super) use on_both;

enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(Database),
}

pub(super) struct Stand {
    pub(super) store: Arc<dyn Store>,
    pub(super) services: Services,
    /// Another process on the same database; on SQLite, where there can be none, another one's worth of memory.
    pub(super) second: Services,
    pub(super) clock: TestClock,
    pub(super) hub: HubSpotSandbox,
    pub(super) panda: PandaDocSandbox,
    pub(super) org: OrgId,
    pub(super) base: String,
    pub(super) browser: reqwest::Client,
    runtime: RuntimeHandle,
    place: Place,
    stop: CancellationToken,
    server: JoinHandle<usize>,
}

fn app(base: &str, server: &OAuthServer) -> App {
    App {
        client_id: server.client_id().to_owned(),
        client_secret: server.client_secret().to_owned().into(),
        authorize_url: Some(format!("{base}{}", server.authorize_path())),
        token_url: Some(format!("{base}{}", server.token_path())),
        revoke_url: server.revoke_path().map(|path| format!("{base}{path}")),
        scopes: None,
    }
}

impl Stand {
    pub(super) async fn sqlite() -> Self {
        Self::start(Place::Sqlite(tempfile::tempdir().unwrap())).await
    }

    pub(super) async fn postgres() -> Option<Self> {
        Some(Self::start(Place::Postgres(Database::migrated().await?)).await)
    }

    async fn start(place: Place) -> Self {
        let clock = TestClock::default();
        let time: Arc<dyn Clock> = Arc::new(clock.clone());
        let options = hubspot::Options { clock: time.clone(), ..hubspot::Options::default() };
        let hub = HubSpotSandbox::start(options).await.unwrap();
        let options = pandadoc::Options { clock: time.clone(), ..pandadoc::Options::default() };
        let panda = PandaDocSandbox::start(options).await.unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        for (server, connector) in [(hub.oauth(), "hubspot"), (panda.oauth(), "pandadoc")] {
            server.register_redirect(&format!("{base}/api/integrations/{connector}/callback"));
        }
        let target = match &place {
            Place::Sqlite(folder) => Target::Sqlite(folder.path().join("halo.db")),
            Place::Postgres(database) => Target::Postgres(database.url.clone()),
        };
        let config = StoreConfig::new(target);
        let store = store::open(&config, OpenMode::Exclusive, time.clone()).await.unwrap();
        let beside = match &place {
            Place::Sqlite(_) => store.clone(),
            Place::Postgres(_) => store::open(&config, OpenMode::Exclusive, time.clone()).await.unwrap(),
        };
        let services = |store: Arc<dyn Store>| {
            let http = HttpClient::new(HttpConfig::default(), time.clone()).unwrap();
            let keyring = Arc::new(Keyring::new([7; 32]));
            let apps = BTreeMap::from([
                ("hubspot".to_owned(), app(&hub.base_url(), hub.oauth())),
                ("pandadoc".to_owned(), app(&panda.base_url(), panda.oauth())),
            ]);
            let providers =
                Providers::new(store.clone(), time.clone(), http, keyring, registry::connectors());
            Services {
                attributes: Arc::new(Attributes::new(store.clone(), time.clone())),
                store,
                providers: Arc::new(providers.with_apps(apps).unwrap()),
                clock: time.clone(),
                schedules: Arc::new(Vec::new()),
                audit: None,
                public_url: Some(base.clone()),
            }
        };
        let (first, second) = (services(store.clone()), services(beside));
        let limits = RunLimits { pages: 1_000, time: Duration::from_secs(300) };
        let settings = Arc::new(derive::Settings::default());
        let runtime = worker::builder(&first, &settings, &store.jobs_signal(), limits)
            .jitter(Arc::new(SeededJitter::new(5)))
            .housekeeping(false)
            .sole_process(true)
            .start()
            .await
            .unwrap();
        let limits = Limits { quotas: Quotas::NONE, ..Limits::default() };
        let router = program(Program {
            services: first.clone(),
            prompt: PromptSettings::default(),
            chat: Chat::new(None, time.clone()),
            public_url: base.clone(),
            signature_tolerance: Duration::from_secs(300),
            limits: limits.clone(),
            metrics: Metrics::detached().unwrap(),
        });
        let stop = CancellationToken::new();
        Self {
            server: tokio::spawn(server::serve(listener, router, limits, stop.clone())),
            browser: reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            org: OrgId::default_org(),
            store,
            services: first,
            second,
            clock,
            hub,
            panda,
            base,
            runtime,
            place,
            stop,
        }
    }

    pub(super) async fn end(self) {
        self.runtime.stop(Duration::from_secs(10)).await;
        self.stop.cancel();
        self.server.await.unwrap();
        self.second.store.close().await;
        self.store.close().await;
        if let Place::Postgres(database) = self.place {
            database.drop_it().await;
        }
    }

    pub(super) fn pass(&self, seconds: i64) {
        self.clock.advance_us(seconds * 1_000_000);
    }

    fn api(&self, connector: &str) -> String {
        if connector == "hubspot" { self.hub.base_url() } else { self.panda.base_url() }
    }

    pub(super) async fn begin_for(&self, org: &OrgId, connector: &str, name: &str) -> Begun {
        let config = json!({ "base_url": self.api(connector), "rate_limit": "none" });
        let authorize = Authorize {
            connector: connector.to_owned(),
            name: name.to_owned(),
            config,
            webhook_secrets: Vec::new(),
        };
        let begun = self.services.execute(org, Request::Authorize(authorize)).await.unwrap();
        serde_json::from_value(begun).unwrap()
    }

    pub(super) async fn begin(&self, connector: &str) -> Begun {
        self.begin_for(&self.org.clone(), connector, connector).await
    }

    /// Where the provider sends a person back to who grants what is asked for there.
    pub(super) async fn grant(&self, authorize_url: &str) -> String {
        let answer = self.browser.get(authorize_url).send().await.unwrap();
        assert_eq!(answer.status(), 302, "{authorize_url}");
        answer.headers()["location"].to_str().unwrap().to_owned()
    }

    /// The page that a person sees.
    pub(super) async fn visit(&self, url: &str) -> (u16, String) {
        let answer = self.browser.get(url).send().await.unwrap();
        assert!(answer.headers().get("location").is_none(), "nobody is sent anywhere");
        assert!(
            answer.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'")
        );
        assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap())
    }

    /// Connects an account, and lets its first read end.
    pub(super) async fn connect(&self, connector: &str) -> Connection {
        let begun = self.begin(connector).await;
        let back = self.grant(&begun.authorize_url).await;
        let (status, page) = self.visit(&back).await;
        assert_eq!(status, 200, "{page}");
        self.ended().await;
        self.connection(connector).await.unwrap()
    }

    pub(super) async fn connection(&self, name: &str) -> Option<Connection> {
        self.store.find_connection(&self.org, name).await.unwrap()
    }

    pub(super) async fn session(services: &Services, connection: &Connection) -> Box<dyn Session> {
        services.providers.session(connection, Priority::Incremental).await.unwrap()
    }

    /// The newest run, when no run is at work.
    pub(super) async fn ended(&self) -> SyncRun {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.runtime.wake();
            self.runtime.drain().await;
            let runs = self.store.list_runs(&self.org, None, None, 100).await.unwrap();
            if runs.iter().all(|run| run.status != RunStatus::Running) {
                return runs.into_iter().next().unwrap();
            }
            assert!(tokio::time::Instant::now() < end, "a run does not end: {runs:#?}");
            // What a run postpones: its slices, and its tries.
            self.clock.advance_us(1_000_000);
        }
    }

    /// Looks until it is so, within a bound.
    pub(super) async fn until(&self, what: &str, look: impl Fn() -> bool) {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !look() {
            assert!(tokio::time::Instant::now() < end, "{what} does not come");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(super) async fn execute(&self, request: Request) -> Value {
        self.services.execute(&self.org, request).await.unwrap()
    }

    /// Rows of a table.
    pub(super) async fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        match &self.place {
            Place::Sqlite(folder) => {
                let url = format!("sqlite://{}?mode=ro", folder.path().join("halo.db").display());
                let mut c = sqlx::SqliteConnection::connect(&url).await.unwrap();
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut c).await.unwrap()
            }
            Place::Postgres(database) => {
                let mut c = sqlx::PgConnection::connect(&database.url).await.unwrap();
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut c).await.unwrap()
            }
        }
    }
}
