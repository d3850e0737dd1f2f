//! The built program: installed, connected, started, killed, asked to stop.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_sdk::{Clock, HttpClient, HttpConfig, SystemClock};
use halo_sync::domain::OrgId;
use halo_sync::domain::runs::{RunKind, SyncRun};
use halo_sync::http::control;
use halo_sync::registry;
use halo_sync::service::{Failure, Request, ScheduleTemplate, Services};
use halo_sync::store::{self, OpenMode, Store, StoreConfig, Target};
use halo_sync::sync::credentials::Keyring;
use halo_sync::sync::providers::Providers;
use serde_json::Value;
use tempfile::TempDir;

use super::postgres::Database;
use super::program::unscheduled;

/// How often a condition is looked at while it is waited for.
pub(crate) const LOOK: Duration = Duration::from_millis(10);
/// From the start of the process to its first answer; a debug build on a busy machine takes its time.
const START: Duration = Duration::from_secs(60);
/// For what a run comes to.
const PATIENCE: Duration = Duration::from_secs(120);

/// An installation in a folder of its own, always with the same settings and the same port.
pub(crate) struct Program {
    dir: TempDir,
    port: u16,
    database: Option<Database>,
    client: reqwest::Client,
}

impl Program {
    /// One on SQLite, or on that database.
    pub(crate) fn new(database: Option<Database>) -> Self {
        connector_testkit::install_crypto();
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        Self { dir: tempfile::tempdir().unwrap(), port: lasting_port(), database, client }
    }

    /// Waits until the newest run is as wanted, while the program lives.
    pub(crate) async fn until(&self, serving: &mut Serving<'_>, what: impl Fn(&SyncRun) -> bool) -> SyncRun {
        let store = self.read().await;
        let end = Instant::now() + PATIENCE;
        loop {
            serving.assert_lives();
            let runs = store.list_runs(&OrgId::default_org(), None, None, 1).await.unwrap();
            if let Some(run) = runs.into_iter().next().filter(&what) {
                store.close().await;
                return run;
            }
            assert!(Instant::now() < end, "it does not come: {}", self.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = unscheduled(self.dir.path(), args);
        if let Some(database) = &self.database {
            command.env("HALO_SYNC_DATABASE__URL", &database.url);
        }
        command
    }

    /// Connects the account that answers at `base`; gives the path of its webhooks.
    pub(crate) async fn connect(&self, base: &str, key: &str, webhook_secret: &str) -> String {
        self.connect_with(base, key, webhook_secret, &[]).await
    }

    /// As [`Program::connect`], with settings of the connection (`KEY=VALUE`).
    pub(crate) async fn connect_with(
        &self,
        base: &str,
        key: &str,
        webhook_secret: &str,
        settings: &[&str],
    ) -> String {
        let file = |name: &str, text: &str| {
            std::fs::write(self.dir.path().join(name), text).unwrap();
        };
        file("api-key", key);
        file("webhook-secret", webhook_secret);
        let mut command = self.command(&["connect", "stripe", "--json", "--base-url", base]);
        command.args(["--api-key-file", "api-key", "--webhook-secret-file", "webhook-secret"]);
        for setting in settings.iter().chain(&["rate_limit=none"]) {
            command.args(["--set", setting]);
        }
        let output = output(command).await.unwrap_or_else(|e| panic!("connect: {e}"));
        let answer: Value = serde_json::from_slice(&output).unwrap();
        answer["webhook_path"].as_str().unwrap().to_owned()
    }

    /// Connects an account of that connector by its settings (`KEY=VALUE`), without webhooks.
    pub(crate) async fn connect_account(&self, connector: &str, key: &str, settings: &[String]) {
        std::fs::write(self.dir.path().join("api-key"), key).unwrap();
        let mut command = self.command(&["connect", connector, "--json", "--api-key-file", "api-key"]);
        command.args(["--set", "rate_limit=none"]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        output(command).await.unwrap_or_else(|e| panic!("connect: {e}"));
    }

    /// Starts `serve`.
    pub(crate) fn serve(&self) -> Serving<'_> {
        self.serve_under(&[])
    }

    /// Starts `serve` through another program, which is given its command line behind these words.
    pub(crate) fn serve_under(&self, launcher: &[&str]) -> Serving<'_> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut serve = self.command(&["serve", "--listen", &format!("127.0.0.1:{}", self.port)]);
        if let [first, words @ ..] = launcher {
            serve = through(Command::new(first).args(words), &serve);
        }
        let child = serve.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Serving { program: self, child, started: Instant::now() }
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Opens what is stored for reading, beside the program.
    pub(crate) async fn read(&self) -> Arc<dyn Store> {
        self.open(OpenMode::ReadOnly).await
    }

    /// As [`Program::read`], where there is a database already.
    pub(crate) async fn read_if_there(&self) -> Option<Arc<dyn Store>> {
        if self.on_sqlite() && !self.file().exists() {
            return None;
        }
        let target = match &self.database {
            Some(database) => Target::Postgres(database.url.clone()),
            None => Target::Sqlite(self.file()),
        };
        store::open(&StoreConfig::new(target), OpenMode::ReadOnly, Arc::new(SystemClock)).await.ok()
    }

    /// Opens what is stored while no program runs.
    pub(crate) async fn open(&self, mode: OpenMode) -> Arc<dyn Store> {
        let target = match &self.database {
            Some(database) => Target::Postgres(database.url.clone()),
            None => Target::Sqlite(self.file()),
        };
        store::open(&StoreConfig::new(target), mode, Arc::new(SystemClock)).await.unwrap()
    }

    /// A desk of its own: while no program runs on SQLite, at any time on Postgres.
    pub(crate) async fn desk(&self) -> Desk {
        let store = self.open(OpenMode::Exclusive).await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let http = HttpClient::new(HttpConfig::default(), clock.clone()).unwrap();
        let keyring = Arc::new(Keyring::load_or_create(&self.data().join("secret.key")).unwrap());
        let providers = Providers::new(store.clone(), clock.clone(), http, keyring, registry::connectors());
        let yearly =
            |kind| ScheduleTemplate { kind, expression: "0 0 1 1 *".to_owned(), time_zone: "UTC".to_owned() };
        Desk(Services {
            attributes: Arc::new(halo_sync::attributes::Attributes::new(store.clone(), clock.clone())),
            store,
            providers: Arc::new(providers),
            clock,
            schedules: Arc::new(vec![yearly(RunKind::Incremental), yearly(RunKind::FullResync)]),
            audit: None,
            public_url: None,
        })
    }

    /// Asks the running program as a command does that finds it at work.
    pub(crate) async fn ask(&self, org: &OrgId, request: Request) -> Result<Value, Failure> {
        control::send(&self.data(), org, request).await
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The SQLite file.
    pub(crate) fn file(&self) -> PathBuf {
        self.data().join("halo-sync.db")
    }

    pub(crate) fn on_sqlite(&self) -> bool {
        self.database.is_none()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("serve.log")
    }

    /// What every process has said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Removes everything.
    pub(crate) async fn remove(self) {
        if let Some(database) = self.database {
            database.drop_it().await;
        }
    }
}

/// The launcher with a command behind its words, in the command's folder and environment.
fn through(launcher: &mut Command, command: &Command) -> Command {
    let mut all = Command::new(launcher.get_program());
    all.args(launcher.get_args()).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => all.env(name, value),
            None => all.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        all.current_dir(folder);
    }
    all
}

/// What commands ask for, without a process for each: a debug build takes longer to start than to answer.
pub(crate) struct Desk(Services);

impl Desk {
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    pub(crate) async fn ask(&self, org: &OrgId, request: Request) -> Result<Value, Failure> {
        self.0.execute(org, request).await
    }
}

/// Its provider runs in this process: the thread must not be held.
async fn output(mut command: Command) -> Result<Vec<u8>, String> {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// A running `serve`; it ends with this value.
pub(crate) struct Serving<'a> {
    program: &'a Program,
    child: Child,
    pub(crate) started: Instant,
}

impl Serving<'_> {
    /// Waits for the first answer, which must be that it is ready.
    pub(crate) async fn ready(&mut self) {
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

    /// Of the program, not of what started it: launchers become it.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it ever had, KiB.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// A process that ends by itself is a failure.
    pub(crate) fn assert_lives(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("serve ended by itself ({status}): {}", self.tail());
        }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.assert_lives();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop with SIGTERM; its status and how long it took.
    pub(crate) async fn stop(mut self, limit: Duration) -> (ExitStatus, Duration) {
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
