//! The word about new jobs between processes: NOTIFY after the commit, LISTEN in the others.
//!
//! NOTIFY inside the transaction would serialise all commits of the database. Here one connection sends it
//! afterwards, once for whatever was committed since the last time. A word that is lost (the connection breaks, the
//! process dies between commit and word) costs the other processes one polling interval.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener};
use sqlx::{ConnectOptions, PgPool};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::store::JobsSignal;

const CHANNEL: &str = "halo_sync_jobs";
/// Between tries to reach the server.
const PAUSE: Duration = Duration::from_secs(1);

/// The two connections, each opened when it is first needed.
pub(super) struct Wake {
    options: PgConnectOptions,
    signal: JobsSignal,
    commits: Arc<Notify>,
    /// Tells our own words from those of others.
    sender: String,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    teller: Option<AbortHandle>,
    listener: Option<AbortHandle>,
    stopped: bool,
}

impl Wake {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        let mut random = [0u8; 8];
        // Without randomness two processes might take each other's word for their own: one polling interval.
        let _ = getrandom::fill(&mut random);
        Self {
            options,
            signal: JobsSignal::default(),
            commits: Arc::new(Notify::new()),
            sender: format!("{:016x}", u64::from_le_bytes(random)),
            tasks: Mutex::default(),
        }
    }

    /// A commit made jobs claimable.
    pub(super) fn tell(&self) {
        self.signal.pushed();
        self.commits.notify_one();
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.teller.is_none() && !tasks.stopped {
            let task = tell_others(self.options.clone(), Arc::clone(&self.commits), self.sender.clone());
            tasks.teller = Some(tokio::spawn(task).abort_handle());
        }
    }

    /// The signal, which from now on also carries the words of other processes.
    pub(super) fn listen(&self) -> JobsSignal {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.listener.is_none() && !tasks.stopped {
            let task = hear_others(self.options.clone(), self.signal.clone(), self.sender.clone());
            tasks.listener = Some(tokio::spawn(task).abort_handle());
        }
        self.signal.clone()
    }

    pub(super) fn stop(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.stopped = true;
        for task in [tasks.teller.take(), tasks.listener.take()].into_iter().flatten() {
            task.abort();
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn tell_others(options: PgConnectOptions, commits: Arc<Notify>, sender: String) {
    let mut connection: Option<PgConnection> = None;
    loop {
        commits.notified().await;
        let mut c = match connection.take() {
            Some(c) => c,
            None => match options.connect().await {
                Ok(c) => c,
                Err(error) => {
                    tracing::debug!(%error, "other processes cannot be told about new jobs");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let sent = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(&sender).execute(&mut c).await;
        match sent {
            Ok(_) => connection = Some(c),
            Err(error) => tracing::debug!(%error, "other processes cannot be told about new jobs"),
        }
    }
}

async fn hear_others(options: PgConnectOptions, signal: JobsSignal, sender: String) {
    loop {
        if let Err(error) = hear(&options, &signal, &sender).await {
            tracing::debug!(%error, "the words of other processes cannot be heard");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn hear(options: &PgConnectOptions, signal: &JobsSignal, sender: &str) -> sqlx::Result<()> {
    let pool = PgPool::connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    // What was committed before the LISTEN was not announced to us.
    signal.pushed();
    loop {
        // `None`: the connection was lost and found again; words may have been missed.
        match listener.try_recv().await? {
            Some(word) if word.payload() == sender => {}
            Some(_) | None => signal.pushed(),
        }
    }
}
