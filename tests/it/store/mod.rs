//! The store's contract: every behaviour runs on both engines.

use std::sync::Arc;

use halo_sync::store::{OpenMode, StoreConfig, Target, sqlite};

use crate::support::clock::TestClock;

/// Stamps each behaviour (`async fn name(store: &dyn …)`) once for SQLite and once for Postgres.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                let bench = crate::store::SqliteBench::new().await;
                super::$name(&*bench.engine).await;
                bench.engine.close().await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                let Some(database) = crate::support::postgres::Database::migrated().await else { return };
                let engine =
                    crate::support::postgres::open(&database.url, halo_sync::store::OpenMode::Exclusive).await;
                super::$name(&*engine).await;
                engine.close().await;
                database.drop_it().await;
            })*
        }
    };
}

mod conversations;
mod derivations;
mod erase;
mod identity;
mod inbox;
mod kit;
mod links;
mod mirror;
mod people;
mod product;
mod rates;
mod schema;
pub(crate) mod settings;
mod tenancy;
mod trust;
mod unchanged;
mod watch;

/// An SQLite store in a folder of its own.
pub(crate) struct SqliteBench {
    pub(crate) engine: Arc<sqlite::Engine>,
    pub(crate) folder: tempfile::TempDir,
}

impl SqliteBench {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = open_sqlite(&folder.path().join("halo.db"), OpenMode::Exclusive).await.unwrap();
        Self { engine, folder }
    }
}

/// Opens an SQLite file with a test clock.
pub(crate) async fn open_sqlite(
    path: &std::path::Path,
    mode: OpenMode,
) -> halo_sync::store::Result<Arc<sqlite::Engine>> {
    let config = StoreConfig::new(Target::Sqlite(path.to_owned()));
    sqlite::Engine::open(path, &config, mode, Arc::new(TestClock::default())).await
}
