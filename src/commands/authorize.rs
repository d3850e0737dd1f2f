//! The part of `halo-sync connect` that waits for a person at the provider.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::host::Host;
use super::{App, CommandError, ExitCode};
use crate::http::{self, Limits};
use crate::service::{Authorize, Request};
use crate::sync::oauth::Begun;

/// How often the command looks whether the person came back.
const LOOK: Duration = Duration::from_millis(250);

/// Prints where to go, and waits until the connection is made.
///
/// # Errors
///
/// What is missing in the settings (6); refused, or nobody came back in time (4); an address in use.
pub(super) async fn run(
    app: &App,
    host: &Host,
    authorize: Authorize,
    wait: Duration,
) -> Result<Value, CommandError> {
    let begun = host.execute(Request::Authorize(authorize)).await?;
    let begun: Begun = serde_json::from_value(begun).map_err(|e| {
        CommandError::from(anyhow::Error::new(e).context("the answer is not what was expected"))
    })?;
    let stop = CancellationToken::new();
    // On SQLite nobody else answers while this command holds the file.
    if host.writes && !host.on_postgres() {
        listen(host, host.loaded.config.server.listen, &stop).await?;
    }
    app.out.one(&json!(begun), |_| {
        format!(
            "Open this address in a browser, as somebody who may grant access:\n\n  {}\n",
            begun.authorize_url
        )
    })?;
    app.out.note(&format!(
        "The app at the provider must have this redirect address: {}\nWaiting for the browser …",
        begun.redirect_uri
    ));
    let waited = tokio::time::timeout(wait, async {
        loop {
            if let Some(answer) = host.services.flow_outcome(&host.org, &begun.flow).await? {
                return Ok::<_, CommandError>(answer);
            }
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
    stop.cancel();
    waited.unwrap_or_else(|_| {
        Err(CommandError::new(
            ExitCode::NeedsPerson,
            "not_granted",
            format!("nobody came back from the provider within {} s; nothing was connected", wait.as_secs()),
        )
        .why("access was not granted there, or the provider sent the browser to an address that is not this server's")
        .try_this(format!("run it again, with {} as the app's redirect address", begun.redirect_uri)))
    })
}

/// Serves the callback alone until the command ends.
async fn listen(host: &Host, address: SocketAddr, stop: &CancellationToken) -> Result<(), CommandError> {
    let listener = TcpListener::bind(address).await.map_err(|e| {
        CommandError::new(
            ExitCode::Failed,
            "address_in_use",
            format!("cannot listen on {address} for the browser to come back to"),
        )
        .why(e.to_string())
        .try_this("start `halo-sync serve`, or free the address (setting server.listen)")
    })?;
    let limits = Limits::from(&host.loaded.config.server);
    let router = http::oauth::routes().with_state(host.services.clone()).into_router();
    let router = http::base(router, limits.clone(), host.services.clock.clone());
    tokio::spawn(http::server::serve(listener, router, limits, stop.clone()));
    Ok(())
}
