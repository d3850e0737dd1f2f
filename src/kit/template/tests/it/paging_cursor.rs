//! A list that hands out cursors: each names the object that the next page comes behind.

use connector_testkit::sandbox::loopback::{Asked, Reply};
use serde_json::{Value, json};

pub(crate) fn list(call: &Asked, objects: Vec<Value>) -> Reply {
    let limit = call.number("limit").unwrap_or(20);
    let after = call.parameter("cursor").and_then(|cursor| cursor.strip_prefix("after-")).unwrap_or_default();
    let mut rest = objects.into_iter().filter(|object| object["id"].as_str() > Some(after));
    let page: Vec<Value> = rest.by_ref().take(limit).collect();
    let last = page.last().and_then(|object| object["id"].as_str());
    let next = rest.next().and(last).map(|id| format!("after-{id}"));
    Reply::json(200, json!({"data": page, "next_cursor": next}))
}
