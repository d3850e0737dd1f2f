//! The rules of the rows.

use std::time::Duration;

use super::*;

on_both_engines!(
    a_finished_job_leaves_the_hot_table_and_keeps_its_history,
    j5_a_stale_holder_cannot_commit_nor_keep_its_lease,
    a_key_waits_once_and_the_earlier_time_wins,
    one_with_the_key_waits_behind_the_running_one,
    a_snoozed_job_whose_key_waits_goes_on_as_that_one,
    a_providers_not_before_holds_for_the_waiting_one_too,
    failures_climb_the_ladder_to_a_dead_letter_that_can_be_retried,
    a_retried_dead_letter_whose_key_waits_is_merged,
    j6_poison_is_buried_at_its_cap_and_its_neighbours_pay_nothing,
    a_poison_cannot_wash_itself_clean_in_its_successor,
    suspects_and_healthy_jobs_are_claimed_apart,
    what_is_given_back_costs_nothing,
    j8_a_thousand_pushes_of_a_key_make_one_job,
    a_batch_answers_in_order_and_merges_within_itself,
    claims_take_kinds_priorities_and_lanes_in_order,
    later_jobs_are_announced_and_promoted,
    heartbeats_keep_a_lease,
    j12_a_clock_that_steps_back_loses_nothing,
    old_history_is_pruned_and_dead_letters_stay,
    texts_and_arguments_come_back_as_they_went_in,
);

async fn a_finished_job_leaves_the_hot_table_and_keeps_its_history(bench: &Bench) {
    let pushed = bench.push(vec![job(bench, "a")]).await;
    assert!(matches!(pushed[0], Pushed::Inserted(_)));
    let claimed = bench.claim_one().await;
    assert_eq!(claimed.fence, Fence { job_id: id_of(&pushed[0]).into(), claim: 1 });
    assert_eq!((claimed.attempts, claimed.max_attempts, claimed.suspect), (0, 5, false));
    assert_eq!(bench.counts().await, (0, 1, 0));
    assert!(bench.record(&claimed, JobOutcome::Done).await);
    assert_eq!(bench.counts().await, (0, 0, 0));
    let done = bench.list(JobState::Done).await;
    assert_eq!((done.len(), done[0].history.len()), (1, 1));
    assert_eq!(done[0].history[0].outcome, "done");
    assert!(!bench.record(&claimed, JobOutcome::Done).await, "a claim ends once");
    assert_eq!(bench.list(JobState::Done).await[0].history.len(), 1);
}

async fn j5_a_stale_holder_cannot_commit_nor_keep_its_lease(bench: &Bench) {
    bench.push(vec![job(bench, "a")]).await;
    let stale = bench.claim_one().await;
    bench.pass(TimeDelta::seconds(9));
    assert_eq!(bench.store.release_orphans(bench.now(), false).await.unwrap(), (1, 0));
    let lost = |job: &ClaimedJob| vec![fence_of(job)];
    let until = bench.now() + TimeDelta::seconds(8);
    assert_eq!(bench.store.heartbeat_jobs("w", &lost(&stale), until).await.unwrap(), lost(&stale));
    assert!(!bench.record(&stale, JobOutcome::Done).await);
    let fresh = bench.claim_of(1, Take::OneSuspect).await.jobs.remove(0);
    assert_eq!(fresh.fence.claim, 2);
    assert!(!bench.record(&stale, JobOutcome::Discard("stale".into())).await);
    assert_eq!(bench.store.release_jobs("w", &lost(&stale), bench.now()).await.unwrap(), 0);
    assert!(bench.store.heartbeat_jobs("w", &lost(&fresh), until).await.unwrap().is_empty());
    assert!(bench.record(&fresh, JobOutcome::Done).await);
    let outcomes: Vec<String> =
        bench.list(JobState::Done).await[0].history.iter().map(|a| a.outcome.clone()).collect();
    assert_eq!(outcomes, ["lost", "done"]);
}

async fn a_key_waits_once_and_the_earlier_time_wins(bench: &Bench) {
    let later = NewJob { run_at: bench.now() + TimeDelta::seconds(60), ..keyed(bench, "a", "k") };
    let first = bench.push(vec![later.clone()]).await;
    assert!(bench.claim(5).await.is_empty(), "not due yet");
    let second = bench.push(vec![keyed(bench, "a", "k")]).await;
    assert_eq!(second, [Pushed::Merged(id_of(&first[0]).into())]);
    bench.push(vec![later]).await;
    let claimed = bench.claim(5).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].run_at, bench.now());
    // The same key of another organisation is another key.
    let other = bench.push(vec![keyed(bench, "b", "k")]).await;
    assert!(matches!(other[0], Pushed::Inserted(_)));
}

async fn one_with_the_key_waits_behind_the_running_one(bench: &Bench) {
    bench.push(vec![keyed(bench, "a", "k")]).await;
    let running = bench.claim_one().await;
    let behind = bench.push(vec![keyed(bench, "a", "k"), keyed(bench, "a", "k")]).await;
    assert!(matches!((&behind[0], &behind[1]), (Pushed::Inserted(a), Pushed::Merged(b)) if a == b));
    assert!(bench.claim(5).await.is_empty(), "the key runs");
    assert!(bench.record(&running, JobOutcome::Done).await);
    assert_eq!(
        bench.claim_one().await.fence.job_id.as_str(),
        id_of(&behind[0]),
        "the touch is not swallowed"
    );
}

async fn a_snoozed_job_whose_key_waits_goes_on_as_that_one(bench: &Bench) {
    bench.push(vec![keyed(bench, "a", "k")]).await;
    let running = bench.claim_one().await;
    let later = NewJob { run_at: bench.now() + TimeDelta::seconds(60), ..keyed(bench, "a", "k") };
    let behind = bench.push(vec![later]).await;
    assert!(bench.record(&running, JobOutcome::Snooze(Duration::from_secs(10))).await);
    assert_eq!(bench.counts().await, (1, 0, 0));
    assert_eq!(bench.list(JobState::Merged).await[0].id, running.fence.job_id);
    bench.pass(TimeDelta::seconds(10));
    let heir = bench.claim_one().await;
    assert_eq!(heir.fence.job_id.as_str(), id_of(&behind[0]), "the earlier of both times holds");
    assert_eq!(heir.attempts, 0);
}

async fn a_providers_not_before_holds_for_the_waiting_one_too(bench: &Bench) {
    bench.push(vec![keyed(bench, "a", "k")]).await;
    let running = bench.claim_one().await;
    bench.push(vec![keyed(bench, "a", "k")]).await;
    let until = bench.now() + TimeDelta::seconds(30);
    bench.record(&running, JobOutcome::Retry { error: "429".into(), not_before: Some(until) }).await;
    bench.pass(TimeDelta::milliseconds(29_999));
    assert!(bench.claim(5).await.is_empty());
    bench.pass(TimeDelta::milliseconds(1));
    assert_eq!(bench.claim(5).await.len(), 1);
}

async fn failures_climb_the_ladder_to_a_dead_letter_that_can_be_retried(bench: &Bench) {
    bench.push(vec![NewJob { max_attempts: 3, ..job(bench, "a") }]).await;
    for attempt in 0..3 {
        let claimed = bench.claim_one().await;
        assert_eq!(claimed.attempts, attempt);
        assert!(bench.record(&claimed, retry(&format!("refused {attempt}"))).await);
        assert!(bench.claim(5).await.is_empty(), "it waits for its step of the ladder");
        bench.pass(TimeDelta::hours(1));
    }
    assert_eq!(bench.counts().await, (0, 0, 1));
    let dead = bench.list(JobState::Dead).await.remove(0);
    assert_eq!((dead.attempts, dead.error.as_deref()), (3, Some("refused 2")));
    assert_eq!(dead.history.len(), 3);
    assert_eq!(bench.store.retry_dead_jobs(Some(&org("b")), None, bench.now()).await.unwrap(), 0);
    let ids = [dead.id.clone()];
    assert_eq!(bench.store.retry_dead_jobs(Some(&org("a")), Some(&ids), bench.now()).await.unwrap(), 1);
    let again = bench.claim_one().await;
    assert_eq!((again.attempts, again.fence.claim), (0, 4), "attempts start over, claims go on");
    bench.record(&again, JobOutcome::Discard("gone".into())).await;
    let dead = bench.list(JobState::Dead).await.remove(0);
    assert_eq!((dead.error.as_deref(), dead.history.len()), (Some("gone"), 4));
    assert_eq!(bench.store.retry_dead_jobs(None, None, bench.now()).await.unwrap(), 1);
}

async fn a_retried_dead_letter_whose_key_waits_is_merged(bench: &Bench) {
    for _ in 0..2 {
        bench.push(vec![keyed(bench, "a", "k")]).await;
        let claimed = bench.claim_one().await;
        bench.record(&claimed, JobOutcome::Discard("no".into())).await;
    }
    assert_eq!(bench.counts().await, (0, 0, 2));
    assert_eq!(bench.store.retry_dead_jobs(None, None, bench.now()).await.unwrap(), 2);
    assert_eq!(bench.counts().await, (1, 0, 0), "two dead letters with one key are one job");
    assert_eq!(bench.list(JobState::Merged).await.len(), 1);
}

async fn j6_poison_is_buried_at_its_cap_and_its_neighbours_pay_nothing(bench: &Bench) {
    let poison = NewJob { max_attempts: 3, priority: 1, ..job(bench, "a") };
    let mut jobs: Vec<NewJob> = (0..4).map(|_| job(bench, "a")).collect();
    jobs.push(poison);
    let pushed = bench.push(jobs).await;
    let poison = id_of(&pushed[4]).to_owned();
    // It runs with its neighbours, and the process dies.
    assert_eq!(bench.claim(5).await.len(), 5);
    let mut runs = 1;
    assert_eq!(bench.store.release_orphans(bench.now(), true).await.unwrap(), (5, 0));
    assert!(bench.claim(5).await.is_empty(), "suspects do not run side by side");
    // Each suspect alone; the poison kills its process every time.
    for _ in 0..20 {
        let claimed = bench.claim_of(5, Take::OneSuspect).await;
        let Some(suspect) = claimed.jobs.first() else { break };
        assert!(claimed.jobs.len() == 1 && suspect.suspect);
        assert!(suspect.fence.job_id.as_str() == poison || suspect.attempts == 0);
        if suspect.fence.job_id.as_str() == poison {
            runs += 1;
            bench.store.release_orphans(bench.now(), true).await.unwrap();
        } else {
            bench.record(suspect, JobOutcome::Done).await;
        }
    }
    assert_eq!(runs, 3, "at most max_attempts runs");
    let dead = bench.list(JobState::Dead).await;
    assert_eq!((dead.len(), dead[0].id.as_str(), dead[0].attempts), (1, poison.as_str(), 3));
    assert!(dead[0].error.as_ref().unwrap().contains("died while this job ran alone"));
    let done = bench.list(JobState::Done).await;
    assert_eq!(done.len(), 4);
    assert!(done.iter().all(|job| job.attempts == 0));
}

async fn a_poison_cannot_wash_itself_clean_in_its_successor(bench: &Bench) {
    bench.push(vec![NewJob { max_attempts: 3, ..keyed(bench, "a", "k") }]).await;
    let mut runs = 0;
    for _ in 0..10 {
        // Somebody keeps pushing the key while it runs.
        let taken = match bench.claim(1).await.pop() {
            Some(job) => Some(job),
            None => bench.claim_of(1, Take::OneSuspect).await.jobs.pop(),
        };
        if taken.is_none() {
            break;
        }
        runs += 1;
        if runs < 3 {
            bench.push(vec![NewJob { max_attempts: 3, ..keyed(bench, "a", "k") }]).await;
        }
        bench.store.release_orphans(bench.now(), true).await.unwrap();
    }
    assert_eq!((runs, bench.counts().await), (3, (0, 0, 1)));
}

async fn suspects_and_healthy_jobs_are_claimed_apart(bench: &Bench) {
    bench.push(vec![job(bench, "a"), job(bench, "a")]).await;
    bench.claim(2).await;
    bench.store.release_orphans(bench.now(), true).await.unwrap();
    bench.push(vec![job(bench, "b")]).await;
    let healthy = bench.claim_of(9, Take::Healthy).await;
    assert_eq!((healthy.jobs.len(), healthy.jobs[0].suspect, healthy.suspect_due), (1, false, true));
    let first = bench.claim_of(9, Take::OneSuspect).await;
    assert_eq!((first.jobs.len(), first.suspect_due), (1, true));
    bench.record(&first.jobs[0], retry("an error is no crash")).await;
    let second = bench.claim_of(9, Take::OneSuspect).await;
    assert_eq!((second.jobs.len(), second.suspect_due), (1, false));
    bench.pass(TimeDelta::minutes(1));
    assert!(!bench.claim_one().await.suspect, "it has proved harmless");
}

async fn what_is_given_back_costs_nothing(bench: &Bench) {
    bench.push(vec![job(bench, "a"), keyed(bench, "a", "k")]).await;
    let held = bench.claim(5).await;
    bench.push(vec![keyed(bench, "a", "k")]).await;
    let fences: Vec<Fence> = held.iter().map(fence_of).collect();
    assert_eq!(bench.store.release_jobs("w", &fences, bench.now()).await.unwrap(), 2);
    assert_eq!(bench.counts().await, (2, 0, 0));
    let again = bench.claim(5).await;
    assert_eq!(again.len(), 2);
    assert!(again.iter().all(|job| job.attempts == 0 && !job.suspect));
    for job in &again {
        assert!(bench.record(job, JobOutcome::Done).await);
    }
}

async fn j8_a_thousand_pushes_of_a_key_make_one_job(bench: &Bench) {
    let mut pushes = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (store, job) = (Arc::clone(&bench.store), keyed(bench, "a", "k"));
        pushes.spawn(async move { store.push_jobs(vec![job]).await.unwrap().remove(0) });
    }
    let pushed = pushes.join_all().await;
    let inserted = pushed.iter().filter(|pushed| matches!(pushed, Pushed::Inserted(_))).count();
    assert_eq!((inserted, bench.counts().await), (1, (1, 0, 0)));
    let running = bench.claim(10).await;
    assert_eq!(running.len(), 1);
    assert!(bench.claim(10).await.is_empty());
    bench.record(&running[0], JobOutcome::Done).await;
    assert!(bench.claim(10).await.is_empty(), "all of them were this one");
    assert!(
        matches!(bench.push(vec![keyed(bench, "a", "k")]).await[0], Pushed::Inserted(_)),
        "the key is free"
    );
}

async fn a_batch_answers_in_order_and_merges_within_itself(bench: &Bench) {
    let early = NewJob { run_at: bench.now() - TimeDelta::seconds(5), ..keyed(bench, "a", "y") };
    let batch = vec![job(bench, "a"), keyed(bench, "a", "y"), keyed(bench, "a", "x"), early, job(bench, "a")];
    let pushed = bench.push(batch).await;
    assert!(matches!(pushed[3], Pushed::Merged(_)));
    assert_eq!(id_of(&pushed[1]), id_of(&pushed[3]));
    let inserted: std::collections::BTreeSet<&str> =
        [0, 1, 2, 4].iter().map(|i| id_of(&pushed[*i])).collect();
    assert_eq!((inserted.len(), bench.counts().await.0), (4, 4));
    let claimed = bench.claim(9).await;
    let merged = claimed.iter().find(|job| job.fence.job_id.as_str() == id_of(&pushed[1])).unwrap();
    assert_eq!(merged.run_at, bench.now() - TimeDelta::seconds(5));
}

async fn claims_take_kinds_priorities_and_lanes_in_order(bench: &Bench) {
    let with =
        |owner: &str, priority: i16, kind: &'static str| NewJob { priority, kind, ..job(bench, owner) };
    bench
        .push(vec![
            with("a", 9, "k.one"),
            with("a", 1, "k.one"),
            with("a", 5, "k.one"),
            with("b", 5, "k.one"),
            with("c", 5, "k.two"),
            with("d", 5, "k.onemore"),
        ])
        .await;
    let now = bench.now();
    let claim = |kinds: &[&str], ahead: Vec<(String, i64)>, limit| Claim {
        worker: "w".into(),
        limit,
        now,
        lease_until: now,
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        ahead,
        take: Take::Healthy,
    };
    let ahead = vec![("k.one/org_a/-".to_owned(), 1)];
    let first = bench.store.claim_jobs(claim(&["k.one"], ahead, 2)).await.unwrap().jobs;
    let owners: Vec<&str> = first.iter().map(|job| job.org_id.as_str()).collect();
    assert_eq!(owners, ["org_b", "org_a"], "a is ahead, so b comes first");
    let rest = bench.store.claim_jobs(claim(&["k.one"], Vec::new(), 9)).await.unwrap().jobs;
    assert_eq!(rest.len(), 2, "neither k.two nor k.onemore");
    let all = bench.store.claim_jobs(claim(&["k.two", "k.onemore"], Vec::new(), 9)).await.unwrap().jobs;
    assert_eq!(all.len(), 2);
}

async fn later_jobs_are_announced_and_promoted(bench: &Bench) {
    let at = bench.now() + TimeDelta::milliseconds(700);
    bench.push(vec![NewJob { run_at: at, ..job(bench, "a") }]).await;
    let none = bench.claim_of(5, Take::Healthy).await;
    assert_eq!((none.jobs.len(), none.next_due), (0, Some(at)));
    bench.pass(TimeDelta::milliseconds(699));
    assert!(bench.claim(5).await.is_empty());
    bench.pass(TimeDelta::milliseconds(1));
    let due = bench.claim_of(5, Take::Healthy).await;
    assert_eq!((due.jobs.len(), due.next_due), (1, None));
}

async fn heartbeats_keep_a_lease(bench: &Bench) {
    bench.push(vec![job(bench, "a")]).await;
    let held = bench.claim_one().await;
    for _ in 0..5 {
        bench.pass(TimeDelta::seconds(7));
        let until = bench.now() + TimeDelta::seconds(8);
        assert!(bench.store.heartbeat_jobs("w", &[fence_of(&held)], until).await.unwrap().is_empty());
        assert_eq!(bench.store.release_orphans(bench.now(), false).await.unwrap(), (0, 0));
    }
    assert!(bench.record(&held, JobOutcome::Done).await);
}

async fn j12_a_clock_that_steps_back_loses_nothing(bench: &Bench) {
    bench.push(vec![job(bench, "a"), job(bench, "a")]).await;
    let held = bench.claim_one().await;
    bench.pass(TimeDelta::hours(-1));
    assert_eq!(bench.store.release_orphans(bench.now(), false).await.unwrap(), (0, 0), "no lease is broken");
    let until = bench.now() + TimeDelta::seconds(8);
    assert!(bench.store.heartbeat_jobs("w", &[fence_of(&held)], until).await.unwrap().is_empty());
    assert!(bench.record(&held, JobOutcome::Done).await);
    assert_eq!(bench.claim(5).await.len(), 1, "what was due stays due");
}

async fn old_history_is_pruned_and_dead_letters_stay(bench: &Bench) {
    bench.push((0..5).map(|_| job(bench, "a")).collect()).await;
    let jobs = bench.claim(5).await;
    for (i, job) in jobs.iter().enumerate() {
        let outcome = if i == 0 { JobOutcome::Discard("no".into()) } else { JobOutcome::Done };
        bench.record(job, outcome).await;
    }
    assert_eq!(bench.store.prune_jobs(bench.now(), 100).await.unwrap(), 0);
    bench.pass(TimeDelta::seconds(1));
    assert_eq!(bench.store.prune_jobs(bench.now(), 3).await.unwrap(), 3);
    assert_eq!(bench.store.prune_jobs(bench.now(), 3).await.unwrap(), 1);
    assert_eq!(bench.store.prune_jobs(bench.now(), 3).await.unwrap(), 0);
    assert_eq!(bench.list(JobState::Dead).await.len(), 1);
}

async fn texts_and_arguments_come_back_as_they_went_in(bench: &Bench) {
    let args = json!({"z": 1, "a": ["\u{0}", "é\u{1F600}", "\"'\\"], "n": 1e300, "deep": {"x": null}});
    let odd = NewJob { args: args.clone(), ..keyed(bench, "a", "key \"with\" 'quotes' /%é") };
    bench.push(vec![odd.clone()]).await;
    assert!(matches!(bench.push(vec![odd]).await[0], Pushed::Merged(_)));
    let claimed = bench.claim_one().await;
    assert_eq!(claimed.args, args);
    assert_eq!(claimed.dedupe_key.as_deref(), Some("key \"with\" 'quotes' /%é"));
    bench.record(&claimed, JobOutcome::Discard("NUL \u{0} and é".into())).await;
    let dead = bench.list(JobState::Dead).await.remove(0);
    assert_eq!(dead.args, args);
    assert_eq!(dead.error.as_deref(), Some("NUL \u{fffd} and é"));
}
