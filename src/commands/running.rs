//! A running process: HTTP, control, worker, and their end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use chrono::TimeDelta;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::host::{Host, target};
use super::{App, CommandError, ExitCode};
use crate::backups::Clockwork;
use crate::http::control::ControlListener;
use crate::http::{self, Limits, Program};
use crate::jobs::RuntimeHandle;
use crate::store::Target;
use crate::telemetry::Metrics;

/// What a process runs.
pub(super) struct Running {
    /// Where it listens; `None` for a worker alone.
    pub(super) address: Option<SocketAddr>,
    pub(super) host: Host,
    worker: Option<RuntimeHandle>,
    http: Option<JoinHandle<usize>>,
    stop: CancellationToken,
    /// From before the first answer: whoever sees the process ready may ask it to stop.
    requests: StopRequests,
    _control: Option<ControlListener>,
}

impl Running {
    /// Starts HTTP, and the worker when asked for.
    pub(super) async fn start(
        app: &App,
        host: Host,
        metrics: Metrics,
        with_worker: bool,
    ) -> Result<Self, CommandError> {
        let requests = StopRequests::new()?;
        let config = &host.loaded.config;
        let listener = TcpListener::bind(config.server.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.server.listen))?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let control = control(&host, &stop).await?;
        let worker = match with_worker {
            true => Some(host.start_worker(app).await?),
            false => None,
        };
        copy_by_the_clock(app, &host, &stop)?;
        let limits = Limits::from(&config.server);
        let public = config.server.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        let router = http::program(Program {
            services: host.services.clone(),
            prompt: host.prompt()?,
            public_url: public.unwrap_or_else(|| format!("http://{address}")),
            signature_tolerance: Duration::from_secs(config.webhooks.tolerance_seconds),
            limits: limits.clone(),
            metrics,
        });
        let http = tokio::spawn(http::server::serve(listener, router, limits, stop.clone()));
        tokio::spawn(host.services.attributes.clone().run(stop.clone()));
        Ok(Self { address: Some(address), host, worker, http: Some(http), stop, requests, _control: control })
    }

    /// Starts a worker alone.
    pub(super) async fn worker(app: &App, host: Host) -> Result<Self, CommandError> {
        let requests = StopRequests::new()?;
        let stop = CancellationToken::new();
        let control = control(&host, &stop).await?;
        let worker = Some(host.start_worker(app).await?);
        Ok(Self { address: None, host, worker, http: None, stop, requests, _control: control })
    }

    /// The runtime, where jobs are worked off in this process.
    pub(super) fn runtime(&self) -> Option<&RuntimeHandle> {
        self.worker.as_ref()
    }

    /// Runs until the process is asked to stop, then stops gracefully; a second request ends it at once.
    pub(super) async fn until_stopped(mut self, app: &App) -> Result<ExitCode, CommandError> {
        self.requests.next().await;
        app.out.note("Stopping: running work reaches a checkpoint. Ctrl-C again stops at once.");
        // One that hears what comes from now on.
        let mut again = StopRequests::new()?;
        tokio::select! {
            () = self.stop(app) => Ok(ExitCode::Ok),
            () = again.next() => {
                Err(CommandError::new(ExitCode::Interrupted, "interrupted", "stopped at once; the next start goes on from the last committed work"))
            }
        }
    }

    /// Takes no more requests, lets jobs end or gives them back, closes the store.
    pub(super) async fn stop(mut self, app: &App) {
        self.stop.cancel();
        if let Some(worker) = self.worker.take() {
            let deadline = Duration::from_secs(self.host.loaded.config.worker.shutdown_seconds);
            let report = worker.stop(deadline).await;
            if report.released > 0 {
                app.out.note(&format!("{} unfinished jobs go on at the next start.", report.released));
            }
        }
        if let Some(http) = self.http.take()
            && let Err(error) = http.await
        {
            tracing::error!(%error, "the server ended abnormally");
        }
        // What the last requests showed; the loop that stores may have ended before them.
        if let Err(error) = self.host.services.attributes.flush().await {
            tracing::warn!(%error, "attributes that were seen last are not stored; they are seen again");
        }
        self.host.store().close().await;
    }
}

/// Starts the copies of the embedded database, where the settings ask for them.
fn copy_by_the_clock(app: &App, host: &Host, stop: &CancellationToken) -> Result<(), CommandError> {
    let settings = &host.loaded.config.backup;
    if let Target::Sqlite(database) = target(&host.loaded)?
        && settings.every_hours > 0
    {
        let clockwork = Clockwork {
            database,
            every: TimeDelta::hours(i64::from(settings.every_hours)),
            keep: usize::try_from(settings.keep).unwrap_or(usize::MAX),
            clock: app.clock.clone(),
        };
        // It ends with the process: a copy that is not whole has no name yet.
        tokio::spawn(clockwork.run(stop.clone()));
    }
    Ok(())
}

/// Takes requests of commands beside this process. On Postgres there is no need: they write themselves.
async fn control(host: &Host, stop: &CancellationToken) -> Result<Option<ControlListener>, CommandError> {
    if host.on_postgres() {
        return Ok(None);
    }
    let listener = ControlListener::start(host.services.clone(), &host.data_dir(), stop.clone()).await;
    Ok(Some(listener.context("cannot make the control listener")?))
}

/// Ctrl-C and SIGTERM. From the moment that this is made they no longer end the process by themselves; what
/// comes before [`StopRequests::next`] is called is kept for it.
pub(super) struct StopRequests {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl StopRequests {
    pub(super) fn new() -> Result<Self, CommandError> {
        #[cfg(unix)]
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            #[cfg(unix)]
            interrupt: signal(SignalKind::interrupt())?,
            #[cfg(unix)]
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(super) async fn next(&mut self) {
        #[cfg(unix)]
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Where the demo keeps its files; removed when this is dropped.
pub(super) struct Scratch(pub(super) PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left-over files in the temporary folder are the system's to clear.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
