//! The one retry ladder, and where its jitter comes from.

use std::time::Duration;

use chrono::TimeDelta;
use connector_sdk::Timestamp;

use crate::domain::jobs::JobOutcome;

/// How long to wait before the next try.
///
/// After the n-th failure the nominal wait is `base * factor^(n-1)`, at most `cap`; the real wait is the nominal
/// one times a factor drawn evenly from [0.5, 1.5), so that jobs which failed together do not come back
/// together. With the default values the nominal waits are 5 s, 20 s, 80 s, 5 min 20 s, 21 min 20 s, then 1 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    /// The wait after the first failure.
    pub base: Duration,
    /// By how much each further failure multiplies it.
    pub factor: u32,
    /// The longest nominal wait.
    pub cap: Duration,
}

/// A provider that names a later instant than this is not believed: the job is tried again by then.
pub const NOT_BEFORE_CAP: TimeDelta = TimeDelta::hours(24);

impl Default for Ladder {
    fn default() -> Self {
        Self { base: Duration::from_secs(5), factor: 4, cap: Duration::from_secs(3600) }
    }
}

impl Ladder {
    /// The wait without jitter after `failures` failures (at least 1).
    pub fn nominal(&self, failures: u32) -> Duration {
        let steps = failures.saturating_sub(1);
        let grown = self
            .factor
            .checked_pow(steps)
            .and_then(|growth| self.base.checked_mul(growth))
            .unwrap_or(Duration::MAX);
        grown.min(self.cap)
    }

    /// The wait after `failures` failures; `draw` is a number in [0, 1).
    pub fn delay(&self, failures: u32, draw: f64) -> Duration {
        self.nominal(failures).mul_f64(0.5 + draw.clamp(0.0, 1.0))
    }

    /// When a run that ended as `outcome` at `now` is due again; `None` when it is not.
    ///
    /// `attempts` is the number of failures before this run. A snooze is exact. A provider's own instant is
    /// obeyed exactly in place of the ladder, within [`NOT_BEFORE_CAP`].
    pub fn next_run_at(
        &self,
        outcome: &JobOutcome,
        attempts: i32,
        now: Timestamp,
        jitter: &dyn Jitter,
    ) -> Option<Timestamp> {
        match outcome {
            JobOutcome::Done | JobOutcome::Discard(_) => None,
            JobOutcome::Snooze(wait) => Some(after(now, *wait)),
            JobOutcome::Retry { not_before: Some(instant), .. } => {
                Some((*instant).clamp(now, now + NOT_BEFORE_CAP))
            }
            JobOutcome::Retry { not_before: None, .. } => {
                let failures = u32::try_from(attempts).unwrap_or(0).saturating_add(1);
                Some(after(now, self.delay(failures, jitter.draw())))
            }
        }
    }
}

/// `now` plus `wait`, cut to microseconds; a wait too long for the calendar becomes [`NOT_BEFORE_CAP`].
fn after(now: Timestamp, wait: Duration) -> Timestamp {
    i64::try_from(wait.as_micros())
        .ok()
        .and_then(|micros| now.checked_add_signed(TimeDelta::microseconds(micros)))
        .unwrap_or(now + NOT_BEFORE_CAP)
}

/// Where chance comes from.
pub trait Jitter: Send + Sync + std::fmt::Debug {
    /// A number drawn evenly from [0, 1).
    fn draw(&self) -> f64;
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemJitter;

impl Jitter for SystemJitter {
    fn draw(&self) -> f64 {
        // Without a working generator everything waits its nominal time, which is safe.
        getrandom::u64().map_or(0.5, unit_interval)
    }
}

/// A sequence that a seed determines, for tests and reproducible runs (SplitMix64).
#[derive(Debug)]
pub struct SeededJitter(std::sync::atomic::AtomicU64);

impl SeededJitter {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(std::sync::atomic::AtomicU64::new(seed))
    }
}

impl Jitter for SeededJitter {
    fn draw(&self) -> f64 {
        const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
        let state = self.0.fetch_add(GAMMA, std::sync::atomic::Ordering::Relaxed).wrapping_add(GAMMA);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        unit_interval(mixed ^ (mixed >> 31))
    }
}

/// The upper 53 bits as a number in [0, 1).
fn unit_interval(bits: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let value = (bits >> 11) as f64;
    value / 9_007_199_254_740_992.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(not_before: Option<Timestamp>) -> JobOutcome {
        JobOutcome::Retry { error: "refused".to_owned(), not_before }
    }

    fn noon() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn nominal_waits_grow_to_the_cap() {
        let waits: Vec<u64> = (1..=7).map(|n| Ladder::default().nominal(n).as_secs()).collect();
        assert_eq!(waits, [5, 20, 80, 320, 1280, 3600, 3600]);
        assert_eq!(Ladder::default().nominal(u32::MAX).as_secs(), 3600);
    }

    #[test]
    fn j7_ten_thousand_draws_stay_inside_half_and_one_and_a_half() {
        let ladder = Ladder::default();
        let jitter = SeededJitter::new(7);
        let (mut low, mut high) = (f64::MAX, f64::MIN);
        for draw in 0..10_000 {
            let attempts = draw % 8;
            let next = ladder.next_run_at(&retry(None), attempts, noon(), &jitter).unwrap();
            let wait = (next - noon()).num_microseconds().unwrap() as f64 / 1e6;
            let nominal = ladder.nominal(attempts as u32 + 1).as_secs_f64();
            let ratio = wait / nominal;
            assert!((0.5..=1.5).contains(&ratio), "draw {draw}: {ratio}");
            low = low.min(ratio);
            high = high.max(ratio);
        }
        assert!(low < 0.51 && high > 1.49, "the draws fill the interval: {low}..{high}");
    }

    #[test]
    fn system_draws_differ_and_stay_in_the_unit_interval() {
        let draws: Vec<f64> = (0..100).map(|_| SystemJitter.draw()).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        assert!(draws.windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_providers_instant_replaces_the_ladder() {
        let jitter = SeededJitter::new(1);
        let at = noon() + TimeDelta::seconds(97);
        assert_eq!(Ladder::default().next_run_at(&retry(Some(at)), 4, noon(), &jitter), Some(at));
        let past = noon() - TimeDelta::hours(1);
        assert_eq!(Ladder::default().next_run_at(&retry(Some(past)), 0, noon(), &jitter), Some(noon()));
        let absurd = noon() + TimeDelta::days(3650);
        let capped = noon() + NOT_BEFORE_CAP;
        assert_eq!(Ladder::default().next_run_at(&retry(Some(absurd)), 0, noon(), &jitter), Some(capped));
    }

    #[test]
    fn a_snooze_is_exact_and_finished_runs_do_not_return() {
        let jitter = SeededJitter::new(1);
        let ladder = Ladder::default();
        let snooze = JobOutcome::Snooze(Duration::from_millis(1500));
        assert_eq!(
            ladder.next_run_at(&snooze, 3, noon(), &jitter),
            Some(noon() + TimeDelta::milliseconds(1500))
        );
        let endless = JobOutcome::Snooze(Duration::MAX);
        assert_eq!(ladder.next_run_at(&endless, 0, noon(), &jitter), Some(noon() + NOT_BEFORE_CAP));
        assert_eq!(ladder.next_run_at(&JobOutcome::Done, 0, noon(), &jitter), None);
        assert_eq!(ladder.next_run_at(&JobOutcome::Discard("no".into()), 0, noon(), &jitter), None);
    }
}
