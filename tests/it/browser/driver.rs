//! One Chromium for all tests of this process, driven over a pipe.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::program::run;
use crate::support::required;

/// Making the tools may have to download.
const SETUP: Duration = Duration::from_secs(300);
/// One operation of the browser, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<Value, String>>>>>;

/// The browser. It ends when this process does: its driver's input ends then.
pub(super) struct Browser {
    input: Mutex<(ChildStdin, u64)>,
    waiting: Waiting,
}

/// The folder of npm's modules, made where it is missing. `None` where nobody insists on it.
pub(super) fn modules() -> Option<PathBuf> {
    static MADE: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
        let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/setup.sh");
        run(Command::new("sh").arg(setup), SETUP).map(|said| PathBuf::from(said.trim()))
    });
    there(MADE.as_ref(), "the browser SDK's tools")
}

fn there<T: Clone>(found: Result<&T, &String>, what: &str) -> Option<T> {
    match found {
        Ok(found) => Some(found.clone()),
        Err(why) => {
            assert!(!required("chromium"), "chromium is required, and {what} missing: {why}");
            eprintln!("skipped: no {what} here: {why}");
            None
        }
    }
}

/// The one browser. `None` where nobody insists on it.
pub(super) fn browser() -> Option<&'static Browser> {
    static STARTED: LazyLock<Option<Result<Arc<Browser>, String>>> =
        LazyLock::new(|| modules().map(|modules| Browser::start(&modules).map(Arc::new)));
    let started = STARTED.as_ref()?;
    there(started.as_ref(), "Chromium")?;
    started.as_ref().ok().map(Arc::as_ref)
}

fn chromium() -> Result<String, String> {
    let find = "command -v chromium || command -v chromium-browser || command -v google-chrome";
    run(Command::new("sh").args(["-c", find]), PATIENCE).map(|path| path.trim().to_owned())
}

impl Browser {
    fn start(modules: &Path) -> Result<Self, String> {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/driver.mjs");
        let mut child = Command::new("node")
            .arg(driver)
            .arg(modules)
            .arg(chromium()?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("node cannot be started: {e}"))?;
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut lines = BufReader::new(output).lines();
        let first =
            lines.next().ok_or("the browser does not start: see above")?.map_err(|e| e.to_string())?;
        let first: Value = serde_json::from_str(&first).map_err(|e| format!("{e}: {first}"))?;
        eprintln!("Chromium {}", first["value"].as_str().unwrap());
        let waiting = Waiting::default();
        let of_reader = waiting.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let answer: Value = serde_json::from_str(&line).unwrap();
                let result = match answer["error"].as_str() {
                    Some(error) => Err(error.to_owned()),
                    None => Ok(answer["value"].clone()),
                };
                if let Some(asked) = of_reader.lock().unwrap().remove(&answer["id"].as_u64().unwrap()) {
                    let _ = asked.send(result);
                }
            }
            // Whoever still waits learns that nothing comes.
            of_reader.lock().unwrap().clear();
            let _ = child.wait();
        });
        Ok(Self { input: Mutex::new((input, 0)), waiting })
    }

    async fn ask(&self, operation: &str, mut rest: Value) -> Result<Value, String> {
        let (sender, answer) = oneshot::channel();
        {
            let mut input = self.input.lock().unwrap();
            input.1 += 1;
            rest["id"] = json!(input.1);
            rest["do"] = json!(operation);
            self.waiting.lock().unwrap().insert(input.1, sender);
            writeln!(input.0, "{rest}").unwrap();
        }
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        answer.unwrap_or_else(|_| panic!("{operation} takes too long")).expect("the browser has gone")
    }

    /// A page in a context of its own (nothing of another page is known in it). `script` runs before the page's own.
    pub(super) async fn open(&self, url: &str, script: &str) -> Page<'_> {
        let number = self.ask("open", json!({"url": url, "script": script})).await;
        Page { browser: self, number: number.unwrap_or_else(|e| panic!("{url}: {e}")) }
    }
}

/// An open page.
pub(super) struct Page<'a> {
    browser: &'a Browser,
    number: Value,
}

impl Page<'_> {
    /// What an expression gives in the page; a promise is waited for.
    pub(super) async fn evaluate(&self, expression: &str) -> Value {
        let asked = json!({"page": self.number, "expression": expression});
        self.browser.ask("evaluate", asked).await.unwrap_or_else(|e| panic!("{expression}: {e}"))
    }

    /// Runs statements; `await` is fine.
    pub(super) async fn run(&self, statements: &str) -> Value {
        self.evaluate(&format!("(async () => {{ {statements} }})()")).await
    }

    /// Cuts the network off, or brings it back.
    pub(super) async fn offline(&self, offline: bool) {
        self.browser.ask("offline", json!({"page": self.number, "offline": offline})).await.unwrap();
    }

    /// What the console got so far.
    pub(super) async fn console(&self) -> Vec<String> {
        let said = self.browser.ask("said", json!({"page": self.number})).await.unwrap();
        serde_json::from_value(said["console"].clone()).unwrap()
    }

    /// Closes it; fails when anything was thrown in it that nobody caught.
    pub(super) async fn close(self) {
        let said = self.browser.ask("said", json!({"page": self.number})).await.unwrap();
        assert_eq!(said["errors"], json!([]), "{said:#}");
        self.browser.ask("close", json!({"page": self.number})).await.unwrap();
    }
}
