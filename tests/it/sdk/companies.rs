//! Companies: `identify` and `update`.

use halo_sync::domain::companies::Company;
use halo_sync::store::identity::Lookup;
use reqwest::Method;
use serde_json::{Value, json};

use super::kit::{Client, user};
use crate::support::app::{App, on_both};

on_both!(
    identify_makes_the_company_and_links_the_user,
    a_claimed_link_overrides_no_other,
    every_reserved_key_of_a_company_is_named,
    wrong_fields_of_a_company_are_named,
    many_companies_are_updated_at_once,
    amounts_of_two_currencies_are_never_mixed,
    config_is_shown_by_org_id_or_key,
);

async fn company(app: &App, id: &str) -> Company {
    app.store.find_company(&app.org, &Lookup::External(id.to_owned())).await.unwrap().expect(id)
}

async fn identify_makes_the_company_and_links_the_user(app: &App) {
    let client = Client::server(app).await;
    let body = json!({"company_id": "company_456", "user_id": "user_123", "traits": {"name": "Acme Corp",
        "plan": "enterprise", "industry": "SaaS", "employee_count": 150, "domain": "https://www.ACME.example/",
        "signed_up_at": "2024-08-12T15:32:00Z", "space_id": "space_789", "mrr": 1299.95},
        "context": {"integrations": {"label": "Connected Integrations", "type": "integration", "value": {}}}});
    let answer = client.done("companies/identify", body).await;
    let stored = company(app, "company_456").await;
    for (member, expected) in [
        ("id", json!(stored.id)),
        ("status", json!("created")),
        ("external_id", json!("company_456")),
        ("company_id", json!("company_456")),
        ("user_id", json!("user_123")),
        ("domain", json!("acme.example")),
        ("employee_count", json!(150)),
        ("signed_up_at", json!("2024-08-12T15:32:00.000000+00:00")),
        ("mrr", json!(1299.95)),
        ("mrr_currency", json!("USD")),
        ("custom_fields", json!({"space_id": "space_789"})),
    ] {
        assert_eq!(answer[member], expected, "{member}: {answer}");
    }
    assert_eq!(user(app, "user_123").await.unwrap().company_id, Some(stored.id.clone()));
    // Once and for all, and many of one company.
    client.done("users/identify", json!({"user_id": "user_123", "traits": {"a": 1}})).await;
    client.done("companies/identify", json!({"company_id": "company_456", "user_id": "second"})).await;
    client.done("companies/identify", json!({"company_id": "company_456"})).await;
    for id in ["user_123", "second"] {
        assert_eq!(user(app, id).await.unwrap().company_id, Some(stored.id.clone()));
    }
    app.drain().await;
    assert_eq!(company(app, "company_456").await.fields.team_size, Some(2));
}

async fn a_claimed_link_overrides_no_other(app: &App) {
    let (server, browser) = (Client::server(app).await, Client::browser(app).await);
    browser.done("companies/identify", json!({"company_id": "first", "user_id": "u"})).await;
    let first = company(app, "first").await.id;
    assert_eq!(user(app, "u").await.unwrap().company_id, Some(first));
    // Within a rank the later wins.
    browser.done("companies/identify", json!({"company_id": "second", "user_id": "u"})).await;
    let second = company(app, "second").await.id;
    assert_eq!(user(app, "u").await.unwrap().company_id, Some(second));
    server.done("companies/identify", json!({"company_id": "real", "user_id": "u"})).await;
    let real = company(app, "real").await.id;
    browser.done("companies/identify", json!({"company_id": "first", "user_id": "u"})).await;
    browser.done("users/identify", json!({"company_id": "first", "user_id": "u"})).await;
    assert_eq!(user(app, "u").await.unwrap().company_id, Some(real));
}

async fn every_reserved_key_of_a_company_is_named(app: &App) {
    let client = Client::server(app).await;
    let keys = [
        "id",
        "external_id",
        "org_id",
        "created_at",
        "updated_at",
        "health_score",
        "team_size",
        "last_contacted_at",
    ];
    let traits: serde_json::Map<String, Value> =
        keys.iter().map(|key| ((*key).to_owned(), json!(1))).collect();
    let body = json!({"company_id": "c", "traits": traits});
    let answer = client.refused("companies/identify", body, (400, "reserved_keys")).await;
    for key in keys {
        assert!(answer["reserved_keys"].as_array().unwrap().contains(&json!(key)), "{key}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(key), "{key}: {answer}");
    }
    assert_eq!(answer["reserved_keys"].as_array().unwrap().len(), keys.len());
    // What is a user's link is a company's own trait.
    client
        .done("companies/identify", json!({"company_id": "c", "traits": {"company_id": "x", "last_seen": 1}}))
        .await;
}

async fn wrong_fields_of_a_company_are_named(app: &App) {
    let client = Client::server(app).await;
    let body = json!({"company_id": "c", "traits": {"employee_count": 1.5, "domain": "not a domain", "plan": 1,
        "renewal_status": "Renewed", "contract_term": "yearly", "signed_up_at": "2024-13-01", "arr": "1"}});
    let answer = client.refused("companies/identify", body, (400, "invalid_field")).await;
    assert_eq!(answer["errors"].as_array().unwrap().len(), 7, "{answer}");
    let big = json!({"company_id": "c", "traits": {"t": "x".repeat(50_000)}});
    client.refused("companies/identify", big, (413, "payload_too_large")).await;
    client.done("companies/identify", json!({"company_id": "c", "traits": {"t": "x".repeat(49_000)}})).await;
}

async fn many_companies_are_updated_at_once(app: &App) {
    let client = Client::server(app).await;
    let all: Vec<Value> = (0..600)
        .map(|n| json!({"company_id": format!("c{n}"), "user_id": format!("u{n}"), "traits": {"plan": "pro", "n": n}}))
        .collect();
    let answer = client.done("companies/update", json!({"companies": all})).await;
    assert_eq!((&answer["created"], &answer["total"]), (&json!(600), &json!(600)), "{answer}");
    let answer = client.done("companies/update", json!({"companies": all})).await;
    assert_eq!(answer["unchanged"], 600, "{}", answer["results"][0]);
    assert_eq!(user(app, "u599").await.unwrap().company_id, Some(company(app, "c599").await.id));
    let body = r#"{"update_only": true, "companies": [{"company_id": "c1", "traits": {"health_score": 3}},
        {"company_id": "none"}, {"company_id": "c2", "traits": {"plan": "team"}}]}"#;
    let (_, answer) = client.send(Method::POST, "companies/update", body.as_bytes().to_vec()).await;
    assert_eq!(
        (&answer["rejected"], &answer["skipped"], &answer["updated"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(company(app, "c2").await.fields.plan.as_deref(), Some("team"));
    Client::browser(app)
        .await
        .refused("companies/update", json!({"companies": []}), (403, "identity_required"))
        .await;
}

async fn amounts_of_two_currencies_are_never_mixed(app: &App) {
    let (server, browser) = (Client::server(app).await, Client::browser(app).await);
    app.price("Starter", 2_900);
    let (customer, _) = app.customer("Acme", "Starter");
    app.connected().await;
    app.lose_events();
    let synced = app.company("Acme").await;
    app.run_sql("UPDATE companies SET mrr_currency = 'eur', external_id = 'acme'").await;
    // A claim in dollars leaves the euros that were read from the provider as they are, currency and all.
    browser
        .done("companies/identify", json!({"company_id": "acme", "traits": {"mrr": 5, "arr": 60, "x": 1}}))
        .await;
    let stored = company(app, "acme").await;
    assert_eq!(
        (stored.fields.mrr_minor, stored.fields.mrr_currency.as_deref()),
        (synced.fields.mrr_minor, Some("eur"))
    );
    assert_eq!(stored.custom_fields["x"], 1, "{customer}");
    // A server's amount takes the other, older one of another currency with it.
    server.done("companies/identify", json!({"company_id": "acme", "traits": {"mrr": 5}})).await;
    let stored = company(app, "acme").await;
    assert_eq!(
        (stored.fields.mrr_minor, stored.fields.arr_minor, stored.fields.mrr_currency.as_deref()),
        (Some(500), None, Some("usd"))
    );
    app.drain().await;
}

async fn config_is_shown_by_org_id_or_key(app: &App) {
    let client = Client::browser(app).await;
    let (status, answer) = client.send(Method::GET, "config", Vec::new()).await;
    assert_eq!((status, &answer["organization"]["id"]), (200, &json!(app.org)), "{answer}");
    assert_eq!(answer["organization"]["settings"]["reporting_currency"], "USD");
    assert!(answer["agent"]["flow_config"]["steps"].is_array(), "{answer}");
    let get = |query: &str| app.http.get(format!("{}/api/sdk/config{query}", app.base)).send();
    assert_eq!(get(&format!("?org_id={}", app.org)).await.unwrap().status(), 200);
    for (query, status) in
        [("", 400), ("?org_id=org_none", 404), ("?org_id=%00", 404), ("?org_id=a'b", 404), ("?org_id=", 404)]
    {
        assert_eq!(get(query).await.unwrap().status(), status, "{query}");
    }
}
