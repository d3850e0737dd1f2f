//! One company read whole: what differs is foreseen exactly, and storing it makes exactly that.

use std::collections::BTreeMap;

use connector_sdk::RecordKey;
use connector_testkit::sandbox::stripe::Kind;
use halo_sync::derive;
use halo_sync::domain::companies::Company;
use halo_sync::recompute::{Coming, Recompute};
use halo_sync::service::Request;
use halo_sync::service::deliveries::parties_of;
use halo_sync::sync::compare::Drift;
use halo_sync::sync::resync::{Reading, read_company};
use serde_json::{Value, json};

use crate::support::app::{App, STRIPE, on_both};

on_both!(
    what_a_resync_changes_is_foreseen_and_then_made,
    a_company_that_is_gone_at_the_provider_is_foreseen,
    a_resync_without_differences_reads_and_changes_nothing,
);

/// Every table that holds anything.
const TABLES: [&str; 17] = [
    "companies",
    "company_keys",
    "company_links",
    "company_derivations",
    "company_turns",
    "connections",
    "deliveries",
    "dirty_companies",
    "field_changes",
    "finished_jobs",
    "jobs",
    "link_candidates",
    "mirror_records",
    "record_refs",
    "rejected_records",
    "seen_notes",
    "sync_runs",
];

pub(super) async fn everything(app: &App) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = BTreeMap::new();
    for table in TABLES {
        all.insert(table, app.dump(table).await);
    }
    all
}

async fn read(app: &App, company: &Company) -> Vec<Reading> {
    let parties = parties_of(&*app.store, &app.org, &company.id).await.unwrap();
    read_company(&*app.store, &app.services.providers, &app.org, parties).await.unwrap()
}

async fn foresee(app: &App, company: &Company, readings: &[Reading]) -> Company {
    let settings = std::sync::Arc::new(derive::Settings::default());
    let recompute = Recompute::new(app.store.clone(), app.services.providers.clone(), settings);
    let coming = Coming::of(&app.services.providers, readings, app.now());
    recompute.foresee(&app.org, company, &coming, app.now()).await.unwrap().unwrap()
}

async fn store(app: &App, readings: &[Reading]) {
    let keys: Vec<RecordKey> =
        readings.iter().flat_map(|r| r.compared.different.iter().map(|(key, _)| key.clone())).collect();
    app.execute(Request::Reread { connection: STRIPE.to_owned(), keys }).await.unwrap();
    app.drain().await;
}

/// What people and prompts see.
fn seen(company: &Company) -> Value {
    json!({"fields": company.fields, "traits": company.custom_fields, "context": company.context, "test": company.test})
}

fn differences(readings: &[Reading]) -> BTreeMap<String, (Drift, Vec<String>)> {
    readings
        .iter()
        .flat_map(|reading| &reading.compared.different)
        .map(|(key, d)| (key.to_string(), (d.drift, d.pointers.clone())))
        .collect()
}

async fn what_a_resync_changes_is_foreseen_and_then_made(app: &App) {
    app.price("Team", 10_000);
    app.price("Scale", 90_000);
    let (customer, subscription) = app.customer("Acme", "Team");
    let (_, untouched) = app.customer("Other", "Scale");
    app.sandbox.bill(&subscription, true).unwrap();
    app.sandbox.bill(&subscription, true).unwrap();
    app.connected().await;
    let charges = app.sandbox.ids(Kind::Charges);

    // Everything changes, and every event is lost.
    let quantity = |doc: &mut Value| doc["items"][0]["quantity"] = json!(4);
    app.sandbox.change(Kind::Subscriptions, &subscription, "x", quantity).unwrap();
    app.sandbox.bill(&subscription, true).unwrap();
    app.call("POST", "/v1/refunds", json!({"charge": charges[0]}));
    app.sandbox.dispute(&charges[1]).unwrap();
    app.call("POST", "/v1/products/prod_Team", json!({"name": "Team 2026"}));
    app.call("POST", "/v1/subscriptions", json!({"customer": customer, "items": [{"price": "price_Scale"}]}));
    let other = |doc: &mut Value| doc["items"][0]["quantity"] = json!(9);
    app.sandbox.change(Kind::Subscriptions, &untouched, "x", other).unwrap();
    app.lose_events();

    let company = app.company("Acme").await;
    let before = everything(app).await;
    let readings = read(app, &company).await;
    let foreseen = foresee(app, &company, &readings).await;
    assert_eq!(everything(app).await, before, "looking writes nothing");

    let found = differences(&readings);
    let (drift, pointers) = &found[&format!("subscriptions/{subscription}")];
    assert_eq!(*drift, Drift::Different);
    assert!(pointers.contains(&"/items/data/0/quantity".to_owned()), "{pointers:?}");
    assert_eq!(found["products/prod_Team"].0, Drift::Different);
    assert!(found["products/prod_Team"].1.contains(&"/name".to_owned()), "{found:?}");
    let missing = |stream: &str| {
        found.iter().filter(|(key, (d, _))| key.starts_with(stream) && *d == Drift::Missing).count()
    };
    let streams = ["subscriptions/", "invoices/", "charges/", "refunds/", "disputes/"];
    assert_eq!(streams.map(missing), [1, 2, 2, 1, 1], "{found:?}");
    assert!(!found.contains_key(&format!("subscriptions/{untouched}")));

    store(app, &readings).await;
    let made = app.company("Acme").await;
    assert_eq!(seen(&made), seen(&foreseen));
    assert_ne!(seen(&made), seen(&company));
    assert_eq!(made.fields.mrr_minor, Some(130_000), "four times 100.00, and 900.00");
    assert_eq!(app.company("Other").await.fields.mrr_minor, Some(90_000), "not asked for");
    // What the account's first reading makes of it.
    let fresh = app.fresh().await;
    fresh.read_once().await;
    let expected = fresh.company("Acme").await;
    assert_eq!((&made.fields, &made.custom_fields), (&expected.fields, &expected.custom_fields));
    fresh.end().await;
}

async fn a_company_that_is_gone_at_the_provider_is_foreseen(app: &App) {
    app.price("Team", 10_000);
    let (customer, _) = app.customer("Acme", "Team");
    app.connected().await;
    app.sandbox.delete(Kind::Customers, &customer).unwrap();
    app.lose_events();
    let company = app.company("Acme").await;
    let readings = read(app, &company).await;
    assert_eq!(differences(&readings)[&format!("customers/{customer}")].0, Drift::Extra);
    let foreseen = foresee(app, &company, &readings).await;
    store(app, &readings).await;
    let made = app.company("Acme").await;
    assert_eq!(seen(&made), seen(&foreseen));
    assert_eq!(made.fields.mrr_minor, Some(0));
}

async fn a_resync_without_differences_reads_and_changes_nothing(app: &App) {
    app.price("Team", 10_000);
    let (customer, subscription) = app.customer("Acme", "Team");
    app.sandbox.bill(&subscription, true).unwrap();
    app.connected().await;
    let company = app.company("Acme").await;
    app.sandbox.reset_calls();
    let readings = read(app, &company).await;
    assert!(differences(&readings).is_empty());
    assert_eq!(app.sandbox.calls("GET /v1/customers/:id"), 1, "the customer once");
    let keys: Vec<String> = readings[0].compared.equal.iter().map(ToString::to_string).collect();
    for key in [
        format!("customers/{customer}"),
        format!("subscriptions/{subscription}"),
        "products/prod_Team".into(),
    ] {
        assert!(keys.contains(&key), "{key}: {keys:?}");
    }
    assert_eq!(seen(&foresee(app, &company, &readings).await), seen(&company));
    // A key that may not read one stream still shows the rest.
    app.sandbox.forbid("invoices", true);
    let readings = read(app, &company).await;
    assert!(readings[0].compared.skipped.contains_key("invoices"), "{:?}", readings[0].compared.skipped);
    assert!(differences(&readings).is_empty());
}
