//! Import: a million users from one CSV file by the built program, on both engines; then the same file again, where
//! nothing changes.
//!
//! `cargo bench --bench import`; `HALO_SYNC_BENCH_ROWS` imports another number of them, `HALO_SYNC_BENCH_ENGINE`
//! (`sqlite`, `postgres`) measures one engine. Durable settings (SQLite `synchronous=FULL`, Postgres with fsync). The
//! memory is the importing process's own; on SQLite that is the database, too.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a program for people that may fail loudly")]

#[expect(dead_code, unreachable_pub, reason = "each benchmark needs some of it")]
mod common;

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::figures::{Goal, head, row};
use common::process::status_mib;
use common::runtime;
use common::support::postgres::{DURABLE, Database};
use serde_json::Value;

const ROWS: u64 = 1_000_000;
const PEAK_MIB: f64 = 120.0;
const LOOK: Duration = Duration::from_millis(20);

fn write_file(path: &Path, rows: u64) {
    let mut file = BufWriter::new(std::fs::File::create(path).expect("a file"));
    writeln!(file, "user_id,name,email,plan,seats,signed_up_at,company_id,note").expect("written");
    for n in 0..rows {
        let (company, plan) = (n % (rows / 10).max(1), ["free", "pro", "enterprise"][(n % 3) as usize]);
        writeln!(
            file,
            "user_{n},User Number {n},user{n}@customer{company}.example,{plan},{},2025-03-0{}T10:00:00Z,company_{company},\
             \"imported, row {n}\"",
            n % 50,
            n % 9 + 1
        )
        .expect("written");
    }
    file.flush().expect("written");
}

/// Imports once: the answer, seconds, MiB at most.
fn import(folder: &Path, database: Option<&str>) -> (Value, f64, f64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halo-sync"));
    command.args(["contacts", "import", "users.csv", "--json", "--quiet"]).current_dir(folder);
    command.env_clear().stdout(Stdio::piped()).stderr(Stdio::inherit());
    if let Some(url) = database {
        command.env("HALO_SYNC_DATABASE__URL", url);
    }
    let begun = Instant::now();
    let mut child = command.spawn().expect("it starts");
    let mut peak = 0.0f64;
    while child.try_wait().expect("a child").is_none() {
        let seen = status_mib(child.id(), "VmHWM:");
        if seen.is_finite() {
            peak = peak.max(seen);
        }
        std::thread::sleep(LOOK);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let output = child.wait_with_output().expect("its answer");
    (serde_json::from_slice(&output.stdout).expect("an answer"), seconds, peak)
}

fn main() {
    DURABLE.store(true, Ordering::SeqCst);
    let rows = std::env::var("HALO_SYNC_BENCH_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROWS);
    let only = std::env::var("HALO_SYNC_BENCH_ENGINE").unwrap_or_default();
    head("Import");
    for engine in ["SQLite", "Postgres"] {
        if !only.is_empty() && !engine.eq_ignore_ascii_case(&only) {
            continue;
        }
        let (folder, runtime) = (tempfile::tempdir().expect("a folder"), runtime());
        let database = match engine {
            "Postgres" => match runtime.block_on(Database::empty()) {
                Some(database) => Some(database),
                None => continue,
            },
            _ => None,
        };
        write_file(&folder.path().join("users.csv"), rows);
        let what = |text: &str| format!("{engine}, {rows} users: {text}");
        for (word, count) in [("first", "created"), ("second, equal", "unchanged")] {
            let (answer, seconds, peak) =
                import(folder.path(), database.as_ref().map(|database| database.url.as_str()));
            assert_eq!(answer[count], rows, "{answer}");
            row(&what(&format!("{word} import, rows")), rows as f64 / seconds, "/s", Goal::None);
            row(&what(&format!("{word} import, peak memory")), peak, "MiB", Goal::AtMost(PEAK_MIB));
        }
        if let Some(database) = database {
            runtime.block_on(database.drop_it());
        }
    }
}
