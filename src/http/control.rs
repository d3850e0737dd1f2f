//! Requests of local commands to the running process (`docs/adr/0003-local-control.md`).
//!
//! A listener of its own on a loopback port; the address and a random token stand in `control.json` beside
//! the database, readable by the owner alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use axum::{Json, Router};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use super::Limits;
use crate::domain::OrgId;
use crate::service::{Failure, FailureKind, Request, Services};

const FILE: &str = "control.json";
/// How long a command waits: checking credentials asks the provider several times.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Serialize, Deserialize)]
struct ControlFile {
    url: String,
    token: String,
    pid: u32,
}

/// What goes over the wire.
#[derive(Serialize, Deserialize)]
struct Envelope {
    org: OrgId,
    request: Request,
}

/// What comes back: an answer or a failure, told apart by the status.
#[derive(Clone)]
struct Control {
    services: Services,
    token: Arc<SecretString>,
}

/// The control listener; its file goes when it is dropped.
#[derive(Debug)]
pub struct ControlListener {
    path: PathBuf,
    address: SocketAddr,
}

impl ControlListener {
    /// Binds a free loopback port, writes the file and serves until `stop`.
    pub async fn start(
        services: Services,
        data_dir: &Path,
        stop: CancellationToken,
    ) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut random = [0u8; 32];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let token = hex::encode(random);
        let file =
            ControlFile { url: format!("http://{address}"), token: token.clone(), pid: std::process::id() };
        let path = data_dir.join(FILE);
        write_private(&path, &serde_json::to_vec(&file)?)?;
        let control = Control { services, token: Arc::new(token.into()) };
        let (limits, clock) = (Limits::default(), control.services.clock.clone());
        let app = Router::new().route("/api/v1/control", post(handle)).with_state(control);
        let app = super::base(app, limits.clone(), clock);
        tokio::spawn(super::server::serve(listener, app, limits, stop));
        Ok(Self { path, address })
    }

    /// The address, for the log.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        // A file that stays behind is harmless: its port answers nobody and the next start replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn handle(
    State(control): State<Control>,
    headers: HeaderMap,
    Json(envelope): Json<Envelope>,
) -> (StatusCode, Json<Value>) {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "))
        .unwrap_or_default();
    if !bool::from(given.as_bytes().ct_eq(control.token.expose_secret().as_bytes())) {
        let failure =
            Failure::new(FailureKind::Credentials, "control_token", "the control token is not right");
        return (StatusCode::UNAUTHORIZED, Json(serde_json::json!(failure)));
    }
    match control.services.execute(&envelope.org, envelope.request).await {
        Ok(answer) => (StatusCode::OK, Json(answer)),
        Err(failure) => (StatusCode::UNPROCESSABLE_ENTITY, Json(serde_json::json!(failure))),
    }
}

/// Sends a request to the process that holds the database of `data_dir`.
pub async fn send(data_dir: &Path, org: &OrgId, request: Request) -> Result<Value, Failure> {
    let path = data_dir.join(FILE);
    let file: ControlFile = std::fs::read(&path)
        .map_err(|e| e.to_string())
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| e.to_string()))
        .map_err(|reason| {
            unreachable_process(format!(
                "another process holds the database, but {} is not readable: {reason}",
                path.display()
            ))
        })?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .map_err(|e| unreachable_process(e.to_string()))?;
    let response = client
        .post(format!("{}/api/v1/control", file.url))
        .bearer_auth(&file.token)
        .json(&Envelope { org: org.clone(), request })
        .send()
        .await
        .map_err(|e| unreachable_process(format!("process {} does not answer: {e}", file.pid)))?;
    let ok = response.status().is_success();
    let body = response.bytes().await.map_err(|e| unreachable_process(e.to_string()))?;
    if ok {
        return serde_json::from_slice(&body)
            .map_err(|e| unreachable_process(format!("its answer is not JSON: {e}")));
    }
    Err(serde_json::from_slice(&body)
        .unwrap_or_else(|_| unreachable_process("it refused the request without saying why".to_owned())))
}

fn unreachable_process(message: String) -> Failure {
    Failure::new(FailureKind::Internal, "process_unreachable", message)
        .hint("Is it a halo-sync of the same version? Stop it and run the command again.")
}

/// Writes a file that only its owner may read, replacing the old one in one step.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;

    let temporary = path.with_extension("json.new");
    let _ = std::fs::remove_file(&temporary);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}
