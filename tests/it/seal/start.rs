//! Without the key that belongs to a database nothing starts, and nothing is touched.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use halo_sync::domain::OrgId;
use halo_sync::domain::connections::ConnectionStatus;
use halo_sync::store::OpenMode;
use serde_json::Value;

use super::rotation::{LIMIT, fill, judge, keyring};
use crate::support::installation::Program;
use crate::support::postgres::Database;
use crate::support::program::run;

fn refused(program: &Program, args: &[&str]) -> String {
    run(&mut program.command(args), LIMIT).expect_err("it must refuse")
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn without_its_key(database: Option<Database>) {
    let program = Program::new(database);
    fill(&program, 2).await;
    let file = program.folder().join("data/secret.key");
    let (right, id) = (std::fs::read_to_string(&file).unwrap(), keyring(&program).key_id());
    let sealed = async || {
        let store = program.open(OpenMode::ReadOnly).await;
        let org = OrgId::default_org();
        let found = store.load_secrets(&org, &"con_0".into()).await.unwrap();
        store.close().await;
        found
    };
    let before = sealed().await;
    let bytes = |path: &Path| std::fs::read(path).unwrap_or_default();
    let stored = bytes(&program.file());

    // Missing.
    std::fs::remove_file(&file).unwrap();
    for args in [&["serve"][..], &["worker"], &["credentials", "rotate"], &["keys", "identity", "rotate"]] {
        let said = refused(&program, args);
        assert!(said.contains(&id) && said.contains("exit status: 6"), "{args:?}: {said}");
    }
    assert!(!file.exists(), "no key is made in its place");
    let said = refused(&program, &["doctor", "--offline"]);
    assert!(said.contains(&id), "{said}");
    // Reading needs none.
    run(&mut program.command(&["connections", "--json"]), LIMIT).unwrap();
    let status = run(&mut program.command(&["credentials", "--json"]), LIMIT).unwrap();
    assert_eq!(rows(&status)[0]["state"], "missing", "{status}");
    assert!(!file.exists());

    // Another one.
    std::fs::write(&file, STANDARD.encode([5; 32])).unwrap();
    for args in [&["serve"][..], &["worker"], &["credentials", "rotate"]] {
        let said = refused(&program, args);
        assert!(said.contains(&id) && said.contains("exit status: 6"), "{args:?}: {said}");
    }
    assert_eq!(sealed().await, before);
    assert_eq!(bytes(&program.file()), stored);

    // Below the other it opens again, and everything goes over to the first.
    std::fs::write(&file, format!("{}\n{right}", STANDARD.encode([5; 32]))).unwrap();
    let said = run(&mut program.command(&["credentials", "rotate", "--json"]), LIMIT).unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["new_key"], &said["sealed"]), (&Value::Bool(false), &Value::from(5)), "{said}");
    let store = program.open(OpenMode::ReadOnly).await;
    let id = judge(&program, &*store, 2).await;
    store.close().await;

    // Lost for good: what it sealed can be let go of, by name.
    std::fs::write(&file, &right).unwrap();
    let said = refused(&program, &["credentials", "forget", &id]);
    assert!(said.contains("exit status: 2"), "{said}");
    run(&mut program.command(&["credentials", "forget", &id, "--confirm", &id]), LIMIT).unwrap();
    let store = program.open(OpenMode::ReadOnly).await;
    assert_eq!(store.count_sealed().await.unwrap(), []);
    for connection in store.list_connections(None).await.unwrap() {
        assert_eq!(connection.status, ConnectionStatus::NeedsAttention);
        assert!(connection.status_reason.unwrap().contains(&id));
    }
    store.close().await;
    let mut serving = program.serve();
    serving.ready().await;
    drop(serving);
    program.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_starts_without_its_key_on_sqlite() {
    without_its_key(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_starts_without_its_key_on_postgres() {
    let Some(database) = Database::migrated().await else { return };
    without_its_key(Some(database)).await;
}

/// systemd lays the key where it pleases, read-only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_may_be_a_credential_of_systemd() {
    let program = Program::new(None);
    fill(&program, 2).await;
    let (old, file) = (keyring(&program).key_id(), program.folder().join("data/secret.key"));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let folder = program.folder().join("credentials");
    std::fs::create_dir(&folder).unwrap();
    let with = |args: &[&str]| {
        let mut command = program.command(args);
        command.env("CREDENTIALS_DIRECTORY", &folder);
        run(&mut command, LIMIT)
    };
    // A folder of credentials without ours is no reason to begin without the key.
    assert!(with(&["credentials", "rotate"]).unwrap_err().contains(&old));
    std::fs::write(folder.join("secret.key"), &text).unwrap();
    let status = rows(&with(&["credentials", "--json"]).unwrap());
    assert_eq!((status[0]["key"].as_str(), status[0]["state"].as_str()), (Some(&*old), Some("current")));
    let said = with(&["credentials", "rotate"]).unwrap_err();
    assert!(said.contains("exit status: 6") && said.contains("front"), "{said}");
    std::fs::write(folder.join("secret.key"), format!("{}\n{text}", STANDARD.encode([6; 32]))).unwrap();
    let said: Value = serde_json::from_str(&with(&["credentials", "rotate", "--json"]).unwrap()).unwrap();
    assert_eq!((&said["new_key"], &said["sealed"]), (&Value::Bool(false), &Value::from(5)), "{said}");
    assert!(!file.exists());
    std::fs::copy(folder.join("secret.key"), &file).unwrap();
    let store = program.open(OpenMode::ReadOnly).await;
    assert_ne!(judge(&program, &*store, 2).await, old);
    store.close().await;
}
