//! Endpoints are registered through the API, found again, looked after, and removed.

use halo_sync::domain::connections::ConnectionStatus;
use halo_sync::domain::watch::WebhookEndpoint;
use halo_sync::jobs::Scan as _;
use halo_sync::service::{Failure, FailureKind, Request};
use halo_sync::webhooks::endpoint::UnseenEndpoints;
use serde_json::{Value, json};

use crate::support::app::{App, STRIPE, on_both};

on_both!(
    an_endpoint_is_made_once_and_signs_what_it_sends,
    what_is_wrong_with_an_endpoint_is_said_and_put_right,
    an_endpoint_of_ours_goes_with_the_connection,
    an_endpoint_that_somebody_made_is_kept,
    a_key_without_the_permission_is_told,
    endpoints_are_looked_at_every_hour,
);

async fn connect(app: &App, webhook_secret: bool) {
    let mut request = app.connect_request(&Value::Null);
    if !webhook_secret {
        request.webhook_secrets.clear();
    }
    app.execute(Request::Connect(request)).await.unwrap();
    app.drain().await;
    app.lose_events();
}

async fn register(app: &App) -> Result<Value, Failure> {
    let public_url = Some(app.base.clone());
    app.execute(Request::RegisterWebhook { connection: STRIPE.to_owned(), public_url }).await
}

async fn check(app: &App) -> Vec<String> {
    let answer = app.execute(Request::CheckConnection { connection: STRIPE.to_owned() }).await.unwrap();
    let seen: WebhookEndpoint = serde_json::from_value(answer["endpoint"].clone()).unwrap();
    seen.faults
        .iter()
        .map(|fault| {
            assert!(!fault.message.is_empty() && !fault.hint.is_empty());
            fault.code.clone()
        })
        .collect()
}

async fn an_endpoint_is_made_once_and_signs_what_it_sends(app: &App) {
    connect(app, false).await;
    let connection = app.connection().await;
    let answer = register(app).await.unwrap();
    assert_eq!(answer["did"], "created");
    assert!(!answer.to_string().contains("whsec"), "{answer}");
    let all = app.sandbox.webhook_endpoints();
    let spec = app.services.providers.connector("stripe").unwrap().spec();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["url"], app.webhook_url(&connection));
    assert_eq!(all[0]["api_version"], spec.api_version);
    assert_eq!(all[0]["enabled_events"], json!(spec.webhook_events));
    assert_eq!(all[0]["metadata"]["halo_sync_connection"], connection.id.as_str());
    // What it sends is taken, with the secret that nobody saw.
    app.call("POST", "/v1/customers", json!({"name": "Acme"}));
    let event = app.sandbox.take_events().remove(0);
    assert_eq!(app.deliver(&event).await, 200);
    app.drain().await;
    app.company("Acme").await;
    for table in ["connection_secrets", "webhook_endpoints", "connections", "finished_jobs"] {
        let rows = app.dump(table).await.concat();
        assert!(!rows.contains("whsec_made"), "{table} holds the secret in the clear");
    }
    assert_eq!(register(app).await.unwrap()["did"], "unchanged");
    assert_eq!(app.sandbox.webhook_endpoints(), all);
    assert!(check(app).await.is_empty());
}

async fn what_is_wrong_with_an_endpoint_is_said_and_put_right(app: &App) {
    connect(app, false).await;
    register(app).await.unwrap();
    let change = |change: &dyn Fn(&mut Value)| {
        let id = app.sandbox.webhook_endpoints()[0]["id"].as_str().unwrap().to_owned();
        assert!(app.sandbox.change_webhook_endpoint(&id, |doc| change(doc)));
    };
    type Change<'a> = &'a dyn Fn(&mut Value);
    let cases: [(Change<'_>, &str, &str); 4] = [
        (&|doc| doc["status"] = json!("disabled"), "disabled", "updated"),
        (&|doc| doc["enabled_events"] = json!(["customer.created"]), "missing_events", "updated"),
        (&|doc| doc["url"] = json!("https://elsewhere.example/x"), "other_url", "updated"),
        (&|doc| doc["api_version"] = json!("2020-08-27"), "wrong_version", "replaced"),
    ];
    for (wrong, code, did) in cases {
        change(wrong);
        assert_eq!(check(app).await, [code]);
        assert_eq!(app.connection().await.status, ConnectionStatus::Active, "reading goes on");
        let kept = app.store.find_endpoint(&app.org, &app.connection().await.id).await.unwrap().unwrap();
        assert_eq!(kept.faults[0].code, code);
        assert_eq!(register(app).await.unwrap()["did"], did, "{code}");
        assert!(check(app).await.is_empty(), "{code}");
        assert_eq!(app.sandbox.webhook_endpoints().len(), 1, "{code}");
    }
    // All types are more than enough.
    change(&|doc| doc["enabled_events"] = json!(["*"]));
    assert!(check(app).await.is_empty());
    // Somebody deleted it.
    let id = app.sandbox.webhook_endpoints()[0]["id"].as_str().unwrap().to_owned();
    let client = app.http.delete(format!("{}/v1/webhook_endpoints/{id}", app.sandbox.base_url()));
    assert!(client.bearer_auth(app.sandbox.api_key()).send().await.unwrap().status().is_success());
    assert_eq!(check(app).await, ["missing"]);
    assert_eq!(register(app).await.unwrap()["did"], "created");
    // The replaced endpoint's secret is good for a day more.
    app.call("POST", "/v1/customers", json!({"name": "Acme"}));
    let event = app.sandbox.take_events().remove(0);
    assert_eq!(app.deliver(&event).await, 200);
    app.drain().await;
}

async fn an_endpoint_of_ours_goes_with_the_connection(app: &App) {
    connect(app, false).await;
    register(app).await.unwrap();
    let remove = || app.execute(Request::RemoveConnection { connection: STRIPE.to_owned() });
    let answer = remove().await.unwrap();
    assert_eq!(answer["endpoint"]["removed"], true, "{answer}");
    assert!(app.sandbox.webhook_endpoints().is_empty());
    assert!(app.dump("webhook_endpoints").await.is_empty());
    // A provider that refuses does not keep the connection alive.
    connect(app, false).await;
    register(app).await.unwrap();
    app.sandbox.forbid("webhook_endpoints", true);
    let answer = remove().await.unwrap();
    assert_eq!(answer["endpoint"]["removed"], false, "{answer}");
    assert_eq!(app.sandbox.webhook_endpoints().len(), 1);
    assert!(app.store.find_connection(&app.org, STRIPE).await.unwrap().is_none());
}

async fn an_endpoint_that_somebody_made_is_kept(app: &App) {
    connect(app, false).await;
    let url = app.webhook_url(&app.connection().await);
    let made = app
        .http
        .post(format!("{}/v1/webhook_endpoints", app.sandbox.base_url()))
        .bearer_auth(app.sandbox.api_key())
        .form(&[
            ("url", url.as_str()),
            ("enabled_events[]", "customer.created"),
            ("api_version", connector_testkit::sandbox::stripe::API_VERSION),
        ])
        .send()
        .await
        .unwrap();
    let made: Value = serde_json::from_slice(&made.bytes().await.unwrap()).unwrap();
    let failure = register(app).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Invalid, "endpoint_exists"));
    assert!(failure.hint.unwrap().contains("--webhook-secret-file"));
    assert_eq!(app.sandbox.webhook_endpoints().len(), 1);
    // With its secret it is ours to use, and not ours to remove.
    let mut request = app.connect_request(&Value::Null);
    request.webhook_secrets = vec![made["secret"].as_str().unwrap().to_owned().into()];
    app.execute(Request::Connect(request)).await.unwrap();
    app.drain().await;
    assert_eq!(register(app).await.unwrap()["did"], "adopted");
    assert!(check(app).await.is_empty());
    app.execute(Request::RemoveConnection { connection: STRIPE.to_owned() }).await.unwrap();
    assert_eq!(app.sandbox.webhook_endpoints().len(), 1);
}

async fn a_key_without_the_permission_is_told(app: &App) {
    connect(app, false).await;
    app.sandbox.forbid("webhook_endpoints", true);
    let failure = register(app).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Credentials, "missing_permission"));
    assert!(failure.hint.unwrap().contains("rak_webhook_write"));
    assert_eq!(app.connection().await.status, ConnectionStatus::Active);
    // Nobody registered anything: reading without that permission is fine.
    let answer = app.execute(Request::CheckConnection { connection: STRIPE.to_owned() }).await.unwrap();
    assert_eq!(answer["endpoint"], Value::Null);
    app.sandbox.forbid("webhook_endpoints", false);
    register(app).await.unwrap();
    app.sandbox.forbid("webhook_endpoints", true);
    assert_eq!(check(app).await, ["not_permitted"]);
    // Without an address there is nothing to register.
    let request = Request::RegisterWebhook { connection: STRIPE.to_owned(), public_url: None };
    let failure = app.execute(request).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Setup, "no_public_url"));
}

async fn endpoints_are_looked_at_every_hour(app: &App) {
    connect(app, false).await;
    register(app).await.unwrap();
    let scan = UnseenEndpoints { store: app.store.clone(), by_url: false };
    assert_eq!(scan.run(app.now()).await.unwrap(), 0, "it was seen a moment ago");
    let id = app.sandbox.webhook_endpoints()[0]["id"].as_str().unwrap().to_owned();
    app.sandbox.change_webhook_endpoint(&id, |doc| doc["status"] = json!("disabled"));
    app.pass(3_600);
    assert_eq!(scan.run(app.now()).await.unwrap(), 1);
    app.drain().await;
    let kept = app.store.find_endpoint(&app.org, &app.connection().await.id).await.unwrap().unwrap();
    assert_eq!(kept.faults.iter().map(|f| f.code.as_str()).collect::<Vec<_>>(), ["disabled"]);
    assert_eq!(kept.checked_at, app.now());
    assert_eq!(scan.run(app.now()).await.unwrap(), 0);
}
