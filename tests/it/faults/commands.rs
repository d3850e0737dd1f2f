//! The built program: exit codes, error objects, commands beside a running `serve`, and where secrets are not.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use base64::Engine as _;
use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::stripe::{Options, StripeSandbox};
use serde_json::{Value, json};

use crate::support::program::installed;

/// A debug build on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);
const KEY: &str = concat!("sk_test", "_canary4f9d2b7e61c8");
const WEBHOOK_SECRET: &str = "whsec_canary8a13c5e7f902";

/// An installation in a folder of its own, and the sandbox that it reads.
struct Program {
    dir: tempfile::TempDir,
    sandbox: StripeSandbox,
}

impl Program {
    async fn new() -> Self {
        let options =
            Options { api_key: KEY.into(), webhook_secret: WEBHOOK_SECRET.into(), ..Options::default() };
        Self { dir: tempfile::tempdir().unwrap(), sandbox: StripeSandbox::start(options).await.unwrap() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        installed(self.path(), args)
    }

    /// Runs a command beside the sandbox, which answers meanwhile.
    async fn run(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = tokio::time::timeout(PATIENCE, output).await;
        let output = output.unwrap_or_else(|_| panic!("{args:?} does not end")).unwrap().unwrap();
        for text in [&output.stdout, &output.stderr] {
            assert_eq!(canary(text), None, "{args:?}: {output:?}");
        }
        output
    }

    /// Its answer with `--json`.
    async fn ask(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat()).await;
        assert!(output.status.success(), "{args:?}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if rows.len() == 1 { rows.into_iter().next().unwrap() } else { Value::Array(rows) }
    }

    /// The exit code and the error object of a command that fails.
    async fn fails(&self, args: &[&str]) -> (i32, Value) {
        let output = self.run(&[args, &["--json"]].concat()).await;
        let text = String::from_utf8(output.stderr.clone()).unwrap();
        let object = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let object = object.unwrap_or_else(|| panic!("{args:?}: no error object: {output:?}"));
        (output.status.code().unwrap(), object)
    }

    fn secret(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        path.display().to_string()
    }

    /// `connect stripe` with these credentials at that address.
    async fn connect(&self, key: &str, base_url: &str, json: bool) -> (i32, Value) {
        let key = self.secret("key", key);
        let webhook = self.secret("webhook", WEBHOOK_SECRET);
        let args = [
            "connect",
            "stripe",
            "--api-key-file",
            &key,
            "--webhook-secret-file",
            &webhook,
            "--base-url",
            base_url,
        ];
        if json {
            return self.fails(&args).await;
        }
        (0, self.ask(&args).await)
    }

    async fn serve(&self) -> Serving {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let log = File::create(self.path().join("serve.log")).unwrap();
        let address = format!("127.0.0.1:{port}");
        let child = self
            .command(&["serve", "--listen", &address, "-v"])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut serving = Serving { child, base: format!("http://{address}") };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let ready = http.get(format!("{}/readyz", serving.base)).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return serving;
            }
            let ended = serving.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "{ended:?}: {}", self.log());
            tokio::time::sleep(LOOK).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("serve.log")).unwrap_or_default()
    }
}

/// A running `serve`.
struct Serving {
    child: Child,
    base: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The form in which one of the planted secrets stands in these bytes.
fn canary(bytes: &[u8]) -> Option<String> {
    trace(&[KEY, WEBHOOK_SECRET], bytes)
}

/// The form in which one of these secrets stands in these bytes.
fn trace(secrets: &[&str], bytes: &[u8]) -> Option<String> {
    for &secret in secrets {
        let hex = secret.bytes().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let mut forms = vec![secret.to_owned(), hex.to_uppercase(), hex];
        // Base64 of a longer text holds that of its whole triples, at each of three offsets.
        for skip in 0..3 {
            let part = &secret.as_bytes()[skip..];
            let whole = &part[..part.len() / 3 * 3];
            forms.push(base64::engine::general_purpose::STANDARD.encode(whole));
            forms.push(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(whole));
        }
        if let Some(form) =
            forms.into_iter().find(|form| bytes.windows(form.len()).any(|w| w == form.as_bytes()))
        {
            return Some(form);
        }
    }
    None
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_has_a_code_and_a_way_out() {
    let program = Program::new().await;
    let base = program.sandbox.base_url();
    let (code, error) = program.connect(concat!("sk_test", "_wrong"), &base, true).await;
    assert_eq!((code, &error["exit_code"]), (4, &Value::from(4)), "{error}");
    assert!(error["hint"].is_string() && error["code"].is_string(), "{error}");
    assert!(!error.to_string().contains("_wrong"), "{error}");

    // A port on which nobody listens.
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let (code, error) = program.connect(KEY, &format!("http://{nobody}"), true).await;
    assert_eq!((code, &error["code"]), (5, &Value::from("provider_unreachable")), "{error}");

    // Something that is no API.
    program.sandbox.faults().add(FaultRule::always("/v1/", Fault::Html));
    let (code, error) = program.connect(KEY, &base, true).await;
    assert!(code != 0 && error["hint"].is_string(), "{error}");
    program.sandbox.faults().clear();
    assert!(program.run(&["connections", "list"]).await.status.success());

    let (code, error) = program.fails(&["companies", "show", "nobody"]).await;
    assert_eq!((code, &error["code"]), (1, &Value::from("company_not_found")), "{error}");

    std::fs::write(program.path().join("halo-sync.toml"), "[server]\nlissten = \"127.0.0.1:1\"\n").unwrap();
    let (code, error) = program.fails(&["connections", "list"]).await;
    assert_eq!(code, 6, "{error}");
    assert!(error.to_string().contains("server.listen"), "the nearest key is named: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_database_is_left_alone() {
    use sqlx::Connection as _;

    let program = Program::new().await;
    assert!(program.run(&["connections", "list"]).await.status.success());
    let file = files(&program.path().join("data"))
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "db"))
        .unwrap();
    let mut database =
        sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let newer = "INSERT INTO halo_sync_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'from the future', 1, x'00', 0)";
    sqlx::query(newer).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    for command in ["serve", "companies"] {
        let (code, error) = program.fails(&[command]).await;
        assert_eq!((code, &error["code"]), (6, &Value::from("newer_schema")), "{error}");
        assert!(error.to_string().contains("9999"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_work_beside_serve_and_secrets_are_nowhere() {
    let program = Program::new().await;
    program.sandbox.seed_demo().unwrap();
    program.connect(KEY, &program.sandbox.base_url(), false).await;
    let mut serving = program.serve().await;

    // Reading beside it.
    let until = Instant::now() + PATIENCE;
    loop {
        let companies = program.ask(&["companies", "list"]).await;
        let derived = |company: &&Value| company["fields"]["mrr_minor"].is_i64();
        if companies.as_array().is_some_and(|all| all.iter().filter(derived).count() == 12) {
            break;
        }
        assert!(Instant::now() < until, "{companies}\n{}", program.log());
        tokio::time::sleep(LOOK).await;
    }
    assert_eq!(program.ask(&["connections", "list"]).await["connection"]["status"], "active");
    // Changing through it.
    let key = program.ask(&["keys", "create", "--class", "server", "--name", "beside"]).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = http.post(format!("{}/api/sdk/chat/context", serving.base));
    let answer = ask.bearer_auth(key["key"].as_str().unwrap()).body("{}").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    // Ours: a key that is used, and one that stands in an address; the secret that tokens are checked with.
    let ours = [&key["key"], &program.ask(&["keys", "identity", "create"]).await["identity_secret"]]
        .map(|secret| secret.as_str().unwrap().to_owned());
    assert!(ours[0].starts_with("hs_server_") && ours[1].starts_with("ha_secret_"));
    for secret in &ours {
        let astray = http.post(format!("{}/api/sdk/chat/context?key={secret}", serving.base)).body("{}");
        let answer = astray.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 400);
        assert_eq!(trace(&[secret], &answer.bytes().await.unwrap()), None);
    }
    let token = json!({"user_id": "u", "user_token": ours[1]});
    let answer =
        http.post(format!("{}/api/sdk/users/identify", serving.base)).bearer_auth(&ours[0]).json(&token);
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 403, "a secret is no token");
    assert_eq!(trace(&[&ours[1]], &answer.bytes().await.unwrap()), None);
    let run = program.ask(&["sync", "stripe"]).await;
    assert_eq!(run["status"], "succeeded", "{run}");
    let (code, error) =
        program.connect(concat!("sk_test", "_wrong"), &program.sandbox.base_url(), true).await;
    assert_eq!(code, 4, "{error}");

    // A second one is refused, and says who holds the file.
    let (code, error) = program.fails(&["serve"]).await;
    assert_eq!((code, &error["code"]), (6, &Value::from("database_locked")), "{error}");
    assert!(error.to_string().contains(&format!("pid {}", serving.child.id())), "{error}");

    // The sandbox's refusals hold the key: it must not be in what we keep or say.
    program.sandbox.revoke_key();
    let output = program.run(&["sync", "stripe"]).await;
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let pid = serving.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let until = Instant::now() + PATIENCE;
    while serving.child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "serve does not stop: {}", program.log());
        tokio::time::sleep(LOOK).await;
    }
    assert_eq!(canary(program.log().as_bytes()), None, "{}", program.log());
    let kept = files(&program.path().join("data"));
    assert!(!kept.is_empty());
    let ours = [ours[0].as_str(), ours[1].as_str()];
    assert_eq!(trace(&ours, program.log().as_bytes()), None, "{}", program.log());
    for file in kept {
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(canary(&bytes).or_else(|| trace(&ours, &bytes)), None, "{}", file.display());
    }
    // The search finds what is there.
    assert!(canary(format!("x{KEY}").as_bytes()).is_some());
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("ab{WEBHOOK_SECRET}"));
    assert!(canary(encoded.as_bytes()).is_some());
}
