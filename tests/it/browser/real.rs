//! Pages, the built program, and what the chat then sees.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::driver::browser;
use super::stand::{Next, Stand};
use crate::render_cases::cases_dir;
use crate::support::installation::{Program, Serving};
use crate::support::program::run;

const LIMIT: Duration = Duration::from_secs(60);

/// A running installation with a key for pages and one for a backend.
pub(super) struct Site<'a> {
    pub(super) program: &'a Program,
    pub(super) publishable: String,
    pub(super) server: String,
    pub(super) serving: Serving<'a>,
    client: reqwest::Client,
}

impl<'a> Site<'a> {
    pub(super) async fn start(program: &'a Program) -> Self {
        let publishable = key(program, "publishable");
        let server = key(program, "server");
        let mut serving = program.serve();
        serving.ready().await;
        Self {
            program,
            publishable,
            server,
            serving,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// What the chat would be told.
    pub(super) async fn context(&self, body: Value) -> Value {
        let url = format!("{}/api/sdk/chat/context", self.program.address());
        let answer = self.client.post(url).bearer_auth(&self.server).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    pub(super) async fn text(&self, user: &str, company: &str) -> String {
        let answer = self.context(json!({"user_id": user, "company_id": company})).await;
        answer["text"].as_str().unwrap().to_owned()
    }
}

fn key(program: &Program, class: &str) -> String {
    let said =
        run(&mut program.command(&["keys", "create", "--class", class, "--name", class, "--json"]), LIMIT);
    let said: Value = serde_json::from_str(&said.unwrap()).unwrap();
    said["key"].as_str().unwrap().to_owned()
}

/// The worked example of the reference, as calls of a page.
fn example() -> Option<(Value, String)> {
    let text = std::fs::read_to_string(cases_dir()?.join("render_cases.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let case =
        all["cases"].as_array().unwrap().iter().find(|case| case["id"] == "seed-full-example").unwrap();
    Some((case["input"].clone(), case["expected"]["text"].as_str().unwrap().to_owned()))
}

/// The traits of a stored user or company: its columns and its custom fields.
fn traits(record: &Value) -> Value {
    let mut traits = record["custom_fields"].clone();
    for (key, value) in record.as_object().unwrap() {
        if !matches!(key.as_str(), "external_id" | "custom_fields" | "context") {
            traits[key] = value.clone();
        }
    }
    traits
}

/// Without what the program itself works out of the one user that was identified, a moment later; the example knows
/// nothing of it.
fn known(text: &str) -> String {
    text.lines().filter(|line| *line != "Team Size: 1").collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worked_example_from_a_page_to_the_prompt() {
    let (Some(browser), Some((input, expected))) = (browser(), example()) else { return };
    let program = Program::new(None);
    let site = Site::start(&program).await;
    let stand = Stand::start().await;
    let (user, company) = (&input["user"], &input["company"]);
    let entries: String = user["context"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, entry)| format!("HaloSync.setContext({}, {entry});\n", json!(key)))
        .collect();
    let html = format!(
        "<!doctype html><title>example</title><script src=\"{}/sdk/v1.js\"></script><script>
           window.errors = [];
           HaloSync.init({{ apiKey: '{}', onError: (error) => window.errors.push(error.message + JSON.stringify(error.body)) }});
           HaloSync.identify({}, {});
           HaloSync.identifyCompany({}, {});
           {entries}
         </script>",
        program.address(),
        site.publishable,
        user["external_id"],
        traits(user),
        company["external_id"],
        traits(company),
    );
    let page = browser.open(&stand.page("example", &html), "").await;
    page.run("await HaloSync.flush()").await;
    assert_eq!(page.evaluate("[window.errors, HaloSync.debug().sent]").await, json!([[], 2]));
    let (user_id, company_id) =
        (user["external_id"].as_str().unwrap(), company["external_id"].as_str().unwrap());
    assert_eq!(known(&site.text(user_id, company_id).await), expected);
    // The link holds: the company need not be named.
    let linked = site.context(json!({"user_id": user_id})).await;
    assert_eq!(known(linked["text"].as_str().unwrap()), expected);

    // What ends is gone from the prompt, what is said as the page is left is in it.
    let next = stand.page("next", "<!doctype html><title>next</title>");
    page.run("HaloSync.clearContext('issues'); await HaloSync.flush()").await;
    let without =
        expected.split("\n\n").filter(|section| !section.starts_with("[Current Issues]")).collect::<Vec<_>>();
    assert_eq!(known(&site.text(user_id, company_id).await), without.join("\n\n"));
    page.run(&format!(
        "HaloSync.setContext('last', {{ label: 'Last Page', value: 'checkout' }}); location.href = '{next}'"
    ))
    .await;
    until(async || site.text(user_id, company_id).await.contains("[Last Page]")).await;
    page.close().await;
    // And all of it.
    let page = browser.open(&stand.page("example", &html), "").await;
    page.run("HaloSync.clearContext(); await HaloSync.flush()").await;
    assert!(!site.text(user_id, company_id).await.contains("[Connected Integrations]"));
    assert_eq!(page.evaluate("window.errors").await, json!([]));
    page.close().await;
    site.serving.stop(Duration::from_secs(30)).await;
}

/// Looks again and again, within a bound.
async fn until(look: impl AsyncFn() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while !look().await {
        assert!(tokio::time::Instant::now() < end, "it does not come");
        tokio::time::sleep(crate::support::program::LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_on_the_way_and_refusals_of_the_program() {
    let Some(browser) = browser() else { return };
    let program = Program::new(None);
    let site = Site::start(&program).await;
    let stand = Stand::start().await;
    stand.before(program.address());
    stand.plan([Next::Say(503, &[("retry-after", "0")], json!({})), Next::Unreadable]);
    let script = format!(
        "window.errors = []; HaloSync.init({{ apiKey: '{}', onError: (error) => window.errors.push(error) }});
         HaloSync.identify('user_1', {{ name: 'Jane', name_cut: 'x\\ud83e' }});",
        site.publishable
    );
    let page = browser.open(&stand.plain("trouble", &script), "").await;
    page.run("await HaloSync.flush()").await;
    assert_eq!(stand.paths(), ["/users/identify"; 3]);
    assert!(site.text("user_1", "nobody").await.contains("Name: Jane"));

    // Reserved keys, each named; too much; nonsense: told, once each, and the next call is fine.
    let told = page
        .run(
            "HaloSync.identify('user_1', { created_at: '2024-01-01', last_seen: 1, plan: 'pro' }); await HaloSync.flush();
             HaloSync.identifyCompany('acme', { health_score: 99 }); await HaloSync.flush();
             const large = {}; for (let n = 0; n < 30; n++) large['k' + n] = 'x'.repeat(1000);
             HaloSync.identify('user_1', large); await HaloSync.flush();
             HaloSync.setContext('halo.subscriptions', { label: 'Mine', value: 1 }); await HaloSync.flush();
             HaloSync.identify('user_1', { plan: 'pro' }); await HaloSync.flush();
             return window.errors.map((error) => [error.status, error.code, error.body.reserved_keys ?? null, typeof error.requestId])",
        )
        .await;
    let reserved: Vec<_> = told.as_array().unwrap().iter().map(|error| error[2].clone()).collect();
    assert_eq!(told.as_array().unwrap().len(), 4, "{told:#}");
    assert_eq!(reserved[..2], [json!(["created_at", "last_seen"]), json!(["health_score"])], "{told:#}");
    assert!(
        told.as_array()
            .unwrap()
            .iter()
            .all(|error| matches!(error[0].as_u64(), Some(400 | 413)) && error[3] == "string"),
        "{told:#}"
    );
    assert!(site.text("user_1", "nobody").await.contains("Plan: pro"));
    page.close().await;

    // A key that is none: said, and nothing is tried again.
    let before = stand.calls().len();
    let script = script.replace(&site.publishable, "ab_live_wrong");
    let page = browser.open(&stand.plain("wrong", &script), "").await;
    let told = page.run("await HaloSync.flush(); return window.errors.map((error) => error.status)").await;
    assert_eq!((told, stand.calls().len() - before), (json!([401]), 1));
    page.close().await;
    // A server's key does not leave the page.
    let script = script.replace("ab_live_wrong", &site.server);
    let page = browser.open(&stand.plain("server", &script), "").await;
    assert_eq!(page.run("await HaloSync.flush(); return HaloSync.getInstance()").await, json!(null));
    assert_eq!(stand.calls().len() - before, 1);
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_snippet_of_the_command_line_works_as_it_is_printed() {
    let Some(browser) = browser() else { return };
    let program = Program::new(None);
    let site = Site::start(&program).await;
    let stand = Stand::start().await;
    let snippet = |more: &[&str]| -> Value {
        let mut command = program.command(&["sdk", "snippet", "--json", "--key", &site.publishable]);
        let said = run(command.args(["--url", &program.address()]).args(more), LIMIT).unwrap();
        serde_json::from_str(&said).unwrap()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();

    let made = snippet(&[]);
    let page = browser.open(&stand.page("script", &text(&made["script"]["html"])), "").await;
    page.run("await HaloSync.flush()").await;
    assert!(site.context(json!({"user_id": "user_123"})).await["user_id"].is_string());
    page.close().await;

    let made = snippet(&["--alias", "HaloAgents"]);
    let html = text(&made["script"]["html"]).replace("user_123", "user_alias");
    let page = browser.open(&stand.page("alias", &html), "").await;
    page.run("await HaloAgents.flush()").await;
    assert!(site.context(json!({"user_id": "user_alias"})).await["user_id"].is_string());
    page.close().await;

    // The other form under the policy that is printed with it.
    let own = text(&made["module"]["javascript"]).replace("user_123", "user_module");
    stand.page_with("halo.js", &[("content-type", "text/javascript")], &own);
    let html = text(&made["module"]["html"]).replace("/halo.js", "/pages/halo.js");
    let policy = text(&made["content_security_policy"]);
    let headers = [("content-type", "text/html"), ("content-security-policy", policy.as_str())];
    let page = browser.open(&stand.page_with("module", &headers, &html), "").await;
    until(async || site.context(json!({"user_id": "user_module"})).await["user_id"].is_string()).await;
    page.close().await;

    // A file that was changed on its way is not run.
    let html = text(&snippet(&[])["script"]["html"]).replace("sha384-", "sha384-AAAA");
    let page = browser.open(&stand.page("changed", &html), "").await;
    assert_eq!(page.evaluate("HaloSync.version ?? null").await, json!(null));
    page.close().await;
}

#[test]
fn the_snippet_takes_nothing_that_does_not_belong_into_a_page() {
    let program = Program::new(None);
    let refused = |args: &[&str]| {
        let output = program.command(&[&["sdk", "snippet"], args].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(&["--key", "hs_server_0123456789"]);
    assert!(said.contains("publishable") && !said.contains("0123456789"), "{said}");
    refused(&["--key", "ab_live_\"</script>"]);
    refused(&["--alias", "x;alert(1)"]);
    refused(&["--url", "javascript:alert(1)"]);
    refused(&["--url", "https://halo.example.com/?a=b"]);
    let mut plain: Command = program.command(&["sdk", "snippet"]);
    plain.env("HALO_SYNC_SERVER__PUBLIC_URL", "https://halo.example.com/base/");
    let said = run(&mut plain, LIMIT).unwrap();
    assert!(
        said.contains("https://halo.example.com/base/sdk/v1.") && said.contains("integrity=\"sha384-"),
        "{said}"
    );
    assert!(said.contains("connect-src https://halo.example.com "), "{said}");
}
