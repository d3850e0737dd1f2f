//! `halo-sync completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::cli::Cli;
use super::{App, CommandError};

/// What is given to `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell
    pub shell: Shell,
}

/// Prints the script.
///
/// # Errors
///
/// When stdout cannot be written.
pub fn run(app: &App, args: &Args) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "halo-sync", &mut script);
    app.out.raw(&script)
}
