//! The PandaDoc connector against the sandbox PandaDoc.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod care;
mod conformance;
mod contracts;
mod judged;
mod prism;
mod reading;
mod storm;
mod support;
