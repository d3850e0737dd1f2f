//! What must be stored of a sandbox Stripe account: worked out from the sandbox's own objects, with nothing of
//! the reading, the queue and the store in between.
//!
//! The connector's translation and the derivation are used here too, as pure functions; that they are right is
//! for `billing_cases`, `billing_rules`, and the sums that a test keeps by itself.

use std::collections::{BTreeMap, BTreeSet};

use connector_sdk::{
    Clock as _, DynConnector as _, Extract, Fact, Mode, Record, RecordKey, Role, SystemClock,
};
use connector_stripe::Stripe;
use connector_testkit::sandbox::stripe::{Kind, StripeSandbox};
use halo_sync::derive::{FactRecord, Inputs, Settings, Source, derive, outputs};
use halo_sync::domain::companies::Company;
use halo_sync::domain::{ConnectionId, OrgId};
use halo_sync::store::Store;
use halo_sync::store::identity::LinkState;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The streams, and what every read of one of their objects expands.
const STREAMS: [(Kind, &[&str]); 10] = [
    (Kind::Customers, &["discount.source.coupon"]),
    (Kind::Products, &[]),
    (Kind::Coupons, &["applies_to", "currency_options"]),
    (Kind::Prices, &["tiers", "currency_options"]),
    (Kind::Subscriptions, &["discounts.source.coupon", "items.data.discounts"]),
    (Kind::Invoices, &[]),
    (Kind::Charges, &[]),
    (Kind::Refunds, &["charge"]),
    (Kind::Disputes, &["charge"]),
    (Kind::Schedules, &[]),
];

/// Records that a unit of the store loads at once.
const BATCH: usize = 200;

/// An account as it is.
#[derive(Debug)]
pub(crate) struct Truth {
    /// Every object that can be read, as a read answers it.
    pub(crate) records: BTreeMap<RecordKey, Value>,
    /// What was deleted, as it last was.
    pub(crate) gone: BTreeMap<RecordKey, Value>,
}

impl Truth {
    pub(crate) fn of(sandbox: &StripeSandbox) -> Self {
        let (mut records, mut gone) = (BTreeMap::new(), BTreeMap::new());
        for (kind, expand) in STREAMS {
            let read = |ids: Vec<String>, into: &mut BTreeMap<RecordKey, Value>| {
                for id in ids {
                    let object = sandbox.expanded(kind, &id, expand).unwrap();
                    into.insert(RecordKey::new(kind.path(), id), object);
                }
            };
            read(sandbox.ids(kind), &mut records);
            read(sandbox.deleted_ids(kind), &mut gone);
        }
        Self { records, gone }
    }

    /// Where the mirror of a connection differs.
    pub(crate) async fn mirror_complaints(
        &self,
        store: &dyn Store,
        org: &OrgId,
        connection: &ConnectionId,
    ) -> Vec<String> {
        let keys: Vec<RecordKey> = self.records.keys().chain(self.gone.keys()).cloned().collect();
        let mut ours = BTreeMap::new();
        for keys in keys.chunks(BATCH) {
            for record in store.load_records(org, connection, keys).await.unwrap() {
                ours.insert(record.key.clone(), record);
            }
        }
        let mut complaints = Vec::new();
        for (key, theirs) in &self.records {
            match ours.get(key) {
                None => complaints.push(format!("{key}: not in the mirror")),
                Some(ours) if ours.deleted_at.is_some() => {
                    complaints.push(format!("{key}: a tombstone of what is there"));
                }
                Some(ours) => {
                    let payload: Value = serde_json::from_str(&ours.payload).unwrap();
                    complaints.extend(difference(&key.to_string(), &bare(theirs, 0), &bare(&payload, 0)));
                }
            }
        }
        for key in self.gone.keys() {
            if ours.get(key).is_some_and(|record| record.deleted_at.is_none()) {
                complaints.push(format!("{key}: deleted, and in the mirror"));
            }
        }
        complaints
    }

    /// Where the companies of this account's customers differ; a company is found by the external id that the
    /// customer's metadata names, else by the customer's name. A customer that was deleted before it was ever read
    /// (it is none of `known`) was nobody here: what it would have said of its company, nobody can tell.
    pub(crate) fn company_complaints(
        &self,
        companies: &[Company],
        connection: &ConnectionId,
        known: &Known,
    ) -> Vec<String> {
        let extracts = self.extracts();
        let mut parties: BTreeMap<String, BTreeSet<RecordKey>> = BTreeMap::new();
        for (key, customer) in
            self.records.iter().chain(&self.gone).filter(|(key, _)| key.stream == "customers")
        {
            if self.records.contains_key(key) || known.contains(connection, key) {
                parties.entry(company_of(customer)).or_default().insert(key.clone());
            }
        }
        let mut complaints = Vec::new();
        for (name, parties) in parties {
            let Some(company) = find(companies, &name) else {
                complaints.push(format!("{name}: no company"));
                continue;
            };
            complaints.extend(compare(&name, company, &extracts, &parties, connection));
        }
        complaints
    }

    fn extracts(&self) -> BTreeMap<RecordKey, Extract> {
        self.records
            .iter()
            .chain(&self.gone)
            .map(|(key, object)| {
                let payload = RawValue::from_string(object.to_string()).unwrap();
                let record = Record { key: key.clone(), payload };
                let mut extract = Stripe.facts(&record).unwrap_or_else(|e| panic!("{key}: {e}"));
                if self.gone.contains_key(key) {
                    for fact in &mut extract.facts {
                        // What a deleted account owned is over; of other records the last state stands.
                        if let Fact::BillingAccount(account) = fact {
                            account.deleted = true;
                        }
                    }
                }
                (key.clone(), extract)
            })
            .collect()
    }
}

fn company_of(customer: &Value) -> String {
    let named = customer["metadata"]["company_id"].as_str();
    named.or_else(|| customer["name"].as_str()).or_else(|| customer["id"].as_str()).unwrap().to_owned()
}

/// Customers that are somebody here, whichever company that is.
pub(crate) struct Known(BTreeSet<(String, RecordKey)>);

impl Known {
    pub(crate) async fn of(store: &dyn Store, org: &OrgId) -> Self {
        let links = store.list_links(org, Some(LinkState::Linked), None, None, 1_000_000).await.unwrap();
        Self(links.rows.into_iter().map(|link| (link.connection_id.0, link.party)).collect())
    }

    pub(crate) fn contains(&self, connection: &ConnectionId, party: &RecordKey) -> bool {
        self.0.contains(&(connection.0.clone(), party.clone()))
    }
}

/// The company of that external id, name, or customer.
pub(crate) fn find<'a>(companies: &'a [Company], name: &str) -> Option<&'a Company> {
    companies
        .iter()
        .find(|c| c.external_id.as_deref() == Some(name))
        .or_else(|| companies.iter().find(|c| c.fields.name.as_deref() == Some(name)))
        .or_else(|| {
            companies.iter().find(|c| c.custom_fields.get("stripe_customer_id") == Some(&json!(name)))
        })
}

fn compare(
    name: &str,
    company: &Company,
    extracts: &BTreeMap<RecordKey, Extract>,
    parties: &BTreeSet<RecordKey>,
    connection: &ConnectionId,
) -> Vec<String> {
    // As the store promises: every record of the company's parties, and what these refer to, one level.
    let (mut keys, mut owned) = (BTreeSet::new(), BTreeSet::new());
    for (key, extract) in
        extracts.iter().filter(|(_, e)| e.party.as_ref().is_some_and(|p| parties.contains(p)))
    {
        keys.insert(key);
        owned.insert(key);
        keys.extend(extract.refs.iter());
    }
    let records: Vec<FactRecord> = keys
        .into_iter()
        .filter_map(|key| {
            let facts = serde_json::to_string(&extracts.get(key)?.facts).unwrap();
            Some(FactRecord {
                connection: connection.0.clone(),
                key: key.clone(),
                own: owned.contains(key),
                facts,
            })
        })
        .collect();
    let sources = [Source {
        connection: connection.0.clone(),
        connector: "stripe".to_owned(),
        role: Role::Billing,
        mode: Mode::Test,
    }];
    let derivation = derive(&Inputs {
        now: SystemClock.now(),
        settings: &Settings::default(),
        sources: &sources,
        records: &records,
        team_size: Some(0),
        manual: &Map::new(),
        previous: None,
    })
    .unwrap();
    let expected = outputs(&derivation);
    let mut complaints = Vec::new();
    let mut check = |field: &str, ours: &Value, theirs: &Value| {
        if ours != theirs {
            complaints.push(format!("{name}: {field} is {ours}, not {theirs}"));
        }
    };
    let (ours, theirs) = (json!(company.fields), json!(expected.columns));
    for field in &expected.owned {
        check(field, &ours[field], &theirs[field]);
    }
    for (field, value) in &expected.traits {
        check(field, company.custom_fields.get(field).unwrap_or(&Value::Null), value);
    }
    for (key, entry) in &expected.context {
        check(key, &json!(company.context.get(key)), &json!(entry));
    }
    check("test", &json!(company.test), &json!(expected.test));
    complaints
}

/// An object whose embedded objects with a life of their own are ids: a copy of another record is as old as
/// the read that it came with.
fn bare(value: &Value, depth: usize) -> Value {
    const OWN: [&str; 5] = ["charge", "coupon", "price", "plan", "product"];
    match value {
        Value::Object(members)
            if depth > 0
                && members.get("object").and_then(Value::as_str).is_some_and(|o| OWN.contains(&o)) =>
        {
            members["id"].clone()
        }
        Value::Object(members) => {
            members.iter().map(|(name, v)| (name.clone(), bare(v, depth + 1))).collect()
        }
        Value::Array(items) => items.iter().map(|v| bare(v, depth + 1)).collect(),
        other => other.clone(),
    }
}

/// The members in which two documents differ.
fn difference(path: &str, theirs: &Value, ours: &Value) -> Vec<String> {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            names
                .into_iter()
                .flat_map(|name| {
                    let member = |of: &Map<String, Value>| of.get(name).cloned().unwrap_or(Value::Null);
                    difference(&format!("{path}.{name}"), &member(a), &member(b))
                })
                .collect()
        }
        (a, b) if a == b => Vec::new(),
        (a, b) => vec![format!("{path}: the provider says {a}, the mirror {b}")],
    }
}
