//! What is not applied says why, and what is applied says what it named.

use connector_testkit::sandbox::stripe::{Kind, sign};
use halo_sync::store::inbox::Delivery;
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(
    what_is_set_aside_says_why,
    what_is_applied_says_what_it_named_and_whose_it_was,
    thin_events_are_read_again,
);

/// Posts an event that the sandbox did not make.
pub(super) async fn post(app: &App, event: &Value) -> u16 {
    let body = event.to_string();
    let signature = sign(app.sandbox.webhook_secret(), body.as_bytes(), app.now().timestamp());
    let url = app.webhook_url(&app.connection().await);
    app.http
        .post(url)
        .header("stripe-signature", signature)
        .body(body)
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

async fn judged(app: &App, event: Value) -> Delivery {
    assert_eq!(post(app, &event).await, 200, "{event}");
    app.drain().await;
    let mut all = app.deliveries().await;
    all.retain(|delivery| event["id"] == delivery.event_id.as_str());
    assert_eq!(all.len(), 1);
    all.remove(0)
}

async fn what_is_set_aside_says_why(app: &App) {
    app.connected().await;
    app.sandbox.reset_calls();
    let event = |id: &str, kind: &str, object: Value| json!({"id": id, "object": "event", "type": kind, "livemode": false, "data": {"object": object}});
    let customer = json!({"id": "cus_1", "object": "customer"});
    let mut live = event("evt_live", "customer.updated", customer.clone());
    live["livemode"] = json!(true);
    let mut foreign = event("evt_foreign", "customer.updated", customer.clone());
    foreign["account"] = json!("acct_other");
    let clock = json!({"id": "cus_1", "object": "customer", "test_clock": "clock_1"});
    for (event, why) in [
        (live, "the connection is in test mode and the event is not"),
        (foreign, "the event is about account acct_other, the connection is acct_sandbox"),
        (event("evt_clock", "customer.updated", clock), "it is simulated by test clock clock_1"),
        (
            event("evt_own", "test_helpers.test_clock.ready", json!({"id": "clock_2"})),
            "it is simulated by test clock clock_2",
        ),
        (
            event("evt_new", "time_machine.started", customer),
            "the type is not known here: time_machine.started",
        ),
        (event("evt_preview", "invoice.upcoming", json!({})), "it names no record that is kept"),
    ] {
        let delivery = judged(app, event).await;
        assert_eq!((delivery.state.as_str(), delivery.error.as_deref()), ("ignored", Some(why)));
        assert!(delivery.touched.is_empty() && delivery.party.is_none(), "{delivery:?}");
    }
    assert!(app.sandbox.all_calls().is_empty(), "{:?}", app.sandbox.all_calls());
}

async fn what_is_applied_says_what_it_named_and_whose_it_was(app: &App) {
    app.price("Team", 10_000);
    let (customer, subscription) = app.customer("Acme", "Team");
    app.connected().await;
    app.lose_events();
    app.sandbox.bill(&subscription, true).unwrap();
    let charge = app.sandbox.ids(Kind::Charges).remove(0);
    app.call("POST", "/v1/refunds", json!({"charge": charge}));
    app.sandbox.dispute(&charge).unwrap();
    app.call("POST", "/v1/products/prod_Team", json!({"name": "Team plan"}));
    app.call("DELETE", &format!("/v1/customers/{customer}"), json!({}));
    let events = app.sandbox.take_events();
    app.deliver_all(&events).await;
    app.drain().await;
    let all = app.deliveries().await;
    assert_eq!(all.len(), events.len());
    let party = format!("customers/{customer}");
    let mut kinds = std::collections::BTreeSet::new();
    for delivery in all {
        if delivery.kind.starts_with("payment_intent.") && delivery.touched.is_empty() {
            // An intent that has come to nothing yet names nothing that is kept.
            assert_eq!(delivery.state, "ignored", "{delivery:?}");
            continue;
        }
        assert_eq!((delivery.state.as_str(), delivery.error.as_deref()), ("applied", None), "{delivery:?}");
        assert!(!delivery.touched.is_empty(), "{delivery:?}");
        let whose = delivery.party.map(|party| party.to_string());
        match delivery.kind.starts_with("product.") {
            true => assert_eq!(whose, None),
            false => assert_eq!(whose.as_deref(), Some(party.as_str()), "{}", delivery.kind),
        }
        kinds.insert(delivery.kind);
    }
    for kind in
        ["invoice.paid", "charge.refunded", "charge.dispute.created", "product.updated", "customer.deleted"]
    {
        assert!(kinds.contains(kind), "{kind}: {kinds:?}");
    }
}

async fn thin_events_are_read_again(app: &App) {
    app.price("Team", 10_000);
    let (_, subscription) = app.customer("Acme", "Team");
    app.connected().await;
    let quantity = |doc: &mut Value| doc["items"][0]["quantity"] = json!(3);
    app.sandbox.change(Kind::Subscriptions, &subscription, "x", quantity).unwrap();
    app.lose_events();
    let delivery = judged(
        app,
        json!({
            "id": "evt_thin", "object": "v2.core.event", "type": "v1.customer.subscription.updated", "livemode": false,
            "created": "2026-11-22T10:00:00.000Z",
            "related_object": {"id": subscription, "type": "subscription", "url": format!("/v1/subscriptions/{subscription}")},
        }),
    )
    .await;
    assert_eq!((delivery.state.as_str(), delivery.touched.len()), ("applied", 1));
    assert_eq!(app.company("Acme").await.fields.mrr_minor, Some(30_000));
}
