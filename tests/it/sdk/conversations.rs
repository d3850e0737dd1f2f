//! `POST /api/sdk/conversations`, `/tickets/create` and `/tickets/update`.

use halo_sync::domain::connections::KeyClass;
use halo_sync::domain::conversations::{Conversation, Message, Rating, Role};
use halo_sync::store::conversations::{ConversationRef, Owner};
use halo_sync::store::identity::Lookup;
use serde_json::{Value, json};

use super::call;
use super::chat_context::{put_company, put_user};
use crate::support::app::{App, on_both};

on_both!(
    a_conversation_is_made_and_rated,
    a_browser_is_told_nothing_that_it_did_not_say,
    what_is_wrong_with_a_conversation_is_named,
    a_ticket_is_made_for_its_user,
    what_is_wrong_with_a_ticket_is_named,
    a_ticket_is_changed_by_a_server,
    text_of_every_kind_is_kept,
);

async fn stored(app: &App, id: &str) -> (Conversation, Vec<Message>) {
    let found = app.store.find_conversation(&app.org, &ConversationRef::parse(id)).await.unwrap().unwrap();
    let messages = app.store.list_messages(&app.org, &found.id, 0, 1_000).await.unwrap();
    (found, messages)
}

async fn a_conversation_is_made_and_rated(app: &App) {
    let acme = put_company(app, "acme", json!({"name": "Acme"})).await;
    put_user(app, "jane", json!({}), Some("acme"), halo_sync::domain::Rank::Server).await;
    let (_, key) = app.key(KeyClass::Server).await;
    let mut body = json!({
        "conversation_id": "c1", "user_id": "jane", "session_id": "s1", "mode": "livehelp", "subject": "Billing",
        "sentiment": -0.25, "started_at": "2025-12-02T03:04:05+01:00",
        "messages": [
            {"speaker": "visitor", "content": "Hello", "created_at": "2025-12-02T03:04:06Z"},
            {"role": "bot", "text": "Hi"},
            {"role": "teammate", "text": "Taking over", "id": "m3"},
        ],
    });
    let (status, answer) = call(app, "conversations", &key, &body).await;
    assert_eq!((status, &answer["created"]), (200, &json!(true)), "{answer}");
    assert_eq!(answer["messages"], json!({"added": 3, "replaced": 0}));
    assert!(answer["created_at"].as_str().unwrap().ends_with("+00:00"), "{answer}");
    let (conversation, messages) = stored(app, "c1").await;
    assert_eq!(
        (conversation.sentiment_millionths, &conversation.company_id),
        (Some(-250_000), &Some(acme.clone()))
    );
    assert_eq!(
        messages.iter().map(|m| m.role).collect::<Vec<_>>(),
        [Role::User, Role::Assistant, Role::Agent]
    );
    assert_eq!(conversation.started_at.to_rfc3339(), "2025-12-02T02:04:05+00:00");
    // The same again, then its rating alone, by our id.
    let (status, again) = call(app, "conversations", &key, &body).await;
    assert_eq!((status, &again["messages"]), (200, &json!({"added": 0, "replaced": 0})));
    let rating = json!({"conversation_id": answer["id"], "rating": "positive", "status": "closed"});
    assert_eq!(call(app, "conversations", &key, &rating).await.0, 200);
    let (conversation, messages) = stored(app, "c1").await;
    assert_eq!((conversation.rating, messages.len()), (Some(Rating::Positive), 3));
    assert_eq!(conversation.subject.as_deref(), Some("Billing"));
    body["rating"] = Value::Null;
    call(app, "conversations", &key, &body).await;
    assert_eq!(stored(app, "c1").await.0.rating, None);
    let of_acme = app.store.list_conversations(&app.org, &Owner::Company(acme), None, 9).await.unwrap();
    assert_eq!(of_acme.len(), 1);
}

async fn a_browser_is_told_nothing_that_it_did_not_say(app: &App) {
    put_user(app, "jane", json!({"email": "jane@acme.test"}), Some("acme"), halo_sync::domain::Rank::Server)
        .await;
    let (_, server) = app.key(KeyClass::Server).await;
    let (_, browser) = app.key(KeyClass::Publishable).await;
    let secret = json!({"conversation_id": "c1", "user_id": "jane", "subject": "Secret subject",
        "messages": [{"role": "user", "text": "secret words"}]});
    call(app, "conversations", &server, &secret).await;
    // Another user's.
    let theirs = json!({"conversation_id": "c1", "user_id": "eve", "rating": "negative"});
    let (status, answer) = call(app, "conversations", &browser, &theirs).await;
    assert_eq!((status, answer["code"].as_str()), (403, Some("not_yours")));
    // Whoever claims to be her may add and rate, not rewrite nor close, and reads nothing.
    let own = json!({"conversation_id": "c1", "user_id": "jane", "rating": "negative"});
    let (status, answer) = call(app, "conversations", &browser, &own).await;
    assert_eq!(status, 200);
    assert!(!answer.to_string().contains("ecret") && answer.get("message_count").is_none(), "{answer}");
    for forged in [json!({"status": "closed"}), json!({"subject": "Mine"}), json!({"mode": "voice"})] {
        let mut body = own.clone();
        body.as_object_mut().unwrap().extend(forged.as_object().unwrap().clone());
        assert_eq!(call(app, "conversations", &browser, &body).await.0, 403, "{forged}");
    }
    let (status, answer) = call(
        app,
        "conversations",
        &browser,
        &json!({"conversation_id": "c1", "user_id": "jane",
        "messages": [{"role": "user", "text": "other words"}]}),
    )
    .await;
    assert_eq!((status, answer["code"].as_str()), (409, Some("message_conflict")));
    assert!(!answer.to_string().contains("secret"));
    // A ticket by address does not tell whose the address is.
    let ticket = json!({"email": "jane@acme.test", "subject": "Help"});
    let (status, answer) = call(app, "tickets/create", &browser, &ticket).await;
    assert_eq!((status, &answer["created"]), (200, &json!(true)), "{answer}");
    assert!(answer.get("user_id").is_none() && !answer.to_string().contains("usr_"), "{answer}");
    assert_eq!(
        call(app, "tickets/update", &browser, &json!({"ticket_id": answer["id"], "status": "closed"}))
            .await
            .0,
        403
    );
}

async fn what_is_wrong_with_a_conversation_is_named(app: &App) {
    let (_, key) = app.key(KeyClass::Server).await;
    let with = |member: &str, value: Value| {
        let mut body = json!({"conversation_id": "c1", "user_id": "jane"});
        body[member] = value;
        body
    };
    let one = |message: Value| with("messages", json!([message]));
    for (body, said) in [
        (json!({"user_id": "jane"}), "conversation_id"),
        (with("conversation_id", json!("")), "conversation_id"),
        (with("conversation_id", json!("x".repeat(201))), "201 characters"),
        (with("sentiment", json!(1.5)), "sentiment"),
        (with("sentiment", json!("good")), "sentiment"),
        (with("rating", json!("five stars")), "rating"),
        (with("status", json!("done")), "status"),
        (with("mode", json!("letter")), "mode"),
        (with("subject", json!("x".repeat(1_001))), "subject: 1001 characters"),
        (with("started_at", json!("yesterday")), "started_at"),
        (with("started_at", json!("2999-01-01T00:00:00Z")), "started_at"),
        (with("messages", json!(vec![json!({"role": "user", "text": ""}); 1_001])), "1001 messages"),
        (one(json!({"role": "user"})), "text"),
        (one(json!({"text": "x"})), "role"),
        (one(json!({"role": "root", "text": "x"})), "messages[0].role"),
        (one(json!({"role": "user", "text": "x".repeat(50_001)})), "messages[0].text: 50001 characters"),
        (one(json!({"role": "user", "text": "x", "position": 10_000})), "10000 messages"),
        (one(json!({"role": "user", "text": "x", "position": -1})), "position"),
    ] {
        let (status, answer) = call(app, "conversations", &key, &body).await;
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{said}: {answer}");
    }
    assert_eq!(app.store.find_conversation(&app.org, &ConversationRef::parse("c1")).await.unwrap(), None);
    let jane = Lookup::External("jane".to_owned());
    assert_eq!(app.store.find_user(&app.org, &jane).await.unwrap(), None, "nothing half-applied");
    let (status, _) = call(app, "conversations", &key, &with("conversation_id", json!("cnv_none"))).await;
    assert_eq!(status, 404);
}

async fn a_ticket_is_made_for_its_user(app: &App) {
    put_user(app, "jane", json!({"email": "jane@acme.test"}), Some("acme"), halo_sync::domain::Rank::Server)
        .await;
    let (_, key) = app.key(KeyClass::Server).await;
    let body = json!({"email": "JANE@acme.test", "name": "Jane", "subject": "Help", "message": "It broke",
        "metadata": {"plan": "x"}, "priority": "priority", "ticket_id": "T-1", "trigger_ai_reply": true});
    let (status, answer) = call(app, "tickets/create", &key, &body).await;
    assert_eq!((status, &answer["created"]), (200, &json!(true)), "{answer}");
    assert_eq!(
        (&answer["source"], &answer["priority"], &answer["status"]),
        (&json!("api"), &json!("priority"), &json!("open"))
    );
    assert_eq!((&answer["ticket_id"], &answer["user_created"]), (&json!("T-1"), &json!(false)));
    let (status, again) = call(app, "tickets/create", &key, &body).await;
    assert_eq!((status, &again["id"], &again["created"]), (200, &answer["id"], &json!(false)));
    let jane = app.store.find_user(&app.org, &Lookup::External("jane".to_owned())).await.unwrap().unwrap();
    assert_eq!(answer["user_id"], jane.id.as_str());
    let tickets = app.store.list_tickets(&app.org, &Owner::User(jane.id), None, 9).await.unwrap();
    assert_eq!((tickets.len(), tickets[0].message.as_deref()), (1, Some("It broke")));
    let new = json!({"user_id": "new", "subject": "Hi", "source": "form"});
    let (_, answer) = call(app, "tickets/create", &key, &new).await;
    assert_eq!((&answer["user_created"], &answer["source"]), (&json!(true), &json!("form")));
}

async fn what_is_wrong_with_a_ticket_is_named(app: &App) {
    let (_, key) = app.key(KeyClass::Server).await;
    let with = |member: &str, value: Value| {
        let mut body = json!({"user_id": "jane", "subject": "Help"});
        body[member] = value;
        body
    };
    for (body, said) in [
        (json!({"subject": "Help"}), "user_id or email"),
        (json!({"user_id": "anonymous", "subject": "Help"}), "user_id or email"),
        (json!({"user_id": "jane"}), "subject"),
        (with("subject", json!("  ")), "subject"),
        (with("subject", json!("é".repeat(1_001))), "subject: 1001 characters"),
        (with("message", json!("é".repeat(50_001))), "message: 50001 characters"),
        (with("metadata", json!({"x": "é".repeat(25_000)})), "metadata: 50008 bytes"),
        (with("metadata", json!([1])), "metadata"),
        (with("source", json!("x".repeat(51))), "source: 51 characters"),
        (with("email", json!("not an address")), "email"),
        (with("email", json!("@")), "email"),
        (with("priority", json!("soon")), "priority"),
        (with("ticket_id", json!("tkt_1")), "ticket_id"),
    ] {
        let (status, answer) = call(app, "tickets/create", &key, &body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{said}: {answer}");
    }
    let jane = Lookup::External("jane".to_owned());
    assert_eq!(app.store.find_user(&app.org, &jane).await.unwrap(), None, "nothing half-applied");
    for good in
        [with("subject", json!("é".repeat(1_000))), with("metadata", json!({"x": "é".repeat(24_990)}))]
    {
        assert_eq!(call(app, "tickets/create", &key, &good).await.0, 200);
    }
}

async fn a_ticket_is_changed_by_a_server(app: &App) {
    let (_, key) = app.key(KeyClass::Server).await;
    let body = json!({"user_id": "jane", "subject": "Help", "ticket_id": "T-1"});
    call(app, "tickets/create", &key, &body).await;
    let change = json!({"ticket_id": "T-1", "status": "resolved", "priority": "urgent"});
    let (status, answer) = call(app, "tickets/update", &key, &change).await;
    assert_eq!((status, &answer["status"], &answer["priority"]), (200, &json!("resolved"), &json!("urgent")));
    for (change, expected) in [
        (json!({"status": "open"}), 400),
        (json!({"ticket_id": "none", "status": "open"}), 404),
        (json!({"ticket_id": "tkt_none"}), 404),
        (json!({"ticket_id": "T-1", "status": "gone"}), 400),
        (json!({"ticket_id": "T-1", "subject": ""}), 400),
    ] {
        assert_eq!(call(app, "tickets/update", &key, &change).await.0, expected, "{change}");
    }
}

async fn text_of_every_kind_is_kept(app: &App) {
    let (_, key) = app.key(KeyClass::Publishable).await;
    for (at, text) in
        ["\u{0}", "'; DROP TABLE users; --", "\u{202e}abc", "👨‍👩‍👧", "\u{feff}", "%s\\x00", "<script>"]
            .into_iter()
            .enumerate()
    {
        let id = format!("{at}{}", text.replace('\0', ""));
        let message = json!([{"role": "user", "text": text, "id": format!("m{id}")}]);
        let body = json!({"conversation_id": id, "user_id": id, "session_id": text, "subject": text,
            "agent_id": text.replace('\0', ""), "messages": message});
        assert_eq!(call(app, "conversations", &key, &body).await.0, 200, "{text:?}");
        let (found, messages) = stored(app, &id).await;
        let kept = text.replace('\0', "\u{fffd}");
        assert_eq!(
            (messages[0].text.as_str(), found.subject.as_deref()),
            (kept.as_str(), Some(kept.as_str()))
        );
        let ticket = json!({"user_id": id, "subject": format!("s{text}"), "message": text, "name": text, "metadata": {text: text}});
        assert_eq!(call(app, "tickets/create", &key, &ticket).await.0, 200, "{text:?}");
        let event = json!({"event_type": format!("e{text}"), "page_url": text, "metadata": text});
        assert_eq!(call(app, "events", &key, &json!({"user_id": id, "events": [event]})).await.0, 200);
    }
}
