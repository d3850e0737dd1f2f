//! The integration tests: one binary, one module an area.
#![cfg(test)]

mod billing_cases;
mod billing_rules;
mod http_base;
mod jobs;
mod localstripe;
mod prompt;
mod render_cases;
mod store;
mod support;
