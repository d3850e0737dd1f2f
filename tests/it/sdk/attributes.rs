//! Discovered attributes, custom fields, `Idempotency-Key`, pages.

use halo_sync::domain::connections::KeyClass;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(
    what_is_sent_is_discovered,
    what_is_said_reaches_the_prompt,
    a_flood_of_keys_does_not_fill_the_table,
    samples_go_with_their_user,
    fields_are_defined_and_values_held_against_them,
    a_request_that_is_sent_again_is_not_done_again,
    pages_are_whole_and_cursors_are_their_own,
);

/// A key's calls.
struct Calls<'a> {
    app: &'a App,
    key: String,
}

struct Told {
    status: u16,
    headers: http::HeaderMap,
    text: String,
    json: Value,
}

impl<'a> Calls<'a> {
    async fn new(app: &'a App, class: KeyClass) -> Self {
        Self { app, key: app.key(class).await.1 }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Told {
        let url = format!("{}{path}", self.app.base);
        let mut request = self.app.http.request(method, url).bearer_auth(&self.key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Told { status, headers, json: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    async fn get(&self, path: &str) -> Value {
        let told = self.ask(Method::GET, path, &[], None).await;
        assert_eq!(told.status, 200, "{path}: {}", told.text);
        told.json
    }

    async fn identify(&self, body: Value) -> Value {
        let told = self.ask(Method::POST, "/api/sdk/users/identify", &[], Some(body)).await;
        assert_eq!(told.status, 200, "{}", told.text);
        told.json
    }

    async fn attribute(&self, scope: &str, kind: &str, key: &str) -> Value {
        let list = self
            .get(&format!("/api/settings/attributes?scope={scope}&kind={kind}&q={key}&hidden=true"))
            .await;
        list["data"].as_array().unwrap().iter().find(|one| one["key"] == key).cloned().unwrap_or_default()
    }
}

async fn what_is_sent_is_discovered(app: &App) {
    let (server, page) =
        (Calls::new(app, KeyClass::Server).await, Calls::new(app, KeyClass::Publishable).await);
    for (user, tier) in
        [("u1", json!("gold")), ("u2", json!("silver")), ("u3", json!("gold")), ("u4", json!(3))]
    {
        server
            .identify(
                json!({"user_id": user, "traits": {"tier": tier, "email": "jane@acme.example", "apiKey": "x"},
                "context": {"errors": {"label": "Issues", "type": "error", "value": []}}}),
            )
            .await;
    }
    page.identify(json!({"user_id": "u5", "traits": {"tier": "gold", "made_up": true}})).await;
    let tier = server.attribute("user", "trait", "tier").await;
    assert_eq!(
        tier["types"],
        json!({"string": 4, "number": 1, "boolean": 0, "list": 0, "object": 0, "null": 0})
    );
    assert_eq!((&tier["mixed_types"], &tier["data_type"]), (&json!(true), &json!("string")));
    assert_eq!(
        (&tier["seen"], &tier["claimed"], &tier["claimed_only"]),
        (&json!(5), &json!(1), &json!(false))
    );
    assert_eq!(tier["values"][0], json!({"value": "gold", "count": 3}));
    for (key, why) in [("email", "personal"), ("apiKey", "secret")] {
        let found = server.attribute("user", "trait", key).await;
        assert_eq!(found["sample"], format!("[redacted: {why}]"), "{found}");
        assert_eq!((&found["sample_redacted"], &found["values"]), (&json!(true), &json!([])));
    }
    assert_eq!(server.attribute("user", "trait", "made_up").await["claimed_only"], true);
    let errors = server.attribute("user", "context", "errors").await;
    assert_eq!((&errors["label"], &errors["data_type"]), (&json!("Issues"), &json!("list")));
    // Counts add up over times of storing.
    server.identify(json!({"user_id": "u1", "traits": {"tier": "gold"}})).await;
    assert_eq!(server.attribute("user", "trait", "tier").await["seen"], 6);
    let csv = server.ask(Method::GET, "/api/settings/attributes/export?format=csv", &[], None).await;
    assert!(csv.headers["content-type"].to_str().unwrap().starts_with("text/csv"));
    assert_eq!(csv.text.matches("user,trait,tier,string,true,6").count(), 1, "{}", csv.text);
    let all = server.get("/api/settings/attributes/export").await;
    assert!(all.as_array().unwrap().len() >= 5);
    assert_eq!(page.ask(Method::GET, "/api/settings/attributes", &[], None).await.status, 403);
}

async fn what_is_said_reaches_the_prompt(app: &App) {
    let server = Calls::new(app, KeyClass::Server).await;
    server.identify(json!({"user_id": "u1", "traits": {"tier": 3, "quiet": "hush"}})).await;
    let tier = server.attribute("user", "trait", "tier").await;
    let path = format!("/api/settings/attributes/{}", tier["id"].as_str().unwrap());
    let told = server.ask(Method::GET, &path, &[], None).await;
    let tag = told.headers["etag"].to_str().unwrap().to_owned();
    let change = json!({"description": "3 is the best"});
    let told = server.ask(Method::PATCH, &path, &[("if-match", &tag)], Some(change.clone())).await;
    assert_eq!((told.status, &told.json["description"]), (200, &change["description"]), "{}", told.text);
    let stale = server.ask(Method::PATCH, &path, &[("if-match", &tag)], Some(json!({"hidden": true}))).await;
    assert_eq!((stale.status, &stale.json["code"]), (412, &json!("version_conflict")));
    let quiet = server.attribute("user", "trait", "quiet").await;
    let quiet = format!("/api/settings/attributes/{}", quiet["id"].as_str().unwrap());
    let told = server.ask(Method::PATCH, &quiet, &[], Some(json!({"in_prompt": false}))).await;
    assert_eq!((&told.json["in_prompt"], &told.json["in_prompt_decided"]), (&json!(false), &json!(true)));
    app.until("what is said is in the prompt", || async {
        let text = server.get("/api/v1/users/u1/prompt").await["text"].as_str().unwrap().to_owned();
        text.contains("3 is the best") && !text.contains("hush")
    })
    .await;
    for (body, code) in [
        (json!({"description": "x".repeat(501)}), "invalid_value"),
        (json!({"descr": "x"}), "invalid_body"),
        (json!({"in_prompt": "yes"}), "invalid_body"),
    ] {
        let told = server.ask(Method::PATCH, &path, &[], Some(body)).await;
        assert_eq!((told.status, &told.json["code"]), (400, &json!(code)), "{}", told.text);
    }
    let told = server.ask(Method::PATCH, "/api/settings/attributes/atr_x", &[], Some(change)).await;
    assert_eq!(told.status, 404);
}

async fn a_flood_of_keys_does_not_fill_the_table(app: &App) {
    let (server, page) =
        (Calls::new(app, KeyClass::Server).await, Calls::new(app, KeyClass::Publishable).await);
    for batch in 0..4 {
        let traits: serde_json::Map<String, Value> =
            (0..200).map(|n| (format!("k{batch}_{n}"), json!(1))).collect();
        page.identify(json!({"user_id": "flood", "traits": traits})).await;
        server.get("/api/settings/attributes?limit=1").await;
    }
    server.identify(json!({"user_id": "u1", "traits": {"honest": 1}})).await;
    assert_eq!(server.attribute("user", "trait", "honest").await["seen"], 1);
    let all = server.get("/api/settings/attributes/export").await;
    let claimed = all.as_array().unwrap().iter().filter(|one| one["claimed_only"] == true).count();
    assert_eq!(claimed, 500);
    let list = server.get("/api/settings/attributes?limit=1").await;
    assert_eq!(list["not_recorded"][0]["refused"], 300, "{list}");
}

async fn samples_go_with_their_user(app: &App) {
    let server = Calls::new(app, KeyClass::Server).await;
    server.identify(json!({"user_id": "gone", "traits": {"motto": "unmistakable", "shared": "both"}})).await;
    server.identify(json!({"user_id": "stays", "traits": {"shared": "both"}})).await;
    assert_eq!(server.attribute("user", "trait", "motto").await["sample"], "unmistakable");
    // Held in memory when the user goes, and stored after that.
    server.identify(json!({"user_id": "gone", "traits": {"motto": "unmistakable"}})).await;
    let product = halo_sync::product::Product::new(app.store.clone(), app.services.clock.clone(), None);
    product.delete_user(&app.org, "gone").await.unwrap().unwrap();
    let motto = server.attribute("user", "trait", "motto").await;
    assert_eq!((&motto["sample"], &motto["values"]), (&Value::Null, &json!([])), "{motto}");
    assert_eq!(server.attribute("user", "trait", "shared").await["values"][0]["value"], "both");
}

async fn fields_are_defined_and_values_held_against_them(app: &App) {
    let server = Calls::new(app, KeyClass::Server).await;
    let path = "/api/settings/custom-fields";
    let field =
        json!({"scope": "user", "key": "tier", "label": "Tier", "type": "select", "options": ["gold"]});
    let told = server.ask(Method::POST, path, &[], Some(field.clone())).await;
    assert_eq!(told.status, 201, "{}", told.text);
    let own = format!("{path}/{}", told.json["id"].as_str().unwrap());
    assert_eq!(server.ask(Method::POST, path, &[], Some(field)).await.json["code"], "field_exists");
    for (bad, pointer) in [
        (json!({"scope": "user", "key": "", "label": "x", "type": "text"}), "/key"),
        (json!({"scope": "user", "key": "email", "label": "x", "type": "text"}), "/key"),
        (json!({"scope": "user", "key": "a", "label": "x", "type": "select"}), "/options"),
        (json!({"scope": "user", "key": "a", "label": "x", "type": "text", "options": ["a"]}), "/options"),
        (
            json!({"scope": "user", "key": "a", "label": "x", "type": "select", "options": ["a", "a"]}),
            "/options",
        ),
    ] {
        let told = server.ask(Method::POST, path, &[], Some(bad)).await;
        assert_eq!(
            (told.status, &told.json["errors"][0]["pointer"]),
            (400, &json!(pointer)),
            "{}",
            told.text
        );
    }
    server.identify(json!({"user_id": "u1", "traits": {"tier": "tin"}})).await;
    let tier = server.attribute("user", "trait", "tier").await;
    assert_eq!(tier["custom_field"]["misfits"], json!(["tin"]), "{tier}");
    // What comes later is counted as well.
    server.identify(json!({"user_id": "u1", "traits": {"tier": "tin"}})).await;
    assert_eq!(server.attribute("user", "trait", "tier").await["mismatches"], 1);
    let told = server.ask(Method::PATCH, &own, &[], Some(json!({"strict": true}))).await;
    assert_eq!((told.status, &told.json["strict"]), (200, &json!(true)), "{}", told.text);
    app.until("a value that does not fit is refused", || async {
        let body = json!({"user_id": "u1", "traits": {"tier": "tin"}});
        let told = server.ask(Method::POST, "/api/sdk/users/identify", &[], Some(body)).await;
        told.status == 400 && told.text.contains("traits.tier") && told.text.contains("one of: gold")
    })
    .await;
    assert_eq!(server.ask(Method::DELETE, &own, &[], None).await.status, 204);
    assert_eq!(server.ask(Method::DELETE, &own, &[], None).await.status, 404);
}

async fn a_request_that_is_sent_again_is_not_done_again(app: &App) {
    let server = Calls::new(app, KeyClass::Server).await;
    let other = Calls::new(app, KeyClass::Server).await;
    let path = "/api/settings/custom-fields";
    let field = |key: &str| Some(json!({"scope": "user", "key": key, "label": "A", "type": "text"}));
    let header = [("idempotency-key", "one")];
    let first = server.ask(Method::POST, path, &header, field("a")).await;
    assert_eq!(first.status, 201, "{}", first.text);
    assert!(!first.headers.contains_key("idempotent-replayed"));
    let again = server.ask(Method::POST, path, &header, field("a")).await;
    assert_eq!((again.status, &again.text), (201, &first.text));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let mismatch = server.ask(Method::POST, path, &header, field("b")).await;
    assert_eq!((mismatch.status, &mismatch.json["code"]), (422, &json!("idempotency_mismatch")));
    // Another key's request is another one; a refusal is not kept.
    let refused = other.ask(Method::POST, path, &header, field("a")).await;
    assert_eq!((refused.status, &refused.json["code"]), (409, &json!("field_exists")));
    assert_eq!(other.ask(Method::POST, path, &header, field("b")).await.status, 201);
    app.pass(24 * 3600 + 1);
    let late = server.ask(Method::POST, path, &header, field("a")).await;
    assert_eq!((late.status, &late.json["code"]), (409, &json!("field_exists")));
    let long = "x".repeat(256);
    let bad = server.ask(Method::POST, path, &[("idempotency-key", &long)], field("c")).await;
    assert_eq!((bad.status, &bad.json["code"]), (400, &json!("bad_idempotency_key")));
}

async fn pages_are_whole_and_cursors_are_their_own(app: &App) {
    let server = Calls::new(app, KeyClass::Server).await;
    for n in 0..7 {
        server.identify(json!({"user_id": format!("u{n}"), "traits": {format!("k{n}"): n}})).await;
    }
    for (list, member) in [("/api/settings/attributes?limit=3", "key"), ("/api/v1/users?limit=3", "id")] {
        let (mut seen, mut path) = (Vec::new(), list.to_owned());
        loop {
            let page = server.get(&path).await;
            for row in page["data"].as_array().unwrap() {
                seen.push(row[member].as_str().unwrap().to_owned());
            }
            assert_eq!(page["has_more"] == true, page["next_cursor"].is_string());
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("{list}&cursor={cursor}");
        }
        assert_eq!(seen.len(), 7, "{seen:?}");
        seen.dedup();
        assert_eq!(seen.len(), 7, "{seen:?}");
    }
    let cursor = server.get("/api/v1/users?limit=2").await["next_cursor"].as_str().unwrap().to_owned();
    for bad in [
        format!("/api/v1/companies?cursor={cursor}"),
        format!("/api/settings/attributes?cursor={cursor}"),
        "/api/v1/users?cursor=nonsense".to_owned(),
    ] {
        let told = server.ask(Method::GET, &bad, &[], None).await;
        assert_eq!((told.status, &told.json["code"]), (400, &json!("bad_cursor")), "{}", told.text);
    }
    for bad in ["limit=0", "limit=201", "limit=x", "nonsense=1"] {
        let told = server.ask(Method::GET, &format!("/api/v1/users?{bad}"), &[], None).await;
        assert_eq!((told.status, &told.json["code"]), (400, &json!("bad_parameter")), "{}", told.text);
    }
}
