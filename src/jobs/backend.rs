//! The only file that names apalis: its worker runs what our claimer hands over.
//!
//! apalis gives the worker's runtime: the service stack, the limit on concurrency, a span for each task, the monitor,
//! the graceful stop. Its backend here is the receiving end of a channel that the claimer fills, so that neither
//! claiming nor recording, neither retries nor time limits, are apalis's. The backend cannot fail: one backend
//! error would end a worker. The handler cannot fail: a job's outcome has been judged and handed to the recorder
//! before apalis sees the task end.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::{Monitor, WorkerBuilder, WorkerContext};
use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::layer::util::Identity;

use super::runner::Runner;
use crate::domain::jobs::ClaimedJob;

/// Claimed jobs, as apalis polls them.
struct Handover {
    jobs: mpsc::Receiver<ClaimedJob>,
}

impl Backend for Handover {
    type Task = Task<ClaimedJob>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        self.jobs.poll_recv(cx).map(|job| job.map(|job| Ok(Task::new(job))))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        self.jobs.close();
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for Handover {
    type Args = ClaimedJob;
    type Id = ();
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}

/// Starts the worker. It takes jobs until `stop` is cancelled, then waits for the running ones; the handle ends
/// when the last has ended.
pub(super) fn spawn(
    name: String,
    concurrency: usize,
    jobs: mpsc::Receiver<ClaimedJob>,
    runner: Arc<Runner>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    // The monitor wants a factory, because it could restart a failed worker. This one cannot fail, so that the
    // factory is called once and finds the receiver.
    let jobs = Mutex::new(Some(jobs));
    let monitor = Monitor::new().register(move |_| {
        let jobs =
            jobs.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(|| mpsc::channel(1).1);
        let runner = Arc::clone(&runner);
        WorkerBuilder::new(name.clone()).backend(Handover { jobs }).concurrency(concurrency).build(
            move |job: ClaimedJob| {
                let runner = Arc::clone(&runner);
                async move {
                    runner.run(job).await;
                    Ok::<(), Infallible>(())
                }
            },
        )
    });
    tokio::spawn(async move {
        let signal = async move {
            stop.cancelled().await;
            Ok(())
        };
        if let Err(error) = monitor.run_with_signal(signal).await {
            tracing::error!(%error, "the job worker ended with an error");
        }
    })
}
