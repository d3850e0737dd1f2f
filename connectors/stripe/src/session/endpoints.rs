//! Webhook endpoints: `/v1/webhook_endpoints`.

use async_trait::async_trait;
use connector_sdk::{Answer, Call, ConnectorError, Endpoint, EndpointAdmin, NewEndpoint};
use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use std::collections::BTreeMap;

use super::StripeSession;
use crate::client::{API_VERSION, StripeError, missing_permission};
use crate::webhook::EVENTS;

/// The member of an endpoint's metadata that says whose it is.
const TAG: &str = "halo_sync_connection";
/// Every event type.
const ALL_EVENTS: &str = "*";
/// What an endpoint without a pinned version sends.
const ACCOUNT_DEFAULT: &str = "the account's default";
/// Stripe allows 16 endpoints of an account in a mode; more pages than this never end.
const PAGES: usize = 20;

#[derive(Deserialize)]
struct EndpointObject {
    id: String,
    url: String,
    status: Option<String>,
    api_version: Option<String>,
    #[serde(default)]
    enabled_events: Vec<String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    secret: Option<String>,
}

#[derive(Deserialize)]
struct EndpointList {
    data: Vec<EndpointObject>,
    has_more: bool,
}

impl EndpointObject {
    fn endpoint(self) -> Endpoint {
        let all = self.enabled_events.iter().any(|event| event == ALL_EVENTS);
        Endpoint {
            id: self.id,
            url: self.url,
            enabled: self.status.as_deref() == Some("enabled"),
            api_version: Some(self.api_version.unwrap_or_else(|| ACCOUNT_DEFAULT.to_owned())),
            events: (!all).then_some(self.enabled_events),
            tag: self.metadata.get(TAG).cloned(),
        }
    }
}

/// The fields that say what is sent, and where.
fn wanted(url: &str) -> Vec<(&str, &str)> {
    let mut fields = vec![("url", url)];
    fields.extend(EVENTS.iter().map(|event| ("enabled_events[]", *event)));
    fields
}

impl StripeSession {
    async fn admin(&self, call: Call, permission: &str) -> Result<Answer, ConnectorError> {
        let call = call.leave(StatusCode::FORBIDDEN);
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::OK => Ok(answer),
            StatusCode::FORBIDDEN => Err(ConnectorError::Auth {
                message: format!("{}: the key may not do this", call.endpoint),
                missing_permission: Some(
                    missing_permission(&answer).unwrap_or_else(|| permission.to_owned()),
                ),
            }),
            StatusCode::NOT_FOUND if StripeError::of(&answer).is_some_and(|e| e.object_missing()) => {
                Ok(answer)
            }
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                Err(ConnectorError::NotOffered("webhook endpoints".to_owned()))
            }
            // Stripe says what it has against the address.
            StatusCode::BAD_REQUEST => Err(match StripeError::of(&answer).and_then(|e| e.message) {
                Some(message) => ConnectorError::Config(format!("{}: {message}", call.endpoint)),
                None => self.client.unexpected(&call, &answer),
            }),
            _ => Err(self.client.unexpected(&call, &answer)),
        }
    }
}

const READ: &str = "Webhook Endpoints: read";
const WRITE: &str = "Webhook Endpoints: write";

#[async_trait]
impl EndpointAdmin for StripeSession {
    async fn list(&self) -> Result<Vec<Endpoint>, ConnectorError> {
        let mut found: Vec<Endpoint> = Vec::new();
        for _ in 0..PAGES {
            let mut call = self
                .client
                .get("GET /v1/webhook_endpoints", &["v1", "webhook_endpoints"])?
                .query("limit", "100");
            if let Some(last) = found.last() {
                call = call.query("starting_after", &last.id);
            }
            let list: EndpointList = self.admin(call, READ).await?.json_owned()?;
            let more = list.has_more && !list.data.is_empty();
            found.extend(list.data.into_iter().map(EndpointObject::endpoint));
            if !more {
                return Ok(found);
            }
        }
        Err(ConnectorError::Protocol("GET /v1/webhook_endpoints: the list never ends".to_owned()))
    }

    async fn create(&self, url: &str, tag: &str) -> Result<NewEndpoint, ConnectorError> {
        let tagged = format!("metadata[{TAG}]");
        let mut fields = wanted(url);
        fields.extend([("api_version", API_VERSION), ("description", "halo-sync"), (tagged.as_str(), tag)]);
        let call = self.client.post("POST /v1/webhook_endpoints", &["v1", "webhook_endpoints"], &fields)?;
        let mut made: EndpointObject = self.admin(call, WRITE).await?.json_owned()?;
        let secret = made.secret.take().ok_or_else(|| {
            ConnectorError::Protocol("POST /v1/webhook_endpoints: the answer holds no secret".to_owned())
        })?;
        Ok(NewEndpoint { endpoint: made.endpoint(), secret: SecretString::from(secret) })
    }

    async fn update(&self, id: &str, url: &str) -> Result<Endpoint, ConnectorError> {
        let mut fields = wanted(url);
        fields.push(("disabled", "false"));
        let call =
            self.client.post("POST /v1/webhook_endpoints/:id", &["v1", "webhook_endpoints", id], &fields)?;
        let answer = self.admin(call, WRITE).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(ConnectorError::Transient(format!("endpoint {id} was removed meanwhile")));
        }
        Ok(answer.json_owned::<EndpointObject>()?.endpoint())
    }

    async fn remove(&self, id: &str) -> Result<(), ConnectorError> {
        let call =
            self.client.delete("DELETE /v1/webhook_endpoints/:id", &["v1", "webhook_endpoints", id])?;
        self.admin(call, WRITE).await.map(drop)
    }
}
