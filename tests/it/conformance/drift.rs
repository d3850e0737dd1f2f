//! What changed behind our back is found and repaired; one company is brought up to date.

use std::collections::{BTreeMap, BTreeSet};

use connector_sdk::{Priority, RecordKey};
use halo_sync::service::Request;
use halo_sync::service::deliveries::parties_of;
use halo_sync::sync::audit::{Report, Scope, audit};
use halo_sync::sync::compare::Drift;
use halo_sync::sync::resync::read_company;

use super::account::{Account, Stand};
use crate::support::app::App;

const CUSTOMERS: u32 = 7;

async fn look<A: Account>(stand: &Stand<A>, app: &App, scope: Scope) -> Report {
    let connection = stand.connection(app).await;
    let providers = &app.services.providers;
    audit(&*app.store, providers, &connection, &app.clock, scope, Priority::Incremental, |_, _| {})
        .await
        .unwrap()
}

fn found(report: &Report) -> BTreeMap<String, Drift> {
    assert_eq!(report.differences.len(), report.drift.len());
    report.differences.iter().map(|d| (d.record.clone(), d.drift)).collect()
}

async fn reread<A: Account>(app: &App, keys: Vec<RecordKey>) {
    app.execute(Request::Reread { connection: A::CONNECTOR.to_owned(), keys }).await.unwrap();
    app.drain().await;
}

/// One is changed, one deleted, one new, and nobody told. What an audit must find at least, and of which records it
/// may speak at all.
async fn drift<A: Account>(stand: &mut Stand<A>, app: &App) -> (BTreeMap<String, Drift>, BTreeSet<String>) {
    let stored = stand.mirror(app).await;
    let changed = stand.set(2, 90);
    let gone = stand.remove(3);
    stand.add("late", 91);
    stand.tell(app).await;
    let there = stand.account.records();
    let mut must = BTreeMap::from([(changed.says.to_string(), Drift::Different)]);
    must.extend(there.difference(&stored).map(|key| (key.to_string(), Drift::Missing)));
    must.extend(stored.difference(&there).map(|key| (key.to_string(), Drift::Extra)));
    assert_eq!(must.get(&gone.to_string()), Some(&Drift::Extra));
    assert!(must.values().any(|drift| *drift == Drift::Missing));
    // A record that belonged to what is gone may have changed with it.
    let mut may: BTreeSet<String> = must.keys().cloned().collect();
    let connection = stand.connection(app).await;
    let parties = [stand.customers[2].party.clone(), stand.customers[3].party.clone()];
    let theirs = app.store.list_party_record_keys(&app.org, &connection.id, &parties).await.unwrap();
    may.extend(theirs.iter().map(ToString::to_string));
    (must, may)
}

fn assert_found(report: &Report, must: &BTreeMap<String, Drift>, may: &BTreeSet<String>) {
    let found = found(report);
    for (record, drift) in must {
        assert_eq!(found.get(record), Some(drift), "{record}: {found:#?}");
    }
    for record in found.keys() {
        assert!(may.contains(record), "{record} did not change: {found:#?}");
    }
}

pub(super) async fn an_audit_finds_exactly_what_differs_and_repairs_it<A: Account>(app: &App) {
    let mut stand = Stand::<A>::read(app, CUSTOMERS).await;
    let clean = look(&stand, app, Scope::All).await;
    assert!(clean.drift.is_empty(), "{clean:#?}");
    assert_eq!(usize::try_from(clean.compared()).unwrap(), stand.account.records().len());
    let (must, may) = drift(&mut stand, app).await;
    for scope in [Scope::All, Scope::Sample { records: 10_000, seed: 1 }] {
        let before = app.dump("mirror_records").await;
        let report = look(&stand, app, scope).await;
        assert_found(&report, &must, &may);
        assert_eq!(app.dump("mirror_records").await, before, "looking writes nothing");
    }
    let report = look(&stand, app, Scope::All).await;
    reread::<A>(app, report.drift).await;
    assert!(look(&stand, app, Scope::All).await.drift.is_empty());
    stand.agrees(app).await;
}

/// A sample of the mirror cannot meet what is not in it: what is newest at the provider is looked at, too.
pub(super) async fn a_sample_finds_what_never_arrived<A: Account>(app: &App) {
    let mut stand = Stand::<A>::read(app, CUSTOMERS).await;
    app.pass(60);
    let late = stand.add("late", 91);
    for seed in 0..3 {
        let report = look(&stand, app, Scope::Sample { records: 1, seed }).await;
        let found = found(&report);
        assert_eq!(found.get(&late.says.to_string()), Some(&Drift::Missing), "{found:#?}");
        assert_eq!(found.get(&late.party.to_string()), Some(&Drift::Missing), "{found:#?}");
    }
}

pub(super) async fn a_scheduled_audit_repairs_and_is_kept<A: Account>(app: &App) {
    let mut stand = Stand::<A>::read(app, CUSTOMERS).await;
    let (must, may) = drift(&mut stand, app).await;
    let connection = stand.connection(app).await;
    app.scheduled_audit(&connection.id, true).await;
    let kept = app.store.list_audits(&app.org, &connection.id, 10).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].drift, kept[0].repaired);
    let drift = usize::try_from(kept[0].drift).unwrap();
    assert!((must.len()..=may.len()).contains(&drift), "{:#?}", kept[0]);
    stand.agrees(app).await;
    assert!(look(&stand, app, Scope::All).await.drift.is_empty());
}

pub(super) async fn one_company_is_brought_up_to_date_and_no_other<A: Account>(app: &App) {
    let mut stand = Stand::<A>::read(app, 4).await;
    let changed = stand.set(0, 70);
    let extended = stand.account.extend(&changed);
    // Another one changes, too, and is not asked for.
    let other = stand.customers[1].clone();
    let was = stand.figures(app).await[&other.name];
    stand.account.set(&other, 71);
    stand.account.extend(&other);
    let missing: BTreeSet<RecordKey> =
        stand.account.records().difference(&stand.mirror(app).await).cloned().collect();
    assert_eq!(missing.len() >= 2, extended.is_some(), "{missing:?}");
    let before = stand.rows(app, &stand.account.records()).await;

    let company = app.company(&changed.name).await;
    let parties = parties_of(&*app.store, &app.org, &company.id).await.unwrap();
    assert!(parties.values().flatten().any(|party| *party == changed.party), "{parties:?}");
    let readings = read_company(&*app.store, &app.services.providers, &app.org, parties).await.unwrap();
    assert_eq!(stand.rows(app, &stand.account.records()).await, before, "looking writes nothing");
    let [reading] = readings.as_slice() else { panic!("{readings:#?}") };
    assert!(reading.compared.skipped.is_empty(), "{:?}", reading.compared.skipped);
    let different: BTreeSet<RecordKey> =
        reading.compared.different.iter().map(|(key, _)| key.clone()).collect();
    assert!(different.contains(&changed.says) && !different.contains(&other.says), "{different:?}");
    let found: BTreeSet<&RecordKey> = different.intersection(&missing).collect();
    assert_eq!(!found.is_empty(), extended.is_some(), "what never arrived is found, too: {different:?}");

    reread::<A>(app, different.iter().cloned().collect()).await;
    let mut figures = stand.figures(app).await;
    assert_eq!(figures.remove(&changed.name), Some(Some(70)));
    assert_eq!(figures[&other.name], was, "not asked for");
    let after = stand.rows(app, &stand.account.records()).await;
    for (key, row) in &before {
        assert_eq!(row == &after[key], !different.contains(key), "{key}");
    }
    let still_missing = stand.account.records().difference(&stand.mirror(app).await).count();
    assert_eq!(still_missing, missing.len() - found.len());
}
