//! The page "keeping context fresh": what it shows is run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::driver::{Page, browser};
use super::real::Site;
use super::stand::Stand;
use crate::support::installation::Program;
use crate::support::program::run;

const LIMIT: Duration = Duration::from_secs(60);

/// A block of code of the page: what stands behind its language, and its text.
struct Block {
    name: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/keeping-context-fresh.md");
    let text = std::fs::read_to_string(page).unwrap();
    let fences = text.split("\n```").skip(1).step_by(2);
    fences
        .filter_map(|block| {
            let (line, text) = block.split_once('\n')?;
            let (_, name) = line.split_once(' ')?;
            Some(Block { name: name.to_owned(), text: format!("{text}\n") })
        })
        .collect()
}

/// A block that must be there.
fn block(blocks: &[Block], name: &str) -> String {
    blocks
        .iter()
        .find(|block| block.name == name)
        .unwrap_or_else(|| panic!("there is no block {name}"))
        .text
        .clone()
}

#[test]
fn no_block_is_there_that_is_not_run() {
    let names: Vec<String> = blocks().into_iter().map(|block| block.name).collect();
    let run = [
        "run=load",
        "run=event-browser",
        "run=event-node",
        "run=event-curl",
        "run=periodic",
        "file=users.csv",
        "run=backfill",
        "run=token",
    ];
    assert_eq!(names, run);
}

/// Where the backend's snippets are run: as a person would, with the program on the path.
struct Backend<'a> {
    site: &'a Site<'a>,
    folder: PathBuf,
    secret: String,
}

impl<'a> Backend<'a> {
    fn new(site: &'a Site<'a>, secret: &str) -> Self {
        let folder = site.program.folder().to_path_buf();
        let program = folder.join("halo-sync");
        if !program.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_halo-sync"), program).unwrap();
        }
        Self { site, folder, secret: secret.to_owned() }
    }

    async fn run(&self, name: &str, text: &str, program: &str) -> String {
        let file = self.folder.join(name);
        std::fs::write(&file, text).unwrap();
        let path = format!("{}:{}", self.folder.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(program);
        command
            .arg(&file)
            .current_dir(&self.folder)
            .env("PATH", path)
            .env("HALO_SYNC_URL", self.site.program.address())
            .env("HALO_SYNC_SERVER_KEY", &self.site.server)
            .env("HALO_SYNC_IDENTITY_SECRET", &self.secret)
            .env("HALO_SYNC_DATA__DIR", self.folder.join("data"));
        let said = tokio::task::spawn_blocking(move || run(&mut command, LIMIT)).await.unwrap();
        said.unwrap_or_else(|why| panic!("{name}: {why}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_layer_reaches_the_prompt() {
    let Some(browser) = browser() else { return };
    let blocks = blocks();
    let program = Program::new(None);
    let site = Site::start(&program).await;
    let stand = Stand::start().await;
    let backend = Backend::new(&site, "");
    let text = async || site.text("user_123", "company_456").await;
    let says =
        async |page: &Page<'_>| page.run("await HaloSync.flush(); return HaloSync.debug().failed").await;

    // On load.
    let html = block(&blocks, "run=load")
        .replace("https://halo.example.com", &program.address())
        .replace("ab_live_…", &site.publishable);
    let page = browser.open(&stand.page("load", &html), "").await;
    assert_eq!(says(&page).await, json!(0));
    let loaded = text().await;
    for part in ["Name: Jane Doe", "[Company: Acme Corp]", "Space ID: space_789", "[Seats] (metric)"] {
        assert!(loaded.contains(part), "{part}: {loaded}");
    }

    // On events.
    let events = block(&blocks, "run=event-browser");
    let (begins, ends) = events.split_once("// …").unwrap();
    page.run(begins).await;
    assert_eq!(says(&page).await, json!(0));
    assert!(text().await.contains("- Tracking pixel: Pixel not firing on checkout page"));
    page.run(&format!("// {ends}")).await;
    assert_eq!(says(&page).await, json!(0));
    assert!(!text().await.contains("[Current Issues]"));
    page.close().await;
    backend.run("event.mjs", &block(&blocks, "run=event-node"), "node").await;
    assert!(text().await.contains("- Google Ads: connected, ERROR -- Token expired"));
    backend.run("event.sh", &block(&blocks, "run=event-curl"), "sh").await;
    assert!(text().await.contains("[Onboarding] (status)"));
    // A backend's word is worth more than a page's, and explain says whose it was.
    let explained = site.context(json!({"user_id": "user_123", "explain": true})).await;
    let entries = explained["explain"]["entries"].as_array().unwrap();
    let rank = |key: &str| &entries.iter().find(|entry| entry["key"] == key).unwrap()["rank"];
    assert_eq!((rank("seats"), rank("integrations")), (&json!("claimed"), &json!("server")));

    // Periodic.
    let said = backend.run("periodic.mjs", &block(&blocks, "run=periodic"), "node").await;
    assert!(
        said.contains("created: 1") && said.contains("updated: 1") && said.contains("rejected: 0"),
        "{said}"
    );
    assert!(text().await.contains("Projects: 12"));
    assert!(site.text("user_124", "nobody").await.contains("Plan: free"));

    // Once.
    std::fs::write(backend.folder.join("users.csv"), block(&blocks, "file=users.csv")).unwrap();
    backend.run("backfill.sh", &format!("set -e\n{}", block(&blocks, "run=backfill")), "sh").await;
    assert!(site.text("user_201", "nobody").await.contains("Name: Ann Lee"));
    assert!(site.text("user_202", "nobody").await.contains("Email: bo@northwind.test"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_the_documented_code_is_taken_and_one_of_another_secret_is_not() {
    let Some(browser) = browser() else { return };
    let token = block(&blocks(), "run=token");
    let program = Program::new(None);
    let made = run(&mut program.command(&["keys", "identity", "create", "--json"]), LIMIT).unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    let secret = made["identity_secret"].as_str().unwrap();
    let site = Site::start(&program).await;
    let stand = Stand::start().await;
    let good = Backend::new(&site, secret).run("token.mjs", &token, "node").await.trim().to_owned();
    let bad =
        Backend::new(&site, &format!("{secret}x")).run("token.mjs", &token, "node").await.trim().to_owned();
    let script = format!(
        "window.expired = 0;
         HaloSync.init({{ apiKey: '{}', apiUrl: '{}', userId: 'user_123', userToken: '{good}', onIdentityExpired: () => window.expired++ }});",
        site.publishable,
        program.address()
    );
    let page = browser.open(&stand.plain("token", &script), "").await;
    page.run("await HaloSync.flush()").await;
    assert_eq!(page.evaluate("[window.expired, HaloSync.debug().sent]").await, json!([0, 1]));
    page.run(&format!(
        "HaloSync.identify('user_123', {{ plan: 'free' }}, {{ userToken: '{bad}' }}); await HaloSync.flush()"
    ))
    .await;
    assert_eq!(page.evaluate("[window.expired, HaloSync.debug().sent]").await, json!([1, 1]));
    page.run(&format!(
        "HaloSync.identify('user_123', {{}}, {{ userToken: '{good}' }}); await HaloSync.flush()"
    ))
    .await;
    assert_eq!(page.evaluate("[window.expired, HaloSync.debug().pending]").await, json!([1, 0]));
    page.close().await;
    assert!(
        site.text("user_123", "nobody").await.contains("Email: jane@acme.test"),
        "what the token says is known"
    );
}
