//! The sandbox as the conformance suite needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use connector_testkit::conformance::{Delivery, Provider};
use connector_testkit::sandbox::faults::Faults;
use connector_testkit::sandbox::loopback::{Asked, Loopback};

use connector_chargebee::SECRET;

use connector_sdk::{Budget, HttpConfig, Io, Priority, Secrets, SystemClock, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::server::{KEY, STREAMS, Server};

/// A running sandbox.
pub(crate) struct Sandbox(Loopback<Server>);

fn secrets(text: &str) -> Secrets {
    Secrets(BTreeMap::from([(SECRET.to_owned(), SecretString::from(text))]))
}

impl Sandbox {
    pub(crate) fn api(&self) -> &Server {
        self.0.api()
    }

    /// The calls since this was asked last.
    pub(crate) fn calls(&self) -> Vec<Asked> {
        self.0.take_calls()
    }
}

/// What a session is opened with.
pub(crate) fn io() -> Io {
    Io {
        http: connector_testkit::http_client(HttpConfig::default()).unwrap(),
        clock: Arc::new(SystemClock),
        budget: Arc::new(Budget::unlimited()),
        priority: Priority::Backfill,
    }
}

#[async_trait]
impl Provider for Sandbox {
    async fn start() -> Self {
        Self(Loopback::start(Server::default()).await.unwrap())
    }

    fn fill(&self) {
        for _ in 0..8 {
            for stream in STREAMS {
                self.0.api().create(stream);
            }
        }
    }

    fn config(&self) -> Value {
        json!({"base_url": self.0.base_url(), "page_size": 3, "site": "sandbox-test"})
    }

    fn secrets(&self) -> Secrets {
        secrets(KEY)
    }

    fn wrong_secrets(&self) -> Secrets {
        secrets("wrong-9876543210")
    }

    fn ids(&self, stream: &str) -> BTreeSet<String> {
        self.0.api().ids(stream)
    }

    fn create(&self, stream: &str) -> Option<String> {
        Some(self.0.api().create(stream))
    }

    fn delete(&self, stream: &str, id: &str) -> bool {
        self.0.api().delete(stream, id)
    }

    fn faults(&self) -> &Faults {
        self.0.faults()
    }

    fn path(&self, stream: &str) -> String {
        format!("/api/v2/{stream}")
    }

    fn forbid(&self, stream: &str) {
        self.0.api().forbid(stream);
    }

    fn delivery(&self, _at: Timestamp) -> Option<Delivery> {
        None
    }
}
