//! The suite that every connector passes.

use connector_acme::Acme;

use crate::support::Sandbox;

connector_testkit::conformance!(Acme, Sandbox);
