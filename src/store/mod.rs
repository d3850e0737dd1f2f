//! The store: what is kept, behind object-safe traits, one an area.
//!
//! Two engines give the same behaviour: SQLite embedded (one file, one writer task with group commit) and
//! Postgres (for more than one process). Every method is a whole unit of work: it commits or it leaves
//! nothing; no transaction crosses the trait. Units are written once (`units/`) and compiled once for each
//! driver. The same contract suite runs on both (`tests/it/store/`).
//!
//! # Adding a unit
//!
//! 1. SQL: a named statement in `units/<area>.rs`, inside `statements! { NAME = "…"; }` (which lists it for
//!    the prepare-all test). Shared text with `$1`; where the dialects differ, `concat!` with the macros that
//!    `sqlite/mod.rs` and `postgres/mod.rs` both define (`in_list!`, `json_rows!`, `for_update!`, …).
//! 2. Body: `pub(crate) async fn name(c: &mut Conn, …) -> Result<T>` beside it. It neither begins nor
//!    commits, and may call other units with the same connection (`jobs::push_in`). Time comes as a
//!    parameter (`at`), ids from `super::new_id_at`. Rows that other units may lock are locked in key order.
//! 3. Glue: in `glue/<area>.rs` the trait's method calls
//!    `unit!(self.write(Lane::Bulk, Scope::Org(org.clone())), [a = a.clone()], |c| units::area::name(c, a))`.
//!    Captured values are lent to the body as references. `self.read(scope)` runs on a reader,
//!    `self.snapshot(scope)` too, seeing one instant over several statements. A write may be run again from
//!    the start (Postgres deadlocks), so a body has no effect but through its connection.
//! 4. Table: a migration in both folders (equal number, name, tables and columns); the Postgres one ends with
//!    `SELECT halo_sync_protect('table', cross_org);` where `cross_org` lets the system role in.
//! 5. A behaviour in `tests/it/store/`, which the macro there runs on both engines.
//!
//! Methods that take an [`OrgId`] see that organisation's rows only (on Postgres row-level security stands
//! behind the filter). Methods without one are cross-organisation by nature: jobs, inbox, schedules, keys.

/// Calls an engine with a unit of work: owned values are captured once and lent to every attempt.
macro_rules! unit {
    ($call:expr, [$($name:ident = $value:expr),* $(,)?], |$conn:ident| $body:expr) => {{
        let captured = std::sync::Arc::new(($($value,)*));
        let call = $call;
        call.run(move |$conn| {
            let captured = std::sync::Arc::clone(&captured);
            Box::pin(async move {
                let ($($name,)*) = &*captured;
                $body.await
            })
        })
        .await
    }};
}

/// Names a unit file's statements, and lists them in `ALL` for the test that prepares each on both engines.
macro_rules! statements {
    ($($name:ident = $sql:expr;)*) => {
        $(const $name: &str = $sql;)*
        /// Every statement of this file, by name.
        pub(in super::super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)*];
    };
}

pub mod attributes;
pub mod conversations;
mod convert;
pub mod derivations;
mod error;
pub mod grants;
pub mod identity;
pub mod imports;
pub mod inbox;
pub mod jobs;
pub(crate) mod lay;
pub mod mirror;
mod open;
pub mod people;
pub mod postgres;
pub mod product;
pub mod rates;
pub mod sealing;
pub mod settings;
mod signal;
pub mod sqlite;
pub(crate) mod traits;
pub mod trust;
pub mod watch;

use std::path::Path;
use std::sync::Arc;

use connector_sdk::Clock;

use crate::domain::OrgId;

pub use attributes::AttributeStore;
pub use conversations::ConversationStore;
pub use derivations::DerivationStore;
pub use error::StoreError;
pub use grants::GrantStore;
pub use identity::IdentityStore;
pub use imports::ImportStore;
pub use inbox::InboxStore;
pub use jobs::JobStore;
pub use mirror::MirrorStore;
pub use open::{MigrationState, OpenMode, StoreConfig, Target};
pub use product::ProductStore;
pub use rates::RateStore;
pub use sealing::SealingStore;
pub use settings::SettingsStore;
pub use signal::{JobsListener, JobsSignal};
pub use trust::TrustStore;
pub use watch::WatchStore;

/// Result of a unit of work.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Everything that is kept.
#[async_trait::async_trait]
pub trait Store:
    IdentityStore
    + MirrorStore
    + InboxStore
    + JobStore
    + DerivationStore
    + SettingsStore
    + SealingStore
    + GrantStore
    + RateStore
    + TrustStore
    + ProductStore
    + ImportStore
    + WatchStore
    + AttributeStore
    + ConversationStore
    + Send
    + Sync
{
    /// `sqlite` or `postgres`, for people.
    fn engine(&self) -> &'static str;

    /// What is told after each commit that made jobs claimable.
    fn jobs_signal(&self) -> JobsSignal;

    /// Waits for the units that are queued and closes every connection. Later calls answer
    /// [`StoreError::Closed`].
    async fn close(&self);
}

/// Opens the store: migrates where that is allowed, and asserts what durability and tenancy rest on.
///
/// # Errors
/// [`StoreError::Locked`], [`StoreError::NewerSchema`], [`StoreError::OlderSchema`], [`StoreError::Setup`],
/// [`StoreError::Unavailable`].
pub async fn open(config: &StoreConfig, mode: OpenMode, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>> {
    Ok(match &config.target {
        Target::Sqlite(path) => sqlite::Engine::open(path, config, mode, clock).await?,
        Target::Postgres(url) => postgres::Engine::open(url, config, mode, clock).await?,
    })
}

/// The migrations that this program knows, and which of them the database has. Writes nothing.
pub async fn migrations(target: &Target) -> Result<Vec<MigrationState>> {
    match target {
        Target::Sqlite(path) => sqlite::Engine::migrations(path).await,
        Target::Postgres(url) => postgres::Engine::migrations(url).await,
    }
}

/// The keys that secrets of the database are sealed with. Writes nothing and migrates nothing; `None` where there is
/// no database yet, or one that an older program left and that does not say.
pub async fn sealed_with(target: &Target) -> Result<Option<Vec<sealing::SealedWith>>> {
    match target {
        Target::Sqlite(path) => sqlite::Engine::sealed_with(path).await,
        Target::Postgres(url) => postgres::Engine::sealed_with(url).await,
    }
}

/// A copy of an SQLite database that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct CopyMade {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its schema's version.
    pub schema: i64,
}

/// Copies the SQLite database at `database`, as it is at one instant, into the new file `to`: beside whatever
/// process writes to it, checked, on disk when this answers, readable by its owner only.
///
/// # Errors
/// [`StoreError::Setup`] where there is no database; [`StoreError::Unavailable`] where `to` cannot be written.
pub async fn copy(database: &Path, to: &Path) -> Result<CopyMade> {
    sqlite::Engine::copy(database, to).await
}

/// Puts a copy in the place of the SQLite database at `database`, when nobody writes to that. The copy is read from
/// `copy`; errors call it `named`. What was there is kept as `aside`. Answers the schema's version, which opening migrates where it is an older one.
///
/// # Errors
/// [`StoreError::Locked`] while a process holds the database; [`StoreError::Setup`] for a file that is not a
/// whole database of this program; [`StoreError::NewerSchema`]. Then nothing has changed.
pub async fn restore(
    copy: &mut (dyn std::io::Read + Send),
    named: &str,
    database: &Path,
    aside: &Path,
) -> Result<i64> {
    sqlite::Engine::restore(copy, named, database, aside).await
}

tokio::task_local! {
    /// Set while a transaction runs units, true once one of them made a job claimable.
    static PUSHED: std::cell::Cell<bool>;
}

/// Notes that the running unit made a job claimable: after the commit the engine tells the claimers.
pub(crate) fn note_push() {
    // Outside an engine's transaction nobody listens.
    let _ = PUSHED.try_with(|pushed| pushed.set(true));
}

/// Runs a transaction's units; answers also whether one of them called [`note_push`].
pub(crate) async fn watch_pushes<F: Future>(units: F) -> (F::Output, bool) {
    PUSHED
        .scope(std::cell::Cell::new(false), async {
            let output = units.await;
            (output, PUSHED.with(std::cell::Cell::get))
        })
        .await
}

/// Which queue of SQLite's writer a unit waits in. Postgres has no use for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Somebody waits for the answer (webhooks, SDK calls, claims): ahead of bulk.
    Ack,
    /// Housekeeping, and pages and derivations of a few.
    Bulk,
    /// As [`Lane::Bulk`], and work enough for a commit of its own.
    Whole,
}

impl Lane {
    /// The lane of a unit that changes so many rows, or so many companies.
    pub(crate) fn of_many(rows: usize) -> Self {
        if rows < WHOLE { Self::Bulk } else { Self::Whole }
    }
}

/// From so many rows on a unit is worth a commit of its own.
const WHOLE: usize = 64;

/// What a unit may see.
#[derive(Debug, Clone)]
pub(crate) enum Scope {
    /// One organisation's rows.
    Org(OrgId),
    /// The tables that are cross-organisation by nature, whole.
    System,
}
