//! W4, W5: no answer before the disk has it; a disk that fails or is full.
//!
//! The built program runs under `strace` (part `strace` of `HALO_SYNC_REQUIRE`), which sees the order of its system
//! calls and makes some fail, and in a mount namespace of its own on a small file system.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use connector_sdk::{Clock as _, SystemClock};
use connector_testkit::sandbox::stripe::{Options, StripeSandbox, sign};
use halo_sync::domain::OrgId;
use halo_sync::store::{self, OpenMode, StoreConfig, Target};
use serde_json::json;

use crate::support::clock::TestClock;
use crate::support::installation::{Program, Serving};
use crate::support::required;

/// What must come back does so within this time, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);

/// Whether a command works here. Where it does not, nobody may insist on the part.
fn works(part: &str, command: &mut Command) -> bool {
    let works = command.output().is_ok_and(|output| output.status.success());
    if !works {
        assert!(!required(part), "{part} is required and does not work here");
        eprintln!("skipped: {part} does not work here");
    }
    works
}

struct Rig {
    sandbox: StripeSandbox,
    program: Program,
    url: String,
    client: reqwest::Client,
}

impl Rig {
    async fn new() -> Self {
        let sandbox = StripeSandbox::start(Options::default()).await.unwrap();
        let program = Program::new(None);
        let path = program.connect(&sandbox.base_url(), sandbox.api_key(), sandbox.webhook_secret()).await;
        let url = format!("{}{path}", program.address());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { sandbox, program, url, client }
    }

    /// Posts a signed event with that much beside it; the status and `Retry-After`.
    async fn post(&self, id: &str, fill: usize) -> (u16, Option<String>) {
        let body =
            json!({"id": id, "type": "balance.available", "livemode": false, "fill": "x".repeat(fill)});
        let body = body.to_string();
        let signature = sign(self.sandbox.webhook_secret(), body.as_bytes(), SystemClock.now().timestamp());
        let call = self.client.post(&self.url).header("stripe-signature", signature).body(body);
        let answer = call.send().await.unwrap();
        let retry = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), retry)
    }
}

/// Ids of the events that are stored.
async fn stored(file: &Path) -> BTreeSet<String> {
    let config = StoreConfig::new(Target::Sqlite(file.to_owned()));
    let clock = std::sync::Arc::new(TestClock::default());
    let store = store::open(&config, OpenMode::ReadOnly, clock).await.unwrap();
    let rows = store.list_deliveries(&OrgId::default_org(), None, None, 100_000).await.unwrap();
    store.close().await;
    rows.into_iter().map(|row| row.event_id).collect()
}

/// The system calls of a trace, one a line where they ended: process, name, arguments, when each began.
fn calls(trace: &str) -> Vec<(usize, usize, String)> {
    let mut open: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    let mut all = Vec::new();
    for (n, line) in trace.lines().enumerate() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix("<unfinished ...>") {
            open.insert(pid, (n, begun.to_owned()));
        } else if let Some(rest) = call.strip_prefix("<... ") {
            if let Some((begun, text)) = open.remove(pid) {
                all.push((begun, n, format!("{text}{rest}")));
            }
        } else {
            all.push((n, n, call.to_owned()));
        }
    }
    all
}

/// The socket that a call is about, as the trace names it.
fn socket(call: &str) -> Option<&str> {
    let from = call.find("<TCP:[")?;
    let to = call[from..].find("]>")?;
    Some(&call[from..from + to])
}

/// W4: between reading a request and writing its 200 a flush of the log begins and ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w4_no_acknowledgement_before_the_flush() {
    const ACKS: usize = 100;
    if !works("strace", Command::new("strace").args(["-f", "-o", "/dev/null", "true"])) {
        return;
    }
    let rig = Rig::new().await;
    let file = rig.program.folder().join("trace");
    let launcher = [
        "strace",
        "-D",
        "-f",
        "-yy",
        "-s",
        "16",
        "-e",
        "trace=fsync,fdatasync,read,recvfrom,recvmsg,write,writev,sendto,sendmsg",
        "-o",
        file.to_str().unwrap(),
    ];
    let mut serving = rig.program.serve_under(&launcher);
    serving.ready().await;
    for n in 0..ACKS {
        assert_eq!(rig.post(&format!("evt_{n}"), 10).await.0, 200);
    }
    let (status, _) = serving.stop(STOP).await;
    assert!(status.success(), "{status}: {}", rig.program.log());

    let trace = std::fs::read_to_string(&file).unwrap();
    let calls = calls(&trace);
    let flushes: Vec<(usize, usize)> = calls
        .iter()
        .filter(|(.., call)| {
            call.starts_with('f') && call.contains("-wal>") && call.trim_end().ends_with("= 0")
        })
        .map(|(begun, ended, _)| (*begun, *ended))
        .collect();
    // By socket: when its last bytes came, and whether they belong to an event. (The probe that asks whether the
    // program is ready is answered with 200 as well.)
    let mut read: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    let (mut answers, mut flushed) = (0, 0);
    for (begun, ended, call) in &calls {
        let Some(socket) = socket(call) else { continue };
        if call.starts_with('r') {
            // A look that found nothing read nothing.
            let got = call.rsplit('=').next().and_then(|n| n.split_whitespace().next()?.parse::<i64>().ok());
            if got.is_some_and(|n| n > 0) {
                let before = read.get(socket).is_some_and(|(_, event)| *event);
                let event = call.contains("\"POST /") || (before && !call.contains("\"GET /"));
                read.insert(socket, (*ended, event));
            }
        } else if call.contains("HTTP/1.1 200")
            && let Some((asked, true)) = read.get(socket)
        {
            answers += 1;
            flushed += usize::from(flushes.iter().any(|(from, to)| from > asked && to < begun));
        }
    }
    assert_eq!((answers, flushed), (ACKS, ACKS), "answers to events, and those with a flush before them");
    rig.program.remove().await;
}

/// W5: every other flush fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w5_a_flush_that_fails_is_no_acknowledgement() {
    const EVENTS: usize = 60;
    if !works("strace", Command::new("strace").args(["-f", "-o", "/dev/null", "true"])) {
        return;
    }
    let rig = Rig::new().await;
    let launcher = [
        "strace",
        "-D",
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync,fdatasync",
        "-e",
        "inject=fsync,fdatasync:error=EIO:when=40+2",
    ];
    let mut serving = rig.program.serve_under(&launcher);
    serving.ready().await;
    let (mut acknowledged, mut asked_again) = (BTreeSet::new(), 0);
    for n in 0..EVENTS {
        let id = format!("evt_{n}");
        // What a provider would do.
        let until = Instant::now() + PATIENCE;
        loop {
            match rig.post(&id, 500).await {
                (200, _) => break,
                (503, Some(retry)) => {
                    assert!(retry.parse::<u64>().is_ok(), "{retry}");
                    asked_again += 1;
                }
                other => panic!("{id}: {other:?}\n{}", rig.program.log()),
            }
            assert!(Instant::now() < until, "{id} is never taken");
        }
        acknowledged.insert(id);
    }
    assert!(asked_again > 0, "no flush failed");
    serving.assert_lives();
    serving.kill();
    let stored = stored(&rig.program.file()).await;
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "acknowledged and not stored: {lost:?}");
    rig.program.remove().await;
}

/// A file of the program's own file system, seen from here.
fn inside(serving: &Serving<'_>, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", serving.pid(), path.display()))
}

/// W5: the disk is full, and then it is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w5_a_full_disk_asks_to_come_again_and_recovers_by_itself() {
    const SPACE: &str = "size=12m";
    let own_mounts = ["unshare", "--mount", "--map-root-user"];
    let mount = format!("mkdir -p t && mount -t tmpfs -o {SPACE} tmpfs t");
    let scratch = tempfile::tempdir().unwrap();
    let mut trial = Command::new(own_mounts[0]);
    trial.args(&own_mounts[1..]).args(["sh", "-c", &mount]).current_dir(scratch.path());
    if !works("namespaces", &mut trial) {
        return;
    }
    let rig = Rig::new().await;
    let script = format!("{mount} && cp -a data/. t/ && mount --bind t data && exec \"$@\"");
    let mut launcher = own_mounts.to_vec();
    launcher.extend(["sh", "-c", &script, "sh"]);
    let mut serving = rig.program.serve_under(&launcher);
    serving.ready().await;
    let mut acknowledged = BTreeSet::new();
    assert_eq!(rig.post("evt_before", 100).await.0, 200);
    acknowledged.insert("evt_before".to_owned());

    let data = std::fs::canonicalize(rig.program.folder()).unwrap().join("data");
    let filler = inside(&serving, &data.join("filler"));
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[0u8; 65_536]).is_ok() {}
    drop(file);
    let mut refused = 0;
    for n in 0..400 {
        let id = format!("evt_{n}");
        match rig.post(&id, 20_000).await {
            (200, _) => {
                acknowledged.insert(id);
            }
            (503, Some(_)) => refused += 1,
            other => panic!("{id}: {other:?}\n{}", rig.program.log()),
        }
        if refused >= 20 {
            break;
        }
    }
    assert!(refused >= 20, "the disk was never full: {} acknowledged", acknowledged.len());
    std::fs::remove_file(&filler).unwrap();
    let until = Instant::now() + PATIENCE;
    while rig.post("evt_after", 20_000).await.0 != 200 {
        assert!(Instant::now() < until, "does not recover\n{}", rig.program.log());
    }
    acknowledged.insert("evt_after".to_owned());
    serving.assert_lives();
    // The program is held, so that its database can be copied out: the file system goes with the process.
    let hold = ["-STOP".to_owned(), serving.pid().to_string()];
    assert!(Command::new("kill").args(hold).status().unwrap().success());
    for name in ["halo-sync.db", "halo-sync.db-wal"] {
        std::fs::copy(inside(&serving, &data.join(name)), scratch.path().join(name)).unwrap();
    }
    let stored = stored(&scratch.path().join("halo-sync.db")).await;
    let lost: Vec<_> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "acknowledged and not stored: {lost:?}");
    drop(serving);
    rig.program.remove().await;
}
