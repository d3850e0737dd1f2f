//! Deliveries that are not right, and a store that cannot take right ones.

use connector_testkit::sandbox::stripe::sign;
use reqwest::{Body, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(what_is_not_right_is_refused_and_not_kept, what_cannot_be_stored_is_asked_for_again);

fn post(app: &App, url: &str, signature: Option<String>, body: impl Into<Body>) -> RequestBuilder {
    let call = app.http.post(url).body(body);
    match signature {
        Some(signature) => call.header("stripe-signature", signature),
        None => call,
    }
}

async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

async fn what_is_not_right_is_refused_and_not_kept(app: &App) {
    let connection = app.connected().await;
    let url = app.webhook_url(&connection);
    let now = app.now().timestamp();
    let secret = app.sandbox.webhook_secret();
    let event = json!({"id": "evt_1", "type": "customer.updated", "livemode": false}).to_string();
    let signed = |body: &str, at: i64| Some(sign(secret, body.as_bytes(), at));
    let other = url.replace(connection.id.as_str(), "con_none");
    let large = "x".repeat(2_000_000);
    for (what, call, expected) in [
        ("no signature", post(app, &url, None, event.clone()), 400),
        ("another secret", post(app, &url, Some(sign("whsec_x", event.as_bytes(), now)), event.clone()), 400),
        ("another body", post(app, &url, signed("{}", now), event.clone()), 400),
        ("too old", post(app, &url, signed(&event, now - 301), event.clone()), 400),
        ("from the future", post(app, &url, signed(&event, now + 301), event.clone()), 400),
        ("not JSON", post(app, &url, signed("hello", now), "hello"), 400),
        ("no event", post(app, &url, signed("{}", now), "{}"), 400),
        ("no such connection", post(app, &other, signed(&event, now), event.clone()), 404),
        (
            "another connector",
            post(app, &url.replace("/stripe/", "/hubspot/"), signed(&event, now), event.clone()),
            404,
        ),
        ("too large", post(app, &url, signed(&large, now), large.clone()), 413),
        (
            "compressed",
            post(app, &url, signed(&event, now), event.clone()).header("content-encoding", "gzip"),
            415,
        ),
    ] {
        let (status, body) = answer(call.send().await.unwrap()).await;
        assert_eq!(status, expected, "{what}: {body}");
        assert!(!body.to_string().contains("whsec_"), "{what}: {body}");
        assert!(app.deliveries().await.is_empty(), "{what}");
    }
    for (at, expected) in [(now - 300, 1), (now + 300, 1)] {
        let (status, _) =
            answer(post(app, &url, signed(&event, at), event.clone()).send().await.unwrap()).await;
        assert_eq!((status, app.deliveries().await.len()), (200, expected));
    }
    app.drain().await;
}

async fn what_cannot_be_stored_is_asked_for_again(app: &App) {
    let connection = app.connected().await;
    let body = json!({"id": "evt_1", "type": "customer.updated", "livemode": false}).to_string();
    let signature = sign(app.sandbox.webhook_secret(), body.as_bytes(), app.now().timestamp());
    app.break_inbox().await;
    let url = app.webhook_url(&connection);
    let response = post(app, &url, Some(signature.clone()), body.clone()).send().await.unwrap();
    let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let (status, said) = answer(response).await;
    assert_eq!((status, retry.as_deref()), (503, Some("5")), "{said}");
    assert!(!said.to_string().contains("planned"), "what is wrong with us is not the sender's: {said}");
    app.mend_inbox().await;
    let response = post(app, &url, Some(signature), body).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    app.drain().await;
    assert_eq!(app.deliveries().await.len(), 1);
}
