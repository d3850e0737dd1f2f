//! Ticks fire once.

use async_trait::async_trait;
use halo_sync::domain::connections::Schedule;
use halo_sync::jobs::{JobContext, JobHandler, Runtime, RuntimeHandle};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;

on_both_engines!(
    a_tick_is_claimed_once,
    missed_ticks_fire_once_then_the_next_in_the_future,
    two_processes_make_one_job_a_tick,
    a_schedule_that_cannot_be_read_is_switched_off,
);

fn schedule(bench: &Bench, expression: &str) -> Schedule {
    let new = Schedule {
        id: "sch_1".into(),
        org_id: org("a"),
        connection_id: None,
        job_kind: "test.tick".into(),
        args: json!({"n": 1}),
        expression: expression.into(),
        time_zone: "Europe/Berlin".into(),
        next_run_at: bench.now(),
        last_run_at: None,
        enabled: true,
    };
    halo_sync::jobs::schedules::checked(new, bench.now()).unwrap()
}

struct Count(Arc<AtomicU32>);

#[async_trait]
impl JobHandler for Count {
    fn kind(&self) -> &'static str {
        "test.tick"
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn run(&self, _: JobContext) -> JobOutcome {
        self.0.fetch_add(1, Ordering::SeqCst);
        JobOutcome::Done
    }
}

async fn runtime(bench: &Bench, store: Arc<dyn JobStore>, runs: &Arc<AtomicU32>) -> RuntimeHandle {
    Runtime::builder(store, Arc::new(bench.clock.clone()))
        .register(Arc::new(Count(Arc::clone(runs))))
        .housekeeping(false)
        .start()
        .await
        .unwrap()
}

async fn a_tick_is_claimed_once(bench: &Bench) {
    let schedule = schedule(bench, "0 * * * *");
    bench.store.put_schedule(&schedule).await.unwrap();
    assert!(bench.store.list_due_schedules(bench.now()).await.unwrap().is_empty());
    bench.pass(TimeDelta::hours(1));
    assert_eq!(bench.store.list_due_schedules(bench.now()).await.unwrap(), std::slice::from_ref(&schedule));
    let next = schedule.next_run_at + TimeDelta::hours(1);
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (store, tick, job) = (Arc::clone(&bench.store), schedule.clone(), job(bench, "a"));
        claims.spawn(async move { store.claim_tick(&tick.id, tick.next_run_at, next, job).await.unwrap() });
    }
    let won = claims.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!((won, bench.counts().await.0), (1, 1));
    let stored = bench.store.list_schedules(Some(&org("a"))).await.unwrap().remove(0);
    assert_eq!((stored.next_run_at, stored.last_run_at), (next, Some(schedule.next_run_at)));
    assert!(bench.store.list_schedules(Some(&org("b"))).await.unwrap().is_empty());
}

async fn missed_ticks_fire_once_then_the_next_in_the_future(bench: &Bench) {
    bench.store.put_schedule(&schedule(bench, "*/10 * * * *")).await.unwrap();
    let runs = Arc::new(AtomicU32::new(0));
    let runtime = runtime(bench, Arc::clone(&bench.store), &runs).await;
    bench.pass(TimeDelta::minutes(95));
    runtime.reconcile().await.unwrap();
    runtime.reconcile().await.unwrap();
    runtime.drain().await;
    assert_eq!(runs.load(Ordering::SeqCst), 1, "nine missed ticks are one");
    let stored = bench.store.list_schedules(None).await.unwrap().remove(0);
    assert_eq!(stored.next_run_at, "2026-01-01T01:40:00Z".parse::<Timestamp>().unwrap());
    bench.pass(TimeDelta::minutes(5));
    runtime.reconcile().await.unwrap();
    runtime.drain().await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

async fn two_processes_make_one_job_a_tick(bench: &Bench) {
    bench.store.put_schedule(&schedule(bench, "* * * * *")).await.unwrap();
    let runs = Arc::new(AtomicU32::new(0));
    let one = runtime(bench, Arc::clone(&bench.store), &runs).await;
    let two = runtime(bench, bench.other_process().await, &runs).await;
    for tick in 1..=10u32 {
        bench.pass(TimeDelta::minutes(1));
        let (a, b) = tokio::join!(one.reconcile(), two.reconcile());
        let fired: u64 = [a.unwrap(), b.unwrap()]
            .iter()
            .flatten()
            .filter(|(scan, _)| *scan == "schedules.due")
            .map(|(_, n)| n)
            .sum();
        assert_eq!(fired, 1);
        one.drain().await;
        two.drain().await;
        assert_eq!(runs.load(Ordering::SeqCst), tick);
    }
}

async fn a_schedule_that_cannot_be_read_is_switched_off(bench: &Bench) {
    let broken = Schedule { expression: "0 25 * * *".into(), ..schedule(bench, "0 1 * * *") };
    bench.store.put_schedule(&broken).await.unwrap();
    bench.pass(TimeDelta::days(1));
    let runs = Arc::new(AtomicU32::new(0));
    let runtime = runtime(bench, Arc::clone(&bench.store), &runs).await;
    runtime.reconcile().await.unwrap();
    assert!(!bench.store.list_schedules(None).await.unwrap()[0].enabled);
    assert!(bench.store.list_due_schedules(bench.now()).await.unwrap().is_empty());
}
