//! PandaDoc: the figure is in the name of the signed document.

use std::collections::BTreeSet;
use std::sync::Arc;

use connector_sdk::{Clock, RecordKey};
use connector_testkit::sandbox::faults::Faults;
use connector_testkit::sandbox::pandadoc::{Options, PandaDocSandbox};
use halo_sync::domain::companies::Company;
use serde_json::{Value, json};

use crate::conformance::account::{Account, Customer, records_of};

pub(in crate::conformance) struct PandaDoc(PandaDocSandbox);

fn title(figure: u32) -> String {
    format!("Order {figure}")
}

impl Account for PandaDoc {
    const CONNECTOR: &'static str = "pandadoc";
    const LIST: &'static str = "/public/v1/documents";

    async fn start(clock: Arc<dyn Clock>) -> Self {
        Self(PandaDocSandbox::start(Options { clock, ..Options::default() }).await.unwrap())
    }

    fn settings(&self) -> Value {
        json!({"base_url": self.0.base_url(), "page_size": 3})
    }

    fn secret(&self) -> String {
        self.0.api_key().to_owned()
    }

    fn add(&self, name: &str, figure: u32) -> Customer {
        let id = self.0.create(&title(figure), &format!("buyer@{name}.example"));
        self.0.complete(&id).unwrap();
        let party = RecordKey::new("documents", id);
        Customer { name: name.to_owned(), says: party.clone(), party }
    }

    fn set(&self, customer: &Customer, figure: u32) {
        let rename = |details: &mut Value| details["name"] = json!(title(figure));
        self.0.change(&customer.says.id, Some("document_updated"), rename).unwrap();
    }

    fn extend(&self, _: &Customer) -> Option<()> {
        None
    }

    fn remove(&self, customer: &Customer) -> RecordKey {
        self.0.delete(&customer.says.id).unwrap();
        customer.says.clone()
    }

    fn records(&self) -> BTreeSet<RecordKey> {
        records_of(Self::CONNECTOR, |_| self.0.ids())
    }

    fn lists(&self) -> u64 {
        self.0.calls("GET /public/v1/documents")
    }

    fn faults(&self) -> &Faults {
        self.0.faults()
    }

    fn revoke(&self) {
        self.0.revoke();
    }

    fn figure(company: &Company) -> Option<i64> {
        let contracts = &company.context.get("halo.contracts")?.value;
        contracts[0]["label"].as_str()?.strip_prefix("Order ")?.parse().ok()
    }
}
