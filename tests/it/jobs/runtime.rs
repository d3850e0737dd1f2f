//! The runtime on a real store.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use halo_sync::jobs::{JobContext, JobHandler, Runtime, RuntimeBuilder, RuntimeHandle};
use tokio::sync::mpsc;

use super::*;

on_both_engines!(
    every_outcome_is_recorded,
    j6_a_crashing_job_is_buried_and_a_hundred_others_finish,
    j9_a_newcomer_is_served_within_two_claims,
    j10_a_graceful_stop_burns_nothing,
    a_job_that_ignores_the_stop_is_given_back,
    a_lost_claim_stops_its_run,
    kinds_without_a_handler_wait,
    a_push_is_heard_without_polling,
    a_key_never_runs_twice_at_once,
);

/// What a test job does, by its `do` argument.
struct Work {
    /// Told when a run starts: (organisation, what it does).
    started: mpsc::UnboundedSender<(String, String)>,
    timeout: Duration,
    side_by_side: Mutex<(HashMap<String, usize>, usize)>,
}

#[async_trait]
impl JobHandler for Work {
    fn kind(&self) -> &'static str {
        "test.work"
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    async fn run(&self, cx: JobContext) -> JobOutcome {
        let what = cx.job.args["do"].as_str().unwrap_or("done").to_owned();
        let _ = self.started.send((cx.job.org_id.0.clone(), what.clone()));
        match what.as_str() {
            "panic" => panic!("a planned panic"),
            "hang" => std::future::pending().await,
            "until stopped" => {
                cx.stop.cancelled().await;
                JobOutcome::Snooze(Duration::ZERO)
            }
            "fail" => retry("planned"),
            "snooze" => JobOutcome::Snooze(Duration::from_secs(60)),
            "discard" => JobOutcome::Discard("planned".into()),
            "count" => {
                let key = cx.job.dedupe_key.clone().unwrap();
                {
                    let mut seen = self.side_by_side.lock().unwrap();
                    let now = seen.0.entry(key.clone()).or_insert(0);
                    *now += 1;
                    let now = *now;
                    seen.1 = seen.1.max(now);
                }
                tokio::task::yield_now().await;
                *self.side_by_side.lock().unwrap().0.get_mut(&key).unwrap() -= 1;
                JobOutcome::Done
            }
            _ => JobOutcome::Done,
        }
    }
}

fn builder(bench: &Bench) -> (RuntimeBuilder, Arc<Work>, mpsc::UnboundedReceiver<(String, String)>) {
    builder_with(bench, Duration::from_secs(60))
}

fn builder_with(
    bench: &Bench,
    timeout: Duration,
) -> (RuntimeBuilder, Arc<Work>, mpsc::UnboundedReceiver<(String, String)>) {
    let (started, starts) = mpsc::unbounded_channel();
    let work = Arc::new(Work { started, timeout, side_by_side: Mutex::default() });
    let builder = Runtime::builder(Arc::clone(&bench.store), Arc::new(bench.clock.clone()))
        .register(Arc::clone(&work) as Arc<dyn JobHandler>)
        .signal(bench.signal.clone())
        .jitter(Arc::new(SeededJitter::new(3)))
        .housekeeping(false)
        // The test's process is the only one: what a dropped runtime held is freed at the next start.
        .sole_process(true)
        .concurrency(8);
    (builder, work, starts)
}

async fn start(bench: &Bench) -> (RuntimeHandle, mpsc::UnboundedReceiver<(String, String)>) {
    let (builder, _, starts) = builder(bench);
    (builder.start().await.unwrap(), starts)
}

fn does(bench: &Bench, owner: &str, what: &str) -> NewJob {
    NewJob { args: json!({"do": what}), ..job(bench, owner) }
}

/// The next start, within a bound.
async fn next_start(starts: &mut mpsc::UnboundedReceiver<(String, String)>) -> (String, String) {
    tokio::time::timeout(Duration::from_secs(30), starts.recv()).await.expect("a job starts").unwrap()
}

async fn every_outcome_is_recorded(bench: &Bench) {
    let (builder, _, _starts) = builder_with(bench, Duration::from_millis(500));
    let runtime = builder.start().await.unwrap();
    for what in ["done", "panic", "hang", "fail", "snooze", "discard"] {
        bench.push(vec![does(bench, "a", what)]).await;
    }
    runtime.drain().await;
    let stats = runtime.stats();
    assert_eq!((stats.done, stats.failed, stats.panics, stats.timeouts), (1, 3, 1, 1));
    assert_eq!((stats.snoozed, stats.discarded, stats.lost), (1, 1, 0));
    assert_eq!(bench.counts().await, (4, 0, 1));
    let ready = bench.list(JobState::Ready).await;
    let by_word = |what: &str| ready.iter().find(|job| job.args["do"] == what).unwrap();
    assert_eq!(by_word("panic").error.as_deref(), Some("panicked: a planned panic"));
    assert!(by_word("hang").error.as_ref().unwrap().starts_with("timed out after"));
    assert_eq!((by_word("hang").attempts, by_word("snooze").attempts), (1, 0));
    assert!(by_word("snooze").at == bench.now() + TimeDelta::seconds(60));
    bench.pass(TimeDelta::seconds(61));
    runtime.wake();
    runtime.drain().await;
    assert!(runtime.stats().claimed > 6);
}

async fn j6_a_crashing_job_is_buried_and_a_hundred_others_finish(bench: &Bench) {
    let poison = NewJob { max_attempts: 3, priority: 1, ..does(bench, "a", "hang") };
    let mut jobs = vec![poison];
    jobs.extend((0..100).map(|_| job(bench, "a")));
    bench.push(jobs).await;
    let mut runs = 0;
    // A "crash": the runtime is dropped as soon as the poison runs; nothing is recorded or given back.
    for _ in 0..20 {
        let (runtime, mut starts) = start(bench).await;
        let crashed = tokio::select! {
            () = runtime.drain() => false,
            () = async { while next_start(&mut starts).await.1 != "hang" {} } => true,
        };
        if !crashed {
            break;
        }
        runs += 1;
        drop(runtime);
    }
    assert_eq!(runs, 3);
    assert_eq!(bench.counts().await, (0, 0, 1));
    let done = bench.list(JobState::Done).await;
    assert_eq!(done.len(), 100);
    assert!(done.iter().all(|job| job.attempts == 0), "the neighbours lost no attempt");
    let dead = bench.list(JobState::Dead).await.remove(0);
    assert_eq!(dead.history.iter().filter(|attempt| attempt.outcome == "lost").count(), 3);
}

async fn j9_a_newcomer_is_served_within_two_claims(bench: &Bench) {
    const BACKLOG: usize = 50_000;
    for _ in 0..BACKLOG / 5000 {
        bench.push((0..5000).map(|_| job(bench, "a")).collect()).await;
    }
    let (runtime, mut starts) = start(bench).await;
    for _ in 0..200 {
        assert_eq!(next_start(&mut starts).await.0, "org_a");
    }
    bench.push(vec![job(bench, "b")]).await;
    // What had started or was claimed before the push was committed stands in the channel already.
    let claims = runtime.stats().claims;
    while next_start(&mut starts).await.0 != "org_b" {}
    let waited = runtime.stats().claims - claims;
    assert!(waited <= 40, "b waited for {waited} claims");
    assert!(bench.counts().await.0 > (BACKLOG / 2) as i64, "most of the backlog still waits");
}

async fn j10_a_graceful_stop_burns_nothing(bench: &Bench) {
    let (runtime, mut starts) = start(bench).await;
    bench.push((0..20).map(|_| does(bench, "a", "until stopped")).collect()).await;
    for _ in 0..8 {
        next_start(&mut starts).await;
    }
    let report = runtime.stop(Duration::from_secs(20)).await;
    assert_eq!((report.finished, report.released), (8, 0));
    assert_eq!(bench.counts().await, (20, 0, 0));
    let ready = bench.list(JobState::Ready).await;
    assert!(ready.iter().all(|job| job.attempts == 0));
    assert_eq!(bench.claim(50).await.len(), 20, "all are due, none is suspect");
}

async fn a_job_that_ignores_the_stop_is_given_back(bench: &Bench) {
    let (runtime, mut starts) = start(bench).await;
    bench.push((0..3).map(|_| does(bench, "a", "hang")).collect()).await;
    for _ in 0..3 {
        next_start(&mut starts).await;
    }
    let report = runtime.stop(Duration::from_millis(10)).await;
    assert_eq!((report.finished, report.released), (0, 3));
    let ready = bench.list(JobState::Ready).await;
    assert!(ready.iter().all(|job| job.attempts == 0 && job.history[0].outcome == "released"));
    assert_eq!(bench.claim(5).await.len(), 3);
}

async fn a_lost_claim_stops_its_run(bench: &Bench) {
    let (runtime, mut starts) = start(bench).await;
    bench.push(vec![does(bench, "a", "until stopped")]).await;
    next_start(&mut starts).await;
    // Another process takes the job for orphaned: this one was away for too long.
    assert_eq!(bench.store.release_orphans(bench.now(), true).await.unwrap(), (1, 0));
    let again = next_start(&mut starts).await;
    assert_eq!(again.1, "until stopped", "it runs again once the stale run has ended");
    let stats = runtime.stats();
    assert_eq!((stats.lost, stats.failed), (1, 0), "the heartbeat found the loss and stopped the run");
    assert_eq!(bench.counts().await, (0, 1, 0));
}

async fn kinds_without_a_handler_wait(bench: &Bench) {
    let (runtime, _starts) = start(bench).await;
    bench.push(vec![NewJob { kind: "test.unknown", ..job(bench, "a") }, job(bench, "a")]).await;
    runtime.drain().await;
    assert_eq!((bench.counts().await, runtime.stats().done), ((1, 0, 0), 1));
}

async fn a_push_is_heard_without_polling(bench: &Bench) {
    let (builder, _, mut starts) = builder(bench);
    let _runtime = builder.start().await.unwrap();
    let other = bench.other_process().await;
    let mut listener = bench.signal.listen();
    for _ in 0..5 {
        bench.push(vec![job(bench, "a")]).await;
        next_start(&mut starts).await;
    }
    listener.catch_up();
    // On Postgres the word comes from the other process over NOTIFY.
    other.push_jobs(vec![job(bench, "b")]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), listener.heard()).await.expect("the push is announced");
    while next_start(&mut starts).await.0 != "org_b" {}
}

async fn a_key_never_runs_twice_at_once(bench: &Bench) {
    let (builder, work, mut starts) = builder(bench);
    let runtime = builder.start().await.unwrap();
    let mut pushes = tokio::task::JoinSet::new();
    for i in 0..300 {
        let job = NewJob { dedupe_key: Some(format!("k{}", i % 3)), ..does(bench, "a", "count") };
        let store = Arc::clone(&bench.store);
        pushes.spawn(async move { store.push_jobs(vec![job]).await.unwrap() });
    }
    pushes.join_all().await;
    runtime.drain().await;
    starts.close();
    assert_eq!(work.side_by_side.lock().unwrap().1, 1);
    assert_eq!(bench.counts().await, (0, 0, 0));
    let stats = runtime.stats();
    assert!(stats.done >= 3 && stats.failed == 0, "{stats:?}");
}
