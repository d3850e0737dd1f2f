//! `halo-sync runs`.

use clap::Subcommand;
use serde_json::json;

use super::host::{Access, Host};
use super::{App, CommandError, moment, word};
use crate::domain::RunId;
use crate::domain::runs::{Counts, Progress, RunStatus, SyncRun};

/// What is given to `runs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with runs.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Latest runs first
    List {
        /// Only of this connection
        #[arg(long, value_name = "CONN")]
        connection: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// One run: streams, counts, rejected records with their reasons
    Show {
        /// Which run (`run_…`)
        #[arg(value_name = "RUN")]
        run: String,
    },
}

/// Lists runs or shows one.
///
/// # Errors
///
/// An unknown run or connection.
pub async fn run(app: &App, args: Args) -> Result<(), CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let host = Host::open(app, loaded, Access::Read).await?;
    match args.action {
        None => list(app, &host, None, 20).await,
        Some(Action::List { connection, limit }) => list(app, &host, connection.as_deref(), limit).await,
        Some(Action::Show { run }) => show(app, &host, &run).await,
    }
}

async fn list(app: &App, host: &Host, connection: Option<&str>, limit: u32) -> Result<(), CommandError> {
    let connection = match connection {
        Some(name) => Some(host.services.connection(&host.org, name).await?.id),
        None => None,
    };
    let runs = host.store().list_runs(&host.org, connection.as_ref(), None, i64::from(limit)).await?;
    app.out.list(
        &runs,
        &[
            ("RUN", &|r: &SyncRun| r.id.0.clone()),
            ("KIND", &|r| word(&r.kind)),
            ("BY", &|r| r.trigger.clone()),
            ("STATUS", &|r| word(&r.status)),
            ("STARTED", &|r| moment(r.started_at)),
            ("READ", &|r| total(r).read.to_string()),
            ("CHANGED", &|r| changed(&total(r))),
            ("WHY", &|r| r.error.clone().unwrap_or_default()),
        ],
        "No run yet. Connect an account first:  halo-sync connect stripe --api-key-file FILE",
    )
}

/// The counts of all streams.
pub(super) fn total(run: &SyncRun) -> Counts {
    let mut all = Counts::default();
    for stream in &run.streams {
        all.add(&stream.counts);
    }
    all
}

/// `1200 of about 5000 records, about 2m 5s left`; without a total the count alone.
pub(super) fn how_far(progress: &Progress) -> String {
    let Some(expected) = progress.expected else { return format!("{} records", progress.read) };
    let mut text = format!("{} of about {expected} records", progress.read);
    if let Some(seconds) = progress.eta_seconds {
        text.push_str(&format!(", about {} left", duration(seconds)));
    }
    text
}

/// `2h 5m`, `2m 5s`, `5s`: the two largest units.
fn duration(seconds: i64) -> String {
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m {}s", seconds % 60),
        _ => format!("{hours}h {minutes}m"),
    }
}

/// `+31 ~12 -2 =1190`, and `✗1` where records were rejected.
pub(super) fn changed(counts: &Counts) -> String {
    let mut text =
        format!("+{} ~{} -{} ={}", counts.created, counts.updated, counts.deleted, counts.unchanged);
    if counts.rejected > 0 {
        text.push_str(&format!(" rejected {}", counts.rejected));
    }
    text
}

async fn show(app: &App, host: &Host, id: &str) -> Result<(), CommandError> {
    let run = host.store().find_run(&host.org, &RunId::from(id)).await?;
    let run =
        run.ok_or_else(|| CommandError::not_found(format_args!("run {id}")).try_this("halo-sync runs list"))?;
    let rejected: Vec<_> = host
        .store()
        .list_rejected(&host.org, Some(&run.connection_id), 100)
        .await?
        .into_iter()
        .filter(|r| {
            r.last_seen_at >= run.started_at && run.finished_at.is_none_or(|end| r.last_seen_at <= end)
        })
        .collect();
    let progress = Progress::of(&run.streams, app.clock.now());
    app.out.one(&json!({ "run": run, "progress": progress, "rejected": rejected }), |_| {
        let mut lines =
            vec![format!("{} {} ({}), {}", run.id, word(&run.kind), run.trigger, word(&run.status))];
        lines.push(format!("started   {}", moment(run.started_at)));
        lines.extend(run.finished_at.map(|at| format!("finished  {}", moment(at))));
        if run.status == RunStatus::Running {
            lines.push(format!("so far    {}", how_far(&progress)));
        }
        lines.extend(run.error.iter().map(|why| format!("why       {why}")));
        for s in &run.streams {
            let why = s.reason.as_ref().map_or_else(String::new, |why| format!("  {why}"));
            lines.push(format!("  {:<14} {:<8} {}{why}", s.stream, s.state, changed(&s.counts)));
        }
        for r in &rejected {
            lines.push(format!("rejected  {}/{}: {}", r.stream, r.external_id, r.reason));
        }
        lines.join("\n")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_what_is_known() {
        let say = |expected, eta_seconds| how_far(&Progress { read: 1_200, expected, eta_seconds });
        assert_eq!(say(None, None), "1200 records");
        assert_eq!(say(Some(5_000), None), "1200 of about 5000 records");
        assert_eq!(say(Some(5_000), Some(5)), "1200 of about 5000 records, about 5s left");
        assert_eq!(say(Some(5_000), Some(125)), "1200 of about 5000 records, about 2m 5s left");
        assert_eq!(say(Some(5_000), Some(7_500)), "1200 of about 5000 records, about 2h 5m left");
    }
}
