//! Why a unit of work did not commit.

/// An error of the store. Something that is not there is `Ok(None)`, never an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database refused or could not be reached. The unit left nothing behind.
    #[error("database: {0}")]
    Database(#[source] sqlx::Error),
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
    /// A unit raced others and lost every time.
    #[error("gave up after {attempts} attempts against concurrent writers: {reason}")]
    Contended {
        /// How often it was tried.
        attempts: u32,
        /// The last refusal.
        reason: String,
    },
    /// The database was opened for reading only.
    #[error("the database is open for reading only, because another halo-sync process writes to it")]
    ReadOnly,
    /// A unit of work panicked: a defect of ours. It left nothing behind and the store goes on.
    #[error("a unit of work panicked: {0}")]
    Panicked(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
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

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Unavailable("no database connection became free".to_owned()),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Self::Closed,
            sqlx::Error::Io(e) => Self::Unavailable(e.to_string()),
            sqlx::Error::Database(ref e) if is_unavailable(e.as_ref()) => Self::Unavailable(e.to_string()),
            other => Self::Database(other),
        }
    }
}

/// Full, failing or shutting down: nothing is wrong with the statement, and the next try may succeed.
fn is_unavailable(error: &dyn sqlx::error::DatabaseError) -> bool {
    if let Some(pg) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        let code = pg.code();
        // 53: out of disk, memory, connections; 57P: shutdown; 58: file system; 08: connection; 25006: a
        // read-only standby.
        return ["53", "57P", "58", "08"].iter().any(|class| code.starts_with(class)) || code == "25006";
    }
    // The low byte of an extended SQLite code is the primary one:
    // BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN, PROTOCOL.
    error
        .code()
        .and_then(|code| code.parse::<i64>().ok())
        .is_some_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 13 | 14 | 15))
}

impl StoreError {
    /// Whether Postgres asks for the same unit to be run again (serialization failure, deadlock).
    pub(crate) fn wants_retry(&self) -> bool {
        match self {
            Self::Contended { .. } => true,
            Self::Database(sqlx::Error::Database(e)) => {
                matches!(e.code().as_deref(), Some("40001" | "40P01"))
            }
            _ => false,
        }
    }

    /// Whether a unique constraint was broken.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(e)) if e.is_unique_violation())
    }
}
