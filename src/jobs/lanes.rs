//! Fairness: whose turn it is.
//!
//! Each lane (kind, organisation, connection) has a virtual time that grows by one with each job that it gets.
//! The claim gives turns to the lanes with the smallest virtual time. A lane that comes back after idling starts
//! at the time of the least served lane that has work: idling earns no credit.
//!
//! The times live in the claimer's memory. No insertion and no claim writes a shared row, so that neither waits
//! for the other; every process is fair by itself, hence all together are; a restart forgets one round.

use std::collections::HashMap;

use crate::domain::jobs::ClaimedJob;

/// Virtual times of the lanes that are ahead of the floor.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    floor: i64,
    times: HashMap<String, i64>,
}

impl Lanes {
    /// How far each lane is ahead of the floor; lanes at the floor are left out.
    pub(super) fn ahead(&self) -> Vec<(String, i64)> {
        let mut ahead: Vec<(String, i64)> =
            self.times.iter().map(|(lane, time)| (lane.clone(), time - self.floor)).collect();
        ahead.sort_unstable();
        ahead
    }

    /// Charges a claim. `full` says that it used up its limit; otherwise all due work was claimed, nobody
    /// waits, and all lanes are even again.
    pub(super) fn charge(&mut self, claimed: &[ClaimedJob], full: bool) {
        if !full {
            self.times.clear();
            return;
        }
        let mut latest = self.floor;
        for job in claimed {
            let time = self.times.entry(job.lane()).or_insert(self.floor);
            latest = latest.max(*time);
            *time += 1;
        }
        // A lane that still has work stands at the latest turn given or beyond: an earlier turn of its own
        // would have been given first.
        self.floor = latest;
        self.times.retain(|_, time| *time > latest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::jobs::Fence;

    fn job(org: &str) -> ClaimedJob {
        ClaimedJob {
            fence: Fence { job_id: "job_1".into(), claim: 1 },
            kind: "k".into(),
            org_id: org.into(),
            connection_id: None,
            args: serde_json::json!({}),
            dedupe_key: None,
            attempts: 0,
            max_attempts: 3,
            run_at: "2026-03-01T12:00:00Z".parse().unwrap(),
            suspect: false,
        }
    }

    /// Gives `slots` turns to lanes that never run out, as the store's claim does.
    fn turns(lanes: &mut Lanes, orgs: &[&str], slots: usize) -> Vec<String> {
        let mut ahead: HashMap<String, i64> = lanes.ahead().into_iter().collect();
        let mut given = Vec::new();
        for _ in 0..slots {
            let next =
                orgs.iter().min_by_key(|org| ahead.get(&job(org).lane()).copied().unwrap_or(0)).unwrap();
            *ahead.entry(job(next).lane()).or_insert(0) += 1;
            given.push(job(next));
        }
        lanes.charge(&given, true);
        given.into_iter().map(|job| job.org_id.0).collect()
    }

    #[test]
    fn turns_are_even_over_claims_of_any_size() {
        let mut lanes = Lanes::default();
        let mut counts: HashMap<String, i64> = HashMap::new();
        for slots in [1, 2, 1, 4, 3, 1, 1, 5, 2, 1] {
            for org in turns(&mut lanes, &["a", "b", "c"], slots) {
                *counts.entry(org).or_insert(0) += 1;
            }
            let (least, most) = (counts.values().min().unwrap(), counts.values().max().unwrap());
            assert!(counts.len() < 3 || most - least <= 1, "{counts:?}");
        }
    }

    #[test]
    fn a_newcomer_is_served_next_and_gets_no_more_than_its_share() {
        let mut lanes = Lanes::default();
        turns(&mut lanes, &["a"], 100);
        assert_eq!(turns(&mut lanes, &["a", "b"], 1), ["b"]);
        let later = turns(&mut lanes, &["a", "b"], 20);
        assert!((9..=11).contains(&later.iter().filter(|org| *org == "b").count()), "{later:?}");
    }

    #[test]
    fn nothing_is_remembered_when_nobody_waits() {
        let mut lanes = Lanes::default();
        turns(&mut lanes, &["a", "b"], 3);
        assert!(!lanes.ahead().is_empty());
        lanes.charge(&[job("a")], false);
        assert!(lanes.ahead().is_empty());
    }
}
