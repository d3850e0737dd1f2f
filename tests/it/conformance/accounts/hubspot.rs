//! HubSpot: the figure is the number of employees.

use std::collections::BTreeSet;
use std::sync::Arc;

use connector_sdk::{Clock, RecordKey};
use connector_testkit::sandbox::faults::Faults;
use connector_testkit::sandbox::hubspot::{HubSpotSandbox, Kind, Options};
use halo_sync::domain::companies::Company;
use serde_json::{Value, json};

use crate::conformance::account::{Account, Customer, records_of};

pub(in crate::conformance) struct HubSpot(HubSpotSandbox);

fn id(customer: &Customer) -> u64 {
    customer.party.id.parse().unwrap()
}

impl Account for HubSpot {
    const CONNECTOR: &'static str = "hubspot";
    const LIST: &'static str = "/crm/objects/2026-03/companies";

    async fn start(clock: Arc<dyn Clock>) -> Self {
        let sandbox = HubSpotSandbox::start(Options { clock, ..Options::default() }).await.unwrap();
        sandbox.add_owner("sam@us.example", "Sam", "Seller", false);
        sandbox.define_property(Kind::Companies, "industry", "Industry", &[("RAIL", "Rail")]);
        Self(sandbox)
    }

    fn settings(&self) -> Value {
        json!({"base_url": self.0.base_url(), "page_size": 3, "line_items": true})
    }

    fn secret(&self) -> String {
        self.0.access_token()
    }

    fn add(&self, name: &str, figure: u32) -> Customer {
        let properties = json!({"name": name, "domain": format!("{name}.example"),
            "numberofemployees": figure.to_string()});
        let company = (Kind::Companies, self.0.create(Kind::Companies, &properties));
        let person = json!({"email": format!("jo@{name}.example"), "firstname": "Jo"});
        let contact = (Kind::Contacts, self.0.create(Kind::Contacts, &person));
        self.0.associate(contact, company, true);
        let deal = (Kind::Deals, self.0.create(Kind::Deals, &json!({"dealname": "First year"})));
        self.0.associate(deal, company, true);
        self.0.associate(deal, contact, false);
        for kind in [Kind::Notes, Kind::Emails, Kind::Calls, Kind::Meetings] {
            let said = (kind, self.0.create(kind, &json!({"hs_timestamp": "2025-12-25T16:14:38.670Z"})));
            self.0.associate(said, contact, false);
            self.0.associate(said, company, false);
        }
        let party = RecordKey::new("companies", company.1.to_string());
        Customer { name: name.to_owned(), says: party.clone(), party }
    }

    fn set(&self, customer: &Customer, figure: u32) {
        let properties = json!({"numberofemployees": figure.to_string()});
        assert!(self.0.update(Kind::Companies, id(customer), &properties));
    }

    fn extend(&self, customer: &Customer) -> Option<()> {
        let ticket = (Kind::Tickets, self.0.create(Kind::Tickets, &json!({"subject": "Help"})));
        self.0.associate(ticket, (Kind::Companies, id(customer)), true);
        Some(())
    }

    fn remove(&self, customer: &Customer) -> RecordKey {
        assert!(self.0.archive(Kind::Companies, id(customer)));
        customer.party.clone()
    }

    fn records(&self) -> BTreeSet<RecordKey> {
        let text = |ids: Vec<u64>| ids.into_iter().map(|id| id.to_string()).collect();
        records_of(Self::CONNECTOR, |stream| match (stream, Kind::of_path(stream)) {
            (_, Some(kind)) => text(self.0.ids(kind)),
            ("owners", _) => text(self.0.owner_ids()),
            _ => {
                let names = self.0.property_names().into_iter();
                names.map(|(kind, name)| format!("{}.{name}", kind.path())).collect()
            }
        })
    }

    fn lists(&self) -> u64 {
        self.0.calls("GET companies")
    }

    fn faults(&self) -> &Faults {
        self.0.faults()
    }

    fn revoke(&self) {
        self.0.set_access_token("another");
    }

    fn figure(company: &Company) -> Option<i64> {
        company.fields.employee_count
    }
}
