//! `halo-sync connectors demo`: what a connector makes of its samples, without account and database.

use std::collections::BTreeMap;

use connector_sdk::spec::Spec;
use connector_sdk::{DynConnector, Fact, Mode, RecordKey};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::{App, CommandError, ExitCode};
use crate::derive::{FactRecord, Inputs, Settings, Source, derive, outputs};

/// The connection that samples are taken to come from.
const CONNECTION: &str = "con_sample";

/// What is given to `connectors demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which connector
    #[arg(value_name = "CONNECTOR")]
    pub connector: String,
}

/// One party of the samples, with what is derived of its records.
#[derive(Debug, Serialize)]
struct Shown {
    party: String,
    name: Option<String>,
    records: usize,
    /// The columns that the company would get.
    fields: Map<String, Value>,
    /// The traits that it would get.
    traits: Map<String, Value>,
}

/// Translates the samples and derives a company of each party.
///
/// # Errors
///
/// An unknown connector, or one without samples (1); a sample that cannot be translated (3).
pub fn run(app: &App, args: &Args, specs: &[Spec]) -> Result<(), CommandError> {
    let spec = super::find(specs, &args.connector)?;
    let connector = app.connectors.iter().find(|connector| connector.spec().id == spec.id);
    let connector =
        connector.ok_or_else(|| CommandError::not_found(format_args!("connector {}", spec.id)))?;
    let shown = show(app, &**connector, spec)?;
    app.out.list(
        &shown,
        &[
            ("PARTY", &|s: &Shown| s.party.clone()),
            ("NAME", &|s| s.name.clone().unwrap_or_default()),
            ("RECORDS", &|s| s.records.to_string()),
            ("PLAN", &|s| text(&s.fields, "plan")),
            ("MRR", &|s| text(&s.traits, "mrr")),
            ("STATUS", &|s| text(&s.traits, "subscription_status")),
        ],
        "The samples name no party.",
    )?;
    app.out.note("Derived from the connector's samples by the rules that stored records go through; nothing was stored.");
    Ok(())
}

fn text(members: &Map<String, Value>, name: &str) -> String {
    match members.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn show(app: &App, connector: &dyn DynConnector, spec: &Spec) -> Result<Vec<Shown>, CommandError> {
    if connector.samples().is_empty() {
        return Err(CommandError::new(
            ExitCode::Failed,
            "no_samples",
            format!("{} brings no samples", spec.display_name),
        )
        .try_this("halo-sync serve --demo"));
    }
    let failed = |why: String| {
        CommandError::new(ExitCode::RecordErrors, "bad_sample", "a sample cannot be translated").why(why)
    };
    let mut parties: BTreeMap<RecordKey, (Option<String>, Vec<FactRecord>)> = BTreeMap::new();
    let mut shared = Vec::new();
    for sample in connector.samples() {
        for record in sample.records().map_err(failed)? {
            let extract = connector.facts(&record).map_err(|e| failed(format!("{}: {e}", record.key)))?;
            let facts = serde_json::to_string(&extract.facts).map_err(anyhow::Error::from)?;
            let row = FactRecord { connection: CONNECTION.to_owned(), key: record.key, own: true, facts };
            let Some(party) = extract.party else {
                shared.push(row);
                continue;
            };
            let entry = parties.entry(party).or_default();
            let named = extract.facts.iter().find_map(|fact| match fact {
                Fact::BillingAccount(account) => account.name.clone(),
                Fact::Organization(organization) => organization.name.clone(),
                _ => None,
            });
            entry.0 = entry.0.take().or(named);
            entry.1.push(row);
        }
    }
    let settings = Settings::default();
    let sources = [Source {
        connection: CONNECTION.to_owned(),
        connector: spec.id.to_owned(),
        role: spec.role,
        mode: Mode::Test,
    }];
    let manual = Map::new();
    parties
        .into_iter()
        .map(|(party, (name, own))| {
            let count = own.len();
            let records: Vec<FactRecord> = own.into_iter().chain(shared.iter().cloned()).collect();
            let derivation = derive(&Inputs {
                now: app.clock.now(),
                settings: &settings,
                sources: &sources,
                records: &records,
                team_size: None,
                manual: &manual,
                previous: None,
            })
            .map_err(anyhow::Error::from)?;
            let derived = outputs(&derivation);
            let known = |value: Value| match value {
                Value::Object(members) => members.into_iter().filter(|(_, v)| !v.is_null()).collect(),
                _ => Map::new(),
            };
            let fields = known(serde_json::to_value(&derived.columns).map_err(anyhow::Error::from)?);
            let mut traits = known(Value::Object(derived.traits));
            if let (Some(minor), Some(currency)) = (derived.columns.mrr_minor, &derived.columns.mrr_currency)
            {
                let amount = crate::derive::major_text(minor, currency);
                traits.insert("mrr".to_owned(), json!(format!("{amount} {}", currency.to_ascii_uppercase())));
            }
            Ok(Shown { party: party.to_string(), name, records: count, fields, traits })
        })
        .collect()
}
