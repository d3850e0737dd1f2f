//! The sandbox PandaDoc as the conformance suite needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use connector_pandadoc::{ACCESS_TOKEN, API_KEY, PandaDoc};
use connector_sdk::{
    Budget, Clock, ConnectorError, Cursor, DynConnector, HttpConfig, Io, Next, Page, Partition, Priority,
    ReadMode, Secrets, Session, SystemClock, Timestamp,
};
use connector_testkit::conformance::{Delivery, Provider};
use connector_testkit::sandbox::faults::Faults;
use connector_testkit::sandbox::pandadoc::{Options, PandaDocSandbox, sign};
use http::HeaderMap;
use secrecy::SecretString;
use serde_json::{Value, json};

pub(crate) fn secrets(name: &str, text: &str) -> Secrets {
    Secrets(BTreeMap::from([(name.to_owned(), SecretString::from(text))]))
}

pub(crate) async fn sandbox() -> PandaDocSandbox {
    PandaDocSandbox::start(Options::default()).await.unwrap()
}

pub(crate) fn io() -> Io {
    Io {
        http: connector_testkit::http_client(HttpConfig::default()).unwrap(),
        clock: Arc::new(SystemClock),
        budget: Arc::new(Budget::unlimited()),
        priority: Priority::Backfill,
    }
}

/// A session with more settings than the address.
pub(crate) fn open(sandbox: &PandaDocSandbox, more: Value) -> Box<dyn Session> {
    try_open(sandbox, more).unwrap()
}

pub(crate) fn try_open(sandbox: &PandaDocSandbox, more: Value) -> Result<Box<dyn Session>, ConnectorError> {
    let mut config = json!({"base_url": sandbox.base_url()});
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    DynConnector::open(&PandaDoc, &config, secrets(API_KEY, sandbox.api_key()), io())
}

/// Reads the one partition on from a cursor to its end: every page, and the end.
pub(crate) async fn pages(
    session: &dyn Session,
    mode: ReadMode,
    cursor: Option<Cursor>,
) -> Result<(Vec<Page>, Cursor), ConnectorError> {
    let partition = partition(session).await;
    let (mut out, mut cursor) = (Vec::new(), cursor);
    loop {
        let page = session.read_page("documents", mode, &partition, cursor.as_ref()).await?;
        let next = page.next.clone();
        out.push(page);
        match next {
            Next::More(next) => cursor = Some(next),
            Next::CaughtUp(end) => return Ok((out, end)),
        }
    }
}

pub(crate) async fn partition(session: &dyn Session) -> Partition {
    session.plan("documents", ReadMode::Full, SystemClock.now()).await.unwrap().remove(0)
}

/// The ids of the records of pages, in the order in which they were given.
pub(crate) fn ids(pages: &[Page]) -> Vec<String> {
    pages.iter().flat_map(|page| &page.records).map(|record| record.key.id.clone()).collect()
}

/// Documents in every state, some with extracted data, links, prices, fields.
pub(crate) fn fill(sandbox: &PandaDocSandbox) {
    for n in 0..12 {
        let id = sandbox.create(&format!("Order form {n}"), &format!("buyer{n}@company{n}.example"));
        let path = format!("/public/v1/documents/{id}/status");
        match n % 6 {
            0 => sandbox.complete(&id).unwrap(),
            1 => drop(sandbox.call("PATCH", &path, &json!({"status": 2})).unwrap()),
            2 => drop(sandbox.call("PATCH", &path, &json!({"status": 1})).unwrap()),
            3 => sandbox.change(&id, None, |d| d["status"] = json!("document.uploaded")).unwrap(),
            4 => drop(sandbox.call("PATCH", &path, &json!({"status": 12})).unwrap()),
            _ => {}
        }
        if n == 0 {
            sandbox.extract(&id, Some(json!([field("Expiration date", "date", "2027-06-30")]))).unwrap();
        }
        if n == 6 {
            sandbox.extract(&id, None).unwrap();
        }
        sandbox
            .change(&id, None, |d| {
                d["metadata"] = json!({"company_id": format!("c-{n}")});
                d["linked_objects"] = json!([{
                    "id": "65fc1ec8-fb9c-4986-9d95-e2cf07e504bc", "provider": "hubspot", "entity_type": "deal",
                    "entity_id": format!("90{n}"), "children": [],
                }]);
                d["fields"] = json!([{
                    "uuid": "f9574c3b-5b1e-4479-b2c9-c3ccd92748f3", "name": "Start", "title": "", "placeholder": "",
                    "field_id": "Start", "is_filled": true, "type": "text", "value": "2026-07-01", "merge_field": "Start",
                }]);
                d["tokens"] = json!([{"name": "Client.Company", "value": format!("Company {n}")}]);
            })
            .unwrap();
    }
    let _ = sandbox.take_events();
}

pub(crate) fn field(key: &str, kind: &str, value: &str) -> Value {
    json!({
        "id": "fld_1", "key": key, "field_type": kind, "settings": {},
        "value": {"value": value, "acceptance_status": "pending"},
    })
}

/// Read with an API key.
pub(crate) struct Plain(pub(crate) PandaDocSandbox);

/// Read with an OAuth token; all documents were made in the same instant.
pub(crate) struct OneInstant(pub(crate) PandaDocSandbox);

fn one_instant(sandbox: &PandaDocSandbox) {
    for id in sandbox.ids() {
        sandbox.change(&id, None, |d| d["date_created"] = json!("2026-01-01T00:00:00.000000Z")).unwrap();
    }
}

fn delivery(sandbox: &PandaDocSandbox) -> Delivery {
    let key = "fhLyGE8umJ2MHuDUsJoPLG";
    sandbox.create("New", "new@example.com");
    let event = sandbox.take_events().pop().unwrap();
    let body = format!("[{}]", event.notification).into_bytes();
    let signature = sign(key, &body);
    Delivery {
        headers: HeaderMap::new(),
        url: format!(
            "https://example.com/api/integrations/pandadoc/webhook?team=org_1&signature={signature}"
        ),
        body,
        secret: SecretString::from(key),
        tolerance: None,
    }
}

macro_rules! provider {
    ($name:ident, $secrets:expr, $after:expr) => {
        #[async_trait]
        impl Provider for $name {
            async fn start() -> Self {
                Self(sandbox().await)
            }
            fn fill(&self) {
                fill(&self.0);
                ($after)(&self.0);
            }
            fn config(&self) -> Value {
                json!({
                    "base_url": self.0.base_url(), "page_size": 3, "workspace": self.0.workspace(),
                    "fields": {"effective": ["Start"]}, "sandbox": false,
                })
            }
            fn secrets(&self) -> Secrets {
                ($secrets)(&self.0)
            }
            fn wrong_secrets(&self) -> Secrets {
                secrets(API_KEY, "wrongkey9876543210")
            }
            fn ids(&self, _stream: &str) -> BTreeSet<String> {
                self.0.ids().into_iter().collect()
            }
            fn create(&self, _stream: &str) -> Option<String> {
                Some(self.0.create("New", "new@example.com"))
            }
            fn delete(&self, _stream: &str, id: &str) -> bool {
                self.0.delete(id).is_ok()
            }
            fn faults(&self) -> &Faults {
                self.0.faults()
            }
            fn path(&self, stream: &str) -> String {
                format!("/public/v1/{stream}")
            }
            fn forbid(&self, stream: &str) {
                self.0.forbid(stream, true);
            }
            fn delivery(&self, _at: Timestamp) -> Option<Delivery> {
                Some(delivery(&self.0))
            }
        }
    };
}

provider!(Plain, |sandbox: &PandaDocSandbox| secrets(API_KEY, sandbox.api_key()), |_: &PandaDocSandbox| ());
provider!(OneInstant, |sandbox: &PandaDocSandbox| secrets(ACCESS_TOKEN, sandbox.access_token()), one_instant);
