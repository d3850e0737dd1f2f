//! Our side: parts in processes of their own, put together as `serve` does it.

use std::time::{Duration, Instant};

use halo_sync::config::LogFormat;
use halo_sync::service::{Request, Services};
use halo_sync::sync::start::{RUN_JOB, SCHEDULED_JOB};
use halo_sync::telemetry::{self, Metrics};
use halo_sync::webhooks::process::PROCESS_JOB;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::common::process::{Part, command, processor_seconds};
use crate::common::runs::{Eye, finished, worker};
use crate::common::{connect, org, serve, services, webhooks};
use crate::supabase::Took;

/// How long a worker may wind up.
const STOP: Duration = Duration::from_secs(5);

async fn connected(services: &Services, base_url: &str) -> String {
    let answer = services.execute(&org(), Request::Connect(connect(base_url, false))).await;
    answer.expect("connected")["webhook_path"].as_str().expect("a path").to_owned()
}

/// Reads everything of these streams (empty for all); the records, when nothing is left to do.
async fn backfill(services: &Services, eye: &mut Eye, streams: Vec<String>, derive: bool) -> u64 {
    let request = Request::Sync { connection: "sandbox".to_owned(), full: true, streams };
    let answer = services.execute(&org(), request).await.expect("started");
    let (counts, _) = finished(services, eye, &answer["run"], derive).await;
    u64::try_from(counts.read).expect("a count")
}

/// The part `--work PLACE BASE_URL STREAM DERIVE`: backfills at each line that it is told.
pub(crate) async fn work(place: &str, base_url: &str, stream: &str, derive: bool) {
    let services = services(place).await;
    connected(&services, base_url).await;
    let mut worker = worker(&services).await;
    if !derive {
        // Like a worker of a deployment that derives in another process.
        worker = worker.kinds([RUN_JOB, SCHEDULED_JOB, PROCESS_JOB].map(str::to_owned).to_vec());
    }
    let runtime = worker.start().await.expect("the worker starts");
    let mut eye = Eye::open(place).await;
    let streams = if stream.is_empty() { Vec::new() } else { vec![stream.to_owned()] };
    println!("ready");
    while let Some(_line) = command().await {
        let (begun, used) = (Instant::now(), processor_seconds(std::process::id()));
        let records = backfill(&services, &mut eye, streams.clone(), derive).await;
        let seconds = begun.elapsed().as_secs_f64();
        let processor = processor_seconds(std::process::id()) - used;
        println!("{}", json!({ "records": records, "seconds": seconds, "processor": processor }));
    }
    runtime.stop(STOP).await;
    services.store.close().await;
}

/// The running part `--work`.
pub(crate) struct Ours(Part);

impl Ours {
    pub(crate) fn start(place: &str, base_url: &str, stream: &str, derive: bool) -> Self {
        let derive = if derive { "derive" } else { "no" };
        let mut part = Part::start(&["--work", place, base_url, stream, derive]);
        assert_eq!(part.line(), "ready");
        Self(part)
    }

    pub(crate) fn backfill(&mut self) -> Took {
        let took: Value = serde_json::from_str(&self.0.ask("backfill")).expect("figures");
        Took {
            records: took["records"].as_u64().expect("a count"),
            seconds: took["seconds"].as_f64().expect("a time"),
            processor: took["processor"].as_f64().expect("a time"),
        }
    }
}

/// The part `--serve PLACE BASE_URL WORKER`: backfills and derives, then takes webhooks, with the worker at work
/// beside or stopped.
pub(crate) async fn serve_webhooks(place: &str, base_url: &str, with_worker: bool) {
    telemetry::init_logs("info", LogFormat::Json, false).expect("logs");
    let _metrics = Metrics::install().expect("metrics");
    let services = services(place).await;
    let path = connected(&services, base_url).await;
    let mut runtime = Some(worker(&services).await.start().await.expect("the worker starts"));
    let mut eye = Eye::open(place).await;
    backfill(&services, &mut eye, Vec::new(), true).await;
    drop(eye);
    if !with_worker && let Some(runtime) = runtime.take() {
        runtime.stop(STOP).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let router = webhooks(&services, listener.local_addr().expect("an address"));
    serve(listener, router, &services, &path).await;
    if let Some(runtime) = runtime {
        runtime.stop(STOP).await;
    }
    services.store.close().await;
}
