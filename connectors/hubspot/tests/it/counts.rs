//! What reading costs: the fewest calls that HubSpot's API allows, at several shapes.

use connector_sdk::{Next, ReadMode};
use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::hubspot::{HubSpotSandbox, Kind};
use serde_json::json;

use crate::support::{open, pages, records, sandbox};

/// All calls since the last count.
fn calls(sandbox: &HubSpotSandbox) -> u64 {
    let all = sandbox.all_calls().values().sum();
    sandbox.reset_calls();
    all
}

fn contacts(sandbox: &HubSpotSandbox, n: usize) {
    for k in 0..n {
        let company = sandbox.create(Kind::Companies, &json!({"name": k.to_string()}));
        let contact = sandbox.create(Kind::Contacts, &json!({"firstname": k.to_string()}));
        sandbox.associate((Kind::Contacts, contact), (Kind::Companies, company), true);
    }
}

/// A page of 100 with its associations is one call; there is no cheaper way to list.
#[tokio::test]
async fn a_backfill_takes_a_call_for_each_hundred_objects() {
    for n in [0, 1, 99, 100, 101, 250, 1_000] {
        let sandbox = sandbox().await;
        contacts(&sandbox, n);
        let session = open(&sandbox, json!({}));
        let fewest = n.div_ceil(100).max(1) as u64;
        for stream in ["companies", "contacts"] {
            let (read, _) = pages(session.as_ref(), stream, ReadMode::Full, None).await;
            assert_eq!(records(read).len(), n);
            assert_eq!(calls(&sandbox), fewest, "{stream}, {n}");
        }
        // By id: as many objects in a call, and the associations of all in one.
        let ids: Vec<String> = sandbox.ids(Kind::Contacts).iter().map(u64::to_string).collect();
        session.read_many("contacts", &ids).await.unwrap();
        let fewest = (n.div_ceil(100) + n.div_ceil(1_000)) as u64;
        assert_eq!(calls(&sandbox), fewest, "{n} by id: their associations come a thousand at a time");
        let pairs = session.associations("contacts", &ids).await.unwrap();
        assert_eq!((pairs.len(), calls(&sandbox)), (n, n.div_ceil(1_000) as u64));
    }
}

/// Nothing has changed: a search that finds nothing, and the list of what is archived.
#[tokio::test]
async fn an_incremental_read_takes_a_search_for_each_two_hundred_changes() {
    let sandbox = sandbox().await;
    contacts(&sandbox, 450);
    let session = open(&sandbox, json!({}));
    let (_, end) = pages(session.as_ref(), "contacts", ReadMode::Full, None).await;
    calls(&sandbox);
    // All of them were made within the overlap: a search shows twice as many objects as a list.
    let (read, end) = pages(session.as_ref(), "contacts", ReadMode::Incremental, Some(end)).await;
    assert_eq!(records(read).len(), 450);
    assert_eq!(sandbox.calls("POST contacts/search"), 3);
    assert_eq!(sandbox.calls("POST contacts/companies"), 1, "their associations in one batch");
    assert_eq!((sandbox.calls("GET contacts"), calls(&sandbox)), (1, 5));
    let session = open(&sandbox, json!({"archived": false}));
    let (read, _) = pages(session.as_ref(), "companies", ReadMode::Incremental, Some(end)).await;
    assert_eq!((records(read).len(), calls(&sandbox)), (450, 3), "companies name nobody");
}

/// Many changes: searches of two hundred, associations of a thousand; and where so many properties are asked for that
/// no search takes them, objects by the hundred beside them.
#[tokio::test]
async fn many_changes_take_the_fewest_calls() {
    let sandbox = sandbox().await;
    contacts(&sandbox, 2_300);
    let many: Vec<String> = (0..200).map(|n| format!("a_property_of_ours_{n}")).collect();
    for (settings, by_id) in [(json!({}), 0), (json!({"properties": {"contacts": many}}), 23)] {
        let session = open(&sandbox, settings);
        let (_, end) = pages(session.as_ref(), "contacts", ReadMode::Full, None).await;
        calls(&sandbox);
        let (read, _) = pages(session.as_ref(), "contacts", ReadMode::Incremental, Some(end)).await;
        let longest = read.iter().map(|page| page.records.len()).max();
        assert_eq!((longest, records(read).len()), (Some(1_000), 2_300));
        assert_eq!(sandbox.calls("POST contacts/batch/read"), by_id);
        // Twelve searches, three batches of associations, the list of what is archived.
        assert_eq!(calls(&sandbox), 12 + 3 + by_id + 1);
    }
}

/// A search that fails after others leaves what they found, and is made again.
#[tokio::test]
async fn a_search_that_fails_takes_nothing_back() {
    let sandbox = sandbox().await;
    contacts(&sandbox, 700);
    let session = open(&sandbox, json!({}));
    let (_, end) = pages(session.as_ref(), "contacts", ReadMode::Full, None).await;
    calls(&sandbox);
    let path = "/crm/objects/2026-03/contacts/search".to_owned();
    sandbox.faults().add(FaultRule { path, skip: 2, times: 1, fault: Fault::Status(502) });
    let (read, _) = pages(session.as_ref(), "contacts", ReadMode::Incremental, Some(end)).await;
    let sizes: Vec<usize> = read.iter().map(|page| page.records.len()).collect();
    assert_eq!(sizes, [400, 300, 0]);
    assert_eq!(sandbox.calls("POST contacts/search"), 5);
}

#[tokio::test]
async fn an_unchanged_portal_takes_a_search_and_the_list_of_what_is_archived() {
    let sandbox = sandbox().await;
    sandbox.seed(150);
    let session = open(&sandbox, json!({}));
    // Of deals a search for edited line items, too.
    for (stream, fewest) in [("companies", 2), ("contacts", 2), ("deals", 3)] {
        let (_, end) = pages(session.as_ref(), stream, ReadMode::Full, None).await;
        calls(&sandbox);
        let (read, _) = pages(session.as_ref(), stream, ReadMode::Incremental, Some(end)).await;
        assert!(records(read).is_empty());
        assert_eq!(calls(&sandbox), fewest, "{stream}");
    }
}

/// Line items are read of won deals that have some, a hundred in a call.
#[tokio::test]
async fn line_items_cost_nothing_where_there_are_none() {
    let sandbox = sandbox().await;
    sandbox.seed(300);
    let session = open(&sandbox, json!({}));
    pages(session.as_ref(), "deals", ReadMode::Full, None).await;
    assert_eq!(calls(&sandbox), 3, "none of them has line items");
    for deal in sandbox.ids(Kind::Deals).into_iter().take(40) {
        for _ in 0..2 {
            let line = sandbox.create(Kind::LineItems, &json!({"hs_recurring_billing_period": "P12M"}));
            sandbox.associate((Kind::Deals, deal), (Kind::LineItems, line), false);
        }
    }
    let (read, _) = pages(session.as_ref(), "deals", ReadMode::Full, None).await;
    let with_lines = records(read).iter().filter(|r| r.payload.get().contains("\"line_items\"")).count();
    assert_eq!(with_lines, 40);
    assert_eq!((sandbox.calls("POST line_items/batch/read"), calls(&sandbox)), (1, 4));
    let session = open(&sandbox, json!({"line_items": false}));
    pages(session.as_ref(), "deals", ReadMode::Full, None).await;
    assert_eq!(calls(&sandbox), 3);
}

/// A list of associations that is cut is read from its beginning, in batches, to its end.
#[tokio::test]
async fn associations_past_a_hundred_take_only_their_own_pages() {
    let sandbox = sandbox().await;
    let deal = sandbox.create(Kind::Deals, &json!({"dealname": "Big"}));
    for _ in 0..120 {
        sandbox.create(Kind::Deals, &json!({"dealname": "Small"}));
    }
    for _ in 0..1_234 {
        let contact = sandbox.create(Kind::Contacts, &json!({}));
        sandbox.associate((Kind::Deals, deal), (Kind::Contacts, contact), false);
    }
    let session = open(&sandbox, json!({}));
    let (read, _) = pages(session.as_ref(), "deals", ReadMode::Full, None).await;
    let all = records(read);
    let big = all.iter().find(|r| r.key.id == deal.to_string()).unwrap();
    let doc = crate::support::doc(big);
    assert_eq!(doc["associations"]["contacts"].as_array().unwrap().len(), 1_234);
    // Two pages of deals, three of the one deal's contacts.
    assert_eq!((sandbox.calls("POST deals/contacts"), calls(&sandbox)), (3, 5));
}

/// Pages hold no more than their objects, however long the stream is.
#[tokio::test]
async fn pages_are_flat() {
    let sandbox = sandbox().await;
    sandbox.seed(2_500);
    let session = open(&sandbox, json!({}));
    let plan = session.plan("contacts", ReadMode::Full, chrono::DateTime::UNIX_EPOCH).await.unwrap();
    let (mut cursor, mut seen, mut longest) = (None, 0, 0);
    loop {
        let page = session.read_page("contacts", ReadMode::Full, &plan[0], cursor.as_ref()).await.unwrap();
        assert!(page.records.len() <= 100);
        seen += page.records.len();
        longest = longest.max(page.records.iter().map(|r| r.payload.get().len()).sum::<usize>());
        match page.next {
            Next::More(next) => {
                // Nothing grows with what was read.
                assert!(next.0.len() < 120, "{}", next.0);
                cursor = Some(next);
            }
            Next::CaughtUp(_) => break,
        }
    }
    assert_eq!(seen, 2_500);
    assert!(longest < 100 * 1_000, "{longest} bytes a page");
    assert_eq!(calls(&sandbox), 25);
}
