//! `halo-sync migrate`.

use clap::Subcommand;

/// What is given to `migrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// The database's version and this program's
    Status,
    /// Apply what is missing
    Run,
}
