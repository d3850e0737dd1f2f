//! The writer: one task, one connection, many units a commit.
//!
//! Units wait in two lanes. A batch is one transaction: every unit runs under a savepoint, so that a failing
//! one takes only itself back; nobody is answered before the shared commit is on disk. A batch takes what
//! acknowledgements wait, and bulk only while that keeps nobody waiting: an acknowledgement waits for at most
//! one bulk unit and one commit before its own.
//!
//! Under a savepoint SQLite keeps in memory a copy of every page that changes. A unit of [`Lane::Whole`] changes
//! hundreds, the more of them the larger the database; it is a batch by itself and has no savepoint.

use std::panic::AssertUnwindSafe;
use std::sync::RwLock;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Executor};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use super::Conn;
use crate::store::{JobsSignal, Lane, Result, StoreError, watch_pushes};

/// Units of a batch from the acknowledgements' lane.
const ACK_UNITS: usize = 512;
/// Units of a batch from the bulk lane.
const BULK_UNITS: usize = 256;
/// After this long a batch that holds no acknowledgement takes no further bulk unit.
const BULK_TIME: Duration = Duration::from_millis(8);
/// As [`BULK_TIME`], for a batch that somebody waits for. (One bulk unit goes in regardless, lest it starve.)
const BULK_TIME_BESIDE_ACKS: Duration = Duration::from_millis(2);
/// How many units may wait before a lane pushes back on its callers.
const LANE_DEPTH: usize = 4096;

/// A queued unit: runs, keeps its result, and answers its caller after the commit.
trait Work: Send {
    /// False when nobody waits any more and it has not begun.
    fn wanted(&self) -> bool;
    /// Whether it is a batch by itself.
    fn is_whole(&self) -> bool;
    /// Whether it succeeded.
    fn run<'a>(&'a mut self, c: &'a mut Conn) -> BoxFuture<'a, bool>;
    /// `lost`: why the batch left nothing behind.
    fn answer(self: Box<Self>, lost: Option<&str>);
}

struct Queued<T, F> {
    whole: bool,
    unit: F,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Answer<T, F>>,
}

/// The unit goes back with its result: freeing what it holds is not for the writer's thread.
type Answer<T, F> = (Result<T>, F);

impl<T, F> Work for Queued<T, F>
where
    T: Send + 'static,
    F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
{
    fn wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn is_whole(&self) -> bool {
        self.whole
    }

    fn run<'a>(&'a mut self, c: &'a mut Conn) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            // The call itself is inside, too: a unit may panic before it first awaits.
            let unit = &self.unit;
            let result = match AssertUnwindSafe(async move { unit(c).await }).catch_unwind().await {
                Ok(result) => result,
                Err(panic) => Err(StoreError::Panicked(panic_text(&*panic))),
            };
            let succeeded = result.is_ok();
            self.result = Some(result);
            succeeded
        })
    }

    fn answer(self: Box<Self>, lost: Option<&str>) {
        let result = match (self.result, lost) {
            // A refusal of the unit's own stays the answer, whatever became of its neighbours.
            (Some(Err(error)), _) => Err(error),
            (_, Some(reason)) => Err(StoreError::Unavailable(reason.to_owned())),
            (Some(Ok(value)), None) => Ok(value),
            (None, None) => Err(StoreError::Closed),
        };
        // A caller that has gone needs no answer.
        let _ = self.reply.send((result, self.unit));
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[derive(Clone)]
struct Lanes {
    ack: mpsc::Sender<Box<dyn Work>>,
    bulk: mpsc::Sender<Box<dyn Work>>,
}

/// The handle to the writer task.
pub(super) struct Writer {
    lanes: RwLock<Option<Lanes>>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Writer {
    /// Starts the task on a connection that is set up; `options` reopen it when it breaks.
    pub(super) fn start(
        options: SqliteConnectOptions,
        connection: SqliteConnection,
        jobs: JobsSignal,
    ) -> Self {
        let (ack, acks) = mpsc::channel(LANE_DEPTH);
        let (bulk, bulks) = mpsc::channel(LANE_DEPTH);
        let task = Task { options, connection: Some(connection), acks, bulks, held: None, jobs };
        Self {
            lanes: RwLock::new(Some(Lanes { ack, bulk })),
            task: Mutex::new(Some(tokio::spawn(task.run()))),
        }
    }

    /// Queues a unit and waits for the commit that holds it.
    pub(super) async fn submit<T, F>(&self, lane: Lane, unit: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> Fn(&'c mut Conn) -> BoxFuture<'c, Result<T>> + Send + Sync + 'static,
    {
        let lanes = self.lanes.read().ok().and_then(|lanes| lanes.clone()).ok_or(StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let queued: Box<dyn Work> =
            Box::new(Queued { whole: lane == Lane::Whole, unit, result: None, reply });
        let sender = match lane {
            Lane::Ack => lanes.ack,
            Lane::Bulk | Lane::Whole => lanes.bulk,
        };
        sender.send(queued).await.map_err(|_| StoreError::Closed)?;
        drop(sender);
        answer.await.map_err(|_| StoreError::Closed)?.0
    }

    /// Takes no more units, runs those that wait, and closes the connection.
    pub(super) async fn close(&self) {
        if let Ok(mut lanes) = self.lanes.write() {
            *lanes = None;
        }
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

struct Task {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    acks: mpsc::Receiver<Box<dyn Work>>,
    bulks: mpsc::Receiver<Box<dyn Work>>,
    /// A whole unit that came up while a batch was open: the next one that is not an acknowledgement.
    held: Option<Box<dyn Work>>,
    /// Told after commits that made jobs claimable.
    jobs: JobsSignal,
}

impl Task {
    async fn run(mut self) {
        loop {
            let first = tokio::select! {
                biased;
                Some(work) = self.acks.recv() => (Lane::Ack, work),
                Some(work) = async { self.held.take() } => (Lane::Bulk, work),
                Some(work) = self.bulks.recv() => (Lane::Bulk, work),
                else => break,
            };
            if first.1.wanted() {
                self.batch(first).await;
            }
        }
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }

    /// One transaction, from its first unit to the answers.
    async fn batch(&mut self, first: (Lane, Box<dyn Work>)) {
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(error) => return first.1.answer(Some(&error.to_string())),
        };
        let mut done = Vec::new();
        let units = async {
            if first.1.is_whole() {
                run_whole(&mut connection, first.1, &mut done).await
            } else {
                self.run_units(&mut connection, first, &mut done).await
            }
        };
        let (units, pushed) = watch_pushes(units).await;
        let lost = match units {
            Ok(true) => connection.execute(sqlx::query("COMMIT")).await.err().map(|e| e.to_string()),
            Ok(false) => None,
            Err(error) => Some(error),
        };
        if let Some(reason) = &lost {
            tracing::warn!(reason, units = done.len(), "a batch of units was lost; the writer starts over");
            // After some errors SQLite has rolled back by itself: then this fails, and that is as well.
            let _ = connection.execute(sqlx::query("ROLLBACK")).await;
            if healthy(&mut connection).await {
                self.connection = Some(connection);
            }
        } else {
            self.connection = Some(connection);
            if pushed {
                self.jobs.pushed();
            }
        }
        for work in done {
            work.answer(lost.as_deref());
        }
    }

    async fn connect(&mut self) -> Result<SqliteConnection> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => {
                let mut connection = self.options.connect().await?;
                super::assert_pragmas(&mut connection, false).await?;
                Ok(connection)
            }
        }
    }

    /// Runs units until the batch is full or nothing waits; then there is something to commit. An error means
    /// that the transaction is gone.
    async fn run_units(
        &mut self,
        c: &mut SqliteConnection,
        first: (Lane, Box<dyn Work>),
        done: &mut Vec<Box<dyn Work>>,
    ) -> std::result::Result<bool, String> {
        let begun = Instant::now();
        let (mut acks, mut bulks) = (0usize, 0usize);
        let mut next = Some(first);
        let mut before_unit = "BEGIN IMMEDIATE; SAVEPOINT unit";
        while let Some((lane, mut work)) = next {
            match lane {
                Lane::Ack => acks += 1,
                Lane::Bulk | Lane::Whole => bulks += 1,
            }
            let opened = if before_unit.is_empty() {
                Ok(())
            } else {
                c.execute(sqlx::query(before_unit)).await.map(|_| ())
            };
            if let Err(error) = opened {
                done.push(work);
                return Err(error.to_string());
            }
            let succeeded = work.run(c).await;
            done.push(work);
            before_unit = if succeeded {
                "RELEASE unit; SAVEPOINT unit"
            } else {
                // The savepoint stays open behind this, for the next unit.
                c.execute(sqlx::query("ROLLBACK TO unit")).await.map_err(|e| e.to_string())?;
                ""
            };
            next = self.next(begun, acks, bulks);
        }
        Ok(true)
    }

    /// The next unit that fits into the batch.
    fn next(&mut self, begun: Instant, acks: usize, bulks: usize) -> Option<(Lane, Box<dyn Work>)> {
        if acks < ACK_UNITS {
            while let Ok(work) = self.acks.try_recv() {
                if work.wanted() {
                    return Some((Lane::Ack, work));
                }
            }
        }
        let room = bulks < BULK_UNITS
            && if acks == 0 {
                begun.elapsed() < BULK_TIME
            } else {
                bulks == 0 || begun.elapsed() < BULK_TIME_BESIDE_ACKS
            };
        while room && self.held.is_none() {
            let Ok(work) = self.bulks.try_recv() else { break };
            if work.is_whole() {
                self.held = Some(work);
            } else if work.wanted() {
                return Some((Lane::Bulk, work));
            }
        }
        None
    }
}

/// Runs the one unit of a batch; whether there is something to commit.
async fn run_whole(
    c: &mut SqliteConnection,
    mut work: Box<dyn Work>,
    done: &mut Vec<Box<dyn Work>>,
) -> std::result::Result<bool, String> {
    let begun = c.execute(sqlx::query("BEGIN IMMEDIATE")).await.map_err(|e| e.to_string());
    let succeeded = begun.is_ok() && work.run(c).await;
    done.push(work);
    begun?;
    if !succeeded {
        c.execute(sqlx::query("ROLLBACK")).await.map_err(|e| e.to_string())?;
    }
    Ok(succeeded)
}

/// Whether a connection can begin again after a lost batch.
async fn healthy(c: &mut SqliteConnection) -> bool {
    c.execute(sqlx::query("BEGIN")).await.is_ok() && c.execute(sqlx::query("ROLLBACK")).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_util::future::join_all;

    use super::*;

    async fn writer(folder: &tempfile::TempDir) -> Writer {
        let options = super::super::options(&folder.path().join("w.db")).create_if_missing(true);
        let mut c = options.connect().await.unwrap();
        c.execute("CREATE TABLE t (n BIGINT NOT NULL UNIQUE, blob BLOB)").await.unwrap();
        Writer::start(options, c, JobsSignal::default())
    }

    async fn put(writer: &Writer, lane: Lane, n: i64) -> Result<()> {
        writer
            .submit(lane, move |c| {
                Box::pin(async move {
                    sqlx::query("INSERT INTO t (n) VALUES ($1)").bind(n).execute(c).await?;
                    Ok(())
                })
            })
            .await
    }

    async fn stored(writer: &Writer) -> Vec<i64> {
        writer
            .submit(Lane::Ack, |c| {
                Box::pin(
                    async move { Ok(sqlx::query_scalar("SELECT n FROM t ORDER BY n").fetch_all(c).await?) },
                )
            })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_failing_unit_takes_only_itself_back() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let units = (0..40i64).map(|n| {
            let writer = &writer;
            async move {
                // Each way to fail comes up in each lane.
                let lane = [Lane::Bulk, Lane::Whole, Lane::Ack, Lane::Whole][usize::try_from(n).unwrap() % 4];
                writer
                    .submit(lane, move |c| {
                        Box::pin(async move {
                            sqlx::query("INSERT INTO t (n) VALUES ($1)").bind(n).execute(&mut *c).await?;
                            if n % 3 == 0 {
                                return Err(StoreError::Invalid("no".to_owned()));
                            }
                            assert!(n % 5 != 0, "a defect in unit {n}");
                            Ok(())
                        })
                    })
                    .await
            }
        });
        for (n, result) in (0i64..).zip(join_all(units).await) {
            match result {
                Err(StoreError::Invalid(_)) => assert_eq!(n % 3, 0),
                Err(StoreError::Panicked(text)) => assert!(text.contains(&n.to_string()) && n % 5 == 0),
                Ok(()) => assert!(n % 3 != 0 && n % 5 != 0),
                Err(other) => panic!("{other}"),
            }
        }
        let kept: Vec<i64> = (0..40).filter(|n| n % 3 != 0 && n % 5 != 0).collect();
        assert_eq!(stored(&writer).await, kept);
    }

    #[tokio::test]
    async fn a_full_disk_loses_what_was_not_answered_and_the_writer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        put(&writer, Lane::Ack, 1).await.unwrap();
        let limit = |pages: i64| {
            writer.submit(Lane::Ack, move |c| {
                Box::pin(async move {
                    let sql = format!("PRAGMA max_page_count = {pages}");
                    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(c).await?;
                    Ok(())
                })
            })
        };
        limit(1).await.unwrap();
        for lane in [Lane::Bulk, Lane::Whole] {
            let big = writer
                .submit(lane, |c| {
                    Box::pin(async move {
                        let sql = "INSERT INTO t (n, blob) VALUES (2, zeroblob(1000000))";
                        sqlx::query(sql).execute(c).await?;
                        Ok(())
                    })
                })
                .await;
            assert!(matches!(big, Err(StoreError::Unavailable(_))), "{big:?}");
        }
        limit(1_000_000).await.unwrap();
        put(&writer, Lane::Ack, 3).await.unwrap();
        assert_eq!(stored(&writer).await, [1, 3]);
    }

    #[tokio::test]
    async fn a_lost_transaction_is_nobodys_success() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        // As SQLite does by itself on some errors: the transaction goes under the units' feet.
        let (one, two) = tokio::join!(
            put(&writer, Lane::Bulk, 1),
            writer.submit(Lane::Bulk, |c| {
                Box::pin(async move {
                    sqlx::query("ROLLBACK").execute(c).await?;
                    Ok(())
                })
            })
        );
        assert!(matches!(one, Err(StoreError::Unavailable(_))), "{one:?}");
        assert!(matches!(two, Err(StoreError::Unavailable(_))), "{two:?}");
        let alone = writer.submit(Lane::Whole, |c| {
            Box::pin(async move {
                sqlx::query("ROLLBACK").execute(c).await?;
                Ok(())
            })
        });
        let alone = alone.await;
        assert!(matches!(alone, Err(StoreError::Unavailable(_))), "{alone:?}");
        put(&writer, Lane::Bulk, 5).await.unwrap();
        assert_eq!(stored(&writer).await, [5]);
    }

    #[tokio::test]
    async fn acknowledgements_overtake_bulk() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Arc::new(writer(&folder).await);
        let acked = Arc::new(AtomicBool::new(false));
        let bulk = (0..2_000i64).map(|n| {
            let (writer, acked) = (writer.clone(), acked.clone());
            async move {
                put(&writer, Lane::Bulk, n).await.unwrap();
                acked.load(Ordering::SeqCst)
            }
        });
        let ack = async {
            put(&writer, Lane::Ack, -1).await.unwrap();
            acked.store(true, Ordering::SeqCst);
        };
        let (behind, ()) = tokio::join!(join_all(bulk), ack);
        let overtaken = behind.into_iter().filter(|after_ack| *after_ack).count();
        assert!(
            overtaken > 1_000,
            "only {overtaken} of 2000 bulk units were answered after the acknowledgement"
        );
    }

    #[tokio::test]
    async fn closing_runs_what_waits_and_refuses_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(&folder).await;
        let (waiting, ()) = tokio::join!(put(&writer, Lane::Bulk, 1), writer.close());
        waiting.unwrap();
        assert!(matches!(put(&writer, Lane::Ack, 2).await, Err(StoreError::Closed)));
    }
}
