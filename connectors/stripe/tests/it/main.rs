//! The Stripe connector against the sandbox Stripe.

mod conformance;
mod reading;
mod support;
