//! The integration tests: one binary, one module an area.

mod prompt;
mod render_cases;
//! Integration tests: the real store, router and queue.
mod store;
mod support;
