//! Derivations: ranks, history, marks.

use std::collections::BTreeMap;

use halo_sync::domain::companies::CompanyFields;
use halo_sync::domain::{CompanyId, ContextEntry, Rank};
use halo_sync::store::Store;
use halo_sync::store::derivations::{DerivationCommit, DerivationWrite};
use serde_json::json;

use super::kit::*;

fn write(plan: Option<&str>, mrr: Option<i64>, hash: &str) -> DerivationWrite {
    let entry = ContextEntry { label: "Subscriptions".into(), kind: None, value: json!([plan]) };
    DerivationWrite {
        read: None,
        document: json!({"plan": plan, "mrr": mrr}).to_string(),
        inputs_hash: hash.to_owned(),
        fields: CompanyFields { plan: plan.map(str::to_owned), mrr_minor: mrr, ..CompanyFields::default() },
        owned_fields: vec!["plan".into(), "mrr_minor".into()],
        traits: json!({"subscription_status": plan.map(|_| "active")}).as_object().unwrap().clone(),
        context: BTreeMap::from([("halo.subscriptions".to_owned(), plan.map(|_| entry))]),
        test: false,
        next_turn: None,
    }
}

fn one(company: &CompanyId, seq: Option<i64>, write: Option<DerivationWrite>) -> Vec<DerivationCommit> {
    vec![DerivationCommit { company_id: company.clone(), seq, write }]
}

async fn a_mark_made_meanwhile_survives(store: &dyn Store) {
    let id = company(store, "a", json!({}), 1).await;
    let read = store.load_dirty_inputs(&org(), None, 10).await.unwrap().remove(0).dirty.unwrap();
    store.mark_dirty(&org(), std::slice::from_ref(&id), "later", at(2)).await.unwrap();
    store.commit_derivations(&org(), one(&id, Some(read.seq), None), None, at(3)).await.unwrap();
    let left = store.load_dirty_inputs(&org(), None, 10).await.unwrap().remove(0).dirty.unwrap();
    assert!(left.seq > read.seq);
    assert_eq!((left.reasons, left.marked_at), (vec!["fields".to_owned(), "later".to_owned()], at(1)));
    store.commit_derivations(&org(), one(&id, Some(left.seq), None), None, at(4)).await.unwrap();
    assert!(store.load_dirty_inputs(&org(), None, 10).await.unwrap().is_empty());
    store.mark_dirty(&org(), &["cmp_none".into()], "x", at(5)).await.unwrap();
    assert!(store.list_orgs_with_dirty(at(1_000)).await.unwrap().is_empty());
    store.mark_dirty(&org(), &[id], "x", at(6)).await.unwrap();
    assert!(store.list_orgs_with_dirty(at(7)).await.unwrap().is_empty(), "the derive job waits");
    finish(store, claim(store).await).await;
    assert_eq!(store.list_orgs_with_dirty(at(7)).await.unwrap(), vec![org()]);
    assert!(store.list_orgs_with_dirty(at(6)).await.unwrap().is_empty());
}

async fn derived_values_respect_ranks_and_leave_a_history(store: &dyn Store) {
    let id = company(store, "a", json!({"name": "Acme"}), 1).await;
    store
        .put_company(&org(), &external("a"), &traits(json!({"mrr_minor": 5})), &from(Rank::Manual, 2))
        .await
        .unwrap();
    let seq = store.load_dirty_inputs(&org(), None, 1).await.unwrap()[0].dirty.as_ref().unwrap().seq;
    let changes = store
        .commit_derivations(
            &org(),
            one(&id, Some(seq), Some(write(Some("Pro"), Some(2900), "h1"))),
            None,
            at(10),
        )
        .await
        .unwrap();
    assert_eq!(changes, std::slice::from_ref(&id));
    let changes = store.list_field_changes(&org(), &id, None, 10).await.unwrap();
    let mut names: Vec<&str> = changes.iter().map(|change| change.field.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["plan", "subscription_status"]);
    assert!(changes.iter().all(|change| change.cause == ["fields"] && change.at == at(10)));
    let row = store.find_company(&org(), &external("a")).await.unwrap().unwrap();
    assert_eq!((row.fields.plan.as_deref(), row.fields.mrr_minor), (Some("Pro"), Some(5)));
    assert_eq!(row.context["halo.subscriptions"].value, json!(["Pro"]));
    assert_eq!(row.provenance["plan"].source, "derived");
    // What derivation no longer knows it clears, where it wrote it.
    store
        .commit_derivations(&org(), one(&id, None, Some(write(None, None, "h2"))), None, at(20))
        .await
        .unwrap();
    let row = store.find_company(&org(), &external("a")).await.unwrap().unwrap();
    assert_eq!(
        (row.fields.plan, row.fields.mrr_minor, row.fields.name.as_deref()),
        (None, Some(5), Some("Acme"))
    );
    assert!(row.context.is_empty() && !row.custom_fields.contains_key("subscription_status"));
    let history = store.list_field_changes(&org(), &id, Some("plan"), 10).await.unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(
        (&history[0].old, &history[0].new, &history[0].cause[..]),
        (&json!("Pro"), &json!(null), &["manual".to_owned()][..])
    );
    assert_eq!(store.find_derivation(&org(), &id).await.unwrap(), Some(json!({"plan": null, "mrr": null})));
    // A claim loses against what is derived, and is overwritten by it.
    store
        .put_company(&org(), &external("a"), &traits(json!({"plan": "Claimed"})), &from(Rank::Claimed, 21))
        .await
        .unwrap();
    store
        .commit_derivations(&org(), one(&id, None, Some(write(Some("Pro"), None, "h3"))), None, at(22))
        .await
        .unwrap();
    store
        .put_company(&org(), &external("a"), &traits(json!({"plan": "Claimed"})), &from(Rank::Claimed, 23))
        .await
        .unwrap();
    let row = store.find_company(&org(), &external("a")).await.unwrap().unwrap();
    assert_eq!(row.fields.plan.as_deref(), Some("Pro"));
}

async fn equal_values_write_no_row_and_no_history(store: &dyn Store) {
    let id = company(store, "a", json!({}), 1).await;
    let commit = |hash: &str| one(&id, None, Some(write(Some("Pro"), Some(1), hash)));
    store.commit_derivations(&org(), commit("h1"), None, at(10)).await.unwrap();
    let before = store.find_company(&org(), &external("a")).await.unwrap();
    let changes = store.commit_derivations(&org(), commit("h2"), None, at(20)).await.unwrap();
    assert!(changes.is_empty());
    assert_eq!(store.find_company(&org(), &external("a")).await.unwrap(), before);
    assert_eq!(store.list_field_changes(&org(), &id, None, 10).await.unwrap().len(), 3);
    let inputs = store.load_company_inputs(&org(), &id).await.unwrap().unwrap();
    assert_eq!(inputs.previous_hash.as_deref(), Some("h2"));
    // Released by hand: the hash is forgotten, so that equal inputs are derived and written again.
    store
        .put_company(&org(), &external("a"), &traits(json!({"plan": "X"})), &from(Rank::Manual, 21))
        .await
        .unwrap();
    store.release_company_fields(&org(), &id, &["plan".into()], at(22)).await.unwrap();
    let inputs = store.load_company_inputs(&org(), &id).await.unwrap().unwrap();
    assert_eq!(inputs.previous_hash.as_deref(), Some(""));
}

/// Between reading and committing a person writes: the derivation is laid over the company as it is now.
async fn what_was_read_is_laid_over_what_is_there_now(store: &dyn Store) {
    let id = company(store, "a", json!({"industry": "Retail"}), 1).await;
    let inputs = store.load_dirty_inputs(&org(), None, 10).await.unwrap().remove(0);
    let by_hand = traits(json!({"plan": "Entered", "industry": "Wholesale"}));
    store.put_company(&org(), &external("a"), &by_hand, &from(Rank::Manual, 2)).await.unwrap();
    let mut stale = write(Some("Pro"), Some(2900), "h1");
    stale.read = Some((inputs.company, inputs.state));
    store.commit_derivations(&org(), one(&id, None, Some(stale)), None, at(3)).await.unwrap();
    let row = store.find_company(&org(), &external("a")).await.unwrap().unwrap();
    assert_eq!(
        (row.fields.plan.as_deref(), row.fields.industry.as_deref(), row.fields.mrr_minor),
        (Some("Entered"), Some("Wholesale"), Some(2900))
    );
    // One that is still as it was read needs no second look.
    let inputs = store.load_company_inputs(&org(), &id).await.unwrap().unwrap();
    let mut fresh = write(Some("Pro"), Some(4900), "h2");
    fresh.read = Some((inputs.company, inputs.state));
    store.commit_derivations(&org(), one(&id, None, Some(fresh)), None, at(4)).await.unwrap();
    let row = store.find_company(&org(), &external("a")).await.unwrap().unwrap();
    assert_eq!((row.fields.plan.as_deref(), row.fields.mrr_minor), (Some("Entered"), Some(4900)));
}

/// A batch goes on behind the last mark of the one before, whether or not that one is committed.
async fn dirty_companies_are_paged_by_their_marks(store: &dyn Store) {
    for n in 0..5 {
        company(store, &format!("c{n}"), json!({}), n * 2_000).await;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.load_dirty_inputs(&org(), after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.dirty.clone();
        seen.extend(page.into_iter().map(|inputs| inputs.company.external_id.unwrap()));
    }
    assert_eq!(seen, ["c0", "c1", "c2", "c3", "c4"]);
}

async fn time_alone_marks_once(store: &dyn Store) {
    let id = company(store, "a", json!({}), 1).await;
    take_dirty(store).await;
    let mut derived = write(Some("Pro"), None, "h1");
    derived.next_turn = Some(at(100));
    store.commit_derivations(&org(), one(&id, None, Some(derived)), None, at(10)).await.unwrap();
    assert_eq!(store.mark_turned(at(99), 10).await.unwrap(), 0);
    assert_eq!(store.mark_turned(at(100), 10).await.unwrap(), 1);
    assert_eq!(store.mark_turned(at(101), 10).await.unwrap(), 0);
    assert_eq!(take_dirty(store).await, [(id.0, vec!["time".to_owned()])]);
}

async fn everything_is_marked_page_by_page(store: &dyn Store) {
    for n in 0..5 {
        company(store, &format!("c{n}"), json!({}), n * 2_000).await;
    }
    take_dirty(store).await;
    let mut after = None;
    let mut calls = 0;
    loop {
        after = store.mark_all_dirty(&org(), "settings", after.as_deref(), 2, at(9)).await.unwrap();
        calls += 1;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((calls, take_dirty(store).await.len()), (3, 5));
}

contract!(
    a_mark_made_meanwhile_survives,
    derived_values_respect_ranks_and_leave_a_history,
    equal_values_write_no_row_and_no_history,
    what_was_read_is_laid_over_what_is_there_now,
    dirty_companies_are_paged_by_their_marks,
    time_alone_marks_once,
    everything_is_marked_page_by_page,
);
