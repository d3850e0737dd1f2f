//! The built program: connected, served, told of changes by localstripe's webhooks, asked to read again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::figures::{self, Figures, Told, differences};
use super::server::{KEY, Kind, Parts, Server, free_port, request};
use crate::support::program::{LOOK, run, unscheduled};

/// One command; a debug build on a busy machine takes its time.
const COMMAND: Duration = Duration::from_secs(60);
/// From a change to the company that shows it.
const AGREEMENT: Duration = Duration::from_secs(120);
const NAME: &str = "shop";
const WEBHOOK_SECRET: &str = "whsec_of_the_acceptance_test";

/// An installation of the program in a folder of its own.
struct Program {
    dir: TempDir,
}

impl Program {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, args: &[&str]) -> Command {
        unscheduled(self.path(), args)
    }

    fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        path
    }

    /// Runs a command with `--json`; its answer, an object a line.
    fn ask(&self, args: &[&str]) -> Vec<Value> {
        let said = run(self.command(args).arg("--json"), COMMAND).unwrap_or_else(|e| panic!("{args:?}: {e}"));
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn ask_one(&self, args: &[&str]) -> Value {
        let mut all = self.ask(args);
        assert_eq!(all.len(), 1, "{args:?}: {all:?}");
        all.remove(0)
    }

    fn connect(&self, server: &Server) -> Value {
        let key = self.secret("api-key", KEY);
        let webhook = self.secret("webhook-secret", WEBHOOK_SECRET);
        self.ask_one(&[
            "connect",
            "stripe",
            "--name",
            NAME,
            "--base-url",
            &server.base(),
            "--api-key-file",
            key.to_str().unwrap(),
            "--webhook-secret-file",
            webhook.to_str().unwrap(),
        ])
    }

    fn serve(&self) -> Serving<'_> {
        let port = free_port();
        let log = File::create(self.path().join("serve.log")).unwrap();
        let child = self
            .command(&["serve", "--listen", &format!("127.0.0.1:{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut serving = Serving { program: self, child, port };
        serving.wait("ready", |s| {
            let answer = request(s.port, "GET", "/readyz", None);
            answer
                .is_some_and(|a| a.starts_with("HTTP/1.1 200"))
                .then_some(())
                .ok_or_else(|| vec!["not ready".to_owned()])
        });
        serving
    }

    /// Companies as they are stored.
    fn companies(&self) -> Vec<Value> {
        self.ask(&["companies", "list", "--limit", "500"])
    }

    /// What the stored companies say, by the name of their customer.
    fn stored(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        for company in self.companies() {
            let name = name_of(&company);
            let (fields, traits) = (&company["fields"], &company["custom_fields"]);
            let mut seen = fields.as_object().unwrap().clone();
            seen.insert("currency".to_owned(), fields["mrr_currency"].clone());
            for name in ["subscription_status", "lifetime_value"] {
                seen.insert(name.to_owned(), traits[name].clone());
            }
            seen.insert("test".to_owned(), company["test"].clone());
            assert!(all.insert(name.clone(), Value::Object(seen)).is_none(), "{name}: two companies");
        }
        all
    }

    /// What deriving anew says of every company.
    fn derived(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        for company in self.companies() {
            let document = self.ask_one(&["derive", "--company", company["id"].as_str().unwrap()]);
            assert_eq!(document["test"], true, "{company}");
            assert_eq!(document["missing"], json!([]), "{company}");
            all.insert(name_of(&company), document["values"].clone());
        }
        all
    }

    fn runs(&self) -> Vec<Value> {
        self.ask(&["runs", "list", "--connection", NAME])
    }
}

/// The name that the filling gave: customers are called after it.
fn name_of(company: &Value) -> String {
    company["fields"]["name"].as_str().unwrap().to_lowercase().replace(' ', "-")
}

/// A running `serve`; it ends with this value.
struct Serving<'a> {
    program: &'a Program,
    child: Child,
    port: u16,
}

impl Serving<'_> {
    /// Looks until `look` is content; else says what it last complained of.
    fn wait<T>(&mut self, what: &str, look: impl Fn(&Self) -> Result<T, Vec<String>>) -> T {
        let until = Instant::now() + AGREEMENT;
        loop {
            let complaints = match look(self) {
                Ok(value) => return value,
                Err(complaints) => complaints,
            };
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("serve ended ({status}): {}", self.log());
            }
            assert!(Instant::now() < until, "{what}: {}\n{}", complaints.join("\n"), self.log());
            std::thread::sleep(LOOK);
        }
    }

    fn agree(&mut self, what: &str, figures: &BTreeMap<&'static str, Figures>, told: &Told) {
        self.wait(what, |s| {
            let differences = differences(figures, told, &s.program.stored(), Figures::stored);
            if differences.is_empty() { Ok(()) } else { Err(differences) }
        });
        // What is stored is what the records say.
        let derived = self.program.derived();
        assert_eq!(differences(figures, told, &derived, Figures::derived), [""; 0], "{what}, derived anew");
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.program.path().join("serve.log")).unwrap_or_default()
    }

    /// Asks it to stop, and waits until it has.
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        run(Command::new("kill").args(["-TERM", &pid]), COMMAND).unwrap();
        let until = Instant::now() + COMMAND;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}: {}", self.log());
                return;
            }
            assert!(Instant::now() < until, "serve does not stop: {}", self.log());
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_program_agrees_with_the_figures_all_the_way() {
    let Some(parts) = Parts::find() else { return };
    let server = Server::start(&parts, Kind::Compat);
    let mut told = server.fill();
    let program = Program::new();

    // Connected: what the server does not offer is named, and the rest goes on.
    let connected = program.connect(&server);
    let connection = &connected["connection"];
    assert_eq!(connection["mode"], "test");
    assert_eq!(connection["limits"]["not_offered"], json!(["account"]));
    let mut serving = program.serve();
    server.send_events_to(
        &format!("http://127.0.0.1:{}{}", serving.port, connected["webhook_path"].as_str().unwrap()),
        WEBHOOK_SECRET,
    );

    // Read: every stream to its end, nothing rejected.
    let backfill = serving.wait("the backfill", |s| {
        let mut runs = s.program.runs();
        assert_eq!(runs.len(), 1, "{runs:?}");
        let run = runs.remove(0);
        if run["status"] == "running" { Err(vec![run.to_string()]) } else { Ok(run) }
    });
    assert_eq!(backfill["status"], "succeeded", "{backfill}");
    assert_eq!(backfill["kind"], "backfill");
    let read: BTreeMap<&str, &Value> =
        backfill["streams"].as_array().unwrap().iter().map(|s| (s["stream"].as_str().unwrap(), s)).collect();
    let customers = members(&told, &["customer", "other_customer"]);
    // Read, not created: events of the last second before the webhook was registered may still be delivered, and
    // what they name is then there before its page is read.
    assert_eq!(read["customers"]["counts"]["read"], json!(customers.len()), "{backfill}");
    assert_eq!(
        read["subscriptions"]["counts"]["read"],
        json!(members(&told, &["subscription", "other"]).len()),
        "{backfill}"
    );
    assert!(read.values().all(|s| s["state"] == "done" && s["counts"]["rejected"] == 0), "{backfill}");

    // Two customers of one company: nothing says so but their metadata, and no company has that id yet. A
    // person says it.
    let (main, other) = (&told["two-customers"]["customer"], &told["two-customers"]["other_customer"]);
    let company = serving.wait("the company of two customers", |s| {
        let companies = s.program.companies();
        companies
            .into_iter()
            .find(|c| c["custom_fields"]["stripe_customer_id"] == *main)
            .ok_or_else(|| vec![format!("no company of {main}")])
    });
    program.ask_one(&[
        "companies",
        "link",
        other.as_str().unwrap(),
        company["id"].as_str().unwrap(),
        "--connection",
        NAME,
    ]);
    serving.wait("one company of two customers", |s| {
        let named: Vec<_> =
            s.program.companies().into_iter().filter(|c| name_of(c) == "two-customers").collect();
        if named.len() == 1 { Ok(()) } else { Err(vec![format!("{named:?}")]) }
    });
    serving.agree("after the backfill", &figures::filled(), &told);

    // Told by webhooks alone: nothing else has read since.
    server.change("told", &mut told);
    serving.agree("after the changes with events", &figures::changed_with_events(), &told);
    assert_eq!(program.runs().len(), 1, "only webhooks brought this");

    // What no event tells is found by reading again.
    server.change("silent", &mut told);
    let run = program.ask_one(&["sync", NAME]);
    assert_eq!(run["status"], "succeeded", "{run}");
    serving.agree("after the changes in silence", &figures::changed_in_silence(), &told);

    // And a read that finds nothing new writes nothing.
    let again = program.ask_one(&["sync", NAME]);
    for stream in again["streams"].as_array().unwrap() {
        for count in ["created", "updated", "deleted", "rejected"] {
            assert_eq!(stream["counts"][count], 0, "{stream}");
        }
    }

    // The text that the agent reads, labelled as what it is.
    let newcomer = program.companies().into_iter().find(|c| name_of(c) == "newcomer").unwrap();
    let rendered = run_text(&mut program.command(&["render", "--company", newcomer["id"].as_str().unwrap()]));
    for expected in ["[Company: Newcomer]", "Plan: Welcome", "MRR: 39.96 USD", "TEST"] {
        assert!(rendered.contains(expected), "{expected} in\n{rendered}");
    }
    serving.stop();
}

/// What `told` says of every name of a member.
fn members(told: &Told, members: &[&str]) -> BTreeSet<String> {
    told.values().flat_map(|v| members.iter().filter_map(|m| Some(v.get(m)?.as_str()?.to_owned()))).collect()
}

fn run_text(command: &mut Command) -> String {
    run(command, COMMAND).unwrap_or_else(|e| panic!("{e}"))
}

/// A key that is refused stores nothing and ends with the code for "a person must act".
#[test]
fn a_refused_key_leaves_nothing_behind() {
    let Some(parts) = Parts::find() else { return };
    let server = Server::start(&parts, Kind::Compat);
    let program = Program::new();
    let key = program.secret("api-key", "rk_test_refused");
    let base = server.base();
    let args = ["connect", "stripe", "--api-key-file", key.to_str().unwrap(), "--base-url", &base, "--json"];
    let output = program.command(&args).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("rk_test_refused"), "{output:?}");
    assert!(program.ask(&["connections", "list"]).is_empty());
}
