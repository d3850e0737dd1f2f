//! The real localstripe: found, started on this machine alone, filled, stopped.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::figures::Told;
use crate::support::program::{LOOK, run};
use crate::support::required;

/// Making the environment may have to download; everything else takes a second.
const SETUP: Duration = Duration::from_secs(300);
const PROGRAM: Duration = Duration::from_secs(60);
const START: Duration = Duration::from_secs(30);
/// A key that localstripe takes: `sk_` and anything.
pub(crate) const KEY: &str = "sk_test_localstripe";
const LOG: &str = "localstripe.log";

/// What the test needs that is not in this repository.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    python: PathBuf,
    launcher: PathBuf,
}

impl Parts {
    /// The launcher and a Python with the pinned packages. `None`, with a notice, where one is missing and
    /// nobody insists on it.
    ///
    /// # Panics
    /// Where `HALO_SYNC_REQUIRE` names `localstripe` and a part is missing.
    pub(crate) fn find() -> Option<Self> {
        static FOUND: OnceLock<Result<Parts, String>> = OnceLock::new();
        match FOUND.get_or_init(Self::look).clone() {
            Ok(parts) => Some(parts),
            Err(why) => {
                assert!(!required("localstripe"), "localstripe is required and missing: {why}");
                eprintln!("skipped: no localstripe here: {why}");
                None
            }
        }
    }

    fn look() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let shared = match std::env::var_os("HALO_SYNC_SHARED") {
            Some(dir) => vec![PathBuf::from(dir)],
            None => vec![root.join("../shared"), root.join("../../shared")],
        };
        let launcher = shared
            .iter()
            .map(|dir| dir.join("tools/localstripe_loopback.py"))
            .find(|path| path.is_file())
            .ok_or_else(|| format!("no tools/localstripe_loopback.py in {shared:?}"))?;
        let setup = scripts().join("setup.sh");
        let said = run(Command::new("sh").arg(&setup), SETUP).map_err(|e| format!("setup.sh: {e}"))?;
        let python = PathBuf::from(said.trim());
        if !python.is_file() {
            return Err(format!("setup.sh named {}, which is no file", python.display()));
        }
        Ok(Self { python, launcher })
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/localstripe")
}

/// What the launcher's adapter does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// localstripe as it is.
    Plain,
    /// With listings that can be filtered, prices, and empty listings of what it lacks.
    Compat,
}

/// A running localstripe; it ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    parts: Parts,
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Server {
    /// Starts one on a free port of 127.0.0.1 and waits until it answers.
    pub(crate) fn start(parts: &Parts, kind: Kind) -> Self {
        // The port is asked of the system and given back: the launcher takes a number only. Another program
        // may take it in between; then the launcher ends and a new one is asked for.
        let mut log = String::new();
        for _ in 0..5 {
            let mut server = Self::spawn(parts, kind);
            if server.answers() {
                server.assert_loopback_alone();
                return server;
            }
            log = server.log();
        }
        panic!("localstripe does not start: {log}");
    }

    fn spawn(parts: &Parts, kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut command = Command::new(&parts.python);
        command
            .arg(&parts.launcher)
            .arg(port.to_string())
            .env("LS_NODUMP", "1")
            .env("TZ", "UTC")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env_remove("LS_COMPAT")
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.path().join(LOG)).unwrap());
        if kind == Kind::Compat {
            command.env("LS_COMPAT", "1");
        }
        let child = command.spawn().unwrap();
        Self { parts: parts.clone(), child, port, dir }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join(LOG)).unwrap_or_default()
    }

    /// Waits for the first answer; false when the program ended before it.
    fn answers(&mut self) -> bool {
        let until = Instant::now() + START;
        while Instant::now() < until {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let answer = request(self.port, "GET", "/v1/customers", None);
            if answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return true;
            }
            std::thread::sleep(LOOK);
        }
        panic!("localstripe does not answer within {START:?}: {}", self.log());
    }

    /// Nothing but 127.0.0.1 may listen on the port: a test never serves the network.
    fn assert_loopback_alone(&self) {
        let address = self.base().parse::<http::Uri>().unwrap().host().unwrap().to_owned();
        assert!(address.parse::<Ipv4Addr>().unwrap().is_loopback(), "{address}");
        // The kernel's own list: local address in hexadecimal, state 0A is "listening".
        let mut listening = BTreeSet::new();
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            let Ok(text) = std::fs::read_to_string(table) else { continue };
            for line in text.lines().skip(1) {
                let mut columns = line.split_whitespace().skip(1);
                let (Some(local), _, Some(state)) = (columns.next(), columns.next(), columns.next()) else {
                    continue;
                };
                let Some((ip, port)) = local.split_once(':') else { continue };
                if state == "0A" && u16::from_str_radix(port, 16) == Ok(self.port) {
                    listening.insert(ip.to_owned());
                }
            }
        }
        if Path::new("/proc/net/tcp").exists() {
            assert_eq!(listening, BTreeSet::from(["0100007F".to_owned()]), "listens elsewhere too");
        }
    }

    /// Its address.
    pub(crate) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Has every event sent to that address from now on, signed with that secret.
    pub(crate) fn send_events_to(&self, url: &str, secret: &str) {
        let hook = json!({ "url": url, "secret": secret });
        let answer = request(self.port, "POST", "/_config/webhooks/halo", Some(&hook)).unwrap_or_default();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Runs `fill.py`.
    pub(crate) fn fill(&self) -> Told {
        self.tell("fill.py", &[])
    }

    /// Runs `change.py`; what it says replaces what was said of those names before.
    pub(crate) fn change(&self, which: &str, told: &mut Told) {
        for (name, new) in self.tell("change.py", &[which]) {
            let old = told.entry(name).or_insert_with(|| new.clone());
            let (Some(old), Some(new)) = (old.as_object_mut(), new.as_object()) else { continue };
            // A line says only what it knows: `cancel_at` of a name stays.
            old.extend(new.clone());
        }
    }

    fn tell(&self, script: &str, more: &[&str]) -> Told {
        let mut command = Command::new(&self.parts.python);
        command.arg(scripts().join(script)).arg(self.base()).args(more).env("PYTHONDONTWRITEBYTECODE", "1");
        let said = run(&mut command, PROGRAM).unwrap_or_else(|e| panic!("{script}: {e}"));
        let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Told = lines.iter().map(|v| (v["name"].as_str().unwrap().to_owned(), v.clone())).collect();
        assert_eq!(told.len(), lines.len(), "{script} said a name twice");
        told
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // By its own id, and waited for, so that no zombie stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of 127.0.0.1 that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The whole answer to a request with a test key, as text; `None` while nothing listens.
pub(crate) fn request(port: u16, method: &str, path: &str, json: Option<&Value>) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let body = json.map(Value::to_string).unwrap_or_default();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}
