//! The built program with a tap of PyPI against a REST API of the tests, and what it leaves when it is killed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{gone, hanging, write_tap, written};
use crate::support::installation::Program;
use crate::support::postgres::Database;
use crate::support::program::run;
use crate::support::required;

const SETUP: Duration = Duration::from_secs(300);
const KEY: &str = "rest_key_71c0de";
const STOP: Duration = Duration::from_secs(60);

fn tap() -> Option<PathBuf> {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/singer/setup.sh");
    match run(Command::new("sh").arg(&setup), SETUP) {
        Ok(said) => Some(PathBuf::from(said.trim())),
        Err(why) => {
            assert!(!required("singer"), "a Singer tap is required and missing: {why}");
            eprintln!("SKIPPED: no Singer tap here: {why}");
            None
        }
    }
}

/// A REST API of two lists, behind a key, which remembers what it was asked.
#[derive(Clone, Default)]
struct Api {
    lists: Arc<Mutex<Value>>,
    asked: Arc<Mutex<Vec<String>>>,
}

async fn list(
    State(api): State<Api>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Json<Value>, StatusCode> {
    if headers.get("authorization").is_none_or(|value| value != &format!("Bearer {KEY}")) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    api.asked.lock().unwrap().push(uri.to_string());
    let since = uri.query().and_then(|query| {
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "since")
            .map(|(_, at)| at.into_owned())
    });
    let rows = api.lists.lock().unwrap()[uri.path().trim_start_matches('/')].clone();
    let new = |row: &&Value| {
        since.as_ref().is_none_or(|since| row["updated_at"].as_str().unwrap() >= since.as_str())
    };
    let rows: Vec<Value> = rows.as_array().unwrap().iter().filter(new).cloned().collect();
    Ok(Json(json!({ "data": rows })))
}

impl Api {
    async fn start(&self) -> String {
        *self.lists.lock().unwrap() = json!({
            "accounts": [
                {"id": 1, "name": "Northwind", "email": "ap@northwind.example", "tier": "gold", "desks": 40, "storage": 1.25, "updated_at": "2026-01-01T00:00:00Z"},
                {"id": 2, "name": "Fabrikam", "email": "ap@fabrikam.example", "tier": "tin", "desks": 2, "storage": 0.5, "updated_at": "2026-01-01T00:00:00Z"},
            ],
            "subscriptions": [
                {"id": "s1", "account_id": 1, "state": "live", "price": 19.99, "cycle": "monthly", "plan": "Team", "seats": 3, "updated_at": "2026-01-02T00:00:00Z"},
                {"id": "s2", "account_id": 2, "state": "live", "price": 240.0, "cycle": "annual", "plan": "Solo", "seats": 1, "updated_at": "2026-01-02T00:00:00Z"},
            ],
        });
        let router = Router::new()
            .route("/accounts", get(list))
            .route("/subscriptions", get(list))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        base
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn settings(base: &str) -> Value {
    let of = |name: &str| {
        json!({
            "name": name, "path": format!("/{name}"), "primary_keys": ["id"], "records_path": "$.data[*]",
            "replication_key": "updated_at", "source_search_field": "since", "source_search_query": "$last_run_date",
            "num_inference_records": 10,
        })
    };
    json!({
        "tap": "rest", "account": "acme-rest",
        "config": {
            "api_url": base, "headers": {"Authorization": "Bearer {secret}"},
            "streams": [of("accounts"), of("subscriptions")],
        },
        "streams": {
            "accounts": {
                "as": "customer",
                "fields": {"name": "name", "email": "email"},
                "traits": {"tier": "tier"},
                "context": {"usage": {"label": "Usage", "members": {"desks": "desks", "storage": "storage"}}},
            },
            "subscriptions": {
                "as": "subscription",
                "fields": {
                    "party": "account_id", "status": {"path": "state", "words": {"live": "active", "*": "canceled"}},
                    "amount": {"path": "price", "unit": "major"}, "currency": {"value": "usd"}, "every": "cycle",
                    "plan": "plan", "quantity": "seats",
                },
            },
        },
    })
}

struct Said {
    code: i32,
    rows: Vec<Value>,
    text: String,
}

impl Said {
    fn ok(self) -> Vec<Value> {
        assert_eq!(self.code, 0, "{}", self.text);
        self.rows
    }
}

async fn ask(program: &Program, args: &[&str]) -> Said {
    let mut command = program.command(args);
    command.arg("--json");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let rows = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let text = format!("{args:?}: {out}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains(KEY), "{text}");
    Said { code: output.status.code().unwrap_or(-1), rows, text }
}

fn write(program: &Program, name: &str, text: &str) {
    std::fs::write(program.folder().join(name), text).unwrap();
}

fn allow(program: &Program, name: &str, tap: &Path) {
    write(
        program,
        "halo-sync.toml",
        &format!("[singer]\ntaps = {{ {name} = {:?} }}\n", tap.to_str().unwrap()),
    );
}

/// What a run did to the records: read, written.
fn counts(run: &Value) -> (u64, u64) {
    assert_eq!(run["status"], "succeeded", "{run}");
    let counts = &run["streams"][0]["counts"];
    let of = |name: &str| counts[name].as_u64().unwrap_or_else(|| panic!("{run}"));
    (of("read"), of("created") + of("updated"))
}

async fn company(program: &Program, name: &str) -> (Value, String) {
    let listed = ask(program, &["companies", "list"]).await.ok();
    let found = listed.iter().find(|row| row["fields"]["name"] == name || row["name"] == name);
    let id = found.unwrap_or_else(|| panic!("{listed:?}"))["id"].as_str().unwrap().to_owned();
    let shown = ask(program, &["companies", "show", &id]).await.ok().remove(0);
    let rendered = ask(program, &["render", "--company", &id]).await.ok().remove(0);
    (shown, rendered["text"].as_str().unwrap().to_owned())
}

/// Waits until a company's prompt says that, or no longer does: on Postgres another process derives it.
async fn says(program: &Program, name: &str, part: &str, is_there: bool) {
    let end = Instant::now() + STOP;
    loop {
        let (_, text) = company(program, name).await;
        if text.contains(part) == is_there {
            return;
        }
        assert!(Instant::now() < end, "{part}: {text}");
    }
}

async fn a_tap_of_pypi(database: Option<Database>) {
    let Some(tap) = tap() else { return };
    let (api, program) = (Api::default(), Program::new(database));
    let base = api.start().await;
    write(&program, "settings.json", &settings(&base).to_string());
    write(&program, "key", KEY);
    let connect =
        ["connect", "singer", "--name", "crm", "--settings-file", "settings.json", "--api-key-file", "key"];
    // Nobody runs a program that the operator did not name.
    let refused = ask(&program, &connect).await;
    assert!(refused.code == 6 && refused.text.contains("singer.taps (there: none)"), "{}", refused.text);
    allow(&program, "rest", &tap);
    write(&program, "wrong", "rest_key_wrong");
    let mut wrong = connect;
    wrong[7] = "wrong";
    let refused = ask(&program, &wrong).await;
    assert!(refused.code == 6 && refused.text.contains("exit code 1; it said last: "), "{}", refused.text);
    assert!(!refused.text.contains("rest_key_wrong"), "{}", refused.text);

    ask(&program, &connect).await.ok();
    api.asked();
    let run = ask(&program, &["sync", "crm"]).await.ok().remove(0);
    assert_eq!(counts(&run), (4, 4));
    let mut serving = (!program.on_sqlite()).then(|| program.serve());
    if let Some(serving) = &mut serving {
        serving.ready().await;
    }
    says(&program, "Northwind", "MRR: 59.97 USD", true).await;
    let (shown, text) = company(&program, "Northwind").await;
    let all = shown.to_string();
    for part in ["5997", "Team", "gold"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    for part in ["Plan: Team", "MRR: 59.97 USD", "Usage", "1.25"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    says(&program, "Fabrikam", "MRR: 20.00 USD", true).await;

    // What did not change is asked for from the state on, and writes nothing.
    api.asked();
    let run = ask(&program, &["sync", "crm"]).await.ok().remove(0);
    assert_eq!(counts(&run).1, 0, "{run}");
    let asked = api.asked();
    assert!(asked.iter().any(|call| call.contains("/accounts?since=2026-01-01")), "{asked:?}");

    api.lists.lock().unwrap()["subscriptions"][0]["seats"] = json!(4);
    api.lists.lock().unwrap()["subscriptions"][0]["updated_at"] = json!("2026-02-01T00:00:00Z");
    let run = ask(&program, &["sync", "crm"]).await.ok().remove(0);
    assert_eq!(counts(&run).1, 1, "{run}");
    says(&program, "Northwind", "MRR: 79.96 USD", true).await;

    // What is gone is found by a full run; the audit of everything agrees then.
    api.lists.lock().unwrap()["subscriptions"].as_array_mut().unwrap().remove(1);
    let run = ask(&program, &["sync", "crm", "--full"]).await.ok().remove(0);
    assert_eq!(counts(&run), (3, 0));
    says(&program, "Fabrikam", "20.00", false).await;
    let audit = ask(&program, &["audit", "crm", "--all"]).await.ok().remove(0);
    assert_eq!(audit["drift"], 0, "{audit}");
    drop(serving);
    program.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tap_of_pypi_fills_companies_on_sqlite() {
    a_tap_of_pypi(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tap_of_pypi_fills_companies_on_postgres() {
    let Some(database) = Database::migrated().await else { return };
    a_tap_of_pypi(Some(database)).await;
}

/// Stopped and killed, the program leaves no process and no file of a tap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tap_outlives_the_program() {
    let program = Program::new(None);
    let folder = tempfile::tempdir().unwrap();
    let tap = folder.path().join("tap");
    write_tap(&tap, &hanging("").replace("@OUT@", folder.path().to_str().unwrap()));
    allow(&program, "hanging", &tap);
    let settings = json!({"tap": "hanging", "account": "a", "streams": {"accounts": {"as": "company"}}});
    write(&program, "settings.json", &settings.to_string());
    // It asks for no secret, so none is given.
    ask(&program, &["connect", "singer", "--settings-file", "settings.json"]).await.ok();
    let (pids, place) = (folder.path().join("pids"), folder.path().join("folder"));
    for kill in [false, true] {
        let mut serving = program.serve();
        serving.ready().await;
        let (said, place) = (written(&pids).await, written(&place).await);
        assert!(Path::new(place.trim()).join("config.json").exists());
        match kill {
            true => serving.kill(),
            false => drop(serving.stop(STOP).await),
        }
        gone(&said, &place).await;
        std::fs::remove_file(&pids).unwrap();
    }
    program.remove().await;
}
