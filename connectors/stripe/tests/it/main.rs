//! The Stripe connector against the sandbox Stripe, and against localstripe where it is installed.

mod conformance;
mod fixtures;
mod localstripe;
mod reading;
mod support;
