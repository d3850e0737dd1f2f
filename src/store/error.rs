//! Why a unit of work did not commit.

/// An error of the store. Something that is not there is `Ok(None)`, never an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database refused or could not be reached. The unit left nothing behind.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The database is full or its disk fails; it may recover by itself.
    #[error("storage is not writable at the moment: {0}")]
    Unavailable(String),
    /// The claim behind this unit was lost; another worker may hold the job now.
    #[error("the claim on job {job_id} was lost")]
    Fenced {
        /// The job.
        job_id: String,
    },
    /// The database was written by a newer program.
    #[error("the database is at schema {found}, this program knows {known}: use the newer program")]
    NewerSchema {
        /// Version found.
        found: i64,
        /// Newest version that this program has.
        known: i64,
    },
    /// The database is older than this program and migration was switched off.
    #[error("the database is at schema {found}, this program needs {needed}: run `halo-sync migrate`")]
    OlderSchema {
        /// Version found.
        found: i64,
        /// Version needed.
        needed: i64,
    },
    /// Another process holds the file.
    #[error("{path} is in use by another halo-sync process{holder}")]
    Locked {
        /// The database file.
        path: String,
        /// ` (pid 123)` where it is known.
        holder: String,
    },
    /// A stored row could not be read back: names table and column.
    #[error("{table}.{column} of {row} is not readable: {reason}")]
    Inconsistent {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
        /// The row's id.
        row: String,
        /// What was wrong.
        reason: String,
    },
    /// The caller broke a rule of the unit; the text names it.
    #[error("{0}")]
    Invalid(String),
    /// Set-up is not what durability or tenancy needs (a PRAGMA, a role).
    #[error("database set-up: {0}")]
    Setup(String),
}
