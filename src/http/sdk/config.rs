//! `GET /api/sdk/config`: what a widget asks before anything else. By `org_id`, without a key, as in the reference;
//! or by a key.
//!
//! There are no agents here: what the reference says about one is there, and empty.

use axum::extract::{FromRequestParts as _, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::auth::RETRY_SECONDS;
use super::{Caller, Sdk};
use crate::domain::OrgId;
use crate::domain::orgs::Switch;
use crate::http::ApiError;
use crate::http::openapi::{Access, Operation, Tag};

/// Longer texts are no id of ours.
const LONGEST_ID: usize = 64;

#[derive(Debug, Deserialize, JsonSchema)]
struct Asked {
    /// The organisation, where no key is sent.
    org_id: Option<String>,
}

/// What a widget is told.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Config")]
struct Shape {
    /// The agent, in the reference's members; there are none here, so most are empty.
    agent: AgentShape,
    /// The organisation.
    organization: OrganizationShape,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConfigAgent")]
struct AgentShape {
    id: Option<String>,
    name: String,
    skills: Vec<String>,
    avatar_config: Map<String, Value>,
    voice_config: Map<String, Value>,
    flow_config: FlowShape,
    live_help_label: Option<String>,
    video_display_mode: Option<String>,
    status: &'static str,
}

#[derive(Default, Serialize, JsonSchema)]
#[schemars(rename = "ConfigFlow")]
struct FlowShape {
    steps: Vec<Value>,
    custom_variables: Vec<Value>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConfigOrganization")]
struct OrganizationShape {
    id: String,
    name: String,
    settings: SettingsShape,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConfigSettings")]
struct SettingsShape {
    /// Whether a page must send a `user_token` with a `user_id`.
    identity_verification: bool,
    /// What `mrr` and `arr` are sent in: ISO 4217.
    reporting_currency: String,
}

fn shape(org: OrgId, name: String, settings: SettingsShape) -> Shape {
    Shape {
        agent: AgentShape {
            id: None,
            name: name.clone(),
            skills: Vec::new(),
            avatar_config: Map::new(),
            voice_config: Map::new(),
            flow_config: FlowShape::default(),
            live_help_label: None,
            video_display_mode: None,
            status: "active",
        },
        organization: OrganizationShape { id: org.0, name, settings },
    }
}

/// What the route says about itself.
pub(super) fn operation() -> Operation {
    let settings = SettingsShape { identity_verification: false, reporting_currency: "USD".to_owned() };
    let example = shape(OrgId::default_org(), "default".to_owned(), settings);
    Operation::get("/api/sdk/config", "config", "What a widget asks before anything else")
        .about("By `org_id`, without a key; or by a key. Nothing of it is secret.")
        .tag(Tag::Chat)
        .access(Access::Anybody)
        .query::<Asked>()
        .answer::<Shape>(
            200,
            "The organisation's settings.",
            serde_json::to_value(example).unwrap_or_default(),
        )
        .codes(&["bad_parameter", "missing_field", "not_found", "unauthorized"])
}

/// The route.
pub(super) async fn show(
    State(sdk): State<Sdk>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let asked = Query::<Asked>::from_request_parts(&mut parts, &()).await;
    let Query(asked) = asked.map_err(|error| ApiError::bad_request("bad_parameter", error.body_text()))?;
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
    let settings = SettingsShape {
        identity_verification: rules.identity_verification == Switch::On,
        reporting_currency: sdk.product.currency().to_ascii_uppercase(),
    };
    Ok(axum::Json(shape(org, name, settings)).into_response())
}
