//! `/v1/webhook_endpoints`: endpoints that are made, changed and removed through the API. They get the events that
//! they ask for, signed with a secret of their own, while they are enabled.

use serde_json::{Value, json};

use super::read::Refusal;

/// Types that no endpoint may ask for would be refused; of the others only the form is checked.
fn events_of(form: &Value) -> Result<Vec<Value>, Refusal> {
    let events = form["enabled_events"].as_array().cloned().unwrap_or_default();
    if events.is_empty() {
        return Err(Refusal::invalid("enabled_events", "Missing required param: enabled_events."));
    }
    for event in &events {
        let text = event.as_str().unwrap_or_default();
        if text != "*" && !text.contains('.') {
            return Err(Refusal::invalid("enabled_events", format!("Invalid enabled_events: {text}")));
        }
    }
    Ok(events)
}

fn url_of(form: &Value) -> Result<&str, Refusal> {
    let url = form["url"].as_str().ok_or_else(|| Refusal::invalid("url", "Missing required param: url."))?;
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(url);
    }
    Err(Refusal::invalid("url", "Invalid URL: An explicit scheme (such as https) must be provided."))
}

/// One endpoint.
#[derive(Debug, Clone)]
pub(super) struct Registered {
    /// As a read answers it: without the secret.
    pub(super) doc: Value,
    pub(super) secret: String,
}

impl Registered {
    pub(super) fn id(&self) -> &str {
        self.doc["id"].as_str().unwrap_or_default()
    }

    /// Whether an event of this type is sent to it.
    pub(super) fn takes(&self, kind: &str) -> bool {
        self.doc["status"] == "enabled"
            && self.doc["enabled_events"]
                .as_array()
                .is_some_and(|events| events.iter().any(|event| event == "*" || event == kind))
    }
}

/// All of an account.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    all: Vec<Registered>,
    made: u32,
}

impl Hooks {
    pub(super) fn all(&self) -> &[Registered] {
        &self.all
    }

    pub(super) fn find_mut(&mut self, id: &str) -> Option<&mut Registered> {
        self.all.iter_mut().find(|hook| hook.id() == id)
    }

    /// What the API answers.
    pub(super) fn call(
        &mut self,
        method: &str,
        id: Option<&str>,
        form: &Value,
        query: &[(String, String)],
        now: i64,
        live: bool,
    ) -> Result<Value, Refusal> {
        let missing = |id: &str| Refusal {
            status: 404,
            code: Some("resource_missing"),
            ..Refusal::invalid("webhook_endpoint", format!("No such webhook endpoint: '{id}'"))
        };
        match (method, id) {
            ("GET", None) => {
                let after =
                    query.iter().find(|(name, _)| name == "starting_after").map(|(_, id)| id.as_str());
                let limit = query.iter().find(|(name, _)| name == "limit").and_then(|(_, n)| n.parse().ok());
                // Newest first, as every list.
                let mut rest: Vec<&Registered> = self.all.iter().rev().collect();
                if let Some(after) = after {
                    let at = rest.iter().position(|hook| hook.id() == after).ok_or_else(|| missing(after))?;
                    rest.drain(..=at);
                }
                let more = rest.len() > limit.unwrap_or(10);
                rest.truncate(limit.unwrap_or(10));
                let data: Vec<&Value> = rest.iter().map(|hook| &hook.doc).collect();
                Ok(json!({"object": "list", "url": "/v1/webhook_endpoints", "has_more": more, "data": data}))
            }
            ("POST", None) => {
                let (url, events) = (url_of(form)?, events_of(form)?);
                self.made += 1;
                let secret = format!("whsec_made{}", self.made);
                let doc = json!({
                    "id": format!("we_{}", self.made), "object": "webhook_endpoint", "application": null,
                    "api_version": form["api_version"], "created": now, "description": form["description"],
                    "enabled_events": events, "livemode": live, "status": "enabled", "url": url,
                    "metadata": if form["metadata"].is_object() { form["metadata"].clone() } else { json!({}) },
                });
                self.all.push(Registered { doc: doc.clone(), secret: secret.clone() });
                let mut answer = doc;
                answer["secret"] = json!(secret);
                Ok(answer)
            }
            ("GET", Some(id)) => self.find_mut(id).map(|hook| hook.doc.clone()).ok_or_else(|| missing(id)),
            ("POST", Some(id)) => {
                let hook = self.find_mut(id).ok_or_else(|| missing(id))?;
                if form.get("api_version").is_some() {
                    return Err(Refusal::invalid("api_version", "Received unknown parameter: api_version"));
                }
                if form.get("url").is_some() {
                    hook.doc["url"] = json!(url_of(form)?);
                }
                if form.get("enabled_events").is_some() {
                    hook.doc["enabled_events"] = Value::from(events_of(form)?);
                }
                if let Some(disabled) = form["disabled"].as_str() {
                    hook.doc["status"] = json!(if disabled == "true" { "disabled" } else { "enabled" });
                }
                Ok(hook.doc.clone())
            }
            ("DELETE", Some(id)) => {
                let at = self.all.iter().position(|hook| hook.id() == id).ok_or_else(|| missing(id))?;
                self.all.remove(at);
                Ok(json!({"id": id, "object": "webhook_endpoint", "deleted": true}))
            }
            _ => Err(Refusal::unknown_url(method, "/v1/webhook_endpoints")),
        }
    }
}
