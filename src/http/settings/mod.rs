//! `/api/settings`: what an organisation decides about its data. Server keys only.

mod attributes;
mod custom_fields;
mod export;

use super::openapi::Routes;
use super::sdk::Sdk;
use crate::store::StoreError;

/// When to come again after a trouble of ours.
const RETRY_SECONDS: u64 = 5;

/// The routes.
pub fn routes() -> Routes<Sdk> {
    attributes::routes().merge(custom_fields::routes())
}

fn unavailable(error: StoreError) -> super::ApiError {
    super::ApiError::unavailable(RETRY_SECONDS, &error)
}
