//! `POST /api/sdk/chat/context` over the real router.

use halo_sync::domain::Rank;
use halo_sync::domain::companies::TraitPatch;
use halo_sync::domain::connections::KeyClass;
use halo_sync::service::Request;
use halo_sync::store::identity::{Lookup, WriteSource};
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(
    the_prompt_says_what_the_account_says,
    a_server_key_is_needed,
    what_is_wrong_with_a_body_is_named,
    a_revoked_key_stops_working,
);

async fn jane_of(app: &App, company: &str) {
    let source = WriteSource { rank: Rank::Server, source: "sdk".to_owned(), at: app.now() };
    let traits =
        |value: Value| TraitPatch { traits: value.as_object().unwrap().clone(), ..TraitPatch::default() };
    let known = app.company(company).await;
    let patch = traits(json!({"name": "Jane Doe", "email": "jane@acme.example", "role": "admin"}));
    let user = Lookup::External("user_1".to_owned());
    app.store.put_user(&app.org, &user, &patch, Some(&known.id), &source).await.unwrap();
}

async fn the_prompt_says_what_the_account_says(app: &App) {
    app.price("Starter", 2_900);
    let (_, subscription) = app.customer("Acme", "Starter");
    app.connected().await;
    app.lose_events();
    jane_of(app, "Acme").await;
    let (_, key) = app.key(KeyClass::Server).await;
    let body = json!({"user_id": "user_1"});
    let (status, answer) = app.chat(Some(&key), &body).await;
    assert_eq!(status, 200, "{answer}");
    let text = answer["text"].as_str().unwrap();
    for part in ["[User Profile]", "Jane Doe", "[Company: Acme]", "Plan: Starter", "MRR: 29.00 USD"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(answer.get("explain").is_none());

    app.sandbox
        .change(
            connector_testkit::sandbox::stripe::Kind::Subscriptions,
            &subscription,
            "customer.subscription.updated",
            |doc| doc["items"][0]["quantity"] = json!(2),
        )
        .unwrap();
    app.deliver_all(&app.sandbox.take_events()).await;
    app.drain().await;
    let (_, answer) = app.chat(Some(&key), &body).await;
    assert!(answer["text"].as_str().unwrap().contains("MRR: 58.00 USD"), "{answer}");

    let (_, explained) = app.chat(Some(&key), &json!({"user_id": "user_1", "explain": true})).await;
    assert!(explained["explain"].is_object(), "{explained}");
    let (_, short) = app.chat(Some(&key), &json!({"user_id": "user_1", "budget_tokens": 20})).await;
    assert!(short["tokens"].as_u64().unwrap() <= 20, "{short}");
    assert_ne!(short["trimmed"], answer["trimmed"]);
    // Nobody is no error.
    let (status, nobody) = app.chat(Some(&key), &json!({"user_id": "nobody"})).await;
    assert_eq!((status, &nobody["user_id"]), (200, &Value::Null));
}

async fn a_server_key_is_needed(app: &App) {
    let body = json!({"user_id": "user_1"});
    let (_, publishable) = app.key(KeyClass::Publishable).await;
    for (key, expected) in [
        (None, 401),
        (Some("hs_server_000000000000000000000000000000000000000000000000"), 401),
        (Some(publishable.as_str()), 403),
    ] {
        let (status, answer) = app.chat(key, &body).await;
        assert_eq!(status, expected, "{answer}");
        assert!(answer["code"].is_string() && answer["request_id"].is_string(), "{answer}");
    }
    let (_, key) = app.key(KeyClass::Server).await;
    assert_eq!(app.chat(Some(&key), &body).await.0, 200);
}

async fn what_is_wrong_with_a_body_is_named(app: &App) {
    let (_, key) = app.key(KeyClass::Server).await;
    for (body, member) in [
        (json!({"user_id": 3}), "user_id"),
        (json!({"custom_fields": "x"}), "custom_fields"),
        (json!({"custom_fields": {"x": "y".repeat(10_001)}}), "custom_fields"),
        (json!({"context": {"a": {"type": "text"}}}), "context"),
        (json!({"budget_tokens": "many"}), "budget_tokens"),
    ] {
        let (status, answer) = app.chat(Some(&key), &body).await;
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(answer.to_string().contains(member), "{member}: {answer}");
    }
}

async fn a_revoked_key_stops_working(app: &App) {
    let (id, key) = app.key(KeyClass::Server).await;
    assert_eq!(app.chat(Some(&key), &json!({})).await.0, 200);
    app.execute(Request::RevokeKey { key: id.as_str().into() }).await.unwrap();
    let revoked = tokio::time::Instant::now();
    app.until("the key stops", || async { app.chat(Some(&key), &json!({})).await.0 == 401 }).await;
    assert!(revoked.elapsed() < std::time::Duration::from_secs(1), "{:?}", revoked.elapsed());
}
