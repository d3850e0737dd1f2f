//! What several test modules need.

pub mod app;
pub(crate) mod clock;
pub mod clock;
pub(crate) mod postgres;
pub mod postgres;

/// Whether `HALO_SYNC_REQUIRE` (a comma list) names this part: then a skip is a failure.
pub(crate) fn required(part: &str) -> bool {
    std::env::var("HALO_SYNC_REQUIRE").is_ok_and(|list| list.split(',').any(|name| name.trim() == part))
}
