//! What changed since an instant, by Stripe's own events: `/v1/events`.

use chrono::TimeDelta;
use connector_sdk::{Changed, ConnectorError, Cursor, Timestamp};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::StripeSession;
use crate::client::StripeError;
use crate::webhook::named_by;

/// How long Stripe keeps events (docs.stripe.com/api/events).
const KEPT: TimeDelta = TimeDelta::days(30);
/// The permission that reading events needs.
const PERMISSION: &str = "rak_event_read";

#[derive(Deserialize)]
struct EventList {
    data: Vec<Value>,
    has_more: bool,
}

impl StripeSession {
    /// A page of what events since that instant name, the newest first. The cursor is the page's last event.
    pub(super) async fn history(
        &self,
        since: Timestamp,
        cursor: Option<&Cursor>,
    ) -> Result<Changed, ConnectorError> {
        if self.client.now() - since > KEPT {
            return Err(ConnectorError::NotOffered(format!(
                "Stripe keeps its events for {} days, and {} is longer ago",
                KEPT.num_days(),
                since.to_rfc3339()
            )));
        }
        let mut call = self
            .client
            .get("GET /v1/events", &["v1", "events"])?
            .query("limit", "100")
            .query("created[gte]", &since.timestamp().to_string())
            .leave(StatusCode::FORBIDDEN);
        if let Some(Cursor(last)) = cursor {
            call = call.query("starting_after", last);
        }
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN => {
                return Err(ConnectorError::Auth {
                    message: format!("{}: the key may not do this", call.endpoint),
                    missing_permission: Some(
                        crate::client::missing_permission(&answer).unwrap_or_else(|| PERMISSION.to_owned()),
                    ),
                });
            }
            // The event to go on after is just over its thirty days: so is everything behind it.
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND
                if cursor.is_some() && StripeError::of(&answer).is_some_and(|e| e.object_missing()) =>
            {
                return Ok(Changed::default());
            }
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                return Err(ConnectorError::NotOffered("a history of changes".to_owned()));
            }
            _ => return Err(self.client.unexpected(&call, &answer)),
        }
        let list: EventList = answer.json_owned()?;
        let last = list.data.last().and_then(|event| event.get("id")?.as_str()).map(str::to_owned);
        let mut changed = Changed::default();
        for event in &list.data {
            for key in named_by(event) {
                if !changed.keys.contains(&key) {
                    changed.keys.push(key);
                }
            }
        }
        if list.has_more {
            let last = last
                .filter(|last| cursor.is_none_or(|c| c.0 != *last))
                .ok_or_else(|| ConnectorError::Protocol("GET /v1/events: the list never ends".to_owned()))?;
            changed.next = Some(Cursor(last));
        }
        Ok(changed)
    }
}
