//! Context: `set` and `clear`.

use halo_sync::store::identity::Lookup;
use serde_json::json;

use super::kit::{Client, user};
use crate::support::app::{App, on_both};

on_both!(
    entries_are_set_and_cleared,
    a_companys_context_is_set_and_derived_entries_stay,
    a_browser_clears_what_it_claimed,
    what_is_wrong_with_a_context_call_is_named,
);

async fn entries_are_set_and_cleared(app: &App) {
    let client = Client::server(app).await;
    client.done("users/identify", json!({"user_id": "u"})).await;
    let seen = user(app, "u").await.unwrap().last_seen;
    app.pass(5);
    let entry = |value: i64| json!({"label": "L", "type": "metric", "value": value});
    client.done("context/set", json!({"user_id": "u", "context": {"a": entry(1), "b": entry(2)}})).await;
    let answer = client.done("context/set", json!({"user_id": "u", "key": "c", "entry": entry(3)})).await;
    assert_eq!(answer["user_id"], "u");
    let stored = user(app, "u").await.unwrap();
    assert_eq!(stored.context.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(stored.last_seen, seen);
    let answer = client.done("context/clear", json!({"user_id": "u", "key": "b"})).await;
    assert_eq!(answer["cleared"], json!(["b"]));
    assert_eq!(client.done("context/clear", json!({"user_id": "u", "key": "b"})).await["cleared"], json!([]));
    let answer = client.done("context/clear", json!({"user_id": "u", "all": true})).await;
    assert_eq!(answer["cleared"], json!(["a", "c"]));
    assert!(user(app, "u").await.unwrap().context.is_empty());
    // Nobody is made by clearing; somebody is by setting, for the calls of a page may overtake each other.
    client.done("context/clear", json!({"user_id": "v", "all": true})).await;
    assert_eq!(user(app, "v").await, None);
    client.done("context/set", json!({"user_id": "v", "context": {"a": entry(1)}})).await;
    assert_eq!(user(app, "v").await.unwrap().context["a"].value, 1);
}

async fn a_companys_context_is_set_and_derived_entries_stay(app: &App) {
    app.price("Starter", 2_900);
    app.customer("Acme", "Starter");
    app.connected().await;
    app.lose_events();
    app.run_sql("UPDATE companies SET external_id = 'acme'").await;
    let client = Client::server(app).await;
    let derived = app.company("Acme").await.context;
    assert!(!derived.is_empty());
    let entry = json!({"label": "L", "value": [1]});
    client.done("context/set", json!({"company_id": "acme", "context": {"a": entry}})).await;
    assert_eq!(app.company("Acme").await.context.len(), derived.len() + 1);
    let answer = client.done("context/clear", json!({"company_id": "acme", "all": true})).await;
    assert_eq!(answer["cleared"], json!(["a"]));
    assert_eq!(app.company("Acme").await.context, derived);
    let key = derived.keys().next().unwrap();
    client.refused("context/clear", json!({"company_id": "acme", "key": key}), (400, "invalid_field")).await;
    client
        .refused(
            "context/set",
            json!({"company_id": "acme", "key": key, "entry": entry}),
            (400, "invalid_field"),
        )
        .await;
}

async fn a_browser_clears_what_it_claimed(app: &App) {
    let (server, browser) = (Client::server(app).await, Client::browser(app).await);
    let entry = |value: &str| json!({"label": "L", "value": value});
    server.done("context/set", json!({"user_id": "u", "context": {"ours": entry("x")}})).await;
    browser
        .done(
            "context/set",
            json!({"user_id": "u", "context": {"ours": entry("forged"), "mine": entry("y")}}),
        )
        .await;
    let answer = browser.done("context/clear", json!({"user_id": "u", "all": true})).await;
    assert!(answer.get("cleared").is_none(), "{answer}");
    let stored = user(app, "u").await.unwrap();
    assert_eq!((stored.context.len(), &stored.context["ours"].value), (1, &json!("x")));
}

async fn what_is_wrong_with_a_context_call_is_named(app: &App) {
    let client = Client::server(app).await;
    let entry = json!({"label": "L", "value": 1});
    for (path, body, code) in [
        ("context/set", json!({"context": {"a": entry}}), "missing_field"),
        ("context/set", json!({"user_id": "u"}), "invalid_body"),
        ("context/set", json!({"user_id": "u", "company_id": "c", "context": {"a": entry}}), "invalid_body"),
        (
            "context/set",
            json!({"user_id": "u", "scope": "company", "context": {"a": entry}}),
            "missing_field",
        ),
        ("context/set", json!({"user_id": "u", "scope": "org", "context": {"a": entry}}), "invalid_body"),
        (
            "context/set",
            json!({"user_id": "u", "context": {"a": {"label": "L", "type": "x", "value": 1}}}),
            "invalid_field",
        ),
        ("context/set", json!({"user_id": "u", "context": {"": entry}}), "invalid_field"),
        ("context/clear", json!({"user_id": "u"}), "invalid_body"),
        ("context/clear", json!({"user_id": "u", "key": "a", "all": true}), "invalid_body"),
        ("context/clear", json!({"key": "a"}), "missing_field"),
    ] {
        client.refused(path, body, (400, code)).await;
    }
    assert_eq!(user(app, "u").await, None);
    let both = json!({"user_id": "u", "company_id": "c", "scope": "company", "context": {"a": entry}});
    client.done("context/set", both).await;
    assert_eq!(user(app, "u").await, None);
    let company = app.store.find_company(&app.org, &Lookup::External("c".to_owned())).await.unwrap().unwrap();
    assert_eq!(company.context["a"].value, 1);
}
