//! The store: what is kept, behind object-safe traits, one an area.
//!
//! Two engines give the same behaviour: SQLite embedded (one file, one writer task with group commit) and
//! Postgres (for more than one process). Every method is a whole unit of work: it commits or it leaves
//! nothing; no transaction crosses the trait. Units are written once (`units/`) and compiled once for each
//! driver. The same contract suite runs on both (`tests/it/store/`).
//!
//! Methods that take an [`OrgId`] see that organisation's rows only (on Postgres row-level security stands
//! behind the filter). Methods without one are cross-organisation by nature: jobs, inbox, schedules, keys.

pub mod derivations;
mod error;
pub mod identity;
pub mod inbox;
pub mod jobs;
pub mod mirror;
pub mod settings;

pub use derivations::DerivationStore;
pub use error::StoreError;
pub use identity::IdentityStore;
pub use inbox::InboxStore;
pub use jobs::JobStore;
pub use mirror::MirrorStore;
pub use settings::SettingsStore;

/// Result of a unit of work.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Everything that is kept.
pub trait Store:
    IdentityStore + MirrorStore + InboxStore + JobStore + DerivationStore + SettingsStore + Send + Sync
{
    /// `sqlite` or `postgres`, for people.
    fn engine(&self) -> &'static str;
}
