//! A list by page number.

use connector_testkit::sandbox::loopback::{Asked, Reply};
use serde_json::{Value, json};

pub(crate) fn list(call: &Asked, objects: Vec<Value>) -> Reply {
    let (size, number) = (call.number("per_page").unwrap_or(20), call.number("page").unwrap_or(1));
    let page: Vec<Value> = objects.into_iter().skip(number.saturating_sub(1) * size).take(size).collect();
    Reply::json(200, json!({"data": page}))
}
