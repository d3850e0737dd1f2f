//! `halo-sync runs`.

use clap::Subcommand;

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
