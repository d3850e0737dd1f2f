//! What the suite cannot ask: deleted objects and the calls themselves.

use connector_chargebee::Chargebee;

use std::collections::{BTreeMap, BTreeSet};

use connector_sdk::facts::{CatalogItem, Usage};
use connector_sdk::{
    Clock, Connector, DynConnector, Fact, Next, Page, ReadMode, Record, RecordKey, Session, SystemClock,
};
use connector_testkit::conformance::Provider;
use serde_json::json;

use crate::support::{Sandbox, io};

/// Every page of customers, on from a cursor.
async fn pages(session: &dyn Session, mode: ReadMode, from: Option<&Page>) -> Vec<Page> {
    pages_of(session, "customers", mode, from).await
}

/// Every page of a stream, on from a cursor.
async fn pages_of(session: &dyn Session, stream: &str, mode: ReadMode, from: Option<&Page>) -> Vec<Page> {
    let partition = session.plan(stream, mode, SystemClock.now()).await.unwrap().remove(0);
    let mut cursor = from.map(|page| match &page.next {
        Next::CaughtUp(cursor) | Next::More(cursor) => cursor.clone(),
    });
    let mut out = Vec::new();
    loop {
        let page = session.read_page(stream, mode, &partition, cursor.as_ref()).await.unwrap();
        let next = page.next.clone();
        out.push(page);
        match next {
            Next::More(next) => cursor = Some(next),
            Next::CaughtUp(_) => return out,
        }
    }
}

#[tokio::test]
async fn a_run_finds_what_changed_and_what_was_deleted() {
    let sandbox = Sandbox::start().await;
    sandbox.fill();
    let session = DynConnector::open(&Chargebee, &sandbox.config(), sandbox.secrets(), io()).unwrap();
    let first = pages(session.as_ref(), ReadMode::Full, None).await;
    let ids: Vec<String> = sandbox.ids("customers").into_iter().collect();
    sandbox.api().set("customers", &ids[1], "company", json!("Renamed"));
    assert!(sandbox.delete("customers", &ids[0]));
    let then = pages(session.as_ref(), ReadMode::Incremental, first.last()).await;
    let gone: BTreeSet<&str> = then.iter().flat_map(|p| &p.tombstones).map(|key| key.id.as_str()).collect();
    assert_eq!(gone, BTreeSet::from([ids[0].as_str()]));
    let renamed = then.iter().flat_map(|p| &p.records).find(|record| record.key.id == ids[1]).unwrap();
    assert!(renamed.payload.get().contains("Renamed"));
}

#[tokio::test]
async fn a_read_takes_the_fewest_calls_and_asks_in_the_documented_words() {
    let sandbox = Sandbox::start().await;
    sandbox.fill();
    let session = DynConnector::open(&Chargebee, &sandbox.config(), sandbox.secrets(), io()).unwrap();
    let _ = sandbox.calls();
    let read = pages(session.as_ref(), ReadMode::Full, None).await;
    let calls = sandbox.calls();
    // Eight objects, three a page.
    assert_eq!((read.len(), calls.len()), (3, 3));
    let _ = pages(session.as_ref(), ReadMode::Incremental, read.last()).await;
    let later = sandbox.calls().remove(0);
    let named: BTreeSet<&str> = later.query.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(named, BTreeSet::from(["include_deleted", "limit", "sort_by[asc]", "updated_at[after]"]));
    assert_eq!(calls[0].path.join("/"), "api/v2/customers");
    assert_eq!(Connector::spec(&Chargebee).api_version, calls[0].path[1]);
}

#[tokio::test]
async fn a_party_is_read_whole_and_alone() {
    let sandbox = Sandbox::start().await;
    sandbox.fill();
    let customers: Vec<String> = sandbox.ids("customers").into_iter().collect();
    let (of_one, of_another) = (&customers[0], &customers[1]);
    let invoices: Vec<String> = sandbox.ids("invoices").into_iter().collect();
    for invoice in &invoices[4..] {
        sandbox.api().set("invoices", invoice, "customer_id", json!(of_another));
    }
    sandbox.delete("invoices", &invoices[0]);
    let session = DynConnector::open(&Chargebee, &sandbox.config(), sandbox.secrets(), io()).unwrap();
    let batch = session.read_party(&RecordKey::new("customers", of_one.as_str())).await.unwrap();
    let mut expected = vec![format!("customers/{of_one}")];
    expected.extend(invoices[1..4].iter().map(|id| format!("invoices/{id}")));
    expected.extend(sandbox.ids("subscriptions").iter().map(|id| format!("subscriptions/{id}")));
    expected.extend(sandbox.ids("transactions").iter().map(|id| format!("transactions/{id}")));
    let mut found: Vec<String> = batch.records.iter().map(|record| record.key.to_string()).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(batch.tombstones, [RecordKey::new("invoices", invoices[0].as_str())]);
    let gone = session.read_party(&RecordKey::new("customers", "nobody")).await.unwrap();
    assert_eq!((gone.records.len(), gone.tombstones.len()), (0, 1));
    assert!(session.read_party(&RecordKey::new("invoices", invoices[1].as_str())).await.is_err());
}

/// Whether a quantity is counted afterwards an item says, not its prices: one list for all of a page.
#[tokio::test]
async fn an_item_price_says_what_its_item_says() {
    let sandbox = Sandbox::start().await;
    sandbox.fill();
    let ids: Vec<String> = sandbox.ids("item_prices").into_iter().collect();
    let item = ids[0].replace("ite-", "item-");
    sandbox.api().set("items", &item, "metered", json!(true));
    sandbox.api().set("item_prices", &ids[1], "item_id", json!("unknown"));
    let session = DynConnector::open(&Chargebee, &sandbox.config(), sandbox.secrets(), io()).unwrap();
    let _ = sandbox.calls();
    let read = pages_of(session.as_ref(), "item_prices", ReadMode::Full, None).await;
    let lists = sandbox.calls().into_iter().filter(|call| call.path.last().unwrap() == "items").count();
    assert_eq!((read.len(), lists), (3, 3), "one for each page");
    let usage = |record: &Record| match Connector::facts(&Chargebee, record).unwrap().facts.remove(0) {
        Fact::CatalogItem(CatalogItem::Price(price)) => price.usage,
        other => unreachable!("{other:?}"),
    };
    let records: BTreeMap<String, Record> =
        read.into_iter().flat_map(|page| page.records).map(|r| (r.key.id.clone(), r)).collect();
    let seen: Vec<_> = ids.iter().take(3).map(|id| usage(&records[id])).collect();
    assert_eq!(seen, [Some(Usage::Metered), None, Some(Usage::Licensed)]);
    // By id the same text.
    let batch = session.read_many("item_prices", &ids).await.unwrap();
    for record in &batch.records {
        assert_eq!(record.payload.get(), records[&record.key.id].payload.get());
    }
    sandbox.forbid("items");
    let account = session.check().await.unwrap();
    assert_eq!(account.missing.iter().map(|m| m.stream.as_str()).collect::<Vec<_>>(), ["items"]);
    let read = pages_of(session.as_ref(), "item_prices", ReadMode::Full, None).await;
    assert!(read.iter().flat_map(|page| &page.records).all(|record| usage(record).is_none()));
}

/// Chargebee reckons what is due when a subscription is asked for, and moves no time of it: the invoice tells.
#[tokio::test]
async fn an_invoice_that_is_or_was_due_has_its_subscription_read_again() {
    let sandbox = Sandbox::start().await;
    sandbox.fill();
    let session = DynConnector::open(&Chargebee, &sandbox.config(), sandbox.secrets(), io()).unwrap();
    let first = pages_of(session.as_ref(), "invoices", ReadMode::Full, None).await;
    assert!(first.iter().all(|page| page.touched.is_empty()), "everything is read");
    let ids: Vec<String> = sandbox.ids("invoices").into_iter().collect();
    let subscription = sandbox.ids("subscriptions").into_iter().next().unwrap();
    let touched = async || {
        let read = pages_of(session.as_ref(), "invoices", ReadMode::Incremental, first.last()).await;
        let all: BTreeSet<String> =
            read.iter().flat_map(|page| &page.touched).map(|touch| touch.key.to_string()).collect();
        all.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(touched().await, [""; 0]);
    sandbox.api().set("invoices", &ids[0], "status", json!("payment_due"));
    let named = [format!("subscriptions/{subscription}")];
    assert_eq!(touched().await, named);
    // Paid at last, late.
    sandbox.api().set("invoices", &ids[0], "status", json!("paid"));
    assert_eq!(touched().await, [""; 0]);
    sandbox.api().set("invoices", &ids[0], "due_date", json!(1_000));
    sandbox.api().set("invoices", &ids[0], "paid_at", json!(2_000));
    assert_eq!(touched().await, named);
    sandbox.api().set("invoices", &ids[0], "paid_at", json!(900));
    assert_eq!(touched().await, [""; 0]);
    sandbox.api().set("invoices", &ids[0], "dunning_status", json!("success"));
    assert_eq!(touched().await, named);
}
