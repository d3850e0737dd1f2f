//! `connect` without a key, as a person runs it; and a process that dies between the provider's answer and the
//! database (S7).

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::hubspot::{HubSpotSandbox, Options};
use halo_sync::domain::OrgId;
use halo_sync::domain::connections::ConnectionStatus;
use serde_json::Value;

use crate::support::installation::{LOOK, Program};
use crate::support::postgres::Database;
use crate::support::program::{installed, run};

/// Settings for an app of the sandbox.
fn configure(program: &Program, hub: &HubSpotSandbox) {
    let (oauth, base) = (hub.oauth(), hub.base_url());
    std::fs::write(program.folder().join("app-secret"), oauth.client_secret()).unwrap();
    let listen = program.address().replace("http://", "");
    let text = format!(
        "[server]\nlisten = \"{listen}\"\npublic_url = \"{}\"\n[oauth.hubspot]\nclient_id = \"{}\"\n\
         client_secret_file = \"app-secret\"\nauthorize_url = \"{base}{}\"\ntoken_url = \"{base}{}\"\n\
         revoke_url = \"{base}{}\"\n",
        program.address(),
        oauth.client_id(),
        oauth.authorize_path(),
        oauth.token_path(),
        oauth.revoke_path().unwrap(),
    );
    std::fs::write(program.folder().join("halo-sync.toml"), text).unwrap();
}

/// `connect` at work, and what it has printed.
struct Connecting {
    child: Child,
    out: BufReader<ChildStdout>,
    first: Value,
}

async fn connecting(program: &Program, hub: &HubSpotSandbox) -> Connecting {
    let base = hub.base_url();
    let mut command =
        program.command(&["connect", "hubspot", "--json", "--base-url", &base, "--set", "rate_limit=none"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (out, line) = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        (out, line)
    })
    .await
    .unwrap();
    Connecting { child, out, first: serde_json::from_str(&line).unwrap() }
}

impl Connecting {
    /// The person goes where they are sent, and back; then the command ends.
    async fn granted(mut self) -> Value {
        let browser = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = browser.get(self.first["authorize_url"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().await.unwrap().contains("You can close this window."));
        tokio::task::spawn_blocking(move || {
            let mut rest = String::new();
            self.out.read_to_string(&mut rest).unwrap();
            assert!(self.child.wait().unwrap().success(), "{rest}");
            serde_json::from_str(&rest).unwrap()
        })
        .await
        .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_waits_for_the_browser_with_and_without_a_server_on_sqlite() {
    waits_for_the_browser(Program::new(None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_waits_for_the_browser_on_postgres() {
    let Some(database) = Database::migrated().await else { return };
    waits_for_the_browser(Program::new(Some(database))).await;
}

async fn waits_for_the_browser(program: Program) {
    let hub = HubSpotSandbox::start(Options::default()).await.unwrap();
    configure(&program, &hub);
    if program.on_sqlite() {
        // The command answers the browser itself.
        let connected = connecting(&program, &hub).await.granted().await;
        assert_eq!(connected["connection"]["connector"], "hubspot");
        assert_eq!(connected["renewed"], false);
    }
    let mut serving = program.serve();
    serving.ready().await;
    let connected = connecting(&program, &hub).await.granted().await;
    assert_eq!(connected["renewed"], program.on_sqlite());
    assert_eq!(connected["connection"]["account_id"], hub.portal().to_string());

    // Nobody comes.
    let mut command = program.command(&["connect", "hubspot", "--name", "other", "--wait", "1"]);
    let error =
        tokio::task::spawn_blocking(move || run(&mut command, Duration::from_secs(60))).await.unwrap();
    let error = error.unwrap_err();
    assert!(error.contains("exit status: 4") && error.contains("nobody came back"), "{error}");
    assert!(error.contains("code_challenge_method=S256"), "the address is printed: {error}");
    let (status, _) = serving.stop(Duration::from_secs(60)).await;
    assert!(status.success());
    program.remove().await;
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = installed(folder.path(), args);
        command.envs(env.iter().copied());
        run(&mut command, Duration::from_secs(60)).unwrap_err()
    };
    let id = ("HALO_SYNC_OAUTH__HUBSPOT__CLIENT_ID", "x");
    let secret = ("HALO_SYNC_OAUTH__HUBSPOT__CLIENT_SECRET", "y");
    let error = fails(&["connect", "hubspot"], &[]);
    assert!(error.contains("exit status: 6") && error.contains("oauth.hubspot.client_id"), "{error}");
    let error = fails(&["connect", "hubspot"], &[id, secret]);
    assert!(error.contains("exit status: 6") && error.contains("server.public_url"), "{error}");
    let public = ("HALO_SYNC_SERVER__PUBLIC_URL", "http://halo.example.com");
    let error = fails(&["connect", "hubspot"], &[id, secret, public]);
    assert!(error.contains("exit status: 6") && error.contains("open line"), "{error}");
    let error = fails(&["connect", "stripe"], &[id, secret]);
    assert!(error.contains("exit status: 2") && error.contains("--api-key-file"), "{error}");
    let error = fails(
        &["connections"],
        &[("HALO_SYNC_OAUTH__STRIPE__CLIENT_ID", "x"), ("HALO_SYNC_OAUTH__STRIPE__CLIENT_SECRET", "y")],
    );
    assert!(error.contains("exit status: 6") && error.contains("oauth.stripe"), "{error}");
}

/// S7. The provider has rotated the tokens; the process dies before it knows them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_with_new_tokens_asks_for_a_person() {
    let program = Program::new(None);
    let hub = HubSpotSandbox::start(Options::default()).await.unwrap();
    configure(&program, &hub);
    let oauth = hub.oauth();
    // The code is answered, the first renewal is done and never answered.
    oauth.set_lifetime(Duration::from_secs(8));
    hub.faults().add(FaultRule {
        path: oauth.token_path().to_owned(),
        skip: 1,
        times: 1,
        fault: Fault::Stall,
    });
    connecting(&program, &hub).await.granted().await;
    let mut serving = program.serve();
    serving.ready().await;
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    // Whoever has a use for the token renews it when it has grown old.
    let mut checks = tokio::task::JoinSet::new();
    let check = |checks: &mut tokio::task::JoinSet<_>| {
        while checks.try_join_next().is_some() {}
        if checks.is_empty() {
            let mut command = program.command(&["connections", "check", "hubspot"]);
            checks.spawn_blocking(move || drop(run(&mut command, Duration::from_secs(60))));
        }
    };
    while oauth.counts().refreshes == 0 {
        assert!(tokio::time::Instant::now() < end, "no renewal: {}", program.log());
        check(&mut checks);
        tokio::time::sleep(LOOK).await;
    }
    serving.kill();
    while checks.join_next().await.is_some() {}

    let mut serving = program.serve();
    serving.ready().await;
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    let store = program.read().await;
    let org = OrgId::default_org();
    let told = loop {
        let connection = store.find_connection(&org, "hubspot").await.unwrap().unwrap();
        if connection.status == ConnectionStatus::NeedsAttention {
            break connection;
        }
        assert!(tokio::time::Instant::now() < end, "{}", program.log());
        check(&mut checks);
        tokio::time::sleep(LOOK).await;
    };
    while checks.join_next().await.is_some() {}
    let why = told.status_reason.unwrap();
    assert!(why.contains("needs_reauth: a renewal was cut off"), "{why}");
    // Asking again asks nobody.
    let mut command = program.command(&["connections", "check", "hubspot"]);
    let error =
        tokio::task::spawn_blocking(move || run(&mut command, Duration::from_secs(60))).await.unwrap();
    let error = error.unwrap_err();
    assert!(error.contains("exit status: 4") && error.contains("halo-sync connect hubspot"), "{error}");
    let counts = oauth.counts();
    assert_eq!((counts.codes, counts.calls), (1, 3), "{counts:?}");
    let (status, _) = serving.stop(Duration::from_secs(60)).await;
    assert!(status.success());
    store.close().await;
    program.remove().await;
}
