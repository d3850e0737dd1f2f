//! The list of events: what changed is read, and nothing else.

use std::collections::BTreeMap;

use connector_testkit::sandbox::stripe::Kind;
use halo_sync::domain::runs::{RunStatus, SyncRun};
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(
    what_changed_costs_few_calls,
    webhooks_that_were_applied_are_not_read_again,
    a_feed_that_is_too_old_is_replaced_and_said,
    a_key_that_may_not_read_events_reads_everything,
    what_was_deleted_and_made_again_lives,
    a_stream_that_could_not_be_read_is_read_whole_later,
    what_lives_by_a_test_clock_stays_out,
    a_feed_that_tells_nothing_is_not_believed,
    the_feed_of_an_imitation_is_not_believed,
);

const EVENTS: &str = "GET /v1/events";
const SETTLED: &str = "GET /v1/balance_transactions";

fn calls(app: &App) -> BTreeMap<String, u64> {
    let all = app.sandbox.all_calls();
    app.sandbox.reset_calls();
    all
}

fn expected(calls: &[(&str, u64)]) -> BTreeMap<String, u64> {
    calls.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
}

fn feed(run: &SyncRun) -> (&str, &str) {
    let feed = run.streams.iter().find(|s| s.stream == "events").unwrap();
    (&feed.state, feed.reason.as_deref().unwrap_or_default())
}

fn reason<'r>(run: &'r SyncRun, stream: &str) -> Option<&'r str> {
    run.streams.iter().find(|s| s.stream == stream).unwrap().reason.as_deref()
}

fn rename(app: &App, customer: &str, name: &str) {
    app.call("POST", &format!("/v1/customers/{customer}"), json!({ "name": name }));
}

async fn name_of(app: &App, customer: &str) -> String {
    let record = app.record("customers", customer).await.unwrap();
    let doc: Value = serde_json::from_str(&record.payload).unwrap();
    doc["name"].as_str().unwrap().to_owned()
}

async fn what_changed_costs_few_calls(app: &App) {
    app.price("Starter", 2_900);
    app.call("POST", "/v1/coupons", json!({"id": "OFF", "percent_off": "10", "duration": "forever"}));
    let (acme, _) = app.customer("Acme", "Starter");
    app.customer("Other", "Starter");
    let old = app.sandbox.ids(Kind::Invoices).pop().unwrap();
    app.connected().await;
    // Much older than any overlap by creation.
    for _ in 0..20 {
        app.pass(86_400);
        assert_eq!(app.sync(false).await.status, RunStatus::Succeeded);
    }
    app.lose_events();
    app.sandbox.reset_calls();
    rename(app, &acme, "Acme Two");
    rename(app, &acme, "Acme Three");
    app.sandbox
        .change(Kind::Invoices, &old, "invoice.updated", |doc| doc["description"] = json!("x"))
        .unwrap();
    app.sandbox.delete(Kind::Coupons, "OFF").unwrap();
    app.lose_events();
    let run = app.sync(false).await;
    assert_eq!((run.status, run.error.as_deref()), (RunStatus::Succeeded, None), "{run:#?}");
    assert_eq!(feed(&run), ("done", ""));
    let one_each = [
        (EVENTS, 1),
        (SETTLED, 1),
        ("GET /v1/customers/:id", 1),
        ("GET /v1/invoices/:id", 1),
        ("GET /v1/coupons/:id", 1),
    ];
    assert_eq!(calls(app), expected(&one_each));
    assert_eq!(name_of(app, &acme).await, "Acme Three");
    assert!(app.record("invoices", &old).await.unwrap().payload.contains(r#""description":"x""#));
    assert!(app.record("coupons", "OFF").await.unwrap().deleted_at.is_some());
    let deleted: i64 = run.streams.iter().map(|s| s.counts.deleted).sum();
    assert_eq!(deleted, 1);
    // Within the overlap and after it: the same events are not read again.
    for wait in [0, 60, 3_600, 86_400] {
        app.pass(wait);
        assert_eq!(app.sync(false).await.status, RunStatus::Succeeded);
        assert_eq!(calls(app), expected(&[(EVENTS, 1), (SETTLED, 1)]), "after {wait} s");
    }
    // Every stream is as fresh as the feed.
    let connection = app.connection().await;
    for count in app.store.count_records(&app.org, &connection.id).await.unwrap() {
        assert_eq!(count.caught_up_at, Some(app.now()), "{}", count.stream);
    }
}

async fn webhooks_that_were_applied_are_not_read_again(app: &App) {
    app.price("Starter", 2_900);
    let (acme, _) = app.customer("Acme", "Starter");
    let (lost, _) = app.customer("Lost", "Starter");
    app.connected().await;
    app.lose_events();
    rename(app, &acme, "Acme Two");
    app.deliver_all(&app.sandbox.take_events()).await;
    app.drain().await;
    rename(app, &lost, "Found");
    app.lose_events();
    app.sandbox.reset_calls();
    app.sync(false).await;
    assert_eq!(calls(app), expected(&[(EVENTS, 1), (SETTLED, 1), ("GET /v1/customers/:id", 1)]));
    assert_eq!((name_of(app, &acme).await, name_of(app, &lost).await), ("Acme Two".into(), "Found".into()));
}

async fn a_feed_that_is_too_old_is_replaced_and_said(app: &App) {
    app.price("Starter", 2_900);
    let (acme, _) = app.customer("Acme", "Starter");
    app.connected().await;
    // Quiet for longer than events are kept, and looked at meanwhile: nothing is lost.
    for _ in 0..2 {
        app.pass(29 * 86_400);
        assert_eq!(feed(&app.sync(false).await), ("done", ""));
    }
    rename(app, &acme, "Acme Two");
    app.lose_events();
    app.pass(31 * 86_400);
    app.sandbox.reset_calls();
    let run = app.sync(false).await;
    assert_eq!(run.status, RunStatus::Succeeded, "{run:#?}");
    let (state, why) = feed(&run);
    assert_eq!(state, "replaced");
    assert!(why.contains("31 days") && why.contains("every stream is read in full"), "{why}");
    assert!(run.error.as_deref().is_some_and(|error| error.contains(why)), "{run:#?}");
    assert!(app.sandbox.calls("GET /v1/customers") > 0 && app.sandbox.calls("GET /v1/tax_rates") > 0);
    assert_eq!(name_of(app, &acme).await, "Acme Two");
    // And from there on by events again.
    rename(app, &acme, "Acme Three");
    app.sandbox.reset_calls();
    assert_eq!(feed(&app.sync(false).await), ("done", ""));
    assert_eq!(calls(app), expected(&[(EVENTS, 1), (SETTLED, 1), ("GET /v1/customers/:id", 1)]));
    assert_eq!(name_of(app, &acme).await, "Acme Three");
}

async fn a_key_that_may_not_read_events_reads_everything(app: &App) {
    app.price("Starter", 2_900);
    let (acme, _) = app.customer("Acme", "Starter");
    app.sandbox.forbid("events", true);
    app.connected().await;
    let (state, why) = {
        let run = app.last_run().await;
        assert_eq!(run.status, RunStatus::Succeeded);
        (feed(&run).0.to_owned(), feed(&run).1.to_owned())
    };
    assert_eq!(state, "done");
    assert!(why.contains("rak_event_read") && why.contains("later runs"), "{why}");
    for _ in 0..2 {
        rename(app, &acme, "Acme Two");
        app.sandbox.reset_calls();
        let run = app.sync(false).await;
        assert_eq!((run.status, feed(&run).0), (RunStatus::Succeeded, "replaced"));
        assert_eq!((app.sandbox.calls("GET /v1/customers"), app.sandbox.calls("GET /v1/invoices")), (1, 1));
        assert_eq!(name_of(app, &acme).await, "Acme Two");
    }
    // Granted, the next run finds its place, and the one after it reads what changed.
    app.sandbox.forbid("events", false);
    let run = app.sync(false).await;
    assert!(feed(&run).1.contains("no place in the list of changes"), "{run:#?}");
    app.sandbox.reset_calls();
    assert_eq!(feed(&app.sync(false).await), ("done", ""));
    assert_eq!(calls(app), expected(&[(EVENTS, 1), (SETTLED, 1)]));
}

async fn what_was_deleted_and_made_again_lives(app: &App) {
    app.price("Starter", 2_900);
    let coupon = json!({"id": "OFF", "percent_off": "10", "duration": "forever"});
    app.call("POST", "/v1/coupons", coupon.clone());
    let (acme, _) = app.customer("Acme", "Starter");
    // One event a page, three pages a slice.
    app.connect(json!({"page_size": 1, "partitions": 1})).await;
    app.drain().await;
    app.sandbox.delete(Kind::Coupons, "OFF").unwrap();
    app.call("POST", "/v1/coupons", coupon);
    for n in 0..8 {
        rename(app, &acme, &format!("Acme {n}"));
    }
    app.lose_events();
    app.sandbox.reset_calls();
    let run = app.sync(false).await;
    assert_eq!((run.status, feed(&run).0), (RunStatus::Succeeded, "done"), "{run:#?}");
    assert!(app.sandbox.calls(EVENTS) >= 10);
    assert!(app.record("coupons", "OFF").await.unwrap().deleted_at.is_none());
    assert_eq!(name_of(app, &acme).await, "Acme 7");
}

async fn a_stream_that_could_not_be_read_is_read_whole_later(app: &App) {
    app.price("Starter", 2_900);
    app.customer("Acme", "Starter");
    app.connected().await;
    let charge = app.sandbox.ids(Kind::Charges)[0].clone();
    app.sandbox.forbid("disputes", true);
    let dispute = app.sandbox.dispute(&charge).unwrap()["id"].as_str().unwrap().to_owned();
    app.lose_events();
    let run = app.sync(false).await;
    assert_eq!((run.status, feed(&run).0), (RunStatus::Incomplete, "done"), "{run:#?}");
    assert!(reason(&run, "disputes").is_some_and(|why| why.contains("rak_dispute_read")));
    assert!(app.record("disputes", &dispute).await.is_none());
    // The events are behind the cursor now.
    app.pass(86_400);
    app.sandbox.forbid("disputes", false);
    app.sandbox.reset_calls();
    let run = app.sync(false).await;
    assert_eq!((run.status, feed(&run).0), (RunStatus::Succeeded, "done"), "{run:#?}");
    assert!(reason(&run, "disputes").is_some_and(|why| why.contains("read in full")), "{run:#?}");
    assert_eq!(calls(app), expected(&[(EVENTS, 1), (SETTLED, 1), ("GET /v1/disputes", 1)]));
    assert!(app.record("disputes", &dispute).await.is_some());
    assert_eq!(reason(&app.sync(false).await, "disputes"), None);
}

async fn what_lives_by_a_test_clock_stays_out(app: &App) {
    app.price("Starter", 2_900);
    app.customer("Acme", "Starter");
    let on_clock =
        |id: &str| json!({"id": id, "object": "customer", "created": 1, "name": id, "test_clock": "clock_1"});
    app.sandbox.put(Kind::Customers, on_clock("cus_clock1"), None);
    app.connected().await;
    app.lose_events();
    app.sandbox.put(Kind::Customers, on_clock("cus_clock2"), Some("customer.created"));
    app.deliver_all(&app.sandbox.take_events()).await;
    app.drain().await;
    app.sandbox.put(Kind::Customers, on_clock("cus_clock3"), Some("customer.created"));
    app.lose_events();
    assert_eq!(app.sync(false).await.status, RunStatus::Succeeded);
    assert_eq!(app.sync(true).await.status, RunStatus::Succeeded);
    for id in ["cus_clock1", "cus_clock2", "cus_clock3"] {
        assert!(app.record("customers", id).await.is_none(), "{id}");
    }
    assert_eq!(app.companies().await.len(), 1);
}

async fn a_feed_that_tells_nothing_is_not_believed(app: &App) {
    // A past that was never announced, and a change that is not either.
    app.sandbox.seed_customers(3);
    app.connected().await;
    let mut doc = app.sandbox.object(Kind::Customers, "cus_seed00000001").unwrap();
    doc["name"] = json!("In silence");
    app.sandbox.put(Kind::Customers, doc, None);
    let run = app.sync(false).await;
    assert_eq!((run.status, feed(&run).0), (RunStatus::Succeeded, "replaced"), "{run:#?}");
    assert!(feed(&run).1.contains("empty"), "{run:#?}");
    assert_eq!(name_of(app, "cus_seed00000001").await, "In silence");
}

async fn the_feed_of_an_imitation_is_not_believed(app: &App) {
    // It has events, and not of everything.
    app.sandbox.do_not_offer("account");
    app.price("Starter", 2_900);
    let (acme, _) = app.customer("Acme", "Starter");
    app.connected().await;
    let run = app.last_run().await;
    assert_eq!((run.status, feed(&run).0), (RunStatus::Succeeded, "done"), "this run lacks nothing");
    assert!(feed(&run).1.contains("no account call"), "{run:#?}");
    for name in ["In silence", "In silence again"] {
        let mut doc = app.sandbox.object(Kind::Customers, &acme).unwrap();
        doc["name"] = json!(name);
        app.sandbox.put(Kind::Customers, doc, None);
        let run = app.sync(false).await;
        assert_eq!((run.status, feed(&run).0), (RunStatus::Succeeded, "replaced"), "{run:#?}");
        assert!(feed(&run).1.contains("no account call"), "{run:#?}");
        assert_eq!(name_of(app, &acme).await, name);
    }
}
