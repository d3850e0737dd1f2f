//! Random sequences of operations against a reference model (J13).

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Push { owner: u8, key: Option<u8>, delay: i64, priority: i16 },
    Claim { limit: i64, suspect: bool },
    Record { nth: usize, outcome: u8, stale: bool },
    Release { nth: usize },
    Heartbeat { nth: usize },
    Crash,
    Expire,
    Pass { seconds: i64 },
    RetryDead,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0u8..3, proptest::option::of(0u8..3), prop_oneof![3 => Just(0i64), 1 => 1i64..20], 0i16..3)
            .prop_map(|(owner, key, delay, priority)| Op::Push { owner, key, delay, priority }),
        5 => (1i64..5, any::<bool>()).prop_map(|(limit, suspect)| Op::Claim { limit, suspect }),
        6 => (any::<usize>(), 0u8..6, proptest::bool::weighted(0.1))
            .prop_map(|(nth, outcome, stale)| Op::Record { nth, outcome, stale }),
        1 => any::<usize>().prop_map(|nth| Op::Release { nth }),
        1 => any::<usize>().prop_map(|nth| Op::Heartbeat { nth }),
        1 => Just(Op::Crash),
        1 => Just(Op::Expire),
        3 => (1i64..15).prop_map(|seconds| Op::Pass { seconds }),
        1 => Just(Op::RetryDead),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    owner: String,
    key: Option<String>,
    priority: i16,
    run_at: i64,
    attempts: i32,
    max: i32,
    claim: i64,
    running: bool,
    lease: i64,
    suspicion: u8,
}

/// The rules, written as plainly as they can be.
#[derive(Debug, Default)]
struct Model {
    live: BTreeMap<String, Row>,
    dead: BTreeMap<String, Row>,
}

impl Model {
    fn waiting(&mut self, owner: &str, key: &str) -> Option<(&String, &mut Row)> {
        self.live.iter_mut().find(|(_, r)| !r.running && r.owner == owner && r.key.as_deref() == Some(key))
    }

    fn blocked(&self, row: &Row) -> bool {
        row.key.is_some() && self.live.values().any(|r| r.running && r.owner == row.owner && r.key == row.key)
    }

    /// The ids that a claim gives, in order.
    fn claim(&mut self, limit: usize, suspect: bool, now: i64) -> Vec<String> {
        let mut open: Vec<(String, Row)> = self
            .live
            .iter()
            .filter(|(_, r)| {
                !r.running && r.run_at <= now && (r.suspicion > 0) == suspect && !self.blocked(r)
            })
            .map(|(id, r)| (id.clone(), r.clone()))
            .collect();
        let mut order: Vec<String> = if suspect {
            open.sort_by_key(|(id, r)| (r.run_at, id.clone()));
            open.into_iter().map(|(id, _)| id).take(1).collect()
        } else {
            open.sort_by_key(|(id, r)| (r.priority, r.run_at, id.clone()));
            let mut places: BTreeMap<String, usize> = BTreeMap::new();
            let mut turns: Vec<(usize, String, String)> = open
                .into_iter()
                .map(|(id, r)| {
                    let place = places.entry(r.owner.clone()).or_insert(0);
                    *place += 1;
                    (*place, r.owner, id)
                })
                .collect();
            turns.sort();
            turns.into_iter().map(|(_, _, id)| id).collect()
        };
        order.truncate(limit);
        for id in &order {
            let row = self.live.get_mut(id).unwrap();
            row.running = true;
            row.claim += 1;
            row.lease = now + 8;
        }
        order
    }

    fn held(&self, id: &str, claim: i64) -> bool {
        self.live.get(id).is_some_and(|row| row.running && row.claim == claim)
    }

    fn again(&mut self, id: &str, at: i64, floor: Option<i64>) {
        let mut row = self.live.remove(id).unwrap();
        if let Some(key) = row.key.clone()
            && let Some((_, heir)) = self.waiting(&row.owner.clone(), &key)
        {
            heir.run_at = heir.run_at.min(at).max(floor.unwrap_or(i64::MIN));
            heir.suspicion = heir.suspicion.max(row.suspicion);
            if row.suspicion > 0 {
                heir.attempts = heir.attempts.max(row.attempts);
            }
            return;
        }
        row.running = false;
        row.run_at = at;
        self.live.insert(id.to_owned(), row);
    }

    fn crash(&mut self, now: i64, all: bool) -> (i64, i64) {
        let lost: Vec<String> = self
            .live
            .iter()
            .filter(|(_, r)| r.running && (all || r.lease < now))
            .map(|(id, _)| id.clone())
            .collect();
        let (mut freed, mut buried) = (0, 0);
        for id in lost {
            let row = self.live.get_mut(&id).unwrap();
            let guilty = row.suspicion > 0;
            row.attempts += [0, 2, 1][usize::from(row.suspicion)];
            row.suspicion = if guilty { 2 } else { 1 };
            if guilty && row.attempts >= row.max {
                let row = self.live.remove(&id).unwrap();
                self.dead.insert(id, row);
                buried += 1;
            } else {
                let at = row.run_at.min(now);
                self.again(&id, at, None);
                freed += 1;
            }
        }
        (freed, buried)
    }
}

async fn run(bench: &Bench, ops: Vec<Op>) {
    let mut model = Model::default();
    let mut claims: Vec<ClaimedJob> = Vec::new();
    let begin = bench.now();
    let seconds = |at: Timestamp| (at - begin).num_seconds();
    for (step, op) in ops.iter().enumerate() {
        let now = seconds(bench.now());
        let at = format!("step {step}: {op:?}\n{model:#?}");
        match op.clone() {
            Op::Push { owner, key, delay, priority } => {
                let new = NewJob {
                    dedupe_key: key.map(|key| format!("k{key}")),
                    run_at: bench.now() + TimeDelta::seconds(delay),
                    priority,
                    max_attempts: 3,
                    ..job(bench, &format!("o{owner}"))
                };
                let pushed = bench.push(vec![new.clone()]).await.remove(0);
                let owner = new.org_id.0.clone();
                let met = new.dedupe_key.as_ref().and_then(|key| model.waiting(&owner, key));
                match (&pushed, met) {
                    (Pushed::Merged(id), Some((waiting, row))) => {
                        assert_eq!(id.as_str(), waiting, "{at}");
                        row.run_at = row.run_at.min(now + delay);
                        row.priority = row.priority.min(priority);
                    }
                    (Pushed::Inserted(id), None) => {
                        let row = Row {
                            owner,
                            key: new.dedupe_key.clone(),
                            priority,
                            run_at: now + delay,
                            attempts: 0,
                            max: 3,
                            claim: 0,
                            running: false,
                            lease: 0,
                            suspicion: 0,
                        };
                        model.live.insert(id.0.clone(), row);
                    }
                    other => panic!("{other:?} {at}"),
                }
            }
            Op::Claim { limit, suspect } => {
                let take = if suspect { Take::OneSuspect } else { Take::Healthy };
                let claimed = bench.claim_of(limit, take).await;
                let ids: Vec<String> = claimed.jobs.iter().map(|job| job.fence.job_id.0.clone()).collect();
                assert_eq!(ids, model.claim(usize::try_from(limit).unwrap(), suspect, now), "{at}");
                for job in &claimed.jobs {
                    let row = &model.live[job.fence.job_id.as_str()];
                    assert_eq!((job.fence.claim, job.attempts), (row.claim, row.attempts), "{at}");
                    assert_eq!((seconds(job.run_at), job.suspect), (row.run_at, row.suspicion > 0), "{at}");
                }
                let next =
                    model.live.values().filter(|r| !r.running && r.run_at > now).map(|r| r.run_at).min();
                assert_eq!(claimed.next_due.map(seconds), next, "{at}");
                claims.extend(claimed.jobs);
            }
            Op::Record { nth, outcome, stale } if !claims.is_empty() => {
                let nth = nth % claims.len();
                let mut job = if stale { claims[nth].clone() } else { claims.remove(nth) };
                if stale {
                    job.fence.claim -= 1;
                }
                let floor = bench.now() + TimeDelta::seconds(7);
                let outcome = match outcome {
                    0 | 1 => JobOutcome::Done,
                    2 => JobOutcome::Snooze(Duration::from_secs(4)),
                    3 => JobOutcome::Discard("no".into()),
                    4 => JobOutcome::Retry { error: "429".into(), not_before: Some(floor) },
                    _ => JobOutcome::Retry { error: "no".into(), not_before: None },
                };
                let finished = Finished {
                    fence: job.fence.clone(),
                    next_run_at: match &outcome {
                        JobOutcome::Snooze(_) => Some(bench.now() + TimeDelta::seconds(4)),
                        JobOutcome::Retry { not_before: Some(at), .. } => Some(*at),
                        JobOutcome::Retry { .. } => Some(bench.now() + TimeDelta::seconds(5)),
                        _ => None,
                    },
                    outcome: outcome.clone(),
                    started_at: bench.now(),
                    finished_at: bench.now(),
                };
                let lost = bench.store.record_outcomes(vec![finished]).await.unwrap();
                let id = job.fence.job_id.as_str();
                let held = model.held(id, job.fence.claim);
                assert_eq!(lost.is_empty(), held, "{at}");
                if held {
                    model.live.get_mut(id).unwrap().suspicion = 0;
                    match outcome {
                        JobOutcome::Done => drop(model.live.remove(id)),
                        JobOutcome::Snooze(_) => model.again(id, now + 4, None),
                        JobOutcome::Discard(_) => {
                            let row = model.live.remove(id).unwrap();
                            model.dead.insert(id.to_owned(), row);
                        }
                        JobOutcome::Retry { not_before, .. } => {
                            let row = model.live.get_mut(id).unwrap();
                            row.attempts += 1;
                            if row.attempts >= row.max {
                                let row = model.live.remove(id).unwrap();
                                model.dead.insert(id.to_owned(), row);
                            } else {
                                let next = now + if not_before.is_some() { 7 } else { 5 };
                                model.again(id, next, not_before.map(|_| next));
                            }
                        }
                    }
                }
            }
            Op::Release { nth } if !claims.is_empty() => {
                let job = claims.remove(nth % claims.len());
                let released = bench
                    .store
                    .release_jobs("w", std::slice::from_ref(&job.fence), bench.now())
                    .await
                    .unwrap();
                let id = job.fence.job_id.as_str();
                let held = model.held(id, job.fence.claim);
                assert_eq!(released, i64::from(held), "{at}");
                if held {
                    let run_at = model.live[id].run_at.min(now);
                    model.again(id, run_at, None);
                }
            }
            Op::Heartbeat { nth } if !claims.is_empty() => {
                let job = &claims[nth % claims.len()];
                let until = bench.now() + TimeDelta::seconds(8);
                let lost =
                    bench.store.heartbeat_jobs("w", std::slice::from_ref(&job.fence), until).await.unwrap();
                let held = model.held(job.fence.job_id.as_str(), job.fence.claim);
                assert_eq!(lost.is_empty(), held, "{at}");
                if held {
                    model.live.get_mut(job.fence.job_id.as_str()).unwrap().lease = now + 8;
                }
            }
            Op::Crash | Op::Expire => {
                let all = matches!(op, Op::Crash);
                let answer = bench.store.release_orphans(bench.now(), all).await.unwrap();
                assert_eq!(answer, model.crash(now, all), "{at}");
            }
            Op::Pass { seconds } => bench.pass(TimeDelta::seconds(seconds)),
            Op::RetryDead => {
                let retried = bench.store.retry_dead_jobs(None, None, bench.now()).await.unwrap();
                assert_eq!(retried, i64::try_from(model.dead.len()).unwrap(), "{at}");
                for (id, row) in std::mem::take(&mut model.dead) {
                    let merged = row.key.clone().is_some_and(|key| model.waiting(&row.owner, &key).is_some());
                    if !merged {
                        let row = Row { running: false, attempts: 0, suspicion: 0, run_at: now, ..row };
                        model.live.insert(id, row);
                    }
                }
            }
            Op::Record { .. } | Op::Release { .. } | Op::Heartbeat { .. } => {}
        }
        let running = model.live.values().filter(|row| row.running).count();
        let expected = (model.live.len() - running, running, model.dead.len());
        let (ready, running, dead) = bench.counts().await;
        assert_eq!((ready as usize, running as usize, dead as usize), expected, "after {at}");
    }
    let mut dead: Vec<(String, i32)> =
        bench.list(JobState::Dead).await.into_iter().map(|job| (job.id.0, job.attempts)).collect();
    dead.sort();
    let expected: Vec<(String, i32)> =
        model.dead.iter().map(|(id, row)| (id.clone(), row.attempts)).collect();
    assert_eq!(dead, expected);
}

on_both_engines!(j13_the_rows_follow_the_reference_model);

async fn j13_the_rows_follow_the_reference_model(bench: &Bench) {
    // 10,000 operations in sequences on one database, each sequence going on where the last one ended would
    // hide which step broke a rule: so each starts from an empty queue.
    const SEQUENCES: u8 = 20;
    const LENGTH: usize = 500;
    for sequence in 0..SEQUENCES {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[sequence; 32]);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let ops = proptest::collection::vec(op(), LENGTH).new_tree(&mut runner).unwrap().current();
        run(bench, ops).await;
        // Empty it: everything that is left ends.
        bench.store.release_orphans(bench.now(), true).await.unwrap();
        bench.store.retry_dead_jobs(None, None, bench.now()).await.unwrap();
        bench.pass(TimeDelta::days(1));
        loop {
            let mut left = bench.claim(1000).await;
            left.extend(bench.claim_of(1, Take::OneSuspect).await.jobs);
            if left.is_empty() {
                break;
            }
            for job in &left {
                bench.record(job, JobOutcome::Done).await;
            }
        }
        assert_eq!(bench.counts().await, (0, 0, 0));
    }
}
