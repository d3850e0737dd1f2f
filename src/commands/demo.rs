//! `halo-sync serve --demo`: the whole way of the data without any account.
//!
//! Everything here is the real program on a scratch database; only the providers are sandboxes, in this process
//! and on loopback, and they are called so.

use std::time::Duration;

use connector_testkit::sandbox::hubspot::{self, HubSpotSandbox};
use connector_testkit::sandbox::pandadoc::{self, PandaDocSandbox};
use connector_testkit::sandbox::stripe::{Demo, Options, StripeSandbox};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::host::{Access, Host};
use super::running::{Running, Scratch, StopRequests};
use super::{App, CommandError, ExitCode, derive, diff, sync};
use crate::config::Loaded;
use crate::context::{CompanyDoc, MergeOptions, RenderOptions, Request as Asked, UserDoc, merge, render};
use crate::domain::companies::TraitPatch;
use crate::domain::connections::KeyClass;
use crate::domain::runs::SyncRun;
use crate::domain::{ContextEntry, Rank, RunId};
use crate::service::{Connect, Request};
use crate::store::identity::{Lookup, WriteSource};
use crate::telemetry::Metrics;

/// How long the demo waits for a webhook's change to arrive before it says that something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(50);
/// The end user whose prompt is shown.
const USER: &str = "user_123";
/// The domain of its company.
const DOMAIN: &str = "northwind.example";
/// What is shown with where it comes from.
const FIELDS: [&str; 7] =
    ["plan", "mrr_minor", "renewal_date", "contract_term", "industry", "employee_count", "owner"];

/// Runs the demo, then serves until the process is asked to stop.
pub(super) async fn run(app: &App, mut loaded: Loaded, metrics: Metrics) -> Result<ExitCode, CommandError> {
    let scratch = Scratch(std::env::temp_dir().join(format!("halo-sync-demo-{}", std::process::id())));
    loaded.config.data.dir.clone_from(&scratch.0);
    loaded.config.database = crate::config::Database::default();
    loaded.config.backup.every_hours = 0;
    // Webhooks come from this process, and are signed for the address that they are posted to.
    loaded.config.server.public_url = None;
    loaded.config.security = crate::config::Security::default();
    let sandboxes = Sandboxes::start().await?;
    let (demo, crm) = sandboxes.fill()?;
    let host = Host::open(app, loaded, Access::Write).await?;
    app.out.note(&format!(
        "This is a demo: sandboxes of Stripe, HubSpot and PandaDoc in this process, no real account, and a \
         database that\ngoes when it ends.\n\
         1. a new SQLite file, migrated to schema {}",
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
        shown = show(app, &running, &sandboxes, (&demo, &crm)) => shown,
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
    drop(sandboxes);
    drop(scratch);
    code
}

/// The providers.
struct Sandboxes {
    stripe: StripeSandbox,
    hubspot: HubSpotSandbox,
    pandadoc: PandaDocSandbox,
}

impl Sandboxes {
    async fn start() -> Result<Self, CommandError> {
        Ok(Self {
            stripe: StripeSandbox::start(Options { auto_deliver: true, ..Options::default() }).await?,
            hubspot: HubSpotSandbox::start(hubspot::Options::default()).await?,
            pandadoc: PandaDocSandbox::start(pandadoc::Options::default()).await?,
        })
    }

    /// One company that all three know: by its metadata, by its domain, and by a deal that a document is linked to.
    fn fill(&self) -> Result<(Demo, hubspot::Demo), CommandError> {
        let demo =
            self.stripe.seed_demo().map_err(|e| anyhow::anyhow!(e).context("cannot fill the sandbox"))?;
        let crm =
            self.hubspot.seed_demo().ok_or_else(|| anyhow::anyhow!("the sandbox HubSpot is not empty"))?;
        self.pandadoc.seed_demo();
        let deals = self.hubspot.ids(hubspot::Kind::Deals);
        let document =
            self.pandadoc.create(&format!("{}: data processing", demo.name), "legal@outside.example");
        let linked = json!([{
            "id": "1", "provider": "hubspot", "entity_type": "deal", "children": [],
            "entity_id": deals.first().map(ToString::to_string),
        }]);
        self.pandadoc
            .change(&document, None, |details| details["linked_objects"] = linked)
            .and_then(|()| self.pandadoc.complete(&document))
            .map_err(|refused| anyhow::anyhow!("the sandbox PandaDoc refused: {}", refused.body))?;
        // What happened before anything is connected is not announced.
        drop(self.pandadoc.take_events());
        Ok((demo, crm))
    }

    /// What is connected: connector, name, settings, secret, and the webhooks' secret.
    fn connections(&self) -> [Connect; 3] {
        let connect = |connector: &str, config: Value, secret: &str, webhook_secret: Option<&str>| Connect {
            connector: connector.to_owned(),
            name: format!("{connector}-sandbox"),
            config,
            secrets: vec![("api_key".to_owned(), secret.to_owned().into())],
            webhook_secrets: webhook_secret.into_iter().map(|secret| secret.to_owned().into()).collect(),
            backfill: true,
        };
        let at = |base_url: String| json!({ "base_url": base_url, "rate_limit": "none" });
        let Self { stripe, hubspot, pandadoc } = self;
        // No call tells a sandbox key of PandaDoc's.
        let mut of_pandadoc = at(pandadoc.base_url());
        of_pandadoc["sandbox"] = json!(true);
        [
            connect("stripe", at(stripe.base_url()), stripe.api_key(), Some(stripe.webhook_secret())),
            connect(
                "hubspot",
                at(hubspot.base_url()),
                &hubspot.access_token(),
                Some(hubspot.client_secret()),
            ),
            connect("pandadoc", of_pandadoc, pandadoc.api_key(), None),
        ]
    }
}

/// What a product sends when a user logs in.
async fn identify(app: &App, host: &Host, demo: &Demo) -> Result<(), CommandError> {
    let source = WriteSource { rank: Rank::Server, source: "sdk".to_owned(), at: app.clock.now() };
    let traits = |value: Value| value.as_object().cloned().unwrap_or_default();
    let company = TraitPatch {
        traits: traits(json!({ "name": demo.name, "domain": DOMAIN, "space_id": "space_789" })),
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
    sandboxes: &Sandboxes,
    (demo, crm): (&Demo, &hubspot::Demo),
) -> Result<(), CommandError> {
    let host = &running.host;
    let address = running.address.ok_or_else(|| anyhow::anyhow!("nothing listens"))?;
    app.out.note("3. the sandbox accounts are connected, their backfills run through the queue");
    let mut read = 0;
    for connect in sandboxes.connections() {
        let name = connect.name.clone();
        let answer = host.execute(Request::Connect(connect)).await?;
        // Where each provider is told to send its webhooks; PandaDoc's API takes that from us.
        let url = format!("http://{address}{}", answer["webhook_path"].as_str().unwrap_or_default());
        match host.services.connection(&host.org, &name).await?.connector.as_str() {
            "stripe" => sandboxes.stripe.register_webhook(&url),
            "hubspot" => sandboxes.hubspot.register_webhook(&url),
            _ => {
                let public_url = Some(format!("http://{address}"));
                host.execute(Request::RegisterWebhook { connection: name, public_url }).await?;
            }
        }
        let run = RunId::from(answer["run"]["id"].as_str().unwrap_or_default());
        let run: SyncRun = sync::follow(app, host, &run).await?;
        read += super::runs::total(&run).read;
    }
    if let Some(runtime) = running.runtime() {
        runtime.drain().await;
    }
    let before = wait_for(host, demo, |fields| !fields["plan"].is_null()).await?;
    let sources = provenance(app, host, demo).await?;
    let identities = host.store().count_identities(&host.org).await?;
    app.out.note(&format!(
        "   {read} records read, {} companies; MRR and plan derived (TEST: the sandbox account is in test mode)\n\
         4. one company, made of what three tools know of it:\n",
        identities.companies
    ));
    for line in sources {
        app.out.line(&line)?;
    }
    app.out.note("\n5. what the chat's system prompt says about Jane:\n");
    app.out.line(&before.text)?;

    sandboxes
        .stripe
        .demo_change(demo)
        .map_err(|e| anyhow::anyhow!(e).context("cannot change the sandbox"))?;
    app.out.note(&format!(
        "\n6. {} moves to another plan in Stripe. Its signed webhook arrives, is stored before it is answered, and\n   \
         the subscription that it names is read again. The prompt changes:\n",
        demo.name
    ));
    let moved = changed(app, host, demo, &before, "plan").await?;

    sandboxes.hubspot.demo_change(crm);
    sandboxes.hubspot.flush().await;
    app.out.note(&format!(
        "\n7. In HubSpot, {} has grown and opens a ticket. One signed batch of events tells of it:\n",
        demo.name
    ));
    let grown = changed(app, host, demo, &moved, "employee_count").await?;

    sandboxes.pandadoc.demo_change();
    sandboxes.pandadoc.flush().await;
    app.out.note(&format!(
        "\n8. In PandaDoc, {} signs for two years. The signed webhook names the document, and its term counts:\n",
        demo.name
    ));
    changed(app, host, demo, &grown, "contract_term_months").await?;
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

/// What the demo's company is made of: each field, its value, and the records that say so.
async fn provenance(app: &App, host: &Host, demo: &Demo) -> Result<Vec<String>, CommandError> {
    let found = host.store().find_company(&host.org, &Lookup::External(demo.company_id.clone())).await?;
    let Some(company) = found else { return Ok(Vec::new()) };
    let derivation = derive::look(app, host, &company).await?;
    let connections = host.store().list_connections(Some(&host.org)).await?;
    let named = |record: &String| {
        let (id, rest) = record.split_once('/').unwrap_or_default();
        let connection = connections.iter().find(|connection| connection.id.0 == id);
        format!("{} {rest}", connection.map_or(id, |connection| &connection.name))
    };
    let values = serde_json::to_value(&derivation.values).map_err(anyhow::Error::from)?;
    Ok(FIELDS
        .iter()
        .filter(|field| !values[**field].is_null())
        .map(|field| {
            let why = derivation.why(field);
            let records: Vec<String> = why.iter().flat_map(|why| &why.records).map(named).collect();
            let value = values[*field].to_string();
            format!("   {field:16} {value:22} {:4} {}", why.map_or("", |why| &why.rule), records.join(", "))
        })
        .collect())
}

/// The company and the prompt at one moment.
struct Shown {
    fields: Value,
    text: String,
}

/// Waits until a field is another one than before, and prints what has changed in the prompt.
async fn changed(
    app: &App,
    host: &Host,
    demo: &Demo,
    before: &Shown,
    field: &str,
) -> Result<Shown, CommandError> {
    let is_new = |fields: &Value| !fields[field].is_null() && fields[field] != before.fields[field];
    let after = wait_for(host, demo, is_new).await?;
    for line in diff::lines(&before.text, &after.text) {
        app.out.line(&line)?;
    }
    Ok(after)
}

/// Waits until the company's fields are as wanted.
async fn wait_for(host: &Host, demo: &Demo, wanted: impl Fn(&Value) -> bool) -> Result<Shown, CommandError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let user = Lookup::External(USER.to_owned());
        let company = Lookup::External(demo.company_id.clone());
        let view = host.store().load_view(&host.org, Some(&user), Some(&company)).await?;
        let fields = serde_json::to_value(view.company.as_ref().map(|company| &company.fields))
            .map_err(anyhow::Error::from)?;
        if wanted(&fields) {
            let (user, company) = (view.user.map(UserDoc::from), view.company.map(CompanyDoc::from));
            let (asked, options) = (Asked::default(), MergeOptions::default());
            let merged = merge(user.as_ref(), company.as_ref(), &asked, &[], &options);
            return Ok(Shown { fields, text: render(&merged, &RenderOptions::default()).text });
        }
        if Instant::now() > until {
            return Err(CommandError::new(
                ExitCode::Failed,
                "demo_stuck",
                "the demo did not get where it should",
            )
            .why(format!("{} has {fields}", demo.name))
            .try_this("halo-sync serve --demo -v"));
        }
        tokio::time::sleep(LOOK).await;
    }
}
