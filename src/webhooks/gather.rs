//! Requests that arrive together are stored together: one unit and one commit for all that came while the last
//! one was under way. A request that finds nobody under way is stored at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::process::process_job;
use crate::domain::ConnectionId;
use crate::domain::jobs::NewJob;
use crate::store::inbox::{Accepted, NewDelivery};
use crate::store::{Result, Store, StoreError};

/// Deliveries in one unit.
const TOGETHER: usize = 256;

/// Stores deliveries.
#[derive(Clone)]
pub(super) struct Gather {
    store: Arc<dyn Store>,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Whether a task empties it.
    under_way: bool,
}

/// However the task ends, the next request finds nobody under way, and nobody waits for an answer that cannot
/// come: after a panic of the store their senders are told to come again.
struct UnderWay<'a>(&'a Mutex<Queue>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if std::thread::panicking() {
            queue.under_way = false;
            queue.waiting.clear();
        }
    }
}

/// One request's deliveries.
struct Waiting {
    deliveries: Vec<NewDelivery>,
    answer: oneshot::Sender<Result<Vec<Accepted>>>,
}

impl Gather {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, queue: Arc::default() }
    }

    /// Stores a request's deliveries durably. Answers in their order.
    pub(super) async fn put(&self, deliveries: Vec<NewDelivery>) -> Result<Vec<Accepted>> {
        let (answer, answered) = oneshot::channel();
        let starts = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.waiting.push(Waiting { deliveries, answer });
            !std::mem::replace(&mut queue.under_way, true)
        };
        if starts {
            // Not in the request's own task: it ends when its client goes away.
            tokio::spawn(self.clone().empty());
        }
        answered.await.map_err(|_| StoreError::Closed)?
    }

    async fn empty(self) {
        let _under_way = UnderWay(&self.queue);
        loop {
            let batch = {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                let mut room = TOGETHER;
                let fitting = queue.waiting.iter().take_while(|waiting| {
                    let fits = waiting.deliveries.len() <= room;
                    room = room.saturating_sub(waiting.deliveries.len());
                    fits
                });
                // The first one goes in whatever its size.
                let count = fitting.count().max(1).min(queue.waiting.len());
                if count == 0 {
                    queue.under_way = false;
                    return;
                }
                queue.waiting.drain(..count).collect::<Vec<_>>()
            };
            self.store_together(batch).await;
        }
    }

    async fn store_together(&self, batch: Vec<Waiting>) {
        let mut jobs: BTreeMap<ConnectionId, NewJob> = BTreeMap::new();
        let mut all = Vec::new();
        let mut answers = Vec::with_capacity(batch.len());
        for Waiting { deliveries, answer } in batch {
            for delivery in &deliveries {
                jobs.entry(delivery.connection_id.clone()).or_insert_with(|| {
                    process_job(&delivery.org_id, &delivery.connection_id, delivery.received_at)
                });
            }
            answers.push((deliveries.len(), answer));
            all.extend(deliveries);
        }
        let stored = self.store.accept_deliveries(all, jobs.into_values().collect()).await;
        let mut accepted = match stored {
            Ok(accepted) => accepted.into_iter(),
            Err(error) => {
                let reason = error.to_string();
                for (_, answer) in answers {
                    let _ = answer.send(Err(StoreError::Unavailable(reason.clone())));
                }
                return;
            }
        };
        for (count, answer) in answers {
            // A client that has gone needs no answer.
            let _ = answer.send(Ok(accepted.by_ref().take(count).collect()));
        }
    }
}
