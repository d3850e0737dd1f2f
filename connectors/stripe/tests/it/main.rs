//! The Stripe connector against the sandbox Stripe, and against localstripe where it is installed.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod conformance;
mod fixtures;
mod localstripe;
mod reading;
mod support;
