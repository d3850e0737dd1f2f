//! What a Stripe object means.

use connector_sdk::{Extract, FactsError, Record};

/// Version of the translation.
pub const FACTS_VERSION: u32 = 1;

/// Translates one object.
///
/// # Errors
/// Never yet.
pub(crate) fn facts(_record: &Record) -> Result<Extract, FactsError> {
    Ok(Extract::default())
}
