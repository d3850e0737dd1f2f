//! `halo-sync audit`.

use connector_sdk::Priority;
use serde_json::{Value, json};

use super::host::{Access, Host};
use super::progress::Progress;
use super::{App, CommandError, ExitCode};
use crate::domain::runs::{Counts, StreamProgress};
use crate::domain::watch::Audit;
use crate::service::{Failure, Request};
use crate::sync::audit::{Report, Scope, audit, kept, repaired};
use crate::sync::compare::Drift;

/// What is given to `audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which connection: its id (`con_…`) or name
    #[arg(value_name = "CONN")]
    pub connection: String,
    /// Compare this many stored records, and the newest of each stream [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub sample: Option<u32>,
    /// Compare everything
    #[arg(long, conflicts_with = "sample")]
    pub all: bool,
    /// Read again what differs
    #[arg(long)]
    pub repair: bool,
}

/// Records of a sample.
const SAMPLE: u32 = 200;
/// Records in one request to the process that writes.
const TOGETHER: usize = 200;

/// Compares a mirror with its provider, and keeps the result.
///
/// # Errors
///
/// An unknown connection; the provider's. Exit code 7 when the mirror differs and was not, or not wholly, repaired.
pub async fn run(app: &App, args: Args) -> Result<ExitCode, CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let host = Host::open(app, loaded, Access::WriteIfFree).await?;
    let services = &host.services;
    let connection = services.connection(&host.org, &args.connection).await?;
    let scope = match args.all {
        true => Scope::All,
        false => {
            let mut seed = [0u8; 8];
            getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
            let records = usize::try_from(args.sample.unwrap_or(SAMPLE)).unwrap_or(usize::MAX);
            Scope::Sample { records, seed: u64::from_le_bytes(seed) }
        }
    };
    let started_at = app.clock.now();
    let progress = Progress::new(&app.out, &*app.clock);
    let priority = Priority::Incremental;
    let (store, providers) = (host.store(), &services.providers);
    let report = audit(store, providers, &connection, &*app.clock, scope, priority, |stream, compared| {
        progress.show(&[StreamProgress {
            stream: stream.to_owned(),
            state: "running".to_owned(),
            reason: None,
            counts: Counts { read: compared, unchanged: compared, ..Counts::default() },
            expected: None,
            begun_at: Some(started_at),
        }]);
    })
    .await
    .map_err(Failure::from)?;
    progress.finish();
    let mut mended = 0;
    if args.repair && !report.drift.is_empty() {
        for piece in report.drift.chunks(TOGETHER) {
            let request = Request::Reread { connection: connection.id.0.clone(), keys: piece.to_vec() };
            host.execute(request).await?;
        }
        mended =
            repaired(store, providers, &connection, &report.drift, priority).await.map_err(Failure::from)?;
    }
    let audit = kept(&*app.clock, &connection, "manual", started_at, &report, mended);
    host.execute(Request::KeepAudit { audit: Box::new(audit.clone()) }).await?;
    if args.repair && !report.drift.is_empty() && host.writes && !host.on_postgres() {
        // Nobody else derives what was repaired.
        let worker = host.start_worker(app).await?;
        worker.drain().await;
        worker.stop(std::time::Duration::from_secs(host.loaded.config.worker.shutdown_seconds)).await;
    }
    let mut answer = json!(audit);
    if let Some(members) = answer.as_object_mut() {
        members.insert("connection".to_owned(), json!(connection.name));
        members.insert("remaining".to_owned(), json!(audit.drift - mended));
    }
    app.out.one(&answer, |_: &Value| describe(&report, &audit))?;
    if audit.drift > mended && !args.repair {
        app.out.note(&format!("Read again what differs:  halo-sync audit {} --repair", connection.name));
    }
    Ok(if audit.drift > mended { ExitCode::Drift } else { ExitCode::Ok })
}

fn describe(report: &Report, audit: &Audit) -> String {
    let mut lines = Vec::new();
    for (stream, counts) in &report.streams {
        let why = counts.skipped.as_ref().map_or_else(String::new, |why| format!("  skipped: {why}"));
        lines.push(format!(
            "{stream:<24} {:>8} compared, {} missing, {} extra, {} different{why}",
            counts.compared, counts.missing, counts.extra, counts.different
        ));
    }
    for difference in &report.differences {
        let word = match difference.drift {
            Drift::Missing => "missing",
            Drift::Extra => "extra",
            Drift::Different => "different",
        };
        lines.push(
            format!("{word} {}  {}", difference.record, difference.pointers.join(" ")).trim_end().to_owned(),
        );
    }
    if report.drift.len() > report.differences.len() {
        lines.push(format!("and {} more", report.drift.len() - report.differences.len()));
    }
    lines.push(match (audit.drift, audit.repaired) {
        (0, _) => format!("{} records compared, no drift", audit.compared),
        (drift, 0) => format!("{} records compared, {drift} differ", audit.compared),
        (drift, mended) => {
            format!("{} records compared, {drift} differed, {mended} repaired", audit.compared)
        }
    });
    lines.join("\n")
}
