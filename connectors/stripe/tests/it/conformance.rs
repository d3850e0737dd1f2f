//! The Stripe connector against the suite that every connector passes, read as one range and in ranges.

mod one_range {
    connector_testkit::conformance!(connector_stripe::Stripe, crate::support::Plain);
}

mod in_ranges {
    connector_testkit::conformance!(connector_stripe::Stripe, crate::support::Ranges);
}
