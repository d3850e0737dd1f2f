//! The PandaDoc connector against the suite that every connector passes, with a key, and with a token and all
//! documents of one instant.

mod with_a_key {
    connector_testkit::conformance!(connector_pandadoc::PandaDoc, crate::support::Plain);
}

mod in_one_instant {
    connector_testkit::conformance!(connector_pandadoc::PandaDoc, crate::support::OneInstant);
}
