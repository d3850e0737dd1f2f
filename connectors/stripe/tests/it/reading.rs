//! What is Stripe's own about reading Stripe.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{config, fill, secrets};
use connector_sdk::{
    Budget, Clock, Connector, ConnectorError, DynConnector, HttpConfig, Io, Mode, Next, Priority, ReadMode,
    Record, Session, SystemClock,
};
use connector_stripe::{API_VERSION, Stripe};
use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::stripe::{Kind, Options, StripeSandbox};
use serde_json::{Value, json};

fn io() -> Io {
    Io {
        http: connector_testkit::http_client(HttpConfig::default()).unwrap(),
        clock: Arc::new(SystemClock),
        budget: Arc::new(Budget::unlimited()),
        priority: Priority::Backfill,
    }
}

fn open(config: &Value, key: &str) -> Result<Box<dyn Session>, ConnectorError> {
    DynConnector::open(&Stripe, config, secrets(key), io())
}

async fn sandbox() -> StripeSandbox {
    StripeSandbox::start(Options::default()).await.unwrap()
}

async fn read(session: &dyn Session, stream: &str, mode: ReadMode) -> (Vec<Record>, usize) {
    let mut waiting = session.plan(stream, mode, SystemClock.now()).await.unwrap();
    let (mut records, mut pages) = (Vec::new(), 0);
    while let Some(partition) = waiting.pop() {
        let mut cursor = None;
        loop {
            let page = session.read_page(stream, mode, &partition, cursor.as_ref()).await.unwrap();
            pages += 1;
            records.extend(page.records);
            match page.next {
                Next::More(next) => cursor = Some(next),
                Next::CaughtUp(_) => break,
            }
        }
    }
    (records, pages)
}

fn json_of(record: &Record) -> Value {
    serde_json::from_str(record.payload.get()).unwrap()
}

#[tokio::test]
async fn every_call_pins_the_version() {
    let sandbox = sandbox().await;
    fill(&sandbox);
    let session = open(&config(&sandbox, 2, 5), sandbox.api_key()).unwrap();
    session.check().await.unwrap();
    for stream in Connector::spec(&Stripe).streams {
        let (records, _) = read(session.as_ref(), stream.name, ReadMode::Full).await;
        let ids: Vec<String> = records.into_iter().map(|r| r.key.id).collect();
        session.read_many(stream.name, &ids).await.unwrap();
    }
    assert!(
        sandbox.calls("GET /v1/subscription_items") > 0 && sandbox.calls("GET /v1/invoices/:id/lines") > 0
    );
    assert_eq!(sandbox.unpinned_calls(), Vec::<String>::new());
    assert_eq!(API_VERSION, connector_testkit::sandbox::stripe::API_VERSION);
}

#[tokio::test]
async fn canceled_subscriptions_and_items_past_the_first_page_are_read() {
    let sandbox = sandbox().await;
    fill(&sandbox);
    let session = open(&config(&sandbox, 1, 100), sandbox.api_key()).unwrap();
    let (records, pages) = read(session.as_ref(), "subscriptions", ReadMode::Full).await;
    assert_eq!((records.len(), pages), (8, 1));
    let docs: Vec<Value> = records.iter().map(json_of).collect();
    assert_eq!(docs.iter().filter(|d| d["status"] == "canceled").count(), 1);
    let long = docs.iter().find(|d| d["items"]["data"].as_array().unwrap().len() > 10).unwrap();
    let items = long["items"]["data"].as_array().unwrap();
    assert_eq!((items.len(), &long["items"]["has_more"]), (12, &json!(false)));
    let mut ids: Vec<&str> = items.iter().map(|i| i["id"].as_str().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 12);
    for item in items {
        // The same depth behind the first page as on it.
        assert_eq!(item["discounts"][0]["source"]["coupon"], "OFF 3%");
        assert!(item["price"]["recurring"].is_object());
    }
    let (invoices, _) = read(session.as_ref(), "invoices", ReadMode::Full).await;
    let longest = invoices.iter().map(|r| json_of(r)["lines"]["data"].as_array().unwrap().len()).max();
    assert_eq!(longest, Some(12));
}

#[tokio::test]
async fn what_stripe_hides_is_expanded() {
    let sandbox = sandbox().await;
    fill(&sandbox);
    let customer = sandbox.ids(Kind::Customers)[0].clone();
    let discount = json!({"id": "di_x", "object": "discount", "source": {"coupon": "OFF 1%", "type": "coupon"}, "start": 1, "end": null});
    sandbox.change(Kind::Customers, &customer, "customer.updated", |c| c["discount"] = discount).unwrap();
    // A coupon that is deleted still runs, and is nowhere else to be read.
    sandbox.delete(Kind::Coupons, "OFF 1%").unwrap();
    let session = open(&config(&sandbox, 1, 100), sandbox.api_key()).unwrap();
    let docs = async |stream: &str| -> Vec<Value> {
        read(session.as_ref(), stream, ReadMode::Full).await.0.iter().map(json_of).collect()
    };
    assert!(docs("prices").await.iter().any(|p| p["tiers"][1]["flat_amount"] == 100));
    assert!(docs("prices").await.iter().any(|p| p["currency_options"]["eur"]["unit_amount"] == 900));
    assert!(docs("coupons").await.iter().all(|c| c["applies_to"]["products"][0].is_string()));
    assert!(docs("customers").await.iter().any(|c| c["discount"]["source"]["coupon"]["percent_off"] == 10.0));
    assert!(
        docs("subscriptions").await.iter().any(|s| s["discounts"][0]["source"]["coupon"]["id"] == "OFF 1%")
    );
}

#[tokio::test]
async fn a_server_that_refuses_expansion_is_read_without() {
    let sandbox = sandbox().await;
    fill(&sandbox);
    // Its 400 is in Stripe's words for a property that cannot be expanded.
    let session = open(&config(&sandbox, 1, 100), sandbox.api_key()).unwrap();
    sandbox.refuse_expansion();
    let (records, _) = read(session.as_ref(), "prices", ReadMode::Full).await;
    assert_eq!(records.len(), 12);
    let before = sandbox.calls("GET /v1/prices/:id");
    session.read_many("prices", &sandbox.ids(Kind::Prices)).await.unwrap();
    assert_eq!(sandbox.calls("GET /v1/prices/:id") - before, 12, "asked once, remembered for the session");
}

#[tokio::test]
async fn what_is_not_offered_is_reported_and_the_rest_is_checked() {
    let sandbox = sandbox().await;
    fill(&sandbox);
    sandbox.do_not_offer("account");
    sandbox.do_not_offer("disputes");
    let session = open(&config(&sandbox, 1, 100), sandbox.api_key()).unwrap();
    let account = session.check().await.unwrap();
    assert_eq!(account.not_offered, ["account", "disputes"]);
    assert_eq!((account.id, account.mode), (None, Mode::Test));
    assert!(account.missing.is_empty());
    let partitions = session.plan("disputes", ReadMode::Full, SystemClock.now()).await.unwrap();
    let page = session.read_page("disputes", ReadMode::Full, &partitions[0], None).await;
    assert!(matches!(page, Err(ConnectorError::NotOffered(_))));
    // A missing operation is no tombstone.
    let batch = session.read_many("disputes", &["dp_1".to_owned()]).await;
    assert!(matches!(batch, Err(ConnectorError::NotOffered(_))));
}

#[tokio::test]
async fn the_account_may_be_forbidden_to_a_restricted_key() {
    let sandbox = sandbox().await;
    sandbox.forbid("account", true);
    let session = open(&config(&sandbox, 1, 100), sandbox.api_key()).unwrap();
    let account = session.check().await.unwrap();
    assert_eq!(account.missing[0].stream, "account");
    assert!(account.missing[0].permission.starts_with("rak_"));
}

#[tokio::test]
async fn the_mode_is_the_keys_or_else_the_objects() {
    for (key, mode) in [
        (concat!("sk_live", "_1"), Mode::Live),
        (concat!("rk_test", "_1"), Mode::Test),
        (concat!("sk_org_live", "_1"), Mode::Live),
    ] {
        let options = Options { api_key: key.to_owned(), ..Options::default() };
        let sandbox = StripeSandbox::start(options).await.unwrap();
        let session = open(&config(&sandbox, 1, 100), key).unwrap();
        assert_eq!(session.check().await.unwrap().mode, mode, "{key}");
    }
    let options = Options { api_key: "somekey".to_owned(), ..Options::default() };
    let sandbox = StripeSandbox::start(options).await.unwrap();
    let session = open(&config(&sandbox, 1, 100), "somekey").unwrap();
    assert!(matches!(session.check().await, Err(ConnectorError::Config(_))), "nothing says so");
    fill(&sandbox);
    assert_eq!(session.check().await.unwrap().mode, Mode::Test);
}

#[tokio::test]
async fn a_revoked_key_is_a_matter_of_credentials() {
    let sandbox = sandbox().await;
    let session = open(&config(&sandbox, 1, 100), sandbox.api_key()).unwrap();
    session.check().await.unwrap();
    sandbox.revoke_key();
    assert!(matches!(session.check().await, Err(ConnectorError::Auth { .. })));
}

#[tokio::test]
async fn keys_that_cannot_be_right_are_refused_before_any_call() {
    let sandbox = sandbox().await;
    for key in ["", " sk_test_1", "sk_test_1\n", concat!("pk_test", "_1")] {
        let opened = open(&config(&sandbox, 1, 100), key);
        assert!(matches!(opened.err(), Some(ConnectorError::Auth { .. })), "{key:?}");
    }
    assert!(sandbox.all_calls().is_empty());
}

#[tokio::test]
async fn settings_that_cannot_be_right_are_refused() {
    let good = json!({});
    assert!(open(&good, "sk_test_1").is_ok());
    for (name, value) in [
        ("base_url", json!("http://api.stripe.com")),
        ("base_url", json!("nonsense")),
        ("partitions", json!(0)),
        ("partitions", json!(65)),
        ("page_size", json!(0)),
        ("page_size", json!(101)),
        ("account", json!("cus_1")),
        ("account", json!("acct_1\r\nX: y")),
        ("created_since", json!("yesterday")),
    ] {
        match open(&json!({name: value}), "sk_test_1").err() {
            Some(ConnectorError::Config(text)) => assert!(text.contains(name), "{text}"),
            other => panic!("{name} {value}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn history_is_re_read_with_overlap_and_from_the_configured_start() {
    let sandbox = sandbox().await;
    let now = SystemClock.now().timestamp();
    let day = 86_400;
    for age in [100, 40, 20, 6, 3, 0] {
        let charge = json!({"id": format!("ch_{age}"), "object": "charge", "created": now - age * day, "amount": 1, "currency": "usd"});
        sandbox.put(Kind::Charges, charge, None);
    }
    let ids = async |config: Value| -> Vec<String> {
        let session = open(&config, sandbox.api_key()).unwrap();
        let plan = session.plan("charges", ReadMode::Incremental, SystemClock.now()).await.unwrap();
        let first = session.read_page("charges", ReadMode::Incremental, &plan[0], None).await.unwrap();
        let Next::CaughtUp(end) = first.next else { panic!("one page") };
        let again = session.read_page("charges", ReadMode::Incremental, &plan[0], Some(&end)).await.unwrap();
        first
            .records
            .iter()
            .map(|r| r.key.id.clone())
            .chain(["then".to_owned()])
            .chain(again.records.iter().map(|r| r.key.id.clone()))
            .collect()
    };
    assert_eq!(
        ids(config(&sandbox, 1, 100)).await,
        ["ch_0", "ch_3", "ch_6", "ch_20", "ch_40", "ch_100", "then", "ch_0", "ch_3", "ch_6"]
    );
    let mut since = config(&sandbox, 1, 100);
    since["created_since"] = json!((SystemClock.now() - chrono::TimeDelta::days(30)).to_rfc3339());
    assert_eq!(ids(since).await, ["ch_0", "ch_3", "ch_6", "ch_20", "then", "ch_0", "ch_3", "ch_6"]);
}

#[tokio::test]
async fn a_deleted_customer_is_a_tombstone_and_its_subscription_is_canceled() {
    let sandbox = sandbox().await;
    fill(&sandbox);
    let subscription = sandbox.ids(Kind::Subscriptions).pop().unwrap();
    let customer =
        sandbox.object(Kind::Subscriptions, &subscription).unwrap()["customer"].as_str().unwrap().to_owned();
    sandbox.delete(Kind::Customers, &customer).unwrap();
    let session = open(&config(&sandbox, 1, 100), sandbox.api_key()).unwrap();
    let batch = session.read_many("customers", std::slice::from_ref(&customer)).await.unwrap();
    assert_eq!(batch.tombstones.len(), 1);
    let batch = session.read_many("subscriptions", &[subscription]).await.unwrap();
    assert_eq!(json_of(&batch.records[0])["status"], "canceled");
}

#[tokio::test]
async fn a_busy_endpoint_slows_down_what_shares_the_account() {
    let sandbox = sandbox().await;
    fill(&sandbox);
    let mut io = io();
    io.budget = Arc::new(Budget::new(Connector::spec(&Stripe).budget, Mode::Test));
    let budget = Arc::clone(&io.budget);
    let session =
        DynConnector::open(&Stripe, &config(&sandbox, 1, 100), secrets(sandbox.api_key()), io).unwrap();
    sandbox
        .faults()
        .add(FaultRule::next("/v1/customers", Fault::TooManyRequests { retry_after: Some("1".into()) }));
    let refused = session.read_many("customers", &["cus_1".to_owned()]).await;
    assert!(matches!(refused, Err(ConnectorError::RateLimited { .. })));
    let started = std::time::Instant::now();
    session.read_many("customers", &["cus_1".to_owned()]).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(900), "the next call waits it out");
    let stats = budget.stats();
    assert_eq!((stats.throttled, stats.in_flight, stats.waiting), (1, 0, 0));
}

#[tokio::test]
async fn a_bulk_account_reads_as_it_was_made() {
    let sandbox = sandbox().await;
    sandbox.seed_customers(1_000);
    let session = open(&config(&sandbox, 1, 100), sandbox.api_key()).unwrap();
    for (stream, pages) in [("customers", 10), ("subscriptions", 10), ("products", 1), ("prices", 1)] {
        let (records, read) = read(session.as_ref(), stream, ReadMode::Full).await;
        assert_eq!(read, pages, "{stream}");
        assert_eq!(records.len(), if pages == 10 { 1_000 } else { 4 });
        for record in records {
            Connector::facts(&Stripe, &record).unwrap();
        }
    }
}

#[tokio::test]
async fn the_demo_account_reads_and_changes() {
    let sandbox = sandbox().await;
    let demo = sandbox.seed_demo().unwrap();
    assert!(sandbox.take_events().is_empty(), "the past is not announced");
    assert_eq!(sandbox.count(Kind::Customers), 12);
    let session = open(&config(&sandbox, 1, 100), sandbox.api_key()).unwrap();
    let mut statuses = std::collections::BTreeMap::new();
    for stream in Connector::spec(&Stripe).streams {
        let (records, _) = read(session.as_ref(), stream.name, ReadMode::Full).await;
        // Nobody in the demo pays tax.
        assert_eq!(records.is_empty(), stream.name == "tax_rates", "{}", stream.name);
        for record in &records {
            Connector::facts(&Stripe, record).unwrap_or_else(|e| panic!("{}: {e}", record.key));
            if stream.name == "subscriptions" {
                *statuses.entry(json_of(record)["status"].as_str().unwrap().to_owned()).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(
        statuses.into_iter().collect::<Vec<_>>(),
        [
            ("active".to_owned(), 8),
            ("canceled".to_owned(), 1),
            ("past_due".to_owned(), 1),
            ("trialing".to_owned(), 1)
        ]
    );
    sandbox.demo_change(&demo).unwrap();
    let events: Vec<String> = sandbox.take_events().into_iter().map(|e| e.kind).collect();
    for kind in ["customer.subscription.updated", "invoice.payment_failed", "customer.updated"] {
        assert!(events.iter().any(|k| k == kind), "{kind} in {events:?}");
    }
    let item = &sandbox.object(Kind::Subscriptions, &demo.subscription).unwrap()["items"]["data"][0];
    assert_eq!(item["price"]["id"], "price_team_month");
}
