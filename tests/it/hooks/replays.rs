//! Deliveries are found by what they are about, and processed again without harm.

use connector_testkit::sandbox::stripe::Kind;
use halo_sync::service::{Deliveries, FailureKind, Request};
use serde_json::{Value, json};

use crate::support::app::{App, STRIPE, on_both};

on_both!(
    deliveries_are_found_by_state_type_time_and_company,
    a_replay_reads_again_and_changes_only_what_differs,
    a_replay_names_what_it_means,
);

async fn replay(app: &App, deliveries: Deliveries) -> Value {
    app.execute(Request::ReplayDeliveries { deliveries }).await.unwrap()
}

async fn ids(app: &App, wanted: Deliveries) -> Vec<String> {
    let found = app.services.deliveries(&app.org, &wanted, 1_000).await.unwrap();
    assert!(found.windows(2).all(|two| two[0].received_at >= two[1].received_at), "newest first");
    found.into_iter().map(|delivery| delivery.event_id).collect()
}

async fn deliveries_are_found_by_state_type_time_and_company(app: &App) {
    app.price("Team", 10_000);
    let (_, acme) = app.customer("Acme", "Team");
    let (_, other) = app.customer("Other", "Team");
    app.connected().await;
    app.lose_events();
    let mut sent = Vec::new();
    for subscription in [&acme, &other, &acme] {
        let n = sent.len() as i64 + 2;
        let quantity = |doc: &mut Value| doc["items"][0]["quantity"] = json!(n);
        app.sandbox
            .change(Kind::Subscriptions, subscription, "customer.subscription.updated", quantity)
            .unwrap();
        let event = app.sandbox.take_events().remove(0);
        app.deliver(&event).await;
        sent.push((event.id, app.now()));
        app.drain().await;
        app.pass(60);
    }
    super::events::post(app, &json!({"id": "evt_odd", "type": "odd.kind", "livemode": false})).await;
    app.drain().await;
    let all = Deliveries::default;
    let of = |n: usize| sent[n].0.clone();
    assert_eq!(ids(app, all()).await, ["evt_odd".to_owned(), of(2), of(1), of(0)]);
    for (wanted, expected) in [
        (Deliveries { company: Some("Acme".into()), ..all() }, vec![of(2), of(0)]),
        (Deliveries { company: Some("Other".into()), connection: Some(STRIPE.into()), ..all() }, vec![of(1)]),
        (Deliveries { state: Some("ignored".into()), ..all() }, vec!["evt_odd".to_owned()]),
        (Deliveries { state: Some("failed".into()), ..all() }, vec![]),
        (Deliveries { kind: Some("customer.*".into()), ..all() }, vec![of(2), of(1), of(0)]),
        (Deliveries { kind: Some("customer".into()), ..all() }, vec![]),
        (Deliveries { kind: Some("odd.kind".into()), ..all() }, vec!["evt_odd".to_owned()]),
        (Deliveries { since: Some(sent[1].1), until: Some(sent[2].1), ..all() }, vec![of(1)]),
        (Deliveries { since: Some(sent[2].1), company: Some("Acme".into()), ..all() }, vec![of(2)]),
        (Deliveries { ids: vec![of(1)], ..all() }, vec![of(1)]),
    ] {
        assert_eq!(ids(app, wanted.clone()).await, expected, "{wanted:?}");
    }
    let two = app.services.deliveries(&app.org, &all(), 2).await.unwrap();
    assert_eq!(two.len(), 2);
}

async fn a_replay_reads_again_and_changes_only_what_differs(app: &App) {
    app.price("Team", 10_000);
    let (_, acme) = app.customer("Acme", "Team");
    let (_, other) = app.customer("Other", "Team");
    app.connected().await;
    app.lose_events();
    let change = |subscription: &str, n: i64| {
        let quantity = |doc: &mut Value| doc["items"][0]["quantity"] = json!(n);
        app.sandbox
            .change(Kind::Subscriptions, subscription, "customer.subscription.updated", quantity)
            .unwrap();
    };
    change(&acme, 2);
    change(&other, 2);
    app.deliver_all(&app.sandbox.take_events()).await;
    app.drain().await;
    // Changed again, and that event is lost.
    change(&acme, 5);
    change(&other, 5);
    app.lose_events();
    assert_eq!(app.company("Acme").await.fields.mrr_minor, Some(20_000));
    let company = || Deliveries { company: Some("Acme".into()), ..Deliveries::default() };
    app.pass(60);
    let answer = replay(app, company()).await;
    assert_eq!((&answer["found"], &answer["replayed"]), (&json!(1), &json!(1)), "{answer}");
    app.drain().await;
    assert_eq!(app.company("Acme").await.fields.mrr_minor, Some(50_000));
    assert_eq!(app.company("Other").await.fields.mrr_minor, Some(20_000), "not meant");
    let replayed = app.services.deliveries(&app.org, &company(), 10).await.unwrap().remove(0);
    assert_eq!((replayed.state.as_str(), replayed.replays, replayed.attempts), ("applied", 1, 1));

    // The same again: read, and nothing written.
    let dumps = || async {
        let mut all = Vec::new();
        for table in ["mirror_records", "companies", "company_derivations", "field_changes", "company_links"]
        {
            all.push(app.dump(table).await);
        }
        all
    };
    let before = dumps().await;
    app.sandbox.reset_calls();
    replay(app, company()).await;
    app.drain().await;
    assert_eq!(app.sandbox.calls("GET /v1/subscriptions/:id"), 1);
    assert_eq!(dumps().await, before);

    // While it waits it is not asked for twice.
    app.execute(Request::PauseConnection { connection: STRIPE.to_owned() }).await.unwrap();
    let range = Deliveries { until: Some(app.now()), ..Deliveries::default() };
    let answer = replay(app, range.clone()).await;
    assert_eq!((&answer["replayed"], &answer["held_by"]), (&json!(2), &json!([STRIPE])), "{answer}");
    let answer = replay(app, range).await;
    assert_eq!((&answer["replayed"], &answer["pending_already"]), (&json!(0), &json!(2)), "{answer}");
    app.execute(Request::ResumeConnection { connection: STRIPE.to_owned() }).await.unwrap();
    app.drain().await;
    assert!(app.deliveries().await.iter().all(|delivery| delivery.state == "applied"));
    assert_eq!(app.company("Other").await.fields.mrr_minor, Some(50_000));
}

async fn a_replay_names_what_it_means(app: &App) {
    app.connected().await;
    for wanted in [
        Deliveries { ids: vec!["evt_none".into()], ..Deliveries::default() },
        Deliveries { company: Some("nobody".into()), ..Deliveries::default() },
        Deliveries { connection: Some("nothing".into()), ..Deliveries::default() },
    ] {
        let failure = app.execute(Request::ReplayDeliveries { deliveries: wanted }).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
        assert!(failure.hint.is_some());
    }
    let none = replay(app, Deliveries { since: Some(app.now()), ..Deliveries::default() }).await;
    assert_eq!(none["found"], 0);
}
