//! Deliveries: durable, deduplicated, finished once.

use halo_sync::domain::jobs::Fence;
use halo_sync::store::inbox::{Accepted, NewDelivery};
use halo_sync::store::mirror::DeliveryDone;
use halo_sync::store::{Store, StoreError};

use super::kit::*;

fn delivery(event: &str, us: i64) -> NewDelivery {
    NewDelivery {
        org_id: org(),
        connection_id: con(),
        event_id: event.to_owned(),
        kind: "customer.updated".into(),
        body: format!("{{\"id\":\"{event}\"}}\u{0}\u{1}").into_bytes(),
        received_at: at(us),
    }
}

async fn an_event_is_stored_once_and_wakes_one_job(store: &dyn Store) {
    connected(store).await;
    let twice = vec![delivery("evt_1", 1), delivery("evt_1", 1), delivery("evt_2", 1)];
    let accepted = store.accept_deliveries(twice, vec![job()]).await.unwrap();
    assert!(matches!(&accepted[..], [Accepted::New(_), Accepted::Duplicate, Accepted::New(_)]));
    let again = store.accept_deliveries(vec![delivery("evt_2", 2)], vec![job()]).await.unwrap();
    assert_eq!(again, [Accepted::Duplicate]);
    let mut other = delivery("evt_1", 3);
    other.connection_id = "con_2".into();
    assert!(matches!(
        store.accept_deliveries(vec![other], vec![job()]).await.unwrap()[..],
        [Accepted::New(_)]
    ));
    let claimed = claim(store).await;
    assert_eq!(claimed.len(), 1);
    let pending = store.load_pending_deliveries(&org(), &con(), 10).await.unwrap();
    assert_eq!(pending.iter().map(|d| d.event_id.as_str()).collect::<Vec<_>>(), ["evt_1", "evt_2"]);
    assert_eq!(pending[0].body, delivery("evt_1", 1).body);
    assert_eq!(store.load_pending_deliveries(&org(), &con(), 1).await.unwrap()[0].attempts, 2);
    // The job that was claimed above still runs: it may be waiting for the provider.
    assert_eq!(store.list_stalled_inboxes(at(3)).await.unwrap(), vec![]);
    finish(store, claimed).await;
    assert_eq!(store.list_stalled_inboxes(at(3)).await.unwrap(), vec![(org(), con())]);
}

async fn large_bodies_are_worked_on_a_few_at_a_time(store: &dyn Store) {
    connected(store).await;
    const MIB: usize = 1 << 20;
    let sizes = [10 * MIB, 5 * MIB, 2 * MIB, 2 * MIB, 1];
    let large = |(n, size): (usize, &usize)| NewDelivery {
        body: vec![0; *size],
        ..delivery(&format!("evt_{n}"), i64::try_from(n).unwrap())
    };
    let deliveries = sizes.iter().enumerate().map(large).collect();
    store.accept_deliveries(deliveries, vec![job()]).await.unwrap();
    for batch in [vec!["evt_0"], vec!["evt_1", "evt_2", "evt_3"], vec!["evt_4"]] {
        let pending = store.load_pending_deliveries(&org(), &con(), 10).await.unwrap();
        assert_eq!(pending.iter().map(|d| d.event_id.as_str()).collect::<Vec<_>>(), batch);
        let done = pending.iter().map(|d| DeliveryDone {
            id: d.id.clone(),
            state: "applied",
            error: None,
            touched: Vec::new(),
            named: Vec::new(),
            party: None,
        });
        let finish =
            halo_sync::store::mirror::IngestCommit { deliveries: done.collect(), ..commit(1, vec![]) };
        store.commit_ingest(&org(), finish).await.unwrap();
    }
}

async fn the_commit_that_applies_a_delivery_finishes_it_once(store: &dyn Store) {
    connected(store).await;
    store.accept_deliveries(vec![delivery("evt_1", 1), delivery("evt_2", 2)], vec![job()]).await.unwrap();
    let pending = store.load_pending_deliveries(&org(), &con(), 10).await.unwrap();
    let done = |state, error: Option<&str>| {
        let mut one = commit(5, vec![]);
        one.deliveries = vec![DeliveryDone {
            id: pending[0].id.clone(),
            state,
            error: error.map(str::to_owned),
            touched: vec![key("customers/1"), key("charges/2")],
            named: Vec::new(),
            party: Some(key("customers/1")),
        }];
        one
    };
    ingest(store, done("applied", None)).await;
    ingest(store, done("failed", Some("late"))).await;
    let applied = store.list_deliveries(&org(), None, Some("applied"), 10).await.unwrap();
    assert_eq!((applied.len(), applied[0].error.as_deref()), (1, None));
    assert_eq!(store.list_deliveries(&org(), Some(&con()), Some("pending"), 10).await.unwrap().len(), 1);
    assert_eq!(store.prune_deliveries(at(100), 10).await.unwrap(), 1);
    assert_eq!(store.list_deliveries(&org(), None, None, 10).await.unwrap().len(), 1, "pending ones stay");
}

async fn a_stale_holder_commits_nothing(store: &dyn Store) {
    connected(store).await;
    store.push_jobs(vec![job()]).await.unwrap();
    let fence = claim(store).await.remove(0).fence;
    let held = |fence: Fence, seq| {
        let mut one = commit(seq, vec![record("prices/1", None, &[], &format!("v{seq}"))]);
        one.fence = Some(fence);
        one
    };
    ingest(store, held(fence.clone(), 1)).await;
    let stale = Fence { claim: fence.claim + 1, ..fence.clone() };
    assert!(matches!(store.commit_ingest(&org(), held(stale, 2)).await, Err(StoreError::Fenced { .. })));
    store.release_jobs("w", std::slice::from_ref(&fence), at(2)).await.unwrap();
    assert!(matches!(
        store.commit_ingest(&org(), held(fence.clone(), 3)).await,
        Err(StoreError::Fenced { .. })
    ));
    let refused = store.begin_pass(&org(), &con(), "prices", true, vec![], Some(&fence), at(3)).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })));
    let row = store.load_records(&org(), &con(), &[key("prices/1")]).await.unwrap().remove(0);
    assert_eq!(row.read_seq, 1);
}

contract!(
    an_event_is_stored_once_and_wakes_one_job,
    large_bodies_are_worked_on_a_few_at_a_time,
    the_commit_that_applies_a_delivery_finishes_it_once,
    a_stale_holder_commits_nothing,
);
