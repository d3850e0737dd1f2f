//! Statistics for the planner while a database fills.
//!
//! A table without statistics makes Postgres guess: an equality on the organisation finds one row in two hundred,
//! it believes, and so walks all of an organisation's links for each page. Autovacuum gathers statistics about a
//! minute after a table grew; a first backfill is over by then. So this process asks for them itself after so
//! many bulk commits, twice as many each time: soon it is autovacuum's alone.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::task::AbortHandle;

/// The first time, in bulk commits of this process.
const FIRST: u64 = 4;
/// How many times as many until the next.
const GROWTH: u64 = 2;
/// The last: tables of that size change slowly enough for autovacuum.
const LAST: u64 = 1_000;

/// The columns that statements find rows by.
const ANALYZE: &str = "ANALYZE companies (id, org_id, external_id), company_keys, \
     company_links (org_id, connection_id, party_key, company_id), link_candidates, \
     mirror_records (org_id, connection_id, record_key, stream, party_key), record_refs, \
     seen_notes (org_id, connection_id, stream, generation, read_seq), \
     dirty_companies (org_id, company_id, marked_at), company_derivations (org_id, company_id), \
     company_turns, end_users (id, org_id, external_id, company_id, email_key), field_changes (org_id, company_id, id), \
     rejected_records (org_id, connection_id, record_key), user_links (org_id, connection_id, record_key, user_id), \
     user_candidates";

/// Counts bulk commits.
pub(super) struct Statistics {
    options: PgConnectOptions,
    commits: AtomicU64,
    next: AtomicU64,
    gathering: Mutex<Option<AbortHandle>>,
}

impl Statistics {
    /// `options` connect as the owner of the tables.
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, commits: AtomicU64::new(0), next: AtomicU64::new(FIRST), gathering: Mutex::new(None) }
    }

    /// A bulk unit was committed.
    pub(super) fn committed(&self) {
        let commits = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        let next = self.next.load(Ordering::Relaxed);
        if commits < next || commits > LAST {
            return;
        }
        let taken =
            self.next.compare_exchange(next, next * GROWTH, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if let (true, Ok(mut gathering)) = (taken, self.gathering.lock()) {
            let task = tokio::spawn(gather(self.options.clone()));
            if let Some(slower) = gathering.replace(task.abort_handle()) {
                slower.abort();
            }
        }
    }

    /// Gathers nothing more.
    pub(super) fn stop(&self) {
        self.next.store(u64::MAX, Ordering::Relaxed);
        if let Ok(mut gathering) = self.gathering.lock()
            && let Some(task) = gathering.take()
        {
            task.abort();
        }
    }
}

async fn gather(options: PgConnectOptions) {
    let gathered = async {
        let mut c = options.connect().await?;
        sqlx::raw_sql(ANALYZE).execute(&mut c).await?;
        sqlx::Connection::close(c).await
    };
    // Without them everything is as right, and slower until autovacuum comes.
    if let Err(error) = gathered.await {
        tracing::debug!(%error, "statistics could not be gathered");
    }
}
