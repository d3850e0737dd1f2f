//! The integration tests: one binary, one module an area.

mod billing_cases;
mod http_base;
mod localstripe;
mod billing_rules;
mod prompt;
mod render_cases;
mod store;
mod support;
