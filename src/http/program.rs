//! The program's router: every operation, on the base.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use connector_sdk::Clock;

use super::edge::Pages;
use super::idempotency::{self, Idempotency};
use super::openapi::{self, Access, Operation, Routes};
use super::probes::{self, Check, Probe, Probes};
use super::sdk::{self, PromptSettings, Sdk, auth::Keys};
use super::webhooks::{self, Webhooks};
use super::{Limits, base_for_pages, browser, mcp, oauth, settings, v1};
use crate::chat::Chat;
use crate::product::Product;
use crate::service::Services;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::webhooks::inbox::Inbox;

/// How long due jobs may wait before the process no longer calls itself ready.
const STUCK: Duration = Duration::from_secs(300);

/// What the program's router stands on.
pub struct Program {
    /// Store, connectors, time.
    pub services: Services,
    /// How the prompt is printed.
    pub prompt: PromptSettings,
    /// Who answers chats.
    pub chat: Chat,
    /// The address that providers know us by, without a trailing slash.
    pub public_url: String,
    /// How far a webhook's signed time may be from its arrival, in both directions.
    pub signature_tolerance: Duration,
    /// What a client may take.
    pub limits: Limits,
    /// What `/metrics` shows.
    pub metrics: Metrics,
}

/// Every route of the program, with limits, request ids, access log and metrics around them.
pub fn program(program: Program) -> Router {
    let Program { services, prompt, chat, public_url, signature_tolerance, limits, metrics } = program;
    let clock = services.clock.clone();
    let inbox = Inbox::new(services.store.clone(), services.providers.clone());
    let sdk = Sdk {
        store: services.store.clone(),
        keys: Arc::new(
            Keys::new(services.store.clone(), services.providers.clone(), clock.clone())
                .limited(limits.quotas, limits.proxies.clone()),
        ),
        product: Product::new(services.store.clone(), clock.clone(), prompt.reporting_currency.as_deref())
            .noting(services.attributes.clone()),
        prompt: Arc::new(prompt),
        chat: Arc::new(chat),
        attributes: services.attributes.clone(),
    };
    let webhooks = Webhooks {
        inbox: Arc::new(inbox),
        clock: clock.clone(),
        public_url: public_url.into(),
        tolerance: signature_tolerance,
    };
    let probes = Probes { probe: probe(services.store.clone(), clock.clone()), metrics };
    let Surface { webhooks: of_webhooks, oauth: of_oauth, sdk: of_sdk, probes: of_probes, files } = surface();
    let routes = of_webhooks
        .with_state(webhooks)
        .merge(of_oauth.with_state(services))
        .merge(of_sdk.with_state(sdk.clone()))
        .merge(of_probes.with_state(probes))
        .merge(files);
    let idempotent = routes.operations().iter().filter(|operation| operation.is_idempotent());
    let paths = Arc::new(idempotent.map(Operation::path).collect());
    let idempotency = Idempotency { sdk, clock: clock.clone(), paths };
    let pages = pages(routes.operations());
    let router = openapi::serve(routes).into_router();
    let router = router.layer(from_fn_with_state(idempotency, idempotency::layer));
    base_for_pages(router, pages, limits, clock)
}

/// What pages may call: the SDK's operations that take a publishable key, or none.
fn pages(operations: &[Operation]) -> Pages {
    let open = |operation: &&Operation| {
        operation.path().starts_with("/api/sdk/")
            && matches!(operation.callers(), Access::AnyKey | Access::Anybody)
    };
    operations.iter().filter(open).map(|operation| (operation.path(), operation.method().clone())).collect()
}

/// Every route, by what its handlers stand on.
struct Surface {
    webhooks: Routes<Webhooks>,
    oauth: Routes<Services>,
    sdk: Routes<Sdk>,
    probes: Routes<Probes>,
    files: Routes,
}

fn surface() -> Surface {
    Surface {
        webhooks: webhooks::routes(),
        oauth: oauth::routes(),
        sdk: sdk::routes().merge(mcp::routes()).merge(settings::routes()).merge(v1::routes()),
        probes: probes::routes(),
        files: browser::routes(),
    }
}

/// Every operation of the program: what its document describes.
pub fn operations() -> Vec<Operation> {
    let Surface { webhooks, oauth, sdk, probes, files } = surface();
    let lists = [
        webhooks.operations(),
        oauth.operations(),
        sdk.operations(),
        probes.operations(),
        files.operations(),
    ];
    lists.into_iter().flatten().cloned().chain(openapi::operations()).collect()
}

/// Paths that the program serves and no OpenAPI document can describe, each with the reason.
pub fn undescribed() -> Vec<(&'static str, &'static str)> {
    let Surface { webhooks, oauth, sdk, probes, files } = surface();
    [
        webhooks.plain_paths(),
        oauth.plain_paths(),
        sdk.plain_paths(),
        probes.plain_paths(),
        files.plain_paths(),
    ]
    .concat()
}

/// What `/readyz` looks at: the database answers, and due jobs are worked off by somebody.
fn probe(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Probe {
    Arc::new(move || {
        let (store, clock) = (store.clone(), clock.clone());
        Box::pin(async move {
            let database = store.schema_version().await;
            let mut checks = vec![Check {
                name: "database",
                ok: database.is_ok(),
                detail: database.err().map(|e| e.to_string()),
            }];
            if let Ok(stats) = store.job_stats(clock.now()).await {
                let oldest = Duration::from_micros(stats.oldest_due_us.unsigned_abs());
                checks.push(Check {
                    name: "queue",
                    ok: oldest < STUCK,
                    detail: Some(format!(
                        "{} due or waiting, the oldest due for {} s",
                        stats.ready,
                        oldest.as_secs()
                    )),
                });
            }
            checks
        })
    })
}
