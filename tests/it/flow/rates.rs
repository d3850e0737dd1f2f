//! Two processes on one Postgres read one account: together they keep to its limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_sdk::http::HttpConfig;
use connector_sdk::{Clock, HttpClient, Priority, ReadMode, Secrets, SystemClock};
use connector_testkit::sandbox::stripe::{Options, StripeSandbox};
use halo_sync::domain::OrgId;
use halo_sync::registry;
use halo_sync::store::{self, OpenMode, Store, StoreConfig, Target};
use halo_sync::sync::credentials::Keyring;
use halo_sync::sync::providers::Providers;
use serde_json::json;

use crate::store::settings::connection;
use crate::support::postgres::Database;

/// Calls of each process.
const CALLS: usize = 40;
/// What the Stripe connector allows itself in test mode, calls a second.
const RATE: f64 = 20.0;

async fn process(database: &Database) -> (Arc<dyn Store>, Providers) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = StoreConfig::new(Target::Postgres(database.url.clone()));
    let store = store::open(&config, OpenMode::Exclusive, clock.clone()).await.unwrap();
    let http = HttpClient::new(HttpConfig::default(), clock.clone()).unwrap();
    let keyring = Arc::new(Keyring::new([7; 32]));
    let providers = Providers::new(store.clone(), clock, http, keyring, registry::connectors());
    (store, providers)
}

#[tokio::test]
async fn two_processes_keep_to_one_limit() {
    let Some(database) = Database::migrated().await else { return };
    let sandbox = Arc::new(StripeSandbox::start(Options::default()).await.unwrap());
    sandbox.seed_customers(3);
    let mut of_sandbox = connection(&OrgId::default_org(), "con_1", "stripe");
    of_sandbox.config = json!({"base_url": sandbox.base_url()});

    let processes = [process(&database).await, process(&database).await];
    let began = Instant::now();
    let mut reading = Vec::new();
    for (_, providers) in &processes {
        let key = [("api_key".to_owned(), sandbox.api_key().to_owned().into())];
        let session = providers
            .session_with(&of_sandbox, Secrets(key.into_iter().collect()), Priority::Backfill)
            .unwrap();
        let session = Arc::new(session);
        let partition = session.plan("customers", ReadMode::Incremental, SystemClock.now()).await.unwrap();
        for _ in 0..CALLS {
            let (session, partition) = (session.clone(), partition[0].clone());
            reading.push(tokio::spawn(async move {
                let page = session.read_page("customers", ReadMode::Incremental, &partition, None).await;
                page.unwrap().records.len()
            }));
        }
    }
    for page in reading {
        assert_eq!(page.await.unwrap(), 3);
    }
    let took = began.elapsed();
    let calls = sandbox.calls("GET /v1/customers");
    assert_eq!(calls, 2 * CALLS as u64);
    // Two that were there at the start; a twentieth more than the limit is the most that may be.
    let least = Duration::from_secs_f64((2.0 * CALLS as f64 - 2.0) / (RATE * 1.05));
    assert!(took >= least, "{calls} calls in {took:?}, not before {least:?}");

    for (store, _) in &processes {
        store.close().await;
    }
    database.drop_it().await;
}
