//! Log lines and metrics: how they are set up, and every name that they use.
//!
//! A failure is logged once, with ids as fields; never bodies, e-mail addresses, secrets or query strings.
//! Lines go to stderr: text on a terminal, JSON elsewhere. Names of spans and metrics are constants here,
//! because dashboards and alerts are built on them.

use std::io::IsTerminal;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

/// Names of spans.
pub mod span {
    /// One HTTP request. Fields: `method`, `path`, `request_id`.
    pub const HTTP_REQUEST: &str = "http.request";
    /// One run of a job. Fields: `kind`, `job`, `claim`, `org`, `connection`.
    pub const JOB: &str = "job.run";
}

/// Names of metrics. Labels are of few values: no ids of companies, users or jobs.
pub mod metric {
    /// Requests by `method`, `route` (the pattern) and `status`.
    pub const HTTP_REQUESTS: &str = "halo_sync_http_requests_total";
    /// Seconds from a request's head to its answer, by `route`.
    pub const HTTP_SECONDS: &str = "halo_sync_http_request_duration_seconds";
    /// Open connections.
    pub const HTTP_CONNECTIONS: &str = "halo_sync_http_connections";
    /// Connections that were cut off, by `reason`.
    pub const HTTP_CUT_OFF: &str = "halo_sync_http_cut_off_total";
    /// Webhook requests, by `connector`, `outcome`.
    pub const WEBHOOKS: &str = "halo_sync_webhook_deliveries_total";
    /// Events of webhooks that were judged, by `connector`, `type` (`other` for those that the connector does not
    /// ask for) and `state` (`applied`, `ignored`, `failed`).
    pub const WEBHOOK_EVENTS: &str = "halo_sync_webhook_events_total";
    /// Renewals of OAuth tokens, by `connector`, `outcome` (`renewed`, `failed`, `refused`: a person must connect again).
    pub const TOKEN_RENEWALS: &str = "halo_sync_token_renewals_total";
    /// Records that scheduled audits found to differ from the provider, by `connector`.
    pub const AUDIT_DRIFT: &str = "halo_sync_audit_drift_total";
    /// Runs of jobs that ended, by `kind`, `outcome`.
    pub const JOB_RUNS: &str = "halo_sync_job_runs_total";
    /// Seconds of a run, by `kind`.
    pub const JOB_SECONDS: &str = "halo_sync_job_run_seconds";
    /// Seconds from due to start, by `kind`.
    pub const JOB_WAIT: &str = "halo_sync_job_wait_seconds";
    /// Claims that were lost while their job ran.
    pub const JOB_CLAIMS_LOST: &str = "halo_sync_job_claims_lost_total";
    /// Seconds of one company's derivation.
    pub const DERIVE_SECONDS: &str = "halo_sync_derive_duration_seconds";
    /// Seconds of one rendering.
    pub const RENDER_SECONDS: &str = "halo_sync_render_duration_seconds";
}

/// Reads `log.level`: a level, or comma-separated levels and `target=level`.
///
/// # Errors
///
/// Which part is not understood. (A word that is not a level is refused here: the crate behind would take it
/// for a target and log everything of it.)
pub fn filter(text: &str) -> Result<Targets, String> {
    let mut targets = Targets::new();
    for part in text.split(',').map(str::trim) {
        let (target, level) = match part.split_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            None => (None, part),
        };
        let level = match level.to_ascii_lowercase().as_str() {
            "off" => LevelFilter::OFF,
            "error" => LevelFilter::ERROR,
            "warn" => LevelFilter::WARN,
            "info" => LevelFilter::INFO,
            "debug" => LevelFilter::DEBUG,
            "trace" => LevelFilter::TRACE,
            _ => return Err(format!("{level:?} is not a level (error, warn, info, debug, trace, off)")),
        };
        targets = match target {
            Some("") => return Err(format!("{part:?} names no target")),
            Some(target) => targets.with_target(target.to_owned(), level),
            None => targets.with_default(level),
        };
    }
    Ok(targets)
}

/// Starts logging to stderr for the whole process. `colour` is for text only.
///
/// # Errors
///
/// When the level is not understood, or logging was started before.
pub fn init_logs(level: &str, format: LogFormat, colour: bool) -> Result<(), String> {
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    tracing_subscriber::registry()
        .with(layer(json, colour, std::io::stderr).with_filter(filter(level)?))
        .try_init()
        .map_err(|e| e.to_string())
}

fn layer<S, W>(json: bool, colour: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    if json {
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer).boxed()
    } else {
        tracing_subscriber::fmt::layer().with_ansi(colour).with_writer(writer).boxed()
    }
}

/// The process's metrics, rendered as Prometheus text.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Bounds of the histograms of seconds: from a rendering (tens of microseconds) to a long job.
const SECONDS: [f64; 16] = [
    0.000_05, 0.000_2, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0,
];

impl Metrics {
    /// Makes the process record metrics.
    ///
    /// # Errors
    ///
    /// When the process records them already.
    pub fn install() -> Result<Self, String> {
        let metrics = builder()?.install_recorder().map_err(|e| e.to_string())?;
        describe();
        Ok(Self(metrics))
    }

    /// Metrics that nothing is recorded into, for a server that runs without [`Metrics::install`].
    ///
    /// # Errors
    ///
    /// As [`Metrics::install`], but for its reason.
    pub fn detached() -> Result<Self, String> {
        Ok(Self(builder()?.build_recorder().handle()))
    }

    /// The text of `/metrics`.
    pub fn render(&self) -> String {
        // Histograms collect samples until somebody folds them in; nothing else in the process does.
        self.0.run_upkeep();
        self.0.render()
    }
}

fn builder() -> Result<PrometheusBuilder, String> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .map_err(|e| e.to_string())
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(metric::HTTP_REQUESTS, "HTTP requests by method, route and status");
    describe_histogram!(metric::HTTP_SECONDS, "Seconds from a request's head to its answer");
    describe_gauge!(metric::HTTP_CONNECTIONS, "Open HTTP connections");
    describe_counter!(metric::HTTP_CUT_OFF, "Connections that were cut off, by reason");
    describe_counter!(metric::WEBHOOKS, "Webhook requests by outcome");
    describe_counter!(metric::WEBHOOK_EVENTS, "Events of webhooks by type and what became of them");
    describe_counter!(metric::AUDIT_DRIFT, "Records that scheduled audits found to differ from the provider");
    describe_counter!(metric::JOB_RUNS, "Runs of jobs that ended, by outcome");
    describe_histogram!(metric::JOB_SECONDS, "Seconds of a run of a job");
    describe_histogram!(metric::JOB_WAIT, "Seconds from a job's due time to its start");
    describe_counter!(metric::JOB_CLAIMS_LOST, "Claims that were lost while their job ran");
    describe_histogram!(metric::DERIVE_SECONDS, "Seconds of one company's derivation");
    describe_histogram!(metric::RENDER_SECONDS, "Seconds of one rendering");
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(level: &str, json: bool) -> String {
        let captured = Captured::default();
        let sink = captured.clone();
        let layer = layer(json, false, move || sink.clone()).with_filter(filter(level).unwrap());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(target: "halo_sync::a", job_id = "job_1", "ended");
            tracing::debug!(target: "halo_sync::b", "detail");
        });
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_lines_are_objects_with_fields() {
        let text = lines("info", true);
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["job_id"], "job_1");
        assert_eq!(line["message"], "ended");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn levels_and_targets_filter() {
        assert_eq!(lines("warn", false), "");
        assert!(lines("info", false).contains("ended"));
        assert!(!lines("info", false).contains("detail"));
        let mixed = lines("error,halo_sync::b=debug", false);
        assert!(mixed.contains("detail") && !mixed.contains("ended"), "{mixed}");
    }

    #[test]
    fn what_is_not_a_level_is_refused() {
        for text in ["loud", "", "info,", "halo_sync=loud", "=info", "info,halo_sync"] {
            assert!(filter(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn metrics_render_with_their_buckets() {
        let recorder = builder().unwrap().build_recorder();
        let metrics = Metrics(recorder.handle());
        ::metrics::with_local_recorder(&recorder, || {
            describe();
            ::metrics::counter!(metric::JOB_RUNS, "kind" => "sync.stream").increment(2);
            ::metrics::histogram!(metric::RENDER_SECONDS).record(0.0001);
        });
        let text = metrics.render();
        assert!(text.contains("halo_sync_job_runs_total{kind=\"sync.stream\"} 2"), "{text}");
        assert!(text.contains("halo_sync_render_duration_seconds_bucket{le=\"0.0002\"} 1"), "{text}");
        assert!(text.contains("halo_sync_render_duration_seconds_bucket{le=\"0.00005\"} 0"), "{text}");
    }
}
