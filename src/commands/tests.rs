use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::output::tests::Kept;
use super::*;
use crate::clock::SystemClock;

struct Ran {
    code: ExitCode,
    out: String,
    err: String,
}

/// Runs a command line as the binary would, with the given environment, in `dir`.
async fn ran(dir: &Path, env: &[(&str, &str)], line: &str) -> Ran {
    let (out, err) = (Kept::default(), Kept::default());
    let invocation = Invocation {
        args: line.split(' ').map(OsString::from).collect(),
        env: env.iter().map(|(n, v)| (OsString::from(n), OsString::from(v))).collect(),
        dir: dir.to_owned(),
        stdout: {
            let out = out.clone();
            Arc::new(move || Box::new(out.clone()))
        },
        stderr: {
            let err = err.clone();
            Arc::new(move || Box::new(err.clone()))
        },
        terminals: (false, false, false),
        logs: false,
        clock: Arc::new(SystemClock),
        connectors: crate::registry::connectors(),
    };
    let code = run(invocation).await;
    Ran { code, out: out.text(), err: err.text() }
}

#[tokio::test]
async fn alone_it_prints_help_and_what_to_type() {
    let dir = tempfile::tempdir().unwrap();
    let ran = ran(dir.path(), &[], "halo-sync").await;
    assert_eq!(ran.code, ExitCode::Ok);
    assert!(ran.out.contains("Usage: halo-sync"));
    assert!(ran.err.contains("halo-sync serve --demo"));
}

#[tokio::test]
async fn a_line_that_is_not_understood_is_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let text = ran(dir.path(), &[], "halo-sync conectors list").await;
    assert_eq!((text.code, text.out.as_str()), (ExitCode::Usage, ""));
    assert!(text.err.contains("connectors"), "{}", text.err);
    let json = ran(dir.path(), &[], "halo-sync --json conectors list").await;
    assert_eq!(json.code, ExitCode::Usage);
    let error: serde_json::Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!((error["exit_code"].as_i64(), error["code"].as_str()), (Some(2), Some("usage")));
    let help = ran(dir.path(), &[], "halo-sync keys --help").await;
    assert_eq!((help.code, help.err.as_str()), (ExitCode::Ok, ""));
    assert!(!help.out.contains('\u{1b}'));
    let coloured = ran(dir.path(), &[], "halo-sync keys --help --color always").await;
    assert!(coloured.out.contains('\u{1b}'));
}

#[tokio::test]
async fn version_prints_text_or_json() {
    let dir = tempfile::tempdir().unwrap();
    let text = ran(dir.path(), &[], "halo-sync version").await;
    assert_eq!(text.out, format!("halo-sync {}\n", env!("CARGO_PKG_VERSION")));
    let json = ran(dir.path(), &[], "halo-sync version --json").await;
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn config_init_writes_once_and_what_it_wrote_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("halo-sync.toml");
    let line = format!("halo-sync config init {}", file.display());
    let first = ran(dir.path(), &[], &line).await;
    assert_eq!((first.code, first.out.as_str()), (ExitCode::Ok, ""));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), crate::config::EXAMPLE);

    std::fs::write(&file, "[worker]\nconcurrency = 3\n").unwrap();
    let again = ran(dir.path(), &[], &line).await;
    assert_eq!(again.code, ExitCode::Failed);
    assert!(again.err.contains("it exists already") && again.err.contains("--force"), "{}", again.err);
    assert!(std::fs::read_to_string(&file).unwrap().contains("concurrency = 3"));
    let forced = ran(dir.path(), &[], &format!("{line} --force")).await;
    assert_eq!(forced.code, ExitCode::Ok);

    let check = ran(dir.path(), &[], "halo-sync config check").await;
    assert_eq!((check.code, check.out), (ExitCode::Ok, format!("ok: {}\n", file.display())));
    let stdout = ran(dir.path(), &[], "halo-sync config init -").await;
    assert_eq!(stdout.out, crate::config::EXAMPLE);
}

#[tokio::test]
async fn config_show_names_origins_and_hides_secrets() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("halo-sync.toml"), "[worker]\nconcurrency = 3\n").unwrap();
    let env = [
        ("HALO_SYNC_DATABASE__URL", "postgres://u:hunter2@h/d"),
        ("HALO_SYNC_SECURITY__SECRET_KEY", "hunter3"),
    ];
    let json = ran(dir.path(), &env, "halo-sync config show --json --data-dir elsewhere").await;
    assert_eq!(json.code, ExitCode::Ok);
    let row = |key: &str| {
        let found = json.out.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
        found.into_iter().find(|row| row["key"] == key).unwrap()
    };
    assert_eq!(row("data.dir")["origin"], "flag --data-dir");
    assert_eq!(row("worker.concurrency")["value"], 3);
    assert!(row("worker.concurrency")["origin"].as_str().unwrap().starts_with("file "));
    assert_eq!(row("database.url")["value"], "[redacted]");
    assert_eq!(row("database.url")["origin"], "environment HALO_SYNC_DATABASE__URL");
    assert_eq!(row("security.secret_key")["value"], "[redacted]");
    let text = ran(dir.path(), &env, "halo-sync config show").await;
    assert!(text.out.contains("worker.concurrency") && text.out.contains("not set"));
    for printed in [json.out, json.err, text.out, text.err] {
        assert!(!printed.contains("hunter"), "{printed}");
    }
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_exit_code_6_with_every_mistake() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("halo-sync.toml"), "[worker]\nconcurency = 3\n").unwrap();
    for line in ["halo-sync config check", "halo-sync config show"] {
        let ran = ran(dir.path(), &[], line).await;
        assert_eq!((ran.code, ran.out.as_str()), (ExitCode::Config, ""), "{line}");
        assert!(ran.err.contains("did you mean worker.concurrency?"), "{}", ran.err);
    }
    let missing = ran(dir.path(), &[], "halo-sync --config nowhere.toml config check").await;
    assert_eq!(missing.code, ExitCode::Config);
    assert!(missing.err.contains("nowhere.toml cannot be read"), "{}", missing.err);
}

#[tokio::test]
async fn config_schema_is_json() {
    let dir = tempfile::tempdir().unwrap();
    let ran = ran(dir.path(), &[], "halo-sync config schema").await;
    let schema: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(schema["title"], "Config");
}

#[tokio::test]
async fn completions_name_the_commands() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let ran = ran(dir.path(), &[], &format!("halo-sync completions {shell}")).await;
        assert!(ran.out.contains("connectors"), "{shell}");
    }
}

#[tokio::test]
async fn an_unknown_connector_says_what_to_type() {
    let dir = tempfile::tempdir().unwrap();
    let ran = ran(dir.path(), &[], "halo-sync connectors show stripee").await;
    assert_eq!(ran.code, ExitCode::Failed);
    assert!(ran.err.contains("there is no connector stripee"), "{}", ran.err);
    assert!(ran.err.contains("try: halo-sync connectors list"), "{}", ran.err);
}

#[tokio::test]
async fn connectors_are_listed_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let listed = ran(dir.path(), &[], "halo-sync connectors list --json").await;
    let first: serde_json::Value = serde_json::from_str(listed.out.lines().next().unwrap()).unwrap();
    let id = first["id"].as_str().unwrap();
    let shown = ran(dir.path(), &[], &format!("halo-sync connectors show {id}")).await;
    assert_eq!(shown.code, ExitCode::Ok);
    for stream in first["streams"].as_array().unwrap() {
        assert!(shown.out.contains(stream["name"].as_str().unwrap()), "{}", shown.out);
    }
    let table = ran(dir.path(), &[], "halo-sync connectors").await;
    assert!(table.out.starts_with("CONNECTOR"), "{}", table.out);
}
