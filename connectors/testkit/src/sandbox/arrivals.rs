//! When calls arrive, for tests of what a rate budget lets through.

use std::collections::VecDeque;
#[cfg(feature = "paused-time")]
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How far paused time goes on at once.
#[cfg(feature = "paused-time")]
const STEP: Duration = Duration::from_millis(5);
/// Turns that tasks get between two steps.
#[cfg(feature = "paused-time")]
const TURNS: usize = 16;

/// The calls that reached a sandbox, the refused ones among them, and when. Time is tokio's.
#[derive(Debug, Default)]
pub struct Arrivals(Mutex<Option<Vec<(String, Instant)>>>);

impl Arrivals {
    /// Keeps every arrival from now on, and forgets those before.
    pub fn keep(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    pub(super) fn note(&self, operation: &str) {
        if let Some(kept) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            kept.push((operation.to_owned(), Instant::now()));
        }
    }

    /// The most calls of those operations that arrived within any stretch of time of that length.
    #[must_use]
    pub fn most_within(&self, window: Duration, counts: impl Fn(&str) -> bool) -> usize {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut within, mut most) = (Recent::default(), 0);
        for (_, at) in kept.iter().flatten().filter(|(operation, _)| counts(operation)) {
            within.forget(*at, window);
            within.0.push_back(*at);
            most = most.max(within.0.len());
        }
        most
    }
}

/// Calls of late.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Instant>);

impl Recent {
    fn forget(&mut self, now: Instant, window: Duration) {
        while self.0.front().is_some_and(|at| now.saturating_duration_since(*at) >= window) {
            self.0.pop_front();
        }
    }

    /// Whether there is room for one more call within the window, of at most so many.
    pub(super) fn has_room(&mut self, most: usize, window: Duration) -> bool {
        self.forget(Instant::now(), window);
        self.0.len() < most
    }

    /// Counts a call in.
    pub(super) fn take(&mut self) {
        self.0.push_back(Instant::now());
    }
}

/// Does work on tokio's paused time, which goes on by itself only while nothing is on its way (`idle`): then a window
/// of a limit holds exactly the calls that were let through in it, however slow the machine is.
#[cfg(feature = "paused-time")]
pub async fn on_paused_time<T>(idle: impl Fn() -> bool, work: impl Future<Output = T>) -> T {
    let drive = async {
        loop {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            if idle() {
                tokio::time::advance(STEP).await;
            }
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        done = drive => done,
    }
}
