//! `halo-sync jobs`.

use clap::Subcommand;

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
