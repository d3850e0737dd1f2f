//! Whatever goes wrong on the way, a read ends in the state that a clean one makes.

use std::time::Duration;

use connector_testkit::sandbox::faults::{Fault, FaultRule};
use halo_sync::service::Request;

use super::account::{Account, Stand};
use crate::support::app::App;

const CUSTOMERS: u32 = 7;

/// What a provider does to its callers, and that a read must survive.
fn faults() -> Vec<Fault> {
    Fault::passing().into_iter().chain([Fault::Doubled, Fault::Reversed]).collect()
}

/// Every fault once, each between good pages of the same read.
pub(super) async fn faults_end_in_the_state_of_a_clean_read<A: Account>(app: &App) {
    let stand = Stand::<A>::new(std::sync::Arc::new(app.clock.clone()), CUSTOMERS).await;
    stand.tell(app).await;
    stand.begin(app, true).await;
    for fault in faults() {
        // Rules of one path are used up one after the other.
        stand.account.faults().add(FaultRule { path: format!("{}?", A::LIST), skip: 1, times: 1, fault });
    }
    app.drain_retries().await;
    // As many calls as the faults need, should the read have ended before.
    for _ in 0..faults().len() {
        stand.sync(app, true).await;
        app.drain_retries().await;
    }
    let met: u64 = stand.account.faults().hits().values().sum();
    assert_eq!(usize::try_from(met).unwrap(), faults().len(), "{:?}", stand.account.faults().hits());
    stand.settled(app).await;
    let clean = app.fresh().await;
    stand.tell(&clean).await;
    stand.connect(&clean, true).await;
    stand.settled(&clean).await;
    assert_eq!(stand.state(app).await, stand.state(&clean).await);
    clean.end().await;
}

/// Each fault by itself, at the first page and between two.
pub(super) async fn each_fault_ends_in_the_state_of_a_clean_read<A: Account>() {
    let first = App::sqlite().await;
    let stand = Stand::<A>::new(std::sync::Arc::new(first.clock.clone()), CUSTOMERS).await;
    stand.tell(&first).await;
    stand.connect(&first, true).await;
    stand.settled(&first).await;
    let clean = stand.state(&first).await;
    for fault in faults() {
        let app = first.fresh().await;
        stand.tell(&app).await;
        stand.begin(&app, true).await;
        let rules = [0, 1].map(|skip| FaultRule {
            path: format!("{}?", A::LIST),
            skip,
            times: 1,
            fault: fault.clone(),
        });
        rules.into_iter().for_each(|rule| stand.account.faults().add(rule));
        let before: u64 = stand.account.faults().hits().values().sum();
        app.drain_retries().await;
        let met = stand.account.faults().hits().values().sum::<u64>() - before;
        assert_eq!(met, 2, "{fault:?}");
        stand.settled(&app).await;
        assert_eq!(stand.state(&app).await, clean, "{fault:?}");
        app.end().await;
    }
    first.end().await;
}

/// A page that was made before a change arrives after it was stored.
pub(super) async fn a_page_that_arrives_late_overwrites_nothing_newer<A: Account>(app: &App) {
    let mut stand = Stand::<A>::read(app, 2).await;
    let slow = Fault::Slow(Duration::from_secs(1));
    stand.account.faults().add(FaultRule::next(&format!("{}?", A::LIST), slow));
    let asked = stand.account.lists();
    stand.begin_sync(app, true).await;
    app.runtime.wake();
    app.until("the page is asked for", || async { stand.account.lists() > asked }).await;
    let changed = stand.set(0, 60);
    let request = Request::Reread { connection: A::CONNECTOR.to_owned(), keys: vec![changed.says] };
    let answer = app.execute(request).await.unwrap();
    assert_eq!(answer["counts"]["updated"], 1, "stored while the page is on its way: {answer}");
    app.drain().await;
    stand.settled(app).await;
}
