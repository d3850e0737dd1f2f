use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::database::read_secret;
use super::{ConfigError, Findings, Origin, Secret};

/// The model that answers chats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Chat {
    /// Address of an OpenAI-compatible endpoint, up to `/chat/completions`; not set: chats are not answered here.
    pub base_url: Option<String>,
    /// The model's name.
    pub model: Option<String>,
    /// Sent to the endpoint as a bearer token.
    pub api_key: Option<Secret>,
    /// File that holds `api_key`.
    pub api_key_file: Option<PathBuf>,
    /// Text that stands before what is known of the customer in the system prompt.
    pub instructions: Option<String>,
    /// Tokens of an answer, at most; not set: the endpoint's own limit.
    pub max_tokens: Option<u32>,
    /// Further members of every request to the endpoint, as `temperature`.
    pub parameters: serde_json::Map<String, Value>,
    /// Time that a whole answer may take.
    pub timeout_seconds: u64,
    /// Time without any piece of an answer after which it is given up.
    pub stall_timeout_seconds: u64,
    /// Answers at once; more are refused with 503.
    pub max_concurrent: u32,
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            base_url: None,
            model: None,
            api_key: None,
            api_key_file: None,
            instructions: None,
            max_tokens: None,
            parameters: serde_json::Map::new(),
            timeout_seconds: 120,
            stall_timeout_seconds: 30,
            max_concurrent: 64,
        }
    }
}

/// Members of a request that are not for the operator to set here.
const OWN_MEMBERS: [&str; 5] = ["model", "messages", "stream", "max_tokens", "n"];

impl Chat {
    /// Takes the place of the secret that a file holds.
    pub(super) fn read_secret_files(
        &mut self,
        origins: &mut BTreeMap<String, Origin>,
    ) -> Result<(), ConfigError> {
        read_secret("chat.api_key", &mut self.api_key, self.api_key_file.as_deref(), origins)
    }

    pub(super) fn check(&self, found: &mut Findings<'_>) {
        match (&self.base_url, &self.model) {
            (Some(_), None) => found.add("chat.model", "is missing: chat.base_url is set"),
            (None, Some(_)) => found.add("chat.base_url", "is missing: chat.model is set"),
            _ => {}
        }
        if let Some(text) = &self.base_url
            && let Err(message) = check_address(text, self.api_key.is_some())
        {
            found.add("chat.base_url", message);
        }
        for member in OWN_MEMBERS.iter().filter(|member| self.parameters.contains_key(**member)) {
            found.add("chat.parameters", format!("{member} cannot be set here"));
        }
        if self.max_tokens == Some(0) {
            found.add("chat.max_tokens", "must be at least 1");
        }
        found.within("chat.timeout_seconds", self.timeout_seconds, 1, 3_600);
        found.within("chat.stall_timeout_seconds", self.stall_timeout_seconds, 1, 3_600);
        found.within("chat.max_concurrent", self.max_concurrent, 1, 10_000);
    }
}

/// A credential goes over no open line but to this machine.
fn check_address(text: &str, has_key: bool) -> Result<(), String> {
    // The parser's own message may quote the address.
    let url = url::Url::parse(text).map_err(|_| "is not a valid address".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("begins neither with https:// nor with http://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials: set chat.api_key_file instead".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with a path".to_owned());
    }
    let is_loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("names no host".to_owned()),
    };
    if has_key && url.scheme() == "http" && !is_loopback {
        return Err("would send chat.api_key unencrypted: use https://".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_address;

    #[test]
    fn a_key_is_not_sent_over_an_open_line() {
        for (text, has_key, good) in [
            ("https://api.example.com/v1", true, true),
            ("http://127.0.0.1:8000/v1", true, true),
            ("http://[::1]/v1/", true, true),
            ("http://localhost:11434/v1", true, true),
            ("http://10.0.0.7:8000/v1", false, true),
            ("http://10.0.0.7:8000/v1", true, false),
            ("http://localhost.example.com/v1", true, false),
            ("https://user:hunter2@api.example.com/v1", false, false),
            ("https://api.example.com/v1?key=hunter2", false, false),
            ("ftp://api.example.com/", false, false),
            ("api.example.com/v1", false, false),
        ] {
            let checked = check_address(text, has_key);
            assert_eq!(checked.is_ok(), good, "{text}: {checked:?}");
            assert!(!checked.is_err_and(|message| message.contains("hunter2")));
        }
    }
}
