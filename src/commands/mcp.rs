//! `halo-sync mcp`.

use rmcp::ServiceExt as _;
use rmcp::service::{QuitReason, ServerInitializeError};
use rmcp::transport::io::stdio_pipes;

use super::host::{Access, Host};
use super::{App, CommandError};
use crate::mcp::Agent;

/// What is given to `mcp`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Speaks MCP over stdin and stdout until the client closes them. Reads only, beside whatever process runs.
///
/// # Errors
///
/// The settings', the store's; a client that does not begin as the protocol says.
pub async fn run(app: &App, _: Args) -> Result<(), CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let host = Host::open(app, loaded, Access::Read).await?;
    let agent = Agent::new(host.services.store.clone(), host.prompt_of_org().await?, host.org.clone());
    let running = match agent.serve(stdio_pipes()).await {
        Ok(running) => running,
        // A client that went away before it said anything.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(anyhow::Error::new(error).context("the client does not speak MCP").into()),
    };
    match running.waiting().await {
        Ok(QuitReason::JoinError(error)) | Err(error) => Err(anyhow::Error::new(error).into()),
        Ok(_) => Ok(()),
    }
}
