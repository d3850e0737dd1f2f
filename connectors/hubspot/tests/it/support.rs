//! The sandbox HubSpot as the conformance suite needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use connector_hubspot::{ACCESS_TOKEN, HubSpot};
use connector_sdk::{
    Budget, DynConnector, HttpConfig, Io, Next, Page, Priority, ReadMode, Record, Secrets, Session,
    SystemClock, Timestamp,
};
use connector_testkit::conformance::{Delivery, Provider};
use connector_testkit::sandbox::faults::Faults;
use connector_testkit::sandbox::hubspot::{HubSpotSandbox, Kind, Options, batch, sign_v3};
use http::{HeaderMap, HeaderValue};
use secrecy::SecretString;
use serde_json::{Value, json};

/// Where deliveries come in.
pub(crate) const URL: &str = "https://halo.example/api/integrations/hubspot/webhook/org_1";

pub(crate) fn secrets(token: &str) -> Secrets {
    Secrets(BTreeMap::from([(ACCESS_TOKEN.to_owned(), SecretString::from(token))]))
}

pub(crate) fn io() -> Io {
    Io {
        http: connector_testkit::http_client(HttpConfig::default()).unwrap(),
        clock: Arc::new(SystemClock),
        budget: Arc::new(Budget::unlimited()),
        priority: Priority::Backfill,
    }
}

pub(crate) async fn sandbox() -> HubSpotSandbox {
    HubSpotSandbox::start(Options::default()).await.unwrap()
}

/// A session with these settings, beside the address.
pub(crate) fn open(sandbox: &HubSpotSandbox, settings: Value) -> Box<dyn Session> {
    open_with(sandbox, settings, io())
}

pub(crate) fn open_with(sandbox: &HubSpotSandbox, mut settings: Value, io: Io) -> Box<dyn Session> {
    settings["base_url"] = json!(sandbox.base_url());
    DynConnector::open(&HubSpot, &settings, secrets(&sandbox.access_token()), io).unwrap()
}

/// All pages of a stream from a cursor on, and where they end.
pub(crate) async fn pages(
    session: &dyn Session,
    stream: &str,
    mode: ReadMode,
    from: Option<connector_sdk::Cursor>,
) -> (Vec<Page>, connector_sdk::Cursor) {
    let plan = session.plan(stream, mode, chrono::DateTime::UNIX_EPOCH).await.unwrap();
    let (mut out, mut cursor) = (Vec::new(), from);
    loop {
        let page = session.read_page(stream, mode, &plan[0], cursor.as_ref()).await.unwrap();
        let next = page.next.clone();
        out.push(page);
        match next {
            Next::More(next) => cursor = Some(next),
            Next::CaughtUp(end) => return (out, end),
        }
        assert!(out.len() < 10_000, "the read does not end");
    }
}

pub(crate) fn records(pages: Vec<Page>) -> Vec<Record> {
    pages.into_iter().flat_map(|page| page.records).collect()
}

pub(crate) fn doc(record: &Record) -> Value {
    serde_json::from_str(record.payload.get()).unwrap()
}

/// More than six pages of lists and three of searches in every stream, at pages of three.
const EACH: usize = 20;

pub(crate) fn fill(sandbox: &HubSpotSandbox) {
    let mut companies = Vec::new();
    for n in 0..EACH {
        let name =
            json!({"name": format!("Company {n}"), "domain": format!("c{n}.example"), "industry": "RAIL"});
        companies.push(sandbox.create(Kind::Companies, &name));
    }
    let mut contacts = Vec::new();
    for n in 0..EACH {
        let id =
            sandbox.create(Kind::Contacts, &json!({"email": format!("p{n}@c{n}.example"), "firstname": "P"}));
        // The main one is not the oldest, and one contact has none.
        if n > 0 {
            sandbox.associate((Kind::Contacts, id), (Kind::Companies, companies[n]), true);
            sandbox.associate((Kind::Contacts, id), (Kind::Companies, companies[0]), false);
        }
        contacts.push(id);
    }
    for n in 0..EACH {
        let line = sandbox.create(
            Kind::LineItems,
            &json!({"name": "Pro", "hs_recurring_billing_period": "P12M",
                    "hs_recurring_billing_start_date": "2026-01-15", "recurringbillingfrequency": "annually"}),
        );
        let won = n % 2 == 0;
        let deal = sandbox.create(
            Kind::Deals,
            &json!({"dealname": format!("Deal {n}"), "amount": "1200.00", "deal_currency_code": "EUR",
                    "hs_is_closed": won.to_string(), "hs_is_closed_won": won.to_string(),
                    "hs_num_of_associated_line_items": "1"}),
        );
        sandbox.associate((Kind::Deals, deal), (Kind::Companies, companies[n]), n % 3 > 0);
        sandbox.associate((Kind::Deals, deal), (Kind::Contacts, contacts[n]), false);
        sandbox.associate((Kind::Deals, deal), (Kind::LineItems, line), false);
        let ticket = sandbox.create(
            Kind::Tickets,
            &json!({"subject": format!("Ticket {n}"), "hs_pipeline": "0", "hs_pipeline_stage": "1"}),
        );
        sandbox.associate((Kind::Tickets, ticket), (Kind::Companies, companies[n]), true);
        sandbox.associate((Kind::Tickets, ticket), (Kind::Contacts, contacts[n]), false);
    }
    for kind in [Kind::Emails, Kind::Notes, Kind::Calls, Kind::Meetings] {
        for n in 0..EACH {
            let id = sandbox.create(kind, &json!({"hs_timestamp": "2026-02-25T16:14:38.670Z"}));
            sandbox.associate((kind, id), (Kind::Contacts, contacts[n]), false);
            sandbox.associate((kind, id), (Kind::Companies, companies[n]), false);
        }
    }
    for n in 0..40 {
        sandbox.add_owner(&format!("o{n}@us.example"), "O", &n.to_string(), n % 10 == 9);
    }
    for kind in [Kind::Companies, Kind::Contacts, Kind::Deals, Kind::Tickets] {
        sandbox.define_property(kind, "name", "Name", &[]);
        sandbox.define_property(kind, "industry", "Industry", &[("RAIL", "Rail"), ("SEA", "Sea")]);
        sandbox.define_property(kind, "sector", "Sector", &[]);
    }
    let _ = sandbox.take_events();
}

pub(crate) fn kind(stream: &str) -> Option<Kind> {
    Kind::of_path(stream)
}

fn definition(id: &str) -> (Kind, &str) {
    let (object, name) = id.split_once('.').unwrap();
    (Kind::of_path(object).unwrap(), name)
}

fn ids(sandbox: &HubSpotSandbox, stream: &str) -> BTreeSet<String> {
    match (stream, kind(stream)) {
        (_, Some(kind)) => sandbox.ids(kind).into_iter().map(|id| id.to_string()).collect(),
        ("owners", _) => sandbox.owner_ids().into_iter().map(|id| id.to_string()).collect(),
        _ => sandbox
            .property_names()
            .into_iter()
            .map(|(kind, name)| format!("{}.{name}", kind.path()))
            .collect(),
    }
}

fn create(sandbox: &HubSpotSandbox, stream: &str) -> String {
    match (stream, kind(stream)) {
        (_, Some(kind)) => sandbox.create(kind, &json!({"name": "New"})).to_string(),
        ("owners", _) => sandbox.add_owner("new@us.example", "N", "Ew", false).to_string(),
        _ => {
            let name = format!("made_{}", sandbox.property_names().len());
            sandbox.define_property(Kind::Tickets, &name, "Made", &[]);
            format!("tickets.{name}")
        }
    }
}

fn delete(sandbox: &HubSpotSandbox, stream: &str, id: &str) -> bool {
    match (stream, kind(stream)) {
        (_, Some(kind)) => sandbox.archive(kind, id.parse().unwrap()),
        // A former owner stays readable.
        ("owners", _) => false,
        _ => {
            let (kind, name) = definition(id);
            sandbox.drop_property(kind, name)
        }
    }
}

fn delivery(sandbox: &HubSpotSandbox, at: Timestamp) -> Delivery {
    let company = sandbox.create(Kind::Companies, &json!({"name": "New"}));
    let contact = sandbox.create(Kind::Contacts, &json!({"firstname": "N"}));
    sandbox.update(Kind::Companies, company, &json!({"name": "Newer"}));
    sandbox.erase_contact(contact);
    let body = batch(&sandbox.take_events());
    let secret = sandbox.client_secret();
    let ms = at.timestamp_millis();
    let signature = sign_v3(secret, "POST", URL, body.as_bytes(), ms);
    let mut headers = HeaderMap::new();
    headers.insert("x-hubspot-signature-v3", HeaderValue::from_str(&signature).unwrap());
    headers.insert("x-hubspot-request-timestamp", HeaderValue::from(ms));
    Delivery {
        headers,
        url: URL.to_owned(),
        body: body.into_bytes(),
        secret: SecretString::from(secret),
        tolerance: Some(Duration::from_secs(300)),
    }
}

macro_rules! provider {
    ($name:ident, $version:expr, $path:expr) => {
        /// A portal read under this version of the API.
        pub(crate) struct $name(HubSpotSandbox);

        #[async_trait]
        impl Provider for $name {
            async fn start() -> Self {
                Self(sandbox().await)
            }
            fn fill(&self) {
                fill(&self.0);
            }
            fn config(&self) -> Value {
                json!({
                    "base_url": self.0.base_url(), "api_version": $version, "page_size": 3,
                    "portal": self.0.portal(), "archived": true, "line_items": true, "properties": {}, "fields": {},
                    "ticket_stages": {"77": "pending"}, "webhook_signatures": ["v3"], "overlap_seconds": 300,
                })
            }
            fn secrets(&self) -> Secrets {
                secrets(&self.0.access_token())
            }
            fn wrong_secrets(&self) -> Secrets {
                secrets(concat!("pat-na1", "-wrong-9876543210"))
            }
            fn ids(&self, stream: &str) -> BTreeSet<String> {
                ids(&self.0, stream)
            }
            fn create(&self, stream: &str) -> Option<String> {
                Some(create(&self.0, stream))
            }
            fn delete(&self, stream: &str, id: &str) -> bool {
                delete(&self.0, stream, id)
            }
            fn faults(&self) -> &Faults {
                self.0.faults()
            }
            fn path(&self, stream: &str) -> String {
                let path: fn(&str) -> String = $path;
                path(stream)
            }
            fn forbid(&self, stream: &str) {
                self.0.forbid(stream, true);
            }
            fn delivery(&self, at: Timestamp) -> Option<Delivery> {
                Some(delivery(&self.0, at))
            }
        }
    };
}

provider!(Dated, "2026-03", |stream| match stream {
    "owners" | "properties" => format!("/crm/{stream}/2026-03"),
    _ => format!("/crm/objects/2026-03/{stream}"),
});
provider!(Numbered, "v3", |stream| match stream {
    "owners" | "properties" => format!("/crm/v3/{stream}"),
    _ => format!("/crm/v3/objects/{stream}"),
});
