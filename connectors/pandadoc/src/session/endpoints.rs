//! Webhook subscriptions: `/public/v1/webhook-subscriptions`.

use async_trait::async_trait;
use connector_sdk::{Answer, Call, ConnectorError, Endpoint, EndpointAdmin, NewEndpoint};
use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::PandaDocSession;
use crate::client::sentence;
use crate::webhook::EVENTS;

/// What the name of a subscription of ours begins with; the tag follows.
const NAME: &str = "halo-sync ";
const PATH: [&str; 3] = ["public", "v1", "webhook-subscriptions"];
/// The rights that PandaDoc asks for, in its words.
const WRITE: &str = "write";

#[derive(Deserialize)]
struct Subscription {
    uuid: String,
    name: Option<String>,
    url: Option<String>,
    active: Option<bool>,
    status: Option<String>,
    triggers: Option<Vec<String>>,
    shared_key: Option<SecretString>,
}

#[derive(Deserialize)]
struct Subscriptions {
    items: Vec<Subscription>,
}

impl Subscription {
    fn endpoint(self) -> Endpoint {
        // PandaDoc deactivates a subscription by itself after one 410 or a week of refusals; `active` may still say
        // what its owner wanted.
        let enabled = match self.status.as_deref() {
            Some(status) => status == "ACTIVE",
            None => self.active == Some(true),
        };
        Endpoint {
            id: self.uuid,
            url: self.url.unwrap_or_default(),
            enabled,
            api_version: None,
            events: Some(self.triggers.unwrap_or_default()),
            tag: self.name.and_then(|name| name.strip_prefix(NAME).map(|tag| tag.trim().to_owned())),
        }
    }
}

impl PandaDocSession {
    async fn admin(&self, call: Call, permission: &str) -> Result<Answer, ConnectorError> {
        let call = call.leave(StatusCode::FORBIDDEN);
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(answer),
            StatusCode::FORBIDDEN => Err(self.client.forbidden(&call, permission)),
            StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                Err(ConnectorError::NotOffered("webhook subscriptions".to_owned()))
            }
            // PandaDoc says what it has against the address.
            StatusCode::BAD_REQUEST => Err(match sentence(&answer) {
                Some(message) => ConnectorError::Config(format!("{}: {message}", call.endpoint)),
                None => self.client.unexpected(&call, &answer),
            }),
            StatusCode::NOT_FOUND => Ok(answer),
            _ => Err(self.client.unexpected(&call, &answer)),
        }
    }
}

fn removed(id: &str) -> ConnectorError {
    ConnectorError::Transient(format!("subscription {id} was removed meanwhile"))
}

fn not_offered() -> ConnectorError {
    ConnectorError::NotOffered("webhook subscriptions".to_owned())
}

#[async_trait]
impl EndpointAdmin for PandaDocSession {
    /// PandaDoc answers all of a workspace at once; it allows 300.
    async fn list(&self) -> Result<Vec<Endpoint>, ConnectorError> {
        let call = self.client.get("GET /public/v1/webhook-subscriptions", &PATH)?;
        let answer = self.admin(call, crate::READ).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(not_offered());
        }
        let all: Subscriptions = answer.json_owned()?;
        Ok(all.items.into_iter().map(Subscription::endpoint).collect())
    }

    async fn create(&self, url: &str, tag: &str) -> Result<NewEndpoint, ConnectorError> {
        let body = json!({
            "name": format!("{NAME}{tag}"), "url": url, "active": true, "triggers": EVENTS, "payload": [],
        });
        let call = self.client.post("POST /public/v1/webhook-subscriptions", &PATH, &body)?;
        let answer = self.admin(call, WRITE).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(not_offered());
        }
        let mut made: Subscription = answer.json_owned()?;
        let secret = made.shared_key.take().ok_or_else(|| {
            ConnectorError::Protocol(
                "POST /public/v1/webhook-subscriptions: the answer holds no shared key".to_owned(),
            )
        })?;
        Ok(NewEndpoint { endpoint: made.endpoint(), secret })
    }

    async fn update(&self, id: &str, url: &str) -> Result<Endpoint, ConnectorError> {
        let [a, b, c] = PATH;
        let body = json!({ "url": url, "active": true, "triggers": EVENTS });
        let call = self.client.patch("PATCH /public/v1/webhook-subscriptions/:id", &[a, b, c, id], &body)?;
        let answer = self.admin(call, WRITE).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(removed(id));
        }
        Ok(answer.json_owned::<Subscription>()?.endpoint())
    }

    async fn remove(&self, id: &str) -> Result<(), ConnectorError> {
        let [a, b, c] = PATH;
        let call = self.client.delete("DELETE /public/v1/webhook-subscriptions/:id", &[a, b, c, id])?;
        self.admin(call, WRITE).await.map(drop)
    }
}
