//! Supabase's Stripe engine: installed below `target/`, driven by `supabase.cjs` in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use connector_testkit::sandbox::stripe::Options;
use serde_json::{Value, json};

use crate::common::process::Part;

/// What is read of it for each of our streams. It has no coupons; of those there are none at the source.
pub(crate) const OBJECTS: [&str; 9] = [
    "product",
    "price",
    "customer",
    "subscription",
    "subscription_schedules",
    "invoice",
    "charge",
    "dispute",
    "refund",
];
const PACKAGE: &str = "@supabase/stripe-sync-engine";

/// Finds node and installs the package at its fixed version; says what is missing.
pub(crate) fn install() -> Result<PathBuf, String> {
    let node = Command::new("node").arg("--version").stdin(Stdio::null()).output();
    node.map_err(|error| format!("node cannot be started: {error}"))?;
    let setup = scripts().join("setup.sh");
    let said = Command::new("sh").arg(&setup).stdin(Stdio::null()).output();
    let said = said.map_err(|error| format!("sh cannot be started: {error}"))?;
    if !said.status.success() {
        let why = String::from_utf8_lossy(&said.stderr);
        return Err(format!("{} failed: {}", setup.display(), why.trim()));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&said.stdout).trim()))
}

/// The package and its version.
pub(crate) fn name(installed: &Path) -> String {
    let file = installed.join("node_modules").join(PACKAGE).join("package.json");
    let text = std::fs::read_to_string(file).expect("an installed package");
    let package: Value = serde_json::from_str(&text).expect("JSON");
    format!("{PACKAGE} {}", package["version"].as_str().expect("a version"))
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers")
}

/// What a timed command took.
pub(crate) struct Took {
    pub(crate) records: u64,
    pub(crate) seconds: f64,
    /// Processor time of its process, seconds.
    pub(crate) processor: f64,
}

/// The running driver. It stays one process for all measurements, so that its code is warm.
pub(crate) struct Supabase {
    part: Part,
}

impl Supabase {
    pub(crate) fn start(installed: &Path) -> Self {
        let mut program = Command::new("node");
        program.arg(scripts().join("supabase.cjs")).arg(installed);
        Self { part: Part::of(program) }
    }

    fn ask(&mut self, command: &Value) -> Value {
        serde_json::from_str(&self.part.ask(&command.to_string())).expect("JSON")
    }

    /// Makes its tables in an empty database; `synchronous_commit` as its connections have it.
    pub(crate) fn open(&mut self, database: &str, base_url: &str) -> String {
        let sandbox = Options::default();
        let opened = self.ask(&json!({
            "do": "open", "database": database, "base_url": base_url,
            "api_key": sandbox.api_key, "webhook_secret": sandbox.webhook_secret,
        }));
        opened["synchronous_commit"].as_str().expect("a setting").to_owned()
    }

    /// Reads these objects into the open database.
    pub(crate) fn backfill(&mut self, objects: &[&str]) -> Took {
        let took = self.ask(&json!({ "do": "backfill", "objects": objects }));
        Took {
            records: took["records"].as_u64().expect("a count"),
            seconds: took["seconds"].as_f64().expect("a time"),
            processor: took["processor"].as_f64().expect("a time"),
        }
    }

    /// The address that takes webhooks for the open database.
    pub(crate) fn serve(&mut self) -> String {
        self.ask(&json!({ "do": "serve" }))["address"].as_str().expect("an address").to_owned()
    }

    /// Hands signed deliveries (a file, one `{"signature","body"}` a line) to its function within its process;
    /// seconds.
    pub(crate) fn direct(&mut self, deliveries: &Path, at_once: usize) -> f64 {
        let took = self.ask(&json!({ "do": "direct", "deliveries": deliveries, "at_once": at_once }));
        took["seconds"].as_f64().expect("a time")
    }

    /// Leaves the open database.
    pub(crate) fn close(&mut self) {
        self.ask(&json!({ "do": "close" }));
    }
}
