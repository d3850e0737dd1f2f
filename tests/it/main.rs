//! Integration tests: the real store, router and queue.

mod store;
mod support;
