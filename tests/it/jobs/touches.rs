//! A push that is committed after the job which it met was claimed (Postgres: writers run side by side).

use sqlx::{Connection, Executor, PgConnection};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_touch_that_commits_after_the_claim_becomes_a_job() {
    let Some(bench) = Bench::postgres().await else { return };
    bench.push(vec![keyed(&bench, "a", "k")]).await;
    // What `push_in` leaves when it meets the waiting job, in a transaction that is still open.
    let mut slow = PgConnection::connect(bench.postgres_url()).await.unwrap();
    slow.execute("BEGIN").await.unwrap();
    slow.execute(
        "INSERT INTO job_touches (id, org_id, connection_id, kind, lane, dedupe_key, args, priority, max_attempts,
            run_at, pushed_at)
         SELECT 'job_touch', org_id, connection_id, kind, lane, dedupe_key, args, priority, max_attempts, run_at,
            pushed_at FROM jobs",
    )
    .await
    .unwrap();
    // The claim does not wait for it, and neither does the record.
    let first = bench.claim_one().await;
    slow.execute("COMMIT").await.unwrap();
    assert!(bench.claim(5).await.is_empty(), "the key runs");
    bench.record(&first, JobOutcome::Done).await;
    let second = bench.claim_one().await;
    assert_eq!(second.fence.job_id.as_str(), "job_touch", "the touch was not swallowed");
    assert_eq!((second.dedupe_key.as_deref(), second.run_at), (Some("k"), bench.now()));
    bench.record(&second, JobOutcome::Done).await;
    assert!(bench.claim(5).await.is_empty());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_touch_that_was_committed_before_the_claim_is_part_of_it() {
    let Some(bench) = Bench::postgres().await else { return };
    for _ in 0..5 {
        bench.push(vec![keyed(&bench, "a", "k")]).await;
    }
    let first = bench.claim_one().await;
    bench.record(&first, JobOutcome::Done).await;
    assert!(bench.claim(5).await.is_empty(), "all five were one");
    bench.end().await;
}

/// Pushers and a worker side by side: after the last push of a key a run of that key begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_push_is_followed_by_a_run() {
    let Some(bench) = Bench::postgres().await else { return };
    let bench = Arc::new(bench);
    let mut pushers = tokio::task::JoinSet::new();
    for pusher in 0..4 {
        let bench = Arc::clone(&bench);
        pushers.spawn(async move {
            for i in 0..50 {
                bench.push(vec![keyed(&bench, "a", &format!("k{}", (pusher + i) % 2))]).await;
            }
        });
    }
    let mut runs = 0;
    loop {
        let claimed = bench.claim(4).await;
        for job in &claimed {
            runs += 1;
            bench.record(job, JobOutcome::Done).await;
        }
        if claimed.is_empty() && pushers.is_empty() {
            break;
        }
        while pushers.try_join_next().is_some_and(|ended| {
            ended.unwrap();
            true
        }) {}
    }
    assert!((2..=200).contains(&runs), "{runs}");
    let mut check = PgConnection::connect(bench.postgres_url()).await.unwrap();
    let left: (i64, i64) =
        sqlx::query_as("SELECT (SELECT COUNT(*) FROM jobs), (SELECT COUNT(*) FROM job_touches)")
            .fetch_one(&mut check)
            .await
            .unwrap();
    assert_eq!(left, (0, 0));
    check.close().await.unwrap();
    Arc::into_inner(bench).unwrap().end().await;
}
