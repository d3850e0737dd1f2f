//! SQLite: one file, one writer task, a pool of readers.
//!
//! Every connection is set to WAL, `synchronous=FULL`, foreign keys and a busy timeout, and the PRAGMAs are
//! read back: a connection that does not hold them is never used.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use connector_sdk::Clock;
use futures_util::future::BoxFuture;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use super::open::{self, MIGRATIONS_TABLE, OpenMode, StoreConfig};
use super::sealing::{SAYS_KEYS, SealedWith};
use super::{CopyMade, JobsSignal, Lane, MigrationState, Result, Scope, StoreError};

mod copy;
mod lock;
mod writer;

/// The engine's name, for people.
pub(crate) const NAME: &str = "sqlite";
/// The driver, for files that are compiled once for each.
pub(crate) type Db = sqlx::Sqlite;
/// Its connection.
pub(crate) type Conn = SqliteConnection;

/// `x IN` the JSON list of texts that is bound to the parameter.
macro_rules! in_list {
    ($param:literal) => {
        concat!(" IN (SELECT value FROM json_each(", $param, "))")
    };
}
/// A row source: the texts of the JSON list that is bound to the parameter, as column `value`.
macro_rules! json_texts {
    ($param:literal) => {
        concat!(" json_each(", $param, ") ")
    };
}
/// A row source: the elements of the JSON array that is bound to the parameter, as column `value`.
macro_rules! json_rows {
    ($param:literal) => {
        concat!(" json_each(", $param, ") ")
    };
}
/// Ends a sub-select whose columns are expressions that rows are found by; of matter for Postgres.
macro_rules! fence {
    () => {
        ""
    };
}
/// Locks selected rows until the commit; a single writer has no need to.
macro_rules! for_update {
    () => {
        ""
    };
}
/// Keeps selected rows from being deleted until the commit; a single writer has no need to.
macro_rules! for_key_share {
    () => {
        ""
    };
}
/// Keeps selected rows from being changed until the commit; a single writer has no need to.
macro_rules! for_share {
    () => {
        ""
    };
}
/// For claims by several processes; a single writer skips nothing.
macro_rules! skip_locked {
    () => {
        ""
    };
}

/// Whether a text column holds one of the texts of the JSON list that is bound to the parameter.
macro_rules! text_holds {
    ($column:literal, $param:literal) => {
        concat!("EXISTS (SELECT 1 FROM json_each(", $param, ") n WHERE instr(", $column, ", n.value) > 0)")
    };
}
/// As `text_holds!`, for a column of bytes.
macro_rules! blob_holds {
    ($column:literal, $param:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM json_each(",
            $param,
            ") n WHERE instr(",
            $column,
            ", CAST(n.value AS BLOB)) > 0)"
        )
    };
}

/// The keys that a full pass over a stream noted as seen; `$1` to `$3` are organisation, connection, stream.
macro_rules! note_keys {
    ($generation:literal) => {
        concat!(
            "SELECT j.value FROM seen_notes n, json_each(n.record_keys) j",
            " WHERE n.org_id = $1 AND n.connection_id = $2 AND n.stream = $3 AND n.generation = ",
            $generation
        )
    };
}

/// Whether another transaction may commit between two statements of a unit.
pub(crate) const MANY_WRITERS: bool = false;

/// `x IN` what a select gives.
macro_rules! in_select {
    ($select:expr) => {
        concat!(" IN (", $select, ")")
    };
}
/// Joins, as `j`, the first of the jobs `k` that the rest of a select names, for each row before it.
macro_rules! first_jobs {
    ($rest:literal) => {
        concat!("JOIN jobs j ON j.id IN (SELECT k.id ", $rest, ")")
    };
}

#[path = "../glue/mod.rs"]
mod glue;
#[path = "../units/mod.rs"]
pub(crate) mod units;

/// Every static statement of the units, by name, for the test that prepares each.
#[doc(hidden)]
pub fn statements() -> Vec<(&'static str, &'static str)> {
    units::all_statements()
}

/// How many reads' numbers are reserved by one durable write. A crash skips what was not used.
const READ_SEQ_BLOCK: i64 = 4096;

fn migrator() -> sqlx::migrate::Migrator {
    let mut migrator = sqlx::migrate!("migrations/sqlite");
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator
}

/// The SQLite engine.
pub struct Engine {
    path: PathBuf,
    readers: SqlitePool,
    writer: Option<writer::Writer>,
    clock: Arc<dyn Clock>,
    jobs: JobsSignal,
    read_seq: ReadSeq,
    // Released when everything above is gone.
    _lock: Option<lock::FileLock>,
}

/// Numbers handed out from a block that the file already counts as used. Only the holder of the file lock
/// hands out numbers, so they increase over all processes.
struct ReadSeq {
    next: AtomicI64,
    end: AtomicI64,
    refill: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("sqlite::Engine").field("path", &self.path).finish_non_exhaustive()
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Rows are some kilobytes: on pages of four each row had its own, and each page is a write to the log.
        .page_size(16_384)
        .busy_timeout(Duration::from_secs(30))
        .statement_cache_capacity(512)
        // A statement's rows come over in one go, not fifty at a time with a change of threads for each.
        .row_buffer_size(1024)
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-16000")
        .pragma("journal_size_limit", "67108864")
        .disable_statement_logging()
}

/// Fails when a connection does not hold what durability and consistency rest on.
async fn assert_pragmas(c: &mut SqliteConnection, reader: bool) -> Result<()> {
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *c).await?;
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *c).await?;
    let foreign_keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&mut *c).await?;
    let busy_timeout: i64 = sqlx::query_scalar("PRAGMA busy_timeout").fetch_one(&mut *c).await?;
    let query_only: i64 = sqlx::query_scalar("PRAGMA query_only").fetch_one(&mut *c).await?;
    let wrong = [
        ("journal_mode", journal.eq_ignore_ascii_case("wal"), journal.clone(), "wal"),
        ("synchronous", synchronous == 2, synchronous.to_string(), "2 (FULL)"),
        ("foreign_keys", foreign_keys == 1, foreign_keys.to_string(), "1"),
        ("busy_timeout", busy_timeout >= 1000, busy_timeout.to_string(), "1000 or more"),
        (
            "query_only",
            query_only == i64::from(reader),
            query_only.to_string(),
            if reader { "1" } else { "0" },
        ),
    ]
    .into_iter()
    .find(|(_, right, _, _)| !right);
    match wrong {
        None => Ok(()),
        Some((name, _, found, wanted)) => {
            Err(StoreError::Setup(format!("PRAGMA {name} is {found}, it must be {wanted}")))
        }
    }
}

/// The newest applied migration; 0 for a fresh file.
async fn found_version(c: &mut SqliteConnection) -> Result<i64> {
    let table: Option<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table' AND name = $1")
            .bind(MIGRATIONS_TABLE)
            .fetch_optional(&mut *c)
            .await?;
    if table.is_none() {
        return Ok(0);
    }
    Ok(sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM halo_sync_migrations").fetch_one(c).await?)
}

/// Copies a database that holds something before it is migrated: `backups/pre-vN.db` beside it.
async fn back_up(c: &mut SqliteConnection, path: &Path, target: i64) -> Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new(".")).join("backups");
    std::fs::create_dir_all(&folder)
        .map_err(|e| StoreError::Unavailable(format!("backup before migrating: {e}")))?;
    let to = folder.join(format!("pre-v{target}.db"));
    copy::write(c, &to).await?;
    tracing::info!(backup = %to.display(), "copied the database before migrating it");
    Ok(())
}

impl Engine {
    /// Opens the file at `path`: lock, migrations, writer, readers.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::NewerSchema`], [`StoreError::OlderSchema`],
    /// [`StoreError::Setup`], [`StoreError::Unavailable`].
    pub async fn open(
        path: &Path,
        config: &StoreConfig,
        mode: OpenMode,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>> {
        if mode == OpenMode::ReadOnly && !path.exists() {
            return Err(StoreError::Setup(format!("there is no database at {}", path.display())));
        }
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|e| StoreError::Setup(format!("cannot make {}: {e}", folder.display())))?;
        }
        let lock = match mode {
            OpenMode::Exclusive => Some(lock::FileLock::take(path)?),
            OpenMode::ReadOnly => None,
        };
        let migrator = migrator();
        let known = open::newest(&migrator);
        let jobs = JobsSignal::default();
        let writer = match mode {
            OpenMode::ReadOnly => {
                let mut c = options(path).pragma("query_only", "1").connect().await?;
                assert_pragmas(&mut c, true).await?;
                open::check_version(found_version(&mut c).await?, known, false)?;
                c.close().await?;
                None
            }
            OpenMode::Exclusive => {
                let options = options(path).create_if_missing(true);
                let mut c = options.connect().await?;
                assert_pragmas(&mut c, false).await?;
                let found = found_version(&mut c).await?;
                open::check_version(found, known, config.migrate)?;
                if found > 0 && found < known {
                    back_up(&mut c, path, known).await?;
                }
                migrator.run(&mut c).await.map_err(open::migrate_error)?;
                Some(writer::Writer::start(options.create_if_missing(false), c, jobs.clone()))
            }
        };
        let readers = SqlitePoolOptions::new()
            .max_connections(config.max_connections.max(1))
            .min_connections(0)
            .idle_timeout(Some(Duration::from_secs(300)))
            .acquire_timeout(Duration::from_secs(30))
            .test_before_acquire(false)
            .after_connect(|c, _| {
                Box::pin(async move {
                    assert_pragmas(c, true).await.map_err(|e| sqlx::Error::Configuration(Box::new(e)))
                })
            })
            // Each has a cache of its own, which a large database fills: the operating system's does as well.
            .connect_with(
                options(path)
                    .create_if_missing(false)
                    .pragma("query_only", "1")
                    .pragma("cache_size", "-2000"),
            )
            .await?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            readers,
            writer,
            clock,
            jobs,
            read_seq: ReadSeq {
                next: AtomicI64::new(0),
                end: AtomicI64::new(0),
                refill: tokio::sync::Mutex::new(()),
            },
            _lock: lock,
        }))
    }

    /// What `migrate --status` lists, without opening (or making) the file for writing.
    pub async fn migrations(path: &Path) -> Result<Vec<MigrationState>> {
        let found = if path.exists() {
            let mut c = options(path).pragma("query_only", "1").connect().await?;
            let found = found_version(&mut c).await?;
            c.close().await?;
            found
        } else {
            0
        };
        Ok(open::migration_states(&migrator(), found))
    }

    /// What [`store::sealed_with`](crate::store::sealed_with) does.
    pub(crate) async fn sealed_with(path: &Path) -> Result<Option<Vec<SealedWith>>> {
        if !path.exists() {
            return Ok(None);
        }
        let mut c = options(path).pragma("query_only", "1").connect().await?;
        let says = found_version(&mut c).await? >= SAYS_KEYS;
        let found = if says { Some(units::sealing::count_sealed(&mut c).await?) } else { None };
        c.close().await?;
        Ok(found)
    }

    /// What [`store::copy`](crate::store::copy) does.
    pub(crate) async fn copy(path: &Path, to: &Path) -> Result<CopyMade> {
        copy::make(path, to).await
    }

    /// What [`store::restore`](crate::store::restore) does.
    pub(crate) async fn restore(
        from: &mut (dyn std::io::Read + Send),
        named: &str,
        path: &Path,
        aside: &Path,
    ) -> Result<i64> {
        copy::restore(from, named, path, aside).await
    }

    /// Waits for the queued units, then closes everything and frees the lock when the last handle goes.
    pub async fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
        self.readers.close().await;
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// What is told after each commit that made jobs claimable.
    pub fn jobs_signal(&self) -> JobsSignal {
        self.jobs.clone()
    }

    /// The newest applied migration.
    pub(crate) async fn stored_version(&self) -> Result<i64> {
        let mut c = self.readers.acquire().await?;
        found_version(&mut c).await
    }

    pub(crate) fn write(&self, lane: Lane, _scope: Scope) -> Write<'_> {
        Write { engine: self, lane }
    }

    pub(crate) fn read(&self, _scope: Scope) -> Read<'_> {
        Read { engine: self, snapshot: false }
    }

    pub(crate) fn snapshot(&self, _scope: Scope) -> Read<'_> {
        Read { engine: self, snapshot: true }
    }

    /// The next number of the reads' sequence: from memory, refilled by one durable write a block.
    pub(crate) async fn take_read_seq(&self) -> Result<i64> {
        let take = || {
            self.read_seq
                .next
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |next| {
                    (next < self.read_seq.end.load(Ordering::Acquire)).then_some(next + 1)
                })
                .ok()
        };
        if let Some(number) = take() {
            return Ok(number + 1);
        }
        let _one_refills = self.read_seq.refill.lock().await;
        if let Some(number) = take() {
            return Ok(number + 1);
        }
        let end = unit!(self.write(Lane::Ack, Scope::System), [], |c| reserve_read_seq(c))?;
        // `next` first: between the stores the block looks empty, never larger than it is.
        self.read_seq.next.store(end - READ_SEQ_BLOCK, Ordering::Release);
        self.read_seq.end.store(end, Ordering::Release);
        take().map(|n| n + 1).ok_or_else(|| StoreError::Contended {
            attempts: 1,
            reason: "a fresh block of read numbers was used up at once".to_owned(),
        })
    }
}

async fn reserve_read_seq(c: &mut Conn) -> Result<i64> {
    Ok(sqlx::query_scalar("UPDATE read_seq SET value = value + $1 RETURNING value")
        .bind(READ_SEQ_BLOCK)
        .fetch_one(c)
        .await?)
}

/// A write about to be queued.
pub(crate) struct Write<'e> {
    engine: &'e Engine,
    lane: Lane,
}

impl Write<'_> {
    /// Queues the unit and answers after the commit that holds it.
    pub(crate) async fn run<T, F>(self, unit: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        match &self.engine.writer {
            Some(writer) => writer.submit(self.lane, unit).await,
            None => Err(StoreError::ReadOnly),
        }
    }
}

/// A read about to be run.
pub(crate) struct Read<'e> {
    engine: &'e Engine,
    snapshot: bool,
}

impl Read<'_> {
    /// Runs the unit on a reader.
    pub(crate) async fn run<T, F>(self, unit: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        if self.snapshot {
            let mut tx = self.engine.readers.begin().await?;
            let value = unit(&mut tx).await?;
            tx.commit().await?;
            Ok(value)
        } else {
            let mut c = self.engine.readers.acquire().await?;
            unit(&mut c).await
        }
    }
}

/// Waits until no other process commits a decision about links: there is none.
pub(crate) async fn serialise_links(_c: &mut Conn, _org: &str) -> Result<()> {
    Ok(())
}
