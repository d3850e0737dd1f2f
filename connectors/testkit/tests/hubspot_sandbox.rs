//! The sandbox HubSpot over HTTP, as an app sees it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use connector_testkit::sandbox::faults::WebhookFaults;
use connector_testkit::sandbox::hubspot::{BATCH, HubSpotSandbox, Kind, Limits, Options, sign_v1, sign_v3};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

struct App {
    sandbox: HubSpotSandbox,
    client: reqwest::Client,
}

impl App {
    async fn start() -> Self {
        let sandbox = HubSpotSandbox::start(Options::default()).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { sandbox, client }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut call = self
            .client
            .request(method, format!("{}{path}", self.sandbox.base_url()))
            .bearer_auth(self.sandbox.access_token());
        if !body.is_null() {
            call = call.header("content-type", "application/json").body(body.to_string());
        }
        let answer = call.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, Value::Null).await
    }
}

#[tokio::test]
async fn writes_are_read_back_under_every_version_and_announced() {
    let app = App::start().await;
    let made = json!({"properties": {"name": "Acme", "numberofemployees": 7}});
    let (status, made) = app.call("POST", "/crm/objects/2026-03/companies", made).await;
    assert_eq!(status, 201);
    let id = made["id"].as_str().unwrap();
    assert!(id.parse::<u64>().unwrap() > u64::from(u32::MAX), "ids are longer than 32 bits");
    for path in
        ["/crm/objects/2026-03/companies", "/crm/objects/2026-09/companies", "/crm/v3/objects/companies"]
    {
        let (status, list) = app.get(&format!("{path}?properties=name,numberofemployees,none")).await;
        assert_eq!((status, list["results"].as_array().unwrap().len()), (200, 1), "{path}");
        let properties = &list["results"][0]["properties"];
        assert_eq!((&properties["numberofemployees"], &properties["none"]), (&json!("7"), &Value::Null));
        assert_eq!(properties["hs_object_id"], id);
    }
    let path = format!("/crm/v3/objects/companies/{id}");
    assert_eq!(app.call("PATCH", &path, json!({"properties": {"name": "Acme", "city": "Ulm"}})).await.0, 200);
    let (_, contact) = app.call("POST", "/crm/v3/objects/contacts", json!({"properties": {}})).await;
    let contact = contact["id"].as_str().unwrap();
    let link = format!("/crm/v3/objects/contacts/{contact}/associations/default/companies/{id}");
    assert_eq!(app.call("PUT", &link, Value::Null).await.0, 200);
    assert_eq!(app.call("DELETE", &path, Value::Null).await.0, 204);
    let kinds: Vec<String> = app.sandbox.take_events().into_iter().map(|event| event.kind).collect();
    assert_eq!(
        kinds,
        [
            "company.creation",
            // What is written as it was is no change.
            "company.propertyChange",
            "contact.creation",
            "contact.associationChange",
            "company.associationChange",
            "company.deletion"
        ]
    );
    assert_eq!(app.get("/crm/v3/objects/companies?archived=true").await.1["results"][0]["archived"], true);
    assert_eq!(app.sandbox.calls("GET companies"), 4);
}

#[tokio::test]
async fn hubspots_own_limits_are_refused() {
    let app = App::start().await;
    app.sandbox.seed(3);
    let post = |path: &'static str, body: Value| app.call("POST", path, body);
    let search = "/crm/v3/objects/contacts/search";
    let too_long = json!({"properties": vec!["a_property_with_a_long_name"; 150]});
    for (path, body) in [
        (search, json!({"limit": 201})),
        (search, json!({"limit": 200, "after": "9801"})),
        (search, too_long),
        (
            search,
            json!({"filterGroups": [{"filters": [{"propertyName": "x", "operator": "EQ", "value": "1"}]}]}),
        ),
        ("/crm/v3/objects/contacts/batch/read", json!({"inputs": vec![json!({"id": "1"}); 101]})),
        ("/crm/v3/objects/contacts/batch/read", json!({"inputs": [{"id": "x"}]})),
        (
            "/crm/v4/associations/contacts/companies/batch/read",
            json!({"inputs": vec![json!({"id": "1"}); 1_001]}),
        ),
    ] {
        let (status, answer) = post(path, body).await;
        assert_eq!((status, &answer["category"]), (400, &json!("VALIDATION_ERROR")), "{path}: {answer}");
    }
    for path in [
        "/crm/v3/objects/contacts?limit=101",
        "/crm/v3/objects/contacts?after=x",
        "/crm/v3/objects/contacts?colour=red",
        "/crm/v3/objects/meetings?archived=true",
    ] {
        assert_eq!(app.get(path).await.0, 400, "{path}");
    }
    assert_eq!(app.get("/crm/v5/objects/contacts").await.0, 404);
    assert_eq!(app.get(&format!("/crm/v3/objects/contacts?properties={}", "a".repeat(16_000))).await.0, 414);
    let (status, part) =
        post("/crm/v3/objects/contacts/batch/read", json!({"inputs": [{"id": "7"}], "properties": []})).await;
    assert_eq!((status, &part["errors"][0]["category"]), (207, &json!("OBJECT_NOT_FOUND")));

    let limits = Limits { calls: 4, window: Duration::from_secs(60), searches: 1, daily: Some((100, 95)) };
    app.sandbox.set_limits(Some(limits));
    assert_eq!(
        (post(search, json!({})).await.0, post(search, json!({})).await.1["policyName"].clone()),
        (200, json!("SECONDLY"))
    );
    for _ in 0..3 {
        assert_eq!(app.get("/crm/v3/owners").await.0, 200);
    }
    let (status, refused) = app.get("/crm/v3/owners").await;
    assert_eq!((status, &refused["policyName"]), (429, &json!("TEN_SECONDLY_ROLLING")));
    assert_eq!(app.sandbox.refused_calls(), 2);
}

type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

async fn receiver() -> (String, Received) {
    let received = Received::default();
    let take = |State(received): State<Received>, headers: HeaderMap, body: Bytes| async move {
        received.lock().unwrap().push((headers, body));
        StatusCode::OK
    };
    let app = Router::new().fallback(take).with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}

#[tokio::test]
async fn events_come_in_signed_batches_and_some_are_late() {
    let app = App::start().await;
    let (url, received) = receiver().await;
    app.sandbox.register_webhook(&url);
    for n in 0..BATCH + 20 {
        app.sandbox.create(Kind::Contacts, &json!({"firstname": n.to_string()}));
    }
    let delivered = app.sandbox.flush().await;
    let sizes: Vec<usize> = delivered.iter().map(|d| d.events).collect();
    assert_eq!((sizes, delivered[1].status), (vec![BATCH, 20], Some(200)));
    for (headers, body) in received.lock().unwrap().drain(..) {
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        let at: i64 = text("x-hubspot-request-timestamp").parse().unwrap();
        let secret = app.sandbox.client_secret();
        assert_eq!(text("x-hubspot-signature-v3"), sign_v3(secret, "POST", &url, &body, at));
        assert_eq!(text("x-hubspot-signature"), sign_v1(secret, &body));
        let events: Vec<Value> = serde_json::from_slice(&body).unwrap();
        assert!(events.iter().all(|event| event["portalId"] == app.sandbox.portal()));
    }
    for n in 0..200 {
        app.sandbox.create(Kind::Notes, &json!({"n": n}));
    }
    let mut faults = WebhookFaults { lost: 100, doubled: 100, late: 100, ..WebhookFaults::new(3) };
    let (_, sending) = app.sandbox.send(&mut faults).await;
    let late = app.sandbox.send_late().await;
    assert_eq!(late.iter().map(|d| d.events).sum::<usize>(), sending.later.len());
    let came = received
        .lock()
        .unwrap()
        .iter()
        .map(|(_, b)| serde_json::from_slice::<Vec<Value>>(b).unwrap().len())
        .sum::<usize>();
    assert_eq!(came, 200 - sending.lost.len() + sending.doubled);
    assert!(!sending.lost.is_empty() && sending.doubled > 0 && !sending.later.is_empty());
}
