//! A list whose next page is a link.

use connector_testkit::sandbox::loopback::{Asked, Reply};
use http::header::LINK;
use serde_json::{Value, json};

pub(crate) fn list(call: &Asked, objects: Vec<Value>) -> Reply {
    let limit = call.number("limit").unwrap_or(20);
    let after = call.parameter("after").unwrap_or_default();
    let mut rest = objects.into_iter().filter(|object| object["id"].as_str() > Some(after));
    let page: Vec<Value> = rest.by_ref().take(limit).collect();
    let last = page.last().and_then(|object| object["id"].as_str());
    let next = rest.next().and(last).map(|id| {
        let since = call.parameter("updated_since").map(|since| format!("&updated_since={since}"));
        let query = format!("limit={limit}&after={id}{}", since.unwrap_or_default());
        format!("<https://api.example.com/elsewhere?page=0>; rel=\"first\", <https://api.example.com/?{query}>; rel=\"next\"")
    });
    let reply = Reply::json(200, json!({"data": page}));
    next.into_iter().fold(reply, |reply, link| reply.with(LINK, link))
}
