//! Why a write is refused: the caller's mistake, said so that it can be mended.

use schemars::JsonSchema;
use serde::Serialize;

use crate::store::StoreError;
use crate::store::product::Refused;

/// A mistake in what was sent. Nothing of the record was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Refusal {
    /// Stable name: `reserved_keys`, `invalid_field`, `payload_too_large`, `missing_field`, `invalid_record`.
    pub code: &'static str,
    /// What is wrong, and what to send instead.
    #[serde(rename = "error")]
    pub message: String,
    /// Every reserved key that was sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reserved_keys: Vec<String>,
    /// Every wrong member.
    #[serde(rename = "errors", skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldFault>,
}

/// A wrong member of what was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldFault {
    /// Its path: `traits.mrr`, `context.integrations.type`.
    pub field: String,
    /// What is wrong, and what to send instead.
    #[serde(rename = "error")]
    pub message: String,
}

impl Refusal {
    /// A refusal with nothing but a text.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), reserved_keys: Vec::new(), fields: Vec::new() }
    }

    /// A member is missing.
    pub(crate) fn missing(field: &str) -> Self {
        Self::fields(
            "missing_field",
            vec![FieldFault { field: field.to_owned(), message: "is required".to_owned() }],
        )
    }

    /// A member is larger than it may be.
    pub(crate) fn too_large(what: &str, measured: usize, most: usize, unit: &str) -> Self {
        Self::new("payload_too_large", format!("{what}: {measured} {unit}, at most {most} are accepted"))
    }

    /// Wrong members; the text says all of them.
    pub(crate) fn fields(code: &'static str, fields: Vec<FieldFault>) -> Self {
        let said: Vec<String> = fields.iter().map(|x| format!("{} {}", x.field, x.message)).collect();
        Self { fields, ..Self::new(code, said.join("; ")) }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::Invalid(_) => "invalid_record",
            Refused::TooLarge { .. } => "payload_too_large",
        };
        Self::new(code, refused.to_string())
    }
}

/// Why a call did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProductError {
    /// The caller's mistake.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// Trouble of ours. Nothing was written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refusal> for ProductError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
