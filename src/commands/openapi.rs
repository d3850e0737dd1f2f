//! `halo-sync openapi`.

use super::{App, CommandError};
use crate::http;

/// Prints the OpenAPI document, for people and diffs: a member a line.
///
/// # Errors
///
/// When stdout cannot be written.
pub fn run(app: &App) -> Result<(), CommandError> {
    let document = http::openapi::document(&http::operations());
    app.out.raw(format!("{document:#}\n").as_bytes())
}
