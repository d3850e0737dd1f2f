//! The sandbox PandaDoc itself: what it lists, refuses, sends, logs and spoils.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{OriginalUri, State};
use axum::routing::post;
use connector_testkit::sandbox::faults::{Fault, FaultRule, WebhookFaults};
use connector_testkit::sandbox::pandadoc::{Options, PandaDocSandbox, sign};
use http::StatusCode;
use serde_json::{Value, json};

async fn sandbox() -> PandaDocSandbox {
    PandaDocSandbox::start(Options::default()).await.unwrap()
}

async fn get(sandbox: &PandaDocSandbox, path: &str) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .get(sandbox.base_url() + path)
        .header("authorization", format!("API-Key {}", sandbox.api_key()))
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

fn names(list: &Value) -> Vec<&str> {
    list["results"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn lists_filter_order_and_page_as_pandadoc_does() {
    let sandbox = sandbox().await;
    let ids: Vec<String> = (0..5).map(|n| sandbox.create(&format!("D{n}"), "a@b.example")).collect();
    let list = async |query: &str| get(&sandbox, &format!("/public/v1/documents{query}")).await.1;
    assert_eq!(names(&list("?order_by=date_created&count=2").await), ["D0", "D1"]);
    assert_eq!(names(&list("?order_by=date_created&count=2&page=3").await), ["D4"]);
    assert_eq!(names(&list("?order_by=-date_created&count=2").await), ["D4", "D3"]);
    assert!(names(&list("?page=9").await).is_empty());
    // A deletion pulls the others over the border: what a page number reads next.
    sandbox.delete(&ids[0]).unwrap();
    assert_eq!(names(&list("?order_by=date_created&count=2&page=2").await), ["D3", "D4"]);
    assert_eq!(names(&list("?deleted=true").await), ["D0"]);
    // From is inclusive, to is exclusive.
    let at = |id: &str| sandbox.document(id).unwrap()["date_created"].as_str().unwrap().to_owned();
    assert_eq!(
        names(&list(&format!("?order_by=date_created&created_from={}", at(&ids[3]))).await),
        ["D3", "D4"]
    );
    assert_eq!(
        names(&list(&format!("?order_by=date_created&created_to={}", at(&ids[3]))).await),
        ["D1", "D2"]
    );
    sandbox.complete(&ids[2]).unwrap();
    assert_eq!(names(&list("?status=2").await), ["D2"]);
    assert_eq!(names(&list("?status__ne=0").await), ["D2"]);
    assert_eq!(names(&list("?order_by=-date_modified&count=1").await), ["D2"]);
    for bad in ["?count=0", "?count=101", "?page=0", "?status=15", "?created_from=soon", "?order_by=colour"] {
        let (status, body) = get(&sandbox, &format!("/public/v1/documents{bad}")).await;
        assert_eq!((status, body["type"].as_str()), (400, Some("validation_error")), "{bad}");
    }
    assert_eq!(sandbox.calls("GET /public/v1/documents"), 17);
}

#[tokio::test]
async fn refusals_are_pandadocs() {
    let sandbox = sandbox().await;
    let id = sandbox.create("D", "a@b.example");
    let details = format!("/public/v1/documents/{id}/details");
    assert_eq!(get(&sandbox, &details).await.0, 200);
    assert_eq!(get(&sandbox, "/public/v1/documents/none/details").await.0, 404);
    sandbox.change(&id, None, |d| d["status"] = json!("document.uploaded")).unwrap();
    let (status, body) = get(&sandbox, &details).await;
    assert_eq!((status, body["status"].as_str()), (409, Some("document.uploaded")));
    sandbox.forbid("documents", true);
    assert_eq!(get(&sandbox, &details).await.0, 403);
    sandbox.forbid("documents", false);
    let too_many: Vec<String> = (0..41).map(|n| n.to_string()).collect();
    for bad in [json!([]), json!(too_many), json!(["a", "a"]), json!(["a".repeat(23)])] {
        let refused =
            sandbox.call("POST", "/public/beta/documents/ai-metadata", &json!({"document_ids": bad}));
        assert_eq!(refused.unwrap_err().status, 400);
    }
    sandbox.revoke();
    assert_eq!(get(&sandbox, &details).await.0, 401);
}

#[tokio::test]
async fn more_calls_than_the_limit_are_refused_by_operation() {
    let limit = Some((3, Duration::from_secs(60)));
    let sandbox = PandaDocSandbox::start(Options { limit, ..Options::default() }).await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(get(&sandbox, "/public/v1/documents").await.0);
    }
    assert_eq!((statuses, sandbox.over_limit()), (vec![200, 200, 200, 429, 429], 2));
    assert_eq!(get(&sandbox, "/public/v1/members/current").await.0, 200, "another operation");
}

/// What came in: the query, and the body.
type Came = Arc<Mutex<Vec<(String, String)>>>;

async fn receiver(answer: StatusCode) -> (String, Came) {
    async fn take(
        State((came, answer)): State<(Came, StatusCode)>,
        uri: OriginalUri,
        body: String,
    ) -> StatusCode {
        came.lock().unwrap().push((uri.0.query().unwrap_or_default().to_owned(), body));
        answer
    }
    let came = Came::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?team=org_1", listener.local_addr().unwrap());
    let app = Router::new().route("/hook", post(take)).with_state((Arc::clone(&came), answer));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, came)
}

fn subscribe(sandbox: &PandaDocSandbox, url: &str, triggers: Value) -> Value {
    let body = json!({"name": "S", "url": url, "triggers": triggers});
    sandbox.call("POST", "/public/v1/webhook-subscriptions", &body).unwrap()
}

#[tokio::test]
async fn events_are_signed_logged_and_given_up_on() {
    let sandbox = sandbox().await;
    let (url, came) = receiver(StatusCode::OK).await;
    let made = subscribe(&sandbox, &url, json!(["document_state_changed"]));
    let id = sandbox.create("D", "a@b.example");
    sandbox.delete(&id).unwrap();
    assert_eq!(sandbox.flush().await.len(), 1, "deletions were not asked for");
    let (query, body) = came.lock().unwrap().remove(0);
    let signature = sign(made["shared_key"].as_str().unwrap(), body.as_bytes());
    assert_eq!(query, format!("team=org_1&signature={signature}"));
    let notifications: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(notifications[0]["data"]["id"], id.as_str());
    let log = get(&sandbox, "/public/v1/webhook-events?count=10&page=1").await.1;
    assert_eq!(
        (log["items"].as_array().unwrap().len(), &log["items"][0]["http_status_code"]),
        (1, &json!(200))
    );
    let entry = log["items"][0]["uuid"].as_str().unwrap();
    let entry = get(&sandbox, &format!("/public/v1/webhook-events/{entry}")).await.1;
    assert_eq!(entry["request_body"], body);
    assert_eq!(get(&sandbox, "/public/v1/webhook-events?count=10").await.0, 400, "page is not optional");
    // One 410 ends it.
    let (gone, _) = receiver(StatusCode::GONE).await;
    subscribe(&sandbox, &gone, json!(["document_state_changed"]));
    sandbox.create("E", "a@b.example");
    assert_eq!(sandbox.flush().await.len(), 2);
    let status: Vec<Value> = sandbox.subscriptions().iter().map(|s| s["status"].clone()).collect();
    assert_eq!(status, ["ACTIVE", "DEACTIVATED"]);
    sandbox.create("F", "a@b.example");
    assert_eq!(sandbox.flush().await.len(), 1);
    let failed = get(&sandbox, "/public/v1/webhook-events?count=10&page=1&http_status_code=400").await.1;
    assert_eq!(failed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn events_are_lost_doubled_and_late_as_chance_has_it() {
    let sandbox = sandbox().await;
    let (url, came) = receiver(StatusCode::OK).await;
    subscribe(&sandbox, &url, json!(["document_state_changed"]));
    let made: BTreeSet<String> = (0..60).map(|n| sandbox.create(&format!("D{n}"), "a@b.example")).collect();
    let mut faults =
        WebhookFaults { lost: 100, doubled: 100, late: 100, reordered: 1_000, ..WebhookFaults::new(3) };
    let (delivered, sending) = sandbox.send(&mut faults).await;
    assert_eq!(delivered.len(), sending.now.len());
    sandbox.send_late().await;
    let mut named: BTreeSet<String> = sending.lost.iter().map(|event| event.document.clone()).collect();
    assert!(!named.is_empty() && sending.doubled > 0 && !sending.later.is_empty());
    for (_, body) in came.lock().unwrap().iter() {
        let all: Value = serde_json::from_str(body).unwrap();
        named.insert(all[0]["data"]["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(named, made);
}

#[tokio::test]
async fn faults_hit_the_calls_that_they_name() {
    let sandbox = sandbox().await;
    let id = sandbox.create("D", "a@b.example");
    sandbox.faults().add(FaultRule::next("/public/v1/documents?", Fault::BadItem));
    let list = get(&sandbox, "/public/v1/documents").await.1;
    assert_eq!(list["results"].as_array().unwrap().len(), 2);
    let path = format!("/public/v1/documents/{id}");
    let then = Fault::ThenWrite { method: "DELETE", path: path.clone(), form: Value::Null };
    sandbox.faults().add(FaultRule::next("/public/v1/documents?", then));
    assert_eq!(names(&get(&sandbox, "/public/v1/documents").await.1), ["D"]);
    assert_eq!(get(&sandbox, &path).await.0, 404);
    sandbox.faults().add(FaultRule::next(&path, Fault::Status(503)));
    assert_eq!(get(&sandbox, &path).await.0, 503);
}
