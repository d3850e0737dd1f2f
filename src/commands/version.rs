//! `halo-sync version`.

use serde::Serialize;

use super::{App, CommandError};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

/// Prints name and version.
///
/// # Errors
///
/// When stdout cannot be written.
pub fn run(app: &App) -> Result<(), CommandError> {
    let version = Version { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") };
    app.out.one(&version, |v| format!("{} {}", v.name, v.version))
}
