//! Where the store is, how it is opened.

use std::path::PathBuf;

use super::{Result, StoreError};

/// Which database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A `postgres://` URL.
    Postgres(String),
}

impl Target {
    /// `postgres://…` or `postgresql://…` is Postgres; `sqlite:FILE` or a plain path is an SQLite file.
    pub fn parse(text: &str) -> Result<Self> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        let path = text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")).unwrap_or(text);
        if path.is_empty() || path.contains(":memory:") {
            return Err(StoreError::Invalid(format!(
                "{text:?} is not a database: give the path of an SQLite file or a postgres:// URL"
            )));
        }
        if path.contains("://") {
            // The scheme is named, never the rest: a mistyped URL may hold a password.
            let scheme = path.split("://").next().unwrap_or_default();
            return Err(StoreError::Invalid(format!(
                "{scheme}:// is not a database that is supported: give the path of an SQLite file or a postgres:// URL"
            )));
        }
        Ok(Self::Sqlite(PathBuf::from(path)))
    }
}

/// How to open the store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Which database.
    pub target: Target,
    /// Whether pending migrations are applied; otherwise an older database is an error.
    pub migrate: bool,
    /// Connections for reading (SQLite), or of each of the two pools (Postgres).
    pub max_connections: u32,
}

impl StoreConfig {
    /// Migrates; eight connections.
    pub fn new(target: Target) -> Self {
        Self { target, migrate: true, max_connections: 8 }
    }
}

/// What the opener means to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Write. On SQLite this holds the lock beside the file, or fails with [`StoreError::Locked`].
    Exclusive,
    /// Read beside a running process. Every write is refused with [`StoreError::ReadOnly`]; nothing is
    /// migrated.
    ReadOnly,
}

/// One migration that this program knows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MigrationState {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// The table that records applied migrations.
pub(crate) const MIGRATIONS_TABLE: &str = "halo_sync_migrations";

/// The newest version that a migrator has.
pub(crate) fn newest(migrator: &sqlx::migrate::Migrator) -> i64 {
    migrator.iter().map(|m| m.version).max().unwrap_or(0)
}

/// Refuses a database of a newer program, and an older one when migrating is not allowed.
pub(crate) fn check_version(found: i64, known: i64, may_migrate: bool) -> Result<()> {
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    if found < known && !may_migrate {
        return Err(StoreError::OlderSchema { found, needed: known });
    }
    Ok(())
}

/// The list for `migrate --status`.
pub(crate) fn migration_states(migrator: &sqlx::migrate::Migrator, found: i64) -> Vec<MigrationState> {
    migrator
        .iter()
        .map(|m| MigrationState {
            version: m.version,
            name: m.description.clone().into_owned(),
            applied: m.version <= found,
        })
        .collect()
}

/// What sqlx's migrator says, in our words.
pub(crate) fn migrate_error(error: sqlx::migrate::MigrateError) -> StoreError {
    use sqlx::migrate::MigrateError as E;
    match error {
        E::VersionMismatch(version) => StoreError::Setup(format!(
            "migration {version} was applied with another text than this program has: the database belongs to a different build"
        )),
        E::Dirty(version) => StoreError::Setup(format!("migration {version} was left half applied")),
        E::ExecuteMigration(e, version) => match StoreError::from(e) {
            StoreError::Unavailable(e) => StoreError::Unavailable(e),
            other => StoreError::Setup(format!("migration {version} failed: {other}")),
        },
        E::Execute(e) => StoreError::from(e),
        other => StoreError::Setup(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!(Target::parse("halo.db").unwrap(), Target::Sqlite("halo.db".into()));
        assert_eq!(Target::parse("sqlite:///var/halo.db").unwrap(), Target::Sqlite("/var/halo.db".into()));
        assert!(matches!(Target::parse("postgres://u@h/d").unwrap(), Target::Postgres(_)));
        assert!(matches!(Target::parse("postgresql://u@h/d").unwrap(), Target::Postgres(_)));
        for bad in ["", "sqlite:", "sqlite::memory:", "mysql://u:secret@h/d"] {
            let error = Target::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
