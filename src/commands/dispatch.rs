//! From the grammar to the commands.

use super::cli::Command;
use super::{
    App, CommandError, ExitCode, attributes, audit, backup, companies, completions, config, connect,
    connections, connectors, contacts, credentials, derive, doctor, health, jobs, keys, mcp, migrate,
    openapi, orgs, render, restore, runs, sdk, serve, sync, version, webhooks, worker,
};

/// Runs one command. A command that finished with something to say about it (rejected records, changes
/// pending) answers that exit code.
pub(super) async fn run(app: &App, command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::Connectors(args) => connectors::run(app, &args).await?,
        Command::Config(args) => config::run(app, &args)?,
        Command::Sdk(args) => sdk::run(app, args)?,
        Command::Completions(args) => completions::run(app, &args)?,
        Command::Openapi => openapi::run(app)?,
        Command::Version => version::run(app)?,
        Command::Connect(args) => connect::run(app, args).await?,
        Command::Connections(args) => connections::run(app, args).await?,
        Command::Runs(args) => runs::run(app, args).await?,
        Command::Derive(args) => derive::run(app, args).await?,
        Command::Health(args) => health::run(app, &args)?,
        Command::Render(args) => render::run(app, args).await?,
        Command::Jobs(args) => jobs::run(app, args).await?,
        Command::Attributes(args) => attributes::run(app, args).await?,
        Command::Keys(args) => keys::run(app, args).await?,
        Command::Orgs(args) => orgs::run(app, args).await?,
        Command::Backup(args) => backup::run(app, args).await?,
        Command::Restore(args) => restore::run(app, args).await?,
        Command::Mcp(args) => mcp::run(app, args).await?,
        Command::Migrate(args) => migrate::run(app, args).await?,
        Command::Credentials(args) => return credentials::run(app, args).await,
        Command::Companies(args) => return companies::run(app, args).await,
        Command::Contacts(args) => return contacts::run(app, args).await,
        Command::Serve(args) => return serve::run(app, args).await,
        Command::Worker(args) => return worker::run(app, args).await,
        Command::Webhooks(args) => return webhooks::run(app, args).await,
        Command::Audit(args) => return audit::run(app, args).await,
        Command::Sync(args) => return sync::run(app, args).await,
        Command::Doctor(args) => return doctor::run(app, args).await,
    }
    Ok(ExitCode::Ok)
}
