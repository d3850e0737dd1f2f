//! Many events of one customer are few reads and one derivation.

use connector_testkit::sandbox::stripe::{Kind, SandboxEvent};
use halo_sync::service::Request;
use halo_sync::store::derivations::DERIVE_KIND;
use serde_json::json;

use crate::support::app::{App, STRIPE, on_both};

on_both!(
    a_burst_that_waited_is_one_read_an_object_and_one_derivation,
    a_burst_that_comes_while_it_is_worked_on_is_few_reads,
);

/// Events of one customer and its subscription; each change is real.
fn burst(app: &App, customer: &str, subscription: &str, rounds: i64) -> Vec<SandboxEvent> {
    for n in 0..rounds {
        let quantity = |doc: &mut serde_json::Value| doc["items"][0]["quantity"] = json!(n + 2);
        app.sandbox
            .change(Kind::Subscriptions, subscription, "customer.subscription.updated", quantity)
            .unwrap();
        let path = format!("/v1/customers/{customer}");
        app.call("POST", &path, json!({"description": format!("round {n}")}));
    }
    app.sandbox.take_events()
}

async fn derivations(app: &App) -> usize {
    app.dump("finished_jobs").await.iter().filter(|row| row.contains(DERIVE_KIND)).count()
}

async fn pause(app: &App, pause: bool) {
    let connection = STRIPE.to_owned();
    let request = match pause {
        true => Request::PauseConnection { connection },
        false => Request::ResumeConnection { connection },
    };
    app.execute(request).await.unwrap();
}

async fn a_burst_that_waited_is_one_read_an_object_and_one_derivation(app: &App) {
    app.price("Team", 10_000);
    let (customer, subscription) = app.customer("Acme", "Team");
    app.connected().await;
    app.lose_events();
    pause(app, true).await;
    // Less than a batch, so that the counts are exact.
    let events = burst(app, &customer, &subscription, 40);
    assert_eq!(events.len(), 80);
    app.deliver_all(&events).await;
    let (before, changes) = (derivations(app).await, app.dump("field_changes").await.len());
    app.sandbox.reset_calls();
    pause(app, false).await;
    app.drain().await;
    assert!(app.deliveries().await.iter().all(|delivery| delivery.state == "applied"));
    assert_eq!(app.sandbox.calls("GET /v1/subscriptions/:id"), 1);
    assert_eq!(app.sandbox.calls("GET /v1/customers/:id"), 1);
    assert_eq!(derivations(app).await - before, 1);
    assert_eq!(app.dump("field_changes").await.len() - changes, 1);
    assert_eq!(app.company("Acme").await.fields.mrr_minor, Some(410_000));
}

async fn a_burst_that_comes_while_it_is_worked_on_is_few_reads(app: &App) {
    app.price("Team", 10_000);
    let (customer, subscription) = app.customer("Acme", "Team");
    app.connected().await;
    app.lose_events();
    let events = burst(app, &customer, &subscription, 150);
    let before = derivations(app).await;
    app.sandbox.reset_calls();
    let begun = tokio::time::Instant::now();
    app.deliver_all(&events).await;
    app.drain().await;
    // One batch at the first event, then one each tenth of a second and one for each hundred that wait.
    let batches = 1 + begun.elapsed().as_millis() as u64 / 100 + events.len() as u64 / 100 + 1;
    let reads = app.sandbox.calls("GET /v1/subscriptions/:id");
    assert!(reads <= batches, "{reads} reads of one subscription in at most {batches} batches");
    // Time stands still while the burst comes: what a change postpones is derived once.
    assert_eq!(derivations(app).await - before, 1);
    assert!(app.deliveries().await.iter().all(|delivery| delivery.state == "applied"));
    assert_eq!(app.company("Acme").await.fields.mrr_minor, Some(1_510_000));
}
