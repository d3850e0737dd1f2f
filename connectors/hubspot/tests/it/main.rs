//! The HubSpot connector against the sandbox HubSpot.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod backlot;
mod conformance;
mod counts;
mod limits;
mod reading;
mod recorded;
mod storm;
mod support;
