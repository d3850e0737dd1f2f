//! Prefixed, time-sortable ids: `cmp_01K…` is a company, `run_01K…` a sync run. The prefix makes a
//! pasted id say what it is; the ULID behind it sorts by creation time.

use connector_sdk::Clock;
use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The prefix of this kind of id, without the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A new id, stamped with the clock's time.
            pub fn generate(clock: &dyn Clock) -> Self {
                Self(new_id(Self::PREFIX, clock))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    )*};
}

ids! {
    /// An organisation: the tenant that every row belongs to.
    OrgId = "org";
    /// A company of an organisation's customers.
    CompanyId = "cmp";
    /// An end user.
    UserId = "usr";
    /// An authenticated account of one organisation at a provider.
    ConnectionId = "con";
    /// A sync run.
    RunId = "run";
    /// A connection that waits for a person at the provider.
    FlowId = "flw";
    /// A webhook delivery in the inbox.
    DeliveryId = "dlv";
    /// A job.
    JobId = "job";
    /// An API key.
    KeyId = "key";
    /// A schedule.
    ScheduleId = "sch";
    /// A comparison of a mirror with its provider.
    AuditId = "aud";
    /// A conversation.
    ConversationId = "cnv";
    /// A ticket.
    TicketId = "tkt";
    /// An event of a user.
    EventId = "evt";
}

impl OrgId {
    /// The organisation that exists from the first migration on.
    pub fn default_org() -> Self {
        Self("org_default".to_owned())
    }
}

/// `prefix_` and a ULID whose time is the clock's and whose rest is random.
pub fn new_id(prefix: &str, clock: &dyn Clock) -> String {
    let millis = u64::try_from(clock.now().timestamp_millis()).unwrap_or(0);
    let mut random = [0u8; 16];
    // A failing system generator leaves zeros: the id column's uniqueness then refuses the row, loudly.
    let _ = getrandom::fill(&mut random);
    format!("{prefix}_{}", ulid::Ulid::from_parts(millis, u128::from_le_bytes(random)))
}
