//! A server that is away, busy or does not believe; pages that give nonsense.

use serde_json::{Value, json};

use super::driver::browser;
use super::stand::{Next, Stand};

/// Notes what is waited for, and waits a hundredth of it.
const FAST: &str = "
  window.waits = [];
  const slow = window.setTimeout;
  window.setTimeout = (run, ms, ...more) => {
    if (ms > 260 && ms !== 30000) window.waits.push(ms);
    return slow(run, ms / 100, ...more);
  };
  window.errors = [];
  window.expired = 0;";

const INIT: &str = "HaloSync.init({ apiKey: 'ab_live_test', debug: true,
  onError: (error) => window.errors.push({ message: error.message, status: error.status ?? null, code: error.code ?? null, body: error.body ?? null }),
  onIdentityExpired: () => window.expired++ })";

fn waits(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|ms| ms.as_f64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_pass_is_tried_again_with_growing_random_waits() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    stand.plan([
        Next::Say(503, &[], json!({})),
        Next::Unreadable,
        Next::Say(500, &[], json!({})),
        Next::Say(429, &[("retry-after", "7")], json!({})),
        Next::Say(503, &[("retry-after", "soon")], json!({})),
    ]);
    let page =
        browser.open(&stand.plain("again", &format!("{INIT}.identify('user_1', {{ n: 1 }})")), FAST).await;
    // Said while the first still waits: it comes after it.
    let waited =
        page.run("HaloSync.identifyCompany('acme'); await HaloSync.flush(); return window.waits").await;
    let calls = stand.calls();
    assert_eq!(stand.paths(), [vec!["/users/identify"; 6], vec!["/companies/identify"]].concat());
    assert!(calls[..6].iter().all(|call| call.body == calls[0].body));
    let waited = waits(&waited);
    assert_eq!(waited.len(), 5, "{waited:?}");
    for (n, ms) in waited.iter().enumerate() {
        let (least, most) = match n {
            3 => (7_000.0, 8_000.0),
            n => (500.0 * 2f64.powi(n as i32), 1_000.0 * 2f64.powi(n as i32)),
        };
        assert!((least..=most).contains(ms), "wait {n}: {ms} ms, {least} to {most}");
    }
    assert_eq!(page.evaluate("window.errors").await, json!([]));
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_recovers_is_given_up_and_the_next_call_begins_anew() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    stand.plan(vec![Next::Say(500, &[], json!({"error": "broken"})); 10]);
    let page = browser.open(&stand.plain("up", &format!("{INIT}.identify('user_1')")), FAST).await;
    let errors = page.run("await HaloSync.flush(); return window.errors").await;
    assert_eq!(stand.calls().len(), 10);
    assert_eq!(errors.as_array().unwrap().len(), 1, "{errors:#}");
    assert_eq!(
        (&errors[0]["status"], &errors[0]["message"]),
        (&json!(500), &json!("/users/identify: broken"))
    );
    page.run("HaloSync.setContext('a', { label: 'A', value: 1 }); await HaloSync.flush()").await;
    assert_eq!(stand.calls().last().unwrap().path, "/context/set");
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_told_and_not_sent_again() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    let refused = json!({"error": "reserved", "code": "reserved_keys", "reserved_keys": ["created_at"], "request_id": "req_1"});
    stand.plan([
        Next::Say(400, &[], refused.clone()),
        Next::Say(401, &[], json!("not an object")),
        Next::Say(403, &[], json!({"error": "no", "code": "origin_not_allowed"})),
        Next::Say(413, &[], json!(null)),
    ]);
    let page = browser
        .open(&stand.plain("no", &format!("{INIT}.identify('user_1', {{ created_at: 1, n: 2 }})")), FAST)
        .await;
    let errors = page
        .run(
            "await HaloSync.flush();
             for (const key of ['a', 'b', 'c', 'd']) { HaloSync.setContext(key, { label: 'A', value: 1 }); await HaloSync.flush(); }
             return window.errors",
        )
        .await;
    assert_eq!(stand.calls().len(), 5);
    assert_eq!(errors[0]["body"], refused);
    let told: Vec<_> = errors.as_array().unwrap().iter().map(|error| &error["status"]).collect();
    assert_eq!(told, [400, 401, 403, 413]);
    assert_eq!(
        page.evaluate(
            "[window.waits.length, window.expired, HaloSync.debug().failed, HaloSync.debug().sent]"
        )
        .await,
        json!([0, 0, 4, 1])
    );
    // Before that it was said in the console, on a page that is being developed.
    let console = page.console().await.join("\n");
    assert!(console.contains("reserved, will be refused: created_at"), "{console}");
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_is_asked_for_once_and_then_told_once() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    let expired =
        || Next::Say(403, &[], json!({"error": "the token has expired", "code": "identity_expired"}));
    stand.plan([expired()]);
    let script = "window.asked = []; window.tokens = ['second', null];
      HaloSync.init({ apiKey: 'ab_live_test', userId: 'user_1', userToken: 'first',
        getUserToken: async (id) => { window.asked.push(id); return window.tokens.shift(); },
        onIdentityExpired: () => window.expired++, onError: (error) => window.errors.push(error.message) });";
    let page = browser.open(&stand.plain("token", script), FAST).await;
    page.run("await HaloSync.flush()").await;
    let tokens = |from: usize| -> Vec<Value> {
        stand.calls()[from..].iter().map(|call| call.body["user_token"].clone()).collect()
    };
    assert_eq!(tokens(0), ["first", "second"]);
    assert_eq!(
        page.evaluate("[window.asked, window.expired, window.errors]").await,
        json!([["user_1"], 0, []])
    );

    // The page has none: it is told once, and what is said waits.
    stand.plan([expired()]);
    let seen = page
        .run(
            "for (let n = 0; n < 3; n++) { HaloSync.setContext('a', { label: 'A', value: n }); await HaloSync.flush(); }
             HaloSync.identifyCompany('acme'); await HaloSync.flush();
             return [window.asked.length, window.expired, HaloSync.debug().identityExpired, HaloSync.debug().pending]",
        )
        .await;
    assert_eq!(seen, json!([2, 1, true, 3]));
    assert_eq!(stand.calls().len(), 3);
    // Somebody else is not held up by it, and may be refused, too.
    stand.plan([expired()]);
    let other = page
        .run(
            "HaloSync.identify('user_2', {}, { userToken: 'two' }); await HaloSync.flush();
             const refused = HaloSync.debug().identityExpired;
             HaloSync.identify('user_2', {}, { userToken: 'three' }); await HaloSync.flush();
             return [refused, HaloSync.debug().identityExpired, window.expired, window.asked.length]",
        )
        .await;
    assert_eq!(
        (other, tokens(3)),
        (json!([true, false, 2, 3]), vec![json!("two"), json!("three"), json!("three")])
    );
    // A new token, and all that waits goes out, the newest as it is now.
    page.run("HaloSync.identify('user_1', { n: 1 }, { userToken: 'third' }); await HaloSync.flush()").await;
    let calls = &stand.calls()[6..];
    assert!(calls.iter().all(|call| call.body["user_token"] == "third"), "{calls:#?}");
    let contexts: Vec<_> = calls
        .iter()
        .filter(|call| !call.body["context"]["a"].is_null())
        .map(|call| call.body["context"]["a"]["value"].clone())
        .collect();
    assert_eq!(contexts, [0, 2], "in the order in which they were said");
    assert_eq!(
        page.evaluate("[window.expired, HaloSync.debug().pending, window.errors]").await,
        json!([2, 0, []])
    );
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_for_where_none_was_given_and_the_page_may_fail_at_it() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    for (name, given, sent) in [
        ("gives", "async () => 'good'", json!("good")),
        ("throws", "() => { throw new Error('no') }", json!(null)),
        ("rejects", "async () => { throw new Error('no') }", json!(null)),
        // Its patience is a hundredth of 30 s here.
        ("hangs", "() => new Promise(() => {})", json!(null)),
        ("no function", "'text'", json!(null)),
    ] {
        let before = stand.calls().len();
        let script =
            format!("HaloSync.init({{ apiKey: 'ab_live_test', userId: 'user_1', getUserToken: {given} }})");
        let page = browser.open(&stand.plain("asks", &script), FAST).await;
        page.run("await HaloSync.flush()").await;
        assert_eq!(stand.calls()[before].body["user_token"], sent, "{name}");
        page.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_offline_sends_as_soon_as_it_is_back() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    let page = browser.open(&stand.plain("offline", INIT), "").await;
    page.offline(true).await;
    page.run("HaloSync.identify('user_1', { n: 1 }); while (!HaloSync.debug().lastError) await new Promise((done) => setTimeout(done, 10))").await;
    assert_eq!(stand.calls().len(), 0);
    page.run("HaloSync.identify('user_1', { n: 2 }); HaloSync.setContext('a', { label: 'A', value: 1 })")
        .await;
    page.offline(false).await;
    let calls = stand.until(2).await;
    assert_eq!((&calls[0].body["traits"]["n"], &calls[1].body["traits"]["n"]), (&json!(1), &json!(2)));
    page.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_page_gives_throws_into_it() {
    let Some(browser) = browser() else { return };
    let stand = Stand::start().await;
    let script = include_str!("../../browser/hostile.js");
    let page = browser.open(&stand.plain("hostile", script), "").await;
    assert_eq!(page.evaluate("window.thrown").await, json!([]));
    page.run("await HaloSync.flush()").await;
    assert_eq!(page.evaluate("window.thrown").await, json!([]));
    // What can be written is sent, also beside what cannot.
    let calls = stand.calls();
    let sent = calls.iter().find(|call| call.body["user_id"] == "77").unwrap();
    assert_eq!(
        sent.body["traits"],
        json!({"good": 1, "big": "12345678901234567890", "date": "2026-01-01T00:00:00.000Z", "nothing": null,
               "__proto__": "own", "proxy": {"a": 1}, "emoji": "\u{1f984}\u{fffd}", "nan": null})
    );
    assert_eq!(page.evaluate("({}).polluted === undefined").await, true);
    page.close().await;

    // A browser that lacks what we use, or a page that has broken it.
    for (name, broken) in [
        ("no fetch", "delete window.fetch"),
        ("fetch throws", "window.fetch = () => { throw new Error('no') }"),
        ("fetch gives nothing", "window.fetch = () => undefined"),
        ("no console", "window.console = undefined"),
        (
            "a frozen console",
            "Object.freeze(console); Object.freeze(Object.prototype); Object.freeze(Array.prototype)",
        ),
        ("no crypto", "Object.defineProperty(window, 'crypto', { value: undefined })"),
        ("no text encoder", "window.TextEncoder = undefined"),
        ("no abort", "window.AbortSignal = { }"),
        ("the name is taken", "Object.defineProperty(window, 'HaloSync', { value: 7, writable: false })"),
        ("a getter", "Object.defineProperty(window, 'HaloSync', { get() { throw new Error('mine') } })"),
    ] {
        let script = "try { HaloSync.init({ apiKey: 'ab_live_test', userId: 'user_1', onError() { throw new Error('page') }, onReady: async () => { throw new Error('page') } });
            HaloSync.setContext('a', { label: 'A', value: 1 }); } catch (error) { window.thrown = String(error) }";
        let page = browser.open(&stand.plain("broken", script), broken).await;
        // What is begun by then may still fail, and must not reach the page either.
        let thrown = page
            .run("await new Promise((done) => setTimeout(done, 100)); return window.thrown ?? null")
            .await;
        match name {
            "the name is taken" | "a getter" => assert!(thrown.is_string(), "{name}: the page's own mistake"),
            _ => assert_eq!(thrown, json!(null), "{name}"),
        }
        page.close().await;
    }
}
