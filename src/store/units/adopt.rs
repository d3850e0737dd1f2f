//! Whose a record is that does not say so itself.
//!
//! Some servers name no customer on a refund or a dispute, only the charge that it is about. Such a record
//! belongs to the party of the first record that it refers to, by key, that has one: found when it is read,
//! or, where that record comes later, then.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Conn;
use super::changes::{self, Change};
use crate::domain::OrgId;
use crate::store::Result;
use crate::store::convert::{from_json, json_list, key_of};

statements! {
    PARTIES = concat!("SELECT record_key, party_key FROM mirror_records
        WHERE org_id = $1 AND connection_id = $2 AND party_key IS NOT NULL AND record_key", in_list!("$3"));
    REFERRERS = concat!("SELECT from_key, to_key FROM record_refs
        WHERE org_id = $1 AND connection_id = $2 AND party_key = '' AND to_key", in_list!("$3"), " ORDER BY from_key, to_key");
    ORPHANS = concat!("SELECT record_key, refs FROM mirror_records
        WHERE org_id = $1 AND connection_id = $2 AND party_key IS NULL AND deleted_at IS NULL AND record_key", in_list!("$3"),
        " ORDER BY record_key", for_update!());
    ADOPT = concat!("UPDATE mirror_records SET party_key = $4
        WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"));
}

/// The parties of those stored records that have one, by record.
pub(crate) async fn parties(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    records: &BTreeSet<&String>,
) -> Result<HashMap<String, String>> {
    let rows: Vec<(String, String)> =
        sqlx::query_as(PARTIES).bind(&org.0).bind(connection).bind(json_list(records)).fetch_all(c).await?;
    Ok(rows.into_iter().collect())
}

/// Gives stored records without a party to the party of the records (record, party) that they refer to.
pub(crate) async fn adopt(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    owned: &BTreeMap<&String, &String>,
) -> Result<Vec<Change>> {
    if owned.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<(String, String)> = sqlx::query_as(REFERRERS)
        .bind(&org.0)
        .bind(connection)
        .bind(json_list(owned.keys()))
        .fetch_all(&mut *c)
        .await?;
    let mut party_of: BTreeMap<String, &String> = BTreeMap::new();
    for (from, to) in found {
        if let Some(party) = owned.get(&to) {
            party_of.entry(from).or_insert(party);
        }
    }
    if party_of.is_empty() {
        return Ok(Vec::new());
    }
    let orphans: Vec<(String, String)> = sqlx::query_as(ORPHANS)
        .bind(&org.0)
        .bind(connection)
        .bind(json_list(party_of.keys()))
        .fetch_all(&mut *c)
        .await?;
    let mut adopted = Vec::with_capacity(orphans.len());
    let mut of_party: BTreeMap<&String, Vec<String>> = BTreeMap::new();
    for (key, refs) in orphans {
        let Some(party) = party_of.get(&key) else { continue };
        let refs: Vec<String> = from_json("mirror_records", "refs", &key, &refs)?;
        adopted.push(Change {
            stream: key_of(&key).stream,
            parties: BTreeSet::from([(*party).clone()]),
            old_refs: changes::reverse_refs(&key, None, &refs),
            new_refs: changes::reverse_refs(&key, Some(party), &refs),
            key: key.clone(),
        });
        of_party.entry(party).or_default().push(key);
    }
    for (party, keys) in of_party {
        sqlx::query(ADOPT)
            .bind(&org.0)
            .bind(connection)
            .bind(json_list(keys))
            .bind(party)
            .execute(&mut *c)
            .await?;
    }
    Ok(adopted)
}
