//! What the store's tests say often.

use std::collections::BTreeMap;

use connector_sdk::{Cursor, Partition, RecordKey};
use halo_sync::domain::companies::TraitPatch;
use halo_sync::domain::jobs::{ClaimedJob, Finished, JobOutcome, NewJob};
use halo_sync::domain::{CompanyId, ConnectionId, OrgId, Rank};
use halo_sync::store::Store;
use halo_sync::store::identity::{LinkCandidate, Lookup, NewCompany, PartyObserved, WriteSource};
use halo_sync::store::jobs::{Claim, Take};
use halo_sync::store::mirror::{Checkpoint, IngestCommit, Ingested, MirrorWrite};
use halo_sync::store::people::PersonObserved;
use serde_json::{Value, json};

pub(crate) use super::settings::{at, connection};

pub(crate) fn org() -> OrgId {
    OrgId::default_org()
}

pub(crate) fn con() -> ConnectionId {
    "con_1".into()
}

/// A store with one connection, `con_1`.
pub(crate) async fn connected(store: &dyn Store) {
    store.put_connection(&connection(&org(), "con_1", "stripe"), &[]).await.unwrap();
}

/// The job that works the inbox of `con_1` off.
pub(crate) fn job() -> NewJob {
    NewJob {
        kind: "webhooks.process",
        org_id: org(),
        connection_id: Some(con()),
        dedupe_key: Some("inbox:con_1".into()),
        args: json!({}),
        run_at: at(0),
        priority: 0,
        max_attempts: 3,
    }
}

pub(crate) fn key(text: &str) -> RecordKey {
    let (stream, id) = text.split_once('/').unwrap();
    RecordKey::new(stream, id)
}

/// A record whose payload, hash and facts are `version`.
pub(crate) fn record(name: &str, party: Option<&str>, refs: &[&str], version: &str) -> MirrorWrite {
    MirrorWrite {
        key: key(name),
        read_seq: 0,
        payload: json!({ "v": version }).to_string(),
        hash: version.to_owned(),
        facts: json!([{ "v": version }]).to_string(),
        facts_version: 1,
        refs: refs.iter().map(|text| key(text)).collect(),
        party: party.map(key),
    }
}

pub(crate) fn commit(read_seq: i64, records: Vec<MirrorWrite>) -> IngestCommit {
    IngestCommit {
        connection_id: con(),
        run_id: None,
        read_seq,
        pages: 1,
        generation: None,
        records,
        tombstones: Vec::new(),
        rejected: Vec::new(),
        parties: Vec::new(),
        people: Vec::new(),
        staff: Default::default(),
        checkpoint: None,
        others: Vec::new(),
        deliveries: Vec::new(),
        jobs: Vec::new(),
        fence: None,
        derive_at: at(read_seq),
        at: at(read_seq),
    }
}

/// Commits; what was read is of the commit's own read.
pub(crate) async fn ingest(store: &dyn Store, mut commit: IngestCommit) -> Ingested {
    commit.records.iter_mut().for_each(|record| record.read_seq = commit.read_seq);
    store.commit_ingest(&org(), commit).await.unwrap()
}

pub(crate) fn party(name: &str, candidates: &[(&'static str, &str, &str)], create: bool) -> PartyObserved {
    PartyObserved {
        party: key(name),
        label: Some(name.to_owned()),
        candidates: candidates
            .iter()
            .map(|(rule, kind, value)| LinkCandidate {
                rule,
                key_kind: (*kind).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
        create: create.then(|| NewCompany {
            name: Some(format!("Company of {name}")),
            domain: None,
            source: "stripe".to_owned(),
        }),
        person: false,
        merged: Vec::new(),
    }
}

/// A person as a CRM knows them.
pub(crate) fn person(name: &str, emails: &[&str], traits: &[(&str, &str)]) -> PersonObserved {
    let text = |text: &&str| (*text).to_owned();
    let mut traits: BTreeMap<String, String> =
        traits.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    traits.extend(emails.first().map(|email| ("email".to_owned(), (*email).to_owned())));
    PersonObserved {
        record: key(name),
        source: "crm".to_owned(),
        emails: emails.iter().map(text).collect(),
        traits,
        owner: None,
        merged: Vec::new(),
        create: true,
        deleted: false,
    }
}

/// Commits a customer with its party.
pub(crate) async fn customer(store: &dyn Store, seq: i64, party: PartyObserved) -> Ingested {
    let name = party.party.to_string();
    let mut commit = commit(seq, vec![record(&name, Some(&name), &[], &format!("v{seq}"))]);
    commit.parties = vec![party];
    ingest(store, commit).await
}

pub(crate) fn from(rank: Rank, us: i64) -> WriteSource {
    let source = if rank == Rank::Manual { "manual" } else { "sdk" };
    WriteSource { rank, source: source.to_owned(), at: at(us) }
}

pub(crate) fn traits(value: Value) -> TraitPatch {
    let Value::Object(traits) = value else { panic!("an object") };
    TraitPatch { traits, context: BTreeMap::new() }
}

pub(crate) fn external(id: &str) -> Lookup {
    Lookup::External(id.to_owned())
}

pub(crate) async fn company(store: &dyn Store, id: &str, values: Value, us: i64) -> CompanyId {
    store.put_company(&org(), &external(id), &traits(values), &from(Rank::Server, us)).await.unwrap().id
}

/// Dirty companies with their reasons, cleared.
pub(crate) async fn take_dirty(store: &dyn Store) -> Vec<(String, Vec<String>)> {
    use halo_sync::store::derivations::DerivationCommit;
    let inputs = store.load_dirty_inputs(&org(), None, 10_000).await.unwrap();
    let mut taken = Vec::new();
    let mut commits = Vec::new();
    for input in inputs {
        let dirty = input.dirty.unwrap();
        commits.push(DerivationCommit {
            company_id: dirty.company_id.clone(),
            seq: Some(dirty.seq),
            write: None,
        });
        taken.push((dirty.company_id.0, dirty.reasons));
    }
    store.commit_derivations(&org(), commits, None, at(0)).await.unwrap();
    taken.sort();
    taken
}

pub(crate) fn partition(id: &str) -> (Partition, Option<Cursor>) {
    (Partition { id: id.to_owned(), spec: "{}".to_owned() }, None)
}

pub(crate) fn checkpoint(stream: &str, id: &str, generation: i64, caught_up: bool) -> Checkpoint {
    Checkpoint {
        stream: stream.to_owned(),
        partition: Partition { id: id.to_owned(), spec: "{}".to_owned() },
        cursor: Some(Cursor("{\"after\":1}".to_owned())),
        caught_up,
        generation,
        records: 1,
        total: None,
        updated_at: at(1),
    }
}

/// Claims every due job.
pub(crate) async fn claim(store: &dyn Store) -> Vec<ClaimedJob> {
    let claim = Claim {
        worker: "w".into(),
        limit: 10,
        now: at(1_000_000),
        lease_until: at(9_000_000),
        kinds: vec![],
        ahead: vec![],
        take: Take::Healthy,
    };
    store.claim_jobs(claim).await.unwrap().jobs
}

/// Records claimed jobs as done.
pub(crate) async fn finish(store: &dyn Store, jobs: Vec<ClaimedJob>) {
    let done = |job: ClaimedJob| Finished {
        fence: job.fence,
        outcome: JobOutcome::Done,
        started_at: at(1_000_000),
        finished_at: at(1_000_001),
        next_run_at: None,
    };
    store.record_outcomes(jobs.into_iter().map(done).collect()).await.unwrap();
}
