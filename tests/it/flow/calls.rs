//! Whole runs of HubSpot and PandaDoc, counted at the provider: within a twentieth of the fewest calls that its API
//! allows.

use std::collections::BTreeMap;
use std::sync::Arc;

use connector_testkit::sandbox::hubspot::{self, HubSpotSandbox, Kind};
use connector_testkit::sandbox::pandadoc::{self, PandaDocSandbox};
use halo_sync::domain::runs::RunStatus;
use halo_sync::service::{Connect, Request};
use serde_json::json;

use crate::support::app::{App, on_both};

on_both!(hubspot_is_asked_no_more_than_it_must_be, pandadoc_is_asked_no_more_than_it_must_be);

/// Objects on a page of HubSpot's lists, and results of its searches; associations in one batch.
const LISTED: usize = 100;
const FOUND: usize = 200;
const ASSOCIATED: usize = 1_000;
/// PandaDoc's documents on a page of the list, and in one call for extracted data.
const DOCUMENTS: usize = 100;
const EXTRACTED: usize = 40;

async fn connect(app: &App, connector: &str, base_url: String, key: &str) {
    let request = Connect {
        connector: connector.to_owned(),
        name: connector.to_owned(),
        config: json!({ "base_url": base_url, "rate_limit": "none" }),
        secrets: vec![("api_key".to_owned(), key.to_owned().into())],
        webhook_secrets: Vec::new(),
        backfill: false,
    };
    app.execute(Request::Connect(request)).await.unwrap();
    app.drain().await;
}

/// A run to its end; how many records it read.
async fn run(app: &App, connector: &str, full: bool) -> i64 {
    app.execute(Request::Sync { connection: connector.to_owned(), full, streams: Vec::new() }).await.unwrap();
    app.drain().await;
    let run = app.last_run().await;
    assert_eq!(run.status, RunStatus::Succeeded, "{run:#?}");
    run.streams.iter().map(|stream| stream.counts.read).sum()
}

fn assert_few(what: &str, calls: &BTreeMap<String, u64>, fewest: usize) {
    let made: u64 = calls.values().sum();
    assert!(made * 100 <= fewest as u64 * 105, "{what}: {made} calls, {fewest} are the fewest: {calls:#?}");
}

async fn hubspot_is_asked_no_more_than_it_must_be(app: &App) {
    let clock = Arc::new(app.clock.clone());
    let sandbox =
        HubSpotSandbox::start(hubspot::Options { clock, ..hubspot::Options::default() }).await.unwrap();
    sandbox.seed(1_050);
    connect(app, "hubspot", sandbox.base_url(), &sandbox.access_token()).await;
    sandbox.reset_calls();
    let read = run(app, "hubspot", true).await;
    assert_eq!(read, 3 * 1_050);
    // Companies, contacts and deals, what they are associated with among it; five empty streams (tickets, emails,
    // notes, calls, meetings); owners, live and former; definitions of four object types.
    assert_few("a backfill", &sandbox.all_calls(), 3 * 1_050_usize.div_ceil(LISTED) + 5 + 2 + 4);

    // Nothing changed: a search of each of eight streams, the archived objects of seven (meetings have no such
    // list), owners and definitions.
    app.pass(3_600);
    let unchanged = 8 + 7 + 2 + 4;
    sandbox.reset_calls();
    assert_eq!(run(app, "hubspot", false).await, 0);
    assert_few("a run that finds nothing", &sandbox.all_calls(), unchanged);

    let changed = 900;
    for kind in [Kind::Contacts, Kind::Deals] {
        for id in sandbox.ids(kind).into_iter().take(changed) {
            sandbox.update(kind, id, &json!({"hubspot_owner_id": "1"}));
        }
    }
    app.pass(3_600);
    sandbox.reset_calls();
    assert_eq!(run(app, "hubspot", false).await, 2 * i64::try_from(changed).unwrap());
    // Of contacts, companies are asked for; of deals, companies and contacts, and line items, for nothing says that
    // they have none.
    let more = 2 * (changed.div_ceil(FOUND) - 1) + (1 + 2 + 1) * changed.div_ceil(ASSOCIATED);
    assert_few("a run after changes", &sandbox.all_calls(), unchanged + more);
}

async fn pandadoc_is_asked_no_more_than_it_must_be(app: &App) {
    let clock = Arc::new(app.clock.clone());
    let sandbox =
        PandaDocSandbox::start(pandadoc::Options { clock, ..pandadoc::Options::default() }).await.unwrap();
    sandbox.seed(1_000);
    connect(app, "pandadoc", sandbox.base_url(), sandbox.api_key()).await;
    sandbox.reset_calls();
    assert_eq!(run(app, "pandadoc", true).await, 1_000);
    let of = |documents: usize| documents.div_ceil(DOCUMENTS) + documents + documents.div_ceil(EXTRACTED);
    assert_few("a backfill", &sandbox.all_calls(), of(1_000));

    app.pass(3_600);
    sandbox.reset_calls();
    assert_eq!(run(app, "pandadoc", false).await, 0);
    // What changed, and what was deleted.
    assert_few("a run that finds nothing", &sandbox.all_calls(), 2);

    for id in sandbox.ids().into_iter().take(400) {
        sandbox.change(&id, Some("document_updated"), |d| d["name"] = json!("Changed")).unwrap();
    }
    app.pass(3_600);
    sandbox.reset_calls();
    assert_eq!(run(app, "pandadoc", false).await, 400);
    assert_few("a run after changes", &sandbox.all_calls(), of(400) + 1);
}
