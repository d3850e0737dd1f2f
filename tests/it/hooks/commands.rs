//! The built program: resync, audit and webhooks as a person types them, alone and beside a running `serve`.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use connector_testkit::sandbox::stripe::{Kind, Options, StripeSandbox};
use serde_json::{Value, json};

use crate::support::program::unscheduled;

/// A debug build on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// An installation, and the sandbox that it reads.
struct Program {
    dir: tempfile::TempDir,
    sandbox: StripeSandbox,
    port: u16,
    /// `server.public_url`.
    public_url: Option<String>,
}

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    async fn new() -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let sandbox = StripeSandbox::start(Options::default()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), sandbox.api_key()).unwrap();
        Self { dir, sandbox, port, public_url: None }
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = unscheduled(self.dir.path(), args);
        if let Some(url) = &self.public_url {
            command.env("HALO_SYNC_SERVER__PUBLIC_URL", url);
        }
        command
    }

    /// Runs a command with `--json` beside the sandbox: exit code, answers, and what went to stderr.
    async fn run(&self, args: &[&str]) -> (i32, Vec<Value>, String) {
        let mut command = self.command(&[args, &["--json"]].concat());
        let ended = tokio::task::spawn_blocking(move || command.output());
        let output: Output = tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap().unwrap();
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(!out.contains("whsec_") && !err.contains("whsec_"), "{args:?}: {out}{err}");
        let rows = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (output.status.code().unwrap(), rows, err)
    }

    async fn ask(&self, args: &[&str]) -> Value {
        let (code, mut rows, err) = self.run(args).await;
        assert_eq!((code, rows.len()), (0, 1), "{args:?}: {rows:?} {err}");
        rows.remove(0)
    }

    async fn connect(&self, more: &[&str]) -> (i32, Vec<Value>, String) {
        let base = self.sandbox.base_url();
        let args = ["connect", "stripe", "--api-key-file", "key", "--base-url", &base];
        self.run(&[&args, more].concat()).await
    }

    fn call(&self, path: &str, form: Value) -> Value {
        self.sandbox.call("POST", path, &form).unwrap()
    }

    /// A customer of a monthly price of 100.00; the subscription's id.
    fn customer(&self) -> String {
        self.call("/v1/products", json!({"id": "prod_Team", "name": "Team"}));
        let recurring = json!({"interval": "month"});
        let price = json!({"id": "price_Team", "product": "prod_Team", "currency": "usd", "unit_amount": "10000", "recurring": recurring});
        self.call("/v1/prices", price);
        let customer = self.call("/v1/customers", json!({"name": "Acme"}));
        let form = json!({"customer": customer["id"], "items": [{"price": "price_Team"}]});
        self.call("/v1/subscriptions", form)["id"].as_str().unwrap().to_owned()
    }

    fn quantity(&self, subscription: &str, n: i64) {
        let change = |doc: &mut Value| doc["items"][0]["quantity"] = json!(n);
        self.sandbox
            .change(Kind::Subscriptions, subscription, "customer.subscription.updated", change)
            .unwrap();
    }

    /// Every file of the installation but the reader's own lock table, byte by byte.
    fn bytes(&self) -> BTreeMap<String, Vec<u8>> {
        std::fs::read_dir(self.dir.path().join("data"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
            .filter(|(name, bytes)| !(name.ends_with("-shm") || name.ends_with("-wal") && bytes.is_empty()))
            .collect()
    }

    async fn serve(&self) -> Serving {
        let log = std::fs::File::create(self.dir.path().join("serve.log")).unwrap();
        let address = format!("127.0.0.1:{}", self.port);
        let mut command = self.command(&["serve", "--listen", &address]);
        let serving = Serving(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            match http.get(format!("http://{address}/readyz")).send().await {
                Ok(answer) if answer.status().is_success() => return serving,
                _ => {
                    let log = std::fs::read_to_string(self.dir.path().join("serve.log")).unwrap();
                    assert!(Instant::now() < until, "it is never ready: {log}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn mrr(&self) -> Value {
        self.ask(&["companies", "show", "Acme"]).await["company"]["fields"]["mrr_minor"].clone()
    }

    /// Polls within a bound.
    async fn until_mrr(&self, expected: i64) {
        let until = Instant::now() + PATIENCE;
        while self.mrr().await != expected {
            assert!(Instant::now() < until, "{expected} does not come");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_company_is_looked_at_without_a_byte_written_and_then_read() {
    let program = Program::new().await;
    let subscription = program.customer();
    assert_eq!(program.connect(&[]).await.0, 0);
    program.ask(&["sync", "stripe"]).await;
    assert_eq!(program.mrr().await, 10_000);
    program.quantity(&subscription, 3);
    drop(program.sandbox.take_events());

    let look = ["sync", "--company", "Acme", "--dry-run", "--exit-code"];
    let before = program.bytes();
    let (code, rows, _) = program.run(&look).await;
    assert_eq!(code, 10, "{rows:?}");
    assert_eq!(program.bytes(), before);
    let foreseen = &rows[0];
    assert_eq!(foreseen["written"], false);
    let record = &foreseen["connections"][0]["records"][0];
    assert_eq!(record["record"], format!("subscriptions/{subscription}"));
    assert_eq!(
        (&record["change"], &record["pointers"]),
        (&json!("updated"), &json!(["/items/data/0/quantity"]))
    );
    let mrr = |answer: &Value| {
        let fields = answer["fields"].as_array().unwrap();
        fields.iter().find(|f| f["field"] == "mrr_minor").cloned()
    };
    assert_eq!(mrr(foreseen).unwrap(), json!({"field": "mrr_minor", "old": 10_000, "new": 30_000}));
    assert!(foreseen["prompt"]["after"].as_str().unwrap().contains("300.00"), "{foreseen}");
    assert_eq!(program.mrr().await, 10_000);

    let stored = program.ask(&["sync", "--company", "Acme"]).await;
    assert_eq!((&stored["fields"], &stored["prompt"]), (&foreseen["fields"], &foreseen["prompt"]));
    assert_eq!((&stored["written"], program.mrr().await), (&json!(true), json!(30_000)));
    let (code, rows, _) = program.run(&look).await;
    assert_eq!((code, rows[0]["fields"].as_array().unwrap().len()), (0, 0), "{rows:?}");
    assert_eq!(rows[0]["prompt"]["changed"], false);

    // What changed since then, by the provider's own history.
    program.quantity(&subscription, 4);
    program.sandbox.delete(Kind::Products, "prod_Team").unwrap();
    drop(program.sandbox.take_events());
    let since = ["sync", "stripe", "--since", "1h"];
    let before = program.bytes();
    let (code, rows, _) = program.run(&[&since[..], &["--dry-run", "--exit-code"]].concat()).await;
    assert_eq!(
        (code, &rows[0]["counts"]["updated"], &rows[0]["counts"]["deleted"]),
        (10, &json!(1), &json!(1)),
        "{rows:?}"
    );
    assert_eq!(program.bytes(), before);
    let read = program.ask(&since).await;
    assert_eq!((&read["counts"]["updated"], &read["counts"]["deleted"]), (&json!(1), &json!(1)), "{read}");
    assert_eq!(program.mrr().await, 40_000);
    // Longer ago than the provider remembers: everything, and it says so.
    let (code, rows, _) = program.run(&["sync", "stripe", "--since", "60d"]).await;
    assert_eq!(
        (code, &rows[0]["kind"], &rows[0]["status"]),
        (0, &json!("full_resync"), &json!("succeeded")),
        "{rows:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_tells_by_its_exit_code_and_is_shown_later() {
    let program = Program::new().await;
    let subscription = program.customer();
    assert_eq!(program.connect(&[]).await.0, 0);
    program.ask(&["sync", "stripe"]).await;
    assert_eq!(program.ask(&["audit", "stripe", "--all"]).await["drift"], 0);
    program.quantity(&subscription, 5);
    drop(program.sandbox.take_events());
    for scope in [&["--all"][..], &["--sample", "50"], &[]] {
        let (code, rows, err) = program.run(&[&["audit", "stripe"], scope].concat()).await;
        assert_eq!((code, &rows[0]["drift"]), (7, &json!(1)), "{rows:?} {err}");
        assert_eq!(rows[0]["report"]["differences"][0]["pointers"], json!(["/items/data/0/quantity"]));
    }
    let found =
        |rows: &[Value], text: &str| rows.iter().any(|row| row["found"].as_str().unwrap().contains(text));
    let (_, rows, _) = program.run(&["doctor", "--offline"]).await;
    assert!(found(&rows, "1 differed from the provider, 0 repaired"), "{rows:?}");
    // Beside a running process the repair is that one's.
    let serving = program.serve().await;
    let repaired = program.ask(&["audit", "stripe", "--repair"]).await;
    assert_eq!(
        (&repaired["drift"], &repaired["repaired"], &repaired["remaining"]),
        (&json!(1), &json!(1), &json!(0))
    );
    program.until_mrr(50_000).await;
    let shown = program.ask(&["connections", "show", "stripe"]).await;
    assert_eq!(shown["audit"]["repaired"], 1, "{shown}");
    drop(serving);
    assert_eq!(program.ask(&["audit", "stripe", "--all"]).await["drift"], 0);
    let (_, rows, _) = program.run(&["doctor", "--offline"]).await;
    assert!(found(&rows, "no drift"), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_are_registered_listed_and_replayed() {
    let mut program = Program::new().await;
    let subscription = program.customer();
    let (code, _, err) = program.connect(&["--register-webhook"]).await;
    assert_eq!(code, 6, "{err}");
    assert!(err.contains("no_public_url"), "{err}");
    assert!(program.run(&["connections"]).await.1.is_empty(), "nothing was connected");
    program.public_url = Some(format!("http://127.0.0.1:{}/", program.port));
    let (code, rows, err) = program.connect(&["--register-webhook"]).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(rows[1]["did"], "created", "{rows:?}");
    assert_eq!(program.sandbox.webhook_endpoints().len(), 1);
    assert_eq!(program.ask(&["webhooks", "register", "stripe"]).await["did"], "unchanged");
    program.ask(&["sync", "stripe"]).await;
    drop(program.sandbox.take_events());

    let serving = program.serve().await;
    program.quantity(&subscription, 2);
    let event = program.sandbox.take_events().remove(0);
    assert_eq!(program.sandbox.deliver(&event).await[0].status, Some(200));
    program.until_mrr(20_000).await;
    let rows = program.run(&["webhooks", "list", "--company", "Acme", "--since", "1h"]).await.1;
    assert_eq!(
        (rows.len(), &rows[0]["event_id"], &rows[0]["state"]),
        (1, &json!(event.id), &json!("applied"))
    );
    assert!(rows[0].get("body").is_none());
    let shown = program.ask(&["webhooks", "show", &event.id, "--body"]).await;
    assert_eq!(shown["body"], event.body);
    // Beside the running process.
    program.quantity(&subscription, 6);
    drop(program.sandbox.take_events());
    let answer = program.ask(&["webhooks", "replay", &event.id]).await;
    assert_eq!((&answer["replayed"], &answer["ended"]), (&json!(1), &json!({"applied": 1})), "{answer}");
    program.until_mrr(60_000).await;
    let id = program.sandbox.webhook_endpoints()[0]["id"].as_str().unwrap().to_owned();
    program.sandbox.change_webhook_endpoint(&id, |doc| doc["status"] = json!("disabled"));
    let checked = program.ask(&["connections", "check", "stripe"]).await;
    assert_eq!(checked["endpoint"]["faults"][0]["code"], "disabled", "{checked}");
    let (_, rows, _) = program.run(&["doctor", "--offline"]).await;
    assert!(
        rows.iter().any(|row| row["found"].as_str().unwrap().contains("has disabled endpoint")),
        "{rows:?}"
    );
    drop(serving);

    // Alone.
    program.quantity(&subscription, 7);
    drop(program.sandbox.take_events());
    let answer = program.ask(&["webhooks", "replay", "--company", "Acme", "--since", "1h"]).await;
    assert_eq!((&answer["replayed"], &answer["ended"]), (&json!(1), &json!({"applied": 1})), "{answer}");
    assert_eq!(program.mrr().await, 70_000);
    let (code, _, err) = program.run(&["webhooks", "replay", "evt_none"]).await;
    assert_eq!(code, 1);
    assert!(err.contains("delivery_not_found"), "{err}");
    let removed = program.ask(&["connections", "rm", "stripe", "--confirm", "stripe"]).await;
    assert_eq!(removed["endpoint"]["removed"], true, "{removed}");
    assert!(program.sandbox.webhook_endpoints().is_empty());
}
