//! The connector against its sandbox.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod conformance;
mod meaning;
mod server;
mod support;
