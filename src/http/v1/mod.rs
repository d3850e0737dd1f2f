//! `/api/v1`: what is known and derived, for reading. Server keys only.

mod companies;
mod users;

use serde_json::{Map, Value};

use super::ApiError;
use super::openapi::Routes;
use super::sdk::Sdk;
use crate::store::StoreError;

/// When to come again after a trouble of ours.
const RETRY_SECONDS: u64 = 5;

/// The routes.
pub fn routes() -> Routes<Sdk> {
    companies::routes().merge(users::routes())
}

fn unavailable(error: StoreError) -> ApiError {
    ApiError::unavailable(RETRY_SECONDS, &error)
}

/// A structure of ours as a JSON object.
fn object(value: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}
