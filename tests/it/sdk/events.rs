//! `POST /api/sdk/events`.

use halo_sync::domain::connections::KeyClass;
use halo_sync::domain::users::EndUser;
use halo_sync::store::identity::Lookup;
use serde_json::{Value, json};

use super::call;
use crate::support::app::{App, on_both};

on_both!(
    a_batch_makes_its_user_and_moves_last_seen,
    what_is_too_long_is_cut_at_a_character,
    a_batch_is_taken_whole_or_not_at_all,
    nobodys_events_wait_for_their_user,
);

async fn user(app: &App, id: &str) -> Option<EndUser> {
    app.store.find_user(&app.org, &Lookup::External(id.to_owned())).await.unwrap()
}

async fn a_batch_makes_its_user_and_moves_last_seen(app: &App) {
    let (_, key) = app.key(KeyClass::Publishable).await;
    let events: Vec<Value> = (0..100).map(|n| json!({"event_type": "click", "metadata": {"n": n}})).collect();
    let body = json!({"user_id": "jane", "session_id": "s1", "events": events});
    assert_eq!(call(app, "events", &key, &body).await, (200, json!({"success": true})));
    let jane = user(app, "jane").await.unwrap();
    assert_eq!(jane.last_seen, Some(app.now()));
    app.pass(60);
    call(app, "events", &key, &body).await;
    let seen = user(app, "jane").await.unwrap();
    assert_eq!((seen.first_seen, seen.last_seen), (jane.first_seen, Some(app.now())));
    let day = app.now().timestamp().div_euclid(86_400);
    let days = app.store.list_activity(&app.org, &jane.id, day - 30).await.unwrap();
    assert_eq!(days.iter().map(|day| day.events).sum::<i64>(), 200);
    assert_eq!(app.store.list_events(&app.org, &jane.id, None, 1_000).await.unwrap().len(), 200);
}

async fn what_is_too_long_is_cut_at_a_character(app: &App) {
    let (_, key) = app.key(KeyClass::Publishable).await;
    let long = "😀é".repeat(2_000);
    let event = json!({"event_type": long, "element_selector": long, "page_url": long, "unknown": 1});
    let body = json!({"user_id": "jane", "session_id": long, "events": [event]});
    assert_eq!(call(app, "events", &key, &body).await.0, 200);
    let jane = user(app, "jane").await.unwrap();
    let stored = app.store.list_events(&app.org, &jane.id, None, 9).await.unwrap().remove(0);
    for (text, chars) in [
        (Some(stored.event_type), 100),
        (stored.element_selector, 500),
        (stored.page_url, 2_000),
        (stored.session_id, 200),
    ] {
        let text = text.unwrap();
        assert_eq!(text.chars().count(), chars);
        assert!(long.starts_with(&text));
    }
}

async fn a_batch_is_taken_whole_or_not_at_all(app: &App) {
    let (_, key) = app.key(KeyClass::Publishable).await;
    let click = json!({"event_type": "click"});
    let large = json!({"event_type": "click", "metadata": {"x": "y".repeat(10_000)}});
    for (body, said) in [
        (json!({"user_id": "jane"}), "events"),
        (json!({"user_id": "jane", "events": {}}), "events"),
        (json!({"user_id": "jane", "events": vec![click.clone(); 101]}), "101 events, at most 100"),
        (json!({"user_id": "jane", "events": [click, {"page_url": "x"}]}), "events[1].event_type"),
        (json!({"user_id": "jane", "events": [click, {"event_type": "  "}]}), "events[1].event_type"),
        (json!({"user_id": "jane", "events": [click, {"event_type": 7}]}), "events[1].event_type"),
        (json!({"user_id": "jane", "events": [click, large]}), "events[1].metadata: 10008 bytes"),
        (json!({"user_id": "a\u{0}", "events": [click]}), "user_id"),
        (json!({"user_id": 7, "events": [click]}), "user_id"),
    ] {
        let (status, answer) = call(app, "events", &key, &body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{said}: {answer}");
    }
    assert_eq!(user(app, "jane").await, None);
}

async fn nobodys_events_wait_for_their_user(app: &App) {
    let (_, key) = app.key(KeyClass::Publishable).await;
    for user in [json!(null), json!("anonymous"), json!("")] {
        let body = json!({"user_id": user, "session_id": "s1", "events": [{"event_type": "click"}]});
        assert_eq!(call(app, "events", &key, &body).await.0, 200);
    }
    assert_eq!(user(app, "anonymous").await, None);
    super::chat_context::put_user(app, "jane", json!({}), None, halo_sync::domain::Rank::Claimed).await;
    let jane = user(app, "jane").await.unwrap();
    let rank = halo_sync::domain::Rank::Claimed;
    let linked = app.store.link_session(&app.org, "s1", &jane.id, rank, app.now()).await.unwrap();
    assert_eq!(linked.events, 3);
}
