//! `halo-sync mcp`: an agent on the same machine.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use halo_sync::domain::companies::TraitPatch;
use halo_sync::domain::{OrgId, Rank};
use halo_sync::store::OpenMode;
use halo_sync::store::identity::{Lookup, WriteSource};
use rmcp::ServiceExt;
use serde_json::json;
use tokio::net::unix::pipe;

use super::{Client, answer, call};
use crate::support::installation::{LOOK, Program};
use crate::support::postgres::Database;

const PATIENCE: Duration = Duration::from_secs(60);

async fn begin(mut command: Command) -> (Client, Child) {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let to = pipe::Sender::from_owned_fd(OwnedFd::from(child.stdin.take().unwrap())).unwrap();
    let from = pipe::Receiver::from_owned_fd(OwnedFd::from(child.stdout.take().unwrap())).unwrap();
    let client = ().serve((from, to)).await.unwrap();
    (client, child)
}

async fn is_spoken_beside_whatever_runs(program: Program) {
    let store = program.open(OpenMode::Exclusive).await;
    let now = halo_sync::clock::SystemClock;
    let at = halo_sync::clock::Clock::now(&now);
    let source = WriteSource { rank: Rank::Server, source: "sdk".to_owned(), at };
    let traits = json!({"name": "Jane Doe"}).as_object().unwrap().clone();
    let patch = TraitPatch { traits, ..TraitPatch::default() };
    let user = Lookup::External("user_1".to_owned());
    store.put_user(&OrgId::default_org(), &user, &patch, None, &source).await.unwrap();
    store.close().await;
    drop(store);

    let mut serving = program.serve();
    serving.ready().await;
    let (client, mut child) = begin(program.command(&["mcp"])).await;
    let (text, _) = answer(&client, "customer_context", json!({"user_id": "user_1"})).await;
    assert_eq!(text, "[User Profile]\nName: Jane Doe");
    assert_eq!(call(&client, "find_users", json!({"limit": 0})).await.unwrap().is_error, Some(true));
    assert_eq!(client.list_all_resources().await.unwrap().len(), 1);
    // It ends with its client.
    client.cancel().await.unwrap();
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= until {
            child.kill().unwrap();
            panic!("it does not end with its client");
        }
        tokio::time::sleep(LOOK).await;
    };
    assert_eq!(status.code(), Some(0));
    serving.kill();

    // Nobody begins: no error. Something else is spoken: one, and nothing of it on stdout.
    for (input, code) in [("", 0), ("GET / HTTP/1.1\r\n\r\n", 0)] {
        std::fs::write(program.folder().join("input"), input).unwrap();
        let file = std::fs::File::open(program.folder().join("input")).unwrap();
        let mut command = program.command(&["mcp"]);
        let output =
            tokio::task::spawn_blocking(move || command.stdin(file).output().unwrap()).await.unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            let message: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(message["error"]["code"], -32700, "{line}");
        }
    }
    program.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_spoken_on_sqlite() {
    is_spoken_beside_whatever_runs(Program::new(None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_spoken_on_postgres() {
    let Some(database) = Database::migrated().await else { return };
    is_spoken_beside_whatever_runs(Program::new(Some(database))).await;
}
