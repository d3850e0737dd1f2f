//! `halo-sync backup`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::host::{keyring, target};
use super::{App, CommandError};
use crate::backups;
use crate::config::Loaded;
use crate::store::{self, Target};

/// What is given to `backup`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to; `-` is stdout [default: backups/halo-sync-TIME.db beside the database]
    #[arg(value_name = "FILE|-")]
    pub file: Option<PathBuf>,
    /// Then remove the oldest copies in the default folder until N are left
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "file")]
    pub keep: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Answer {
    file: PathBuf,
    bytes: u64,
    schema: i64,
    key_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    removed: Vec<PathBuf>,
}

/// The SQLite file that the settings name.
///
/// # Errors
/// Postgres has its own tools (2).
pub(super) fn embedded(loaded: &Loaded, tool: &str) -> Result<PathBuf, CommandError> {
    match target(loaded)? {
        Target::Sqlite(path) => Ok(path),
        Target::Postgres(_) => Err(CommandError::usage("the database is a Postgres server, not a file")
            .why("a server's databases are copied by its own tools")
            .try_this(tool)),
    }
}

/// Copies the database, beside whatever process writes to it.
///
/// # Errors
///
/// A file that is there already (2); a place that cannot be written (5); Postgres (2).
pub async fn run(app: &App, args: Args) -> Result<(), CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let database = embedded(&loaded, "pg_dump --format=custom --file=FILE \"$DATABASE_URL\"")?;
    let key = keyring(&loaded)?.key_id();
    if args.file.as_deref() == Some(Path::new("-")) {
        return to_stdout(app, &database, &key).await;
    }
    let (file, made) = match args.file {
        None => backups::make(&database, app.clock.now()).await?,
        Some(file) if file.exists() => {
            return Err(CommandError::usage(format!("{} is there already", file.display()))
                .why("a backup never takes the place of another")
                .try_this("halo-sync backup   (names the copy by the time)"));
        }
        Some(file) => {
            let made = store::copy(&database, &file).await?;
            (file, made)
        }
    };
    let removed = match args.keep {
        Some(keep) => {
            backups::prune(&backups::folder(&database), usize::try_from(keep).unwrap_or(usize::MAX))?
        }
        None => Vec::new(),
    };
    let answer = Answer { file, bytes: made.bytes, schema: made.schema, key_id: key, removed };
    app.out.one(&answer, |a| format!("{}  {} bytes, schema {}", a.file.display(), a.bytes, a.schema))?;
    about_the_key(app, &answer.key_id);
    Ok(())
}

fn about_the_key(app: &App, key: &str) {
    app.out.note(&format!(
        "The key file that opens its stored credentials (key {key}) is not in it: keep a copy of that elsewhere."
    ));
}

/// Through a file of our own, so that what is piped on is whole and checked.
async fn to_stdout(app: &App, database: &Path, key: &str) -> Result<(), CommandError> {
    let folder = backups::folder(database);
    std::fs::create_dir_all(&folder)?;
    let passing = folder.join(format!("passing-{}.db", std::process::id()));
    let made = store::copy(database, &passing).await;
    let copied = made.map_err(CommandError::from).and_then(|_| {
        let mut from = std::fs::File::open(&passing)?;
        let mut to = std::io::stdout().lock();
        std::io::copy(&mut from, &mut to)?;
        to.flush()?;
        Ok(())
    });
    // Left behind it would fill the disk.
    let _ = std::fs::remove_file(&passing);
    copied?;
    about_the_key(app, key);
    Ok(())
}
