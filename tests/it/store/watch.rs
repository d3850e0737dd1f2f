//! Endpoints, audits, and deliveries as people look for them.

use halo_sync::domain::OrgId;
use halo_sync::domain::watch::{Audit, EndpointFault, WebhookEndpoint};
use halo_sync::store::Store;
use halo_sync::store::inbox::{DeliveryFilter, NewDelivery};
use halo_sync::store::mirror::DeliveryDone;
use serde_json::json;

use super::kit::*;

async fn an_endpoint_is_kept_and_goes_with_its_connection(store: &dyn Store) {
    connected(store).await;
    assert_eq!(store.find_endpoint(&org(), &con()).await.unwrap(), None);
    let mut endpoint = WebhookEndpoint {
        connection_id: con(),
        endpoint_id: None,
        url: "https://halo.example/x".to_owned(),
        made_by_us: false,
        secret_slot: None,
        faults: vec![EndpointFault { code: "missing".into(), message: "m\u{0}".into(), hint: "h".into() }],
        checked_at: at(5),
    };
    store.put_endpoint(&org(), &endpoint).await.unwrap();
    endpoint.faults.clear();
    (endpoint.endpoint_id, endpoint.made_by_us, endpoint.secret_slot) = (Some("we_1".into()), true, Some(3));
    store.put_endpoint(&org(), &endpoint).await.unwrap();
    assert_eq!(store.find_endpoint(&org(), &con()).await.unwrap().as_ref(), Some(&endpoint));
    assert_eq!(store.list_endpoints().await.unwrap(), vec![endpoint.clone()]);
    // Another organisation neither sees nor writes it.
    let other: OrgId = "org_b".into();
    store.put_org(&other, "B", &json!({}), at(0)).await.unwrap();
    assert_eq!(store.find_endpoint(&other, &con()).await.unwrap(), None);
    let forged = WebhookEndpoint { url: "https://b.example".into(), ..endpoint.clone() };
    let _ = store.put_endpoint(&other, &forged).await;
    assert_eq!(store.find_endpoint(&org(), &con()).await.unwrap(), Some(endpoint));
    store.delete_connection(&org(), &con(), at(9)).await.unwrap();
    assert!(store.list_endpoints().await.unwrap().is_empty());
}

async fn the_latest_audits_are_kept(store: &dyn Store) {
    connected(store).await;
    for n in 1..=5i64 {
        let audit = Audit {
            id: format!("aud_{n}").into(),
            connection_id: con(),
            trigger: "schedule".into(),
            started_at: at(n),
            finished_at: at(n + 1),
            compared: 10 * n,
            drift: n,
            repaired: n - 1,
            report: json!({"n": n}),
        };
        store.put_audit(&org(), &audit, 3).await.unwrap();
    }
    let kept = store.list_audits(&org(), &con(), 10).await.unwrap();
    assert_eq!(kept.iter().map(|a| a.id.as_str()).collect::<Vec<_>>(), ["aud_5", "aud_4", "aud_3"]);
    assert_eq!(
        (kept[0].compared, kept[0].drift, kept[0].repaired, &kept[0].report),
        (50, 5, 4, &json!({"n": 5}))
    );
    assert_eq!(store.list_audits(&"org_b".into(), &con(), 10).await.unwrap(), vec![]);
    store.delete_connection(&org(), &con(), at(9)).await.unwrap();
    assert!(store.list_audits(&org(), &con(), 10).await.unwrap().is_empty());
}

fn delivery(event: &str, kind: &str, us: i64) -> NewDelivery {
    NewDelivery {
        org_id: org(),
        connection_id: con(),
        event_id: event.to_owned(),
        kind: kind.to_owned(),
        body: event.as_bytes().to_vec(),
        received_at: at(us),
    }
}

async fn deliveries_are_found_counted_and_made_pending_again(store: &dyn Store) {
    connected(store).await;
    let all = vec![
        delivery("e1", "a.x", 1),
        delivery("e2", "a.y", 2),
        delivery("e3", "a.x", 2),
        delivery("e4", "b", 3),
    ];
    store.accept_deliveries(all, vec![job()]).await.unwrap();
    let claimed = claim(store).await;
    let pending = store.load_pending_deliveries(&org(), &con(), 10).await.unwrap();
    let id = |event: &str| pending.iter().find(|d| d.event_id == event).unwrap().id.clone();
    let done = |event: &str, party: Option<&str>| DeliveryDone {
        id: id(event),
        state: "applied",
        error: None,
        touched: vec![key("customers/1")],
        named: Vec::new(),
        party: party.map(key),
    };
    let mut applied = commit(5, vec![]);
    applied.deliveries =
        vec![done("e1", Some("customers/1")), done("e2", Some("customers/2")), done("e3", None)];
    ingest(store, applied).await;
    finish(store, claimed).await;

    let find = async |filter: DeliveryFilter| {
        let found = store.find_deliveries(&org(), &filter, 10).await.unwrap();
        assert!(found.iter().all(|d| d.body.is_empty()), "a list carries no bodies");
        found.into_iter().map(|d| d.event_id).collect::<Vec<_>>()
    };
    let any = DeliveryFilter::default;
    let mut tied = [id("e2"), id("e3")];
    tied.sort();
    let first_of_tie = if tied[1] == id("e3") { ["e3", "e2"] } else { ["e2", "e3"] };
    assert_eq!(find(any()).await, ["e4", first_of_tie[0], first_of_tie[1], "e1"]);
    assert_eq!(find(DeliveryFilter { state: Some("pending".into()), ..any() }).await, ["e4"]);
    assert_eq!(find(DeliveryFilter { kind: Some("a.y".into()), ..any() }).await, ["e2"]);
    assert_eq!(find(DeliveryFilter { kind: Some("a.*".into()), until: Some(at(2)), ..any() }).await, ["e1"]);
    assert_eq!(find(DeliveryFilter { since: Some(at(3)), ..any() }).await, ["e4"]);
    let of = |parties: &[&str]| DeliveryFilter {
        connection: Some(con()),
        parties: Some(parties.iter().map(|p| key(p)).collect()),
        ..any()
    };
    assert_eq!(find(of(&["customers/1"])).await, ["e1"]);
    assert_eq!(find(of(&["customers/1", "customers/2"])).await, ["e2", "e1"]);
    assert_eq!(find(of(&[])).await, [""; 0]);
    let behind = DeliveryFilter { after: Some((at(2), tied[0].clone())), ..any() };
    assert_eq!(find(behind).await, ["e1"], "behind both of one time");

    let one = store.find_delivery(&org(), "e1").await.unwrap().unwrap();
    assert_eq!(
        (one.body.as_slice(), one.party.clone(), one.touched.len()),
        (&b"e1"[..], Some(key("customers/1")), 1)
    );
    assert_eq!(store.find_delivery(&org(), id("e1").as_str()).await.unwrap().unwrap(), one);
    assert_eq!(store.find_delivery(&"org_b".into(), "e1").await.unwrap(), None);
    let counts = store.count_deliveries(&org(), &con(), at(2)).await.unwrap();
    let counted: Vec<_> = counts.iter().map(|c| (c.kind.as_str(), c.state.as_str(), c.count)).collect();
    assert_eq!(counted, [("a.x", "applied", 1), ("a.y", "applied", 1), ("b", "pending", 1)]);

    // Only what is finished; its job comes with it.
    let again = store.replay_deliveries(&org(), &[id("e1"), id("e4")], vec![job()]).await.unwrap();
    assert_eq!(again, [id("e1")]);
    assert_eq!(claim(store).await.len(), 1);
    let pending = store.load_pending_deliveries(&org(), &con(), 10).await.unwrap();
    assert_eq!(pending.iter().map(|d| d.event_id.as_str()).collect::<Vec<_>>(), ["e1", "e4"]);
    assert_eq!((pending[0].replays, pending[0].attempts, pending[0].finished_at), (1, 1, None));
    let nothing = store.replay_deliveries(&org(), &[id("e4")], vec![job()]).await.unwrap();
    assert!(nothing.is_empty());
}

async fn live_keys_are_listed_by_stream_and_by_party(store: &dyn Store) {
    connected(store).await;
    let records = vec![
        record("prices/1", None, &[], "a"),
        record("prices/2", Some("customers/1"), &[], "a"),
        record("prices/3", Some("customers/2"), &[], "a"),
        record("prices-old/1", None, &[], "a"),
        record("pricesx/1", Some("customers/1"), &[], "a"),
    ];
    ingest(store, commit(1, records)).await;
    let mut gone = commit(2, vec![]);
    gone.tombstones = vec![key("prices/3")];
    ingest(store, gone).await;
    let list = async |after: Option<&str>, limit| {
        let keys = store.list_record_keys(&org(), &con(), "prices", after, limit).await.unwrap();
        keys.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 10).await, ["prices/1", "prices/2"]);
    assert_eq!(list(None, 1).await, ["prices/1"]);
    assert_eq!(list(Some("1"), 10).await, ["prices/2"]);
    let of = store
        .list_party_record_keys(&org(), &con(), &[key("customers/1"), key("customers/2")])
        .await
        .unwrap();
    assert_eq!(of, [key("prices/2"), key("pricesx/1")]);
}

contract!(
    an_endpoint_is_kept_and_goes_with_its_connection,
    the_latest_audits_are_kept,
    deliveries_are_found_counted_and_made_pending_again,
    live_keys_are_listed_by_stream_and_by_party,
);
