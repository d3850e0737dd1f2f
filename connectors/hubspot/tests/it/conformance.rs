//! The HubSpot connector against the suite that every connector passes, under both ways of writing versions.

mod dated {
    connector_testkit::conformance!(connector_hubspot::HubSpot, crate::support::Dated);
}

mod numbered {
    connector_testkit::conformance!(connector_hubspot::HubSpot, crate::support::Numbered);
}
