//! The model that answers: an OpenAI-compatible chat completions endpoint, read as a stream.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::sse::{Events, TooLong};

/// Bytes of an answer, at most.
const LONGEST_ANSWER: usize = 256 * 1024;
/// Bytes of an answer that comes whole, in its JSON.
const LONGEST_BODY: usize = 1024 * 1024;
/// For a connection to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Longer pauses that an endpoint asks for are cut to this.
const LONGEST_PAUSE: u64 = 300;

/// How the model is reached.
#[derive(Debug, Clone)]
pub struct ModelSettings {
    /// The address that `/chat/completions` is behind.
    pub base_url: Url,
    /// The model's name.
    pub model: String,
    /// Sent as a bearer token.
    pub api_key: Option<SecretString>,
    /// Tokens of an answer, at most.
    pub max_tokens: Option<u32>,
    /// Further members of every request (`temperature`).
    pub parameters: Map<String, Value>,
    /// Text that stands before what is known of the customer.
    pub instructions: Option<String>,
    /// For a whole answer.
    pub timeout: Duration,
    /// Between two pieces of an answer, and for the first.
    pub stall_timeout: Duration,
    /// Answers at once.
    pub max_concurrent: usize,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// It cannot be reached, or the connection broke before it answered.
    #[error("the model cannot be reached")]
    Unreachable,
    /// It has too much to do.
    #[error("the model has too much to do")]
    Busy {
        /// When it says to come again, in seconds.
        retry_after: Option<u64>,
    },
    /// It does not take the call: credentials, model name or a parameter.
    #[error("the model's endpoint refused the call with status {0}")]
    Refused(u16),
    /// A fault of its own.
    #[error("the model's endpoint failed with status {0}")]
    Failed(u16),
    /// It said so in the middle of an answer.
    #[error("the model's endpoint reported an error within the answer")]
    Reported,
    /// The answer ended before its end.
    #[error("the answer broke off")]
    Cut,
    /// Nothing came for too long.
    #[error("the answer stood still for too long")]
    Stalled,
    /// The whole took too long.
    #[error("the answer took too long")]
    TooSlow,
    /// It is not what an endpoint of this kind sends.
    #[error("the answer is not readable")]
    Garbled,
    /// There was too much of it.
    #[error("the answer is too long")]
    TooLong,
}

/// A message to the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelMessage {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// A text, or parts of text and pictures.
    pub content: Value,
}

/// The endpoint.
pub struct Model {
    client: reqwest::Client,
    url: Url,
    key: Option<HeaderValue>,
    settings: ModelSettings,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("model", &self.settings.model).finish_non_exhaustive()
    }
}

impl Model {
    /// Prepares calls; makes none.
    ///
    /// # Errors
    ///
    /// What of the settings cannot be used. The key is not quoted.
    pub fn new(settings: ModelSettings) -> Result<Self, String> {
        // reqwest panics in build() without a provider.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err("no TLS provider is installed".to_owned());
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .user_agent(concat!("halo-sync/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .no_gzip()
            .build()
            .map_err(|_| "the HTTP client cannot be made".to_owned())?;
        let mut url = settings.base_url.clone();
        url.path_segments_mut()
            .map_err(|()| "chat.base_url is no address of a server".to_owned())?
            .pop_if_empty()
            .extend(["chat", "completions"]);
        let key = settings.api_key.as_ref().map(|key| {
            let value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()));
            let mut value =
                value.map_err(|_| "chat.api_key holds characters that no header can".to_owned())?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        Ok(Self { client, url, key: key.transpose()?, settings })
    }

    /// Text that stands before what is known of the customer.
    pub fn instructions(&self) -> Option<&str> {
        self.settings.instructions.as_deref()
    }

    /// Answers at once.
    pub fn max_concurrent(&self) -> usize {
        self.settings.max_concurrent
    }

    /// Asks, and answers when the endpoint has begun to.
    ///
    /// # Errors
    ///
    /// Why it has not.
    pub async fn ask(&self, messages: &[ModelMessage]) -> Result<Answer, ModelError> {
        let until = Instant::now() + self.settings.timeout;
        let mut body = self.settings.parameters.clone();
        body.insert("model".to_owned(), self.settings.model.as_str().into());
        body.insert("messages".to_owned(), json!(messages));
        body.insert("stream".to_owned(), true.into());
        if let Some(tokens) = self.settings.max_tokens {
            body.insert("max_tokens".to_owned(), tokens.into());
        }
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream")
            .body(Value::Object(body).to_string());
        if let Some(key) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        let first = until.min(Instant::now() + self.settings.stall_timeout);
        let response = match timeout_at(first, request.send()).await {
            Err(_) => return Err(self.late(until)),
            Ok(Err(_)) => return Err(ModelError::Unreachable),
            Ok(Ok(response)) => response,
        };
        let status = response.status();
        if !status.is_success() {
            // What it says may quote the prompt: nobody is shown it.
            return Err(match status.as_u16() {
                429 | 503 => ModelError::Busy { retry_after: retry_after(&response) },
                status @ 400..=499 => ModelError::Refused(status),
                status => ModelError::Failed(status),
            });
        }
        let whole = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.trim_start().starts_with("application/json"));
        Ok(Answer {
            response,
            until,
            stall_timeout: self.settings.stall_timeout,
            events: Events::default(),
            ready: std::collections::VecDeque::new(),
            whole: whole.then(Vec::new),
            length: 0,
            finished: false,
        })
    }

    fn late(&self, until: Instant) -> ModelError {
        if Instant::now() >= until { ModelError::TooSlow } else { ModelError::Stalled }
    }
}

fn retry_after(response: &reqwest::Response) -> Option<u64> {
    let seconds: u64 = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.min(LONGEST_PAUSE))
}

/// An answer that is on its way. Dropped, it is called off.
pub struct Answer {
    response: reqwest::Response,
    until: Instant,
    stall_timeout: Duration,
    events: Events,
    ready: std::collections::VecDeque<Result<String, ModelError>>,
    /// What has come of an answer that comes whole, from an endpoint that streams nothing.
    whole: Option<Vec<u8>>,
    length: usize,
    /// The endpoint has said that this is the end.
    finished: bool,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("length", &self.length).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default, alias = "message")]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
}

impl Answer {
    /// The next piece of the text; `None` at its end. After an error there is nothing more.
    ///
    /// # Errors
    ///
    /// Why the rest does not come.
    pub async fn next(&mut self) -> Result<Option<String>, ModelError> {
        loop {
            match self.ready.pop_front() {
                Some(Ok(text)) if text.is_empty() => continue,
                Some(Ok(text)) => {
                    self.length += text.len();
                    if self.length > LONGEST_ANSWER {
                        return Err(ModelError::TooLong);
                    }
                    return Ok(Some(text));
                }
                Some(Err(error)) => return Err(error),
                None if self.finished && self.whole.is_none() => return Ok(None),
                None => {}
            }
            let stall = Instant::now() + self.stall_timeout;
            let chunk = match timeout_at(self.until.min(stall), self.response.chunk()).await {
                Err(_) if Instant::now() >= self.until => return Err(ModelError::TooSlow),
                Err(_) => return Err(ModelError::Stalled),
                Ok(Err(_)) => return Err(ModelError::Cut),
                Ok(Ok(chunk)) => chunk,
            };
            let Some(chunk) = chunk else {
                let Some(body) = self.whole.take() else { return Err(ModelError::Cut) };
                self.take_whole(&body);
                continue;
            };
            if let Some(body) = &mut self.whole {
                body.extend_from_slice(&chunk);
                if body.len() > LONGEST_BODY {
                    return Err(ModelError::TooLong);
                }
                continue;
            }
            let (ready, finished) = (&mut self.ready, &mut self.finished);
            let pushed = self.events.push(&chunk, |data| {
                if !*finished && let Some(piece) = piece(&data, finished) {
                    ready.push_back(piece);
                }
            });
            if let Err(TooLong) = pushed {
                self.ready.push_back(Err(ModelError::TooLong));
            }
        }
    }

    fn take_whole(&mut self, body: &[u8]) {
        let text = std::str::from_utf8(body).unwrap_or_default();
        let mut finished = false;
        self.ready.extend(piece(text, &mut finished));
        if !finished && self.ready.is_empty() {
            self.ready.push_back(Err(ModelError::Garbled));
        }
        self.finished = true;
    }
}

/// What one event says: a piece of the text, an error, or nothing; `finished` once it is the last. After the reason
/// for the end some endpoints send figures, and `[DONE]`: nobody waits for them.
fn piece(data: &str, finished: &mut bool) -> Option<Result<String, ModelError>> {
    if data.trim() == "[DONE]" {
        *finished = true;
        return None;
    }
    // A list would do for a structure, member by member.
    let chunk = data.trim_start().starts_with('{').then(|| serde_json::from_str::<Chunk>(data).ok());
    let Some(chunk) = chunk.flatten() else { return Some(Err(ModelError::Garbled)) };
    if chunk.error.is_some_and(|error| !error.is_null()) {
        return Some(Err(ModelError::Reported));
    }
    let choice = chunk.choices.into_iter().next()?;
    *finished = choice.finish_reason.is_some_and(|reason| !reason.is_empty());
    choice.delta.and_then(|delta| delta.content).map(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_piece_an_error_or_the_end() {
        let read = |data: &str| {
            let mut finished = false;
            (piece(data, &mut finished), finished)
        };
        assert_eq!(read("[DONE]"), (None, true));
        let said = |text: &str| Some(Ok(text.to_owned()));
        assert_eq!(read(r#"{"choices":[{"delta":{"content":"a"}}]}"#), (said("a"), false));
        assert_eq!(read(r#"{"choices":[{"delta":{"content":null},"finish_reason":null}]}"#), (None, false));
        assert_eq!(read(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#), (None, true));
        let whole =
            r#"{"choices":[{"message":{"role":"assistant","content":"a"},"finish_reason":"length"}]}"#;
        assert_eq!(read(whole), (said("a"), true));
        assert_eq!(read(r#"{"choices":[],"usage":{"total_tokens":3}}"#), (None, false));
        assert_eq!(
            read(r#"{"error":{"message":"the prompt was …"}}"#),
            (Some(Err(ModelError::Reported)), false)
        );
        for garbage in ["", "x", "[]", "7", r#"{"choices":7}"#, "<html>"] {
            assert_eq!(read(garbage), (Some(Err(ModelError::Garbled)), false), "{garbage}");
        }
    }
}
