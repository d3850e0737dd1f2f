//! `halo-sync serve`.

use std::net::SocketAddr;

use super::cli::flag;
use super::demo;
use super::host::{Access, Host};
use super::running::Running;
use super::{App, CommandError, ExitCode};
use crate::config::Flag;
use crate::telemetry::Metrics;

/// What is given to `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show the whole thing without any account: a sandbox Stripe in this process, on loopback
    #[arg(long, conflicts_with = "no_worker")]
    pub demo: bool,
    /// Take requests and webhooks, and leave the jobs to other processes (setting worker.enabled)
    #[arg(long)]
    pub no_worker: bool,
    /// Address and port (setting server.listen)
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
}

impl Args {
    pub(super) fn settings(&self) -> Vec<Flag> {
        let mut settings = Vec::new();
        if self.no_worker {
            settings.push(flag("--no-worker", "worker.enabled", false));
        }
        if let Some(listen) = self.listen {
            settings.push(flag("--listen", "server.listen", listen));
        }
        settings
    }
}

/// Runs the whole program until it is asked to stop.
///
/// # Errors
///
/// Settings and schema (6); a database file or an address in use.
pub async fn run(app: &App, args: Args) -> Result<ExitCode, CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, !args.demo)?;
    let metrics = Metrics::install().map_err(|why| CommandError::from(anyhow::anyhow!(why)))?;
    if args.demo {
        return demo::run(app, loaded, metrics).await;
    }
    let host = Host::open(app, loaded, Access::Write).await?;
    let with_worker = host.loaded.config.worker.enabled;
    let running = Running::start(app, host, metrics, with_worker).await?;
    banner(app, &running, with_worker).await?;
    running.until_stopped(app).await
}

async fn banner(app: &App, running: &Running, with_worker: bool) -> Result<(), CommandError> {
    let host = &running.host;
    let counts = host.store().count_identities(&host.org).await?;
    let connections = host.store().list_connections(Some(&host.org)).await?;
    let Some(address) = running.address else { return Ok(()) };
    let file = host.loaded.file.as_ref().map_or_else(
        || "none (defaults; write one with: halo-sync config init)".to_owned(),
        |file| file.display().to_string(),
    );
    let place = match host.on_postgres() {
        true => "Postgres".to_owned(),
        false => host.data_dir().display().to_string(),
    };
    let schema = host.store().schema_version().await?;
    if !app.out.is_lively() {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            settings_file = %file,
            data = %place,
            schema,
            %address,
            worker = with_worker,
            connections = connections.len(),
            "serving"
        );
        return Ok(());
    }
    let worker = match with_worker {
        true => format!("in process, {} jobs at once", host.loaded.config.worker.concurrency),
        false => "none here; jobs wait for `halo-sync worker`".to_owned(),
    };
    app.out.note(&format!(
        "halo-sync {}\n\
         settings  {file}\n\
         data      {place}  ({}, schema {schema}, {} companies)\n\
         worker    {worker}\n\
         API       http://{address}/api/sdk/chat/context\n\
         health    http://{address}/readyz   metrics  http://{address}/metrics",
        env!("CARGO_PKG_VERSION"),
        host.store().engine(),
        counts.companies,
    ));
    if connections.is_empty() {
        app.out.note(
            "No account is connected. Try:  halo-sync serve --demo   or   halo-sync connect stripe --api-key-file FILE",
        );
    }
    for connection in connections {
        let path = host.services.providers.webhook_path(&connection);
        let test = if connection.mode == connector_sdk::Mode::Test { " (TEST)" } else { "" };
        app.out.note(&format!("{}{test}  webhooks {}{path}", connection.name, host.webhook_base()));
    }
    Ok(())
}
