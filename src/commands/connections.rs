//! `halo-sync connections`.

use clap::Subcommand;

/// What is given to `connections`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with connections. CONN is an id (`con_…`) or a name.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Connected accounts with their state and freshness
    List,
    /// One connection: streams, limits, schedules, webhook address
    Show {
        /// Which connection
        #[arg(value_name = "CONN")]
        connection: String,
    },
    /// Ask the provider whether the credentials are good and which permissions are missing
    Check {
        /// Which connection
        #[arg(value_name = "CONN")]
        connection: String,
    },
    /// Stop reading; webhooks are kept until resumed
    Pause {
        /// Which connection
        #[arg(value_name = "CONN")]
        connection: String,
    },
    /// Go on reading
    Resume {
        /// Which connection
        #[arg(value_name = "CONN")]
        connection: String,
    },
    /// Remove a connection with its records, links, runs and secrets; companies stay
    Rm {
        /// Which connection
        #[arg(value_name = "CONN")]
        connection: String,
        /// The connection's name once more, instead of being asked for it
        #[arg(long, value_name = "NAME")]
        confirm: Option<String>,
    },
}
