//! The suite that every connector passes.

connector_testkit::conformance!(connector_chargebee::Chargebee, crate::support::Sandbox);
