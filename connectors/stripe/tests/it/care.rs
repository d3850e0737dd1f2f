//! One customer whole, what changed since an instant, and webhook endpoints.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::support::secrets;
use chrono::TimeDelta;
use connector_sdk::{
    Budget, Clock, ConnectorError, DynConnector, HttpConfig, Io, Priority, RecordKey, Session, SystemClock,
};
use connector_stripe::{API_VERSION, Stripe};
use connector_testkit::sandbox::stripe::{Kind, Options, StripeSandbox};
use serde_json::{Value, json};

async fn sandbox() -> (StripeSandbox, Box<dyn Session>) {
    let sandbox = StripeSandbox::start(Options::default()).await.unwrap();
    let io = Io {
        http: connector_testkit::http_client(HttpConfig::default()).unwrap(),
        clock: Arc::new(SystemClock),
        budget: Arc::new(Budget::unlimited()),
        priority: Priority::Webhook,
    };
    let config = json!({"base_url": sandbox.base_url()});
    let session = DynConnector::open(&Stripe, &config, secrets(sandbox.api_key()), io).unwrap();
    (sandbox, session)
}

fn customer(sandbox: &StripeSandbox, name: &str) -> String {
    let made = sandbox.call("POST", "/v1/customers", &json!({"name": name})).unwrap();
    made["id"].as_str().unwrap().to_owned()
}

fn subscribe(sandbox: &StripeSandbox, customer: &str) -> String {
    let form = json!({"customer": customer, "items": [{"price": "price_1"}]});
    let made = sandbox.call("POST", "/v1/subscriptions", &form).unwrap();
    made["id"].as_str().unwrap().to_owned()
}

fn price(sandbox: &StripeSandbox) {
    let post = |path: &str, form: Value| sandbox.call("POST", path, &form).unwrap();
    post("/v1/products", json!({"id": "prod_1", "name": "Plan"}));
    let recurring = json!({"interval": "month"});
    post(
        "/v1/prices",
        json!({"id": "price_1", "product": "prod_1", "currency": "usd", "unit_amount": "500", "recurring": recurring}),
    );
}

/// More than a page of some kinds, a canceled subscription, a refund, a dispute; nothing of anybody else.
#[tokio::test]
async fn a_party_is_read_whole() {
    let (sandbox, session) = sandbox().await;
    price(&sandbox);
    let (acme, other) = (customer(&sandbox, "Acme"), customer(&sandbox, "Other"));
    let first = subscribe(&sandbox, &acme);
    for _ in 0..104 {
        subscribe(&sandbox, &acme);
    }
    subscribe(&sandbox, &other);
    sandbox.bill(&first, true).unwrap();
    sandbox.call("DELETE", &format!("/v1/subscriptions/{first}"), &json!({})).unwrap();
    let charge = sandbox.ids(Kind::Charges).remove(0);
    sandbox.call("POST", "/v1/refunds", &json!({"charge": charge, "amount": "100"})).unwrap();
    sandbox.dispute(&charge).unwrap();

    let batch = session.read_party(&RecordKey::new("customers", acme.as_str())).await.unwrap();
    let found: BTreeSet<String> = batch.records.iter().map(|r| r.key.to_string()).collect();
    assert_eq!(found.len(), batch.records.len(), "each once");
    let mut expected: BTreeSet<String> = BTreeSet::from([format!("customers/{acme}")]);
    for (kind, stream) in [
        (Kind::Subscriptions, "subscriptions"),
        (Kind::Invoices, "invoices"),
        (Kind::Charges, "charges"),
        (Kind::Refunds, "refunds"),
        (Kind::Disputes, "disputes"),
    ] {
        for id in sandbox.ids(kind) {
            let object = sandbox.object(kind, &id).unwrap();
            if object.get("customer").is_none_or(|of| *of != other.as_str()) {
                expected.insert(format!("{stream}/{id}"));
            }
        }
    }
    assert_eq!(found, expected);
    assert_eq!(sandbox.calls("GET /v1/subscriptions"), 2);
    assert_eq!((sandbox.calls("GET /v1/refunds"), sandbox.calls("GET /v1/disputes")), (1, 1));
    let gone = session.read_party(&RecordKey::new("customers", "cus_none")).await.unwrap();
    assert_eq!(gone.tombstones, [RecordKey::new("customers", "cus_none")]);
    let wrong = session.read_party(&RecordKey::new("prices", "price_1")).await;
    assert!(matches!(wrong, Err(ConnectorError::Config(_))));
}

#[tokio::test]
async fn history_names_what_changed_page_by_page() {
    let (sandbox, session) = sandbox().await;
    let since = SystemClock.now() - TimeDelta::hours(1);
    let made: BTreeSet<String> = (0..120).map(|n| customer(&sandbox, &format!("C {n}"))).collect();
    sandbox.delete(Kind::Customers, made.first().unwrap()).unwrap();
    let (mut named, mut cursor, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let page = session.changed_since(since, cursor.as_ref()).await.unwrap();
        named.extend(page.keys.into_iter().map(|key| key.id));
        pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((named, pages), (made, 2), "the deleted one too: it is read again and found gone");
    let later = session.changed_since(SystemClock.now() + TimeDelta::hours(1), None).await.unwrap();
    assert!(later.keys.is_empty() && later.next.is_none());
    let long_ago = session.changed_since(SystemClock.now() - TimeDelta::days(31), None).await;
    assert!(matches!(long_ago, Err(ConnectorError::NotOffered(why)) if why.contains("30 days")));
    sandbox.forbid("events", true);
    let refused = session.changed_since(since, None).await;
    assert!(matches!(refused, Err(ConnectorError::Auth { missing_permission: Some(_), .. })), "{refused:?}");
}

#[tokio::test]
async fn endpoints_are_made_found_changed_and_removed() {
    let (sandbox, session) = sandbox().await;
    let admin = session.endpoints().unwrap();
    assert!(admin.list().await.unwrap().is_empty());
    let made = admin.create("https://halo.example/hook", "con_1").await.unwrap();
    assert!(!format!("{made:?}").contains("whsec"));
    let endpoint = made.endpoint;
    assert_eq!((endpoint.enabled, endpoint.tag.as_deref()), (true, Some("con_1")));
    assert_eq!(endpoint.api_version.as_deref(), Some(API_VERSION));
    sandbox.change_webhook_endpoint(&endpoint.id, |doc| doc["status"] = json!("disabled"));
    for _ in 0..105 {
        admin.create("https://halo.example/other", "con_2").await.unwrap();
    }
    let all = admin.list().await.unwrap();
    assert_eq!(all.len(), 106, "over more than one page");
    assert!(!all.iter().find(|e| e.id == endpoint.id).unwrap().enabled);
    let mended = admin.update(&endpoint.id, "https://halo.example/new").await.unwrap();
    assert_eq!((mended.enabled, mended.url.as_str()), (true, "https://halo.example/new"));
    admin.remove(&endpoint.id).await.unwrap();
    admin.remove(&endpoint.id).await.unwrap();
    assert!(matches!(
        admin.update(&endpoint.id, "https://x.example").await,
        Err(ConnectorError::Transient(_))
    ));
    let refused = admin.create("not an address", "con_1").await;
    assert!(matches!(refused, Err(ConnectorError::Config(why)) if why.contains("Invalid URL")));
    sandbox.do_not_offer("webhook_endpoints");
    assert!(matches!(admin.list().await, Err(ConnectorError::NotOffered(_))));
}
