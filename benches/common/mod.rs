//! What the benchmarks of the whole program share: figures beside their goals, parts of a measurement in
//! processes of their own, and the program put together as `serve` does it.

pub mod client;
pub mod figures;
pub mod process;
pub mod runs;
#[expect(clippy::unwrap_used, clippy::print_stderr, reason = "written for tests")]
pub mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use connector_sdk::http::HttpConfig;
use connector_sdk::{Clock, HttpClient, SystemClock};
use connector_testkit::sandbox::stripe::Options;
use halo_sync::domain::OrgId;
use halo_sync::http::webhooks::{Webhooks, routes};
use halo_sync::http::{self, Limits};
use halo_sync::registry;
use halo_sync::service::{Connect, Services};
use halo_sync::store::{self, OpenMode, StoreConfig, Target};
use halo_sync::sync::credentials::Keyring;
use halo_sync::sync::providers::Providers;
use halo_sync::webhooks::inbox::Inbox;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The organisation that everything is measured in.
pub fn org() -> OrgId {
    OrgId("default".to_owned())
}

/// Opens a store (`sqlite:PATH` by its path, else a Postgres URL) and what stands on it.
pub async fn services(place: &str) -> Services {
    let target = match place.starts_with("postgres") {
        true => Target::Postgres(place.to_owned()),
        false => Target::Sqlite(place.into()),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = StoreConfig::new(target);
    let store = store::open(&config, OpenMode::Exclusive, clock.clone()).await.expect("the store opens");
    store.put_org(&org(), "", &json!({}), clock.now()).await.expect("an organisation");
    connector_testkit::install_crypto();
    let http = HttpClient::new(HttpConfig::default(), clock.clone()).expect("an HTTP client");
    let keyring = Arc::new(Keyring::new([7; 32]));
    let providers = Providers::new(store.clone(), clock.clone(), http, keyring, registry::connectors());
    Services {
        attributes: Arc::new(halo_sync::attributes::Attributes::new(store.clone(), clock.clone())),
        store,
        providers: Arc::new(providers),
        clock,
        schedules: Arc::default(),
        audit: None,
        public_url: None,
    }
}

/// The request that connects the sandbox at that address.
pub fn connect(base_url: &str, backfill: bool) -> Connect {
    let sandbox = Options::default();
    Connect {
        connector: "stripe".to_owned(),
        name: "sandbox".to_owned(),
        config: json!({ "base_url": base_url, "rate_limit": "none" }),
        secrets: vec![("api_key".to_owned(), sandbox.api_key.into())],
        webhook_secrets: vec![sandbox.webhook_secret.into()],
        backfill,
    }
}

/// The routes that take webhooks at that address.
pub fn webhooks(services: &Services, address: SocketAddr) -> Router {
    let inbox = Arc::new(Inbox::new(services.store.clone(), services.providers.clone()));
    routes(Webhooks {
        inbox,
        clock: services.clock.clone(),
        public_url: format!("http://{address}").into(),
        tolerance: Duration::from_secs(300),
    })
}

/// Serves a router as `serve` does until the part ends. Prints the address, and what the starter needs beside it,
/// when it is ready.
pub async fn serve(listener: TcpListener, router: Router, services: &Services, beside: &str) {
    let address = listener.local_addr().expect("an address");
    let limits = Limits::default();
    let router = http::base(router, limits.clone(), services.clock.clone());
    let stop = CancellationToken::new();
    let server = tokio::spawn(http::server::serve(listener, router, limits, stop.clone()));
    println!("{address} {beside}");
    let _ = tokio::task::spawn_blocking(process::wait_for_end).await;
    stop.cancel();
    let _ = server.await;
}

/// A runtime with as many threads as the figures are given for.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}
