//! Calls that arrive together are written together: one unit and one commit for all that came while the last one
//! was under way. A call that finds nobody of its organisation under way is written at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::domain::OrgId;
use crate::store::product::{Outcome, ProductWrite};
use crate::store::{Result, Store, StoreError};

/// Writes in one unit.
const TOGETHER: usize = 128;

/// Writes single calls.
#[derive(Clone)]
pub(super) struct Gather {
    store: Arc<dyn Store>,
    /// What waits, by organisation; an organisation that is here has a task that empties it.
    waiting: Arc<Mutex<HashMap<OrgId, Vec<Waiting>>>>,
}

struct Waiting {
    write: ProductWrite,
    answer: oneshot::Sender<Result<Outcome>>,
}

/// However the task ends, the next call finds nobody under way, and nobody waits for an answer that cannot come:
/// after a panic of the store their senders are told to come again.
struct UnderWay<'a>(&'a Gather, &'a OrgId);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().remove(self.1);
        }
    }
}

impl Gather {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, waiting: Arc::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<OrgId, Vec<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes durably.
    pub(super) async fn put(&self, org: &OrgId, write: ProductWrite) -> Result<Outcome> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { write, answer };
        let starts = match self.lock().entry(org.clone()) {
            std::collections::hash_map::Entry::Occupied(mut own) => {
                own.get_mut().push(waiting);
                false
            }
            std::collections::hash_map::Entry::Vacant(own) => {
                own.insert(vec![waiting]);
                true
            }
        };
        if starts {
            // Not in the call's own task: it ends when its client goes away.
            tokio::spawn(self.clone().empty(org.clone()));
        }
        answered.await.map_err(|_| StoreError::Closed)?
    }

    async fn empty(self, org: OrgId) {
        let _under_way = UnderWay(&self, &org);
        loop {
            let batch: Vec<Waiting> = {
                let mut all = self.lock();
                let Some(own) = all.get_mut(&org) else { return };
                let count = own.len().min(TOGETHER);
                if count == 0 {
                    all.remove(&org);
                    return;
                }
                own.drain(..count).collect()
            };
            self.write_together(&org, batch).await;
        }
    }

    async fn write_together(&self, org: &OrgId, batch: Vec<Waiting>) {
        // Those whose client has gone need no write: nobody was told of it.
        let batch: Vec<Waiting> = batch.into_iter().filter(|x| !x.answer.is_closed()).collect();
        let writes: Vec<ProductWrite> = batch.iter().map(|x| x.write.clone()).collect();
        match self.store.put_product(org, writes).await {
            Ok(outcomes) => {
                for (waiting, outcome) in batch.into_iter().zip(outcomes) {
                    let _ = waiting.answer.send(Ok(outcome));
                }
            }
            // A row that cannot be read back is the trouble of its own call alone.
            Err(error) if batch.len() > 1 && !passes(&error) => {
                for waiting in batch {
                    let one = self.store.put_product(org, vec![waiting.write]).await;
                    let only = one.and_then(|all| all.into_iter().next().ok_or(StoreError::Closed));
                    let _ = waiting.answer.send(only);
                }
            }
            Err(error) => {
                let reason = error.to_string();
                for waiting in batch {
                    let _ = waiting.answer.send(Err(StoreError::Unavailable(reason.clone())));
                }
            }
        }
    }
}

/// Whether the trouble is not of any one write.
fn passes(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Closed | StoreError::ReadOnly)
}
