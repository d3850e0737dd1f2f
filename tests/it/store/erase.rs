//! People who are forgotten: what goes with them, what stays, and what is read again.

use std::collections::BTreeSet;
use std::sync::Arc;

use connector_sdk::RecordKey;
use halo_sync::store::Store;
use halo_sync::store::inbox::NewDelivery;
use halo_sync::store::mirror::{DeliveryDone, MirrorWrite, NamesOf, REREAD_KIND};
use serde_json::{Value, json};

use super::kit::*;

/// Bodies name contacts by their `objectId`.
fn names_of() -> NamesOf {
    Arc::new(|body: &[u8]| {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        body["objectId"].as_u64().map(|id| RecordKey::new("contacts", id.to_string())).into_iter().collect()
    })
}

fn contact(id: u64, name: &str, merged: &[u64]) -> MirrorWrite {
    let merged: Vec<String> = merged.iter().map(u64::to_string).collect();
    let person = json!({"id": id.to_string(), "name": name, "emails": [format!("{name}@x.example")], "merged": merged});
    MirrorWrite {
        payload: json!({"name": name, "email": format!("{name}@x.example")}).to_string(),
        facts: json!([{ "person": person }]).to_string(),
        ..record(&format!("contacts/{id}"), None, &[], name)
    }
}

async fn payloads(store: &dyn Store, names: &[&str]) -> Vec<String> {
    let keys: Vec<RecordKey> = names.iter().map(|name| key(name)).collect();
    let mut found = store.load_records(&org(), &con(), &keys).await.unwrap();
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found.into_iter().map(|record| format!("{} {} {}", record.key, record.payload, record.facts)).collect()
}

async fn deliveries_go_by_what_they_name_and_not_by_how_they_are_written(store: &dyn Store) {
    connected(store).await;
    ingest(store, commit(1, vec![contact(1, "ann", &[])])).await;
    let all: [(&str, &str, Option<&str>); 11] = [
        ("stays: another attempt", r#"{"objectId":2,"attemptNumber":1,"n":[1]}"#, Some("contacts/2")),
        ("stays: another stream's", r#"{"dealId":1}"#, Some("deals/1")),
        ("stays: a longer id", r#"{"objectId":11}"#, Some("contacts/11")),
        ("stays: another address", r#"{"text":"joann@x.example"}"#, None),
        ("goes: a blank", r#"{"objectId": 1}"#, None),
        ("goes: lines", "{\"objectId\":\n1\n}", None),
        ("goes: touched", "{}", Some("contacts/1")),
        ("goes: the address", r#"{"text":"ann@x.example"}"#, None),
        ("goes: the address in capitals", r#"{"text":["Ann@X.example"],"ann@x.example":1}"#, None),
        ("goes: the address among words", r#"{"text":"Ann <ann@x.example>, us"}"#, None),
        ("goes: the address by numbers", r#"{"text":"ann\u0040x.example"}"#, None),
    ];
    let new = |(n, (event, body, _)): (usize, &(&str, &str, _))| NewDelivery {
        org_id: org(),
        connection_id: con(),
        event_id: (*event).to_owned(),
        kind: "contact.propertyChange".to_owned(),
        body: body.as_bytes().to_vec(),
        received_at: at(i64::try_from(n).unwrap()),
    };
    store.accept_deliveries(all.iter().enumerate().map(new).collect(), vec![job()]).await.unwrap();
    let pending = store.load_pending_deliveries(&org(), &con(), 100).await.unwrap();
    let mut finish = commit(2, vec![]);
    for delivery in pending {
        let (.., touched) = all.iter().find(|(event, ..)| *event == delivery.event_id).unwrap();
        let touched: Vec<RecordKey> = touched.iter().map(|name| key(name)).collect();
        let state = if touched.is_empty() { "ignored" } else { "applied" };
        finish.deliveries.push(DeliveryDone {
            id: delivery.id,
            state,
            error: None,
            touched,
            named: Vec::new(),
            party: None,
        });
    }
    ingest(store, finish).await;
    store.erase_records(&org(), &con(), &[key("contacts/1")], names_of(), at(3)).await.unwrap();
    let left = store.list_deliveries(&org(), None, None, 100).await.unwrap();
    let left: BTreeSet<&str> = left.iter().map(|delivery| delivery.event_id.as_str()).collect();
    let stays: BTreeSet<&str> =
        all.iter().map(|(event, ..)| *event).filter(|event| event.starts_with("stays")).collect();
    assert_eq!(left, stays);

    // One that comes later, and had something else read again.
    let late = (11, &("late", r#"{"objectId":1}"#, None));
    store.accept_deliveries(vec![new(late)], vec![]).await.unwrap();
    let pending = store.load_pending_deliveries(&org(), &con(), 100).await.unwrap();
    let mut finish = commit(4, vec![]);
    finish.deliveries.push(DeliveryDone {
        id: pending[0].id.clone(),
        state: "applied",
        error: None,
        touched: vec![key("deals/1")],
        named: vec![key("contacts/1")],
        party: None,
    });
    ingest(store, finish).await;
    assert_eq!(store.list_deliveries(&org(), None, None, 100).await.unwrap().len(), stays.len());
}

/// The jobs are in the unit that deletes the references: after it nobody could tell what to read.
async fn what_named_them_is_read_again_by_jobs_of_bounded_size(store: &dyn Store) {
    connected(store).await;
    let note = |n: u64| record(&format!("notes/{n}"), None, &["contacts/1"], "v");
    let mut records: Vec<MirrorWrite> = (0..250).map(note).collect();
    records.push(contact(1, "ann", &[]));
    records.push(record("notes/other", None, &["contacts/2"], "v"));
    ingest(store, commit(1, records)).await;
    store.erase_records(&org(), &con(), &[key("contacts/1")], names_of(), at(2)).await.unwrap();
    // A delivery that is worked off once more demands it again.
    store.erase_records(&org(), &con(), &[key("contacts/1")], names_of(), at(3)).await.unwrap();
    let jobs = claim(store).await;
    let sizes: Vec<usize> = jobs.iter().map(|job| job.args["keys"].as_array().unwrap().len()).collect();
    assert!(jobs.iter().all(|job| job.kind == REREAD_KIND && job.connection_id == Some(con())), "{jobs:?}");
    assert_eq!((sizes.len(), sizes.iter().max(), sizes.iter().sum()), (3, Some(&100), 250));
    let named: BTreeSet<&str> =
        jobs.iter().flat_map(|job| job.args["keys"].as_array().unwrap()).filter_map(Value::as_str).collect();
    assert_eq!(
        named,
        (0..250).map(|n| format!("notes/{n}")).collect::<BTreeSet<_>>().iter().map(String::as_str).collect()
    );
}

async fn who_was_merged_into_them_goes_too(store: &dyn Store) {
    connected(store).await;
    let all = vec![
        contact(1, "first", &[]),
        contact(2, "second", &[1]),
        // Merged in a circle, as no provider should say.
        contact(3, "third", &[2, 3]),
        contact(4, "other", &[]),
        record("deals/1", None, &["contacts/1"], "deal"),
    ];
    ingest(store, commit(1, all)).await;
    store.erase_records(&org(), &con(), &[key("contacts/3")], names_of(), at(2)).await.unwrap();
    let left = payloads(store, &["contacts/1", "contacts/2", "contacts/3", "contacts/4"]).await;
    assert!(left.len() == 1 && left[0].contains("other"), "{left:?}");
    let jobs = claim(store).await;
    assert_eq!(jobs.iter().map(|job| &job.args).collect::<Vec<_>>(), [&json!({"keys": ["deals/1"]})]);
    // And none of them comes back.
    ingest(store, commit(5, vec![contact(1, "first", &[])])).await;
    assert_eq!(payloads(store, &["contacts/1"]).await, [""; 0]);
}

async fn a_tombstone_says_nothing_of_a_person(store: &dyn Store) {
    connected(store).await;
    let staff = MirrorWrite {
        facts: json!([{"person": {"id": "5", "name": "Owner", "staff": true}}]).to_string(),
        ..record("owners/5", None, &[], "Owner")
    };
    let price = record("prices/1", None, &[], "price");
    let company = json!({"organization": {"id": "7", "name": "Acme"}});
    let document = MirrorWrite {
        facts: json!([company, {"person": {"id": "8", "name": "Signer"}}]).to_string(),
        ..record("documents/1", None, &[], "Signer")
    };
    let names = ["contacts/1", "owners/5", "prices/1", "documents/1"];
    let seq = async || store.next_read_seq().await.unwrap();
    ingest(store, commit(seq().await, vec![contact(1, "ann", &[6]), staff, price, document])).await;
    let mut gone = commit(seq().await, vec![]);
    gone.tombstones = names.iter().map(|name| key(name)).collect();
    ingest(store, gone).await;
    let kept = payloads(store, &names).await;
    assert_eq!(kept.len(), names.len());
    assert!(!kept[0].contains("ann") && kept[0].contains(r#""merged":["6"]"#), "{}", kept[0]);
    assert!(kept.iter().any(|row| row.contains("Owner")) && kept.iter().any(|row| row.contains("price")));
    assert!(kept.iter().any(|row| row.contains("Signer")), "a document is no person");
    // Who comes back is known whole, and goes as well when a full pass misses them.
    ingest(store, commit(seq().await, vec![contact(1, "ann", &[6])])).await;
    let back = payloads(store, &["contacts/1"]).await;
    assert!(back[0].contains("ann@x.example"), "{back:?}");
    let pass = store
        .begin_pass(&org(), &con(), "contacts", true, vec![partition("all")], None, at(4))
        .await
        .unwrap();
    let mut page = commit(seq().await, vec![]);
    page.generation = Some(pass.generation);
    page.checkpoint = Some(checkpoint("contacts", "all", pass.generation, true));
    ingest(store, page).await;
    let swept = store.finish_pass(&org(), &con(), "contacts", None, Some(10), None, at(5)).await.unwrap();
    assert_eq!(swept.counts.deleted, 1);
    let kept = payloads(store, &["contacts/1"]).await;
    assert!(!kept[0].contains("ann") && kept[0].contains(r#""merged":["6"]"#), "{kept:?}");
}

contract!(
    deliveries_go_by_what_they_name_and_not_by_how_they_are_written,
    what_named_them_is_read_again_by_jobs_of_bounded_size,
    who_was_merged_into_them_goes_too,
    a_tombstone_says_nothing_of_a_person,
);
