//! The built program: installed, connected, started, killed, asked to stop.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use halo_sync::store::{self, OpenMode, Store, StoreConfig, Target};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::clock::TestClock;
use crate::support::postgres::Database;
use crate::support::program::unscheduled;

/// How often a condition is looked at while it is waited for.
pub(super) const LOOK: Duration = Duration::from_millis(10);
/// From the start of the process to its first answer; a debug build on a busy machine takes its time.
const START: Duration = Duration::from_secs(60);

/// An installation in a folder of its own, always with the same settings and the same port.
pub(super) struct Program {
    dir: TempDir,
    port: u16,
    database: Option<Database>,
    client: reqwest::Client,
}

impl Program {
    /// One on SQLite, or on that database.
    pub(super) fn new(database: Option<Database>) -> Self {
        connector_testkit::install_crypto();
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { dir: tempfile::tempdir().unwrap(), port: lasting_port(), database, client }
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = unscheduled(self.dir.path(), args);
        if let Some(database) = &self.database {
            command.env("HALO_SYNC_DATABASE__URL", &database.url);
        }
        command
    }

    /// Connects the account that answers at `base`; gives the path of its webhooks.
    pub(super) async fn connect(&self, base: &str, key: &str, webhook_secret: &str) -> String {
        let file = |name: &str, text: &str| {
            std::fs::write(self.dir.path().join(name), text).unwrap();
        };
        file("api-key", key);
        file("webhook-secret", webhook_secret);
        let mut command = self.command(&["connect", "stripe", "--json", "--base-url", base]);
        command.args(["--api-key-file", "api-key", "--webhook-secret-file", "webhook-secret"]);
        command.args(["--set", "rate_limit=none"]);
        // Its provider runs in this process: the thread must not be held.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["webhook_path"].as_str().unwrap().to_owned()
    }

    /// Starts `serve`.
    pub(super) fn serve(&self) -> Serving<'_> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let child = self
            .command(&["serve", "--listen", &format!("127.0.0.1:{}", self.port)])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Serving { program: self, child, started: Instant::now() }
    }

    /// `http://127.0.0.1:PORT`
    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Opens what is stored for reading, beside the program.
    pub(super) async fn read(&self) -> Arc<dyn Store> {
        let target = match &self.database {
            Some(database) => Target::Postgres(database.url.clone()),
            None => Target::Sqlite(self.file()),
        };
        store::open(&StoreConfig::new(target), OpenMode::ReadOnly, Arc::new(TestClock::default()))
            .await
            .unwrap()
    }

    /// The SQLite file.
    pub(super) fn file(&self) -> PathBuf {
        self.dir.path().join("data").join("halo-sync.db")
    }

    pub(super) fn on_sqlite(&self) -> bool {
        self.database.is_none()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("serve.log")
    }

    /// What every process has said so far.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(super) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Removes everything.
    pub(super) async fn remove(self) {
        if let Some(database) = self.database {
            database.drop_it().await;
        }
    }
}

/// A running `serve`; it ends with this value.
pub(super) struct Serving<'a> {
    program: &'a Program,
    child: Child,
    pub(super) started: Instant,
}

impl Serving<'_> {
    /// Waits for the first answer, which must be that it is ready.
    pub(super) async fn ready(&mut self) {
        let url = format!("{}/readyz", self.program.address());
        loop {
            match self.program.client.get(&url).timeout(START).send().await {
                Ok(answer) => {
                    let status = answer.status();
                    let said = answer.text().await.unwrap_or_default();
                    assert_eq!(status, 200, "not ready at the first try: {said}\n{}", self.tail());
                    return;
                }
                Err(error) => assert!(error.is_connect(), "no answer: {error}\n{}", self.tail()),
            }
            self.assert_lives();
            assert!(self.started.elapsed() < START, "does not start: {}", self.tail());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A process that ends by itself is a failure.
    pub(super) fn assert_lives(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("serve ended by itself ({status}): {}", self.tail());
        }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(super) fn kill(mut self) {
        self.assert_lives();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop with SIGTERM; its status and how long it took.
    pub(super) async fn stop(mut self, limit: Duration) -> (ExitStatus, Duration) {
        self.assert_lives();
        let asked = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, asked.elapsed());
            }
            assert!(asked.elapsed() < limit, "does not stop within {limit:?}: {}", self.tail());
            tokio::time::sleep(LOOK).await;
        }
    }

    fn tail(&self) -> String {
        let log = self.program.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("{}: {}", self.program.folder().display(), lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        // By its own id, and waited for, so that no zombie stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that stays ours while nobody listens on it: below the range that the system gives to outgoing
/// connections, those of the senders included.
fn lasting_port() -> u16 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    (0..1_000)
        .find_map(|_| {
            let n = std::process::id() * 7 + NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let port = u16::try_from(20_000 + n % 10_000).unwrap();
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
        })
        .expect("a free port")
}
