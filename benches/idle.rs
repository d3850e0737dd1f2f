//! An idle `serve`, worker and schedules on, nothing connected: resident memory and share of a core.
//!
//! `cargo bench --bench idle`; reads `/proc`, so Linux only.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program for people that may fail loudly")]

#[expect(dead_code, unreachable_pub, reason = "each benchmark needs some of it")]
mod common;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::figures::{Goal, head, row};
use common::process::{processor_seconds, status_mib};

const RESIDENT_MIB: f64 = 40.0;
const CORE_PERCENT: f64 = 0.5;
/// Start-up is over by then.
const SETTLE: Duration = Duration::from_secs(5);
const MEASURE: Duration = Duration::from_secs(20);

struct Serve(Child);

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn measure(what: &str, args: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let serve = Command::new(env!("CARGO_BIN_EXE_halo-sync"))
        .args(["--data-dir", folder.path().to_str().expect("a path"), "serve", "--listen", "127.0.0.1:0"])
        .args(args)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut serve = Serve(serve);
    let pid = serve.0.id();
    std::thread::park_timeout(SETTLE);
    let (before, begun) = (processor_seconds(pid), Instant::now());
    std::thread::park_timeout(MEASURE);
    let share = (processor_seconds(pid) - before) / begun.elapsed().as_secs_f64() * 100.0;
    assert!(serve.0.try_wait().expect("its state").is_none(), "it still serves");
    row(&format!("{what}: resident"), status_mib(pid, "VmRSS:"), "MiB", Goal::AtMost(RESIDENT_MIB));
    row(&format!("{what}: share of a core"), share, "%", Goal::AtMost(CORE_PERCENT));
}

fn main() {
    head("Idle process");
    measure("serve", &[]);
    measure("serve --no-worker", &["--no-worker"]);
}
