//! The one way into the mirror: a page or a batch of re-read records, committed whole.
//!
//! Reads are ordered by `read_seq`, which was taken before the request went out. A row is replaced only by a
//! larger one and a different hash. A read that found a row unchanged writes no row: it leaves a note of the
//! keys that it saw, which a slower, older read is judged by, and which proves to a full pass what exists.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use connector_sdk::{RecordKey, Rejected, Timestamp};
use sha2::{Digest, Sha256};
use sqlx::FromRow;

use super::changes::{self, Change};
use super::dirty::{self, Marks};
use super::erase::Bar;
use super::members::mark_settled;
use super::{Conn, adopt, blank, bulk, erase, jobs, links, passes, people, runs};
use crate::domain::runs::Counts;
use crate::domain::{ConnectionId, OrgId};
use crate::store::convert::{clean, from_json, json_list, key_text, to_json, us};
use crate::store::mirror::{DeliveryDone, IngestCommit, Ingested, MirrorWrite};
use crate::store::{Result, StoreError};

statements! {
    CONNECTION = concat!("SELECT id FROM connections WHERE org_id = $1 AND id = $2", for_key_share!());
    EXISTING = concat!("SELECT record_key, stream, party_key, hash, read_seq, deleted_at, facts_version, refs
        FROM mirror_records WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"));
    LOCK_EXISTING = concat!("SELECT record_key, read_seq FROM mirror_records
        WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"), " ORDER BY record_key", for_update!());
    LATER_NOTES = concat!("SELECT read_seq, record_keys FROM seen_notes
        WHERE org_id = $1 AND connection_id = $2 AND read_seq > $3 AND stream", in_list!("$4"));
    NOTE = "INSERT INTO seen_notes (org_id, connection_id, stream, generation, read_seq, record_keys, noted_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (connection_id, stream, generation, read_seq) DO UPDATE SET record_keys = excluded.record_keys";
    DROP_OLD_NOTES = "DELETE FROM seen_notes
        WHERE org_id = $1 AND connection_id = $2 AND generation = 0 AND noted_at < $3";
    BURY = concat!("UPDATE mirror_records SET deleted_at = $4, changed_at = $4, read_seq = $5
        WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"));
    ACCEPTED = concat!("DELETE FROM rejected_records
        WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"));
    FINISH_DELIVERIES = concat!("UPDATE deliveries SET state = done.state, error = done.error,
            touched = done.touched, party_key = done.party, finished_at = $3
        FROM (SELECT value ->> 'id' AS id, value ->> 'state' AS state, value ->> 'error' AS error,
                value ->> 'touched' AS touched, value ->> 'party' AS party
            FROM ", json_rows!("$4"), fence!(), ") done
        WHERE deliveries.id = done.id AND deliveries.org_id = $1 AND deliveries.connection_id = $2
            AND deliveries.state = 'pending'");
    DELETE_ERASED = concat!("DELETE FROM deliveries WHERE org_id = $1 AND id", in_list!("$2"));
}

/// No read is slower than this: older notes outside a full pass prove nothing that matters.
const SLOWEST_READ_US: i64 = 3_600_000_000;

#[derive(FromRow)]
struct Existing {
    record_key: String,
    stream: String,
    party_key: Option<String>,
    hash: String,
    read_seq: i64,
    deleted_at: Option<i64>,
    facts_version: i64,
    refs: String,
}

impl Existing {
    /// Its references in reverse, as they are stored now.
    fn reverse_refs(&self) -> Result<BTreeSet<(String, String)>> {
        if self.deleted_at.is_some() {
            return Ok(BTreeSet::new());
        }
        let refs: Vec<String> = from_json("mirror_records", "refs", &self.record_key, &self.refs)?;
        Ok(changes::reverse_refs(&self.record_key, self.party_key.as_deref(), &refs))
    }
}

/// A record on its way in, with its stored texts.
struct Incoming<'a> {
    write: &'a MirrorWrite,
    key: String,
    party: Option<String>,
    refs: Vec<String>,
}

impl<'a> Incoming<'a> {
    fn of(write: &'a MirrorWrite) -> Self {
        let refs: BTreeSet<String> = write.refs.iter().map(|to| clean(&key_text(to))).collect();
        Self {
            key: clean(&key_text(&write.key)),
            party: write.party.as_ref().map(|party| clean(&key_text(party))),
            refs: refs.into_iter().collect(),
            write,
        }
    }

    /// Its own key, its party's, and those that it refers to.
    fn keys(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.key).chain(&self.party).chain(&self.refs).map(String::as_str)
    }

    /// Under what a sighting of it is noted.
    fn seen(&self) -> (&'a str, i64) {
        (&self.write.key.stream, self.write.read_seq)
    }

    fn change(&self, old: Option<&Existing>) -> Result<Change> {
        let parties = self.party.iter().cloned().chain(old.and_then(|old| old.party_key.clone())).collect();
        Ok(Change {
            key: self.key.clone(),
            stream: self.write.key.stream.clone(),
            parties,
            old_refs: old.map_or(Ok(BTreeSet::new()), Existing::reverse_refs)?,
            new_refs: changes::reverse_refs(&self.key, self.party.as_deref(), &self.refs),
        })
    }
}

/// Sightings: keys by stream and read.
type Seen<'a> = BTreeMap<(&'a str, i64), Vec<&'a str>>;

pub(crate) async fn commit_ingest(c: &mut Conn, org: &OrgId, commit: &IngestCommit) -> Result<Ingested> {
    if let Some(fence) = &commit.fence {
        jobs::fence_in(c, fence).await?;
    }
    let connection = commit.connection_id.as_str();
    lock_connection(c, org, &commit.connection_id).await?;

    // Of several readings of one record in one answer, the last counts.
    let mut by_key: HashMap<String, usize> = HashMap::new();
    let mut incoming: Vec<Incoming<'_>> = Vec::with_capacity(commit.records.len());
    for write in &commit.records {
        let item = Incoming::of(write);
        match by_key.get(&item.key) {
            Some(&place) => incoming[place] = item,
            None => {
                by_key.insert(item.key.clone(), incoming.len());
                incoming.push(item);
            }
        }
    }
    find_parties(c, org, connection, &mut incoming).await?;
    let erased = erased_in(c, org, commit, &incoming).await?;
    if !erased.is_empty() {
        let (passed, kept): (Vec<_>, Vec<_>) = incoming.into_iter().partition(|item| erased.bars(item));
        incoming = kept;
        if !passed.is_empty() {
            tracing::info!(%org, connection, records = passed.len(), "passed over records of what was deleted");
            // What refers to one of them later is passed over as well.
            let keys = passed
                .into_iter()
                .filter(|item| !erased.alone.contains(&item.key))
                .map(|item| item.key)
                .collect();
            erase::remember(c, org, connection, &keys, Bar::WithReferrers, commit.at).await?;
        }
    }
    let tombstones: BTreeSet<String> = commit
        .tombstones
        .iter()
        .map(|key| clean(&key_text(key)))
        .filter(|key| !by_key.contains_key(key) && !erased.contains(key))
        .collect();
    let existing =
        load_existing(c, org, connection, incoming.iter().map(|item| &item.key).chain(&tombstones)).await?;

    let mut counts = Counts { pages: commit.pages, ..Counts::default() };
    counts.read = count(incoming.len());
    let mut fresh: Vec<&Incoming<'_>> = Vec::new();
    let mut changed: Vec<&Incoming<'_>> = Vec::new();
    let mut unchanged = Seen::new();
    let mut stale: HashSet<&str> = HashSet::new();
    for item in &incoming {
        match existing.get(&item.key) {
            None => fresh.push(item),
            Some(row) if row.read_seq >= item.write.read_seq => {
                stale.insert(&item.key);
            }
            Some(row)
                if row.deleted_at.is_none()
                    && row.hash == item.write.hash
                    && (item.party.is_none() || item.party == row.party_key)
                    && row.facts_version >= item.write.facts_version =>
            {
                counts.unchanged += 1;
                unchanged.entry(item.seen()).or_default().push(&item.key);
            }
            Some(_) => changed.push(item),
        }
    }
    let mut gone: Vec<&Existing> = tombstones
        .iter()
        .filter_map(|key| existing.get(key))
        .filter(|row| row.deleted_at.is_none() && row.read_seq < commit.read_seq)
        .collect();

    // A later read may have found the row as it is: then this one is the older, although the row is older still.
    if !changed.is_empty() || !gone.is_empty() {
        let streams: BTreeSet<&str> = changed
            .iter()
            .map(|item| item.write.key.stream.as_str())
            .chain(gone.iter().map(|row| row.stream.as_str()))
            .collect();
        let first = changed.iter().map(|item| item.write.read_seq).min().unwrap_or(commit.read_seq);
        let later = later_notes(c, org, connection, first.min(commit.read_seq), streams).await?;
        let is_later = |key: &String, read_seq| later.get(key).is_some_and(|noted| *noted > read_seq);
        changed.retain(|item| {
            let keep = !is_later(&item.key, item.write.read_seq);
            if !keep {
                stale.insert(&item.key);
            }
            keep
        });
        gone.retain(|row| !is_later(&row.record_key, commit.read_seq));
    }
    counts.stale = count(stale.len());
    counts.created = count(fresh.len());
    counts.updated = count(changed.len());
    counts.deleted = count(gone.len());

    lock_rows(c, org, connection, &existing, &changed, &gone).await?;
    let mut marks = Marks::new();
    let parties: Vec<_> = commit
        .parties
        .iter()
        .filter(|party| {
            let key = clean(&key_text(&party.party));
            !stale.contains(key.as_str()) && !erased.contains(&key)
        })
        .collect();
    let settled = links::observe(c, org, connection, &parties, commit.at).await?;
    mark_settled(&mut marks, &settled);

    insert_records(c, org, commit, &fresh).await?;
    replace_records(c, org, commit, &changed).await?;
    bury(c, org, connection, &gone, commit.read_seq, commit.at).await?;
    bury_unknown(c, org, commit, tombstones.iter().filter(|key| !existing.contains_key(*key))).await?;

    let mut all = Vec::with_capacity(fresh.len() + changed.len() + gone.len());
    for item in fresh.iter().chain(&changed) {
        all.push(item.change(existing.get(&item.key))?);
    }
    for row in &gone {
        all.push(burial(row)?);
    }
    let owned = fresh.iter().chain(&changed).filter_map(|item| {
        let before = existing.get(&item.key).and_then(|row| row.party_key.as_ref());
        item.party.as_ref().filter(|party| before != Some(party)).map(|party| (&item.key, party))
    });
    all.extend(adopt::adopt(c, org, connection, &owned.collect()).await?);
    changes::follow(c, org, connection, &all, &mut marks).await?;
    let is_news = |key: &RecordKey| {
        let key = clean(&key_text(key));
        !stale.contains(key.as_str()) && !erased.contains(&key)
    };
    let persons: Vec<_> = commit.people.iter().filter(|person| is_news(&person.record)).collect();
    let buried = gone.iter().map(|row| row.record_key.clone()).collect();
    mark_settled(&mut marks, &people::observe(c, org, connection, &persons, &buried, commit.at).await?);
    let owners = fresh.iter().chain(&changed).filter(|item| commit.staff.contains(&item.write.key));
    let owners = owners.map(|item| item.key.clone()).collect();
    mark_settled(&mut marks, &people::name_owners(c, org, connection, &owners, commit.at).await?);

    note_seen(c, org, commit, &unchanged, &incoming, &stale).await?;
    counts.rejected = reject(c, org, commit, &erased).await?;
    if !incoming.is_empty() {
        sqlx::query(ACCEPTED)
            .bind(&org.0)
            .bind(connection)
            .bind(json_list(incoming.iter().map(|item| &item.key)))
            .execute(&mut *c)
            .await?;
    }
    for checkpoint in commit.checkpoint.iter().chain(&commit.others) {
        passes::put_checkpoint(c, org, &commit.connection_id, checkpoint).await?;
    }
    finish_deliveries(c, org, commit, &erased).await?;
    if let Some(run) = &commit.run_id {
        let stream = commit
            .checkpoint
            .as_ref()
            .map(|checkpoint| checkpoint.stream.as_str())
            .or_else(|| commit.records.first().map(|record| record.key.stream.as_str()))
            .or_else(|| commit.tombstones.first().map(|key| key.stream.as_str()));
        if let Some(stream) = stream {
            runs::count(c, org, run, stream, &counts).await?;
        }
    }
    let dirty = dirty::mark_for(c, org, &marks, commit.at, commit.derive_at).await?;
    jobs::push_in(c, &commit.jobs, commit.at).await?;
    let changed = fresh
        .iter()
        .chain(&changed)
        .map(|item| item.write.key.clone())
        .chain(gone.iter().map(|row| crate::store::convert::key_of(&row.record_key)))
        .collect();
    Ok(Ingested { counts, dirty, changed })
}

/// What of a commit was erased.
#[derive(Default)]
struct Erased {
    /// With a company or user, and whatever refers to it.
    whole: BTreeSet<String>,
    /// As records alone.
    alone: BTreeSet<String>,
}

impl Erased {
    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.alone.is_empty()
    }

    fn contains(&self, key: &str) -> bool {
        self.whole.contains(key) || self.alone.contains(key)
    }

    fn bars(&self, item: &Incoming<'_>) -> bool {
        self.alone.contains(&item.key) || item.keys().any(|key| self.whole.contains(key))
    }
}

/// Which keys of a commit were erased.
async fn erased_in(
    c: &mut Conn,
    org: &OrgId,
    commit: &IngestCommit,
    incoming: &[Incoming<'_>],
) -> Result<Erased> {
    let connection = commit.connection_id.as_str();
    if !erase::has_erased(c, org, connection).await? {
        return Ok(Erased::default());
    }
    let parties = commit.parties.iter().map(|party| clean(&key_text(&party.party)));
    let rejected = commit.rejected.iter().map(|item| format!("{}/{}", item.stream, rejected_id(item)));
    let touched = commit.deliveries.iter().flat_map(|done| done.touched.iter().chain(&done.named));
    let touched = touched.chain(&commit.tombstones);
    let touched = touched.map(|key| clean(&key_text(key)));
    let named: Vec<String> = parties.chain(rejected).chain(touched).collect();
    let named = named.iter().map(String::as_str);
    let whole = incoming.iter().flat_map(Incoming::keys).chain(named.clone()).collect();
    let alone = incoming.iter().map(|item| item.key.as_str()).chain(named).collect();
    Ok(Erased {
        whole: erase::erased_of(c, org, connection, &whole, Bar::WithReferrers).await?,
        alone: erase::erased_of(c, org, connection, &alone, Bar::Alone).await?,
    })
}

/// Records that name no party belong to the party of what they refer to.
async fn find_parties(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    incoming: &mut [Incoming<'_>],
) -> Result<()> {
    let wanted: BTreeSet<&String> =
        incoming.iter().filter(|item| item.party.is_none()).flat_map(|item| &item.refs).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut parties = adopt::parties(c, org, connection, &wanted).await?;
    parties.extend(incoming.iter().filter_map(|item| Some((item.key.clone(), item.party.clone()?))));
    for item in incoming.iter_mut().filter(|item| item.party.is_none()) {
        item.party = item.refs.iter().find_map(|to| parties.get(to).cloned());
    }
    Ok(())
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Fails for a connection that was deleted, and keeps it from being deleted before the commit.
pub(crate) async fn lock_connection(c: &mut Conn, org: &OrgId, id: &ConnectionId) -> Result<()> {
    let found: Option<String> =
        sqlx::query_scalar(CONNECTION).bind(&org.0).bind(&id.0).fetch_optional(c).await?;
    found.map(|_| ()).ok_or_else(|| StoreError::Invalid(format!("there is no connection {id}")))
}

async fn load_existing<'k>(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    keys: impl Iterator<Item = &'k String>,
) -> Result<HashMap<String, Existing>> {
    let rows: Vec<Existing> =
        sqlx::query_as(EXISTING).bind(&org.0).bind(connection).bind(json_list(keys)).fetch_all(c).await?;
    Ok(rows.into_iter().map(|row| (row.record_key.clone(), row)).collect())
}

/// When each record was last seen unchanged, by reads after this one.
async fn later_notes(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    read_seq: i64,
    streams: BTreeSet<&str>,
) -> Result<HashMap<String, i64>> {
    let notes: Vec<(i64, String)> = sqlx::query_as(LATER_NOTES)
        .bind(&org.0)
        .bind(connection)
        .bind(read_seq)
        .bind(json_list(streams))
        .fetch_all(&mut *c)
        .await?;
    let mut last: HashMap<String, i64> = HashMap::new();
    for (seq, note) in notes {
        for key in from_json::<Vec<String>>("seen_notes", "record_keys", connection, &note)? {
            let noted = last.entry(key).or_insert(seq);
            *noted = seq.max(*noted);
        }
    }
    Ok(last)
}

/// With several writers, rows that are about to change are locked, and must still be as they were judged.
async fn lock_rows(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    existing: &HashMap<String, Existing>,
    changed: &[&Incoming<'_>],
    gone: &[&Existing],
) -> Result<()> {
    if !super::MANY_WRITERS || (changed.is_empty() && gone.is_empty()) {
        return Ok(());
    }
    let keys = changed.iter().map(|item| &item.key).chain(gone.iter().map(|row| &row.record_key));
    let rows: Vec<(String, i64)> = sqlx::query_as(LOCK_EXISTING)
        .bind(&org.0)
        .bind(connection)
        .bind(json_list(keys))
        .fetch_all(c)
        .await?;
    let same = rows.len() == changed.len() + gone.len()
        && rows.iter().all(|(key, seq)| existing.get(key).is_some_and(|row| row.read_seq == *seq));
    if same { Ok(()) } else { Err(overtaken()) }
}

fn overtaken() -> StoreError {
    StoreError::Contended {
        attempts: 1,
        reason: "another read of the same records committed first".to_owned(),
    }
}

const COLUMNS: &str = "INSERT INTO mirror_records (org_id, connection_id, record_key, stream, party_key, hash, read_seq, \
     changed_at, deleted_at, facts_version, refs, facts, payload)";

async fn write_records(
    c: &mut Conn,
    org: &OrgId,
    commit: &IngestCommit,
    items: &[&Incoming<'_>],
    on_conflict: &str,
) -> Result<u64> {
    let mut rows = Vec::with_capacity(items.len());
    for item in items {
        rows.push((*item, to_json(&item.refs)?));
    }
    let at = us(commit.at);
    bulk::insert(c, COLUMNS, &rows, on_conflict, |row, (item, refs)| {
        row.push_bind(&org.0)
            .push_bind(&commit.connection_id.0)
            .push_bind(&item.key)
            .push_bind(&item.write.key.stream)
            .push_bind(&item.party)
            .push_bind(&item.write.hash)
            .push_bind(item.write.read_seq)
            .push_bind(at)
            .push_bind(None::<i64>)
            .push_bind(item.write.facts_version)
            .push_bind(refs)
            .push_bind(&item.write.facts)
            .push_bind(&item.write.payload);
    })
    .await
}

async fn insert_records(
    c: &mut Conn,
    org: &OrgId,
    commit: &IngestCommit,
    items: &[&Incoming<'_>],
) -> Result<()> {
    let made =
        write_records(c, org, commit, items, "ON CONFLICT (connection_id, record_key) DO NOTHING").await?;
    if usize::try_from(made).is_ok_and(|made| made == items.len()) { Ok(()) } else { Err(overtaken()) }
}

async fn replace_records(
    c: &mut Conn,
    org: &OrgId,
    commit: &IngestCommit,
    items: &[&Incoming<'_>],
) -> Result<()> {
    write_records(
        c,
        org,
        commit,
        items,
        "ON CONFLICT (connection_id, record_key) DO UPDATE SET party_key = excluded.party_key, \
         hash = excluded.hash, read_seq = excluded.read_seq, changed_at = excluded.changed_at, \
         deleted_at = NULL, facts_version = excluded.facts_version, refs = excluded.refs, \
         facts = excluded.facts, payload = excluded.payload",
    )
    .await?;
    Ok(())
}

async fn bury(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    gone: &[&Existing],
    read_seq: i64,
    at: Timestamp,
) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    sqlx::query(BURY)
        .bind(&org.0)
        .bind(connection)
        .bind(json_list(gone.iter().map(|row| &row.record_key)))
        .bind(us(at))
        .bind(read_seq)
        .execute(&mut *c)
        .await?;
    blank::blank_people(c, org, connection, gone.iter().map(|row| &row.record_key)).await
}

fn burial(row: &Existing) -> Result<Change> {
    Ok(Change {
        key: row.record_key.clone(),
        stream: row.stream.clone(),
        parties: row.party_key.iter().cloned().collect(),
        old_refs: row.reverse_refs()?,
        new_refs: BTreeSet::new(),
    })
}

/// A record that is known only to be gone: kept, so that a slower, older read does not bring it back.
async fn bury_unknown<'k>(
    c: &mut Conn,
    org: &OrgId,
    commit: &IngestCommit,
    keys: impl Iterator<Item = &'k String>,
) -> Result<()> {
    let rows: Vec<(&String, RecordKey)> = keys.map(|key| (key, crate::store::convert::key_of(key))).collect();
    let at = us(commit.at);
    bulk::insert(
        c,
        COLUMNS,
        &rows,
        "ON CONFLICT (connection_id, record_key) DO NOTHING",
        |row, (text, key)| {
            row.push_bind(&org.0)
                .push_bind(&commit.connection_id.0)
                .push_bind(*text)
                .push_bind(&key.stream)
                .push_bind(None::<String>)
                .push_bind("")
                .push_bind(commit.read_seq)
                .push_bind(at)
                .push_bind(Some(at))
                .push_bind(0i64)
                .push_bind("[]")
                .push_bind("[]")
                .push_bind("{}");
        },
    )
    .await?;
    Ok(())
}

async fn note_seen(
    c: &mut Conn,
    org: &OrgId,
    commit: &IngestCommit,
    unchanged: &Seen<'_>,
    incoming: &[Incoming<'_>],
    stale: &HashSet<&str>,
) -> Result<()> {
    let rejected: Vec<(&str, String)> = commit
        .rejected
        .iter()
        .filter(|item| item.id.is_some())
        .map(|item| (item.stream.as_str(), format!("{}/{}", item.stream, rejected_id(item))))
        .collect();
    let mut notes = unchanged.clone();
    if commit.generation.is_some() {
        // What is set aside is there, whatever is wrong with it: what was known of it stays.
        for (stream, key) in &rejected {
            notes.entry((*stream, commit.read_seq)).or_default().push(key);
        }
        // For the sweep a stale reading is a sighting, too.
        for item in incoming.iter().filter(|item| stale.contains(item.key.as_str())) {
            notes.entry(item.seen()).or_default().push(&item.key);
        }
    }
    for ((stream, read_seq), keys) in &notes {
        sqlx::query(NOTE)
            .bind(&org.0)
            .bind(&commit.connection_id.0)
            .bind(*stream)
            .bind(commit.generation.unwrap_or(0))
            .bind(read_seq)
            .bind(to_json(keys)?)
            .bind(us(commit.at))
            .execute(&mut *c)
            .await?;
    }
    if commit.generation.is_none() && !notes.is_empty() {
        sqlx::query(DROP_OLD_NOTES)
            .bind(&org.0)
            .bind(&commit.connection_id.0)
            .bind(us(commit.at).saturating_sub(SLOWEST_READ_US))
            .execute(c)
            .await?;
    }
    Ok(())
}

async fn reject(c: &mut Conn, org: &OrgId, commit: &IngestCommit, erased: &Erased) -> Result<i64> {
    let mut rows: BTreeMap<String, (&Rejected, String)> = BTreeMap::new();
    for item in &commit.rejected {
        let id = rejected_id(item);
        let key = format!("{}/{id}", item.stream);
        if !erased.contains(&key) {
            rows.insert(key, (item, id));
        }
    }
    let list: Vec<_> = rows.iter().collect();
    let at = us(commit.at);
    bulk::insert(
        c,
        "INSERT INTO rejected_records (org_id, connection_id, record_key, stream, external_id, reason, payload, \
         first_seen_at, last_seen_at)",
        &list,
        "ON CONFLICT (connection_id, record_key) DO UPDATE SET reason = excluded.reason, \
         payload = excluded.payload, last_seen_at = excluded.last_seen_at",
        |row, (key, (item, id))| {
            row.push_bind(&org.0)
                .push_bind(&commit.connection_id.0)
                .push_bind(*key)
                .push_bind(&item.stream)
                .push_bind(id)
                .push_bind(clean(&item.reason))
                .push_bind(clean(&item.payload))
                .push_bind(at)
                .push_bind(at);
        },
    )
    .await?;
    Ok(count(list.len()))
}

/// The provider's id of a rejected record, or what stands for it.
fn rejected_id(item: &Rejected) -> String {
    match &item.id {
        Some(id) => clean(id),
        None => format!("sha256:{}", hex(&Sha256::digest(item.payload.as_bytes()))),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

async fn finish_deliveries(c: &mut Conn, org: &OrgId, commit: &IngestCommit, erased: &Erased) -> Result<()> {
    // What names somebody who was erased is not kept, whenever it came.
    let names_erased = |done: &&DeliveryDone| {
        done.touched.iter().chain(&done.named).any(|key| erased.contains(&clean(&key_text(key))))
    };
    let (gone, kept): (Vec<_>, Vec<_>) = commit.deliveries.iter().partition(names_erased);
    if !gone.is_empty() {
        sqlx::query(DELETE_ERASED)
            .bind(&org.0)
            .bind(json_list(gone.iter().map(|done| done.id.as_str())))
            .execute(&mut *c)
            .await?;
    }
    if kept.is_empty() {
        return Ok(());
    }
    let mut rows = Vec::with_capacity(kept.len());
    for done in kept {
        rows.push(serde_json::json!({
            "id": done.id.as_str(),
            "state": done.state,
            "error": done.error.as_deref().map(clean),
            "touched": json_list(done.touched.iter().map(key_text)),
            "party": done.party.as_ref().map(|party| clean(&key_text(party))),
        }));
    }
    sqlx::query(FINISH_DELIVERIES)
        .bind(&org.0)
        .bind(&commit.connection_id.0)
        .bind(us(commit.at))
        .bind(to_json(&rows)?)
        .execute(&mut *c)
        .await?;
    Ok(())
}
