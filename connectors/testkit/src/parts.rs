//! Parts of the tests that lie outside the repository: third-party data, somebody else's servers.
//!
//! Where such a part is absent its tests are skipped with a notice, unless `HALO_SYNC_REQUIRE` (a comma
//! list: `postgres`, `cases`, `data`, `localstripe`, `stripe-cli`, `prism`, `backlot`) names it: then they fail.

use std::path::{Path, PathBuf};

/// Whether `HALO_SYNC_REQUIRE` names that part.
#[must_use]
pub fn required(part: &str) -> bool {
    std::env::var("HALO_SYNC_REQUIRE").unwrap_or_default().split(',').any(|p| p.trim() == part)
}

/// The directory of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// A file or folder of the shared directory: below `HALO_SYNC_SHARED`, else beside the checkout.
#[must_use]
pub fn shared(path: &str) -> Option<PathBuf> {
    let workspace = workspace();
    std::env::var_os("HALO_SYNC_SHARED")
        .map(PathBuf::from)
        .into_iter()
        .chain(["../shared", "../../shared"].map(|up| workspace.join(up)))
        .map(|root| root.join(path))
        .find(|path| path.exists())
}

/// As [`shared`], for a test of that part: `None` says that the test is to be skipped.
///
/// # Panics
/// When the part is required and absent.
#[must_use]
pub fn shared_or_skip(part: &str, path: &str) -> Option<PathBuf> {
    let found = shared(path);
    if found.is_none() {
        skip(part, &format!("there is no {path} in the shared directory"));
    }
    found
}

/// Says that a test is skipped, or fails it when its part is required.
///
/// # Panics
/// When the part is required.
#[expect(clippy::print_stderr, reason = "a skipped test says so where the test's own output goes")]
pub fn skip(part: &str, why: &str) {
    assert!(!required(part), "{part} is required: {why}");
    eprintln!("skipped: {why}");
}
