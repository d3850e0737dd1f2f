//! One renewal an expiry, whoever meets it first (S6); and nothing but a person's word after one that was cut off (S7).

use std::time::Duration;

use connector_sdk::ConnectorError;
use connector_testkit::sandbox::faults::{Fault, FaultRule};
use halo_sync::domain::connections::ConnectionStatus;
use halo_sync::service::Request;
use halo_sync::store::grants::{GrantClaim, GrantState};

use super::stand::{Stand, on_both};

on_both!(
    fifty_workers_of_two_processes_renew_once,
    a_claim_is_had_once_and_a_late_writer_writes_nothing,
    a_holder_that_was_stopped_is_fenced_off,
    a_renewal_that_was_cut_off_asks_for_a_person,
    a_grant_that_has_ended_asks_for_a_person_and_for_nothing_more,
    a_refused_token_is_renewed_once,
    trouble_at_the_provider_is_waited_out,
);

/// A token of the sandbox works for half an hour.
const LIFE: i64 = 1_800;
const WORKERS: usize = 50;

fn rounds() -> u64 {
    std::env::var("HALO_SYNC_REFRESH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20)
}

async fn fifty_workers_of_two_processes_renew_once(stand: &Stand) {
    let connection = stand.connect("hubspot").await;
    let oauth = stand.hub.oauth();
    for round in 0..rounds() {
        let before = oauth.counts();
        let mut workers = Vec::new();
        for n in 0..WORKERS {
            let process = if n % 2 == 0 { &stand.services } else { &stand.second };
            workers.push(Stand::session(process, &connection).await);
        }
        // Some rounds meet a token that has expired, some one that is about to.
        stand.pass(if round % 3 == 2 { LIFE - 60 } else { LIFE + 1 });
        let tasks: Vec<_> =
            workers.into_iter().map(|session| tokio::spawn(async move { session.check().await })).collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let now = oauth.counts();
        assert_eq!(now.calls - before.calls, 1, "round {round}: {now:?}");
        assert_eq!(now.refreshes - before.refreshes, 1, "round {round}: {now:?}");
    }
    assert_eq!((oauth.counts().reuses, oauth.live_grants()), (0, 1));
    let grant = stand.store.find_grant(&stand.org, &connection.id).await.unwrap().unwrap();
    assert_eq!(grant.version, 1 + i64::try_from(rounds()).unwrap());
}

async fn a_claim_is_had_once_and_a_late_writer_writes_nothing(stand: &Stand) {
    let connection = stand.connect("hubspot").await;
    let (org, id) = (&stand.org, &connection.id);
    let grant = stand.store.find_grant(org, id).await.unwrap().unwrap();
    let now = stand.services.clock.now();
    let until = now + chrono::TimeDelta::seconds(60);
    let asks: Vec<_> = (0..WORKERS)
        .map(|n| {
            let store = if n % 2 == 0 { &stand.services.store } else { &stand.second.store };
            let (store, org, id) = (store.clone(), org.clone(), id.clone());
            tokio::spawn(async move {
                let claim = format!("rnw_{n}");
                (store.claim_grant(&org, &id, 1, &claim, now, until).await.unwrap(), claim)
            })
        })
        .collect();
    let mut holder = None;
    for ask in asks {
        match ask.await.unwrap() {
            (GrantClaim::Claimed { interrupted: 0 }, claim) => assert!(holder.replace(claim).is_none()),
            (other, _) => assert_eq!(other, GrantClaim::Taken { until }),
        }
    }
    let first = holder.unwrap();
    let secrets = stand.store.load_secrets(org, id).await.unwrap();

    // Its time is over: another takes it.
    let later = until;
    let claimed =
        stand.second.store.claim_grant(org, id, 1, "rnw_x", later, later + (until - now)).await.unwrap();
    assert_eq!(claimed, GrantClaim::Claimed { interrupted: 1 });
    let mut forged = secrets.clone();
    forged.iter_mut().for_each(|secret| secret.sealed = b"late".to_vec());
    assert_eq!(stand.store.finish_grant(org, id, &first, &forged, &grant.life).await.unwrap(), None);
    assert!(!stand.store.refuse_grant(org, id, &first, "late", later).await.unwrap());
    stand.store.release_grant(org, id, &first, later).await.unwrap();
    assert_eq!(stand.store.load_secrets(org, id).await.unwrap(), secrets);
    assert_eq!(stand.connection("hubspot").await.unwrap().status, ConnectionStatus::Active);

    assert_eq!(stand.store.finish_grant(org, id, "rnw_x", &secrets, &grant.life).await.unwrap(), Some(2));
    let moved = stand.store.claim_grant(org, id, 1, "rnw_y", later, later).await.unwrap();
    assert_eq!(moved, GrantClaim::Moved);
}

/// The first process's answer comes after its claim has ended and another has renewed: what it got is not used.
async fn a_holder_that_was_stopped_is_fenced_off(stand: &Stand) {
    let connection = stand.connect("hubspot").await;
    let oauth = stand.hub.oauth();
    // The second renewal is as good as the first, so that the first one's answer could be taken for good.
    oauth.set_rotation(false);
    stand.hub.faults().add(FaultRule::next(oauth.token_path(), Fault::Slow(Duration::from_secs(2))));
    let slow = Stand::session(&stand.services, &connection).await;
    let fast = Stand::session(&stand.second, &connection).await;
    stand.pass(LIFE + 1);
    let before = oauth.counts();
    let slow = tokio::spawn(async move { slow.check().await });
    stand.until("the first renewal", || oauth.counts().refreshes == before.refreshes + 1).await;
    stand.pass(61);
    fast.check().await.unwrap();
    let stored = stand.store.load_secrets(&stand.org, &connection.id).await.unwrap();
    // It goes on with what the other stored.
    slow.await.unwrap().unwrap();
    assert_eq!(oauth.counts().refreshes, before.refreshes + 2);
    assert_eq!(stand.store.load_secrets(&stand.org, &connection.id).await.unwrap(), stored);
    let grant = stand.store.find_grant(&stand.org, &connection.id).await.unwrap().unwrap();
    assert_eq!((grant.version, grant.state), (2, GrantState::Good));
}

async fn a_renewal_that_was_cut_off_asks_for_a_person(stand: &Stand) {
    let connection = stand.connect("hubspot").await;
    let oauth = stand.hub.oauth();
    // The provider has rotated the tokens, and nobody ever hears of it.
    stand.hub.faults().add(FaultRule::next(oauth.token_path(), Fault::Stall));
    let lost = Stand::session(&stand.services, &connection).await;
    let next = Stand::session(&stand.second, &connection).await;
    stand.pass(LIFE + 1);
    let before = oauth.counts();
    let lost = tokio::spawn(async move { lost.check().await });
    stand.until("the renewal", || oauth.counts().refreshes == before.refreshes + 1).await;
    stand.pass(61);
    for _ in 0..5 {
        let error = next.check().await.unwrap_err();
        assert!(
            matches!(&error, ConnectorError::Auth { message, .. }
            if message.starts_with("needs_reauth: a renewal was cut off")),
            "{error}"
        );
    }
    assert_eq!(oauth.counts().calls - before.calls, 2, "no loop");
    let told = stand.connection("hubspot").await.unwrap();
    assert_eq!(told.status, ConnectionStatus::NeedsAttention);
    assert!(told.status_reason.unwrap().contains("needs_reauth: a renewal was cut off"));
    lost.abort();
}

async fn a_grant_that_has_ended_asks_for_a_person_and_for_nothing_more(stand: &Stand) {
    let connection = stand.connect("hubspot").await;
    let oauth = stand.hub.oauth();
    oauth.end_grants();
    stand.pass(LIFE + 1);
    let before = oauth.counts();
    stand.execute(Request::Sync { connection: "hubspot".into(), full: true, streams: vec![] }).await;
    stand.ended().await;
    for _ in 0..3 {
        let refused = Request::CheckConnection { connection: "hubspot".into() };
        let failure = stand.services.execute(&stand.org, refused).await.unwrap_err();
        assert_eq!(failure.code, "needs_reauth", "{failure:?}");
    }
    assert_eq!(oauth.counts().calls - before.calls, 1, "no loop");
    let told = stand.connection("hubspot").await.unwrap();
    assert_eq!(told.status, ConnectionStatus::NeedsAttention);
    let why = told.status_reason.unwrap();
    assert!(why.contains("needs_reauth") && why.contains("halo-sync connect hubspot"), "{why}");

    // Granted again it goes on, as the same connection, and set as it was.
    let mut told = stand.connection("hubspot").await.unwrap();
    told.config["link"] = serde_json::json!({"create_companies": false, "metadata_keys": ["k"]});
    stand.store.update_connection(&told).await.unwrap();
    let again = stand.connect("hubspot").await;
    assert_eq!((again.id.clone(), again.status), (connection.id, ConnectionStatus::Active));
    assert_eq!(again.config, told.config);
    stand.execute(Request::CheckConnection { connection: "hubspot".into() }).await;
}

async fn a_refused_token_is_renewed_once(stand: &Stand) {
    let connection = stand.connect("hubspot").await;
    let oauth = stand.hub.oauth();
    stand.pass(120);
    let mut workers = Vec::new();
    for process in [&stand.services, &stand.second].into_iter().cycle().take(WORKERS) {
        workers.push(Stand::session(process, &connection).await);
    }
    oauth.expire_access_tokens();
    let before = oauth.counts();
    let tasks: Vec<_> =
        workers.into_iter().map(|session| tokio::spawn(async move { session.check().await })).collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!((oauth.counts().calls - before.calls, oauth.counts().reuses), (1, 0));

    // A provider that refuses what it has just given is not asked for more.
    oauth.expire_access_tokens();
    let error = Stand::session(&stand.services, &connection).await.check().await.unwrap_err();
    assert!(error.to_string().contains("just given"), "{error}");
    assert_eq!(oauth.counts().calls - before.calls, 1);
}

async fn trouble_at_the_provider_is_waited_out(stand: &Stand) {
    let connection = stand.connect("hubspot").await;
    let oauth = stand.hub.oauth();
    // Faults of the sandbox spoil answers to what was carried out; a provider refuses before it rotates.
    oauth.set_rotation(false);
    let fault = |fault| stand.hub.faults().add(FaultRule::next(oauth.token_path(), fault));
    let session = Stand::session(&stand.services, &connection).await;
    // Ahead of expiry the old token goes on working.
    stand.pass(LIFE - 200);
    let before = oauth.counts();
    fault(Fault::TooManyRequests { retry_after: Some("30".to_owned()) });
    session.check().await.unwrap();
    session.check().await.unwrap();
    assert_eq!(oauth.counts().calls - before.calls, 1, "not before the provider's time");
    // After it there is none, until the provider is well again.
    stand.pass(201);
    fault(Fault::Status(503));
    assert!(matches!(session.check().await, Err(ConnectorError::Transient(_))));
    assert!(matches!(session.check().await, Err(ConnectorError::RateLimited { .. })), "at once is too soon");
    stand.pass(10);
    session.check().await.unwrap();
    assert_eq!(oauth.counts().calls - before.calls, 3);
    assert_eq!(stand.connection("hubspot").await.unwrap().status, ConnectionStatus::Active);
}
