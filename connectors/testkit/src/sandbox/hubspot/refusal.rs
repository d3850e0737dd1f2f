//! How HubSpot refuses.

use serde_json::{Value, json};

/// A refusal in HubSpot's shape.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    category: &'static str,
    pub(super) message: String,
    errors: Option<Value>,
    policy: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: u16, category: &'static str, message: impl Into<String>) -> Self {
        Self { status, category, message: message.into(), errors: None, policy: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "VALIDATION_ERROR", message)
    }

    pub(super) fn missing(what: &str) -> Self {
        Self::new(404, "OBJECT_NOT_FOUND", format!("Object not found. {what} does not exist"))
    }

    pub(super) fn unknown_url() -> Self {
        Self::new(404, "OBJECT_NOT_FOUND", "resource not found")
    }

    pub(super) fn scope(scope: &str) -> Self {
        Self {
            errors: Some(json!([{
                "message": "One or more of the following scopes are required.",
                "context": {"requiredGranularScopes": [scope]},
            }])),
            ..Self::new(
                403,
                "MISSING_SCOPES",
                "This app hasn't been granted all required scopes to make this call. Read more about required \
                 scopes here: https://developers.hubspot.com/scopes.",
            )
        }
    }

    pub(super) fn too_many(policy: &'static str) -> Self {
        Self {
            policy: Some(policy),
            ..Self::new(429, "RATE_LIMITS", format!("You have reached your {} limit.", policy.to_lowercase()))
        }
    }

    pub(super) fn body(&self) -> String {
        let mut body = json!({
            "status": "error", "message": self.message, "category": self.category,
            "correlationId": "019ce0f9-5b7d-7fd3-8190-000000000000",
        });
        if let Some(errors) = &self.errors {
            body["errors"] = errors.clone();
        }
        if let Some(policy) = self.policy {
            body["policyName"] = json!(policy);
            body["errorType"] = json!("RATE_LIMIT");
        }
        body.to_string()
    }
}
