//! Copies of the embedded database, by name and by the clock.
//!
//! A copy that has no name of its own lies in `backups/` beside the database and is called by the time it was
//! made at, so that names sort by age. Only such copies are ever removed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta};
use connector_sdk::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::store::{self, CopyMade, StoreError};

const PREFIX: &str = "halo-sync-";
const SUFFIX: &str = ".db";
const STAMP: &str = "%Y%m%dT%H%M%SZ";
/// After a failure, and between looks at the clock: it may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Where the copies of the database at `database` are kept.
pub fn folder(database: &Path) -> PathBuf {
    database.parent().unwrap_or_else(|| Path::new(".")).join("backups")
}

/// The name of a copy made at that instant.
pub fn name(at: Timestamp) -> String {
    format!("{PREFIX}{}{SUFFIX}", at.format(STAMP))
}

/// When a file was made, if its name is one that [`name`] gives.
fn made_at(file: &str) -> Option<Timestamp> {
    let stamp = file.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    NaiveDateTime::parse_from_str(stamp, STAMP).ok().map(|at| at.and_utc())
}

/// The copies in a folder, oldest first.
///
/// # Errors
/// The folder cannot be read. One that is not there has none.
pub fn list(folder: &Path) -> std::io::Result<Vec<(Timestamp, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(at) = entry.file_name().to_str().and_then(made_at) {
            found.push((at, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes the oldest copies of a folder until `keep` are left. Answers what was removed.
///
/// # Errors
/// The folder or a file in it.
pub fn prune(folder: &Path, keep: usize) -> std::io::Result<Vec<PathBuf>> {
    let copies = list(folder)?;
    let surplus = copies.len().saturating_sub(keep);
    let mut removed = Vec::with_capacity(surplus);
    for (_, path) in copies.into_iter().take(surplus) {
        std::fs::remove_file(&path)?;
        removed.push(path);
    }
    Ok(removed)
}

/// Makes a copy in the folder, named by `now`.
///
/// # Errors
/// The folder's, and those of [`store::copy`].
pub async fn make(database: &Path, now: Timestamp) -> Result<(PathBuf, CopyMade), StoreError> {
    let folder = folder(database);
    std::fs::create_dir_all(&folder)
        .map_err(|e| StoreError::Unavailable(format!("cannot make {}: {e}", folder.display())))?;
    let path = folder.join(name(now));
    let made = store::copy(database, &path).await?;
    Ok((path, made))
}

/// Copies by the clock.
pub struct Clockwork {
    /// The database.
    pub database: PathBuf,
    /// How old the newest copy may become.
    pub every: TimeDelta,
    /// How many copies stay.
    pub keep: usize,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Clockwork {
    /// Copies whenever the newest copy is too old, also one that another process made, until `stop`. A failure is
    /// logged and tried again.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let wait = match self.look().await {
                Ok(wait) => wait.min(LOOK_AGAIN),
                Err(why) => {
                    tracing::error!(%why, "the database could not be copied; it will be tried again");
                    LOOK_AGAIN
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Copies if it is time. Answers how long it is until the next time.
    async fn look(&self) -> Result<Duration, String> {
        let now = self.clock.now();
        let folder = folder(&self.database);
        let newest = list(&folder).map_err(|e| format!("{}: {e}", folder.display()))?.pop();
        // A copy of the future was made when the clock was wrong: it says nothing.
        let age = newest.map(|(at, _)| now - at).filter(|age| *age >= TimeDelta::zero());
        if let Some(left) = age.and_then(|age| (self.every - age).to_std().ok())
            && !left.is_zero()
        {
            return Ok(left);
        }
        let (path, made) = make(&self.database, now).await.map_err(|e| e.to_string())?;
        tracing::info!(backup = %path.display(), bytes = made.bytes, "copied the database");
        // Only behind a copy that is whole.
        prune(&folder, self.keep).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(self.every.to_std().unwrap_or(LOOK_AGAIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn names_sort_by_age_and_only_ours_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| std::fs::write(folder.path().join(name), "x").unwrap();
        for n in [86_400, 0, 3_600] {
            file(&name(at(n)));
        }
        for other in ["pre-v4.db", "halo-sync-mine.db", "replaced-20270115T080000Z.db", "halo-sync-.db"] {
            file(other);
        }
        let ages: Vec<i64> =
            list(folder.path()).unwrap().iter().map(|(made, _)| (*made - at(0)).num_seconds()).collect();
        assert_eq!(ages, [0, 3_600, 86_400]);
        assert_eq!(prune(folder.path(), 2).unwrap(), [folder.path().join(name(at(0)))]);
        assert!(prune(folder.path(), 2).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 6);
    }
}
