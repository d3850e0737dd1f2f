//! Which parts may not be skipped.

/// Whether `HALO_SYNC_REQUIRE` (a comma list) names this part: then a skip is a failure.
pub(crate) fn required(part: &str) -> bool {
    std::env::var("HALO_SYNC_REQUIRE").is_ok_and(|list| list.split(',').any(|name| name.trim() == part))
}
