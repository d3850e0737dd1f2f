//! The HTTP surface: one file an operation, and the base that all of them stand on.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`server`] | the accept loop: time-outs, connection limit, graceful stop |
//! | [`guard`] | what a request's body may be: size, time, no encodings |
//! | [`observe`] | request ids, the access log, metrics, panics |
//! | [`edge`] | what browsers ask: preflights, CORS; and keys in addresses |
//! | [`address`] | whose call it is, where proxies stand between |
//! | [`error`] | errors, in the form that the path's clients know |
//! | [`codes`] | the list of their stable names |
//! | [`openapi`] | what operations say about themselves, the document made of it, `/docs` |
//! | [`extract`] | reading bodies |
//! | [`probes`] | `/healthz`, `/readyz`, `/metrics` |
//! | [`cursor`] | pages of lists |
//! | [`idempotency`] | `Idempotency-Key` |
//! | [`settings`], [`v1`] | what an organisation decides; what is known and derived |
//! | [`webhooks`] | providers' deliveries |
//! | [`oauth`] | people who come back from a provider |
//! | [`sdk`] | the SDK API |
//! | [`browser`] | the browser SDK's files |
//! | [`mcp`] | the MCP server |
//! | [`program()`] | the whole of it |
//! | [`control`] | requests of local commands to the running process, on a listener of their own |
//!
//! A router of operations is wrapped once with [`base`] and served with [`server::serve`].

pub mod address;
pub mod browser;
pub mod codes;
pub mod control;
pub mod cursor;
pub mod edge;
pub mod error;
pub mod extract;
pub mod guard;
pub mod idempotency;
mod io;
pub mod mcp;
pub mod oauth;
pub mod observe;
pub mod openapi;
pub mod probes;
mod program;
pub mod sdk;
pub mod server;
pub mod settings;
pub mod v1;
pub mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;

use crate::clock::Clock;
pub use error::ApiError;
pub use program::{Program, operations, program, undescribed};
pub use server::Limits;

/// Puts the base around a router: answers for unknown paths and methods, body limits, request ids, the
/// access log, metrics, and a wall against panics.
pub fn base(router: Router, limits: Limits, clock: Arc<dyn Clock>) -> Router {
    observed(answering(router), limits, clock)
}

/// As [`base`], with what browsers ask about the operations that pages may call.
pub fn base_for_pages(router: Router, pages: edge::Pages, limits: Limits, clock: Arc<dyn Clock>) -> Router {
    let gated = answering(router).layer(from_fn_with_state(pages.clone(), edge::gate));
    observed(gated, limits, clock).layer(from_fn_with_state(pages, edge::edge))
}

fn answering(router: Router) -> Router {
    router
        .fallback(|| async { ApiError::not_found("there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(http::StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed")
        })
}

fn observed(router: Router, limits: Limits, clock: Arc<dyn Clock>) -> Router {
    router.layer(from_fn_with_state(
        observe::Observer { limits, clock, room: guard::Room::default() },
        observe::observe,
    ))
}
