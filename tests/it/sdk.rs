//! The SDK API and what is around it, over the real router, on both engines.

mod attributes;
mod chat;
mod chat_context;
mod companies;
mod context;
mod conversations;
mod deletion;
mod events;
mod example;
mod kit;
mod matrix;
mod openapi;
mod trust;
mod users;

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::support::app::App;

/// Posts; status, headers, and the answer (`null` where it is not JSON).
pub async fn post(app: &App, base: &str, path: &str, key: &str, body: &Value) -> (u16, HeaderMap, Value) {
    let call = app.http.post(format!("{base}/api/sdk/{path}")).bearer_auth(key).json(body);
    let answer = call.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

/// Posts to the app itself.
pub async fn call(app: &App, path: &str, key: &str, body: &Value) -> (u16, Value) {
    let (status, _, answer) = post(app, &app.base, path, key, body).await;
    (status, answer)
}
