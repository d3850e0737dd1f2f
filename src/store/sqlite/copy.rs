//! Whole copies of the database file: made beside the writer, and put in its place.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::{found_version, lock, migrator, open, options};
use crate::store::{CopyMade, Result, StoreError};

/// The path with something behind it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn failed(what: &str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("cannot {what} {}: {error}", path.display()))
}

/// An empty file that only its owner reads: it will hold customers' data.
fn private_file(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path).map_err(|e| failed("write", path, &e))
}

/// What was renamed in a file's folder stays so after a power cut.
fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed("flush", folder, &e))
}

/// Copies what the connection sees at one instant into the file `to`, which is there whole or not at all.
pub(super) async fn write(c: &mut SqliteConnection, to: &Path) -> Result<CopyMade> {
    let fresh = beside(to, ".tmp");
    // SQLite writes into an empty file, and keeps its mode.
    drop(private_file(&fresh)?);
    let made = write_fresh(c, &fresh).await;
    let kept = made.and_then(|made| {
        std::fs::rename(&fresh, to).map_err(|e| failed("write", to, &e))?;
        sync_folder(to)?;
        Ok(made)
    });
    if kept.is_err() {
        // What is not whole is of no use; the error says why it is not.
        let _ = std::fs::remove_file(&fresh);
    }
    kept
}

async fn write_fresh(c: &mut SqliteConnection, fresh: &Path) -> Result<CopyMade> {
    let name =
        fresh.to_str().ok_or_else(|| StoreError::Setup(format!("{} is not UTF-8", fresh.display())))?;
    sqlx::query("VACUUM INTO $1").bind(name).execute(c).await?;
    // SQLite leaves it to the system when the new file reaches the disk.
    let flushed = File::open(fresh).and_then(|file| {
        file.sync_all()?;
        file.metadata()
    });
    let bytes = flushed.map_err(|e| failed("flush", fresh, &e))?.len();
    let schema = check(fresh, &fresh.display().to_string(), "PRAGMA quick_check").await?;
    Ok(CopyMade { bytes, schema })
}

/// Copies the database beside whatever process writes to it.
pub(super) async fn make(database: &Path, to: &Path) -> Result<CopyMade> {
    if !database.exists() {
        return Err(StoreError::Setup(format!("there is no database at {}", database.display())));
    }
    let mut c = options(database).create_if_missing(false).connect().await?;
    let made = write(&mut c, to).await;
    c.close().await?;
    made
}

/// Whether a file is a whole database of ours; answers its schema's version. `named`: what people know it by.
async fn check(file: &Path, named: &str, pragma: &'static str) -> Result<i64> {
    let not_ours = |why: &dyn std::fmt::Display| {
        StoreError::Setup(format!("{named} is not a whole database of halo-sync: {why}"))
    };
    // Nobody else writes it, and nothing is to be made beside it.
    let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
    let mut c = options.connect().await.map_err(|e| not_ours(&e))?;
    let found: std::result::Result<Vec<String>, _> = sqlx::query_scalar(pragma).fetch_all(&mut c).await;
    let complaints = found.map_err(|e| not_ours(&e))?;
    if complaints != ["ok"] {
        return Err(not_ours(&complaints.first().map_or("its check says nothing", String::as_str)));
    }
    let version = found_version(&mut c).await?;
    c.close().await?;
    if version == 0 {
        return Err(not_ours(&"it has none of its tables"));
    }
    Ok(version)
}

/// Puts a copy, as it is read from `copy`, in the database's place. What was there is kept as `aside`. Answers the copy's schema.
///
/// At every moment either database is there whole: the new one takes the old one's name in one step, when it is
/// on the disk and has been checked.
pub(super) async fn restore(
    copy: &mut (dyn Read + Send),
    named: &str,
    database: &Path,
    aside: &Path,
) -> Result<i64> {
    let _lock = lock::FileLock::take(database)?;
    let incoming = beside(database, ".restoring");
    let schema = match bring_in(copy, named, &incoming).await {
        Ok(schema) => schema,
        Err(error) => {
            let _ = std::fs::remove_file(&incoming);
            return Err(error);
        }
    };
    if database.exists() {
        set_aside(database, aside)?;
    }
    std::fs::rename(&incoming, database).map_err(|e| failed("write", database, &e))?;
    sync_folder(database)?;
    Ok(schema)
}

async fn bring_in(copy: &mut (dyn Read + Send), named: &str, incoming: &Path) -> Result<i64> {
    let mut to = private_file(incoming)?;
    let copied = io::copy(copy, &mut to).and_then(|_| to.sync_all());
    copied.map_err(|e| failed("write", incoming, &e))?;
    let schema = check(incoming, named, "PRAGMA integrity_check").await?;
    open::check_version(schema, open::newest(&migrator()), true)?;
    Ok(schema)
}

/// Gives the database a second name, and its log to that: under the old one SQLite would play the log into the
/// database that comes there. Neither is opened: what is damaged stays as it was found.
fn set_aside(database: &Path, aside: &Path) -> Result<()> {
    std::fs::hard_link(database, aside).map_err(|e| failed("keep the old database as", aside, &e))?;
    for suffix in ["-wal", "-shm"] {
        match std::fs::rename(beside(database, suffix), beside(aside, suffix)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(failed("keep the old database as", aside, &e));
            }
            _ => {}
        }
    }
    sync_folder(aside)
}
