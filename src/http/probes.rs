//! `/healthz` (is the process alive: no database), `/readyz` (can it work: every check, in JSON) and
//! `/metrics` (Prometheus text).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::openapi::{Access, Operation, Routes, Tag};
use crate::telemetry::Metrics;

/// Longest that the checks of `/readyz` may take; a database that hangs is not ready.
const PATIENCE: Duration = Duration::from_secs(5);

/// One check of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// What is checked (`database`, `schema`, `queue`).
    pub name: &'static str,
    /// Whether it is well.
    pub ok: bool,
    /// What is known about it; no addresses, no secrets: anybody may ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Makes the checks of `/readyz`.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Vec<Check>> + Send + Sync>;

/// What the routes need.
#[derive(Clone)]
pub struct Probes {
    /// Makes the checks.
    pub probe: Probe,
    /// What `/metrics` shows.
    pub metrics: Metrics,
}

/// The answer of `/readyz`.
#[derive(Serialize, JsonSchema)]
struct Readiness {
    status: ReadinessWord,
    checks: Vec<Check>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ReadinessWord {
    Ready,
    NotReady,
}

/// The three routes.
pub fn routes() -> Routes<Probes> {
    let health = Operation::get("/healthz", "healthz", "Whether the process is alive")
        .about("Asks no database.")
        .tag(Tag::Service)
        .access(Access::Anybody)
        .answer_text(200, "text/plain; charset=utf-8", "It is.");
    let check = |word: &str, ok: bool| json!({"status": word, "checks": [{"name": "database", "ok": ok}]});
    let ready = Operation::get("/readyz", "readyz", "Whether the process can work")
        .tag(Tag::Service)
        .access(Access::Anybody)
        .answer::<Readiness>(200, "It can.", check("ready", true))
        .answer::<Readiness>(503, "It cannot; the checks say why.", check("not_ready", false));
    let metrics = Operation::get("/metrics", "metrics", "Figures for Prometheus")
        .tag(Tag::Service)
        .access(Access::Anybody)
        .answer_text(200, "text/plain; version=0.0.4; charset=utf-8", "Prometheus text.");
    Routes::new().add(health, healthz).add(ready, readyz).add(metrics, render)
}

/// Whether a path is one of ours, which the access log passes over.
pub(super) fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz" | "/metrics")
}

async fn healthz() -> Response {
    ([(CACHE_CONTROL, "no-store")], "ok\n").into_response()
}

async fn readyz(State(probes): State<Probes>) -> Response {
    let checks = std::panic::AssertUnwindSafe(tokio::time::timeout(PATIENCE, (probes.probe)()));
    let failed = |detail: &str| vec![Check { name: "probe", ok: false, detail: Some(detail.to_owned()) }];
    let checks = match checks.catch_unwind().await {
        Ok(Ok(checks)) => checks,
        Ok(Err(_)) => failed("the checks did not end in time"),
        Err(_) => failed("the checks failed"),
    };
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if ready { ReadinessWord::Ready } else { ReadinessWord::NotReady };
    (status, [(CACHE_CONTROL, "no-store")], Json(Readiness { status: word, checks })).into_response()
}

async fn render(State(probes): State<Probes>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], probes.metrics.render()).into_response()
}
