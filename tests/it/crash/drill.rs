//! The drill: copies made beside a program under load, a disk that lost the database, and back.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::*;

/// Deliveries acknowledged before the copy, and again between the copy and the loss.
const DELIVERIES: usize = 60;

/// Runs a command beside the account, which answers meanwhile.
async fn run(program: &Program, args: &[&str]) -> Output {
    let mut command = program.command(args);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn answer(program: &Program, args: &[&str]) -> Value {
    let output = run(program, args).await;
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What a refused command says, which must leave the database as it is.
async fn refusal(program: &Program, args: &[&str], code: i32) -> String {
    let before = std::fs::metadata(program.file()).unwrap().modified().unwrap();
    let output = run(program, args).await;
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::metadata(program.file()).unwrap().modified().unwrap(), before, "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

async fn acknowledged(rig: &Rig, more: usize) -> BTreeSet<String> {
    let until = rig.account.book.lock().unwrap().acked.len() + more;
    let from = Instant::now();
    loop {
        let acked = rig.account.book.lock().unwrap().acked.clone();
        if acked.len() >= until {
            return acked;
        }
        assert!(from.elapsed() < DRAIN, "{} deliveries acknowledged", acked.len());
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_database_comes_back_from_a_copy_and_the_account() {
    let rig = Rig::new(None).await;
    let program = &rig.program;
    let backups = program.file().with_file_name("backups");
    let by_the_clock = halo_sync::backups::list(&backups).unwrap();
    assert_eq!(by_the_clock.len(), 1, "the first start makes a copy: {by_the_clock:?}");

    let senders = rig.account.begin(&rig.webhook, 7);
    let mut serving = program.serve();
    serving.ready().await;
    let before = acknowledged(&rig, DELIVERIES).await;
    let copied = answer(program, &["backup", "copy.db", "--json"]).await;
    let copy = program.folder().join("copy.db");
    assert_eq!(copied["bytes"].as_u64(), Some(std::fs::metadata(&copy).unwrap().len()), "{copied}");
    assert_private(&copy);
    let named = answer(program, &["backup", "--keep", "1", "--json"]).await;
    assert_eq!(named["removed"].as_array().map(Vec::len), Some(1), "{named}");
    let kept = halo_sync::backups::list(&backups).unwrap();
    assert_eq!(kept.len(), 1);
    assert_private(&kept[0].1);
    let said = refusal(program, &["restore", "copy.db"], 6).await;
    assert!(said.contains("in use"), "{said}");
    acknowledged(&rig, DELIVERIES).await;
    senders.end().await;
    serving.kill();

    let said = refusal(program, &["backup", "copy.db"], 2).await;
    assert!(said.contains("there already"), "{said}");
    // Half a copy, and something else.
    let whole = std::fs::read(&copy).unwrap();
    std::fs::write(program.folder().join("half.db"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(program.folder().join("other.db"), "a letter").unwrap();
    for bad in ["half.db", "other.db"] {
        let said = refusal(program, &["restore", bad], 6).await;
        assert!(said.contains("not a whole database"), "{said}");
    }
    assert!(!program.file().with_file_name("halo-sync.db.restoring").exists());

    // The disk lost the database, and kept its log.
    std::fs::write(program.file(), vec![0xA5; 100_000]).unwrap();
    let restored = answer(program, &["restore", "copy.db", "--json"]).await;
    assert_eq!(restored["companies"], CUSTOMERS, "{restored}");
    assert_eq!(restored["runs"].as_array().map(Vec::len), Some(1), "{restored}");
    assert_eq!(restored["sealed_with_another_key"], json!([]), "{restored}");
    let replaced = program.folder().join(restored["replaced"].as_str().unwrap());
    assert_eq!(std::fs::read(replaced).unwrap()[..100], [0xA5; 100]);

    let mut serving = program.serve();
    serving.ready().await;
    rig.wait(&mut serving, DRAIN, "what happened since", async |store| {
        let runs = store.list_runs(&org(), None, Some(RunStatus::Running), 10).await.unwrap();
        let stats = store.job_stats(SystemClock.now()).await.unwrap();
        let idle = runs.is_empty() && stats.ready + stats.running == 0;
        if idle { Ok(()) } else { Err(format!("{stats:?}, {runs:?}")) }
    })
    .await;
    let (status, _) = serving.stop(STOP).await;
    assert!(status.success(), "{status}");

    let store = program.read().await;
    let stored: BTreeSet<String> = rows(&*store, None).await.into_iter().map(|row| row.event).collect();
    let lost: Vec<_> = before.difference(&stored).collect();
    assert!(lost.is_empty(), "acknowledged before the copy and not in it: {lost:?}");
    let mut complaints = rig.judge_mirror(&*store).await;
    complaints.extend(rig.judge_companies(&*store).await);
    store.close().await;
    complaints.extend(integrity(&program.file()).await);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    rig.program.remove().await;
}

/// Through a pipe, to a machine that has another key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_through_a_pipe_and_misses_its_key() {
    let rig = Rig::new(None).await;
    let copied = run(&rig.program, &["backup", "-"]).await;
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let backups = rig.program.file().with_file_name("backups");
    assert_eq!(std::fs::read_dir(backups).unwrap().count(), 1, "only the one that the clock made");

    let elsewhere = Program::new(None);
    std::fs::write(elsewhere.folder().join("piped.db"), &copied.stdout).unwrap();
    let mut command = elsewhere.command(&["restore", "-", "--json"]);
    command.stdin(Stdio::from(std::fs::File::open(elsewhere.folder().join("piped.db")).unwrap()));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let restored: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(restored["companies"], CUSTOMERS, "{restored}");
    assert_eq!(restored["replaced"], Value::Null, "{restored}");
    assert_eq!(restored["sealed_with_another_key"], json!(["stripe"]), "{restored}");
    assert_eq!(restored["runs"], json!([]), "{restored}");
    rig.program.remove().await;
    elsewhere.remove().await;
}

/// Only its owner may read it.
fn assert_private(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{}: {mode:o}", file.display());
}
