//! Stripe's own fixtures through the sandbox: current shapes, object by object, come out as they went in.

use std::sync::Arc;

use connector_sdk::{Budget, Connector, DynConnector, HttpConfig, Io, Priority, ReadMode, SystemClock};
use connector_stripe::Stripe;
use connector_testkit::conformance::read_all;
use connector_testkit::parts::shared_or_skip;
use connector_testkit::sandbox::stripe::{Kind, Options, StripeSandbox};
use serde_json::Value;

use crate::support::{config, secrets};

#[tokio::test]
async fn current_shapes_are_read_and_understood() {
    let Some(path) = shared_or_skip("data", "data/stripe/fixtures3.json") else { return };
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let sandbox = StripeSandbox::start(Options::default()).await.unwrap();
    for kind in connector_testkit::sandbox::stripe::KINDS {
        let Some(object) = all["resources"].get(kind.object()) else { continue };
        sandbox.put_text(kind, object.to_string());
    }
    let io = Io {
        http: connector_testkit::http_client(HttpConfig::default()).unwrap(),
        clock: Arc::new(SystemClock),
        budget: Arc::new(Budget::unlimited()),
        priority: Priority::Backfill,
    };
    let session =
        DynConnector::open(&Stripe, &config(&sandbox, 1, 100), secrets(sandbox.api_key()), io).unwrap();
    for stream in Connector::spec(&Stripe).streams {
        let read = read_all(session.as_ref(), stream.name, ReadMode::Full).await.unwrap();
        let original = &all["resources"][Kind::of_path(stream.name).unwrap().object()];
        let record = &read.records[original["id"].as_str().unwrap()];
        assert_eq!(record.payload.get(), original.to_string(), "{}: not one byte changed", record.key);
        let extract = Connector::facts(&Stripe, record).unwrap_or_else(|e| panic!("{}: {e}", record.key));
        assert!(!extract.facts.is_empty(), "{}", record.key);
    }
}
