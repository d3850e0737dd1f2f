//! The integration tests: one binary, one module an area.
#![cfg(test)]
#![expect(
    unreachable_pub,
    reason = "what the areas share is public to them, and nothing is public of a test"
)]

mod billing_cases;
mod billing_rules;
mod browser;
mod conformance;
mod connectors;
mod convergence;
mod crash;
mod demo;
mod faults;
mod flow;
mod health_cases;
mod hooks;
mod http_base;
mod import;
mod jobs;
mod localstripe;
mod mcp;
mod oauth;
mod prompt;
mod render_cases;
mod schemathesis;
mod sdk;
mod seal;
mod singer;
mod store;
mod stripe_cli;
mod support;
