//! `halo-sync worker`.

use super::cli::flag;
use super::host::{Access, Host};
use super::running::Running;
use super::{App, CommandError, ExitCode};
use crate::config::Flag;

/// What is given to `worker`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Jobs at once (setting worker.concurrency)
    #[arg(long, value_name = "N")]
    pub concurrency: Option<usize>,
}

impl Args {
    pub(super) fn settings(&self) -> Vec<Flag> {
        self.concurrency.map(|n| flag("--concurrency", "worker.concurrency", n)).into_iter().collect()
    }
}

/// Works jobs off until the process is asked to stop.
///
/// # Errors
///
/// Settings and schema (6); a database file in use.
pub async fn run(app: &App, _args: Args) -> Result<ExitCode, CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, true)?;
    let host = Host::open(app, loaded, Access::Write).await?;
    let running = Running::worker(app, host).await?;
    tracing::info!(engine = running.host.store().engine(), "worker started");
    running.until_stopped(app).await
}
