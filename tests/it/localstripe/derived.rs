//! The connector's facts through the derivation, with no store between them: records are put together as the
//! store promises to (every record of a company's parties, and what these refer to, one level).

use std::collections::{BTreeMap, BTreeSet};

use connector_sdk::{Clock as _, ConnectorError, Extract, Fact, Mode, Record, RecordKey, Role, SystemClock};
use halo_sync::derive::{FactRecord, Inputs, Settings, Source, derive};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::connector::{facts, open, read, streams};
use super::figures::{self, Figures, differences};
use super::server::{Kind, Parts, Server};

const CONNECTION: &str = "conn_1";

/// What was read: the facts of every record, and which company each customer is.
#[derive(Debug, Default)]
struct Mirror {
    records: BTreeMap<RecordKey, Extract>,
    companies: BTreeMap<RecordKey, String>,
}

impl Mirror {
    /// Reads every stream anew. A customer that is not there any more is kept as the one thing that is known
    /// of it.
    async fn refresh(&mut self, server: &Server) {
        let session = open(&server.base(), &[]);
        let mut all = BTreeMap::new();
        for stream in streams() {
            match read(&*session, stream).await {
                Ok(read) => all.extend(read.records.iter().map(|r| (r.key.clone(), facts(r)))),
                Err(ConnectorError::NotOffered(_)) => {}
                Err(e) => panic!("{stream}: {e}"),
            }
        }
        for party in self.companies.keys().filter(|party| !all.contains_key(party)) {
            let batch = session.read_many(&party.stream, std::slice::from_ref(&party.id)).await.unwrap();
            assert_eq!(batch.tombstones, std::slice::from_ref(party));
        }
        for gone in
            self.companies.keys().filter(|party| !all.contains_key(party)).cloned().collect::<Vec<_>>()
        {
            let text = format!(r#"{{"id":"{}","object":"customer","deleted":true}}"#, gone.id);
            let payload = RawValue::from_string(text).unwrap();
            all.insert(gone.clone(), facts(&Record { key: gone, payload }));
        }
        for (key, extract) in &all {
            for fact in &extract.facts {
                if let Fact::BillingAccount(account) = fact
                    && let Some(company) = account.metadata.get("company_id")
                {
                    self.companies.insert(key.clone(), company.clone());
                }
            }
        }
        self.records = all;
    }

    /// The derived values of every company, by its name.
    fn derive(&self) -> BTreeMap<String, Value> {
        let names: BTreeSet<&String> = self.companies.values().collect();
        names.into_iter().map(|name| (name.clone(), self.derive_one(name))).collect()
    }

    fn derive_one(&self, company: &str) -> Value {
        let own = self.records.iter().filter(|(_, extract)| {
            extract.party.as_ref().and_then(|party| self.companies.get(party)).is_some_and(|c| c == company)
        });
        let mut keys = BTreeSet::new();
        let mut owned = BTreeSet::new();
        for (key, extract) in own {
            keys.insert(key);
            owned.insert(key);
            keys.extend(extract.refs.iter());
        }
        let records: Vec<FactRecord> = keys
            .into_iter()
            .filter_map(|key| {
                let facts = serde_json::to_string(&self.records.get(key)?.facts).unwrap();
                Some(FactRecord {
                    connection: CONNECTION.to_owned(),
                    key: key.clone(),
                    own: owned.contains(key),
                    facts,
                })
            })
            .collect();
        let sources = [Source {
            connection: CONNECTION.to_owned(),
            connector: "stripe".to_owned(),
            role: Role::Billing,
            mode: Mode::Test,
        }];
        let derivation = derive(&Inputs {
            now: SystemClock.now(),
            settings: &Settings::default(),
            sources: &sources,
            records: &records,
            team_size: None,
            manual: &Map::new(),
            previous: None,
        })
        .unwrap();
        assert!(derivation.test, "{company}: figures of test objects are marked");
        assert!(derivation.missing.is_empty(), "{company}: {:?}", derivation.missing);
        serde_json::to_value(&derivation.values).unwrap()
    }
}

#[tokio::test]
async fn the_figures_agree_before_and_after_the_changes() {
    let Some(parts) = Parts::find() else { return };
    let server = Server::start(&parts, Kind::Compat);
    let mut told = server.fill();
    let mut mirror = Mirror::default();

    mirror.refresh(&server).await;
    assert_eq!(differences(&figures::filled(), &told, &mirror.derive(), Figures::derived), [""; 0]);

    server.change("told", &mut told);
    mirror.refresh(&server).await;
    assert_eq!(
        differences(&figures::changed_with_events(), &told, &mirror.derive(), Figures::derived),
        [""; 0]
    );

    server.change("silent", &mut told);
    mirror.refresh(&server).await;
    assert_eq!(
        differences(&figures::changed_in_silence(), &told, &mirror.derive(), Figures::derived),
        [""; 0]
    );
}

/// Without a listing of prices the plans that stand in the subscriptions are all there is; that is enough.
#[tokio::test]
async fn the_figures_agree_where_prices_are_not_offered() {
    let Some(parts) = Parts::find() else { return };
    let server = Server::start(&parts, Kind::Plain);
    let told = server.fill();
    let mut mirror = Mirror::default();
    mirror.refresh(&server).await;
    assert!(mirror.records.keys().all(|key| key.stream != "prices"));
    assert_eq!(differences(&figures::filled(), &told, &mirror.derive(), Figures::derived), [""; 0]);
}
