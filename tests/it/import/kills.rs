//! An import that is killed, again and again, ends as one that was left alone.

use std::process::Stdio;
use std::time::{Duration, Instant};

use halo_sync::store::identity::Lookup;

use super::{by_the_program, file, org, run};
use crate::support::installation::{LOOK, Program};

by_the_program!(a_killed_import_goes_on_where_it_was);

const ROWS: usize = 4_000;
/// Patience with a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Some rows are refused by the reader, some by the rules; some ids come twice.
fn rows() -> String {
    let mut csv = String::from("user_id,seats,plan\n");
    for n in 0..ROWS {
        let seats = if n % 9 == 4 { "many".to_owned() } else { n.to_string() };
        let plan = if n % 90 == 7 { "x".repeat(25_000) } else { "pro".to_owned() };
        let id = if n % 50 == 49 { n - 30 } else { n };
        csv.push_str(&format!("u{id},{seats},{plan}\n"));
    }
    csv
}

const ARGS: [&str; 5] = ["contacts", "import", "users.csv", "--types", "seats=number"];

async fn a_killed_import_goes_on_where_it_was(program: &Program) {
    file(program, "users.csv", rows());
    let rejects = program.folder().join("users.rejects.csv");
    let mut done = 0;
    for kill in 0..4 {
        let mut command = program.command(&ARGS);
        // Slow enough to be met in the middle; small batches.
        command.args(["--json", "--rate", "100/s"]);
        if kill > 0 {
            command.arg("--resume");
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        // Killed at different moments behind a further commit: a few lines into the next one, or between.
        loop {
            if child.try_wait().unwrap().is_some() {
                let mut text = String::new();
                std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut text).unwrap();
                panic!("it ended by itself: {text}");
            }
            let store = program.read_if_there().await;
            let users = match &store {
                Some(store) => store.count_identities(&org()).await.map_or(0, |counts| counts.users),
                None => 0,
            };
            if users > done {
                done = users;
                break;
            }
            assert!(Instant::now() < until, "no further row was written");
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(LOOK * (kill * 7)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        // What was written and not yet told of is cut off; what lacks is written again.
        if kill == 2 && rejects.exists() {
            let mut torn = std::fs::read(&rejects).unwrap();
            torn.extend_from_slice(b"u999,torn");
            std::fs::write(&rejects, torn).unwrap();
        }
    }
    let resumed = run(program, &[&ARGS[..], &["--resume"]].concat()).await;
    assert_eq!(resumed.code, Some(3), "{}", resumed.errors);
    let kept = std::fs::read_to_string(&rejects).unwrap();

    let alone = Program::new(None);
    file(&alone, "users.csv", rows());
    let whole = run(&alone, &ARGS).await;
    assert_eq!(resumed.counts(), whole.counts(), "{}", whole.errors);
    assert_eq!(resumed.answer["rows"], ROWS);
    assert_eq!(kept, std::fs::read_to_string(alone.folder().join("users.rejects.csv")).unwrap());
    let (store, other) = (program.read().await, alone.read().await);
    let (here, there) =
        (store.count_identities(&org()).await.unwrap(), other.count_identities(&org()).await.unwrap());
    assert_eq!(here.users, there.users);
    for n in (0..ROWS).step_by(101) {
        let lookup = Lookup::External(format!("u{n}"));
        let a = store.find_user(&org(), &lookup).await.unwrap().map(|user| user.custom_fields);
        let b = other.find_user(&org(), &lookup).await.unwrap().map(|user| user.custom_fields);
        assert_eq!(a, b, "u{n}");
    }
    drop((store, other));
    alone.remove().await;

    // It is at its end: nothing more is done. Another file or other options are no resumption of it.
    let again = run(program, &[&ARGS[..], &["--resume"]].concat()).await;
    assert_eq!((again.code, again.counts()), (Some(3), resumed.counts()));
    assert_eq!(std::fs::read_to_string(&rejects).unwrap(), kept);
    let other = run(program, &[&ARGS[..], &["--resume", "--update-only"]].concat()).await;
    assert!(other.code == Some(2) && other.errors.contains("other options"), "{}", other.errors);
    file(program, "users.csv", rows().replacen("u0,0", "u0,1", 1));
    let changed = run(program, &[&ARGS[..], &["--resume"]].concat()).await;
    assert!(changed.code == Some(1) && changed.errors.contains("file_changed"), "{}", changed.errors);
}
