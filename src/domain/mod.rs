//! Plain types of the field. No I/O.

pub mod attributes;
pub mod companies;
pub mod connections;
pub mod context_entry;
pub mod conversations;
pub mod currency;
pub mod ids;
pub mod jobs;
pub mod keys;
pub mod orgs;
pub mod origin;
pub mod rank;
pub mod runs;
pub mod users;
pub mod watch;

pub use context_entry::{ContextEntry, ContextType};
pub use ids::{
    AuditId, CompanyId, ConnectionId, ConversationId, DeliveryId, EventId, FlowId, JobId, KeyId, OrgId,
    RunId, ScheduleId, TicketId, UserId,
};
pub use rank::Rank;
