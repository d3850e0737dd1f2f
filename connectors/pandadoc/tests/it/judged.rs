//! Every call of the connector and every answer of the sandbox, judged by PandaDoc's own OpenAPI file. The judge
//! is a small one in the testkit, so that it sits in every `cargo test`; Prism, which needs Node and npm, is asked the same in
//! `prism`.

use std::collections::BTreeSet;

use connector_sdk::{Clock, ReadMode, SystemClock};
use connector_testkit::openapi::{Call, OpenApi};
use connector_testkit::parts::shared_or_skip;
use connector_testkit::sandbox::pandadoc::{Options, PandaDocSandbox};
use serde_json::{Value, json};

use crate::support::{fill, open, pages};

fn api() -> Option<OpenApi> {
    let path = shared_or_skip("data", "data/pandadoc/openapi.json")?;
    Some(OpenApi::read(&std::fs::read_to_string(path).unwrap()).unwrap())
}

/// All that the connector ever asks for, in the life of a connection, at this address of the sandbox.
pub(crate) async fn live(sandbox: &PandaDocSandbox, base: &str) {
    fill(sandbox);
    sandbox.seed(20);
    sandbox.seed_demo();
    let session = open(sandbox, json!({"base_url": base, "page_size": 4}));
    session.check().await.unwrap();
    let admin = session.endpoints().unwrap();
    let made = admin.create("http://127.0.0.1:9/hook?team=org_1", "con_1").await.unwrap();
    let (_, end) = pages(session.as_ref(), ReadMode::Full, None).await.unwrap();
    let id = sandbox.create("New", "n@b.example");
    sandbox.delete(&sandbox.ids().into_iter().find(|other| *other != id).unwrap()).unwrap();
    sandbox.flush().await;
    pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    let mut ids = sandbox.ids();
    ids.push("neverWasOne".to_owned());
    session.read_many("documents", &ids).await.unwrap();
    session.read_newest("documents", SystemClock.now()).await.unwrap();
    let filtered = open(
        sandbox,
        json!({"base_url": base, "templates": ["t"], "folders": ["f"], "tags": ["a b"], "created_since": "2020-01-01T00:00:00Z"}),
    );
    let (_, end) = pages(filtered.as_ref(), ReadMode::Full, None).await.unwrap();
    pages(filtered.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    let mut cursor = None;
    loop {
        let since = SystemClock.now() - chrono::TimeDelta::hours(1);
        let page = session.changed_since(since, cursor.as_ref()).await.unwrap();
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    admin.list().await.unwrap();
    admin.update(&made.endpoint.id, "https://halo.example/other").await.unwrap();
    admin.remove(&made.endpoint.id).await.unwrap();
    admin.remove(&made.endpoint.id).await.unwrap();
    for forbidden in ["documents", "members", "webhook-subscriptions"] {
        sandbox.forbid(forbidden, true);
    }
    session.check().await.unwrap();
    assert!(admin.create("https://x.example", "con_1").await.is_err());
    sandbox.revoke();
    assert!(session.check().await.is_err());
}

#[tokio::test]
async fn every_call_and_every_answer_keeps_to_the_vendors_file() {
    let Some(api) = api() else { return };
    let sandbox = PandaDocSandbox::start(Options { journal: true, ..Options::default() }).await.unwrap();
    live(&sandbox, &sandbox.base_url()).await;
    let exchanges = sandbox.exchanges();
    let (mut faults, mut operations) = (Vec::new(), BTreeSet::new());
    for exchange in &exchanges {
        let call = Call {
            method: &exchange.method,
            path: &exchange.path,
            query: &exchange.query,
            request: exchange.request.as_ref(),
            status: exchange.status,
            answer: exchange.answer.as_ref(),
        };
        faults.extend(api.judge(&call));
        let template = api.operation(&exchange.method, &exchange.path).map(|(template, _)| template);
        operations.insert(format!(
            "{} {} {}",
            exchange.method,
            template.unwrap_or_default(),
            exchange.status
        ));
    }
    faults.sort();
    faults.dedup();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let expected = [
        "DELETE /public/v1/webhook-subscriptions/{id} 204",
        "DELETE /public/v1/webhook-subscriptions/{id} 404",
        "GET /public/v1/documents 200",
        "GET /public/v1/documents 403",
        "GET /public/v1/documents/{id} 200",
        "GET /public/v1/documents/{id}/details 200",
        "GET /public/v1/documents/{id}/details 404",
        "GET /public/v1/documents/{id}/details 409",
        "GET /public/v1/members/current 200",
        "GET /public/v1/members/current 401",
        "GET /public/v1/members/current 403",
        "GET /public/v1/webhook-events 200",
        "GET /public/v1/webhook-events/{id} 200",
        "GET /public/v1/webhook-subscriptions 200",
        "PATCH /public/v1/webhook-subscriptions/{id} 200",
        "POST /public/beta/documents/ai-metadata 200",
        "POST /public/v1/webhook-subscriptions 201",
        "POST /public/v1/webhook-subscriptions 403",
    ];
    assert_eq!(operations.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

/// The judge is asked about what is known to be wrong, too: it must say so.
#[test]
fn the_judge_finds_a_wrong_answer_and_a_wrong_call() {
    let Some(api) = api() else { return };
    let judge = |path: &str, query: &[(&str, &str)], answer: Value| {
        let query: Vec<(String, String)> =
            query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let call =
            Call { method: "GET", path, query: &query, request: None, status: 200, answer: Some(&answer) };
        api.judge(&call).join("\n")
    };
    let list = "/public/v1/documents";
    assert_eq!(judge(list, &[("order_by", "date_modified")], json!({"results": []})), "");
    assert!(judge(list, &[("order_by", "modified")], json!({"results": []})).contains("is not one of"));
    assert!(judge(list, &[("cursor", "x")], json!({"results": []})).contains("not declared"));
    assert!(judge(list, &[], json!({"results": [{"id": 7}]})).contains("expected \"string\""));
    let details = "/public/v1/documents/abc/details";
    assert!(judge(details, &[], json!({"status": "document.unheard_of"})).contains("is not one of"));
    assert!(judge(details, &[], json!({"recipients": [{"type": "robot"}]})).contains("oneOf"));
    assert!(
        judge("/public/v1/webhook-events", &[("count", "1")], json!({"items": []}))
            .contains("\"page\" is missing")
    );
}
