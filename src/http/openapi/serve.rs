//! `/openapi.json` and `/docs`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use serde_json::json;

use super::{Access, Operation, Routes, Tag, document, page};

/// Both, as text: they do not change while the process lives.
#[derive(Debug, Clone)]
struct Texts {
    document: Arc<str>,
    page: Arc<str>,
    policy: HeaderValue,
}

fn routes() -> Routes<Texts> {
    let openapi = Operation::get("/openapi.json", "openapi", "This document")
        .about("The OpenAPI 3.1 document of this version. `halo-sync openapi` prints the same.")
        .tag(Tag::Service)
        .access(Access::Anybody)
        .answer::<serde_json::Value>(200, "The document.", json!({"openapi": "3.1.0"}));
    let docs = Operation::get("/docs", "docs", "This document, for people")
        .about("One page without scripts, readable offline.")
        .tag(Tag::Service)
        .access(Access::Anybody)
        .answer_text(200, "text/html; charset=utf-8", "The page.");
    Routes::new().add(openapi, serve_document).add(docs, serve_page)
}

/// The operations of this module, which are in the document as well.
pub(in crate::http) fn operations() -> Vec<Operation> {
    routes().operations().to_vec()
}

/// Adds the document of the routes, and the page, to the routes.
pub(in crate::http) fn serve(served: Routes) -> Routes {
    let own = routes();
    let all: Vec<Operation> = served.operations().iter().chain(own.operations()).cloned().collect();
    let document = document(&all);
    let (page, policy) = page::render(&document);
    let texts = Texts {
        document: document.to_string().into(),
        page: page.into(),
        policy: HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'")),
    };
    served.merge(own.with_state(texts))
}

/// The document changes with the program; a page that is open may ask again after a minute.
const FRESH: HeaderValue = HeaderValue::from_static("public, max-age=60");

async fn serve_document(State(texts): State<Texts>) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, FRESH)], texts.document.to_string()).into_response()
}

async fn serve_page(State(texts): State<Texts>) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, texts.policy),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CACHE_CONTROL, FRESH),
    ];
    (headers, texts.page.to_string()).into_response()
}
