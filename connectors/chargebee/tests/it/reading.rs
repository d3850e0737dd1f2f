//! What the suite cannot ask: deleted objects and the calls themselves.

use connector_chargebee::Chargebee;

use std::collections::BTreeSet;

use connector_sdk::{Clock, Connector, DynConnector, Next, Page, ReadMode, RecordKey, Session, SystemClock};
use connector_testkit::conformance::Provider;
use serde_json::json;

use crate::support::{Sandbox, io};

/// Every page of a stream, on from a cursor.
async fn pages(session: &dyn Session, mode: ReadMode, from: Option<&Page>) -> Vec<Page> {
    let partition = session.plan("customers", mode, SystemClock.now()).await.unwrap().remove(0);
    let mut cursor = from.map(|page| match &page.next {
        Next::CaughtUp(cursor) | Next::More(cursor) => cursor.clone(),
    });
    let mut out = Vec::new();
    loop {
        let page = session.read_page("customers", mode, &partition, cursor.as_ref()).await.unwrap();
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
    let mut found: Vec<String> = batch.records.iter().map(|record| record.key.to_string()).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(batch.tombstones, [RecordKey::new("invoices", invoices[0].as_str())]);
    let gone = session.read_party(&RecordKey::new("customers", "nobody")).await.unwrap();
    assert_eq!((gone.records.len(), gone.tombstones.len()), (0, 1));
    assert!(session.read_party(&RecordKey::new("invoices", invoices[1].as_str())).await.is_err());
}
