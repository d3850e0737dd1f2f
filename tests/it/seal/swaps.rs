//! A ciphertext in another place opens nothing, and only the connection concerned needs attention.

use connector_sdk::{Mode, Priority};
use halo_sync::domain::connections::{Connection, ConnectionStatus};
use halo_sync::domain::{ConnectionId, OrgId};
use halo_sync::service::Request;
use halo_sync::store::settings::SealedSecret;
use halo_sync::sync::SyncError;
use halo_sync::sync::providers::WEBHOOK_SECRET;
use serde_json::{Value, json};

use crate::support::app::{App, STRIPE, on_both};

on_both!(a_thousand_swaps_fail_closed, a_swapped_secret_stops_its_connection_alone);

const SWAPS: usize = 1_000;
const CONNECTIONS: usize = 8;
/// The names of each connection's secrets, all of one length, so that nothing but their place tells them apart.
const NAMES: [&str; 3] = ["access_token", "refresh_token", WEBHOOK_SECRET];

fn connection(app: &App, org: &OrgId, n: usize) -> Connection {
    Connection {
        id: ConnectionId(format!("con_{org}_{n}")),
        org_id: org.clone(),
        connector: STRIPE.to_owned(),
        name: format!("{STRIPE}-{n}"),
        account_id: None,
        account_name: None,
        mode: Mode::Test,
        status: ConnectionStatus::Active,
        status_reason: None,
        config: json!({}),
        limits: Value::Null,
        checked_at: None,
        created_at: app.now(),
        updated_at: app.now(),
    }
}

/// Numbers that look random and are the same each time.
struct Draws(u64);

impl Draws {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

async fn a_thousand_swaps_fail_closed(app: &App) {
    let keyring = app.services.providers.keyring();
    let orgs = [app.org.clone(), OrgId::from("org_b")];
    app.store.put_org(&orgs[1], "B", &json!({}), app.now()).await.unwrap();
    let mut rows: Vec<(Connection, SealedSecret)> = Vec::new();
    for org in &orgs {
        for n in 0..CONNECTIONS {
            let connection = connection(app, org, n);
            let seal = |name: &str| {
                keyring.seal(org, &connection.id, name, 0, &format!("{org} {n} {name}").into()).unwrap()
            };
            let secrets = NAMES.map(seal);
            app.store.put_connection(&connection, &secrets).await.unwrap();
            rows.extend(secrets.into_iter().map(|secret| (connection.clone(), secret)));
        }
    }
    let active = async || {
        let all = app.store.list_connections(None).await.unwrap();
        all.into_iter().filter(|c| c.status == ConnectionStatus::Active).count()
    };
    let mut draws = Draws(5);
    for n in 0..SWAPS {
        let (from, to) = (draws.below(rows.len()), draws.below(rows.len() - 1));
        let to = if to < from { to } else { to + 1 };
        let (connection, own) = &rows[to];
        let foreign = SealedSecret { sealed: rows[from].1.sealed.clone(), ..own.clone() };
        app.store.put_secret(&connection.org_id, &connection.id, &foreign).await.unwrap();
        let providers = &app.services.providers;
        let refused = match own.name.as_str() {
            WEBHOOK_SECRET => providers.webhook_secrets(connection).await.map(drop),
            _ => providers.session(connection, Priority::Webhook).await.map(drop),
        };
        assert!(matches!(refused, Err(SyncError::Credential(_))), "swap {n}: {refused:?}");
        if n % 20 == 0 && own.name != WEBHOOK_SECRET {
            let check = Request::CheckConnection { connection: connection.id.0.clone() };
            let failure = app.services.execute(&connection.org_id, check).await.unwrap_err();
            assert!(failure.message.contains(&own.name), "{failure:?}");
            assert_eq!(active().await, 2 * CONNECTIONS - 1, "no other is concerned");
            let now = app.store.find_connection_any_org(&connection.id).await.unwrap().unwrap();
            assert_eq!(now.status, ConnectionStatus::NeedsAttention);
            app.store.update_connection(connection).await.unwrap();
        }
        app.store.put_secret(&connection.org_id, &connection.id, own).await.unwrap();
    }
    assert_eq!(active().await, 2 * CONNECTIONS);
}

async fn a_swapped_secret_stops_its_connection_alone(app: &App) {
    app.connected().await;
    app.expect_dead("does not open");
    let connection = app.connection().await;
    let beside = self::connection(app, &app.org, 1);
    app.store.put_connection(&beside, &[]).await.unwrap();
    let own = app.store.load_secrets(&app.org, &connection.id).await.unwrap();
    let secret = |name: &str| own.iter().find(|secret| secret.name == name).unwrap().clone();
    let (key, webhook) = (secret("api_key"), secret(WEBHOOK_SECRET));
    let status = async || app.connection().await.status;

    // The webhook's secret in the place of the key: reading stops, and says why.
    let swapped = SealedSecret { sealed: webhook.sealed.clone(), ..key.clone() };
    app.store.put_secret(&app.org, &connection.id, &swapped).await.unwrap();
    app.execute(Request::Sync { connection: STRIPE.to_owned(), full: false, streams: Vec::new() })
        .await
        .unwrap();
    app.drain().await;
    let stopped = app.connection().await;
    assert_eq!(stopped.status, ConnectionStatus::NeedsAttention);
    let why = stopped.status_reason.unwrap();
    assert!(why.contains("api_key does not open"), "{why}");
    app.store.put_secret(&app.org, &connection.id, &key).await.unwrap();
    app.execute(Request::CheckConnection { connection: STRIPE.to_owned() }).await.unwrap();
    assert_eq!(status().await, ConnectionStatus::Active);

    // The key in the place of the webhook's secret: deliveries are told to come again.
    let swapped = SealedSecret { sealed: key.sealed.clone(), ..webhook.clone() };
    app.store.put_secret(&app.org, &connection.id, &swapped).await.unwrap();
    app.call("POST", "/v1/customers", json!({"name": "Acme"}));
    let events = app.sandbox.take_events();
    let event = events.last().unwrap();
    // What is remembered of the connection holds for a second.
    let mut tries = 0;
    while app.deliver(event).await != 503 {
        tries += 1;
        assert!(tries < 200, "still taken");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(status().await, ConnectionStatus::NeedsAttention);
    app.store.put_secret(&app.org, &connection.id, &webhook).await.unwrap();
    app.execute(Request::CheckConnection { connection: STRIPE.to_owned() }).await.unwrap();
    assert_eq!(app.deliver(event).await, 200);
    app.drain().await;
    let beside = app.store.find_connection_any_org(&beside.id).await.unwrap().unwrap();
    assert_eq!(beside.status, ConnectionStatus::Active);
}
