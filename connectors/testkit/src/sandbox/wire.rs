//! Answers that are wrong in ways that any provider's can be.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::value::RawValue;

use super::faults::Fault;

pub(super) fn json(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A 200 with these bytes.
pub(super) fn raw(content_type: &'static str, bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The announced length of `whole`, and only `sent` of it.
pub(super) fn cut(response: Response, whole: usize, sent: Bytes) -> Response {
    let (mut parts, _) = response.into_parts();
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole));
    let chunks = [Ok(sent), Err(std::io::Error::other("cut"))];
    Response::from_parts(parts, Body::from_stream(futures_util::stream::iter(chunks)))
}

/// The body of a page whose items are in `member`, as [`Fault::Doubled`] and [`Fault::Reversed`] have it; each item
/// stays the text that it is. Any other body, and any other fault, leaves it as it was.
pub(super) fn rearranged(fault: &Fault, body: Bytes, member: &str) -> Bytes {
    let Ok(mut page) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(&body) else { return body };
    let items = page.get(member).and_then(|raw| serde_json::from_str::<Vec<Box<RawValue>>>(raw.get()).ok());
    let Some(mut items) = items else { return body };
    match fault {
        Fault::Doubled => items = items.into_iter().flat_map(|item| [item.clone(), item]).collect(),
        Fault::Reversed => items.reverse(),
        _ => return body,
    }
    let Ok(items) = serde_json::value::to_raw_value(&items) else { return body };
    page.insert(member.to_owned(), items);
    serde_json::to_vec(&page).map_or(body, Bytes::from)
}

/// How a provider words what a fault answers, and its lists.
pub(super) struct Wording {
    /// A refusal with that status.
    pub(super) refuse: fn(u16) -> Response,
    /// The body of an error that comes with 200.
    pub(super) error: String,
    /// The member that a list has its items in.
    pub(super) items: &'static str,
    /// An item that nobody can decode, as JSON text.
    pub(super) undecodable: &'static str,
}

/// An answer as a fault has it.
pub(super) async fn spoil(fault: Fault, answer: Response, wording: Wording) -> Response {
    match fault {
        Fault::TooManyRequests { retry_after } => {
            let mut response = (wording.refuse)(429);
            if let Some(value) = retry_after.and_then(|v| HeaderValue::from_str(&v).ok()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            response
        }
        Fault::Status(status) => (wording.refuse)(status),
        Fault::Html => raw("text/html", "<!doctype html><html><body>502 Bad Gateway</body></html>"),
        Fault::Garbage => raw("application/json", Bytes::from_static(&[0xff, 0xfe, 0x00, 0x80, 0x1b, 0x7f])),
        Fault::ErrorWith200 => raw("application/json", wording.error),
        Fault::Stall => std::future::pending().await,
        Fault::Slow(by) => {
            tokio::time::sleep(by).await;
            answer
        }
        Fault::ThenWrite { .. } => answer,
        Fault::CutBody
        | Fault::NoBody
        | Fault::TruncatedJson
        | Fault::BadItem
        | Fault::Doubled
        | Fault::Reversed => {
            let (parts, body) = answer.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            let half = body.slice(..body.len() / 2);
            let response = Response::from_parts(parts, Body::empty());
            match fault {
                Fault::CutBody => cut(response, body.len(), half),
                Fault::NoBody => cut(response, body.len(), Bytes::new()),
                Fault::TruncatedJson => response.map(|_| Body::from(half)),
                Fault::Doubled | Fault::Reversed => {
                    response.map(|_| Body::from(rearranged(&fault, body, wording.items)))
                }
                _ => {
                    let text = String::from_utf8_lossy(&body);
                    let list = format!("\"{}\":[", wording.items);
                    let more = if text.contains(&format!("{list}]")) { "" } else { "," };
                    let text = text.replacen(&list, &format!("{list}{}{more}", wording.undecodable), 1);
                    response.map(|_| Body::from(text))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_rearranged_and_its_items_stay_as_they_are() {
        let page = Bytes::from_static(br#"{"more": true, "data": [{"b": 1.50, "a": 2}, 7]}"#);
        let of = |fault: &Fault, body: &Bytes| {
            String::from_utf8(rearranged(fault, body.clone(), "data").to_vec()).unwrap()
        };
        let doubled = of(&Fault::Doubled, &page);
        assert!(doubled.contains(r#""data":[{"b": 1.50, "a": 2},{"b": 1.50, "a": 2},7,7]"#), "{doubled}");
        assert!(doubled.contains(r#""more":true"#), "{doubled}");
        assert!(of(&Fault::Reversed, &page).contains(r#"[7,{"b": 1.50, "a": 2}]"#));
        for other in [&b"no JSON"[..], br#"{"data": 7}"#, br#"{"id": "x"}"#] {
            let body = Bytes::copy_from_slice(other);
            assert_eq!(rearranged(&Fault::Doubled, body.clone(), "data"), body);
        }
    }
}
