//! The Stripe connector against the sandbox Stripe.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod care;
mod conformance;
mod fixtures;
mod ranges;
mod reading;
mod storm;
mod support;
