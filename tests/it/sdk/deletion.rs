//! Deletion: nothing is left, and nothing comes back.

use halo_sync::store::identity::Lookup;
use reqwest::Method;
use serde_json::json;

use super::kit::{Client, user};
use crate::support::app::{App, on_both};

on_both!(
    nothing_of_a_company_is_left_and_the_next_page_brings_nothing_back,
    nothing_of_a_user_is_left,
    a_company_goes_and_its_users_stay,
    only_a_server_deletes_and_only_what_is_its_organisations,
);

async fn nothing_of_a_company_is_left_and_the_next_page_brings_nothing_back(app: &App) {
    let server = Client::server(app).await;
    let company = json!({"company_id": "canary-company", "traits": {"name": "Canary Industries", "domain": "canary.example",
        "secret_note": "canary-trait"}, "context": {"canary-key": {"label": "Canary label", "value": "canary-value"}}});
    server.done("companies/identify", company).await;
    app.price("Starter", 2_900);
    let customer = app.call(
        "POST",
        "/v1/customers",
        json!({"name": "Canary Billing", "email": "billing@canary.example", "metadata": {"company_id": "canary-company"}}),
    );
    let customer = customer["id"].as_str().unwrap().to_owned();
    let form = json!({"customer": customer, "items": [{"price": "price_Starter"}]});
    let subscription = app.call("POST", "/v1/subscriptions", form)["id"].as_str().unwrap().to_owned();
    let (other, _) = app.customer("Neighbour", "Starter");
    app.connect(json!({})).await;
    app.drain().await;
    app.deliver_all(&app.sandbox.take_events()).await;
    app.drain().await;
    let canaries = ["canary", customer.as_str(), subscription.as_str()];
    let held = app.holding(&canaries).await;
    for table in
        ["companies", "company_links", "mirror_records", "deliveries", "company_derivations", "field_changes"]
    {
        assert!(
            held.iter().any(|place| place.contains(&format!(" in {table}:"))),
            "{table} holds nothing: {held:#?}"
        );
    }
    assert_eq!(app.company("Canary Industries").await.fields.plan.as_deref(), Some("Starter"));

    let (status, answer) = server.delete("companies/canary-company").await;
    assert_eq!((status, &answer["deleted"]), (200, &json!(true)), "{answer}");
    assert_eq!(answer["erased"]["parties"], 1, "{answer}");
    assert!(answer["erased"]["records"].as_i64().unwrap() >= 2, "{answer}");
    assert_eq!(app.holding(&canaries).await, [""; 0]);
    assert_eq!(server.delete("companies/canary-company").await.0, 404);

    // Neither a full read nor an event brings it back; the neighbour is as it was.
    app.pass(120);
    app.sync(true).await;
    app.call("POST", &format!("/v1/customers/{customer}"), json!({"name": "Canary Returned"}));
    app.deliver_all(&app.sandbox.take_events()).await;
    app.drain().await;
    let held: Vec<String> = app.holding(&canaries).await;
    let beside_the_inbox: Vec<&String> =
        held.iter().filter(|place| !place.contains(" in deliveries:")).collect();
    assert_eq!(beside_the_inbox, [""; 0]);
    assert!(app.record("customers", &other).await.is_some());
    assert_eq!(app.company("Neighbour").await.fields.plan.as_deref(), Some("Starter"));
}

async fn nothing_of_a_user_is_left(app: &App) {
    let server = Client::server(app).await;
    server.done("companies/identify", json!({"company_id": "acme", "traits": {"name": "Acme"}})).await;
    let user = json!({"user_id": "canary-user", "company_id": "acme", "session_id": "canary-session",
        "traits": {"name": "Canary Person", "email": "Canary@person.example", "phone": "canary-phone"},
        "context": {"canary-key": {"label": "Canary label", "value": "canary-value"}}});
    server.done("users/identify", user).await;
    app.price("Starter", 2_900);
    // A customer that nothing but the user's address leads to the company.
    let form = json!({"name": "Canary Person", "email": "canary@person.example"});
    app.call("POST", "/v1/customers", form);
    app.connect(json!({})).await;
    app.drain().await;
    app.deliver_all(&app.sandbox.take_events()).await;
    app.drain().await;
    let held = app.holding(&["canary"]).await;
    for table in ["end_users", "company_keys", "company_links", "mirror_records", "deliveries"] {
        assert!(
            held.iter().any(|place| place.contains(&format!(" in {table}:"))),
            "{table} holds nothing: {held:#?}"
        );
    }
    let (status, answer) = server.delete("users/canary-user").await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(app.holding(&["canary"]).await, [""; 0]);
    app.pass(120);
    app.sync(true).await;
    assert_eq!(app.holding(&["canary"]).await, [""; 0]);
    assert_eq!(app.company("Acme").await.fields.team_size.unwrap_or(0), 0);
}

async fn a_company_goes_and_its_users_stay(app: &App) {
    let server = Client::server(app).await;
    for id in ["a", "b"] {
        server.done("users/identify", json!({"user_id": id, "company_id": "gone/ 100%", "traits": {"email": format!("{id}@x.example")}})).await;
    }
    app.drain().await;
    let answer = server.done("companies/delete", json!({"company_id": "gone/ 100%"})).await;
    assert_eq!(answer["erased"]["users_unlinked"], 2, "{answer}");
    for id in ["a", "b"] {
        assert_eq!(user(app, id).await.unwrap().company_id, None);
    }
    assert_eq!(app.dump("company_keys").await, [""; 0]);
    // The name is free again, and begins anew.
    let answer = server.done("companies/identify", json!({"company_id": "gone/ 100%", "user_id": "a"})).await;
    assert_eq!(answer["status"], "created");
    assert!(user(app, "a").await.unwrap().company_id.is_some());
    let (status, _) = server.delete("companies/gone%2F%20100%25").await;
    assert_eq!(status, 200);
    app.drain().await;
}

async fn only_a_server_deletes_and_only_what_is_its_organisations(app: &App) {
    let (server, browser) = (Client::server(app).await, Client::browser(app).await);
    server.done("users/identify", json!({"user_id": "u"})).await;
    for (method, path, body) in [
        (Method::DELETE, "users/u", ""),
        (Method::DELETE, "companies/u", ""),
        (Method::POST, "users/delete", r#"{"user_id": "u"}"#),
        (Method::POST, "companies/delete", "not even JSON"),
    ] {
        let (status, answer) = browser.send(method, path, body.as_bytes().to_vec()).await;
        assert_eq!((status, &answer["code"]), (403, &json!("server_key_needed")), "{path}");
    }
    assert!(user(app, "u").await.is_some());
    assert_eq!(server.delete("users/nobody").await.0, 404);
    let (status, answer) = server.delete("users/%ff").await;
    assert_eq!(status, 400, "{answer}");
    server.refused("users/delete", json!({}), (400, "invalid_body")).await;
    let elsewhere = app.store.erase_user(&"org_b".into(), &Lookup::External("u".to_owned()), app.now()).await;
    assert_eq!(elsewhere.unwrap(), None);
    assert_eq!(server.delete("users/u").await.0, 200);
    assert_eq!(user(app, "u").await, None);
}
