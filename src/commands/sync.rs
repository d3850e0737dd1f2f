//! `halo-sync sync`.

use std::time::Duration;

use serde_json::Value;

use super::host::{Access, Host};
use super::progress::Progress;
use super::resync::{self, Since};
use super::runs::{changed, total};
use super::when::{When, when};
use super::{App, CommandError, ExitCode, word};
use crate::domain::RunId;
use crate::domain::runs::{RunStatus, StreamProgress, SyncRun};
use crate::service::Request;
use crate::sync::dry_run::dry_run;

/// What is given to `sync`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which connection: its id (`con_…`) or name; with --company every one, unless it is given
    #[arg(value_name = "CONN", required_unless_present = "company")]
    pub connection: Option<String>,
    /// Read everything again
    #[arg(long)]
    pub full: bool,
    /// Only this stream; may be given more than once
    #[arg(long = "stream", value_name = "STREAM")]
    pub streams: Vec<String>,
    /// Only everything of this company (its id, external id or name), and show what that changes
    #[arg(long, conflicts_with_all = ["full", "streams", "since"])]
    pub company: Option<String>,
    /// Only what was created or changed since: 2026-11-22T10:00:00Z, 2026-11-22, or 24h for so long ago
    #[arg(long, value_name = "WHEN", value_parser = when, conflicts_with_all = ["full", "streams"])]
    pub since: Option<When>,
    /// Read and compare, write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// End with exit code 10 when something would change
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
}

impl Args {
    /// The connection; clap asks for one where it is needed.
    pub(super) fn connection(&self) -> &str {
        self.connection.as_deref().unwrap_or_default()
    }
}

/// How often a run that another process works on is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Reads a connected account now, or says what reading would change.
///
/// # Errors
///
/// What the run met: credentials (4), a provider that is not there (5). Exit code 3 when records were
/// rejected, 10 when a dry run would change something and was asked to say so.
pub async fn run(app: &App, mut args: Args) -> Result<ExitCode, CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let access = if args.dry_run { Access::Read } else { Access::WriteIfFree };
    let host = Host::open(app, loaded, access).await?;
    if let Some(company) = &args.company {
        return resync::of_company(app, &host, company, &args).await;
    }
    if let Some(since) = args.since {
        match resync::since(app, &host, since.instant(app.clock.now()), &args).await? {
            Since::Done(code) => return Ok(code),
            // Older than what the provider remembers.
            Since::Everything(why) => {
                app.out.note(&format!("{why}: everything is read instead."));
                args.full = true;
            }
        }
    }
    if args.dry_run {
        return look(app, &host, &args).await;
    }
    // Nobody else works jobs off while this process holds the file; on Postgres one more worker does no harm.
    let worker = if host.writes { Some(host.start_worker(app).await?) } else { None };
    let followed = start_and_follow(app, &host, &args).await;
    if let Some(worker) = worker {
        if followed.is_ok() && !host.on_postgres() {
            worker.drain().await;
        }
        worker.stop(Duration::from_secs(host.loaded.config.worker.shutdown_seconds)).await;
    }
    let run = followed?;
    let counts = total(&run);
    app.out.one(&run, |run| format!("{} {}: {}", run.id, word(&run.status), changed(&counts)))?;
    if counts.rejected > 0 {
        app.out.note(&format!("Why records were rejected:  halo-sync runs show {}", run.id));
    }
    match run.status {
        RunStatus::Failed => {
            let exit = host.why_failed(&run).await?;
            Err(CommandError::new(exit, "run_failed", format!("run {} failed", run.id))
                .why(run.error.unwrap_or_default())
                .try_this("halo-sync doctor"))
        }
        _ if counts.rejected > 0 => Ok(ExitCode::RecordErrors),
        _ => Ok(ExitCode::Ok),
    }
}

async fn start_and_follow(app: &App, host: &Host, args: &Args) -> Result<SyncRun, CommandError> {
    let answer = host
        .execute(Request::Sync {
            connection: args.connection().to_owned(),
            full: args.full,
            streams: args.streams.clone(),
        })
        .await?;
    if answer["already_running"] == Value::Bool(true) {
        app.out.note("A run is at work already; this follows it.");
    }
    let id = RunId::from(answer["run"]["id"].as_str().unwrap_or_default());
    follow(app, host, &id).await
}

/// Shows a run's progress until it ends.
pub(super) async fn follow(app: &App, host: &Host, id: &RunId) -> Result<SyncRun, CommandError> {
    let progress = Progress::new(&app.out, &*app.clock);
    loop {
        let run = host.store().find_run(&host.org, id).await?;
        let run = run.ok_or_else(|| CommandError::not_found(format_args!("run {id}")))?;
        progress.show(&run.streams);
        if run.status != RunStatus::Running {
            progress.finish();
            return Ok(run);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(app: &App, host: &Host, args: &Args) -> Result<ExitCode, CommandError> {
    let connection = host.services.connection(&host.org, args.connection()).await?;
    let progress = Progress::new(&app.out, &*app.clock);
    let services = &host.services;
    let streams = dry_run(
        &*services.store,
        &services.providers,
        &connection,
        &args.streams,
        app.clock.now(),
        |stream| {
            progress.show(std::slice::from_ref(stream));
        },
    )
    .await
    .map_err(crate::service::Failure::from)?;
    progress.finish();
    app.out.list(
        &streams,
        &[
            ("STREAM", &|s: &StreamProgress| s.stream.clone()),
            ("NEW", &|s| s.counts.created.to_string()),
            ("CHANGED", &|s| s.counts.updated.to_string()),
            ("GONE", &|s| s.counts.deleted.to_string()),
            ("EQUAL", &|s| s.counts.unchanged.to_string()),
            ("REJECTED", &|s| s.counts.rejected.to_string()),
            ("", &|s| s.reason.clone().unwrap_or_default()),
        ],
        "The connector has no such stream.",
    )?;
    app.out.note("Nothing was written.");
    let pending = streams.iter().any(|s| s.counts.created + s.counts.updated + s.counts.deleted > 0);
    Ok(if pending && args.exit_code { ExitCode::ChangesPending } else { ExitCode::Ok })
}
