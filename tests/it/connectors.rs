//! Writing a connector: what the kit makes, the pages, and what `docs/connectors.md` tells people to type.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use halo_sync::kit::{Auth, NewConnector, Paging, page};
use halo_sync::registry::connectors;
use serde_json::Value;

use crate::support::program::{installed, run};

const PAGE: &str = include_str!("../../docs/connectors.md");
const LIMIT: Duration = Duration::from_secs(60);
/// The crates of the kit and what they stand on are built anew for the copy, where nothing is built yet.
const BUILD: Duration = Duration::from_secs(900);

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The blocks of code of the page that have a name.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fences = PAGE.split("\n```").skip(1).step_by(2);
    fences
        .filter_map(|block| {
            let (line, text) = block.split_once('\n')?;
            Some((line.split_once(' ')?.1, text))
        })
        .collect()
}

fn block(name: &str) -> &'static str {
    blocks().into_iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("there is no block {name}")).1
}

/// A copy of the sources: what cargo needs to know of this tree, and nothing that was built.
fn copy() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["Cargo.toml", "Cargo.lock", "build.rs", "rustfmt.toml", "clippy.toml"] {
        std::fs::copy(tree().join(part), folder.path().join(part)).unwrap();
    }
    for part in ["src", "connectors", "benches", "docs"] {
        copy_folder(&tree().join(part), &folder.path().join(part));
    }
    // Cargo asks that the targets of the root package are there; they are not built.
    std::fs::create_dir_all(folder.path().join("tests/it")).unwrap();
    std::fs::write(folder.path().join("tests/it/main.rs"), "").unwrap();
    folder
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match (path.is_dir(), entry.file_name().to_str()) {
            (true, Some("target" | "node_modules")) => {}
            (true, _) => copy_folder(&path, &to),
            (false, _) => drop(std::fs::copy(&path, &to).unwrap()),
        }
    }
}

fn cargo(folder: &Path, args: &[&str]) -> Result<String, String> {
    // One folder for what is built, whichever copy asks, so that a second run builds the new crates alone.
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kit");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(folder).env("CARGO_TARGET_DIR", target).env("CARGO_NET_OFFLINE", "true");
    // What is built here is looked at by nobody.
    command
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0");
    run(&mut command, BUILD)
}

/// The lines of `new` that are not in `old`; every line of `old` is in `new`, in its place.
fn added<'a>(old: &str, new: &'a str) -> Vec<&'a str> {
    let (mut old, mut out) = (old.lines().peekable(), Vec::new());
    for line in new.lines() {
        match old.peek() == Some(&line) {
            true => drop(old.next()),
            false => out.push(line),
        }
    }
    assert_eq!(old.next(), None, "a line went");
    out
}

#[test]
fn every_connector_has_its_page_and_no_page_is_stale() {
    let folder = tree().join("docs/connectors");
    let mut pages: BTreeSet<String> =
        std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    for connector in connectors() {
        let spec = connector.spec();
        let name = format!("{}.md", spec.id);
        let hint = format!("cargo run -- connectors docs {}", spec.id);
        assert!(pages.remove(&name), "docs/connectors/{name} is missing: {hint}");
        assert!(
            std::fs::read_to_string(folder.join(&name)).unwrap() == page(&spec),
            "{name} is stale: {hint}"
        );
    }
    assert!(pages.is_empty(), "pages of no connector: {pages:?}");
}

#[test]
fn a_page_says_all_that_the_connector_does() {
    for connector in connectors() {
        let spec = connector.spec();
        let page = page(&spec);
        let events = spec.webhook_events.iter().copied();
        let streams = spec.streams.iter().map(|stream| stream.name);
        let settings: Vec<&str> =
            spec.config_schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        for word in events.chain(streams).chain(settings) {
            assert!(page.contains(&format!("`{word}`")), "{}: {word}", spec.id);
        }
    }
}

#[test]
fn the_page_shows_commands_that_are_run() {
    let names: Vec<&str> = blocks().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["run=new", "run=test", "run=see", "shows=demo", "run=docs"]);
    // Those that ask a built program are run with a connector that the kit made and that is in this one.
    let folder = tempfile::tempdir().unwrap();
    let copy = copy();
    let ask = |line: &str| {
        let line = line
            .strip_prefix("cargo run -- ")
            .unwrap_or_else(|| panic!("{line}"))
            .replace("acme", "chargebee");
        let mut words: Vec<&str> = line.split(' ').collect();
        if words.contains(&"docs") {
            words.extend(["--tree", copy.path().to_str().unwrap()]);
        }
        run(&mut installed(folder.path(), &words), LIMIT).unwrap_or_else(|why| panic!("{line}: {why}"))
    };
    let said: Vec<String> = block("run=see").lines().map(ask).collect();
    assert!(said[0].contains("chargebee") && said[1].contains("subscriptions"), "{said:?}");
    let rows = |text: &str| -> Vec<Vec<String>> {
        let rows = text.trim().lines().map(|l| l.split_whitespace().map(str::to_owned).collect());
        rows.collect()
    };
    assert_eq!(rows(&said[2]), rows(block("shows=demo")));
    let made = copy.path().join("docs/connectors/chargebee.md");
    std::fs::write(&made, "stale").unwrap();
    for line in block("run=docs").lines() {
        ask(line);
    }
    assert_ne!(std::fs::read_to_string(&made).unwrap(), "stale");
    std::fs::write(&made, "stale").unwrap();
    let check = ["connectors", "docs", "chargebee", "--check", "--tree", copy.path().to_str().unwrap()];
    let stale = run(&mut installed(folder.path(), &check), LIMIT).unwrap_err();
    assert!(stale.contains("chargebee") && stale.contains("exit status: 1"), "{stale}");
}

/// A crate that compiles the list of connectors as it stands, without the whole program.
fn probe(root: &Path) {
    let folder = root.join("connectors/probe");
    let named = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let named = named.lines().filter(|line| {
        line.contains("{ path = \"connectors/") && !line.contains("/sdk") && !line.contains("/testkit")
    });
    let named: Vec<String> = named.map(|line| line.replace("\"connectors/", "\"../")).collect();
    std::fs::create_dir_all(folder.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"connector-probe\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\nconnector-sdk.workspace = true\n{}\n",
        named.join("\n")
    );
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    let program = "#[path = \"../../../src/registry.rs\"]\nmod registry;\nfn main() {\n    for c in registry::connectors() {\n        println!(\"{}\", c.spec().id);\n    }\n}\n";
    std::fs::write(folder.join("src/main.rs"), program).unwrap();
}

#[test]
fn what_the_kit_makes_compiles_passes_its_tests_and_is_listed() {
    let copy = copy();
    let root = copy.path();
    let before = |file: &str| std::fs::read_to_string(tree().join(file)).unwrap();
    // The documented one by its command, and the other kinds beside it; long and short names.
    let typed: Vec<&str> = block("run=new").trim().split(' ').skip(1).collect();
    run(installed(root, &typed).arg("--json"), LIMIT).unwrap();
    for (file, line) in [
        ("Cargo.toml", "connector-acme = { path = \"connectors/acme\" }"),
        ("src/registry.rs", "        Arc::new(connector_acme::Acme),"),
    ] {
        let after = std::fs::read_to_string(root.join(file)).unwrap();
        assert_eq!(added(&before(file), &after), [line]);
    }
    for (id, auth, paging) in [
        ("zz", Auth::OAuth2, Paging::Offset),
        ("a_long_name_of_vendor_9", Auth::ApiKey, Paging::Page),
        ("b2b", Auth::OAuth2, Paging::Link),
    ] {
        let id = id.to_owned();
        NewConnector { display_name: format!("The \u{e9} {id}"), id, auth, paging }.make(root).unwrap();
    }
    probe(root);
    let packages = ["-p", "connector-acme", "-p", "connector-zz", "-p", "connector-b2b"];
    let long = ["-p", "connector-a-long-name-of-vendor-9"];
    let all: Vec<&str> = packages.into_iter().chain(long).collect();
    let with =
        |words: &[&'static str]| -> Vec<&str> { words.iter().copied().chain(all.iter().copied()).collect() };
    cargo(root, &with(&["fmt", "--check"])).unwrap();
    let said = cargo(root, &with(&["test", "--offline", "--quiet"])).unwrap();
    assert_eq!(said.matches("test result: ok").count(), said.matches("test result").count(), "{said}");
    assert!(said.matches(" passed").count() >= 4, "{said}");
    let listed = cargo(root, &["run", "--offline", "--quiet", "-p", "connector-probe"]).unwrap();
    for id in ["acme", "zz", "b2b", "a_long_name_of_vendor_9", "stripe"] {
        assert!(listed.lines().any(|line| line == id), "{listed}");
    }
    assert_eq!(block("run=test").trim(), "cargo test -p connector-acme");
}

#[test]
fn what_cannot_be_made_is_said_and_nothing_is_written() {
    let copy = copy();
    let root = copy.path();
    let new = |folder: &Path, name: &str| {
        let words = ["connectors", "new", name, "--auth", "api-key", "--paging", "offset"];
        run(&mut installed(folder, &words), LIMIT).unwrap_err()
    };
    for (name, says) in [
        ("Acme", "acme would do"),
        ("acme-billing", "acme_billing would do"),
        ("../acme", "letter first"),
        ("session", "a meaning of its own"),
    ] {
        let said = new(root, name);
        assert!(said.contains(says) && said.contains("exit status: 2"), "{name}: {said}");
    }
    let said = new(root, "stripe");
    assert!(
        said.contains("there is a connector stripe already") && said.contains("exit status: 1"),
        "{said}"
    );
    std::fs::create_dir_all(root.join("connectors/acme")).unwrap();
    assert!(new(&root.join("src"), "acme").contains("exists already"));
    let nowhere = tempfile::tempdir().unwrap();
    assert!(new(nowhere.path(), "acme2").contains("not in halo-sync's source tree"));
    // A list that is not as it was.
    let registry = root.join("src/registry.rs");
    let text = std::fs::read_to_string(&registry).unwrap();
    std::fs::write(&registry, text.replace("Arc::new(connector_", "new(connector_")).unwrap();
    let said = new(root, "acme3");
    assert!(said.contains("src/registry.rs") && said.contains("Arc::new(connector_acme3::Acme3)"), "{said}");
    assert!(!root.join("connectors/acme3").exists());
    assert_eq!(
        std::fs::read_to_string(root.join("Cargo.toml")).unwrap(),
        std::fs::read_to_string(tree().join("Cargo.toml")).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_pages_hold_nobody() {
    use connector_testkit::sandbox::stripe::{Options, StripeSandbox};
    let sandbox = StripeSandbox::start(Options::default()).await.unwrap();
    let form = serde_json::json!({"name": "Jane Doe", "email": "jane@doe.com", "metadata": {"note": "A secret wish"}});
    for _ in 0..3 {
        sandbox.call("POST", "/v1/customers", &form).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), sandbox.api_key()).unwrap();
    let url = sandbox.base_url().to_owned();
    let path = folder.path().to_path_buf();
    let recorded = tokio::task::spawn_blocking(move || {
        let connect = ["connect", "stripe", "--api-key-file", "key", "--base-url", &url];
        run(&mut installed(&path, &connect), LIMIT).unwrap();
        let record = ["connectors", "record", "stripe", "--out", "fixtures", "--stream", "customers"];
        let once = || {
            run(&mut installed(&path, &record), LIMIT).unwrap();
            std::fs::read_to_string(path.join("fixtures/customers.json")).unwrap()
        };
        let (first, second) = (once(), once());
        assert_eq!(first, second, "the same account gives the same file");
        first
    })
    .await
    .unwrap();
    for secret in ["Jane", "Doe", "doe.com", "wish", sandbox.api_key()] {
        assert!(!recorded.contains(secret), "{secret}: {recorded}");
    }
    let records: Vec<Value> = serde_json::from_str(&recorded).unwrap();
    assert_eq!(records.len(), 3);
    assert!(
        records.iter().all(|r| r["id"] == r["payload"]["id"] && r["payload"]["object"] == "customer"),
        "{recorded}"
    );
    assert!(records.iter().all(|r| r["payload"]["name"] == "Name 1"), "the same by the same: {recorded}");
}
