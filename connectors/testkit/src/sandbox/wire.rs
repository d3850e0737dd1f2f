//! Answers that are wrong in ways that any provider's can be.

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

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
