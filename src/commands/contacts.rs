//! `halo-sync contacts`.

use clap::Subcommand;

use super::{App, CommandError, ExitCode, import};
use crate::product::ImportKind;

/// What is given to `contacts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with end users.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Import end users from a CSV or JSON Lines file
    ///
    /// Made or updated by your product's id or, without one, by e-mail address; when they were seen is not touched. An interrupted import goes on with --resume. Rows that are refused are kept with the reason; then the exit code is 3.
    Import(Box<import::Args>),
}

/// Runs `contacts`.
///
/// # Errors
///
/// Those of the import.
pub async fn run(app: &App, args: Args) -> Result<ExitCode, CommandError> {
    match args.action {
        Action::Import(args) => import::run(app, ImportKind::Contacts, *args).await,
    }
}
