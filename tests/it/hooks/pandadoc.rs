//! PandaDoc's deliveries: an organisation in the query, arrays, and subscriptions that PandaDoc switches off.

use std::sync::Arc;

use connector_sdk::RecordKey;
use connector_testkit::parts::shared_or_skip;
use connector_testkit::sandbox::pandadoc::{Options, PandaDocSandbox, sign};
use halo_sync::domain::connections::Connection;
use halo_sync::jobs::Scan as _;
use halo_sync::service::{Connect, Request};
use halo_sync::webhooks::endpoint::UnseenEndpoints;
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(
    arrays_are_taken_once_for_the_team_in_the_query,
    the_vectors_hold_through_the_server,
    a_subscription_that_pandadoc_switched_off_is_reported,
);

const PANDADOC: &str = "pandadoc";

async fn sandbox(app: &App) -> PandaDocSandbox {
    let clock = Arc::new(app.clock.clone());
    PandaDocSandbox::start(Options { clock, ..Options::default() }).await.unwrap()
}

async fn connect(app: &App, sandbox: &PandaDocSandbox, key: Option<&str>) -> Connection {
    let request = Connect {
        connector: PANDADOC.to_owned(),
        name: PANDADOC.to_owned(),
        // A sandbox account may be told to send to this machine.
        config: json!({"base_url": sandbox.base_url(), "rate_limit": "none", "sandbox": true}),
        secrets: vec![("api_key".to_owned(), sandbox.api_key().to_owned().into())],
        webhook_secrets: key.map(|key| key.to_owned().into()).into_iter().collect(),
        backfill: true,
    };
    let answer = app.execute(Request::Connect(request)).await.unwrap();
    assert_eq!(answer["webhook_path"], format!("/api/integrations/pandadoc/webhook?team={}", app.org));
    app.drain().await;
    drop(sandbox.take_events());
    app.store.find_connection(&app.org, PANDADOC).await.unwrap().unwrap()
}

async fn register(app: &App) {
    let public_url = Some(app.base.clone());
    let request = Request::RegisterWebhook { connection: PANDADOC.to_owned(), public_url };
    app.execute(request).await.unwrap();
}

async fn post(app: &App, query: &str, body: &str) -> u16 {
    let url = format!("{}/api/integrations/pandadoc/webhook{query}", app.base);
    app.http.post(url).body(body.to_owned()).send().await.unwrap().status().as_u16()
}

async fn arrays_are_taken_once_for_the_team_in_the_query(app: &App) {
    let sandbox = sandbox(app).await;
    let connection = connect(app, &sandbox, None).await;
    register(app).await;
    let subscription = sandbox.subscriptions().remove(0);
    let (base, org) = (&app.base, &app.org);
    let address = format!("{base}/api/integrations/pandadoc/webhook?team={org}");
    assert_eq!(subscription["url"], address.as_str());
    let ids = [sandbox.create("First", "jane@acme.example"), sandbox.create("Second", "joe@bolt.example")];
    ids.iter().for_each(|id| sandbox.complete(id).unwrap());
    let events = sandbox.take_events();
    // As PandaDoc sends them, all in one array; then the same again with another id in the header.
    for _ in 0..2 {
        let sent = sandbox.deliver(&events).await;
        assert!(!sent.is_empty() && sent.iter().all(|sent| sent.status == Some(200)), "{sent:?}");
    }
    let notifications: std::collections::BTreeSet<&str> =
        events.iter().map(|event| event.notification.as_str()).collect();
    assert_eq!(app.deliveries().await.len(), notifications.len());
    for delivery in app.deliveries().await {
        let whole = app.store.find_delivery(&app.org, delivery.id.as_str()).await.unwrap().unwrap();
        let own: Value = serde_json::from_slice(&whole.body).unwrap();
        assert_eq!(own.as_array().map(Vec::len), Some(1));
    }
    app.drain().await;
    let keys = ids.clone().map(|id| RecordKey::new("documents", id));
    let stored = app.store.load_records(&app.org, &connection.id, &keys).await.unwrap();
    assert_eq!(stored.len(), 2);
    assert!(stored.iter().all(|record| record.payload.contains("document.completed")));

    sandbox.delete(&ids[0]).unwrap();
    sandbox.flush().await;
    app.drain().await;
    let gone = app.store.load_records(&app.org, &connection.id, &keys[..1]).await.unwrap();
    assert!(gone.iter().all(|record| record.deleted_at.is_some()), "{gone:?}");

    // Whose it is must be said once, and be right.
    let key = subscription["shared_key"].as_str().unwrap();
    let signature = sign(key, b"[]");
    for (query, status) in [
        (format!("?team={org}&signature={signature}"), 200),
        (format!("?signature={signature}"), 200),
        (format!("?team={org}&team={org}&signature={signature}"), 404),
        (format!("?team=org_nobody&signature={signature}"), 404),
        (format!("?team={org}&signature={signature}&signature={signature}"), 400),
        (format!("?team={org}&signature={}", sign("another", b"[]")), 400),
        (format!("?team={org}"), 400),
        (format!("/{}?signature={signature}", connection.id), 200),
        (format!("/{org}?signature={signature}"), 200),
    ] {
        assert_eq!(post(app, &query, "[]").await, status, "{query}");
    }
}

async fn the_vectors_hold_through_the_server(app: &App) {
    let Some(path) = shared_or_skip("data", "data/signatures/signature_vectors.json") else { return };
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let sandbox = sandbox(app).await;
    for vector in all["pandadoc"].as_array().unwrap() {
        let text = |name: &str| vector[name].as_str().unwrap();
        connect(app, &sandbox, Some(text("shared_key"))).await;
        let query = format!("?team={}&signature={}", app.org, text("signature"));
        let wanted = if vector["valid"] == true { 200 } else { 400 };
        // What is remembered of the secrets holds for a second.
        app.until("the verdict", async || post(app, &query, text("body")).await == wanted).await;
    }
    app.drain().await;
}

async fn a_subscription_that_pandadoc_switched_off_is_reported(app: &App) {
    let sandbox = sandbox(app).await;
    let connection = connect(app, &sandbox, None).await;
    register(app).await;
    let faults = async || {
        app.pass(3_700);
        let scan = UnseenEndpoints { store: app.store.clone(), by_url: true };
        assert_eq!(scan.run(app.now()).await.unwrap(), 1);
        app.drain().await;
        let seen = app.store.find_endpoint(&app.org, &connection.id).await.unwrap().unwrap();
        seen.faults.into_iter().map(|fault| fault.code).collect::<Vec<_>>()
    };
    assert_eq!(faults().await, [""; 0]);
    let id = sandbox.subscriptions()[0]["uuid"].as_str().unwrap().to_owned();
    assert!(sandbox.change_subscription(&id, |own| own["status"] = json!("DEACTIVATED")));
    assert_eq!(faults().await, ["disabled"]);
    register(app).await;
    assert_eq!(sandbox.subscriptions()[0]["status"], "ACTIVE");
    assert_eq!(faults().await, [""; 0]);
}
