//! `halo-sync jobs`.

use clap::Subcommand;

use super::host::{Access, Host};
use super::{App, CommandError, moment, word};
use crate::domain::JobId;
use crate::domain::jobs::{JobState, JobSummary};
use crate::service::Request;

/// What is given to `jobs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// A state that jobs are listed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum State {
    /// Waits for its time or a worker.
    Ready,
    /// Is claimed.
    Running,
    /// Finished well.
    Done,
    /// Gave up; waits for a person.
    Dead,
}

/// What to do with jobs.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Jobs, with every attempt under --json
    List {
        /// Only in this state
        #[arg(long)]
        state: Option<State>,
        /// Only of this kind
        #[arg(long)]
        kind: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Let dead jobs run again, with all their attempts
    #[command(group(clap::ArgGroup::new("which").required(true).args(["job", "failed"])))]
    Retry {
        /// Which job (`job_…`)
        #[arg(value_name = "JOB")]
        job: Option<String>,
        /// All dead jobs of the organisation
        #[arg(long)]
        failed: bool,
    },
}

/// Lists jobs or lets dead ones run again.
///
/// # Errors
///
/// A job that is not dead.
pub async fn run(app: &App, args: Args) -> Result<(), CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    match args.action {
        None => list(app, &Host::open(app, loaded, Access::Read).await?, None, None, 50).await,
        Some(Action::List { state, kind, limit }) => {
            list(app, &Host::open(app, loaded, Access::Read).await?, state, kind.as_deref(), limit).await
        }
        Some(Action::Retry { job, failed: _ }) => {
            let host = Host::open(app, loaded, Access::WriteIfFree).await?;
            let jobs = job.clone().map(|job| vec![JobId(job)]);
            let answer = host.execute(Request::RetryJobs { jobs }).await?;
            let retried = answer["retried"].as_i64().unwrap_or(0);
            if let (0, Some(job)) = (retried, job) {
                return Err(CommandError::not_found(format_args!("dead job {job}"))
                    .try_this("halo-sync jobs list --state dead"));
            }
            app.out.one(&answer, |_| format!("{retried} jobs run again"))
        }
    }
}

async fn list(
    app: &App,
    host: &Host,
    state: Option<State>,
    kind: Option<&str>,
    limit: u32,
) -> Result<(), CommandError> {
    let state = state.map(|state| match state {
        State::Ready => JobState::Ready,
        State::Running => JobState::Running,
        State::Done => JobState::Done,
        State::Dead => JobState::Dead,
    });
    let mut jobs = host.store().list_jobs(Some(&host.org), state, i64::from(limit)).await?;
    jobs.retain(|job| kind.is_none_or(|kind| job.kind == kind));
    app.out.list(
        &jobs,
        &[
            ("JOB", &|j: &JobSummary| j.id.0.clone()),
            ("KIND", &|j| j.kind.clone()),
            ("STATE", &|j| word(&j.state)),
            ("ATTEMPTS", &|j| format!("{}/{}", j.attempts, j.max_attempts)),
            ("AT", &|j| moment(j.at)),
            ("ERROR", &|j| j.error.clone().unwrap_or_default()),
        ],
        "No jobs.",
    )
}
