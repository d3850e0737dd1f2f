//! Connecting, reading, reading again; webhooks before and during a backfill; schedules.

use std::time::Duration;

use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::stripe::Kind;
use halo_sync::domain::runs::RunStatus;
use halo_sync::service::Request;
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(
    an_account_becomes_companies_and_a_second_read_writes_nothing,
    a_webhook_before_the_backfill_is_kept,
    a_stale_page_does_not_overwrite_a_newer_read,
    a_schedule_ticks_once,
    a_test_connection_says_so,
    events_of_others_change_nothing,
    partitions_change_nothing,
    partitions_are_read_at_once,
);

/// What a read without changes must leave as it is.
const KEPT: [&str; 8] = [
    "mirror_records",
    "record_refs",
    "company_links",
    "companies",
    "company_derivations",
    "company_turns",
    "field_changes",
    "end_users",
];

async fn kept(app: &App) -> Vec<(&'static str, Vec<String>)> {
    let mut tables = Vec::new();
    for table in KEPT {
        tables.push((table, app.dump(table).await));
    }
    tables
}

async fn an_account_becomes_companies_and_a_second_read_writes_nothing(app: &App) {
    let demo = app.sandbox.seed_demo().unwrap();
    app.connected().await;
    let run = app.last_run().await;
    assert_eq!((run.status, run.error.as_deref()), (RunStatus::Succeeded, None));
    let read: i64 = run.streams.iter().map(|stream| stream.counts.read).sum();
    assert!(read > 100, "{run:#?}");
    assert!(run.streams.iter().all(|stream| stream.expected.is_none()), "nobody knew: {run:#?}");

    let company = app.company(&demo.name).await;
    assert_eq!(company.fields.plan.as_deref(), Some("Starter"));
    assert_eq!((company.fields.mrr_minor, company.fields.arr_minor), (Some(2_900), Some(34_800)));
    assert_eq!(company.fields.mrr_currency.as_deref(), Some("usd"));
    assert_eq!(company.custom_fields["stripe_customer_id"], demo.customer);
    // 299.00 a month less a fifth for ever.
    assert_eq!(app.company("Initech").await.fields.mrr_minor, Some(23_920));
    assert_eq!(app.companies().await.len(), 12);

    let before = kept(app).await;
    assert!(before.iter().filter(|(_, rows)| rows.is_empty()).map(|(table, _)| *table).eq(["end_users"]));
    for full in [true, false, true] {
        let run = app.sync(full).await;
        assert_eq!(run.status, RunStatus::Succeeded, "{run:#?}");
        for stream in &run.streams {
            let n = &stream.counts;
            if full {
                assert_eq!(stream.expected, Some(n.read), "as many as the last time: {stream:#?}");
            }
            assert_eq!((n.created, n.updated, n.deleted, n.rejected), (0, 0, 0, 0), "{stream:#?}");
        }
        for (old, new) in before.iter().zip(kept(app).await) {
            assert_eq!(*old, new, "{} has changed", old.0);
        }
        assert_eq!(app.dump("dirty_companies").await, [""; 0]);
    }
}

async fn a_webhook_before_the_backfill_is_kept(app: &App) {
    app.price("Starter", 2_900);
    app.price("Team", 29_900);
    let (_, subscription) = app.customer("Acme", "Starter");
    app.lose_events();
    let mut request = app.connect_request(&Value::Null);
    request.backfill = false;
    app.execute(Request::Connect(request)).await.unwrap();
    let connection = app.connection().await;
    app.sandbox.register_webhook(&app.webhook_url(&connection));

    change_price(app, &subscription, "price_Team");
    app.deliver_all(&app.sandbox.take_events()).await;
    app.drain().await;
    assert!(app.record("subscriptions", &subscription).await.is_some());
    assert!(app.companies().await.is_empty(), "the customer is not known yet");

    app.sync(true).await;
    let company = app.company("Acme").await;
    assert_eq!((company.fields.plan.as_deref(), company.fields.mrr_minor), (Some("Team"), Some(29_900)));
}

fn change_price(app: &App, subscription: &str, price: &str) {
    app.sandbox
        .change(Kind::Subscriptions, subscription, "customer.subscription.updated", |doc| {
            doc["items"][0]["price"] = json!(price);
        })
        .unwrap();
}

async fn a_stale_page_does_not_overwrite_a_newer_read(app: &App) {
    app.price("Starter", 2_900);
    app.price("Team", 29_900);
    let (_, subscription) = app.customer("Acme", "Starter");
    app.connected().await;
    app.lose_events();
    // The page is made now and arrives after the change below was read.
    let list = "GET /v1/subscriptions";
    app.sandbox.reset_calls();
    app.sandbox.faults().add(FaultRule::next("/v1/subscriptions", Fault::Slow(Duration::from_secs(2))));
    let run = app.begin_sync(true).await;
    app.until("the page is asked for", || async { app.sandbox.calls(list) > 0 }).await;
    change_price(app, &subscription, "price_Team");
    app.deliver_all(&app.sandbox.take_events()).await;
    app.until("the webhook is applied", || async {
        app.deliveries().await.iter().all(|delivery| delivery.state == "applied")
    })
    .await;
    app.drain().await;
    let run = app.run(&run).await;
    assert_eq!(run.status, RunStatus::Succeeded);
    let stale: i64 = run.streams.iter().map(|stream| stream.counts.stale).sum();
    assert_eq!(stale, 1, "the page was older: {run:#?}");
    let company = app.company("Acme").await;
    assert_eq!((company.fields.plan.as_deref(), company.fields.mrr_minor), (Some("Team"), Some(29_900)));
}

async fn a_schedule_ticks_once(app: &App) {
    app.price("Starter", 2_900);
    app.customer("Acme", "Starter");
    let connection = app.connected().await;
    let schedules = app.store.list_schedules(Some(&app.org)).await.unwrap();
    assert_eq!(schedules.len(), 2);
    for schedule in &schedules {
        assert_eq!(schedule.connection_id.as_ref(), Some(&connection.id));
        assert!(schedule.enabled && schedule.next_run_at > app.now());
    }
    let runs = || async { app.store.list_runs(&app.org, None, None, 100).await.unwrap() };
    app.runtime.reconcile().await.unwrap();
    app.drain().await;
    assert_eq!(runs().await.len(), 1, "nothing is due yet");
    // The first tick of the hour; the daily one is hours away.
    app.pass(600);
    for _ in 0..3 {
        app.runtime.reconcile().await.unwrap();
        app.drain().await;
        let all = runs().await;
        assert_eq!(all.len(), 2, "one tick, one run: {all:#?}");
        assert_eq!((all[0].trigger.as_str(), all[0].status), ("schedule", RunStatus::Succeeded));
    }
    // Connecting again replaces the schedules.
    app.execute(Request::Connect(app.connect_request(&Value::Null))).await.unwrap();
    app.drain().await;
    assert_eq!(app.store.list_schedules(Some(&app.org)).await.unwrap().len(), 2);
}

async fn a_test_connection_says_so(app: &App) {
    app.price("Starter", 2_900);
    app.customer("Acme", "Starter");
    let connection = app.connected().await;
    assert_eq!(connection.mode, connector_sdk::Mode::Test);
    let company = app.company("Acme").await;
    assert!(company.test);
    assert_eq!(app.document(&company).await["test"], true);
}

async fn events_of_others_change_nothing(app: &App) {
    app.price("Starter", 2_900);
    app.price("Team", 29_900);
    let (_, subscription) = app.customer("Acme", "Starter");
    app.connected().await;
    app.lose_events();
    change_price(app, &subscription, "price_Team");
    let event = app.sandbox.take_events().remove(0);
    let altered = |id: &str, member: &str, value: Value| {
        let mut body: Value = serde_json::from_str(&event.body).unwrap();
        body[member] = value;
        body["id"] = json!(id);
        let mut event = event.clone();
        event.body = body.to_string();
        event
    };
    for (id, member, value, why) in [
        ("evt_live", "livemode", json!(true), "test mode"),
        ("evt_other", "account", json!("acct_other"), "acct_other"),
        ("evt_type", "type", json!("capability.updated"), "capability.updated"),
    ] {
        assert_eq!(app.deliver(&altered(id, member, value)).await, 200);
        app.drain().await;
        let delivery = app.deliveries().await.into_iter().find(|d| d.event_id == id).unwrap();
        assert_eq!(delivery.state, "ignored");
        assert!(delivery.error.as_deref().unwrap_or_default().contains(why), "{delivery:?}");
        assert_eq!(app.company("Acme").await.fields.mrr_minor, Some(2_900));
    }
    assert_eq!(app.deliver(&event).await, 200);
    app.drain().await;
    assert_eq!(app.company("Acme").await.fields.mrr_minor, Some(29_900));
}

async fn partitions_change_nothing(app: &App) {
    app.sandbox.seed_demo().unwrap();
    app.connect(json!({"partitions": 4, "page_size": 2})).await;
    app.drain().await;
    // Three pages a slice: every range was left and taken up again.
    let ranges = app.dump("checkpoints").await;
    assert!(ranges.iter().filter(|row| row.contains("invoices") && row.contains("created:")).count() > 2);
    for kind in [Kind::Customers, Kind::Invoices, Kind::Charges, Kind::Disputes, Kind::TaxRates] {
        let fewest = app.sandbox.count(kind).div_ceil(2).max(1) as u64;
        // One more is the probe of the connect.
        let calls = app.sandbox.calls(&format!("GET /v1/{}", kind.path())) - 1;
        assert!(calls <= 2 * fewest, "{}: {calls} calls, {fewest} are the fewest", kind.path());
    }
    let parted = app.companies().await;
    let whole = app.fresh().await;
    whole.read_once().await;
    for company in whole.companies().await {
        let name = company.fields.name.as_deref().unwrap();
        let other = parted.iter().find(|c| c.fields.name.as_deref() == Some(name)).unwrap();
        assert_eq!((&other.fields, &other.custom_fields), (&company.fields, &company.custom_fields));
    }
    assert_eq!(parted.len(), 12);
    whole.end().await;
    // What changed is what is read: an incremental run goes on from where the ranges ended.
    app.sandbox.reset_calls();
    let run = app.sync(false).await;
    assert_eq!(run.status, RunStatus::Succeeded);
    let charges = app.sandbox.calls("GET /v1/charges");
    let all = app.sandbox.count(Kind::Charges) as u64 / 2;
    assert!(charges < all / 4, "{charges} pages of {all} were read again");
}

async fn partitions_are_read_at_once(app: &App) {
    app.sandbox.seed_customers(120);
    // Long enough for calls to meet.
    app.sandbox.faults().add(FaultRule::always("/v1/customers", Fault::Slow(Duration::from_millis(20))));
    app.connect(json!({"page_size": 2, "partitions": 3})).await;
    app.sandbox.reset_calls();
    app.drain().await;
    assert_eq!(app.last_run().await.status, RunStatus::Succeeded);
    assert_eq!(app.sandbox.most_at_once(), 3);
    assert_eq!(app.companies().await.len(), 120);
    let calls = app.sandbox.calls("GET /v1/customers");
    // How often a range is halved depends on who is ahead. Each one more ends with one page that is not full (ADR 0022).
    let checkpoints = app.dump("checkpoints").await;
    let ranges =
        checkpoints.iter().filter(|row| row.contains("customers") && row.contains("created:")).count() as u64;
    assert!(ranges >= 3, "{checkpoints:#?}");
    assert!((60..60 + ranges).contains(&calls), "{calls} calls for {ranges} ranges, 60 are the fewest");
    // One after the other, where that is asked for: nothing changes but the calls at once.
    let whole = app.fresh().await;
    whole.connect(json!({"page_size": 2, "partitions": 1})).await;
    app.sandbox.reset_calls();
    whole.drain().await;
    assert_eq!((app.sandbox.most_at_once(), whole.companies().await.len()), (1, 120));
    assert_eq!(app.sandbox.calls("GET /v1/customers"), 60);
    whole.end().await;
}
