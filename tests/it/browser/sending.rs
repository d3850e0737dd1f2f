//! What is said, together, in order, and also at the end of a page.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::driver::browser;
use super::stand::{Next, Stand};
use crate::support::program::run;

/// A call of the page that only starts it.
const INIT: &str = "HaloSync.init({apiKey: 'ab_live_test', orgId: 'org_1', debug: true})";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_in_one_moment_goes_out_together() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    let script = format!(
        "window.ready = 0;
         {INIT_WITH};
         for (let n = 0; n < 50; n++) HaloSync.identify('user_123', {{ visits: n, ['t' + (n % 3)]: n }});
         for (let n = 0; n < 50; n++) HaloSync.setContext('k' + (n % 4), {{ label: 'K', value: n }});
         HaloSync.identifyCompany('company_456', {{ plan: 'pro', seats: 3 }})
           .identifyCompany('company_456', {{ plan: 'enterprise' }});",
        INIT_WITH = "HaloSync.init({ apiKey: 'ab_live_test', userId: 'user_123', companyId: 'company_456',
           userTraits: { name: 'Jane', visits: -1 }, context: { k0: { label: 'old', value: 0 }, k9: { label: 'L', type: 'list', value: [1] } },
           onReady: (sdk) => { window.ready += sdk === HaloSync ? 1 : 9 } })",
    );
    let page = browser.open(&stand.plain("together", &script), "").await;
    page.run("await HaloSync.flush()").await;
    let calls = stand.calls();
    assert_eq!(stand.paths(), ["/users/identify", "/companies/identify"], "{calls:#?}");
    let (user, company) = (&calls[0].body, &calls[1].body);
    assert_eq!(calls[0].key, "Bearer ab_live_test");
    assert_eq!(user["traits"], json!({"name": "Jane", "visits": 49, "t0": 48, "t1": 49, "t2": 47}));
    assert_eq!(
        user["context"],
        json!({"k0": {"label": "K", "value": 48}, "k9": {"label": "L", "type": "list", "value": [1]},
               "k1": {"label": "K", "value": 49}, "k2": {"label": "K", "value": 46}, "k3": {"label": "K", "value": 47}}),
    );
    assert_eq!(user["user_id"], "user_123");
    assert_eq!(
        *company,
        json!({"company_id": "company_456", "user_id": "user_123", "traits": {"plan": "enterprise", "seats": 3}})
    );
    assert_eq!(page.evaluate("window.ready").await, 1);

    // Within a quarter of a second there is one more flush at most, however often something is said.
    let flushes = page
        .run(
            "const before = performance.now();
             for (let n = 0; n < 40; n++) {
               HaloSync.setContext('tick', { label: 'Tick', value: n });
               await new Promise((done) => setTimeout(done, 20));
             }
             await HaloSync.flush();
             return Math.ceil((performance.now() - before) / 250) + 1;",
        )
        .await;
    let calls = &stand.calls()[2..];
    assert!(calls.iter().all(|call| call.path == "/context/set"));
    assert!(calls.len() as u64 <= flushes.as_u64().unwrap(), "{} calls, {flushes} allowed", calls.len());
    assert_eq!(
        calls.last().unwrap().body,
        json!({"user_id": "user_123", "context": {"tick": {"label": "Tick", "value": 39}}})
    );
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_word_counts_and_the_order_holds() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    let script = format!(
        "{INIT}
         // Before there is a user: it waits, and what is cleared is gone.
         .setContext('early', {{ label: 'Early', value: 1 }}).setContext('gone', {{ label: 'Gone', value: 1 }})
         .clearContext('gone')
         .identifyCompany('acme', {{ name: 'Acme' }})
         .identify('ann', {{ name: 'Ann' }});"
    );
    let page = browser.open(&stand.plain("order", &script), "").await;
    page.run("await HaloSync.flush()").await;
    let calls = stand.calls();
    assert_eq!(stand.paths(), ["/users/identify", "/companies/identify"], "{calls:#?}");
    assert_eq!(calls[0].body["context"], json!({"early": {"label": "Early", "value": 1}}));
    assert_eq!(calls[1].body, json!({"company_id": "acme", "user_id": "ann", "traits": {"name": "Acme"}}));
    let of_ann = calls[0].body["session_id"].as_str().unwrap().to_owned();

    // Cleared and set again; two companies, of which the one named last is the user's; then somebody else.
    page.run(
        "HaloSync.setContext('a', { label: 'A', value: 1 }).clearContext('b').clearContext('a')
           .setContext('b', { label: 'B', value: 2 })
           .identifyCompany('acme').identifyCompany('beta').identifyCompany('acme', { plan: 'pro' })
           .identify('bob', { name: 'Bob' }).setContext('c', { label: 'C', value: 3 })
           .identify('ann').clearContext().setContext('d', { label: 'D', value: 4 });
         await HaloSync.flush();",
    )
    .await;
    let calls = &stand.calls()[2..];
    let told: Vec<_> = calls
        .iter()
        .map(|call| (call.path.as_str(), call.body["user_id"].as_str().unwrap(), &call.body["company_id"]))
        .collect();
    assert_eq!(
        told,
        [
            ("/users/identify", "ann", &json!(null)),
            ("/context/clear", "ann", &json!(null)),
            ("/context/set", "ann", &json!(null)),
            ("/companies/identify", "ann", &json!("beta")),
            ("/companies/identify", "ann", &json!("acme")),
            ("/users/identify", "bob", &json!(null)),
        ]
    );
    assert_eq!(calls[1].body, json!({"user_id": "ann", "all": true}));
    assert_eq!(calls[2].body["context"], json!({"d": {"label": "D", "value": 4}}));
    assert_eq!(calls[5].body["context"], json!({"c": {"label": "C", "value": 3}}));
    // What the one did in a session is not the other's.
    let of_bob = calls[5].body["session_id"].as_str().unwrap();
    assert_ne!(of_ann, of_bob);

    // One key by itself.
    page.run("HaloSync.clearContext('d').clearContext('e').setContext('d', { label: 'D', value: 5 }); await HaloSync.flush()")
        .await;
    let calls = &stand.calls()[8..];
    assert_eq!(calls[0].body, json!({"user_id": "ann", "key": "e"}));
    assert_eq!(calls[1].body["context"], json!({"d": {"label": "D", "value": 5}}));
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_last_outlives_the_page() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    let next = stand.page("next", "<!doctype html><title>next</title>");
    // At once, before anything else was sent (the preflight is still to come).
    let script = format!(
        "{INIT}.identify('user_1').setContext('a', {{ label: 'A', value: 1 }}); location.href = '{next}';"
    );
    let page = browser.open(&stand.plain("first", &script), "").await;
    let calls = stand.until(1).await;
    assert_eq!(calls[0].body["context"]["a"]["value"], 1, "{calls:#?}");
    page.close().await;

    // Within the quarter of a second in which it waits for company, and in the page's last moment.
    let script = format!(
        "{INIT}.identify('user_2'); addEventListener('pagehide', () => HaloSync.setContext('bye', {{ label: 'Bye', value: 1 }}));"
    );
    let page = browser.open(&stand.plain("second", &script), "").await;
    stand.until(2).await;
    page.run(&format!(
        "HaloSync.setContext('b', {{ label: 'B', value: 2 }}).identifyCompany('acme'); location.href = '{next}';"
    ))
    .await;
    let calls = stand.until(5).await;
    let mut last: Vec<_> = calls[2..].iter().map(|call| (call.path.clone(), call.body.clone())).collect();
    last.sort_by_key(|(path, body)| format!("{path}{body}"));
    assert_eq!(
        last,
        [
            (
                "/companies/identify".to_owned(),
                json!({"company_id": "acme", "user_id": "user_2", "traits": {}})
            ),
            (
                "/context/set".to_owned(),
                json!({"user_id": "user_2", "context": {"b": {"label": "B", "value": 2}}})
            ),
            (
                "/context/set".to_owned(),
                json!({"user_id": "user_2", "context": {"bye": {"label": "Bye", "value": 1}}})
            ),
        ]
    );
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_may_outlive_a_page_is_divided_and_the_oldest_left_behind_with_a_warning() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    let page = browser.open(&stand.plain("large", &format!("{INIT}.identify('user_1')")), "").await;
    stand.until(1).await;
    // Ten entries of 9 kB: five requests of two entries, of which three have room in 64 KiB.
    stand.plan([Next::Hang]);
    let next = stand.page("next", "<!doctype html><title>next</title>");
    page.run(&format!(
        "for (let n = 0; n < 10; n++) HaloSync.setContext('k' + n, {{ label: 'K', value: String(n).repeat(9000) }});
         location.href = '{next}';"
    ))
    .await;
    let calls = stand.until(4).await;
    let mut keys: Vec<String> = calls[1..]
        .iter()
        .flat_map(|call| call.body["context"].as_object().unwrap().keys().cloned().collect::<Vec<_>>())
        .collect();
    keys.sort();
    // The newest are among them; what was left behind at first may have gone as others were done.
    let newest = ["k6", "k7", "k8", "k9"];
    assert!(newest.iter().all(|key| keys.iter().any(|had| had == key)) && keys.len() < 10, "{keys:?}");
    // What a page says arrives beside its calls.
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let console = page.console().await;
        if console.iter().any(|line| line.contains("too large to outlive the page")) {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{console:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    page.close().await;

    // A page that stays sends all of it.
    let page = browser.open(&stand.plain("large", &format!("{INIT}.identify('user_2')")), "").await;
    stand.until(5).await;
    page.run(
        "for (let n = 0; n < 10; n++) HaloSync.setContext('k' + n, { label: 'K', value: String(n).repeat(9000) });
         await HaloSync.flush();",
    )
    .await;
    let calls = &stand.calls()[5..];
    let keys: usize = calls.iter().map(|call| call.body["context"].as_object().unwrap().len()).sum();
    assert_eq!(keys, 10);
    for call in calls {
        assert!(call.body["context"].to_string().len() <= 20_000);
    }
    page.close().await;
}

const STUB: &str = include_str!("../../../sdk/browser/snippet.js");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_before_the_file_is_there_are_kept_in_order_and_a_second_snippet_changes_nothing() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    let tag = format!("<script async src=\"{}/sdk/v1.js\"></script>", stand.api);
    let html = format!(
        "<!doctype html><title>stub</title><script>{STUB}</script>
         <script>
           window.early = HaloSync.init({{ apiKey: 'ab_live_test', debug: true }});
           HaloSync.identify('user_1', {{ name: 'Jane' }}).identifyCompany('acme');
         </script>
         <script>{STUB}</script>
         <script>
           HaloSync.setContext('a', {{ label: 'A', value: 1 }});
           HaloSync.init({{ apiKey: 'ab_live_other', userId: 'wrong' }});
           window.flushed = HaloSync.flush().then(() => HaloSync.debug().sent);
         </script>{tag}{tag}"
    );
    let page = browser.open(&stand.page("stub", &html), "").await;
    assert_eq!(page.evaluate("window.flushed").await, 2, "{:#?}", stand.calls());
    let calls = stand.until(2).await;
    assert_eq!(stand.paths(), ["/users/identify", "/companies/identify"]);
    assert_eq!(calls[0].body["context"]["a"]["value"], 1);
    assert!(calls.iter().all(|call| call.key == "Bearer ab_live_test" && call.body["user_id"] == "user_1"));
    // Who kept the stub goes on with it.
    page.run("window.early.setContext('b', { label: 'B', value: 2 }); window.early.push(['clearContext', 'a']); await window.early.flush()")
        .await;
    let calls = &stand.calls()[2..];
    assert_eq!(calls[0].body, json!({"user_id": "user_1", "key": "a"}));
    assert_eq!(calls[1].body["context"]["b"]["value"], 2);
    let console = page.console().await.join("\n");
    assert!(console.contains("init was called before") && console.contains("loaded twice"), "{console}");
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_was_written_for_the_reference_needs_another_address_only() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    let html = format!(
        "<!doctype html><title>alias</title><script src=\"{}/sdk/v1.js\" data-alias=\"HaloAgents\"></script>
         <script>
           const ha = HaloAgents.init({{ orgId: 'org_1', apiKey: 'ab_live_test', apiUrl: '{}/api/sdk/', userId: 'user_1' }});
           ha.setContext('a', {{ label: 'A', value: 1 }});
           window.same = HaloAgents.getInstance() === ha && window.HaloAgents === window.HaloSync;
         </script>",
        stand.api, stand.api
    );
    let page = browser.open(&stand.page("alias", &html), "").await;
    assert_eq!(page.evaluate("window.same").await, true);
    assert_eq!(stand.until(1).await[0].body["context"]["a"]["value"], 1);
    // What it shows can be passed on.
    let shown =
        page.evaluate("HaloSync.identify('user_1', {}, { userToken: 'secret' }) && HaloSync.debug()").await;
    assert_eq!(
        (&shown["apiKey"], &shown["userToken"], &shown["orgId"], &shown["userId"], &shown["ready"]),
        (&json!(true), &json!(true), &json!("org_1"), &json!("user_1"), &json!(true))
    );
    assert!(!shown.to_string().contains("ab_live") && !shown.to_string().contains("secret"), "{shown}");
    // It forgets all, and can begin anew.
    let again = page.run("HaloSync.destroy(); const gone = HaloSync.getInstance(); HaloSync.init({ apiKey: 'ab_live_two' }); HaloSync.identify('user_2'); await HaloSync.flush(); return gone").await;
    assert_eq!(again, json!(null));
    // The farewell and the new beginning travel apart: either may arrive first.
    let calls = stand.until(3).await;
    let anew = calls.iter().find(|call| call.key == "Bearer ab_live_two").unwrap();
    assert_eq!(anew.body["user_id"], "user_2");
    assert!(
        calls.iter().any(|call| call.body["user_token"] == "secret"),
        "what waited is sent before it forgets"
    );
    page.close().await;

    // A page that has the reference's own widget keeps it.
    let html = format!(
        "<!doctype html><script>window.HaloAgents = {{ own: true }}</script><script src=\"{}/sdk/v1.js\" data-alias=\"HaloAgents\"></script>",
        stand.api
    );
    let page = browser.open(&stand.page("own", &html), "").await;
    assert_eq!(page.evaluate("[HaloAgents.own, typeof HaloSync.init]").await, json!([true, "function"]));
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_with_a_strict_policy_loads_the_module() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    let own = stand.page_with(
        "own.js",
        &[("content-type", "text/javascript")],
        &format!(
            "import {{ init, setContext, flush }} from '{}/sdk/v1.mjs';
             init({{ apiKey: 'ab_live_test', userId: 'user_1' }});
             setContext('a', {{ label: 'A', value: 1 }});
             await flush();
             document.title = 'sent';",
            stand.api
        ),
    );
    let policy = format!(
        "default-src 'none'; script-src {} {}; connect-src {}; require-trusted-types-for 'script'; sandbox allow-scripts allow-same-origin",
        stand.site, stand.api, stand.api
    );
    let headers = [("content-type", "text/html"), ("content-security-policy", policy.as_str())];
    let html = format!(
        "<!doctype html><link rel=\"modulepreload\" href=\"{}/sdk/v1.mjs\" integrity=\"{}\" crossorigin=\"anonymous\"><script type=\"module\" src=\"{own}\"></script>",
        stand.api,
        halo_sync::http::browser::module().integrity
    );
    let page = browser.open(&stand.page_with("strict", &headers, &html), "").await;
    assert_eq!(stand.until(1).await[0].body["context"]["a"]["value"], 1);
    let console = page.console().await;
    assert!(!console.iter().any(|line| line.starts_with("error")), "{console:#?}");
    page.close().await;

    // A policy that forbids our server: nothing is sent, nothing is thrown.
    let headers = [("content-type", "text/html"), ("content-security-policy", "connect-src 'none'")];
    let html = format!(
        "<!doctype html><script src=\"{}/sdk/v1.js\"></script><script>{INIT}.identify('user_1')</script>",
        stand.api
    );
    let page = browser.open(&stand.page_with("closed", &headers, &html), "").await;
    let last = page
        .run("while (!HaloSync.debug().lastError) await new Promise((done) => setTimeout(done, 10)); return HaloSync.debug().pending")
        .await;
    assert_eq!((last, stand.calls().len()), (json!(1), 1));
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_in_the_browser() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    let page = browser
        .open(&stand.plain("kept", &format!("{INIT}.identify('user_1', {{ name: 'Jane' }})")), "")
        .await;
    let kept = page
        .run("await HaloSync.flush(); return [document.cookie, localStorage.length, sessionStorage.length, (await indexedDB.databases()).length, (await caches.keys()).length, Object.keys(window).filter((name) => name.startsWith('Halo'))]")
        .await;
    assert_eq!(kept, json!(["", 0, 0, 0, 0, ["HaloSync"]]));
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_files_run_in_node() {
    if browser().is_none() {
        return;
    }
    let stand = Stand::start().await;
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/node.mjs");
    let mut command = Command::new("node");
    command.arg(script).arg(&stand.api);
    let said = tokio::task::spawn_blocking(move || run(&mut command, Duration::from_secs(60)))
        .await
        .unwrap()
        .unwrap();
    let said: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(said["module"]["sent"], 2, "{said:#}");
    assert_eq!(said["script"], "function");
    assert_eq!(said["without_address"], false, "it cannot know where to send");
    let calls = stand.calls();
    assert_eq!(stand.paths(), ["/users/identify", "/companies/identify"]);
    assert_eq!(calls[0].body["traits"], json!({"name": "Jane"}));
}
