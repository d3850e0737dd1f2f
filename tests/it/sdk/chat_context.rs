//! `POST /api/sdk/chat/context`.

use halo_sync::domain::Rank;
use halo_sync::domain::companies::TraitPatch;
use halo_sync::domain::connections::KeyClass;
use halo_sync::store::identity::{Lookup, WriteSource};
use serde_json::{Value, json};

use super::{call, post};
use crate::support::app::{App, on_both};

on_both!(
    the_whole_body_of_the_reference_is_taken,
    every_limit_is_named_with_what_was_measured,
    a_browser_learns_nothing,
    every_value_says_where_it_comes_from,
    an_unchanged_view_is_not_rendered_again,
    the_users_link_goes_before_the_named_company,
);

pub(super) async fn put_user(app: &App, id: &str, traits: Value, company: Option<&str>, rank: Rank) {
    let source = WriteSource { rank, source: "sdk".to_owned(), at: app.now() };
    let patch =
        |value: &Value| TraitPatch { traits: value.as_object().unwrap().clone(), ..TraitPatch::default() };
    let by = |id: &str| Lookup::External(id.to_owned());
    let linked = match company {
        Some(company) => Some(put_company(app, company, json!({})).await),
        None => None,
    };
    app.store.put_user(&app.org, &by(id), &patch(&traits), linked.as_ref(), &source).await.unwrap();
    // What follows from it (the company's team size) is there when a test goes on.
    app.drain().await;
}

pub(super) async fn put_company(app: &App, id: &str, traits: Value) -> halo_sync::domain::CompanyId {
    let source = WriteSource { rank: Rank::Server, source: "sdk".to_owned(), at: app.now() };
    let patch = TraitPatch { traits: traits.as_object().unwrap().clone(), ..TraitPatch::default() };
    let by = Lookup::External(id.to_owned());
    let company = app.store.put_company(&app.org, &by, &patch, &source).await.unwrap();
    app.drain().await;
    company.id
}

async fn the_whole_body_of_the_reference_is_taken(app: &App) {
    put_company(app, "acme", json!({"name": "Acme", "plan": "Pro"})).await;
    put_user(app, "jane", json!({"name": "Jane", "tier": 1}), Some("acme"), Rank::Server).await;
    let (_, key) = app.key(KeyClass::Server).await;
    let body = json!({
        "user_id": "jane", "session_id": "s1", "mode": "voice", "agent_id": "helper", "images": ["x"],
        "message": {"anything": 1}, "conversation_history": 7,
        "custom_fields": {"tier": 2}, "context": {"cart": {"label": "Cart", "type": "metric", "value": {"items": 3}}},
        "behavior_context": "Viewed pricing\nClicked [Upgrade]",
    });
    let (status, answer) = call(app, "chat/context", &key, &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer["text"],
        "[User Profile]\nName: Jane\nTier: 2\n\n[Company: Acme]\nPlan: Pro\n\n[Cart] (metric)\nItems: 3\n\n\
         [Behavior Context]\n- Viewed pricing\n- \"Clicked [Upgrade]\""
    );
    assert_eq!(answer["document"]["user"], json!({"name": "Jane", "tier": 2}));
    assert_eq!(answer["document"]["company"]["plan"], "Pro");
    assert_eq!(answer["document"]["context"]["user"]["cart"]["value"], json!({"items": 3}));
    let sections = answer["sections"].as_array().unwrap();
    assert_eq!(sections.len(), 4);
    assert_eq!(sections[3]["name"], "[Behavior Context]");
    assert!(sections.iter().all(|section| section["tokens"].as_u64().unwrap() > 0), "{sections:?}");
    // Nobody, with what the request brings.
    for nobody in
        [json!({}), json!({"user_id": "anonymous"}), json!({"user_id": ""}), json!({"user_id": "?"})]
    {
        let mut body = nobody.clone();
        body["custom_fields"] = json!({"locale": "de"});
        let (status, answer) = call(app, "chat/context", &key, &body).await;
        assert_eq!((status, &answer["text"]), (200, &json!("[User Profile]\nLocale: de")), "{nobody}");
        assert_eq!((&answer["user_id"], &answer["company_id"]), (&Value::Null, &Value::Null));
    }
}

async fn every_limit_is_named_with_what_was_measured(app: &App) {
    let (_, key) = app.key(KeyClass::Server).await;
    let long = |n: usize| "é".repeat(n);
    for (body, member, measured) in [
        (json!({"custom_fields": {"x": long(9_993)}}), "custom_fields", "10001 characters"),
        (json!({"behavior_context": long(5_001)}), "behavior_context", "5001 characters"),
        (json!({"context": {"x": {"label": "", "value": "y".repeat(20_000)}}}), "context", "bytes"),
        (json!({"company": {"custom_fields": {"x": "y".repeat(50_000)}}}), "company", "bytes"),
        (json!({"user_id": long(201)}), "user_id", "201 characters"),
        (json!({"company_id": "a\u{0}b"}), "company_id", "NUL"),
        (json!({"mode": "smoke"}), "mode", "smoke"),
        (json!({"behavior_context": ["x"]}), "behavior_context", "string"),
    ] {
        let (status, answer) = call(app, "chat/context", &key, &body).await;
        assert_eq!(status, 400, "{member}: {answer}");
        let error = answer["error"].as_str().unwrap();
        assert!(error.contains(member) && error.contains(measured), "{error}");
    }
    let (status, _) = call(app, "chat/context", &key, &json!({"behavior_context": long(5_000)})).await;
    assert_eq!(status, 200);
}

async fn a_browser_learns_nothing(app: &App) {
    put_user(app, "jane", json!({"name": "Jane"}), None, Rank::Server).await;
    let (_, key) = app.key(KeyClass::Publishable).await;
    let (status, answer) = call(app, "chat/context", &key, &json!({"user_id": "jane"})).await;
    assert_eq!((status, answer["code"].as_str()), (403, Some("server_key_needed")));
    assert!(!answer.to_string().contains("Jane"));
}

async fn every_value_says_where_it_comes_from(app: &App) {
    put_company(app, "acme", json!({"name": "Acme", "plan": "Pro"})).await;
    put_user(app, "jane", json!({"name": "Jane", "role": "admin"}), Some("acme"), Rank::Claimed).await;
    let (_, key) = app.key(KeyClass::Server).await;
    let body = json!({"user_id": "jane", "explain": true, "custom_fields": {"role": "owner"},
        "context": {"cart": {"label": "Cart", "value": 1}}});
    let (_, answer) = call(app, "chat/context", &key, &body).await;
    let field = |party: &str, key: &str| {
        let fields = answer["explain"][party]["fields"].as_array().unwrap();
        fields.iter().find(|field| field["key"] == key).unwrap().clone()
    };
    let name = field("user", "name");
    assert_eq!(
        (&name["origin"], &name["rank"], &name["source"]),
        (&json!("stored"), &json!("claimed"), &json!("sdk"))
    );
    assert!(name["observed_at"].is_string(), "{name}");
    let role = field("user", "role");
    assert_eq!(
        (&role["origin"], &role["rank"], &role["source"]),
        (&json!("request"), &json!("server"), &json!("request"))
    );
    let loser = &role["losers"][0];
    assert_eq!(
        (&loser["value"], &loser["why"], &loser["source"]),
        (&json!("admin"), &json!("overwritten"), &json!("sdk"))
    );
    assert_eq!(field("company", "plan")["rank"], "server");
    let cart = &answer["explain"]["entries"][0];
    assert_eq!(
        (&cart["key"], &cart["origin"], &cart["source"]),
        (&json!("cart"), &json!("request"), &json!("request"))
    );
}

async fn an_unchanged_view_is_not_rendered_again(app: &App) {
    put_company(app, "acme", json!({"name": "Acme", "plan": "Pro"})).await;
    put_user(app, "jane", json!({"name": "Jane"}), Some("acme"), Rank::Server).await;
    let (_, key) = app.key(KeyClass::Server).await;
    let ask = |body: Value, tag: Option<String>| {
        let mut call =
            app.http.post(format!("{}/api/sdk/chat/context", app.base)).bearer_auth(&key).json(&body);
        if let Some(tag) = tag {
            call = call.header("if-none-match", tag);
        }
        async move {
            let answer = call.send().await.unwrap();
            let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
            (answer.status().as_u16(), tag, answer.bytes().await.unwrap())
        }
    };
    let body = json!({"user_id": "jane", "context": {}});
    let (status, tag, text) = ask(body.clone(), None).await;
    assert!(status == 200 && tag.starts_with('"') && !text.is_empty());
    for known in [tag.clone(), format!("\"x\", W/{tag}"), format!("{tag},\"y\"")] {
        let (status, again, text) = ask(body.clone(), Some(known.clone())).await;
        assert_eq!((status, &again, text.len()), (304, &tag, 0), "{known}");
    }
    assert_eq!(ask(body.clone(), Some("\"x\"".to_owned())).await.0, 200);
    // What is asked is part of it.
    for other in [
        json!({"user_id": "jane", "custom_fields": {"a": 1}}),
        json!({"user_id": "jane", "explain": true}),
        json!({"user_id": "jane", "budget_tokens": 5}),
        json!({"user_id": "jane", "behavior_context": "x"}),
        json!({"user_id": "nobody"}),
    ] {
        let (status, found, _) = ask(other.clone(), Some(tag.clone())).await;
        assert!(status == 200 && found != tag, "{other}");
    }
    // So is what is stored: the user, the company, and whose company it is.
    let mut known = tag;
    for change in 0..4 {
        match change {
            0 => put_user(app, "jane", json!({"name": "Jane Doe"}), None, Rank::Server).await,
            1 => drop(put_company(app, "acme", json!({"plan": "Team"})).await),
            2 => put_user(app, "jane", json!({}), Some("other"), Rank::Server).await,
            _ => drop(put_company(app, "other", json!({"name": "Other"})).await),
        }
        let (status, now, _) = ask(body.clone(), Some(known.clone())).await;
        assert!(status == 200 && now != known, "change {change}");
        assert_eq!(ask(body.clone(), Some(now.clone())).await.0, 304);
        known = now;
    }
    put_company(app, "acme", json!({"plan": "Free"})).await;
    assert_eq!(ask(body, Some(known)).await.0, 304, "another's company");
    let (_, headers, _) = post(app, &app.base, "chat/context", &key, &json!({})).await;
    assert_eq!(headers["cache-control"], "private, no-cache");
}

async fn the_users_link_goes_before_the_named_company(app: &App) {
    put_company(app, "acme", json!({"name": "Acme"})).await;
    put_company(app, "other", json!({"name": "Other"})).await;
    put_user(app, "jane", json!({"name": "Jane"}), Some("acme"), Rank::Server).await;
    put_user(app, "ola", json!({"name": "Ola"}), None, Rank::Server).await;
    let (_, key) = app.key(KeyClass::Server).await;
    for (user, expected) in
        [(Some("jane"), "[Company: Acme]"), (Some("ola"), "[Company: Other]"), (None, "[Company: Other]")]
    {
        let body = json!({"user_id": user, "company_id": "other"});
        let (_, answer) = call(app, "chat/context", &key, &body).await;
        assert!(answer["text"].as_str().unwrap().contains(expected), "{user:?}: {answer}");
    }
    // Ours, where the caller has no such id.
    let id = app.company("Other").await.id;
    let (_, answer) = call(app, "chat/context", &key, &json!({"company_id": id})).await;
    assert!(answer["text"].as_str().unwrap().contains("[Company: Other]"), "{answer}");
}
