//! Postgres: for more than one process. Two pools, each bound to a role (see `roles.rs`).

use std::sync::Arc;
use std::time::Duration;

use connector_sdk::Clock;
use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::open::{self, MIGRATIONS_TABLE, OpenMode, StoreConfig};
use super::sealing::{SAYS_KEYS, SealedWith};
use super::{JobsSignal, Lane, MigrationState, Result, Scope, StoreError};

mod roles;
mod statistics;
mod wake;

/// The engine's name, for people.
pub(crate) const NAME: &str = "postgres";
/// The driver, for files that are compiled once for each.
pub(crate) type Db = sqlx::Postgres;
/// Its connection.
pub(crate) type Conn = PgConnection;

/// `x IN` the JSON list of texts that is bound to the parameter, as an array: one index probe a value.
macro_rules! in_list {
    ($param:literal) => {
        concat!(" = ANY (ARRAY(SELECT json_array_elements_text(", $param, "::json)))")
    };
}
/// A row source: the texts of the JSON list that is bound to the parameter, as column `value`.
macro_rules! json_texts {
    ($param:literal) => {
        concat!(" json_array_elements_text(", $param, "::json) AS rows (value) ")
    };
}
/// A row source: the elements of the JSON array that is bound to the parameter, as column `value`.
macro_rules! json_rows {
    ($param:literal) => {
        concat!(" json_array_elements(", $param, "::json) AS rows (value) ")
    };
}
/// Ends a sub-select whose columns are expressions that rows are found by. Row-level security lets an index be
/// searched for nothing but what leaks nothing, and `->>` is not declared to: without the fence the planner takes the
/// expression into the join, and walks all rows of the organisation.
macro_rules! fence {
    () => {
        " OFFSET 0"
    };
}
/// Locks selected rows until the commit.
macro_rules! for_update {
    () => {
        " FOR UPDATE"
    };
}
/// Keeps selected rows from being deleted until the commit.
macro_rules! for_key_share {
    () => {
        " FOR KEY SHARE"
    };
}
/// Keeps selected rows from being changed until the commit.
macro_rules! for_share {
    () => {
        " FOR SHARE"
    };
}
/// For claims by several processes.
macro_rules! skip_locked {
    () => {
        " FOR UPDATE SKIP LOCKED"
    };
}

/// Whether a text column holds one of the texts of the JSON list that is bound to the parameter.
macro_rules! text_holds {
    ($column:literal, $param:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM json_array_elements_text(",
            $param,
            "::json) AS n (value)",
            " WHERE position(n.value in ",
            $column,
            ") > 0)"
        )
    };
}
/// As `text_holds!`, for a column of bytes.
macro_rules! blob_holds {
    ($column:literal, $param:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM json_array_elements_text(",
            $param,
            "::json) AS n (value)",
            " WHERE position(convert_to(n.value, 'UTF8') in ",
            $column,
            ") > 0)"
        )
    };
}

/// The keys that a full pass over a stream noted as seen; `$1` to `$3` are organisation, connection, stream.
macro_rules! note_keys {
    ($generation:literal) => {
        concat!(
            "SELECT j.value FROM seen_notes n, json_array_elements_text(n.record_keys::json) AS j (value)",
            " WHERE n.org_id = $1 AND n.connection_id = $2 AND n.stream = $3 AND n.generation = ",
            $generation
        )
    };
}

/// Whether another transaction may commit between two statements of a unit.
pub(crate) const MANY_WRITERS: bool = true;

/// `x IN` what a select gives, as an array: one index probe a value, whatever the planner believes.
macro_rules! in_select {
    ($select:expr) => {
        concat!(" = ANY (ARRAY(", $select, "))")
    };
}
/// Joins, as `j`, the first of the jobs `k` that the rest of a select names, for each row before it.
macro_rules! first_jobs {
    ($rest:literal) => {
        concat!("JOIN LATERAL (SELECT k.id, k.lane, k.priority, k.run_at ", $rest, ") j ON true")
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

/// How often a unit is run before concurrent writers are blamed.
const ATTEMPTS: u32 = 8;

fn migrator() -> sqlx::migrate::Migrator {
    let mut migrator = sqlx::migrate!("migrations/postgres");
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator
}

/// The Postgres engine.
pub struct Engine {
    app: PgPool,
    system: PgPool,
    read_only: bool,
    clock: Arc<dyn Clock>,
    statistics: statistics::Statistics,
    wake: wake::Wake,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("postgres::Engine").finish_non_exhaustive()
    }
}

/// The newest applied migration; 0 for a fresh database.
async fn found_version(c: &mut PgConnection) -> Result<i64> {
    let table: Option<String> =
        sqlx::query_scalar("SELECT to_regclass($1)::text").bind(MIGRATIONS_TABLE).fetch_one(&mut *c).await?;
    if table.is_none() {
        return Ok(0);
    }
    Ok(sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM halo_sync_migrations").fetch_one(c).await?)
}

fn options(url: &str) -> Result<PgConnectOptions> {
    // The URL may hold a password: the parser's words are passed on, the URL is not.
    let options: PgConnectOptions = url
        .parse()
        .map_err(|e: sqlx::Error| StoreError::Invalid(format!("the Postgres URL is not readable: {e}")))?;
    Ok(options.application_name("halo-sync").statement_cache_capacity(512).disable_statement_logging())
}

fn pool(config: &StoreConfig, options: PgConnectOptions, role: &'static str, read_only: bool) -> PgPool {
    PgPoolOptions::new()
        .max_connections(config.max_connections.max(1))
        .min_connections(0)
        .acquire_timeout(Duration::from_secs(30))
        .idle_timeout(Some(Duration::from_secs(300)))
        .after_connect(move |c, _| {
            Box::pin(async move {
                roles::enter(c, role, read_only).await.map_err(|e| match e {
                    StoreError::Database(e) => e,
                    other => sqlx::Error::Configuration(Box::new(other)),
                })
            })
        })
        .connect_lazy_with(options)
}

impl Engine {
    /// Connects, migrates, and asserts roles, row-level security and durability.
    ///
    /// # Errors
    /// [`StoreError::Setup`] (names the missing grant or setting), [`StoreError::NewerSchema`],
    /// [`StoreError::OlderSchema`], [`StoreError::Unavailable`].
    pub async fn open(
        url: &str,
        config: &StoreConfig,
        mode: OpenMode,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>> {
        let options = options(url)?;
        let read_only = mode == OpenMode::ReadOnly;
        let migrator = migrator();
        let known = open::newest(&migrator);
        let mut c = options.connect().await?;
        open::check_version(found_version(&mut c).await?, known, config.migrate && !read_only)?;
        if !read_only {
            roles::ensure(&mut c).await?;
            // Takes an advisory lock of the database, so that one of several starting processes migrates.
            migrator.run(&mut c).await.map_err(open::migrate_error)?;
        }
        roles::assert_tables(&mut c).await?;
        c.close().await?;
        let engine = Self {
            app: pool(config, options.clone(), roles::APP, read_only),
            system: pool(config, options.clone(), roles::SYSTEM, read_only),
            read_only,
            clock,
            statistics: statistics::Statistics::new(options.clone()),
            wake: wake::Wake::new(options),
        };
        // The first connection of each pool asserts the role now, not at the first request.
        for pool in [&engine.app, &engine.system] {
            drop(pool.acquire().await.map_err(setup_error)?);
        }
        Ok(Arc::new(engine))
    }

    /// What `migrate --status` lists.
    pub async fn migrations(url: &str) -> Result<Vec<MigrationState>> {
        let mut c = options(url)?.connect().await?;
        let found = found_version(&mut c).await?;
        c.close().await?;
        Ok(open::migration_states(&migrator(), found))
    }

    /// What [`store::sealed_with`](crate::store::sealed_with) does.
    pub(crate) async fn sealed_with(url: &str) -> Result<Option<Vec<SealedWith>>> {
        let mut c = options(url)?.connect().await?;
        let says = found_version(&mut c).await? >= SAYS_KEYS;
        let found = match says {
            true => {
                roles::enter(&mut c, roles::SYSTEM, true).await?;
                Some(units::sealing::count_sealed(&mut c).await?)
            }
            false => None,
        };
        c.close().await?;
        Ok(found)
    }

    /// Closes both pools.
    pub async fn close(&self) {
        self.wake.stop();
        self.statistics.stop();
        self.app.close().await;
        self.system.close().await;
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// What is told after each commit that made jobs claimable, of this process and of others.
    pub fn jobs_signal(&self) -> JobsSignal {
        self.wake.listen()
    }

    /// The newest applied migration. (The roles do not see the table; the connecting user does.)
    pub(crate) async fn stored_version(&self) -> Result<i64> {
        let mut c = self.system.connect_options().as_ref().clone().connect().await?;
        let found = found_version(&mut c).await?;
        c.close().await?;
        Ok(found)
    }

    pub(crate) fn write(&self, lane: Lane, scope: Scope) -> Run<'_> {
        Run { engine: self, scope, kind: Kind::Write, bulk: lane != Lane::Ack }
    }

    pub(crate) fn read(&self, scope: Scope) -> Run<'_> {
        Run { engine: self, scope, kind: Kind::Read, bulk: false }
    }

    pub(crate) fn snapshot(&self, scope: Scope) -> Run<'_> {
        Run { engine: self, scope, kind: Kind::Snapshot, bulk: false }
    }

    /// The next number of the sequence that orders reads.
    pub(crate) async fn take_read_seq(&self) -> Result<i64> {
        if self.read_only {
            return Err(StoreError::ReadOnly);
        }
        Ok(sqlx::query_scalar("SELECT nextval('read_seq')").fetch_one(&self.system).await?)
    }
}

/// What a pool's first connection found, without the pool's wrapping.
fn setup_error(error: sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Configuration(inner) => match inner.downcast::<StoreError>() {
            Ok(error) => *error,
            Err(other) => StoreError::Setup(other.to_string()),
        },
        other => other.into(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Write,
    Read,
    Snapshot,
}

/// A unit about to be run.
pub(crate) struct Run<'e> {
    engine: &'e Engine,
    scope: Scope,
    kind: Kind,
    bulk: bool,
}

impl Run<'_> {
    /// Runs the unit in a transaction bound to its scope; again when Postgres asks for that.
    pub(crate) async fn run<T, F>(self, unit: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        if self.kind == Kind::Write && self.engine.read_only {
            return Err(StoreError::ReadOnly);
        }
        let (pool, begin) = match (&self.scope, self.kind) {
            (Scope::System, Kind::Read) => {
                let mut c = self.engine.system.acquire().await?;
                return unit(&mut c).await;
            }
            (Scope::System, Kind::Write) => (&self.engine.system, "BEGIN".to_owned()),
            (Scope::System, Kind::Snapshot) => {
                (&self.engine.system, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY".to_owned())
            }
            (Scope::Org(org), kind) => {
                let begin = match kind {
                    Kind::Write => "BEGIN",
                    Kind::Read => "BEGIN READ ONLY",
                    Kind::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
                };
                // One round trip begins the transaction and binds it.
                let bound =
                    format!("{begin}; SELECT set_config('halo_sync.org_id', '{}', true)", literal(&org.0)?);
                (&self.engine.app, bound)
            }
        };
        let mut attempt = 1;
        loop {
            let (result, pushed) = super::watch_pushes(once(pool, &begin, &unit)).await;
            if pushed && result.is_ok() {
                self.engine.wake.tell();
            }
            if self.bulk && result.is_ok() {
                self.engine.statistics.committed();
            }
            match result {
                Err(error) if error.wants_retry() => {
                    if attempt >= ATTEMPTS {
                        return Err(StoreError::Contended { attempts: attempt, reason: error.to_string() });
                    }
                    tracing::debug!(attempt, %error, "running a unit of work again");
                    attempt += 1;
                }
                other => return other,
            }
        }
    }
}

async fn once<T, F>(pool: &PgPool, begin: &str, unit: &F) -> Result<T>
where
    F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T>>,
{
    // Dropped without a commit (an error, a panic, a caller that went away) it is rolled back.
    let mut tx = pool.begin_with(AssertSqlSafe(begin)).await?;
    let value = unit(&mut tx).await?;
    tx.commit().await?;
    Ok(value)
}

/// An organisation's id inside a quoted literal: ours are plain words, anything else is refused.
fn literal(org: &str) -> Result<&str> {
    if !org.is_empty() && org.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.')) {
        Ok(org)
    } else {
        Err(StoreError::Invalid(
            "an organisation's id holds letters, digits, '_', '-' and '.' only".to_owned(),
        ))
    }
}

/// Waits until no other transaction of the organisation decides about links: two pages that both make a
/// company for one domain must see each other.
pub(crate) async fn serialise_links(c: &mut Conn, org: &str) -> Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 7410))").bind(org).execute(c).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn an_org_id_cannot_leave_its_literal() {
        assert!(literal("org_default").is_ok());
        for bad in ["", "a'b", "a\\b", "a b", "é", "a;b", "a\0"] {
            assert!(literal(bad).is_err(), "{bad:?}");
        }
    }
}
