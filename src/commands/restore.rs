//! `halo-sync restore`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::backup::embedded;
use super::cli::STDIN_HINT;
use super::host::{Access, Host};
use super::{App, CommandError};
use crate::backups;
use crate::domain::connections::{Connection, ConnectionStatus};
use crate::service::Request;
use crate::store;
use crate::sync::SyncError;
use crate::sync::credentials::CredentialError;

/// What is given to `restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The copy that `halo-sync backup` made; `-` is stdin
    #[arg(value_name = STDIN_HINT)]
    pub file: PathBuf,
    /// Do not read the connected accounts again
    #[arg(long)]
    pub no_sync: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    /// Of the copy; opening it has migrated it where it was an older one.
    schema: i64,
    companies: i64,
    connections: usize,
    /// Where the database is that was there.
    replaced: Option<PathBuf>,
    /// Connections whose stored credentials this installation's key does not open.
    sealed_with_another_key: Vec<String>,
    /// Runs that read what happened since.
    runs: Vec<String>,
}

/// Puts a copy in the database's place, keeps what was there, and has every account read again: the copy knows
/// nothing of what happened after it was made.
///
/// # Errors
///
/// A database that a process holds; a file that is not a whole copy; a copy of a newer program: 6 each, and
/// nothing has changed. A file that cannot be read (1); Postgres (2).
pub async fn run(app: &App, args: Args) -> Result<(), CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let database = embedded(&loaded, "pg_restore --clean --if-exists --dbname=\"$DATABASE_URL\" FILE")?;
    let folder = backups::folder(&database);
    std::fs::create_dir_all(&folder)?;
    let now = app.clock.now();
    let aside = folder.join(format!("replaced-{}", backups::name(now)));
    let was_there = database.exists();
    let (named, mut copy): (String, Box<dyn Read + Send>) = if args.file == Path::new("-") {
        ("the copy on stdin".to_owned(), Box::new(std::io::stdin()))
    } else {
        let named = args.file.display().to_string();
        let file = File::open(&args.file).with_context(|| format!("cannot read {named}"))?;
        (named, Box::new(file))
    };
    let schema = store::restore(&mut copy, &named, &database, &aside)
        .await
        .with_context(|| format!("cannot restore {named}"))?;
    let host = Host::open_with_any_key(app, loaded, Access::Write).await?;
    let answer = Answer {
        schema,
        companies: host.store().count_identities(&host.org).await?.companies,
        replaced: was_there.then_some(aside),
        ..read_again(&host, args.no_sync).await?
    };
    host.store().close().await;
    tell(app, &answer)
}

/// Has every account of every organisation read again whose credentials can be opened.
async fn read_again(host: &Host, no_sync: bool) -> Result<Answer, CommandError> {
    let mut answer = Answer {
        schema: 0,
        companies: 0,
        connections: 0,
        replaced: None,
        sealed_with_another_key: Vec::new(),
        runs: Vec::new(),
    };
    for connection in host.store().list_connections(None).await? {
        answer.connections += 1;
        if !opens(host, &connection).await? {
            answer.sealed_with_another_key.push(connection.name);
            continue;
        }
        if no_sync || connection.status != ConnectionStatus::Active {
            continue;
        }
        let request = Request::Sync { connection: connection.id.0.clone(), full: true, streams: Vec::new() };
        let started = host.services.execute(&connection.org_id, request).await?;
        answer.runs.extend(started["run"]["id"].as_str().map(str::to_owned));
    }
    Ok(answer)
}

/// Whether this installation's key opens a connection's secrets.
async fn opens(host: &Host, connection: &Connection) -> Result<bool, CommandError> {
    let providers = &host.services.providers;
    let session = providers.session(connection, connector_sdk::Priority::Backfill).await.map(drop);
    let webhooks = providers.webhook_secrets(connection).await.map(drop);
    for result in [session, webhooks] {
        match result {
            Err(SyncError::Credential(CredentialError::OtherKey { .. })) => return Ok(false),
            Err(SyncError::Store(error)) => return Err(error.into()),
            // Whatever else is wrong with it was wrong before; its run and `doctor` say so.
            _ => {}
        }
    }
    Ok(true)
}

fn tell(app: &App, answer: &Answer) -> Result<(), CommandError> {
    app.out.one(answer, |a| {
        format!("restored: schema {}, {} companies, {} connections", a.schema, a.companies, a.connections)
    })?;
    if let Some(replaced) = &answer.replaced {
        app.out.note(&format!("What was there is kept as {}.", replaced.display()));
    }
    if !answer.sealed_with_another_key.is_empty() {
        app.out.note(&format!(
            "Sealed with a key that is not this installation's: {}. Until its key is put back (or, where it is lost, \
             let go of with halo-sync credentials forget) nothing starts.",
            answer.sealed_with_another_key.join(", ")
        ));
    }
    if !answer.runs.is_empty() {
        app.out.note("Every account is read again at the next start:  halo-sync serve");
    }
    app.out.note("What the product sent over the SDK API after the copy was made is not in it.");
    Ok(())
}
