//! Structured state for the AI: an entry of a user's or a company's context.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a context entry is about; decides how it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContextType {
    /// Items.
    List,
    /// Connected tools and their state.
    Integration,
    /// Active issues.
    Error,
    /// General state.
    Status,
    /// Settings.
    Config,
    /// Feature flags.
    Feature,
    /// Numbers.
    Metric,
    /// Links between things.
    Relationship,
    /// Anything else; the same as no type.
    Custom,
}

/// One entry; the key that it is stored under is not part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContextEntry {
    /// The header of its section in the prompt.
    pub label: String,
    /// The type; absent means detection from the value.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ContextType>,
    /// Any JSON.
    pub value: serde_json::Value,
}
