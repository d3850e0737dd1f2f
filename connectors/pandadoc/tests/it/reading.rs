//! What is PandaDoc's own about reading PandaDoc.

use std::collections::BTreeSet;
use std::sync::Arc;

use connector_pandadoc::{API_KEY, PandaDoc};
use connector_sdk::{
    Clock, Connector, ConnectorError, Cursor, DynConnector, Mode, ReadMode, RecordKey, Session, SystemClock,
};
use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::pandadoc::{Options, PandaDocSandbox};
use serde_json::{Value, json};

use crate::support::{field, fill, ids, io, open, pages, partition, sandbox, secrets, try_open};

const DETAILS: &str = "GET /public/v1/documents/:id/details";
const EXTRACTED: &str = "POST /public/beta/documents/ai-metadata";

/// The fewest calls for a backfill: a list page for each hundred documents, each document's details, and extracted
/// data for each forty completed ones.
fn fewest(documents: u64, completed: u64) -> u64 {
    documents.div_ceil(100).max(1) + documents + completed.div_ceil(40)
}

fn all_calls(sandbox: &PandaDocSandbox) -> u64 {
    sandbox.all_calls().values().sum()
}

#[tokio::test]
async fn a_backfill_takes_no_more_calls_than_it_must() {
    let sandbox = sandbox().await;
    sandbox.seed(1_000);
    let session = open(&sandbox, json!({}));
    let (read, end) = pages(session.as_ref(), ReadMode::Full, None).await.unwrap();
    assert_eq!(ids(&read).len(), 1_000);
    assert_eq!(ids(&read).into_iter().collect::<BTreeSet<_>>(), sandbox.ids().into_iter().collect());
    let (calls, fewest) = (all_calls(&sandbox), fewest(1_000, 1_000));
    assert!(calls * 100 <= fewest * 105, "{calls} calls, {fewest} would do: {:?}", sandbox.all_calls());
    // Memory is flat: no page and no cursor grows with the workspace.
    let longest = read.iter().map(|page| page.records.len()).max();
    assert_eq!(longest, Some(50));
    assert!(end.0.len() < 1_000, "{}", end.0.len());

    // Nothing new: the list of what changed and the list of what was deleted, and nothing else.
    sandbox.reset_calls();
    let (read, end) = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    assert_eq!((ids(&read).len(), all_calls(&sandbox)), (0, 2));
    // A few changed: a call each on top, and one for their extracted data.
    sandbox.reset_calls();
    let changed: Vec<String> = sandbox.ids().into_iter().take(30).collect();
    for id in &changed {
        sandbox.change(id, Some("document_updated"), |d| d["name"] = json!("Changed")).unwrap();
    }
    let (read, end) = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    assert_eq!(ids(&read).into_iter().collect::<BTreeSet<_>>(), changed.iter().cloned().collect());
    assert_eq!(all_calls(&sandbox), 2 + 30 + 1);
    // What lies in the overlap and was read is not read again.
    sandbox.reset_calls();
    let (read, end) = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    assert_eq!((ids(&read).len(), all_calls(&sandbox)), (0, 2));
    sandbox.change(&changed[0], Some("document_updated"), |d| d["name"] = json!("Once more")).unwrap();
    let (read, _) = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    assert_eq!(ids(&read), [changed[0].clone()]);
}

#[tokio::test]
async fn documents_that_change_under_the_read_are_read_once_and_found_again() {
    let sandbox = sandbox().await;
    sandbox.seed(40);
    let session = open(&sandbox, json!({"page_size": 5}));
    let partition = partition(session.as_ref()).await;
    let (mut seen, mut cursor): (Vec<String>, Option<Cursor>) = (Vec::new(), None);
    let (mut changed, mut deleted) = (BTreeSet::new(), BTreeSet::new());
    let mut n = 0;
    let end = loop {
        let page = session.read_page("documents", ReadMode::Full, &partition, cursor.as_ref()).await.unwrap();
        seen.extend(page.records.iter().map(|record| record.key.id.clone()));
        match page.next {
            connector_sdk::Next::More(next) => cursor = Some(next),
            connector_sdk::Next::CaughtUp(end) => break end,
        }
        // One that was read is deleted, which pulls all others forward; one changes; one is new.
        let there: Vec<String> = seen.iter().filter(|id| sandbox.document(id).is_some()).cloned().collect();
        sandbox.delete(&there[n % there.len()]).unwrap();
        deleted.insert(there[n % there.len()].clone());
        let other = there[(n + 1) % there.len()].clone();
        if sandbox.change(&other, Some("document_updated"), |d| d["name"] = json!("X")).is_ok() {
            changed.insert(other);
        }
        sandbox.create(&format!("New {n}"), "new@example.com");
        n += 1;
    };
    let once: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(once.len(), seen.len(), "none twice");
    let missed: Vec<String> = sandbox
        .ids()
        .into_iter()
        .filter(|id| !seen.contains(id) && sandbox.document(id).unwrap()["name"] != json!("New"))
        .collect();
    // Only what was made during the pass may be left to the next one.
    for id in &missed {
        assert!(
            sandbox.document(id).unwrap()["name"].as_str().unwrap().starts_with("New "),
            "{id} was missed"
        );
    }
    // The next read finds all that happened meanwhile.
    let (read, _) = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    let found: BTreeSet<String> = ids(&read).into_iter().collect();
    let gone: BTreeSet<String> =
        read.iter().flat_map(|page| &page.tombstones).map(|key| key.id.clone()).collect();
    changed.retain(|id| !deleted.contains(id));
    assert!(changed.is_subset(&found), "{changed:?} {found:?}");
    assert!(missed.iter().all(|id| found.contains(id)));
    assert_eq!(gone, deleted);
}

#[tokio::test]
async fn a_document_that_goes_or_changes_between_list_and_details_is_no_trouble() {
    let sandbox = sandbox().await;
    sandbox.seed(3);
    let all = sandbox.ids();
    let session = open(&sandbox, json!({}));
    let gone = all[0].clone();
    sandbox.faults().add(FaultRule::next(
        "/public/v1/documents?",
        Fault::ThenWrite {
            method: "DELETE",
            path: format!("/public/v1/documents/{gone}"),
            form: Value::Null,
        },
    ));
    let (read, _) = pages(session.as_ref(), ReadMode::Full, None).await.unwrap();
    assert_eq!(ids(&read).len(), 2);
    assert_eq!(read[0].tombstones, [RecordKey::new("documents", gone)]);
    // One of three that may not be read is set aside; when none may, it is a matter of rights.
    let one = format!("/public/v1/documents/{}/", all[1]);
    sandbox.faults().add(FaultRule::next(&one, Fault::Status(403)));
    let (read, _) = pages(session.as_ref(), ReadMode::Full, None).await.unwrap();
    assert_eq!((ids(&read), read[0].rejected.len()), (vec![all[2].clone()], 1));
    sandbox.faults().add(FaultRule::always("/public/v1/documents/", Fault::Status(403)));
    let refused = pages(session.as_ref(), ReadMode::Full, None).await;
    assert!(matches!(refused, Err(ConnectorError::Auth { missing_permission: Some(_), .. })), "{refused:?}");
}

/// One document that may not be read is set aside with the reason; the others of its page or batch are read, and it
/// stops neither where it is the only one.
#[tokio::test]
async fn a_forbidden_document_stops_nothing() {
    let sandbox = sandbox().await;
    sandbox.seed(2);
    let all = sandbox.ids();
    let session = open(&sandbox, json!({}));
    let (_, end) = pages(session.as_ref(), ReadMode::Full, None).await.unwrap();
    let one = format!("/public/v1/documents/{}/", all[0]);
    sandbox.faults().add(FaultRule::always(&one, Fault::Status(403)));
    let batch = session.read_many("documents", &all).await.unwrap();
    let read: Vec<&str> = batch.records.iter().map(|record| record.key.id.as_str()).collect();
    assert_eq!(read, [all[1].as_str()]);
    assert!(batch.tombstones.is_empty(), "it may be there");
    let rejected = &batch.rejected[0];
    assert_eq!((rejected.id.as_deref(), batch.rejected.len()), (Some(all[0].as_str()), 1));
    assert!(rejected.reason.contains("may not read"), "{rejected:?}");
    let alone = session.read_many("documents", &all[..1]).await.unwrap();
    assert_eq!((alone.records.len(), alone.rejected.len()), (0, 1));
    sandbox.change(&all[0], Some("document_updated"), |d| d["name"] = json!("Private")).unwrap();
    let (read, end) = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    assert_eq!((ids(&read).len(), read.iter().map(|page| page.rejected.len()).sum::<usize>()), (0, 1));
    // When not even the list may be read, it is a matter of rights.
    sandbox.forbid("documents", true);
    let refused = session.read_many("documents", &all[..1]).await;
    assert!(matches!(refused, Err(ConnectorError::Auth { missing_permission: Some(_), .. })), "{refused:?}");
    let refused = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await;
    assert!(matches!(refused, Err(ConnectorError::Auth { missing_permission: Some(_), .. })), "{refused:?}");
}

#[tokio::test]
async fn documents_that_are_still_being_made_are_records_too() {
    let sandbox = sandbox().await;
    let id = sandbox.create("Order", "a@b.example");
    sandbox.change(&id, None, |d| d["status"] = json!("document.uploaded")).unwrap();
    let session = open(&sandbox, json!({}));
    let (read, end) = pages(session.as_ref(), ReadMode::Full, None).await.unwrap();
    let text = read[0].records[0].payload.get().to_owned();
    assert!(text.contains("document.uploaded") && !text.contains("recipients"));
    assert_eq!(sandbox.calls(DETAILS), 0, "which would be refused");
    let batch = session.read_many("documents", std::slice::from_ref(&id)).await.unwrap();
    assert_eq!(batch.records[0].payload.get(), text);
    assert_eq!(sandbox.calls(DETAILS), 1);
    // Made: the next read has the whole.
    sandbox.change(&id, Some("document_state_changed"), |d| d["status"] = json!("document.draft")).unwrap();
    let (read, _) = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    assert!(read[0].records[0].payload.get().contains("a@b.example"));
}

#[tokio::test]
async fn sandbox_documents_count_for_a_sandbox_key_alone() {
    let sandbox = sandbox().await;
    let (real, test) = (sandbox.create("Order", "a@b.example"), sandbox.create("[DEV] Order", "a@b.example"));
    let live = open(&sandbox, json!({}));
    assert_eq!(
        ids(&pages(live.as_ref(), ReadMode::Full, None).await.unwrap().0),
        std::slice::from_ref(&real)
    );
    assert_eq!(sandbox.calls(DETAILS), 1, "the list tells");
    let batch = live.read_many("documents", &[real.clone(), test.clone()]).await.unwrap();
    assert_eq!((batch.records.len(), batch.tombstones), (1, vec![RecordKey::new("documents", test)]));
    assert_eq!(live.check().await.unwrap().mode, Mode::Live);
    let dev = open(&sandbox, json!({"sandbox": true}));
    assert_eq!(ids(&pages(dev.as_ref(), ReadMode::Full, None).await.unwrap().0).len(), 2);
    assert_eq!(dev.check().await.unwrap().mode, Mode::Test);
}

#[tokio::test]
async fn only_the_documents_that_the_settings_name_are_read() {
    let sandbox = sandbox().await;
    let make = |template: &str, folder: &str, tags: &[&str]| {
        let body = json!({"name": "D", "template_uuid": template, "folder_uuid": folder, "tags": tags});
        sandbox.call("POST", "/public/v1/documents", &body).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let a = make("t1", "f1", &["contract"]);
    let b = make("t2", "f1", &["contract", "vip"]);
    let c = make("t3", "f1", &["contract"]);
    let d = make("t1", "f2", &["note"]);
    let read = async |more: Value| {
        let session = open(&sandbox, more);
        let mut found = BTreeSet::new();
        for partition in session.plan("documents", ReadMode::Full, SystemClock.now()).await.unwrap() {
            let mut cursor = None;
            loop {
                let page = session
                    .read_page("documents", ReadMode::Full, &partition, cursor.as_ref())
                    .await
                    .unwrap();
                found.extend(page.records.into_iter().map(|record| record.key.id));
                match page.next {
                    connector_sdk::Next::More(next) => cursor = Some(next),
                    connector_sdk::Next::CaughtUp(_) => break,
                }
            }
        }
        found
    };
    let set = |ids: &[&String]| ids.iter().map(|id| (*id).clone()).collect::<BTreeSet<String>>();
    assert_eq!(read(json!({})).await, set(&[&a, &b, &c, &d]));
    assert_eq!(read(json!({"templates": ["t1", "t2"]})).await, set(&[&a, &b, &d]));
    assert_eq!(read(json!({"templates": ["t1", "t2"], "folders": ["f1"]})).await, set(&[&a, &b]));
    assert_eq!(read(json!({"tags": ["contract", "vip"]})).await, set(&[&a, &b, &c]));
    let later = (SystemClock.now() + chrono::TimeDelta::hours(1)).to_rfc3339();
    assert_eq!(read(json!({"created_since": later})).await, set(&[]));
    // By id likewise: what does not count is gone.
    let session = open(&sandbox, json!({"tags": ["vip"]}));
    let batch = session.read_many("documents", &[a.clone(), b.clone()]).await.unwrap();
    assert_eq!(
        (batch.records[0].key.id.clone(), batch.tombstones),
        (b, vec![RecordKey::new("documents", a)])
    );
    for (bad, says) in [
        (json!({"templates": [""]}), "templates"),
        (json!({"tags": ["x", "x"]}), "tags"),
        (json!({"page_size": 0}), "page_size"),
        (json!({"page_size": 101}), "page_size"),
        (json!({"workspace": " "}), "workspace"),
        (json!({"base_url": "http://api.pandadoc.com"}), "base_url"),
        (json!({"fields": {"ends": []}}), "ends"),
        (
            json!({"tags": (0..11).map(|n| n.to_string()).collect::<Vec<_>>(), "folders": (0..10).map(|n| n.to_string()).collect::<Vec<_>>()}),
            "combinations",
        ),
    ] {
        match try_open(&sandbox, bad.clone()) {
            Err(ConnectorError::Config(text)) => assert!(text.contains(says), "{bad}: {text}"),
            other => panic!("{bad}: {:?}", other.map(drop)),
        }
    }
}

#[tokio::test]
async fn several_lists_go_on_together() {
    let sandbox = sandbox().await;
    let make = |tag: &str| {
        let body = json!({"name": "D", "tags": [tag]});
        sandbox.call("POST", "/public/v1/documents", &body).unwrap()["id"].as_str().unwrap().to_owned()
    };
    for tag in ["a", "b", "c"] {
        (0..5).for_each(|_| drop(make(tag)));
    }
    let read = async |session: &dyn Session, mode, from: Option<Cursor>| {
        let (mut found, mut ends) = (Vec::new(), Vec::new());
        for partition in session.plan("documents", mode, SystemClock.now()).await.unwrap() {
            let mut cursor = from.clone();
            loop {
                let page = session.read_page("documents", mode, &partition, cursor.as_ref()).await.unwrap();
                found.extend(page.records.into_iter().map(|record| record.key.id));
                match page.next {
                    connector_sdk::Next::More(next) => cursor = Some(next),
                    connector_sdk::Next::CaughtUp(end) => break ends.push(end),
                }
            }
        }
        (found, ends)
    };
    let session = open(&sandbox, json!({"tags": ["a", "b"]}));
    let (found, ends) = read(session.as_ref(), ReadMode::Full, None).await;
    assert_eq!((found.len(), ends.len()), (10, 2));
    let joined = session.join_cursors("documents", &ends).unwrap();
    let new = make("b");
    make("c");
    sandbox.reset_calls();
    let (found, ends) = read(session.as_ref(), ReadMode::Incremental, joined).await;
    assert_eq!((found, all_calls(&sandbox)), (vec![new], 5));
    // A tag more: its old documents were never read.
    let more = open(&sandbox, json!({"tags": ["a", "b", "c"]}));
    assert_eq!(more.join_cursors("documents", &ends).unwrap(), None);
}

#[tokio::test]
async fn extracted_data_is_waited_for_and_its_absence_is_no_trouble() {
    let sandbox = sandbox().await;
    let id = sandbox.create("Order", "a@b.example");
    sandbox.complete(&id).unwrap();
    sandbox.extract(&id, None).unwrap();
    let session = open(&sandbox, json!({}));
    let (read, end) = pages(session.as_ref(), ReadMode::Full, None).await.unwrap();
    let waits = read[0].records[0].payload.get();
    assert!(waits.contains("\"ai_metadata\":null") && Connector::is_partial(&PandaDoc, &read[0].records[0]));
    // Still waited for; then it is there, though no date of the document moved.
    let (read, end) = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    assert!(ids(&read).is_empty());
    sandbox.extract(&id, Some(json!([field("Expiration date", "date", "2027-06-30")]))).unwrap();
    let (read, end) = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    let text = read[0].records[0].payload.get();
    assert!(text.contains("\"ai_metadata\":{") && text.contains("2027-06-30"), "{text}");
    let extract = connector_pandadoc::facts::facts(&read[0].records[0]).unwrap();
    assert!(format!("{extract:?}").contains("2027-06-30"));
    sandbox.reset_calls();
    let (read, end) = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    assert_eq!((ids(&read).len(), sandbox.calls(EXTRACTED)), (0, 0));
    // One that changed as well comes once.
    sandbox.extract(&id, None).unwrap();
    sandbox.change(&id, Some("document_updated"), |d| d["name"] = json!("Second")).unwrap();
    let (_, end) = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    sandbox.extract(&id, Some(json!([field("Expiration date", "date", "2028-06-30")]))).unwrap();
    sandbox.change(&id, Some("document_updated"), |d| d["name"] = json!("Third")).unwrap();
    let (read, _) = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
    assert_eq!(ids(&read), std::slice::from_ref(&id));
    assert!(read[0].records[0].payload.get().contains("2028-06-30"));
    // A workspace that has none is asked once.
    sandbox.offer_no_extraction();
    let session = open(&sandbox, json!({"page_size": 1}));
    sandbox.seed(3);
    sandbox.reset_calls();
    assert_eq!(ids(&pages(session.as_ref(), ReadMode::Full, None).await.unwrap().0).len(), 4);
    assert_eq!(sandbox.calls(EXTRACTED), 1);
    // Switched off: never.
    let session = open(&sandbox, json!({"ai_metadata": false}));
    sandbox.reset_calls();
    pages(session.as_ref(), ReadMode::Full, None).await.unwrap();
    assert_eq!(sandbox.calls(EXTRACTED), 0);
}

#[tokio::test]
async fn the_workspace_of_the_settings_is_the_one_of_the_key() {
    let sandbox = sandbox().await;
    let account = open(&sandbox, json!({"workspace": sandbox.workspace()})).check().await.unwrap();
    assert_eq!(
        (account.id.as_deref(), account.name.as_deref()),
        (Some(sandbox.workspace()), Some("Sandbox Workspace"))
    );
    match open(&sandbox, json!({"workspace": "another"})).check().await {
        Err(ConnectorError::Config(text)) => assert!(text.contains("another"), "{text}"),
        other => panic!("{other:?}"),
    }
    sandbox.forbid("members", true);
    let account = open(&sandbox, json!({})).check().await.unwrap();
    assert_eq!((account.id, account.missing[0].stream.as_str()), (None, "workspace"));
    sandbox.revoke();
    let refused = open(&sandbox, json!({})).check().await;
    assert!(matches!(refused, Err(ConnectorError::Auth { missing_permission: None, .. })), "{refused:?}");
    for bad in ["", "API-Key 123", "kéy"] {
        let config = json!({"base_url": sandbox.base_url()});
        let refused = DynConnector::open(&PandaDoc, &config, secrets(API_KEY, bad), io()).err();
        match refused {
            Some(ConnectorError::Auth { message, .. }) => assert!(bad.is_empty() || !message.contains(bad)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_loses_nothing() {
    // PandaDoc's clock goes an hour ahead of ours, or behind.
    for hours in [1, -1] {
        #[derive(Debug)]
        struct Off(i64);
        impl Clock for Off {
            fn now(&self) -> connector_sdk::Timestamp {
                SystemClock.now() + chrono::TimeDelta::hours(self.0)
            }
        }
        let options = Options { clock: Arc::new(Off(hours)), ..Options::default() };
        let sandbox = PandaDocSandbox::start(options).await.unwrap();
        fill(&sandbox);
        let session = open(&sandbox, json!({"page_size": 4}));
        let (read, end) = pages(session.as_ref(), ReadMode::Full, None).await.unwrap();
        assert_eq!(ids(&read).len(), 12, "{hours} h");
        let id = sandbox.create("New", "n@b.example");
        sandbox.delete(&sandbox.ids()[0]).unwrap();
        let (read, _) = pages(session.as_ref(), ReadMode::Incremental, Some(end)).await.unwrap();
        let gone: usize = read.iter().map(|page| page.tombstones.len()).sum();
        assert!(gone == 1 && (ids(&read).contains(&id) || sandbox.document(&id).is_none()), "{hours} h");
    }
}
