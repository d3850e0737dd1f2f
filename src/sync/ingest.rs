//! Records prepared for the mirror. A page and a webhook's touch join here: whatever was read, by whatever
//! way, becomes rows by the same function.

use std::collections::{HashMap, HashSet};

use connector_sdk::{DynConnector, Record, RecordKey, Rejected, Spec, Timestamp};

use super::canonical::canonical_hash;
use super::links::{self, LinkSettings};
use super::people;
use crate::domain::{ConnectionId, OrgId};
use crate::store::identity::PartyObserved;
use crate::store::mirror::{IngestCommit, MirrorWrite, StoredRecord};
use crate::store::people::PersonObserved;
use crate::store::{self, Store};

/// A page's records, ready for one commit.
#[derive(Debug, Default)]
pub struct Prepared {
    /// Rows.
    pub records: Vec<MirrorWrite>,
    /// Parties among them.
    pub parties: Vec<PartyObserved>,
    /// People among them.
    pub people: Vec<PersonObserved>,
    /// Those that say what somebody of our side is called.
    pub staff: HashSet<RecordKey>,
    /// Quarantine.
    pub rejected: Vec<Rejected>,
}

impl Prepared {
    /// One commit of these rows. `rejected` is what the provider's page could not give as records.
    pub fn into_commit(
        self,
        connection_id: ConnectionId,
        read_seq: i64,
        rejected: Vec<Rejected>,
        now: Timestamp,
    ) -> IngestCommit {
        IngestCommit {
            connection_id,
            run_id: None,
            read_seq,
            pages: i64::from(!self.records.is_empty()),
            generation: None,
            records: self.records,
            tombstones: Vec::new(),
            rejected: rejected.into_iter().chain(self.rejected).collect(),
            parties: self.parties,
            people: self.people,
            staff: self.staff,
            checkpoint: None,
            others: Vec::new(),
            deliveries: Vec::new(),
            jobs: Vec::new(),
            fence: None,
            derive_at: now,
            at: now,
        }
    }
}

/// Gives partial records what they lack, as far as what is stored of them still says it. It costs nothing where none is
/// partial.
///
/// # Errors
/// The store's.
pub async fn complete(
    store: &dyn Store,
    org: &OrgId,
    connection: &ConnectionId,
    connector: &dyn DynConnector,
    records: &mut [Record],
) -> store::Result<()> {
    let partial: Vec<RecordKey> = records
        .iter()
        .filter(|record| connector.is_partial(record))
        .map(|record| record.key.clone())
        .collect();
    if partial.is_empty() {
        return Ok(());
    }
    let stored = store.load_records(org, connection, &partial).await?;
    let stored: HashMap<RecordKey, StoredRecord> =
        stored.into_iter().map(|record| (record.key.clone(), record)).collect();
    for record in records.iter_mut().filter(|record| connector.is_partial(record)) {
        let Some(old) = stored.get(&record.key).filter(|old| old.deleted_at.is_none()) else { continue };
        if let Some(completed) = connector.completed(record, &old.payload) {
            *record = completed;
        }
    }
    Ok(())
}

/// Translates records. One that does not translate is quarantined with the reason; the others go on.
pub fn prepare(
    connector: &dyn DynConnector,
    spec: &Spec,
    link: &LinkSettings,
    read_seq: i64,
    records: Vec<Record>,
) -> Prepared {
    let mut out = Prepared { records: Vec::with_capacity(records.len()), ..Prepared::default() };
    for record in records {
        match translate(connector, spec, link, read_seq, &record) {
            Ok(translated) => {
                if translated.staff {
                    out.staff.insert(record.key);
                }
                out.records.push(translated.row);
                out.parties.extend(translated.party);
                out.people.extend(translated.person);
            }
            Err(reason) => out.rejected.push(Rejected {
                stream: record.key.stream,
                id: Some(record.key.id),
                reason,
                payload: record.payload.get().to_owned(),
            }),
        }
    }
    out
}

/// A record's row, and who it is about.
struct Translated {
    row: MirrorWrite,
    party: Option<PartyObserved>,
    person: Option<PersonObserved>,
    /// Whether it says what somebody of our side is called.
    staff: bool,
}

fn translate(
    connector: &dyn DynConnector,
    spec: &Spec,
    link: &LinkSettings,
    read_seq: i64,
    record: &Record,
) -> Result<Translated, String> {
    let extract = connector.facts(record).map_err(|e| e.to_string())?;
    let hash = canonical_hash(record.payload.get()).map_err(|e| format!("not readable as JSON: {e}"))?;
    let facts = serde_json::to_string(&extract.facts).map_err(|e| format!("facts not writable: {e}"))?;
    let is_party = spec.stream(&record.key.stream).is_some_and(|stream| stream.party);
    let of = extract.party.as_ref();
    let party = links::observe(spec.id, link, &record.key, of, is_party, &extract.facts);
    let person = people::observe(spec.id, link, &record.key, is_party, &extract);
    let staff = people::is_staff(&extract);
    let row = MirrorWrite {
        key: record.key.clone(),
        read_seq,
        payload: record.payload.get().to_owned(),
        hash,
        facts,
        facts_version: i64::from(spec.facts_version),
        refs: sorted(extract.refs),
        party: extract.party,
    };
    Ok(Translated { row, party, person, staff })
}

fn sorted(mut refs: Vec<RecordKey>) -> Vec<RecordKey> {
    refs.sort_unstable();
    refs.dedup();
    refs
}
