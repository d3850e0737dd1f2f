//! A throwaway Postgres cluster, one for the test process, and a fresh database for each test.
//!
//! The binaries come from the PATH or `/usr/lib/postgresql/*/bin`; `TEST_DATABASE_URL` (a server on which
//! databases may be made) is used instead where it is set. Without either the test is skipped with a notice,
//! and fails when `HALO_SYNC_REQUIRE` names `postgres`.

use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use halo_sync::store::{OpenMode, StoreConfig, Target, postgres};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::clock::TestClock;

/// The server: an admin URL without a database name.
struct Cluster {
    base: String,
    // When the pipe closes, also because this process was killed, the shell at its other end stops the server.
    _keep: Option<(ChildStdin, Child)>,
}

/// Set before the first use by what measures: then the server is as durable as in production.
pub static DURABLE: AtomicBool = AtomicBool::new(false);
static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
static TEMPLATE: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

fn bin_dir() -> Option<PathBuf> {
    let mut places: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let mut packaged: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|dir| dir.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    packaged.sort();
    packaged.reverse();
    places.extend(packaged);
    places.into_iter().find(|dir| dir.join("initdb").exists() && dir.join("postgres").exists())
}

/// initdb and postgres refuse root: become an unprivileged user where we are root.
fn unprivileged(program: &str) -> Command {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if String::from_utf8_lossy(&id.stdout).trim() != "0" {
        return Command::new(program);
    }
    let known = Command::new("id").args(["-u", "postgres"]).output().is_ok_and(|o| o.status.success());
    let user = if known { "postgres" } else { "nobody" };
    let gid = Command::new("id").args(["-g", user]).output().expect("id runs");
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={user}"))
        .arg(format!("--regid={}", String::from_utf8_lossy(&gid.stdout).trim()))
        .args(["--clear-groups", "--", program]);
    command
}

fn start() -> Option<Cluster> {
    if let Ok(url) = std::env::var("TEST_DATABASE_URL") {
        let base = url.rsplit_once('/').map_or(url.clone(), |(base, _)| base.to_owned());
        return Some(Cluster { base, _keep: None });
    }
    let bin = bin_dir()?;
    let made =
        unprivileged("mktemp").args(["-d", "-t", "halo-sync-pg-XXXXXX"]).output().expect("mktemp starts");
    assert!(made.status.success(), "mktemp: {}", String::from_utf8_lossy(&made.stderr));
    let root = PathBuf::from(String::from_utf8_lossy(&made.stdout).trim());
    let data = root.join("data");
    let init = unprivileged(bin.join("initdb").to_str().unwrap())
        .args(["-D", data.to_str().unwrap(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
        .current_dir(&root)
        .output()
        .expect("initdb starts");
    assert!(init.status.success(), "initdb: {}", String::from_utf8_lossy(&init.stderr));
    let port = free_port();
    // A crash of the machine may lose a test's data, so fsync is off; the commit path stays the real one.
    let fsync = if DURABLE.load(Ordering::SeqCst) { "on" } else { "off" };
    let script = format!(
        "'{bin}/postgres' -D '{data}' -p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' \
         -c fsync={fsync} -c full_page_writes={fsync} -c max_connections=300 -c shared_buffers=64MB >'{root}/log' 2>&1 & \
         server=$!; read _; kill -INT $server; wait $server; cd /; rm -rf '{root}'",
        bin = bin.display(),
        data = data.display(),
        root = root.display(),
    );
    let mut child = unprivileged("sh")
        .args(["-c", &script])
        .current_dir(&root)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts");
    let stdin = child.stdin.take().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let log = std::fs::read_to_string(root.join("log")).unwrap_or_default();
        if log.contains("ready to accept connections") {
            break;
        }
        assert!(Instant::now() < deadline && !log.contains("FATAL"), "Postgres did not start: {log}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Some(Cluster { base: format!("postgres://postgres@127.0.0.1:{port}"), _keep: Some((stdin, child)) })
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn cluster() -> Option<&'static Cluster> {
    CLUSTER
        .get_or_init(|| {
            let cluster = start();
            assert!(
                cluster.is_some() || !super::required("postgres"),
                "HALO_SYNC_REQUIRE names postgres, and there is neither a server binary nor TEST_DATABASE_URL"
            );
            cluster
        })
        .as_ref()
}

/// A database of its own, dropped by [`Database::drop_it`].
pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
}

impl Database {
    async fn create(template: Option<&str>) -> Option<Self> {
        let Some(cluster) = cluster() else {
            eprintln!("SKIPPED: no Postgres server binaries and no TEST_DATABASE_URL");
            return None;
        };
        let name = format!("halo_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let mut admin = PgConnection::connect(&format!("{}/postgres", cluster.base)).await.unwrap();
        let sql = match template {
            Some(template) => format!("CREATE DATABASE {name} TEMPLATE {template}"),
            None => format!("CREATE DATABASE {name}"),
        };
        admin.execute(AssertSqlSafe(sql)).await.unwrap();
        admin.close().await.unwrap();
        Some(Self { url: format!("{}/{name}", cluster.base), name })
    }

    /// An empty database, not migrated.
    pub(crate) async fn empty() -> Option<Self> {
        Self::create(None).await
    }

    /// A migrated database.
    pub(crate) async fn migrated() -> Option<Self> {
        cluster()?;
        let template = TEMPLATE
            .get_or_init(|| async {
                let database = Self::create(None).await.unwrap();
                let engine = open(&database.url, OpenMode::Exclusive).await;
                engine.close().await;
                database.name
            })
            .await;
        Self::create(Some(template)).await
    }

    /// Drops the database; sessions that are left are ended.
    pub(crate) async fn drop_it(self) {
        let cluster = cluster().unwrap();
        let mut admin = PgConnection::connect(&format!("{}/postgres", cluster.base)).await.unwrap();
        admin.execute(AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name))).await.unwrap();
        admin.close().await.unwrap();
    }
}

/// Opens the engine on a URL with a test clock.
pub(crate) async fn open(url: &str, mode: OpenMode) -> Arc<postgres::Engine> {
    let config = StoreConfig::new(Target::Postgres(url.to_owned()));
    postgres::Engine::open(url, &config, mode, Arc::new(TestClock::default())).await.unwrap()
}
