//! A list by offset.

use connector_testkit::sandbox::loopback::{Asked, Reply};
use serde_json::{Value, json};

pub(crate) fn list(call: &Asked, objects: Vec<Value>) -> Reply {
    let (limit, offset) = (call.number("limit").unwrap_or(20), call.number("offset").unwrap_or(0));
    let page: Vec<Value> = objects.into_iter().skip(offset).take(limit).collect();
    Reply::json(200, json!({"data": page}))
}
