//! Prism, which nobody of this project wrote, between the connector and the sandbox: it holds every call and every
//! answer against PandaDoc's own OpenAPI file. And Prism in the place of PandaDoc: it answers from that file alone.
//!
//! Skipped where Prism cannot be had (`tests/prism`), unless `HALO_SYNC_REQUIRE` names `prism`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use connector_sdk::{Call, ConnectorError, Io};
use connector_testkit::parts::{shared_or_skip, skip, workspace};
use connector_testkit::sandbox::pandadoc::{Options, PandaDocSandbox};
use http::HeaderName;
use serde_json::json;

use crate::judged::live;
use crate::support::{io, open};

/// What is true of PandaDoc, or of this test, and against the letter of the file, word for word.
const KNOWN: [&str; 7] = [
    // Prism's idea of a URL has no loopback address in it; nothing else is called here.
    "request.body.url Request body property url must match format \"url\"",
    "response.body.url Response body property url must match format \"url\"",
    "response.body.items.0.url Response body property items.0.url must match format \"url\"",
    // "`null` when the document is not locked", says the file beside a schema that has no null in it.
    "response.body.lock Response body property lock must be object",
    // A recipient without verification: the same, and what follows from it in a choice of schemas.
    "response.body.recipients.0.verification_settings Response body property recipients.0.verification_settings must be object",
    "response.body.recipients.0 Response body property recipients.0 must match exactly one schema in oneOf",
    "response.body.recipients.0.type Response body property recipients.0.type must be equal to one of the allowed values: recipient_group",
];

/// A running Prism, ended by its own id.
struct Prism {
    child: Child,
    folder: PathBuf,
    url: String,
}

impl Drop for Prism {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn program() -> Option<(PathBuf, PathBuf)> {
    let contract = shared_or_skip("prism", "data/pandadoc/openapi.json")?;
    match Command::new("sh").arg(workspace().join("tests/prism/setup.sh")).output() {
        Ok(made) if made.status.success() => {
            let path = String::from_utf8(made.stdout).unwrap();
            Some((PathBuf::from(path.trim()), contract))
        }
        Ok(made) => {
            skip("prism", &String::from_utf8_lossy(&made.stderr));
            None
        }
        Err(error) => {
            skip("prism", &error.to_string());
            None
        }
    }
}

impl Prism {
    /// `proxy` with an upstream, or `mock`.
    async fn start(program: &Path, contract: &Path, mode: &str, upstream: Option<&str>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("halo-sync-prism-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = Command::new("node")
            .arg(program)
            .arg(mode)
            .arg(contract)
            .args(upstream)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut prism = Self { child, folder, url: format!("http://127.0.0.1:{port}") };
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        while !prism.log().contains("is listening on") {
            assert!(prism.child.try_wait().unwrap().is_none(), "Prism ended: {}", prism.log());
            assert!(tokio::time::Instant::now() < end, "Prism does not listen: {}", prism.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        prism
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// What it has found against calls and answers, each once.
    fn violations(&self) -> Vec<String> {
        let log = self.log();
        let mut found: Vec<String> =
            log.lines().filter_map(|line| Some(line.split_once("Violation: ")?.1.to_owned())).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn get(&self, path: &str) -> Call {
        let segments: Vec<&str> = path.split('/').collect();
        Call::get("GET judged", &self.url.parse().unwrap(), &segments)
            .unwrap()
            .authorization("API-Key", &"a-key".to_owned().into())
    }
}

#[tokio::test]
async fn prism_has_nothing_against_any_call_or_answer() {
    let Some((program, contract)) = program() else { return };
    let sandbox = PandaDocSandbox::start(Options { journal: true, ..Options::default() }).await.unwrap();
    let prism = Prism::start(&program, &contract, "proxy", Some(&sandbox.base_url())).await;
    live(&sandbox, &prism.url).await;
    let passed = prism.log().matches("Received forward response").count();
    let called: u64 = sandbox.all_calls().values().sum();
    assert!(called > 100, "{called}");
    assert_eq!(passed as u64, called, "every call went through it");
    let mut found = prism.violations();
    found.retain(|violation| !KNOWN.contains(&violation.as_str()));
    assert_eq!(found, [""; 0]);

    // The judge is awake: it tells a wrong parameter, a wrong path and a wrong answer.
    let sandbox = PandaDocSandbox::start(Options::default()).await.unwrap();
    let prism = Prism::start(&program, &contract, "proxy", Some(&sandbox.base_url())).await;
    let wrong = sandbox.create("Wrong", "w@b.example");
    sandbox.change(&wrong, None, |details| details["name"] = json!(7)).unwrap();
    let io: Io = io();
    for call in
        [prism.get("public/v1/documents").query("count", "many"), prism.get("public/v1/no-such-thing")]
    {
        drop(io.call(&call).await);
    }
    drop(open(&sandbox, json!({"base_url": prism.url})).read_many("documents", &[wrong]).await);
    let found = prism.violations().join("\n");
    for said in ["count must be integer", "route not found", "response.body.name"] {
        assert!(found.contains(said), "{said}: {found}");
    }
}

/// The examples of PandaDoc's file, refusals among them, mean what they should.
#[tokio::test]
async fn answers_made_of_the_contract_alone_have_their_class() {
    let Some((program, contract)) = program() else { return };
    let prism = Prism::start(&program, &contract, "mock", None).await;
    let io = io();
    let list = || prism.get("public/v1/documents").query("count", "2");
    let asked = |code: &str| {
        list().header(HeaderName::from_static("prefer"), format!("code={code}").parse().unwrap())
    };
    assert_eq!(io.call(&list()).await.unwrap().status.as_u16(), 200);
    let refused = io.call(&asked("429")).await;
    assert!(matches!(refused, Err(ConnectorError::RateLimited { .. })), "{refused:?}");
    let refused = io.call(&asked("401")).await;
    assert!(matches!(refused, Err(ConnectorError::Auth { missing_permission: None, .. })), "{refused:?}");
    // The connector itself: no example of the list is set aside, and the details of one are understood.
    let sandbox = PandaDocSandbox::start(Options::default()).await.unwrap();
    let session = open(&sandbox, json!({"base_url": prism.url, "ai_metadata": false}));
    let account = session.check().await.unwrap();
    assert!(account.missing.is_empty() && account.not_offered.is_empty(), "{account:?}");
}
