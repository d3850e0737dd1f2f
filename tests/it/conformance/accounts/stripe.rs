//! Stripe: the figure is the number of seats, which the monthly amount shows.

use std::collections::BTreeSet;
use std::sync::Arc;

use connector_sdk::{Clock, RecordKey};
use connector_testkit::sandbox::faults::Faults;
use connector_testkit::sandbox::stripe::{Kind, Options, StripeSandbox};
use halo_sync::domain::companies::Company;
use serde_json::{Value, json};

use crate::conformance::account::{Account, Customer, records_of};

/// What a seat costs a month, in cents.
const SEAT: i64 = 1_000;

pub(in crate::conformance) struct Stripe(StripeSandbox);

impl Stripe {
    fn post(&self, path: &str, form: &Value) -> String {
        self.0.call("POST", path, form).unwrap()["id"].as_str().unwrap().to_owned()
    }
}

impl Account for Stripe {
    const CONNECTOR: &'static str = "stripe";
    const LIST: &'static str = "/v1/subscriptions";

    async fn start(clock: Arc<dyn Clock>) -> Self {
        let account = Self(StripeSandbox::start(Options { clock, ..Options::default() }).await.unwrap());
        account.post("/v1/products", &json!({"id": "prod_seat", "name": "Seat"}));
        let price = json!({"id": "price_seat", "product": "prod_seat", "currency": "usd",
            "unit_amount": SEAT.to_string(), "recurring": {"interval": "month"}});
        account.post("/v1/prices", &price);
        account
    }

    fn settings(&self) -> Value {
        json!({"base_url": self.0.base_url(), "page_size": 3, "partitions": 2})
    }

    fn secret(&self) -> String {
        self.0.api_key().to_owned()
    }

    fn add(&self, name: &str, figure: u32) -> Customer {
        let form = json!({"name": name, "email": format!("billing@{name}.example")});
        let party = self.post("/v1/customers", &form);
        let items = json!([{"price": "price_seat", "quantity": figure.to_string()}]);
        let says = self.post("/v1/subscriptions", &json!({"customer": party, "items": items}));
        self.0.bill(&says, true).unwrap();
        Customer {
            name: name.to_owned(),
            party: RecordKey::new("customers", party),
            says: RecordKey::new("subscriptions", says),
        }
    }

    fn set(&self, customer: &Customer, figure: u32) {
        let event = "customer.subscription.updated";
        let quantity = |doc: &mut Value| doc["items"][0]["quantity"] = json!(figure);
        self.0.change(Kind::Subscriptions, &customer.says.id, event, quantity).unwrap();
    }

    fn extend(&self, customer: &Customer) -> Option<()> {
        self.0.bill(&customer.says.id, true).unwrap();
        Some(())
    }

    fn remove(&self, customer: &Customer) -> RecordKey {
        self.0.delete(Kind::Customers, &customer.party.id).unwrap();
        customer.party.clone()
    }

    fn records(&self) -> BTreeSet<RecordKey> {
        records_of(Self::CONNECTOR, |stream| self.0.ids(Kind::of_path(stream).unwrap()))
    }

    fn lists(&self) -> u64 {
        self.0.calls("GET /v1/subscriptions")
    }

    fn faults(&self) -> &Faults {
        self.0.faults()
    }

    fn revoke(&self) {
        self.0.revoke_key();
    }

    fn figure(company: &Company) -> Option<i64> {
        company.fields.mrr_minor.filter(|cents| *cents != 0).map(|cents| cents / SEAT)
    }
}
