//! The suite that every connector passes.

connector_testkit::conformance!(connector_acme::Acme, crate::support::Sandbox);
