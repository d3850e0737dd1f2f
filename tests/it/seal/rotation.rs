//! A rotation beside the running program, and one that is killed again and again.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use connector_sdk::{Clock as _, Mode};
use connector_testkit::sandbox::stripe::{Options, StripeSandbox};
use halo_sync::domain::connections::{Connection, ConnectionStatus};
use halo_sync::domain::runs::RunStatus;
use halo_sync::domain::{ConnectionId, OrgId};
use halo_sync::service::Request;
use halo_sync::store::{OpenMode, Store};
use halo_sync::sync::credentials::Keyring;
use serde_json::{Value, json};

use crate::support::clock::TestClock;
use crate::support::installation::{LOOK, Program};
use crate::support::postgres::Database;
use crate::support::program::run;

/// A debug build on a busy machine.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
const CONNECTIONS: usize = 150;
const KILLS: u32 = 20;

pub(super) fn keyring(program: &Program) -> Keyring {
    Keyring::load(&program.folder().join("data/secret.key")).unwrap()
}

pub(super) fn secret(id: &str, name: &str) -> String {
    format!("the {name} of {id}")
}

/// Connections with two secrets each, and a secret of the organisation.
pub(super) async fn fill(program: &Program, connections: usize) {
    let desk = program.desk().await;
    let org = OrgId::default_org();
    desk.store().put_org(&org, "", &json!({}), TestClock::default().now()).await.unwrap();
    desk.ask(&org, Request::CreateIdentitySecret).await.unwrap();
    let ring = keyring(program);
    for n in 0..connections {
        let id = ConnectionId(format!("con_{n}"));
        let connection = Connection {
            id: id.clone(),
            org_id: org.clone(),
            connector: "stripe".to_owned(),
            name: format!("stripe-{n}"),
            account_id: None,
            account_name: None,
            mode: Mode::Test,
            status: ConnectionStatus::Paused,
            status_reason: None,
            config: json!({}),
            limits: Value::Null,
            checked_at: None,
            created_at: TestClock::default().now(),
            updated_at: TestClock::default().now(),
        };
        let sealed = ["api_key", "webhook_secret"]
            .map(|name| ring.seal(&org, &id, name, 0, &secret(&id.0, name).into()).unwrap());
        desk.store().put_connection(&connection, &sealed).await.unwrap();
    }
    desk.store().close().await;
}

/// Every secret opens with the key file as it is, all are of its first key; answers that key.
pub(super) async fn judge(program: &Program, store: &dyn Store, connections: usize) -> String {
    use secrecy::ExposeSecret as _;
    let (ring, org) = (keyring(program), OrgId::default_org());
    for n in 0..connections {
        let id = ConnectionId(format!("con_{n}"));
        let sealed = store.load_secrets(&org, &id).await.unwrap();
        assert_eq!(sealed.len(), 2);
        for one in sealed {
            assert_eq!(ring.open(&org, &id, &one).unwrap().expose_secret(), secret(&id.0, &one.name));
        }
    }
    for one in store.load_org_trust(&org).await.unwrap().unwrap().secrets {
        ring.open_for_org(&org, &one.secret).unwrap();
    }
    let used: Vec<String> = store.count_sealed().await.unwrap().into_iter().map(|with| with.key).collect();
    assert_eq!(used, [ring.key_id()]);
    ring.key_id()
}

async fn killed_again_and_again(database: Option<Database>) {
    let program = Program::new(database);
    fill(&program, CONNECTIONS).await;
    let first = keyring(&program).key_id();
    let mut cut = 0;
    for n in 0..KILLS {
        let mut command = program.command(&["credentials", "rotate"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // From before it begins to after it ends.
        let until = Instant::now() + LOOK * 3 * n;
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            tokio::time::sleep(LOOK).await;
        }
        cut += u32::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(cut > 0, "none was cut");
    let said = run(&mut program.command(&["credentials", "rotate", "--json"]), LIMIT).unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["refused"], json!([]), "{said}");
    let store = program.open(OpenMode::ReadOnly).await;
    let last = judge(&program, &*store, CONNECTIONS).await;
    assert_ne!(first, last);
    assert_eq!(said["key"], last.as_str());
    // What an older copy of the database needs is still there, until it is taken out.
    assert!(keyring(&program).key_ids().contains(&first));
    store.close().await;
    let said = run(&mut program.command(&["credentials", "rotate", "--retire", "--json"]), LIMIT).unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["new_key"], true, "{said}");
    let retired: BTreeSet<&str> =
        said["retired"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(retired.contains(first.as_str()) && retired.contains(last.as_str()), "{said}");
    assert_eq!(keyring(&program).key_ids().len(), 1);
    let store = program.open(OpenMode::ReadOnly).await;
    judge(&program, &*store, CONNECTIONS).await;
    store.close().await;
    let names: Vec<String> = std::fs::read_dir(program.folder().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("secret"))
        .collect();
    assert_eq!(names, ["secret.key"], "no key is left beside the file");
    program.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_goes_on_on_sqlite() {
    killed_again_and_again(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_goes_on_on_postgres() {
    let Some(database) = Database::migrated().await else { return };
    killed_again_and_again(Some(database)).await;
}

/// The account is asked about all the while; on Postgres each command is a process beside the program's.
async fn beside_the_running_program(database: Option<Database>) {
    let program = Program::new(database);
    let sandbox = StripeSandbox::start(Options::default()).await.unwrap();
    program.connect(&sandbox.base_url(), sandbox.api_key(), sandbox.webhook_secret()).await;
    let before = keyring(&program).key_id();
    let mut serving = program.serve();
    serving.ready().await;
    let all = |args: &'static [&'static str], times: usize| {
        let mut commands: Vec<_> = (0..times).map(|_| program.command(args)).collect();
        tokio::task::spawn_blocking(move || {
            commands.iter_mut().map(|command| run(command, LIMIT)).collect::<Result<Vec<_>, _>>()
        })
    };
    let checks = all(&["connections", "check", "stripe", "--json"], 4);
    let rotations = all(&["credentials", "rotate", "--json"], 3);
    let rotations = rotations.await.unwrap().unwrap();
    assert!(rotations.iter().all(|said| said.contains("\"new_key\":true")), "{rotations:?}");
    checks.await.unwrap().unwrap();
    let after = keyring(&program);
    assert_eq!(after.key_ids().len(), 4, "three new ones");
    assert_ne!(after.key_id(), before);
    // The process that was there all the time works on with what is sealed with a key that it was not started with.
    all(&["sync", "stripe", "--json"], 1).await.unwrap().unwrap();
    serving.assert_lives();
    let store = program.read().await;
    let used: Vec<String> = store.count_sealed().await.unwrap().into_iter().map(|with| with.key).collect();
    assert_eq!(used, [after.key_id()]);
    let org = OrgId::default_org();
    let connection = store.find_connection(&org, "stripe").await.unwrap().unwrap();
    assert_eq!(connection.status, ConnectionStatus::Active, "{connection:?}");
    let failed = store.list_runs(&org, None, Some(RunStatus::Failed), 10).await.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    store.close().await;
    drop(serving);
    program.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_beside_a_rotation_on_sqlite() {
    beside_the_running_program(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_beside_a_rotation_on_postgres() {
    let Some(database) = Database::migrated().await else { return };
    beside_the_running_program(Some(database)).await;
}
