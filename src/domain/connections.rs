//! Connections, their schedules, API keys.

use connector_sdk::{Mode, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::origin::OriginRule;
use super::{ConnectionId, KeyId, OrgId, ScheduleId};

/// An authenticated account of one organisation at a provider. Holds no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Our id.
    pub id: ConnectionId,
    /// Whose it is.
    pub org_id: OrgId,
    /// The connector's id (`stripe`).
    pub connector: String,
    /// A name that the operator chose, unique in the organisation (`stripe`, `stripe-eu`).
    pub name: String,
    /// The provider's account id, from the last check.
    pub account_id: Option<String>,
    /// The provider's account name.
    pub account_name: Option<String>,
    /// Live or test.
    pub mode: Mode,
    /// What the operator sees.
    pub status: ConnectionStatus,
    /// Why it is not `active`, in words.
    pub status_reason: Option<String>,
    /// The connector's settings; no secrets.
    pub config: Value,
    /// Streams that cannot be read, with the reason; from the last check or read.
    pub limits: Value,
    /// When the credentials were last checked.
    pub checked_at: Option<Timestamp>,
    /// When the connection was made.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// What the operator sees of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionStatus {
    /// It works.
    Active,
    /// A person paused it.
    Paused,
    /// Credentials or settings are refused; a person must act.
    NeedsAttention,
}

/// When something runs by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Our id.
    pub id: ScheduleId,
    /// Whose it is.
    pub org_id: OrgId,
    /// The connection that it is for; `None` for housekeeping.
    pub connection_id: Option<ConnectionId>,
    /// The kind of job that a tick inserts.
    pub job_kind: String,
    /// Arguments of that job.
    pub args: Value,
    /// Five- or six-field cron expression, POSIX weekdays.
    pub expression: String,
    /// IANA time zone.
    pub time_zone: String,
    /// The next tick.
    pub next_run_at: Timestamp,
    /// The last tick that was claimed.
    pub last_run_at: Option<Timestamp>,
    /// Whether it ticks.
    pub enabled: bool,
}

/// Which class a key is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyClass {
    /// For a browser: may only claim.
    Publishable,
    /// For a backend: trusted.
    Server,
}

/// An API key as stored: the key itself is not kept, only its SHA-256.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Our id.
    pub id: KeyId,
    /// Whose it is.
    pub org_id: OrgId,
    /// Publishable or server.
    pub class: KeyClass,
    /// The operator's name for it.
    pub name: String,
    /// The first characters, to recognise it by.
    pub prefix: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stopped working, by a person's word.
    pub revoked_at: Option<Timestamp>,
    /// Web origins that a publishable key is taken from; `None` where the organisation's list counts.
    pub origins: Option<Vec<OriginRule>>,
    /// When it stops working by itself: it was made for a time, or another took its place.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it works.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }
}
