//! The mirror beside the provider: what differs, and where. Writes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use connector_sdk::{Batch, DynConnector, Priority, Record, RecordKey, Session, Spec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SyncError;
use super::canonical::canonical_hash;
use super::ingest;
use super::links::LinkSettings;
use super::providers::{ConnectionSettings, Providers};
use crate::domain::connections::Connection;
use crate::store::Store;
use crate::store::mirror::{MirrorWrite, StoredRecord};

/// How a record differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// The provider has it, the mirror does not.
    Missing,
    /// The mirror has it, the provider does not.
    Extra,
    /// Both have it, and not the same.
    Different,
}

/// A record that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// `stream/id`.
    pub record: String,
    /// How.
    pub drift: Drift,
    /// JSON pointers of the members that differ, the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pointers: Vec<String>,
}

/// Pointers of one record.
const POINTERS: usize = 20;
/// Records asked for in one read.
const TOGETHER: usize = 100;

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Compared {
    /// Records that are the same.
    pub equal: Vec<RecordKey>,
    /// Records that differ.
    pub different: Vec<(RecordKey, Difference)>,
    /// Records as the provider has them now, translated.
    pub records: Vec<MirrorWrite>,
    /// Records that the provider does not have.
    pub gone: Vec<RecordKey>,
    /// Items that are no records, with the reason.
    pub rejected: Vec<(String, String)>,
    /// Streams that could not be read, with the reason.
    pub skipped: BTreeMap<String, String>,
}

impl Compared {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.equal.extend(other.equal);
        self.different.extend(other.different);
        self.records.extend(other.records);
        self.gone.extend(other.gone);
        self.rejected.extend(other.rejected);
        self.skipped.extend(other.skipped);
    }
}

/// Compares records of one connection.
pub struct Comparer<'a> {
    store: &'a dyn Store,
    connection: &'a Connection,
    connector: Arc<dyn DynConnector>,
    /// What the connector says about itself.
    pub spec: Spec,
    /// The provider.
    pub session: Box<dyn Session>,
    link: LinkSettings,
}

impl<'a> Comparer<'a> {
    /// Opens a session on the connection.
    ///
    /// # Errors
    /// Settings, secrets.
    pub async fn open(
        store: &'a dyn Store,
        providers: &Providers,
        connection: &'a Connection,
        priority: Priority,
    ) -> Result<Self, SyncError> {
        let connector = providers.connector(&connection.connector)?.clone();
        let link = ConnectionSettings::parse(&connection.config)?.link;
        let session = providers.session(connection, priority).await?;
        Ok(Self { store, connection, spec: connector.spec(), connector, session, link })
    }

    /// Reads these records from the provider and compares them with what is stored then: a change that arrives
    /// in between is no difference.
    ///
    /// # Errors
    /// The provider's, and the store's.
    pub async fn keys(&self, keys: &[RecordKey]) -> Result<Compared, SyncError> {
        let mut by_stream: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for key in keys {
            by_stream.entry(&key.stream).or_default().push(key.id.clone());
        }
        let mut out = Compared::default();
        for (stream, mut ids) in by_stream {
            if self.spec.stream(stream).is_none() {
                continue;
            }
            ids.sort_unstable();
            ids.dedup();
            for piece in ids.chunks(TOGETHER) {
                match self.session.read_many(stream, piece).await {
                    Ok(batch) => out.add(self.batch(batch).await?),
                    Err(error) if error.is_of_one_stream() => {
                        out.skipped.insert(stream.to_owned(), error.to_string());
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(out)
    }

    /// Compares what was just read with what is stored.
    ///
    /// # Errors
    /// The store's.
    pub async fn batch(&self, batch: Batch) -> Result<Compared, SyncError> {
        let mut out = self.records(batch.records).await?;
        for rejected in batch.rejected {
            let id = rejected.id.unwrap_or_else(|| "without id".to_owned());
            out.rejected.push((format!("{}/{id}", rejected.stream), rejected.reason));
        }
        let stored = self.stored(&batch.tombstones).await?;
        for key in batch.tombstones {
            if stored.get(&key).is_some_and(|old| old.deleted_at.is_none()) {
                let difference =
                    Difference { record: key.to_string(), drift: Drift::Extra, pointers: Vec::new() };
                out.different.push((key.clone(), difference));
            } else {
                out.equal.push(key.clone());
            }
            out.gone.push(key);
        }
        Ok(out)
    }

    /// Compares records with what is stored.
    ///
    /// # Errors
    /// The store's.
    pub async fn records(&self, mut records: Vec<Record>) -> Result<Compared, SyncError> {
        let (org, connection) = (&self.connection.org_id, &self.connection.id);
        ingest::complete(self.store, org, connection, &*self.connector, &mut records).await?;
        let prepared = ingest::prepare(&*self.connector, &self.spec, &self.link, 0, records);
        let mut out = Compared::default();
        for rejected in prepared.rejected {
            let id = rejected.id.unwrap_or_default();
            out.rejected.push((format!("{}/{id}", rejected.stream), rejected.reason));
        }
        let keys: Vec<RecordKey> = prepared.records.iter().map(|r| r.key.clone()).collect();
        let stored = self.stored(&keys).await?;
        let erased = self.erased(&prepared.records).await?;
        for record in prepared.records {
            let difference = match stored.get(&record.key).filter(|old| old.deleted_at.is_none()) {
                // It went with a deleted company or user, and is meant to be missing.
                None if names(&record).any(|key| erased.contains(key)) => None,
                None => Some((Drift::Missing, Vec::new())),
                Some(old) if canonical_hash(&old.payload).is_ok_and(|hash| hash == record.hash) => None,
                Some(old) => Some((Drift::Different, pointers(&old.payload, &record.payload))),
            };
            match difference {
                None => out.equal.push(record.key.clone()),
                Some((drift, pointers)) => {
                    let difference = Difference { record: record.key.to_string(), drift, pointers };
                    out.different.push((record.key.clone(), difference));
                }
            }
            out.records.push(record);
        }
        Ok(out)
    }

    /// Which of the keys that records bear or refer to went with a deleted company or user.
    async fn erased(&self, records: &[MirrorWrite]) -> Result<HashSet<RecordKey>, SyncError> {
        let keys: Vec<RecordKey> = records.iter().flat_map(names).cloned().collect();
        let erased = self.store.list_erased(&self.connection.org_id, &self.connection.id, &keys).await?;
        Ok(erased.into_iter().collect())
    }

    async fn stored(&self, keys: &[RecordKey]) -> Result<HashMap<RecordKey, StoredRecord>, SyncError> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.store.load_records(&self.connection.org_id, &self.connection.id, keys).await?;
        Ok(rows.into_iter().map(|row| (row.key.clone(), row)).collect())
    }
}

/// A record's own key, its party's, and those that it refers to.
fn names(record: &MirrorWrite) -> impl Iterator<Item = &RecordKey> {
    std::iter::once(&record.key).chain(&record.party).chain(&record.refs)
}

/// Where two JSON texts differ: pointers (RFC 6901) of the deepest members, the first [`POINTERS`] of them.
fn pointers(old: &str, new: &str) -> Vec<String> {
    let (Ok(old), Ok(new)) = (serde_json::from_str::<Value>(old), serde_json::from_str::<Value>(new)) else {
        return vec![String::new()];
    };
    let mut found = Vec::new();
    walk(&old, &new, &mut String::new(), &mut found);
    found
}

fn walk(old: &Value, new: &Value, path: &mut String, found: &mut Vec<String>) {
    if found.len() >= POINTERS || old == new {
        return;
    }
    let length = path.len();
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let _ = write!(path, "/{}", name.replace('~', "~0").replace('/', "~1"));
                member(a.get(name), b.get(name), path, found);
                path.truncate(length);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for n in 0..a.len().max(b.len()) {
                let _ = write!(path, "/{n}");
                member(a.get(n), b.get(n), path, found);
                path.truncate(length);
            }
        }
        _ => found.push(path.clone()),
    }
}

fn member(old: Option<&Value>, new: Option<&Value>, path: &mut String, found: &mut Vec<String>) {
    match (old, new) {
        (Some(old), Some(new)) => walk(old, new, path, found),
        _ if found.len() < POINTERS => found.push(path.clone()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_name_the_deepest_members_that_differ() {
        let old = r#"{"a": 1, "items": {"data": [{"q": 1}, {"q": 2}]}, "x/y": {"~": 1}, "same": [1, 2]}"#;
        let new =
            r#"{"same": [1, 2], "items": {"data": [{"q": 1}, {"q": 3}, {}]}, "x/y": {"~": 2}, "b": null}"#;
        assert_eq!(pointers(old, new), ["/a", "/b", "/items/data/1/q", "/items/data/2", "/x~1y/~0"]);
        assert!(pointers(old, old).is_empty());
        let many = format!("[{}1]", "0,".repeat(100));
        assert_eq!(pointers("[]", &many).len(), POINTERS);
        assert_eq!(pointers("1", "2"), [""]);
    }
}
