//! The running server against its own OpenAPI document, by a program that nobody here wrote.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use halo_sync::domain::connections::KeyClass;

use crate::support::app::App;
use crate::support::program::run;
use crate::support::required;

const SETUP: Duration = Duration::from_secs(300);
const RUN: Duration = Duration::from_secs(300);
/// What every answer is held against.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method";

fn program() -> Option<PathBuf> {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis/setup.sh");
    match run(Command::new("sh").arg(&setup), SETUP) {
        Ok(said) => Some(PathBuf::from(said.trim())),
        Err(why) => {
            assert!(!required("schemathesis"), "schemathesis is required and missing: {why}");
            eprintln!("skipped: no schemathesis here: {why}");
            None
        }
    }
}

/// With a server key and with a publishable one: no answer that the document does not know, none of 5xx.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_in_the_document() {
    let Some(program) = program() else { return };
    for class in [KeyClass::Server, KeyClass::Publishable] {
        let app = App::sqlite().await;
        let (_, key) = app.key(class).await;
        let (program, base) = (program.clone(), app.base.clone());
        // It keeps what it found where it runs, and begins with that the next time.
        let folder = tempfile::tempdir().unwrap();
        let said = tokio::task::spawn_blocking(move || {
            let mut command = Command::new(program);
            command
                .current_dir(folder.path())
                .args(["run", &format!("{base}/openapi.json"), "--url", &base])
                .args(["--header", &format!("Authorization: Bearer {key}")])
                // No model answers here, which is a 503 by right: `sdk::chat` has one.
                .args(["--exclude-path", "/api/sdk/chat", "--exclude-path", "/api/sdk/chat/stream"])
                .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing"])
                .args(["--max-examples", "25", "--workers", "2", "--seed", "1", "--no-color"])
                .args(["--generation-database", "none", "--request-timeout", "20"])
                .args(["--suppress-health-check", "all", "--continue-on-failure", "--warnings", "off"]);
            run(&mut command, RUN)
        })
        .await
        .unwrap();
        if let Err(why) = said {
            panic!("{class:?}: {why}");
        }
        app.end().await;
    }
}
