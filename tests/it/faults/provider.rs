//! A provider that refuses, is away, or answers nonsense.

use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::stripe::Kind;
use halo_sync::domain::connections::ConnectionStatus;
use halo_sync::domain::jobs::JobState;
use halo_sync::domain::runs::RunStatus;
use halo_sync::service::{FailureKind, Request};
use serde_json::json;

use crate::support::app::{App, STRIPE, on_both};

on_both!(
    a_wrong_key_connects_nothing,
    a_key_that_is_revoked_mid_run_asks_for_a_person,
    webhooks_wait_while_the_key_is_refused,
    a_missing_permission_skips_one_stream,
    a_run_goes_on_from_the_last_committed_page,
    answers_that_make_no_sense_are_asked_for_again,
    a_provider_that_asks_to_wait_is_waited_for,
    a_record_that_does_not_decode_is_set_aside,
);

async fn a_wrong_key_connects_nothing(app: &App) {
    let mut request = app.connect_request(&json!({}));
    request.secrets = vec![("api_key".to_owned(), concat!("sk_test", "_wrong").to_owned().into())];
    let failure = app.execute(Request::Connect(request)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Credentials, "{failure:?}");
    assert!(failure.hint.is_some());
    assert!(!format!("{failure:?}").contains("_wrong"), "{failure:?}");
    assert!(app.store.list_connections(None).await.unwrap().is_empty());
}

async fn a_key_that_is_revoked_mid_run_asks_for_a_person(app: &App) {
    app.sandbox.seed_customers(250);
    app.connect(json!({"page_size": 50})).await;
    app.until("a page is read", || async { app.sandbox.calls("GET /v1/customers") > 2 }).await;
    app.sandbox.revoke_key();
    app.drain().await;
    app.expect_dead("credentials");
    let connection = app.connection().await;
    assert_eq!(connection.status, ConnectionStatus::NeedsAttention);
    let run = app.last_run().await;
    assert_eq!(run.status, RunStatus::Failed);
    assert!(run.finished_at.is_some() && run.error.is_some_and(|why| why.contains("credentials")));
    assert!(connection.status_reason.is_some());

    // Nothing asks again by itself: neither retries, nor scans, nor the schedule.
    app.sandbox.reset_calls();
    for _ in 0..4 {
        app.pass(3_600);
        app.runtime.reconcile().await.unwrap();
        app.drain().await;
    }
    assert!(app.sandbox.all_calls().is_empty(), "{:?}", app.sandbox.all_calls());
    assert_eq!(app.jobs(JobState::Dead).await.len(), 1);
}

async fn webhooks_wait_while_the_key_is_refused(app: &App) {
    app.price("Starter", 2_900);
    let (_, subscription) = app.customer("Acme", "Starter");
    app.connected().await;
    app.lose_events();
    app.sandbox
        .change(Kind::Subscriptions, &subscription, "customer.subscription.updated", |doc| {
            doc["items"][0]["quantity"] = json!(2);
        })
        .unwrap();
    // Refused for a while: the calls below are the only ones.
    app.sandbox.faults().add(FaultRule::always("/v1/subscriptions", Fault::Status(401)));
    app.deliver_all(&app.sandbox.take_events()).await;
    app.drain().await;
    assert_eq!(app.connection().await.status, ConnectionStatus::NeedsAttention);
    app.sandbox.reset_calls();
    for _ in 0..4 {
        app.pass(60);
        app.runtime.reconcile().await.unwrap();
        app.drain().await;
    }
    assert!(app.sandbox.all_calls().is_empty(), "{:?}", app.sandbox.all_calls());
    let pending = app.deliveries().await;
    assert_eq!((pending.len(), pending[0].state.as_str()), (1, "pending"));

    // A check that goes well wakes it, and what waited is applied.
    app.sandbox.faults().clear();
    app.execute(Request::CheckConnection { connection: STRIPE.to_owned() }).await.unwrap();
    app.drain().await;
    assert_eq!(app.connection().await.status, ConnectionStatus::Active);
    assert_eq!(app.deliveries().await[0].state, "applied");
    assert_eq!(app.company("Acme").await.fields.mrr_minor, Some(5_800));
}

async fn a_missing_permission_skips_one_stream(app: &App) {
    app.price("Starter", 2_900);
    app.customer("Acme", "Starter");
    app.sandbox.forbid("disputes", true);
    app.connected().await;
    let run = app.last_run().await;
    assert_eq!(run.status, RunStatus::Incomplete);
    for stream in &run.streams {
        let expected = if stream.stream == "disputes" { "skipped" } else { "done" };
        assert_eq!(stream.state, expected, "{stream:?}");
    }
    assert!(run.error.unwrap().contains("rak_dispute"));
    assert_eq!(app.company("Acme").await.fields.mrr_minor, Some(2_900));
    app.sandbox.forbid("disputes", false);
    assert_eq!(app.sync(false).await.status, RunStatus::Succeeded);
}

async fn a_run_goes_on_from_the_last_committed_page(app: &App) {
    app.sandbox.seed_customers(200);
    // Away from the fourth page of customers on, for three tries at least: up to four ranges are read at once.
    let away = FaultRule { path: "/v1/customers".into(), skip: 3, times: 12, fault: Fault::Status(503) };
    let mut request = app.connect_request(&json!({"page_size": 20}));
    request.backfill = false;
    app.execute(Request::Connect(request)).await.unwrap();
    app.sandbox.faults().add(away);
    let run = app.begin_sync(true).await;
    app.drain().await;
    let waiting = app.jobs(JobState::Ready).await;
    assert!(waiting.iter().any(|job| job.attempts > 0 && job.error.is_some()), "it waits: {waiting:#?}");
    app.drain_retries().await;
    let run = app.run(&run).await;
    assert_eq!(run.status, RunStatus::Succeeded, "{run:#?}");
    let customers = run.streams.iter().find(|stream| stream.stream == "customers").unwrap();
    // Each record once: no page that was committed is read again.
    assert_eq!((customers.counts.read, customers.counts.created), (200, 200));
    assert_eq!(app.companies().await.len(), 200);
}

async fn answers_that_make_no_sense_are_asked_for_again(app: &App) {
    app.price("Starter", 2_900);
    app.customer("Acme", "Starter");
    app.connected().await;
    for fault in [
        Fault::Html,
        Fault::Garbage,
        Fault::ErrorWith200,
        Fault::CutBody,
        Fault::NoBody,
        Fault::TruncatedJson,
        Fault::Status(500),
    ] {
        app.sandbox.faults().add(FaultRule::next("/v1/subscriptions", fault.clone()));
        let run = app.begin_sync(true).await;
        app.drain_retries().await;
        let run = app.run(&run).await;
        assert_eq!(run.status, RunStatus::Succeeded, "{fault:?}: {run:#?}");
        let deleted: i64 = run.streams.iter().map(|stream| stream.counts.deleted).sum();
        assert_eq!(deleted, 0, "{fault:?}");
        assert_eq!(app.company("Acme").await.fields.mrr_minor, Some(2_900), "{fault:?}");
    }
}

async fn a_provider_that_asks_to_wait_is_waited_for(app: &App) {
    app.price("Starter", 2_900);
    app.customer("Acme", "Starter");
    app.connected().await;
    let wait = Fault::TooManyRequests { retry_after: Some("90".to_owned()) };
    app.sandbox.faults().add(FaultRule::next("/v1/subscriptions", wait));
    let begun = app.now();
    let run = app.begin_sync(true).await;
    app.drain().await;
    let waiting = app.jobs(JobState::Ready).await;
    assert_eq!(waiting.len(), 1, "{waiting:#?}");
    assert_eq!((waiting[0].attempts, waiting[0].error.as_deref()), (0, None), "no attempt is spent");
    let wait = (waiting[0].at - begun).num_seconds();
    assert!((90..100).contains(&wait), "{wait}");
    app.drain_retries().await;
    assert_eq!(app.run(&run).await.status, RunStatus::Succeeded);
}

async fn a_record_that_does_not_decode_is_set_aside(app: &App) {
    app.price("Starter", 2_900);
    app.customer("Acme", "Starter");
    app.sandbox.faults().add(FaultRule {
        path: "/v1/subscriptions".into(),
        skip: 1, // the check's call
        times: 1,
        fault: Fault::BadItem,
    });
    let connection = app.connected().await;
    let run = app.last_run().await;
    assert_eq!(run.status, RunStatus::Incomplete);
    let stream = run.streams.iter().find(|stream| stream.stream == "subscriptions").unwrap();
    assert_eq!((stream.state.as_str(), stream.counts.rejected, stream.counts.created), ("done", 1, 1));
    let rejected = app.store.list_rejected(&app.org, Some(&connection.id), 10).await.unwrap();
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].stream, "subscriptions");
    assert!(!rejected[0].reason.is_empty() && rejected[0].payload.contains("undecodable"), "{rejected:?}");
    assert_eq!(app.company("Acme").await.fields.mrr_minor, Some(2_900), "the page went on");
}
