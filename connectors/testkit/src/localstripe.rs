//! Starts localstripe, somebody else's imitation of Stripe with the shapes of 2017.
//!
//! It is a separate program under its own licence and lives in a virtual environment of its own: the one
//! that `HALO_SYNC_LOCALSTRIPE_VENV` names, else `target/localstripe-venv`, which is made when the part
//! is required. It listens on the loopback alone.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::parts;

/// The packages of the environment; the second drives the server as Stripe's own users do.
const PACKAGES: [&str; 2] = ["localstripe==1.15.10", "stripe==16.1.0"];
/// A key that it takes (anything that begins so).
pub const API_KEY: &str = concat!("sk_test", "_localstripe0123");
/// How long the server may take to answer after its start.
const START: Duration = Duration::from_secs(30);

/// A running localstripe; it is stopped when this is dropped.
#[derive(Debug)]
pub struct Localstripe {
    child: Child,
    address: SocketAddr,
    venv: PathBuf,
}

impl Drop for Localstripe {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Localstripe {
    /// Starts an empty account; `None` where it is not installed and not required.
    ///
    /// # Panics
    /// When it is required and cannot be installed or started.
    pub async fn start() -> Option<Self> {
        match Self::try_start().await {
            Ok(started) => Some(started),
            Err(why) => {
                parts::skip("localstripe", &why);
                None
            }
        }
    }

    async fn try_start() -> Result<Self, String> {
        let launcher = parts::shared("tools/localstripe_loopback.py")
            .ok_or("there is no launcher for localstripe in the shared directory")?;
        let venv = environment()?;
        let address = free_port().map_err(|e| format!("no free port: {e}"))?;
        let child = Command::new(venv.join("bin/python"))
            .arg(launcher)
            .arg(address.port().to_string())
            .env("LS_COMPAT", "1")
            .env("LS_NODUMP", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("localstripe cannot be started: {e}"))?;
        let mut started = Self { child, address, venv };
        let waited = tokio::time::timeout(START, async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                if let Ok(Some(status)) = started.child.try_wait() {
                    return Err(format!("localstripe ended at its start: {status}"));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        });
        waited.await.map_err(|_| "localstripe does not listen".to_owned())??;
        Ok(started)
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs a Python program with Stripe's official library, pointed at this server; its output.
    ///
    /// # Errors
    /// What the program wrote to stderr, when it fails.
    pub fn run(&self, program: &str) -> Result<String, String> {
        let prelude = format!(
            "import stripe, json\nstripe.api_base = {:?}\nstripe.api_key = {API_KEY:?}\n\
             stripe.max_network_retries = 0\nstripe.enable_telemetry = False\n",
            self.base_url()
        );
        let output = Command::new(self.venv.join("bin/python"))
            .arg("-c")
            .arg(prelude + program)
            .output()
            .map_err(|e| e.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The environment, made where the part is required and it is absent.
fn environment() -> Result<PathBuf, String> {
    let venv = match std::env::var_os("HALO_SYNC_LOCALSTRIPE_VENV") {
        Some(path) => PathBuf::from(path),
        None => parts::workspace().join("target/localstripe-venv"),
    };
    if installed(&venv) {
        return Ok(venv);
    }
    if !parts::required("localstripe") {
        return Err(format!(
            "localstripe is not installed (python3 -m venv target/localstripe-venv && \
             target/localstripe-venv/bin/pip install {})",
            PACKAGES.join(" ")
        ));
    }
    // Two test processes may come here at once: each builds its own and the first to finish keeps it.
    let made = venv.with_extension(std::process::id().to_string());
    run(Command::new("python3").args(["-m", "venv"]).arg(&made))?;
    run(Command::new(made.join("bin/python")).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
    if std::fs::rename(&made, &venv).is_err() && !installed(&venv) {
        return Err(format!("{} cannot be put in place", venv.display()));
    }
    Ok(venv)
}

fn installed(venv: &Path) -> bool {
    // Asked of the interpreter: an environment may be half made.
    Command::new(venv.join("bin/python"))
        .args(["-c", "import localstripe, stripe"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// An address that nobody listened on a moment ago.
fn free_port() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
