//! HubSpot's deliveries: one address of the organisation, batches of many portals, signed in version 3.

use connector_testkit::sandbox::hubspot::{
    HubSpotSandbox, Kind, Options, SandboxEvent, batch, sign_v1, sign_v2, sign_v3,
};
use halo_sync::domain::OrgId;
use halo_sync::domain::connections::Connection;
use halo_sync::service::{Connect, Request};
use halo_sync::store::inbox::Delivery;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::support::app::{App, on_both};

on_both!(
    events_of_many_portals_go_to_their_connections,
    only_version_3_is_taken_unless_it_is_said,
    a_secret_opens_its_own_organisation_alone,
    one_app_serves_the_portals_of_all_organisations,
    what_another_secret_signs_reaches_no_other_organisation,
    an_address_of_a_connection_keeps_nothing_of_other_portals,
    a_delivery_is_stored_before_it_is_answered,
);

pub(super) async fn sandbox(app: &App, portal: u64) -> HubSpotSandbox {
    let clock = Arc::new(app.clock.clone());
    HubSpotSandbox::start(Options { portal, clock, ..Options::default() }).await.unwrap()
}

pub(super) async fn connect(
    app: &App,
    org: &OrgId,
    sandbox: &HubSpotSandbox,
    name: &str,
    settings: Value,
) -> (Connection, String) {
    let mut config = json!({"base_url": sandbox.base_url(), "rate_limit": "none"});
    for (name, value) in settings.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    let request = Connect {
        connector: "hubspot".to_owned(),
        name: name.to_owned(),
        config,
        secrets: vec![("api_key".to_owned(), sandbox.access_token().into())],
        webhook_secrets: vec![sandbox.client_secret().to_owned().into()],
        backfill: true,
    };
    let answer = app.services.execute(org, Request::Connect(request)).await.unwrap();
    app.drain().await;
    drop(sandbox.take_events());
    let connection = app.store.find_connection(org, name).await.unwrap().unwrap();
    (connection, format!("{}{}", app.base, answer["webhook_path"].as_str().unwrap()))
}

async fn post(app: &App, url: &str, body: &str, headers: &[(&str, String)]) -> u16 {
    let mut call = app.http.post(url).body(body.to_owned());
    for (name, value) in headers {
        call = call.header(*name, value);
    }
    call.send().await.unwrap().status().as_u16()
}

fn v3(app: &App, sandbox: &HubSpotSandbox, url: &str, body: &str) -> Vec<(&'static str, String)> {
    let at = app.now().timestamp_millis();
    let signature = sign_v3(sandbox.client_secret(), "POST", url, body.as_bytes(), at);
    vec![("x-hubspot-signature-v3", signature), ("x-hubspot-request-timestamp", at.to_string())]
}

async fn of(app: &App, connection: &Connection) -> Vec<Delivery> {
    let all = app.store.list_deliveries(&connection.org_id, Some(&connection.id), None, 100).await.unwrap();
    let mut whole = Vec::new();
    for delivery in all {
        whole.extend(app.store.find_delivery(&connection.org_id, delivery.id.as_str()).await.unwrap());
    }
    whole
}

async fn events_of_many_portals_go_to_their_connections(app: &App) {
    let (one, two) = (sandbox(app, 62_515).await, sandbox(app, 777).await);
    let (first, url) = connect(app, &app.org, &one, "hubspot", json!({})).await;
    let (second, same) = connect(app, &app.org, &two, "hubspot-eu", json!({})).await;
    assert_eq!(url, format!("{}/api/integrations/hubspot/webhook/{}", app.base, app.org));
    assert_eq!(url, same, "the app of both sends to one address");

    let acme = one.create(Kind::Companies, &json!({"name": "Acme", "domain": "acme.example"}));
    let bolt = two.create(Kind::Companies, &json!({"name": "Bolt", "domain": "bolt.example"}));
    let mut events = one.take_events();
    events.extend(two.take_events());
    let known = events.len();
    // A portal that nobody connected: counted, and no failure.
    let mut stranger = events[0].body.clone();
    stranger["portalId"] = json!(999);
    events.push(SandboxEvent { kind: "company.creation".to_owned(), body: stranger });
    let body = batch(&events);
    assert_eq!(post(app, &url, &body, &v3(app, &one, &url, &body)).await, 200);

    let (ours, theirs) = (of(app, &first).await, of(app, &second).await);
    assert_eq!((ours.len() + theirs.len(), ours.is_empty(), theirs.is_empty()), (known, false, false));
    for (deliveries, portal) in [(&ours, 62_515), (&theirs, 777)] {
        for delivery in deliveries {
            let own: Value = serde_json::from_slice(&delivery.body).unwrap();
            assert_eq!(own.as_array().map(Vec::len), Some(1), "nothing of another event is kept with it");
            assert_eq!(own[0]["portalId"], portal);
        }
    }
    app.drain().await;
    for (connection, id, name) in [(&first, acme, "Acme"), (&second, bolt, "Bolt")] {
        let keys = [connector_sdk::RecordKey::new("companies", id.to_string())];
        let found = app.store.load_records(&app.org, &connection.id, &keys).await.unwrap();
        assert!(found[0].payload.contains(name), "{found:?}");
        assert!(of(app, connection).await.iter().all(|d| d.state == "applied"));
    }
    // The same again, and as another attempt in another order: nothing new.
    events.reverse();
    for event in &mut events {
        event.body["attemptNumber"] = json!(1);
    }
    let again = batch(&events);
    assert_eq!(post(app, &url, &again, &v3(app, &two, &url, &again)).await, 200);
    assert_eq!(of(app, &first).await.len() + of(app, &second).await.len(), known);
    // Each connection has an address of its own, too.
    one.update(Kind::Companies, acme, &json!({"name": "Acme & Sons"}));
    let own = format!("{}/api/integrations/hubspot/webhook/{}", app.base, first.id);
    one.register_webhook(&own);
    assert!(one.flush().await.iter().all(|sent| sent.status == Some(200)));
    app.drain().await;
    let keys = [connector_sdk::RecordKey::new("companies", acme.to_string())];
    let found = app.store.load_records(&app.org, &first.id, &keys).await.unwrap();
    assert!(found[0].payload.contains("Acme & Sons"));
}

async fn only_version_3_is_taken_unless_it_is_said(app: &App) {
    let one = sandbox(app, 62_515).await;
    let (connection, url) = connect(app, &app.org, &one, "hubspot", json!({})).await;
    one.create(Kind::Companies, &json!({"name": "Acme"}));
    let body = batch(&one.take_events());
    let (secret, bytes) = (one.client_secret(), body.as_bytes());
    let old = |version: &str| match version {
        "v1" => vec![
            ("x-hubspot-signature", sign_v1(secret, bytes)),
            ("x-hubspot-signature-version", "v1".to_owned()),
        ],
        _ => vec![
            ("x-hubspot-signature", sign_v2(secret, "POST", &url, bytes)),
            ("x-hubspot-signature-version", "v2".to_owned()),
        ],
    };
    let late = app.now().timestamp_millis() - 301_000;
    let late_signature = sign_v3(secret, "POST", &url, bytes, late);
    let inside = url.replace(&app.base, "http://halo-sync.internal:8420");
    let altered = body.replace("Acme", "Other").replace("62515", "62516");
    let mut forwarded = v3(app, &one, &inside, &body);
    forwarded.push(("x-forwarded-host", "halo-sync.internal:8420".to_owned()));
    for (why, body, headers) in [
        ("unsigned", &body, Vec::new()),
        ("version 1", &body, old("v1")),
        ("version 2", &body, old("v2")),
        ("another address than the public one", &body, forwarded),
        ("another body", &altered, v3(app, &one, &url, &body)),
        (
            "too old",
            &body,
            vec![
                ("x-hubspot-signature-v3", late_signature),
                ("x-hubspot-request-timestamp", late.to_string()),
            ],
        ),
        ("signed, and no array", &"{}".to_owned(), v3(app, &one, &url, "{}")),
    ] {
        assert_eq!(post(app, &url, body, &headers).await, 400, "{why}");
    }
    let stranger = url.replace(&format!("/{}", app.org), "/org_nobody");
    assert_eq!(post(app, &stranger, &body, &v3(app, &one, &stranger, &body)).await, 404);
    assert!(of(app, &connection).await.is_empty());

    let settings = json!({"webhook_signatures": ["v3", "v2"]});
    connect(app, &app.org, &one, "hubspot", settings).await;
    app.until("the new setting", async || post(app, &url, &body, &old("v2")).await == 200).await;
    assert_eq!(post(app, &url, &body, &old("v1")).await, 400);
    assert_eq!(post(app, &url, &body, &v3(app, &one, &url, &body)).await, 200);
    app.drain().await;
}

async fn a_secret_opens_its_own_organisation_alone(app: &App) {
    let other = OrgId::from("org_b");
    app.store.put_org(&other, "B", &json!({}), app.now()).await.unwrap();
    let one = sandbox(app, 62_515).await;
    let clock = Arc::new(app.clock.clone());
    let options = Options { portal: 777, client_secret: "of B".to_owned(), clock, ..Options::default() };
    let two = HubSpotSandbox::start(options).await.unwrap();
    let (_, url) = connect(app, &app.org, &one, "hubspot", json!({})).await;
    let (theirs, their_url) = connect(app, &other, &two, "hubspot", json!({})).await;
    two.create(Kind::Companies, &json!({"name": "Bolt"}));
    let body = batch(&two.take_events());
    // Signed by the first, about the second's portal.
    assert_eq!(post(app, &their_url, &body, &v3(app, &one, &their_url, &body)).await, 400);
    assert_eq!(
        post(app, &url, &body, &v3(app, &one, &url, &body)).await,
        200,
        "a portal that is not connected"
    );
    assert!(of(app, &theirs).await.is_empty() && app.deliveries().await.is_empty());
    assert_eq!(post(app, &their_url, &body, &v3(app, &two, &their_url, &body)).await, 200);
    assert!(!of(app, &theirs).await.is_empty());
    app.drain().await;
}

async fn a_delivery_is_stored_before_it_is_answered(app: &App) {
    let one = sandbox(app, 62_515).await;
    let (connection, url) = connect(app, &app.org, &one, "hubspot", json!({})).await;
    let acme = one.create(Kind::Companies, &json!({"name": "Acme"}));
    let body = batch(&one.take_events());
    app.break_inbox().await;
    assert_eq!(post(app, &url, &body, &v3(app, &one, &url, &body)).await, 503);
    app.mend_inbox().await;
    assert!(of(app, &connection).await.is_empty());
    assert_eq!(post(app, &url, &body, &v3(app, &one, &url, &body)).await, 200);
    app.drain().await;
    let keys = [connector_sdk::RecordKey::new("companies", acme.to_string())];
    assert_eq!(app.store.load_records(&app.org, &connection.id, &keys).await.unwrap().len(), 1);
}

async fn other_org(app: &App) -> OrgId {
    let other = OrgId::from("org_b");
    app.store.put_org(&other, "B", &json!({}), app.now()).await.unwrap();
    other
}

/// Deliveries of a connection whose bodies name a portal.
async fn portals(app: &App, connection: &Connection) -> Vec<Value> {
    let all = of(app, connection).await;
    all.iter().map(|d| serde_json::from_slice::<Value>(&d.body).unwrap()[0]["portalId"].clone()).collect()
}

/// An app has one address, whatever organisations installed it.
async fn one_app_serves_the_portals_of_all_organisations(app: &App) {
    let other = other_org(app).await;
    let (one, two) = (sandbox(app, 62_515).await, sandbox(app, 777).await);
    let (ours, url) = connect(app, &app.org, &one, "hubspot", json!({})).await;
    let (theirs, _) = connect(app, &other, &two, "hubspot", json!({})).await;
    // The same portal may be connected by both.
    let (shared, _) = connect(app, &other, &one, "hubspot-us", json!({})).await;
    let gone = two.create(Kind::Contacts, &json!({"email": "canary@bolt.example"}));
    let kept = two.create(Kind::Companies, &json!({"name": "Bolt"}));
    one.create(Kind::Companies, &json!({"name": "Acme"}));
    let mut events = one.take_events();
    events.extend(two.take_events());
    assert!(two.erase_contact(gone));
    events.extend(two.take_events());
    let body = batch(&events);
    assert_eq!(post(app, &url, &body, &v3(app, &one, &url, &body)).await, 200);
    for (connection, portal) in [(&ours, 62_515), (&theirs, 777), (&shared, 62_515)] {
        let named = portals(app, connection).await;
        assert!(!named.is_empty() && named.iter().all(|id| *id == portal), "{named:?}");
    }
    app.drain().await;
    let record = |stream: &str, id: u64| [connector_sdk::RecordKey::new(stream, id.to_string())];
    let stored = app.store.load_records(&other, &theirs.id, &record("companies", kept)).await.unwrap();
    assert!(stored[0].payload.contains("Bolt"));
    assert!(app.holding(&["canary@bolt.example"]).await.is_empty(), "a person of theirs is forgotten");
    // Again, in another attempt: nothing new for anybody, once what names the forgotten is worked off.
    let before = of(app, &theirs).await.len();
    assert_eq!(post(app, &url, &body, &v3(app, &one, &url, &body)).await, 200);
    app.drain().await;
    assert_eq!(of(app, &theirs).await.len(), before);
}

async fn what_another_secret_signs_reaches_no_other_organisation(app: &App) {
    let other = other_org(app).await;
    let one = sandbox(app, 62_515).await;
    let clock = Arc::new(app.clock.clone());
    let options = Options { portal: 777, client_secret: "of B".to_owned(), clock, ..Options::default() };
    let two = HubSpotSandbox::start(options).await.unwrap();
    let (ours, url) = connect(app, &app.org, &one, "hubspot", json!({})).await;
    let (theirs, their_url) = connect(app, &other, &two, "hubspot", json!({})).await;
    one.create(Kind::Companies, &json!({"name": "Acme"}));
    two.create(Kind::Companies, &json!({"name": "Bolt"}));
    let mut events = one.take_events();
    events.extend(two.take_events());
    let body = batch(&events);
    assert_eq!(post(app, &url, &body, &v3(app, &one, &url, &body)).await, 200);
    assert!(!portals(app, &ours).await.is_empty());
    assert!(portals(app, &theirs).await.is_empty(), "the first's secret speaks for the first alone");
    // Nor does its own secret open the other's address to it.
    let before = of(app, &ours).await.len();
    assert_eq!(post(app, &their_url, &body, &v3(app, &two, &their_url, &body)).await, 200);
    assert!(!portals(app, &theirs).await.is_empty());
    assert_eq!(of(app, &ours).await.len(), before);
    assert!(portals(app, &ours).await.iter().all(|id| *id == 62_515));
    app.drain().await;
}

async fn an_address_of_a_connection_keeps_nothing_of_other_portals(app: &App) {
    let one = sandbox(app, 62_515).await;
    let (connection, _) = connect(app, &app.org, &one, "hubspot", json!({})).await;
    let url = format!("{}/api/integrations/hubspot/webhook/{}", app.base, connection.id);
    one.create(Kind::Companies, &json!({"name": "Acme"}));
    let mut events = one.take_events();
    let own = events.len();
    let mut stranger = events[0].body.clone();
    stranger["portalId"] = json!(999);
    stranger["propertyValue"] = json!("of a stranger");
    events.push(SandboxEvent { kind: "company.propertyChange".to_owned(), body: stranger });
    let body = batch(&events);
    assert_eq!(post(app, &url, &body, &v3(app, &one, &url, &body)).await, 200);
    assert_eq!(of(app, &connection).await.len(), own);
    assert!(app.holding(&["of a stranger"]).await.is_empty());
    app.drain().await;
}
