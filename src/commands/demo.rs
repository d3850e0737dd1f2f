//! `halo-sync serve --demo`: the whole way of the data without any account.
//!
//! Everything here is the real program on a scratch database; only the provider is a sandbox, in this process
//! and on loopback, and it is called one.

use std::time::Duration;

use connector_testkit::sandbox::stripe::{Demo, Options, StripeSandbox};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::host::{Access, Host};
use super::running::{Running, Scratch, StopRequests};
use super::{App, CommandError, ExitCode, diff, sync};
use crate::config::Loaded;
use crate::context::{CompanyDoc, MergeOptions, RenderOptions, Request as Asked, UserDoc, merge, render};
use crate::domain::companies::TraitPatch;
use crate::domain::connections::KeyClass;
use crate::domain::runs::SyncRun;
use crate::domain::{ContextEntry, Rank, RunId};
use crate::service::connections::webhook_path;
use crate::service::{Connect, Request};
use crate::store::identity::{Lookup, WriteSource};
use crate::telemetry::Metrics;

/// How long the demo waits for a webhook's change to arrive before it says that something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);
/// The end user whose prompt is shown.
const USER: &str = "user_123";

/// Runs the demo, then serves until the process is asked to stop.
pub(super) async fn run(app: &App, mut loaded: Loaded, metrics: Metrics) -> Result<ExitCode, CommandError> {
    let scratch = Scratch(std::env::temp_dir().join(format!("halo-sync-demo-{}", std::process::id())));
    loaded.config.data.dir.clone_from(&scratch.0);
    loaded.config.database = crate::config::Database::default();
    loaded.config.backup.every_hours = 0;
    loaded.config.security = crate::config::Security::default();
    let sandbox = StripeSandbox::start(Options { auto_deliver: true, ..Options::default() }).await?;
    let demo = sandbox.seed_demo().map_err(|e| anyhow::anyhow!(e).context("cannot fill the sandbox"))?;
    let host = Host::open(app, loaded, Access::Write).await?;
    app.out.note(&format!(
        "This is a demo: a sandbox Stripe in this process ({}), no real account, a database that goes when it ends.\n\
         1. a new SQLite file, migrated to schema {}",
        sandbox.base_url(),
        host.store().schema_version().await?
    ));
    identify(app, &host, &demo).await?;
    app.out.note(&format!(
        "2. what your product would send: company {:?} and its end user {USER:?}",
        demo.company_id
    ));
    let running = Running::start(app, host, metrics, true).await?;
    let mut requests = StopRequests::new()?;
    let shown = tokio::select! {
        shown = show(app, &running, &sandbox, &demo) => shown,
        () = requests.next() => {
            running.stop(app).await;
            return Ok(ExitCode::Ok);
        }
    };
    if let Err(error) = shown {
        running.stop(app).await;
        return Err(error);
    }
    let code = running.until_stopped(app).await;
    drop(sandbox);
    drop(scratch);
    code
}

/// What a product sends when a user logs in.
async fn identify(app: &App, host: &Host, demo: &Demo) -> Result<(), CommandError> {
    let source = WriteSource { rank: Rank::Server, source: "sdk".to_owned(), at: app.clock.now() };
    let traits = |value: Value| value.as_object().cloned().unwrap_or_default();
    let company = TraitPatch {
        traits: traits(json!({ "name": demo.name, "industry": "Wholesale", "space_id": "space_789" })),
        ..TraitPatch::default()
    };
    let company = host
        .store()
        .put_company(&host.org, &Lookup::External(demo.company_id.clone()), &company, &source)
        .await?;
    let integrations: ContextEntry = serde_json::from_value(json!({
        "label": "Connected Integrations",
        "type": "integration",
        "value": {
            "google_ads": { "connected": true, "status": "error", "error": "Token expired" },
            "hubspot": { "connected": false },
        },
    }))
    .map_err(anyhow::Error::from)?;
    let user = TraitPatch {
        traits: traits(json!({ "name": "Jane Doe", "email": "jane@northwind.example", "role": "admin" })),
        context: [("integrations".to_owned(), Some(integrations))].into(),
    };
    host.store()
        .put_user(&host.org, &Lookup::External(USER.to_owned()), &user, Some(&company.id), &source)
        .await?;
    Ok(())
}

async fn show(
    app: &App,
    running: &Running,
    sandbox: &StripeSandbox,
    demo: &Demo,
) -> Result<(), CommandError> {
    let host = &running.host;
    let address = running.address.ok_or_else(|| anyhow::anyhow!("nothing listens"))?;
    let answer = host
        .execute(Request::Connect(Connect {
            connector: "stripe".to_owned(),
            name: "stripe-sandbox".to_owned(),
            config: json!({ "base_url": sandbox.base_url(), "rate_limit": "none" }),
            secrets: vec![("api_key".to_owned(), sandbox.api_key().to_owned().into())],
            webhook_secrets: vec![sandbox.webhook_secret().to_owned().into()],
            backfill: true,
        }))
        .await?;
    let connection = host.services.connection(&host.org, "stripe-sandbox").await?;
    sandbox.register_webhook(&format!("http://{address}{}", webhook_path(&connection)));
    app.out.note("3. the sandbox account is connected, its backfill runs through the queue");
    let run = RunId::from(answer["run"]["id"].as_str().unwrap_or_default());
    let run: SyncRun = sync::follow(app, host, &run).await?;
    let counts = super::runs::total(&run);
    if let Some(runtime) = running.runtime() {
        runtime.drain().await;
    }
    let before = wait_for(host, demo, |plan, _| plan.is_some()).await?;
    let identities = host.store().count_identities(&host.org).await?;
    app.out.note(&format!(
        "   {} records read, {} companies; MRR and plan derived (TEST: the sandbox account is in test mode)\n\
         4. what the chat's system prompt says about Jane:\n",
        counts.read, identities.companies
    ));
    app.out.line(&before.text)?;

    sandbox.demo_change(demo).map_err(|e| anyhow::anyhow!(e).context("cannot change the sandbox"))?;
    app.out.note(&format!(
        "\n5. {} moves to another plan in Stripe. Its signed webhook arrives, is stored before it is answered, and\n   \
         the subscription that it names is read again. The prompt changes:\n",
        demo.name
    ));
    let plan = before.plan.clone();
    let after = wait_for(host, demo, |now, _| now.is_some() && now != plan.as_deref()).await?;
    for line in diff::lines(&before.text, &after.text) {
        app.out.line(&line)?;
    }
    let key = host.execute(Request::CreateKey { class: KeyClass::Server, name: "demo".to_owned() }).await?;
    let data = host.data_dir();
    let data = data.display();
    app.out.note(&format!(
        "\nThe demo goes on until Ctrl-C. Beside it, in another terminal:\n\
         \x20 halo-sync --data-dir {data} companies list\n\
         \x20 halo-sync --data-dir {data} derive --company {} --explain\n\
         \x20 halo-sync --data-dir {data} render --user {USER} --explain\n\
         \x20 curl -s http://{address}/api/sdk/chat/context -H 'Authorization: Bearer {}' -d '{{\"user_id\":\"{USER}\"}}'\n\
         health http://{address}/readyz   metrics http://{address}/metrics\n\
         With your own account (a restricted key with read access is enough):\n\
         \x20 halo-sync connect stripe --api-key-file FILE --webhook-secret-file FILE\n\
         \x20 halo-sync serve",
        demo.company_id,
        key["key"].as_str().unwrap_or_default(),
    ));
    Ok(())
}

/// The prompt at one moment.
struct Shown {
    plan: Option<String>,
    text: String,
}

/// Waits until the company's plan and MRR are as wanted.
async fn wait_for(
    host: &Host,
    demo: &Demo,
    wanted: impl Fn(Option<&str>, Option<i64>) -> bool,
) -> Result<Shown, CommandError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let user = Lookup::External(USER.to_owned());
        let company = Lookup::External(demo.company_id.clone());
        let view = host.store().load_view(&host.org, Some(&user), Some(&company)).await?;
        let fields = view.company.as_ref().map(|c| &c.fields);
        let plan = fields.and_then(|f| f.plan.clone());
        if wanted(plan.as_deref(), fields.and_then(|f| f.mrr_minor)) {
            let (user, company) = (view.user.map(UserDoc::from), view.company.map(CompanyDoc::from));
            let (asked, options) = (Asked::default(), MergeOptions::default());
            let merged = merge(user.as_ref(), company.as_ref(), &asked, &[], &options);
            return Ok(Shown { plan, text: render(&merged, &RenderOptions::default()).text });
        }
        if Instant::now() > until {
            return Err(CommandError::new(
                ExitCode::Failed,
                "demo_stuck",
                "the demo did not get where it should",
            )
            .why(format!("{} has plan {plan:?}", demo.name))
            .try_this("halo-sync serve --demo -v"));
        }
        tokio::time::sleep(LOOK).await;
    }
}
