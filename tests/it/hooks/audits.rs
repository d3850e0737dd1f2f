//! Drift that no event told of is found, named and repaired.

use std::collections::BTreeMap;

use connector_sdk::Priority;
use connector_testkit::sandbox::stripe::Kind;
use halo_sync::service::Request;
use halo_sync::sync::audit::{Report, Scope, audit};
use halo_sync::sync::compare::Drift;
use serde_json::{Value, json};

use crate::support::app::{App, STRIPE, on_both};

on_both!(
    an_audit_of_everything_finds_exactly_what_differs,
    a_sample_finds_what_it_meets_and_what_never_arrived,
    what_is_on_its_way_is_no_drift,
    a_scheduled_audit_repairs_and_is_kept,
    a_stream_that_may_not_be_read_is_named,
);

async fn look(app: &App, scope: Scope) -> Report {
    let connection = app.connection().await;
    let providers = &app.services.providers;
    audit(&*app.store, providers, &connection, &app.clock, scope, Priority::Incremental, |_, _| {})
        .await
        .unwrap()
}

fn found(report: &Report) -> BTreeMap<String, Drift> {
    assert_eq!(report.differences.len(), report.drift.len());
    report.differences.iter().map(|d| (d.record.clone(), d.drift)).collect()
}

/// Changes of every kind, and every event lost. What an audit must find.
fn drift(app: &App, subscription: &str) -> BTreeMap<String, Drift> {
    let quantity = |doc: &mut Value| doc["items"][0]["quantity"] = json!(7);
    app.sandbox.change(Kind::Subscriptions, subscription, "x", quantity).unwrap();
    app.call("POST", "/v1/products", json!({"id": "prod_new", "name": "New"}));
    let made = app.call("POST", "/v1/customers", json!({"name": "Late"}));
    app.call("POST", "/v1/coupons", json!({"id": "GONE", "percent_off": "10", "duration": "forever"}));
    app.sandbox.delete(Kind::Coupons, "OLD").unwrap();
    app.sandbox.delete(Kind::Coupons, "GONE").unwrap();
    app.lose_events();
    BTreeMap::from([
        (format!("subscriptions/{subscription}"), Drift::Different),
        ("products/prod_new".to_owned(), Drift::Missing),
        (format!("customers/{}", made["id"].as_str().unwrap()), Drift::Missing),
        ("coupons/OLD".to_owned(), Drift::Extra),
    ])
}

async fn prepared(app: &App) -> String {
    app.price("Team", 10_000);
    app.call("POST", "/v1/coupons", json!({"id": "OLD", "percent_off": "10", "duration": "forever"}));
    let (_, subscription) = app.customer("Acme", "Team");
    app.sandbox.bill(&subscription, true).unwrap();
    for n in 0..5 {
        app.customer(&format!("Company {n}"), "Team");
    }
    app.connected().await;
    app.lose_events();
    subscription
}

async fn an_audit_of_everything_finds_exactly_what_differs(app: &App) {
    let subscription = prepared(app).await;
    let clean = look(app, Scope::All).await;
    assert!(clean.drift.is_empty(), "{clean:?}");
    assert_eq!((clean.streams["customers"].compared, clean.streams["coupons"].compared), (6, 1));
    let expected = drift(app, &subscription);
    let before = super::resync::everything(app).await;
    let report = look(app, Scope::All).await;
    assert_eq!(found(&report), expected);
    assert_eq!(super::resync::everything(app).await, before, "looking writes nothing");
    let pointers = &report.differences.iter().find(|d| d.drift == Drift::Different).unwrap().pointers;
    assert_eq!(pointers.as_slice(), ["/items/data/0/quantity"]);
    let counts = |stream: &str| {
        let s = &report.streams[stream];
        (s.missing, s.extra, s.different)
    };
    assert_eq!(counts("subscriptions"), (0, 0, 1));
    assert_eq!(counts("coupons"), (0, 1, 0));
    assert_eq!(counts("products"), (1, 0, 0));
    assert_eq!(report.streams["coupons"].compared, 1, "the one that is gone");

    let request = Request::Reread { connection: STRIPE.to_owned(), keys: report.drift.clone() };
    let answer = app.execute(request).await.unwrap();
    assert_eq!((&answer["counts"]["created"], &answer["counts"]["updated"]), (&json!(2), &json!(1)));
    assert_eq!(answer["counts"]["deleted"], 1);
    app.drain().await;
    assert!(look(app, Scope::All).await.drift.is_empty());
    assert_eq!(app.company("Acme").await.fields.mrr_minor, Some(70_000));
}

async fn a_sample_finds_what_it_meets_and_what_never_arrived(app: &App) {
    let subscription = prepared(app).await;
    let expected = drift(app, &subscription);
    // A sample larger than the mirror is all of it.
    let report = look(app, Scope::Sample { records: 10_000, seed: 1 }).await;
    assert_eq!(found(&report), expected);
    // A small one compares what it says, and finds a part.
    let mut met = 0;
    for seed in 0..20 {
        let report = look(app, Scope::Sample { records: 3, seed }).await;
        assert!(found(&report).iter().all(|(record, drift)| expected.get(record) == Some(drift)));
        met += usize::from(found(&report).contains_key("coupons/OLD"));
    }
    assert!((1..20).contains(&met), "a draw of 3 of about 20 met one record {met} times of 20");
}

/// A change that is stored between the two looks is no difference.
async fn what_is_on_its_way_is_no_drift(app: &App) {
    let subscription = prepared(app).await;
    let quantity = |doc: &mut Value| doc["items"][0]["quantity"] = json!(2);
    app.sandbox
        .change(Kind::Subscriptions, &subscription, "customer.subscription.updated", quantity)
        .unwrap();
    let event = app.sandbox.take_events().remove(0);
    let connection = app.connection().await;
    let (mut told, mut after) = (0, Vec::new());
    let looking = audit(
        &*app.store,
        &app.services.providers,
        &connection,
        &app.clock,
        Scope::All,
        Priority::Incremental,
        |stream, _| {
            after.push(stream.to_owned());
            told += 1;
            // The subscriptions were compared: now the webhook is worked off.
            if stream == "subscriptions" {
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(async {
                        assert_eq!(app.deliver(&event).await, 200);
                        app.drain().await;
                    });
                });
            }
        },
    );
    assert!(looking.await.unwrap().drift.is_empty());
    assert!(told > 0 && after.contains(&"subscriptions".to_owned()));
}

async fn a_scheduled_audit_repairs_and_is_kept(app: &App) {
    let subscription = prepared(app).await;
    let expected = drift(app, &subscription);
    let connection = app.connection().await;
    for repair in [false, true] {
        app.scheduled_audit(&connection.id, repair).await;
        app.pass(60);
    }
    let audits = app.store.list_audits(&app.org, &connection.id, 10).await.unwrap();
    assert_eq!(audits.len(), 2, "the latest first");
    let drift = expected.len() as i64;
    assert_eq!((audits[1].drift, audits[1].repaired), (drift, 0));
    assert_eq!((audits[0].drift, audits[0].repaired), (drift, drift));
    assert_eq!(
        (audits[0].trigger.as_str(), audits[0].report["differences"].as_array().unwrap().len()),
        ("schedule", 4)
    );
    assert!(audits[0].finished_at > audits[1].finished_at);
    assert_eq!(app.company("Acme").await.fields.mrr_minor, Some(70_000));
    assert!(look(app, Scope::All).await.drift.is_empty());
}

async fn a_stream_that_may_not_be_read_is_named(app: &App) {
    prepared(app).await;
    app.sandbox.forbid("charges", true);
    for scope in [Scope::All, Scope::Sample { records: 1_000, seed: 3 }] {
        let report = look(app, scope).await;
        assert!(report.drift.is_empty());
        assert!(report.streams["charges"].skipped.is_some(), "{report:?}");
    }
}
