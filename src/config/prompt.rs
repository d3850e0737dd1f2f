use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The text that the chat's prompt gets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prompt {
    /// Tokens that the text may take, as docs/prompt-format.md counts them; not set: no limit.
    pub budget_tokens: Option<usize>,
    /// What is known of attributes: `{ scope, key, description, in_prompt }` each. The merge checks them
    /// itself. For all organisations; what one says itself (`halo-sync attributes describe`) wins.
    pub attributes: Vec<Value>,
}
