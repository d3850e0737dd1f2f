//! The mirror: newer and different, tombstones, passes, marks.

use connector_sdk::Rejected;
use halo_sync::domain::runs::{Counts, RunKind, RunStatus, StreamProgress, SyncRun};
use halo_sync::store::{Store, StoreError};
use serde_json::json;

use super::kit::*;

async fn stored(store: &dyn Store, name: &str) -> Option<(String, bool)> {
    let rows = store.load_records(&org(), &con(), &[key(name)]).await.unwrap();
    rows.into_iter().next().map(|row| (row.payload, row.deleted_at.is_some()))
}

fn v(version: &str) -> Option<(String, bool)> {
    Some((json!({ "v": version }).to_string(), false))
}

async fn a_row_is_replaced_by_a_newer_and_different_read_only(store: &dyn Store) {
    connected(store).await;
    let one = |seq, version| commit(seq, vec![record("prices/1", None, &[], version)]);
    let counts = |n: Counts| (n.created, n.updated, n.unchanged, n.stale);
    assert_eq!(counts(ingest(store, one(10, "a")).await.counts), (1, 0, 0, 0));
    assert_eq!(counts(ingest(store, one(9, "b")).await.counts), (0, 0, 0, 1));
    assert_eq!(counts(ingest(store, one(10, "b")).await.counts), (0, 0, 0, 1));
    assert_eq!(counts(ingest(store, one(11, "a")).await.counts), (0, 0, 1, 0));
    assert_eq!(stored(store, "prices/1").await, v("a"));
    let updated = ingest(store, one(13, "c")).await;
    assert_eq!(counts(updated.counts), (0, 1, 0, 0));
    assert_eq!(updated.changed, [key("prices/1")]);
    assert_eq!(stored(store, "prices/1").await, v("c"));
}

/// Read 12 found the row as read 10 had left it. Read 11, slower, must not turn it back.
async fn an_unchanged_read_still_beats_an_older_one(store: &dyn Store) {
    connected(store).await;
    ingest(store, commit(10, vec![record("prices/1", None, &[], "a")])).await;
    ingest(store, commit(12, vec![record("prices/1", None, &[], "a")])).await;
    let late = ingest(store, commit(11, vec![record("prices/1", None, &[], "b")])).await;
    assert_eq!((late.counts.stale, late.counts.updated), (1, 0));
    assert_eq!(stored(store, "prices/1").await, v("a"));
    let mut gone = commit(11, vec![]);
    gone.tombstones = vec![key("prices/1")];
    assert_eq!(ingest(store, gone).await.counts.deleted, 0);
}

/// Pages of different reads in one commit: each record is judged by its own.
async fn records_of_one_commit_keep_their_own_reads(store: &dyn Store) {
    connected(store).await;
    ingest(store, commit(5, vec![record("prices/1", None, &[], "a"), record("prices/2", None, &[], "a")]))
        .await;
    let mut both = commit(4, vec![record("prices/1", None, &[], "b"), record("prices/2", None, &[], "b")]);
    (both.records[0].read_seq, both.records[1].read_seq, both.pages) = (4, 6, 2);
    let counts = store.commit_ingest(&org(), both).await.unwrap().counts;
    assert_eq!((counts.stale, counts.updated, counts.pages), (1, 1, 2));
    assert_eq!((stored(store, "prices/1").await, stored(store, "prices/2").await), (v("a"), v("b")));
}

async fn every_order_of_reads_ends_in_the_newest(store: &dyn Store) {
    connected(store).await;
    // The value flips back and forth, and is gone in between.
    let reads = [(1, Some("a")), (2, Some("b")), (3, None), (4, Some("a")), (5, Some("a"))];
    let mut number = 0;
    for order in permutations(&[0, 1, 2, 3, 4]) {
        number += 1;
        let name = format!("prices/{number}");
        for place in order {
            let (seq, version) = reads[place];
            let mut one = commit(seq, vec![]);
            match version {
                Some(version) => one.records.push(record(&name, None, &[], version)),
                None => one.tombstones.push(key(&name)),
            }
            ingest(store, one).await;
        }
        assert_eq!(stored(store, &name).await, v("a"), "order {number}");
    }
    assert_eq!(number, 120);
}

fn permutations(items: &[usize]) -> Vec<Vec<usize>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let mut rest = items.to_vec();
        rest.remove(place);
        for mut tail in permutations(&rest) {
            tail.insert(0, *item);
            all.push(tail);
        }
    }
    all
}

async fn tombstones_bury_and_a_later_read_revives(store: &dyn Store) {
    connected(store).await;
    ingest(store, commit(1, vec![record("prices/1", None, &[], "a")])).await;
    let mut gone = commit(5, vec![]);
    gone.tombstones = vec![key("prices/1"), key("prices/never_seen")];
    assert_eq!(ingest(store, gone).await.counts.deleted, 1);
    assert!(stored(store, "prices/1").await.unwrap().1);
    let older =
        commit(4, vec![record("prices/1", None, &[], "b"), record("prices/never_seen", None, &[], "x")]);
    assert_eq!(ingest(store, older).await.counts.stale, 2);
    assert_eq!(store.count_records(&org(), &con()).await.unwrap(), vec![]);
    assert_eq!(ingest(store, commit(6, vec![record("prices/1", None, &[], "a")])).await.counts.updated, 1);
    assert_eq!(stored(store, "prices/1").await, v("a"));
}

async fn a_record_twice_on_a_page_counts_once_and_newer_facts_are_taken(store: &dyn Store) {
    connected(store).await;
    let page = commit(1, vec![record("prices/1", None, &[], "a"), record("prices/1", None, &[], "b")]);
    assert_eq!(ingest(store, page).await.counts.created, 1);
    assert_eq!(stored(store, "prices/1").await, v("b"));
    let mut translated = record("prices/1", None, &[], "b");
    translated.facts_version = 2;
    translated.facts = "[\"new\"]".to_owned();
    assert_eq!(ingest(store, commit(2, vec![translated])).await.counts.updated, 1);
    let row = store.load_records(&org(), &con(), &[key("prices/1")]).await.unwrap().remove(0);
    assert_eq!(row.facts, "[\"new\"]");
}

async fn a_change_reaches_companies_through_parties_and_references(store: &dyn Store) {
    connected(store).await;
    for n in [1, 2, 3] {
        customer(store, n, party(&format!("customers/{n}"), &[], true)).await;
    }
    let id = |n: i64| async move {
        let links = store.list_links(&org(), None, None, None, 10).await.unwrap().rows;
        links.into_iter().find(|l| l.party == key(&format!("customers/{n}"))).unwrap().company_id.unwrap().0
    };
    let (one, two) = (id(1).await, id(2).await);
    let page = vec![
        record("subscriptions/1", Some("customers/1"), &["prices/1", "customers/1"], "a"),
        record("subscriptions/2", Some("customers/2"), &["prices/2"], "a"),
        record("prices/1", None, &["products/1"], "a"),
        record("prices/2", None, &["products/2"], "a"),
        record("products/1", None, &[], "a"),
    ];
    ingest(store, commit(10, page)).await;
    take_dirty(store).await;
    // A product is renamed: over its price to the subscription's company, and to no other.
    let renamed = ingest(store, commit(11, vec![record("products/1", None, &[], "b")])).await;
    assert_eq!(renamed.dirty, 1);
    assert_eq!(take_dirty(store).await, [(one.clone(), vec!["record:products".to_owned()])]);
    // A referred record that comes later counts as well.
    ingest(store, commit(12, vec![record("products/2", None, &[], "a")])).await;
    assert_eq!(take_dirty(store).await, [(two.clone(), vec!["record:products".to_owned()])]);
    // The subscription moves to another price and another party: both parties change, the old price no longer matters.
    ingest(store, commit(13, vec![record("subscriptions/1", Some("customers/2"), &["prices/2"], "b")])).await;
    let mut both = vec![one.clone(), two.clone()];
    both.sort();
    assert_eq!(take_dirty(store).await.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), both);
    ingest(store, commit(14, vec![record("prices/1", None, &["products/1"], "c")])).await;
    assert_eq!(take_dirty(store).await, []);
    // Its deletion concerns its company.
    let mut gone = commit(15, vec![]);
    gone.tombstones = vec![key("subscriptions/1")];
    ingest(store, gone).await;
    assert_eq!(take_dirty(store).await, [(two.clone(), vec!["record:subscriptions".to_owned()])]);
    // A page of equal records concerns nobody.
    let equal =
        ingest(store, commit(16, vec![record("subscriptions/2", Some("customers/2"), &["prices/2"], "a")]))
            .await;
    assert_eq!((equal.dirty, equal.counts.unchanged), (0, 1));
    assert_eq!(take_dirty(store).await, []);
}

async fn derivation_reads_what_marking_walks(store: &dyn Store) {
    connected(store).await;
    customer(store, 1, party("customers/1", &[], true)).await;
    let page = vec![
        record("subscriptions/1", Some("customers/1"), &["prices/1"], "a"),
        record("subscriptions/2", Some("customers/2"), &["prices/9"], "a"),
        record("prices/1", None, &["products/1"], "a"),
        record("products/1", None, &[], "a"),
        record("prices/9", None, &[], "a"),
    ];
    ingest(store, commit(2, page)).await;
    let inputs = store.load_dirty_inputs(&org(), None, 10).await.unwrap();
    assert_eq!(inputs.len(), 1);
    let mut keys: Vec<String> = inputs[0].facts.iter().map(|row| row.key.to_string()).collect();
    keys.sort();
    assert_eq!(keys, ["customers/1", "prices/1", "products/1", "subscriptions/1"]);
    let by_hand = store.load_company_inputs(&org(), &inputs[0].company.id).await.unwrap().unwrap();
    assert_eq!(by_hand.facts, inputs[0].facts);
    assert_eq!(by_hand.dirty, inputs[0].dirty);
}

async fn a_full_pass_buries_what_it_did_not_see(store: &dyn Store) {
    connected(store).await;
    let seq = || async { store.next_read_seq().await.unwrap() };
    let names = ["prices/1", "prices/2", "prices/3", "pricesx/1"];
    for name in names {
        ingest(store, commit(seq().await, vec![record(name, None, &[], "a")])).await;
    }
    let pass =
        store.begin_pass(&org(), &con(), "prices", true, vec![partition("all")], None, at(1)).await.unwrap();
    assert_eq!((pass.generation, pass.completed_generation, pass.checkpoints.len()), (1, 0, 1));
    let unfinished = store.finish_pass(&org(), &con(), "prices", None, Some(100), None, at(2)).await;
    assert!(matches!(unfinished, Err(StoreError::Invalid(text)) if text.contains("all")));
    let mut page = commit(seq().await, vec![record("prices/1", None, &[], "a")]);
    page.generation = Some(pass.generation);
    page.checkpoint = Some(checkpoint("prices", "all", pass.generation, true));
    assert_eq!(ingest(store, page).await.counts.unchanged, 1);
    // Made while the pass ran, by a webhook: the pass did not see it, and it exists.
    ingest(store, commit(seq().await, vec![record("prices/4", None, &[], "a")])).await;
    let first = store.finish_pass(&org(), &con(), "prices", None, Some(1), None, at(3)).await.unwrap();
    assert_eq!((first.counts.deleted, first.changed), (1, vec![key("prices/2")]));
    assert_eq!(store.load_pass(&org(), &con(), "prices").await.unwrap().completed_generation, 0);
    assert_eq!(
        store.finish_pass(&org(), &con(), "prices", None, Some(1), None, at(4)).await.unwrap().counts.deleted,
        1
    );
    assert_eq!(
        store.finish_pass(&org(), &con(), "prices", None, Some(1), None, at(5)).await.unwrap().counts.deleted,
        0
    );
    let pass = store.load_pass(&org(), &con(), "prices").await.unwrap();
    assert_eq!((pass.completed_generation, pass.caught_up_at), (1, Some(at(5))));
    for (name, gone) in [
        ("prices/1", false),
        ("prices/2", true),
        ("prices/3", true),
        ("prices/4", false),
        ("pricesx/1", false),
    ] {
        assert_eq!(stored(store, name).await.unwrap().1, gone, "{name}");
    }
}

async fn a_page_of_a_replaced_pass_moves_no_cursor(store: &dyn Store) {
    connected(store).await;
    let begin = || async {
        store.begin_pass(&org(), &con(), "prices", true, vec![partition("a")], None, at(1)).await.unwrap()
    };
    begin().await;
    begin().await;
    let mut old = commit(5, vec![record("prices/1", None, &[], "a")]);
    old.checkpoint = Some(checkpoint("prices", "a", 1, true));
    old.others = vec![checkpoint("prices", "b", 1, false)];
    assert_eq!(ingest(store, old).await.counts.created, 1);
    let pass = store.load_pass(&org(), &con(), "prices").await.unwrap();
    assert_eq!((pass.checkpoints.len(), pass.checkpoints[0].caught_up), (1, false));
    let mut new = commit(6, vec![]);
    new.checkpoint = Some(checkpoint("prices", "a", 2, true));
    ingest(store, new).await;
    assert!(store.load_pass(&org(), &con(), "prices").await.unwrap().checkpoints[0].caught_up);
    let next =
        store.begin_pass(&org(), &con(), "prices", false, vec![partition("c")], None, at(9)).await.unwrap();
    assert_eq!((next.generation, next.checkpoints[0].partition.id.as_str()), (2, "c"));
}

async fn rejected_items_are_listed_until_they_are_taken(store: &dyn Store) {
    connected(store).await;
    let rejected = |seq, reason: &str| {
        let mut one = commit(seq, vec![]);
        let item = |id: Option<&str>, reason: &str, payload: &str| Rejected {
            stream: "prices".into(),
            id: id.map(str::to_owned),
            reason: reason.into(),
            payload: payload.into(),
        };
        one.rejected = vec![item(Some("1"), reason, "{\"id\": \"1\"}"), item(None, "no id", "{}\u{0}")];
        one
    };
    assert_eq!(ingest(store, rejected(1, "bad")).await.counts.rejected, 2);
    ingest(store, rejected(2, "worse")).await;
    let list = store.list_rejected(&org(), Some(&con()), 10).await.unwrap();
    assert_eq!(list.len(), 2);
    let one = list.iter().find(|item| item.external_id == "1").unwrap();
    assert_eq!((one.reason.as_str(), one.first_seen_at, one.last_seen_at), ("worse", at(1), at(2)));
    assert!(list.iter().any(|item| item.external_id.starts_with("sha256:")));
    ingest(store, commit(3, vec![record("prices/1", None, &[], "a")])).await;
    assert_eq!(store.list_rejected(&org(), None, 10).await.unwrap().len(), 1);
}

/// A record that a full pass could not read is there: it is no reason to bury what was known of it.
async fn what_is_set_aside_is_not_swept(store: &dyn Store) {
    connected(store).await;
    let seq = || async { store.next_read_seq().await.unwrap() };
    for name in ["prices/1", "prices/2"] {
        ingest(store, commit(seq().await, vec![record(name, None, &[], "a")])).await;
    }
    let pass =
        store.begin_pass(&org(), &con(), "prices", true, vec![partition("all")], None, at(1)).await.unwrap();
    let mut page = commit(seq().await, vec![]);
    page.generation = Some(pass.generation);
    page.checkpoint = Some(checkpoint("prices", "all", pass.generation, true));
    page.rejected = vec![Rejected {
        stream: "prices".into(),
        id: Some("1".into()),
        reason: "forbidden".into(),
        payload: "{}".into(),
    }];
    ingest(store, page).await;
    let swept = store.finish_pass(&org(), &con(), "prices", None, Some(100), None, at(3)).await.unwrap();
    assert_eq!(swept.changed, [key("prices/2")]);
}

fn run(streams: &[&str]) -> SyncRun {
    SyncRun {
        id: "run_1".into(),
        connection_id: con(),
        kind: RunKind::Backfill,
        trigger: "manual".into(),
        streams: streams
            .iter()
            .map(|name| StreamProgress {
                stream: (*name).into(),
                state: "pending".into(),
                reason: None,
                counts: Counts::default(),
                ..StreamProgress::default()
            })
            .collect(),
        status: RunStatus::Running,
        error: None,
        started_at: at(1),
        finished_at: None,
    }
}

async fn a_run_counts_and_ends_with_its_last_stream(store: &dyn Store) {
    connected(store).await;
    store.put_run(&org(), &run(&["prices", "coupons"])).await.unwrap();
    let mut page = commit(1, vec![record("prices/1", None, &[], "a"), record("prices/2", None, &[], "a")]);
    page.run_id = Some("run_1".into());
    page.checkpoint = Some(checkpoint("prices", "all", 0, true));
    ingest(store, page.clone()).await;
    page.read_seq = 2;
    ingest(store, page).await;
    let state = |stream: &'static str, state: &'static str, reason| async move {
        store.set_run_stream(&org(), &"run_1".into(), stream, state, reason, at(9)).await.unwrap().unwrap()
    };
    assert_eq!(state("prices", "done", None).await.status, RunStatus::Running);
    let done = state("coupons", "skipped", Some("not offered")).await;
    assert_eq!((done.status, done.finished_at), (RunStatus::Incomplete, Some(at(9))));
    let counts = done.streams[0].counts;
    assert_eq!((counts.pages, counts.read, counts.created, counts.unchanged), (2, 4, 2, 2));
    assert_eq!(store.find_run(&org(), &"run_1".into()).await.unwrap(), Some(done.clone()));
    assert_eq!(
        store.list_runs(&org(), Some(&con()), Some(RunStatus::Incomplete), 5).await.unwrap(),
        vec![done]
    );
    assert_eq!(store.list_runs(&org(), None, Some(RunStatus::Failed), 5).await.unwrap(), vec![]);
    let none = store.set_run_stream(&org(), &"run_none".into(), "x", "done", None, at(1)).await.unwrap();
    assert_eq!(none, None);
}

async fn read_numbers_increase_and_are_never_given_twice(store: &dyn Store) {
    let numbers = futures_util::future::join_all((0..500).map(|_| store.next_read_seq())).await;
    let mut numbers: Vec<i64> = numbers.into_iter().map(Result::unwrap).collect();
    let last = store.next_read_seq().await.unwrap();
    assert!(numbers.iter().all(|number| *number < last));
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 500);
}

contract!(
    a_row_is_replaced_by_a_newer_and_different_read_only,
    an_unchanged_read_still_beats_an_older_one,
    records_of_one_commit_keep_their_own_reads,
    every_order_of_reads_ends_in_the_newest,
    tombstones_bury_and_a_later_read_revives,
    a_record_twice_on_a_page_counts_once_and_newer_facts_are_taken,
    a_change_reaches_companies_through_parties_and_references,
    derivation_reads_what_marking_walks,
    a_full_pass_buries_what_it_did_not_see,
    a_page_of_a_replaced_pass_moves_no_cursor,
    rejected_items_are_listed_until_they_are_taken,
    what_is_set_aside_is_not_swept,
    a_run_counts_and_ends_with_its_last_stream,
    read_numbers_increase_and_are_never_given_twice,
);
