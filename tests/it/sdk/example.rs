//! The reference's worked example: a page says who is there, the chat's backend asks what is known.

use serde_json::{Value, json};

use super::kit::Client;
use crate::render_cases::cases_dir;
use crate::support::app::{App, on_both};

on_both!(what_a_page_says_is_the_worked_examples_text, a_session_follows_its_user_and_goes_with_it);

async fn what_a_page_says_is_the_worked_examples_text(app: &App) {
    let Some(dir) = cases_dir() else { return };
    let text = std::fs::read_to_string(dir.join("render_cases.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_array().or_else(|| file.as_array()).unwrap();
    let case = cases.iter().find(|case| case["id"] == "seed-full-example").unwrap();
    let (user, company) = (&case["input"]["user"], &case["input"]["company"]);
    let traits = |party: &Value| {
        let mut traits = party["custom_fields"].as_object().unwrap().clone();
        let known = party.as_object().unwrap().iter();
        let columns =
            known.filter(|(key, _)| !matches!(key.as_str(), "external_id" | "custom_fields" | "context"));
        traits.extend(columns.map(|(key, value)| (key.clone(), value.clone())));
        traits
    };
    let page = Client::browser(app).await;
    page.done("users/identify", json!({"user_id": user["external_id"], "traits": traits(user)})).await;
    let body = json!({"company_id": company["external_id"], "user_id": user["external_id"], "traits": traits(company)});
    page.done("companies/identify", body).await;
    page.done("context/set", json!({"user_id": user["external_id"], "context": user["context"]})).await;
    let backend = Client::server(app).await;
    let (status, answer) = backend.post("chat/context", json!({"user_id": user["external_id"]})).await;
    assert_eq!((status, &answer["text"]), (200, &case["expected"]["text"]));
}

async fn a_session_follows_its_user_and_goes_with_it(app: &App) {
    let page = Client::browser(app).await;
    let said = json!([{"role": "user", "text": "MARK-words"}]);
    let body =
        json!({"conversation_id": "MARK-c", "session_id": "s1", "subject": "MARK-subject", "messages": said});
    page.done("conversations", body).await;
    let event = json!({"event_type": "click", "page_url": "MARK-url"});
    page.done("events", json!({"session_id": "s1", "events": [event]})).await;
    page.done("users/identify", json!({"user_id": "jane", "session_id": "s1"})).await;
    page.done("tickets/create", json!({"user_id": "jane", "subject": "MARK-ticket"})).await;
    let jane = super::kit::user(app, "jane").await.unwrap();
    let days = app.store.list_activity(&app.org, &jane.id, 0).await.unwrap();
    assert_eq!(days.len(), 1);
    assert_eq!((days[0].identifies, days[0].events, days[0].messages, days[0].tickets), (1, 1, 1, 1));
    let tables = ["conversations", "messages", "tickets", "user_events", "activity_days"];
    for table in tables {
        assert_eq!(app.dump(table).await.len(), 1, "{table}");
    }
    Client::server(app).await.delete("users/jane").await;
    for table in tables {
        assert_eq!(app.dump(table).await, [""; 0], "{table}");
    }
}
