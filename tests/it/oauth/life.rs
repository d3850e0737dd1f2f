//! A connection's life over OAuth: a run that outlives its token, another provider, and the end (S9).

use std::time::Duration;

use connector_sdk::RecordKey;
use connector_testkit::sandbox::faults::{Fault, FaultRule};
use connector_testkit::sandbox::hubspot::Kind;
use halo_sync::domain::runs::RunStatus;
use halo_sync::service::Request;
use serde_json::Value;

use super::stand::{Stand, on_both};

on_both!(
    a_run_outlives_its_token,
    pandadoc_is_granted_too,
    the_end_is_told_to_the_provider,
    a_pasted_key_takes_the_place_of_a_grant,
);

async fn a_run_outlives_its_token(stand: &Stand) {
    stand.hub.seed(350);
    let begun = stand.begin("hubspot").await;
    let back = stand.grant(&begun.authorize_url).await;
    // Its second page of contacts is on its way while the token expires.
    stand.hub.faults().add(FaultRule {
        path: "/crm/objects/2026-03/contacts".to_owned(),
        skip: 1,
        times: 1,
        fault: Fault::Slow(Duration::from_millis(500)),
    });
    let (status, page) = stand.visit(&back).await;
    assert_eq!(status, 200, "{page}");
    let hub = &stand.hub;
    stand.until("the page", || hub.calls("GET contacts") >= 2).await;
    stand.pass(1_801);
    let run = stand.ended().await;
    assert_eq!((run.status, run.error.as_deref()), (RunStatus::Succeeded, None), "{run:#?}");
    let counts = hub.oauth().counts();
    assert_eq!((counts.codes, counts.refreshes, counts.reuses), (1, 1, 0));
    let connection = stand.connection("hubspot").await.unwrap();
    for (stream, kind) in
        [("companies", Kind::Companies), ("contacts", Kind::Contacts), ("deals", Kind::Deals)]
    {
        let keys: Vec<_> = hub.ids(kind).iter().map(|id| RecordKey::new(stream, id.to_string())).collect();
        assert_eq!(keys.len(), 350);
        let read = stand.store.load_records(&stand.org, &connection.id, &keys).await.unwrap();
        assert_eq!(read.len(), 350, "{stream}");
    }
}

async fn pandadoc_is_granted_too(stand: &Stand) {
    let connection = stand.connect("pandadoc").await;
    assert_eq!(connection.account_id.as_deref(), Some(stand.panda.workspace()));
    let grant = stand.store.find_grant(&stand.org, &connection.id).await.unwrap().unwrap();
    assert_eq!(grant.life.scopes, ["read", "write"]);
    stand.pass(1_801);
    stand.execute(Request::CheckConnection { connection: "pandadoc".into() }).await;
    assert_eq!(stand.panda.oauth().counts().refreshes, 1);
    // It offers no way to end a grant.
    let gone = stand.execute(Request::RemoveConnection { connection: "pandadoc".into() }).await;
    assert_eq!(gone["grant"], Value::Null);
    assert_eq!(stand.count("connection_secrets").await, 0);
}

async fn the_end_is_told_to_the_provider(stand: &Stand) {
    let connection = stand.connect("hubspot").await;
    stand.pass(1_801);
    stand.execute(Request::CheckConnection { connection: "hubspot".into() }).await;
    stand.execute(Request::Sync { connection: "hubspot".into(), full: true, streams: vec![] }).await;
    let gone = stand.execute(Request::RemoveConnection { connection: "hubspot".into() }).await;
    assert_eq!(gone["grant"], serde_json::json!({ "revoked": true }), "{gone}");
    let oauth = stand.hub.oauth();
    assert_eq!((oauth.counts().revoked, oauth.live_grants()), (1, 0));
    for table in ["connections", "connection_secrets", "connection_grants", "sync_runs", "mirror_records"] {
        assert_eq!(stand.count(table).await, 0, "{table}");
    }
    let jobs = format!("jobs WHERE connection_id = '{}' AND state = 'ready'", connection.id);
    assert_eq!(stand.count(&jobs).await, 0);

    // A provider may know all grants of an account as one: the last connection to it ends them.
    stand.connect("hubspot").await;
    let begun = stand.begin_for(&stand.org, "hubspot", "second").await;
    let back = stand.grant(&begun.authorize_url).await;
    assert_eq!(stand.visit(&back).await.0, 200);
    stand.ended().await;
    let gone = stand.execute(Request::RemoveConnection { connection: "second".into() }).await;
    assert_eq!(gone["grant"]["revoked"], false, "{gone}");
    assert_eq!(oauth.counts().revoked, 1);
    let gone = stand.execute(Request::RemoveConnection { connection: "hubspot".into() }).await;
    assert_eq!(gone["grant"]["revoked"], true, "{gone}");

    // A provider that is down keeps nothing alive here.
    stand.connect("hubspot").await;
    let path = oauth.revoke_path().unwrap();
    stand.hub.faults().add(FaultRule::next(path, Fault::Status(503)));
    let gone = stand.execute(Request::RemoveConnection { connection: "hubspot".into() }).await;
    assert_eq!(gone["grant"]["revoked"], false, "{gone}");
    assert_eq!(stand.count("connection_secrets").await, 0);
}

async fn a_pasted_key_takes_the_place_of_a_grant(stand: &Stand) {
    let connection = stand.connect("hubspot").await;
    let request = halo_sync::service::Connect {
        connector: "hubspot".into(),
        name: "hubspot".into(),
        config: connection.config.clone(),
        secrets: vec![("api_key".into(), stand.hub.access_token().into())],
        webhook_secrets: Vec::new(),
        backfill: false,
    };
    stand.execute(Request::Connect(request)).await;
    assert_eq!(stand.store.find_grant(&stand.org, &connection.id).await.unwrap(), None);
    let names: Vec<String> = stand
        .store
        .load_secrets(&stand.org, &connection.id)
        .await
        .unwrap()
        .into_iter()
        .map(|secret| secret.name)
        .collect();
    assert_eq!(names, ["api_key"]);
    stand.pass(100_000);
    let before = stand.hub.oauth().counts();
    stand.execute(Request::CheckConnection { connection: "hubspot".into() }).await;
    assert_eq!(stand.hub.oauth().counts(), before);
}
