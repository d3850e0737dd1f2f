//! The word from a commit that inserted jobs to the claimers of this process.

use std::sync::Arc;

use tokio::sync::watch;

/// Told after each commit that inserted jobs; heard by every claimer of the process. Words that come close
/// together are heard as one. A lost word costs at most one polling interval.
#[derive(Debug, Clone)]
pub struct JobsSignal(Arc<watch::Sender<u64>>);

impl Default for JobsSignal {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl JobsSignal {
    /// Says that jobs were committed.
    pub fn pushed(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A listener that hears what is said from now on.
    pub fn listen(&self) -> JobsListener {
        JobsListener(self.0.subscribe())
    }
}

/// Hears a [`JobsSignal`].
#[derive(Debug)]
pub struct JobsListener(watch::Receiver<u64>);

impl JobsListener {
    /// Waits for the next word; one that came since the last call counts. Without any signal left it waits for
    /// ever.
    pub async fn heard(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Forgets words that came so far: what they announced is about to be looked for.
    pub fn catch_up(&mut self) {
        self.0.mark_unchanged();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn every_listener_hears_and_words_coalesce() {
        let signal = JobsSignal::default();
        let (mut one, mut two) = (signal.listen(), signal.listen());
        signal.pushed();
        signal.pushed();
        one.heard().await;
        assert!(one.heard().now_or_never().is_none(), "two words were heard as one");
        two.catch_up();
        assert!(two.heard().now_or_never().is_none(), "caught up");
        signal.pushed();
        two.heard().await;
    }
}
