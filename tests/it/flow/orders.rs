//! Updates of a subscription whose webhooks come in every order, twice, or not at all.

use std::collections::BTreeMap;

use connector_testkit::sandbox::stripe::{Kind, SandboxEvent};
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(every_order_of_five_updates_ends_alike);

const UPDATES: usize = 5;

/// All orders of `0..UPDATES`.
fn orders() -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for n in 0..UPDATES {
        all = all
            .iter()
            .flat_map(|order: &Vec<usize>| {
                (0..=order.len()).map(move |at| {
                    let mut longer = order.clone();
                    longer.insert(at, n);
                    longer
                })
            })
            .collect();
    }
    all.sort();
    assert_eq!(all.len(), 120);
    all
}

/// How an order's events reach us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// All of them; then all of them again.
    Twice,
    /// These (a set of bits) never.
    Lost(usize),
}

/// A subscription with an order of its updates' events.
struct Case {
    name: String,
    subscription: String,
    order: Vec<usize>,
    fate: Fate,
    /// Whether the last update ends the subscription.
    ends: bool,
    /// The events of the updates that have happened.
    events: Vec<SandboxEvent>,
}

/// Makes the update happen that comes next.
fn update(app: &App, case: &mut Case) {
    let id = case.subscription.as_str();
    let change = |f: &dyn Fn(&mut Value)| {
        app.sandbox.change(Kind::Subscriptions, id, "customer.subscription.updated", |doc| f(doc)).unwrap();
    };
    match case.events.len() {
        0 => change(&|doc| doc["items"][0]["quantity"] = json!(4)),
        1 => change(&|doc| doc["items"][0]["price"] = json!("price_Team")),
        2 => {
            let path = format!("/v1/subscriptions/{id}");
            app.call("POST", &path, json!({"discounts": [{"coupon": "TENTH"}]}));
        }
        3 => change(&|doc| doc["status"] = json!("past_due")),
        _ if case.ends => {
            app.call("DELETE", &format!("/v1/subscriptions/{id}"), json!({}));
        }
        _ => change(&|doc| {
            doc["status"] = json!("active");
            doc["items"][0]["quantity"] = json!(3);
        }),
    }
    let mut events = app.sandbox.take_events();
    assert_eq!(events.len(), 1, "{events:?}");
    case.events.append(&mut events);
}

async fn every_order_of_five_updates_ends_alike(app: &App) {
    app.price("Starter", 2_900);
    app.price("Team", 29_900);
    app.call("POST", "/v1/coupons", json!({"id": "TENTH", "percent_off": "10", "duration": "forever"}));
    let mut cases = Vec::new();
    for (n, order) in orders().into_iter().enumerate() {
        for (fate, ends) in [(Fate::Twice, false), (Fate::Twice, true), (Fate::Lost(1 + n % 31), n % 2 == 0)]
        {
            let name = format!("{order:?} {fate:?} {ends}");
            let (_, subscription) = app.customer(&name, "Starter");
            cases.push(Case { name, subscription, order: order.clone(), fate, ends, events: Vec::new() });
        }
    }
    app.connected().await;
    app.lose_events();

    // An event cannot come before its update; otherwise each comes when its order says.
    for step in 0..UPDATES {
        for case in &mut cases {
            let which = case.order[step];
            while case.events.len() <= which {
                update(app, case);
            }
        }
        let come = cases.iter().filter_map(|case| match case.fate {
            Fate::Lost(set) if set >> case.order[step] & 1 == 1 => None,
            _ => Some(&case.events[case.order[step]]),
        });
        app.deliver_all(come).await;
        app.drain().await;
    }

    // What reading the account for the first time makes of it.
    let fresh = app.fresh().await;
    fresh.read_once().await;
    let expected = states(&fresh, &cases).await;
    for case in &cases {
        let fields = &expected[&case.name]["fields"];
        let (plan, mrr) = if case.ends { (None, 0) } else { (Some("Team"), 80_730) };
        assert_eq!(fields.get("plan").and_then(Value::as_str), plan, "{}", case.name);
        assert_eq!(fields["mrr_minor"], mrr, "{}: three times 299.00 less a tenth, or nothing", case.name);
    }
    fresh.end().await;

    let arrived = |name: &str| !name.contains("Lost");
    compare(&states(app, &cases).await, &expected, arrived);
    let again = cases.iter().filter(|case| case.fate == Fate::Twice).flat_map(|case| &case.events);
    let before = app.dump("mirror_records").await;
    app.deliver_all(again).await;
    app.drain().await;
    assert!(app.deliveries().await.iter().all(|delivery| delivery.state == "applied"));
    assert_eq!(app.dump("mirror_records").await, before, "a duplicate writes nothing");
    compare(&states(app, &cases).await, &expected, arrived);
    // What was lost is found by the next run.
    app.sync(false).await;
    compare(&states(app, &cases).await, &expected, |_| true);
}

fn compare(
    found: &BTreeMap<String, Value>,
    expected: &BTreeMap<String, Value>,
    which: impl Fn(&str) -> bool,
) {
    assert_eq!(found.len(), 360);
    for (name, state) in found.iter().filter(|(name, _)| which(name)) {
        for (part, value) in state.as_object().unwrap() {
            assert_eq!(value, &expected[name][part], "{part} of {name}");
        }
    }
}

/// Everything that is kept of each case, without our ids and times.
async fn states(app: &App, cases: &[Case]) -> BTreeMap<String, Value> {
    let connection = app.connection().await.id;
    let keys: Vec<_> = cases
        .iter()
        .map(|case| connector_sdk::RecordKey::new("subscriptions", case.subscription.as_str()))
        .collect();
    let mut records = BTreeMap::new();
    for record in app.store.load_records(&app.org, &connection, &keys).await.unwrap() {
        assert!(record.deleted_at.is_none(), "{record:?}");
        records.insert(record.key.id.clone(), record);
    }
    let mut companies: BTreeMap<String, _> =
        app.companies().await.into_iter().map(|c| (c.fields.name.clone().unwrap(), c)).collect();
    assert_eq!(companies.len(), cases.len());
    let mut states = BTreeMap::new();
    for case in cases {
        let company = companies.remove(&case.name).unwrap();
        let record = &records[&case.subscription];
        let document = app.document(&company).await.to_string().replace(connection.as_str(), "con");
        let mut document: Value = serde_json::from_str(&document).unwrap();
        // Names the connection by its id.
        assert!(document.as_object_mut().unwrap().remove("inputs_hash").is_some());
        let ranks: BTreeMap<_, _> =
            company.provenance.iter().map(|(key, from)| (key, (from.rank, &from.source))).collect();
        let state = json!({
            "payload": serde_json::from_str::<Value>(&record.payload).unwrap(),
            "facts": serde_json::from_str::<Value>(&record.facts).unwrap(),
            "party": record.party.as_ref().map(ToString::to_string),
            "fields": company.fields,
            "custom_fields": company.custom_fields,
            "context": company.context,
            "ranks": ranks,
            "test": company.test,
            "document": document,
        });
        states.insert(case.name.clone(), state);
    }
    states
}
