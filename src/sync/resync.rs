//! Everything of one company as its providers have it now, beside what is stored. Writes nothing.

use std::collections::{BTreeMap, HashSet};

use connector_sdk::{ConnectorError, Priority, RecordKey};

use super::SyncError;
use super::compare::{Compared, Comparer};
use super::providers::Providers;
use crate::domain::connections::Connection;
use crate::domain::{ConnectionId, OrgId};
use crate::store::Store;

/// How far the references of a company's records are followed: as far as derivation reads them.
const DEPTH: usize = 3;

/// What one connection has of a company.
#[derive(Debug)]
pub struct Reading {
    /// The connection.
    pub connection: Connection,
    /// The company's parties there.
    pub parties: Vec<RecordKey>,
    /// The comparison.
    pub compared: Compared,
}

/// Reads what the parties' provider has of them: their own records, all that belong to them, those that are stored as
/// theirs, and what all of these refer to.
///
/// # Errors
/// The provider's, and the store's.
pub async fn read_parties(
    store: &dyn Store,
    providers: &Providers,
    connection: Connection,
    parties: Vec<RecordKey>,
) -> Result<Reading, SyncError> {
    let comparer = Comparer::open(store, providers, &connection, Priority::Webhook).await?;
    let mut compared = Compared::default();
    // Something else that was linked (a deal, for the documents that name it) is read by its key, as the rest is.
    let is_party = |key: &&RecordKey| comparer.spec.stream(&key.stream).is_some_and(|stream| stream.party);
    for party in parties.iter().filter(is_party) {
        match comparer.session.read_party(party).await {
            Ok(batch) => compared.add(comparer.batch(batch).await?),
            // What is stored is read by its keys all the same.
            Err(ConnectorError::NotOffered(reason)) => {
                compared.skipped.insert("parties".to_owned(), reason);
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mut seen: HashSet<RecordKey> = known(&compared);
    let mut wanted: Vec<RecordKey> =
        store.list_party_record_keys(&connection.org_id, &connection.id, &parties).await?;
    wanted.extend(parties.iter().cloned());
    for depth in 0..=DEPTH {
        wanted.retain(|key| seen.insert(key.clone()));
        if !wanted.is_empty() {
            compared.add(comparer.keys(&wanted).await?);
        }
        if depth == DEPTH {
            break;
        }
        // Another party's record is that party's affair.
        let of_ours = |party: &Option<RecordKey>| party.as_ref().is_none_or(|p| parties.contains(p));
        wanted = compared
            .records
            .iter()
            .filter(|record| of_ours(&record.party))
            .flat_map(|record| record.refs.iter().cloned())
            .collect();
    }
    drop(comparer);
    Ok(Reading { connection, parties, compared })
}

fn known(compared: &Compared) -> HashSet<RecordKey> {
    compared.records.iter().map(|r| r.key.clone()).chain(compared.gone.iter().cloned()).collect()
}

/// Reads a company at every connection that has parties of it.
///
/// # Errors
/// As [`read_parties`].
pub async fn read_company(
    store: &dyn Store,
    providers: &Providers,
    org: &OrgId,
    parties: BTreeMap<ConnectionId, Vec<RecordKey>>,
) -> Result<Vec<Reading>, SyncError> {
    let mut readings = Vec::with_capacity(parties.len());
    for (id, parties) in parties {
        let Some(connection) = store.find_connection(org, id.as_str()).await? else { continue };
        readings.push(read_parties(store, providers, connection, parties).await?);
    }
    Ok(readings)
}
