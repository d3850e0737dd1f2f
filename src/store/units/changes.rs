//! What a changed record reaches: its references, and the companies whose derivation reads it.
//!
//! A company's derivation reads the records of its parties, the records that those refer to, and what
//! records without a party (the catalogue: a price, its product) refer to in turn, [`DEPTH`] steps far.
//! Marking walks the same paths backwards.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::FromRow;

use super::dirty::{self, Marks};
use super::{Conn, bulk};
use crate::domain::OrgId;
use crate::store::Result;
use crate::store::convert::{json_list, to_json};

statements! {
    DELETE_REFS = concat!("DELETE FROM record_refs WHERE connection_id = $1 AND (to_key, from_key) IN
        (SELECT value ->> 0, value ->> 1 FROM", json_rows!("$2"), fence!(), ")");
    REFERRERS = concat!("SELECT DISTINCT to_key, party_key, CASE WHEN party_key = '' THEN from_key ELSE '' END AS from_key
        FROM record_refs WHERE org_id = $1 AND connection_id = $2 AND to_key", in_list!("$3"));
    COMPANIES_OF_PARTIES = concat!("SELECT party_key, company_id FROM company_links
        WHERE org_id = $1 AND connection_id = $2 AND company_id IS NOT NULL AND NOT person AND party_key", in_list!("$3"));
}

/// How many references lead from a party's record to the last record that its derivation reads.
pub(crate) const DEPTH: usize = 3;

/// A record that was created, updated or deleted.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) stream: String,
    /// Before and after, where they differ; the record itself may be a party.
    pub(crate) parties: BTreeSet<String>,
    /// (`to_key`, party of this record) before.
    pub(crate) old_refs: BTreeSet<(String, String)>,
    /// And after.
    pub(crate) new_refs: BTreeSet<(String, String)>,
}

/// The references of a record that are stored in reverse: not to itself, nor to its own party, for the party
/// leads to the company already.
pub(crate) fn reverse_refs(key: &str, party: Option<&str>, refs: &[String]) -> BTreeSet<(String, String)> {
    refs.iter()
        .filter(|to| to.as_str() != key && Some(to.as_str()) != party)
        .map(|to| (to.clone(), party.unwrap_or_default().to_owned()))
        .collect()
}

/// Replaces references and notes which companies become dirty.
pub(crate) async fn follow(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    changes: &[Change],
    marks: &mut Marks,
) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    write_refs(c, org, connection, changes).await?;
    // Which parties are reached, and the streams of the changed records that reach them.
    let mut reached: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut frontier: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for change in changes {
        for party in change.parties.iter().chain([&change.key]) {
            reached.entry(party.clone()).or_default().insert(&change.stream);
        }
        frontier.entry(change.key.clone()).or_default().insert(&change.stream);
    }
    let mut seen: BTreeSet<String> = frontier.keys().cloned().collect();
    for _ in 0..DEPTH {
        if frontier.is_empty() {
            break;
        }
        let rows: Vec<Referrer> = sqlx::query_as(REFERRERS)
            .bind(&org.0)
            .bind(connection)
            .bind(json_list(frontier.keys()))
            .fetch_all(&mut *c)
            .await?;
        let mut next: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for row in rows {
            let Some(streams) = frontier.get(&row.to_key) else { continue };
            if !row.party_key.is_empty() {
                reached.entry(row.party_key).or_default().extend(streams);
            } else if !seen.contains(&row.from_key) {
                next.entry(row.from_key).or_default().extend(streams);
            }
        }
        seen.extend(next.keys().cloned());
        frontier = next;
    }
    let rows: Vec<PartyCompany> = sqlx::query_as(COMPANIES_OF_PARTIES)
        .bind(&org.0)
        .bind(connection)
        .bind(json_list(reached.keys()))
        .fetch_all(&mut *c)
        .await?;
    for row in rows {
        for stream in reached.get(&row.party_key).into_iter().flatten() {
            dirty::note(marks, &format!("record:{stream}"), &row.company_id);
        }
    }
    Ok(())
}

#[derive(FromRow)]
struct Referrer {
    to_key: String,
    party_key: String,
    from_key: String,
}

#[derive(FromRow)]
struct PartyCompany {
    party_key: String,
    company_id: String,
}

async fn write_refs(c: &mut Conn, org: &OrgId, connection: &str, changes: &[Change]) -> Result<()> {
    let mut gone: Vec<(&str, &str)> = Vec::new();
    let mut fresh: Vec<(&str, &str, &str)> = Vec::new();
    for change in changes {
        let kept: BTreeSet<&str> = change.new_refs.iter().map(|(to, _)| to.as_str()).collect();
        gone.extend(
            change
                .old_refs
                .iter()
                .filter(|(to, _)| !kept.contains(to.as_str()))
                .map(|(to, _)| (to.as_str(), change.key.as_str())),
        );
        fresh.extend(
            change
                .new_refs
                .difference(&change.old_refs)
                .map(|(to, party)| (to.as_str(), change.key.as_str(), party.as_str())),
        );
    }
    if !gone.is_empty() {
        sqlx::query(DELETE_REFS).bind(connection).bind(to_json(&gone)?).execute(&mut *c).await?;
    }
    fresh.sort_unstable();
    bulk::insert(
        c,
        "INSERT INTO record_refs (org_id, connection_id, to_key, from_key, party_key)",
        &fresh,
        "ON CONFLICT (connection_id, to_key, from_key) DO UPDATE SET party_key = excluded.party_key",
        |row, (to, from, party)| {
            row.push_bind(&org.0).push_bind(connection).push_bind(*to).push_bind(*from).push_bind(*party);
        },
    )
    .await?;
    Ok(())
}
