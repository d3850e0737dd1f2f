//! `GET /api/sdk/config`: what a widget asks before anything else. By `org_id`, without a key, as in the reference;
//! or by a key.
//!
//! There are no agents here: what the reference says about one is there, and empty.

use axum::extract::{FromRequestParts as _, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::auth::RETRY_SECONDS;
use super::{Caller, Sdk};
use crate::domain::OrgId;
use crate::domain::orgs::Switch;
use crate::http::ApiError;

/// Longer texts are no id of ours.
const LONGEST_ID: usize = 64;

#[derive(Debug, Deserialize)]
struct Asked {
    org_id: Option<String>,
}

/// The route.
pub(super) async fn show(
    State(sdk): State<Sdk>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let asked = Query::<Asked>::from_request_parts(&mut parts, &()).await;
    let Query(asked) = asked.map_err(|error| ApiError::bad_request("invalid_query", error.body_text()))?;
    let org = match asked.org_id {
        Some(id) => OrgId(id),
        None if parts.headers.contains_key(header::AUTHORIZATION) => {
            Caller::from_request_parts(&mut parts, &sdk).await?.org().clone()
        }
        None => {
            return Err(ApiError::bad_request("missing_field", "org_id is required where no key is sent"));
        }
    };
    let unknown = || ApiError::not_found("there is no such organisation");
    let plain = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if org.0.is_empty() || org.0.len() > LONGEST_ID || !plain(&org.0) {
        return Err(unknown());
    }
    let name = sdk.store.find_org_name(&org).await;
    let name = name.map_err(|e| ApiError::unavailable(RETRY_SECONDS, &e))?.ok_or_else(unknown)?;
    let rules = &sdk.keys.trust(&org).await?.rules;
    Ok(axum::Json(json!({
        "agent": {
            "id": null,
            "name": name,
            "skills": [],
            "avatar_config": {},
            "voice_config": {},
            "flow_config": { "steps": [], "custom_variables": [] },
            "live_help_label": null,
            "video_display_mode": null,
            "status": "active",
        },
        "organization": {
            "id": org,
            "name": name,
            "settings": {
                "identity_verification": rules.identity_verification == Switch::On,
                "reporting_currency": sdk.product.currency().to_ascii_uppercase(),
            },
        },
    }))
    .into_response())
}
