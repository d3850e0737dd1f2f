//! From the grammar to the commands.

use super::cli::Command;
use super::{App, CommandError, ExitCode, completions, config, connectors, version};

/// Runs one command. A command that finished with something to say about it (rejected records, changes
/// pending) answers that exit code.
pub(super) async fn run(app: &App, command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::Connectors(args) => connectors::run(app, &args)?,
        Command::Config(args) => config::run(app, &args)?,
        Command::Completions(args) => completions::run(app, &args)?,
        Command::Version => version::run(app)?,
        // The commands that need the store, the queue or a provider are wired here, one line each.
        Command::Serve(_)
        | Command::Worker(_)
        | Command::Connect(_)
        | Command::Connections(_)
        | Command::Sync(_)
        | Command::Runs(_)
        | Command::Companies(_)
        | Command::Derive(_)
        | Command::Render(_)
        | Command::Jobs(_)
        | Command::Keys(_)
        | Command::Doctor(_)
        | Command::Migrate(_) => {
            return Err(CommandError::new(ExitCode::Failed, "not_built", "this build lacks the command"));
        }
    }
    Ok(ExitCode::Ok)
}
