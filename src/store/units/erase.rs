//! Deleting a user or a company with everything that hangs on it.
//!
//! What a provider says about a deleted company's parties would come back with the next page: the keys of its
//! records are kept as digests, and ingest passes over what bears one or refers to one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use connector_sdk::{Fact, RecordKey, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::FromRow;

use super::dirty::{self, Marks};
use super::links::{self, Settled};
use super::members::{self, mark_settled};
use super::rows::{self, UserRow};
use super::{Conn, attributes, bulk, identity, jobs, keys, people, user_events};
use crate::domain::jobs::NewJob;
use crate::domain::users::EndUser;
use crate::domain::{ConnectionId, OrgId};
use crate::store::Result;
use crate::store::convert::{clean, from_json, json_list, key_of, key_text, to_json, us};
use crate::store::identity::Lookup;
use crate::store::mirror::{NamesOf, REREAD_KIND};
use crate::store::product::Erased;

statements! {
    PARTIES_OF = "SELECT connection_id, party_key FROM company_links
        WHERE org_id = $1 AND company_id = $2 AND NOT person";
    // Parties that nothing but the address led here, and those that it led nowhere.
    PARTIES_BY_EMAIL = "SELECT l.connection_id, l.party_key FROM link_candidates k
        JOIN company_links l ON l.connection_id = k.connection_id AND l.party_key = k.party_key
        WHERE k.org_id = $1 AND k.kind = 'email' AND k.value = $2 AND (l.rule = 'email' OR l.company_id IS NULL)";
    // A contract binds its company, whoever signed it.
    CONTRACTS = concat!("SELECT record_key FROM mirror_records
        WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"), " AND facts LIKE '%{\"contract\":%'");
    OTHERS_WITH_EMAIL = "SELECT COUNT(*) FROM end_users WHERE org_id = $1 AND email_key = $2 AND id <> $3";
    RECORDS_OF = concat!("SELECT record_key FROM mirror_records
        WHERE org_id = $1 AND connection_id = $2 AND party_key IS NOT NULL AND party_key", in_list!("$3"));
    DELETE_RECORDS = concat!("DELETE FROM mirror_records
        WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"));
    DELETE_REFS = concat!("DELETE FROM record_refs
        WHERE org_id = $1 AND connection_id = $2 AND (to_key, from_key) IN (SELECT r.to_key, r.from_key FROM record_refs r
            WHERE r.org_id = $1 AND r.connection_id = $2 AND r.from_key", in_list!("$3"), ")");
    DELETE_REJECTED = concat!("DELETE FROM rejected_records
        WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"));
    DELETE_LINKS = concat!("DELETE FROM company_links
        WHERE org_id = $1 AND connection_id = $2 AND party_key", in_list!("$3"));
    DELETE_CANDIDATES = concat!("DELETE FROM link_candidates
        WHERE org_id = $1 AND (kind, value, connection_id, party_key) IN
            (SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM", json_rows!("$2"), fence!(), ")");
    EVIDENCE = concat!("SELECT party_key, evidence FROM company_links
        WHERE org_id = $1 AND connection_id = $2 AND party_key", in_list!("$3"));
    NOTES = concat!("SELECT stream, generation, read_seq, record_keys FROM seen_notes
        WHERE org_id = $1 AND connection_id = $2 AND stream", in_list!("$3"));
    REWRITE_NOTE = "UPDATE seen_notes SET record_keys = $6
        WHERE org_id = $1 AND connection_id = $2 AND stream = $3 AND generation = $4 AND read_seq = $5";
    DELETE_DELIVERIES_OF = concat!("DELETE FROM deliveries
        WHERE org_id = $1 AND connection_id = $2 AND party_key IS NOT NULL AND party_key", in_list!("$3"));
    // From here on: walks of whole tables, for texts that nothing indexes. A deletion is rare, and must be whole.
    DELETE_DELIVERIES_NAMING = concat!("DELETE FROM deliveries WHERE org_id = $1 AND (", blob_holds!("body", "$2"),
        " OR ", text_holds!("touched", "$2"), ")");
    DELETE_REJECTED_NAMING = concat!("DELETE FROM rejected_records WHERE org_id = $1 AND ", text_holds!("payload", "$2"));
    DELETE_AUDITS_NAMING = concat!("DELETE FROM audits WHERE org_id = $1 AND ", text_holds!("report", "$2"));
    DELETE_ATTEMPTS_NAMING = concat!("DELETE FROM job_attempts WHERE org_id = $1 AND (", text_holds!("error", "$2"),
        " OR job_id IN (SELECT id FROM finished_jobs WHERE org_id = $1 AND (", text_holds!("args", "$2"),
        " OR ", text_holds!("error", "$2"), ")))");
    DELETE_JOBS_NAMING = concat!("DELETE FROM finished_jobs WHERE org_id = $1 AND (", text_holds!("args", "$2"),
        " OR ", text_holds!("error", "$2"), ")");
    DELETE_CHANGES_NAMING = concat!("DELETE FROM field_changes WHERE org_id = $1 AND ", text_holds!("changes", "$2"));
    DELETE_DELIVERIES_TOUCHING = concat!("DELETE FROM deliveries
        WHERE org_id = $1 AND connection_id = $2 AND state <> 'pending' AND ", text_holds!("touched", "$3"));
    // Those that may be about somebody: what their bodies say is judged one by one.
    DELIVERIES_ABOUT = concat!("SELECT id FROM deliveries
        WHERE org_id = $1 AND connection_id = $2 AND state <> 'pending' AND ", blob_holds!("body", "$3"));
    BODIES = concat!("SELECT id, body FROM deliveries WHERE org_id = $1 AND id", in_list!("$2"));
    DELETE_DELIVERIES_BY_ID = concat!("DELETE FROM deliveries WHERE org_id = $1 AND id", in_list!("$2"));
    RECORDS_NAMED = concat!("SELECT record_key, party_key, facts, payload FROM mirror_records
        WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"));
    REFERRERS = concat!("SELECT DISTINCT from_key FROM record_refs
        WHERE org_id = $1 AND connection_id = $2 AND to_key", in_list!("$3"));
    DELETE_REFS_TO = concat!("DELETE FROM record_refs
        WHERE org_id = $1 AND connection_id = $2 AND to_key", in_list!("$3"));
    COMPANIES_OF = concat!("SELECT DISTINCT company_id FROM company_links
        WHERE org_id = $1 AND connection_id = $2 AND company_id IS NOT NULL AND party_key", in_list!("$3"));
    HAS_ERASED = "SELECT EXISTS (SELECT 1 FROM erased_keys WHERE org_id = $1 AND connection_id = $2)";
    LOAD_ERASED = concat!("SELECT key_digest FROM erased_keys
        WHERE org_id = $1 AND connection_id = $2 AND key_digest", in_list!("$3"));
    USERS_OF = "SELECT * FROM end_users WHERE org_id = $1 AND company_id = $2";
    DELETE_USER = "DELETE FROM end_users WHERE org_id = $1 AND id = $2";
}

/// What later reads pass over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bar {
    /// The record, and whatever refers to it: a company is gone with all that is its.
    WithReferrers,
    /// The record alone: a person is gone, and the deals that named them stay.
    Alone,
}

/// What stands for a record's key once it is erased.
fn digest(org: &OrgId, connection: &str, key: &str, bar: Bar) -> String {
    // NUL cannot be inside any of the three.
    let text = match bar {
        Bar::WithReferrers => format!("{org}\0{connection}\0{key}"),
        Bar::Alone => format!("{org}\0{connection}\0{key}\0alone"),
    };
    hex::encode(Sha256::digest(text))
}

/// Whether anything of a connection was erased.
pub(crate) async fn has_erased(c: &mut Conn, org: &OrgId, connection: &str) -> Result<bool> {
    Ok(sqlx::query_scalar(HAS_ERASED).bind(&org.0).bind(connection).fetch_one(c).await?)
}

/// Those of the keys that were erased in that way.
pub(crate) async fn erased_of(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    keys: &BTreeSet<&str>,
    bar: Bar,
) -> Result<BTreeSet<String>> {
    if keys.is_empty() {
        return Ok(BTreeSet::new());
    }
    let digests: BTreeMap<String, &str> =
        keys.iter().map(|key| (digest(org, connection, key, bar), *key)).collect();
    let found: Vec<String> = sqlx::query_scalar(LOAD_ERASED)
        .bind(&org.0)
        .bind(connection)
        .bind(json_list(digests.keys()))
        .fetch_all(c)
        .await?;
    Ok(found.iter().filter_map(|digest| digests.get(digest)).map(|key| (*key).to_owned()).collect())
}

pub(crate) async fn list_erased(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    keys: &[RecordKey],
) -> Result<Vec<RecordKey>> {
    if keys.is_empty() || !has_erased(c, org, connection.as_str()).await? {
        return Ok(Vec::new());
    }
    let texts: Vec<String> = keys.iter().map(|key| clean(&key_text(key))).collect();
    let wanted = texts.iter().map(String::as_str).collect();
    let mut found = erased_of(c, org, connection.as_str(), &wanted, Bar::WithReferrers).await?;
    found.extend(erased_of(c, org, connection.as_str(), &wanted, Bar::Alone).await?);
    let erased = keys.iter().zip(&texts).filter(|(_, text)| found.contains(*text));
    Ok(erased.map(|(key, _)| key.clone()).collect())
}

/// Parties by connection.
type Parties = BTreeMap<String, BTreeSet<String>>;

#[derive(FromRow)]
struct PartyRow {
    connection_id: String,
    party_key: String,
}

fn by_connection(rows: Vec<PartyRow>) -> Parties {
    let mut parties = Parties::new();
    for row in rows {
        parties.entry(row.connection_id).or_default().insert(row.party_key);
    }
    parties
}

pub(crate) async fn erase_user(
    c: &mut Conn,
    org: &OrgId,
    lookup: &Lookup,
    at: Timestamp,
) -> Result<Option<Erased>> {
    super::serialise_links(c, org.as_str()).await?;
    let Some(user) = identity::find_user(c, org, lookup).await? else { return Ok(None) };
    let email = rows::email_key(&user);
    let (parties, others) = match &email {
        Some(email) if !is_shared(c, org, email, &user).await? => parties_by_email(c, org, email).await?,
        _ => (Parties::new(), Parties::new()),
    };
    // A provider's record of the person would make the user again.
    let records = people::records_of(c, org, &user.id).await?;
    let mut marks = Marks::new();
    let decides = delete_row(c, org, &user, &mut marks).await?;
    if let Some(email) = email.as_deref().filter(|_| !others.is_empty()) {
        let settled = links::forget_address(c, org, &others, email, at).await?;
        mark_settled(&mut marks, &settled);
    }
    let mut settled = Settled::default();
    let mut erased = erase_parties(c, org, &parties, Bar::WithReferrers, &mut settled, at).await?;
    mark_settled(&mut marks, &settled);
    // What a delivery touches is kept with it, which tells of these records without their connector.
    let names_of: NamesOf = Arc::new(|_: &[u8]| Vec::new());
    for (connection, records) in &records {
        let keys: Vec<RecordKey> = records.iter().map(|key| key_of(key)).collect();
        erase_records(c, org, &connection.as_str().into(), &keys, &names_of, at).await?;
        erased.records += u64::try_from(keys.len()).unwrap_or(u64::MAX);
    }
    let names: Vec<&str> =
        [Some(user.id.0.as_str()), user.external_id.as_deref(), user.fields.email.as_deref()]
            .into_iter()
            .flatten()
            .chain(email.as_deref())
            .collect();
    erased.deliveries += erase_naming(c, org, &names, &parties).await?;
    finish(c, org, marks, decides, at).await?;
    Ok(Some(erased))
}

/// Deletes a user's row, and what was said and done with the user. Answers the keys that decide links anew.
async fn delete_row(
    c: &mut Conn,
    org: &OrgId,
    user: &EndUser,
    marks: &mut Marks,
) -> Result<BTreeSet<keys::Key>> {
    sqlx::query(DELETE_USER).bind(&org.0).bind(&user.id.0).execute(&mut *c).await?;
    user_events::delete_of_user(c, org, &user.id).await?;
    attributes::forget_samples(c, org, &user.id.0).await?;
    members::after(c, org, &[(Some(user), None)], marks).await
}

/// Of the parties that nothing but the address led anywhere those that are the user's own, and the others: contracts,
/// and what has somebody else's address as well.
async fn parties_by_email(c: &mut Conn, org: &OrgId, email: &str) -> Result<(Parties, Parties)> {
    let rows: Vec<PartyRow> =
        sqlx::query_as(PARTIES_BY_EMAIL).bind(&org.0).bind(email).fetch_all(&mut *c).await?;
    let (mut own, mut others) = (Parties::new(), Parties::new());
    for (connection, parties) in by_connection(rows) {
        let alone = links::with_address(c, org, &connection, &parties, email).await?;
        let contracts: Vec<String> = sqlx::query_scalar(CONTRACTS)
            .bind(&org.0)
            .bind(&connection)
            .bind(json_list(&parties))
            .fetch_all(&mut *c)
            .await?;
        for party in parties {
            let is_own = alone.get(&party).copied().unwrap_or_default() && !contracts.contains(&party);
            let kept = if is_own { &mut own } else { &mut others };
            kept.entry(connection.clone()).or_default().insert(party);
        }
    }
    Ok((own, others))
}

async fn is_shared(c: &mut Conn, org: &OrgId, email: &str, user: &EndUser) -> Result<bool> {
    let others: i64 =
        sqlx::query_scalar(OTHERS_WITH_EMAIL).bind(&org.0).bind(email).bind(&user.id.0).fetch_one(c).await?;
    Ok(others > 0)
}

pub(crate) async fn erase_company(
    c: &mut Conn,
    org: &OrgId,
    lookup: &Lookup,
    at: Timestamp,
) -> Result<Option<Erased>> {
    super::serialise_links(c, org.as_str()).await?;
    let Some(company) = identity::find_company(c, org, lookup).await? else { return Ok(None) };
    let rows: Vec<PartyRow> =
        sqlx::query_as(PARTIES_OF).bind(&org.0).bind(&company.id.0).fetch_all(&mut *c).await?;
    let parties = by_connection(rows);

    let rows: Vec<UserRow> =
        sqlx::query_as(USERS_OF).bind(&org.0).bind(&company.id.0).fetch_all(&mut *c).await?;
    let before = rows.into_iter().map(UserRow::read).collect::<Result<Vec<EndUser>>>()?;
    let after: Vec<EndUser> = before.iter().map(|user| without_company(user, at)).collect();
    rows::write_users(c, org, &after.iter().collect::<Vec<_>>()).await?;
    let moves: Vec<members::Move<'_>> =
        before.iter().zip(&after).map(|(before, after)| (Some(before), Some(after))).collect();
    let mut marks = Marks::new();
    let mut decides = members::after(c, org, &moves, &mut marks).await?;

    let mut settled = Settled::default();
    let mut erased = erase_parties(c, org, &parties, Bar::WithReferrers, &mut settled, at).await?;
    mark_settled(&mut marks, &settled);
    // Those who are of its parties by association are of nobody now.
    let connectors = links::connectors(c, org).await?;
    for (connection, own) in &parties {
        let Some(connector) = connectors.get(connection) else { continue };
        decides.extend(own.iter().filter_map(|party| links::party_key(connector, party)));
    }
    erased.users_unlinked = u64::try_from(before.len()).unwrap_or(u64::MAX);
    let names: Vec<&str> =
        [Some(company.id.0.as_str()), company.external_id.as_deref()].into_iter().flatten().collect();
    erased.deliveries += erase_naming(c, org, &names, &parties).await?;
    user_events::delete_of_company(c, org, &company.id).await?;
    attributes::forget_samples(c, org, &company.id.0).await?;
    decides.extend(keys::of_company(&company));
    links::delete_companies(c, org, std::slice::from_ref(&company.id.0)).await?;
    for companies in marks.values_mut() {
        companies.remove(&company.id.0);
    }
    finish(c, org, marks, decides, at).await?;
    Ok(Some(erased))
}

fn without_company(user: &EndUser, at: Timestamp) -> EndUser {
    let mut user = EndUser { company_id: None, updated_at: at, ..user.clone() };
    user.provenance.remove(rows::COMPANY_LINK);
    user
}

async fn finish(
    c: &mut Conn,
    org: &OrgId,
    mut marks: Marks,
    decides: BTreeSet<keys::Key>,
    at: Timestamp,
) -> Result<()> {
    let settled = links::reevaluate(c, org, &decides, at).await?;
    mark_settled(&mut marks, &settled);
    dirty::mark(c, org, &marks, at).await?;
    Ok(())
}

/// Deletes parties: their links, records, what was noted about these, and keeps the digests of their keys.
async fn erase_parties(
    c: &mut Conn,
    org: &OrgId,
    parties: &Parties,
    bar: Bar,
    settled: &mut Settled,
    at: Timestamp,
) -> Result<Erased> {
    #[derive(FromRow)]
    struct EvidenceRow {
        party_key: String,
        evidence: String,
    }
    let mut erased = Erased::default();
    for (connection, own) in parties {
        let list = json_list(own);
        let records: Vec<String> = sqlx::query_scalar(RECORDS_OF)
            .bind(&org.0)
            .bind(connection)
            .bind(&list)
            .fetch_all(&mut *c)
            .await?;
        let all: BTreeSet<String> = records.into_iter().chain(own.iter().cloned()).collect();
        let keys = json_list(&all);
        for (sql, list) in [
            (DELETE_REFS, &keys),
            (DELETE_REJECTED, &keys),
            (DELETE_RECORDS, &keys),
            (DELETE_DELIVERIES_OF, &list),
        ] {
            let done = sqlx::query(sql).bind(&org.0).bind(connection).bind(list).execute(&mut *c).await?;
            if sql == DELETE_RECORDS {
                erased.records += done.rows_affected();
            } else if sql == DELETE_DELIVERIES_OF {
                erased.deliveries += done.rows_affected();
            }
        }
        let evidence: Vec<EvidenceRow> =
            sqlx::query_as(EVIDENCE).bind(&org.0).bind(connection).bind(&list).fetch_all(&mut *c).await?;
        let mut candidates = Vec::new();
        for row in &evidence {
            for (kind, value) in links::candidates_of(&row.party_key, &row.evidence)? {
                candidates.push((kind, value, connection.as_str(), row.party_key.as_str()));
            }
        }
        if !candidates.is_empty() {
            sqlx::query(DELETE_CANDIDATES).bind(&org.0).bind(to_json(&candidates)?).execute(&mut *c).await?;
        }
        let done =
            sqlx::query(DELETE_LINKS).bind(&org.0).bind(connection).bind(&list).execute(&mut *c).await?;
        erased.parties += done.rows_affected();
        settled.add(people::observe(c, org, connection, &[], &all, at).await?);
        forget_sightings(c, org, connection, &all).await?;
        remember(c, org, connection, &all, bar, at).await?;
    }
    Ok(erased)
}

/// Keeps the digests of keys.
pub(crate) async fn remember(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    keys: &BTreeSet<String>,
    bar: Bar,
    at: Timestamp,
) -> Result<()> {
    let digests: Vec<String> = keys.iter().map(|key| digest(org, connection, key, bar)).collect();
    bulk::insert(
        c,
        "INSERT INTO erased_keys (org_id, connection_id, key_digest, erased_at)",
        &digests,
        "ON CONFLICT (org_id, connection_id, key_digest) DO NOTHING",
        |row, digest| {
            row.push_bind(&org.0).push_bind(connection).push_bind(digest).push_bind(us(at));
        },
    )
    .await?;
    Ok(())
}

/// Records that one job reads again. A person may have thousands of engagements, and a run has its time.
const REREAD_TOGETHER: usize = 100;
/// Bodies of deliveries that are judged at once.
const BODIES_TOGETHER: usize = 100;

#[derive(FromRow)]
struct NamedRow {
    record_key: String,
    party_key: Option<String>,
    facts: String,
    payload: String,
}

impl NamedRow {
    /// Keys of the records that were merged into this one.
    fn merged(&self) -> Vec<String> {
        // Facts of another version are no reason to forget nobody.
        let facts: Vec<Fact> = serde_json::from_str(&self.facts).unwrap_or_default();
        let Some((stream, _)) = self.record_key.split_once('/') else { return Vec::new() };
        let ids = facts.into_iter().filter_map(|fact| match fact {
            Fact::Person(person) => Some(person.merged),
            _ => None,
        });
        ids.flatten().map(|id| clean(&format!("{stream}/{id}"))).collect()
    }
}

/// Deletes records of people who asked to be forgotten, and those that were merged into them, with all that names them:
/// references, links, stored requests, rejected records, histories. Companies that they were of become dirty. What
/// referred to them is read again by jobs that are pushed here: once the references are gone nobody could tell.
pub(crate) async fn erase_records(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    keys: &[RecordKey],
    names_of: &NamesOf,
    at: Timestamp,
) -> Result<()> {
    super::serialise_links(c, org.as_str()).await?;
    let mut own: BTreeSet<String> = keys.iter().map(|key| clean(&key_text(key))).collect();
    let mut rows: Vec<NamedRow> = Vec::new();
    let mut fresh = own.clone();
    while !fresh.is_empty() {
        let found: Vec<NamedRow> = sqlx::query_as(RECORDS_NAMED)
            .bind(&org.0)
            .bind(&connection.0)
            .bind(json_list(&fresh))
            .fetch_all(&mut *c)
            .await?;
        fresh = found.iter().flat_map(NamedRow::merged).filter(|key| !own.contains(key)).collect();
        own.extend(fresh.iter().cloned());
        rows.extend(found);
    }
    let list = json_list(&own);
    let referrers: Vec<String> =
        sqlx::query_scalar(REFERRERS).bind(&org.0).bind(&connection.0).bind(&list).fetch_all(&mut *c).await?;
    let parties: BTreeSet<&String> =
        rows.iter().filter_map(|row| row.party_key.as_ref()).chain(&referrers).chain(&own).collect();
    let companies: Vec<String> = sqlx::query_scalar(COMPANIES_OF)
        .bind(&org.0)
        .bind(&connection.0)
        .bind(json_list(parties))
        .fetch_all(&mut *c)
        .await?;

    let mut names = own.clone();
    let mut marks = Marks::new();
    let mut decides = BTreeSet::new();
    let mut emails = BTreeSet::new();
    let users = people::users_of(c, org, &connection.0, &own).await?;
    for id in &users {
        let Some(user) = identity::find_user(c, org, &Lookup::Id(id.clone())).await? else { continue };
        names.extend([user.id.0.clone()].into_iter().chain(user.external_id.clone()));
        emails.extend(user.fields.email.clone().into_iter().chain(rows::email_key(&user)));
        decides.extend(delete_row(c, org, &user, &mut marks).await?);
    }
    let mut settled = Settled::default();
    let parties = Parties::from([(connection.0.clone(), own.clone())]);
    erase_parties(c, org, &parties, Bar::Alone, &mut settled, at).await?;
    // Who is a user by another record, too, is one by that alone now.
    settled.add(people::reevaluate(c, org, &emails, &users, at).await?);
    settled.add(links::reevaluate(c, org, &decides, at).await?);
    mark_settled(&mut marks, &settled);
    sqlx::query(DELETE_REFS_TO).bind(&org.0).bind(&connection.0).bind(&list).execute(&mut *c).await?;

    let mut found = emails.clone();
    for row in &rows {
        let payload: Value = from_json("mirror_records", "payload", connection.as_str(), &row.payload)?;
        addresses(&payload, &mut found);
    }
    let quoted = names.iter().chain(&found).map(to_json).collect::<Result<Vec<String>>>()?;
    sqlx::query(DELETE_REJECTED_NAMING).bind(&org.0).bind(to_json(&quoted)?).execute(&mut *c).await?;
    erase_deliveries_about(c, org, connection, &own, &found, names_of).await?;
    let ids = own.iter().filter_map(|key| key.split_once('/')).map(|(_, id)| format!("\"{id}\""));
    let list = json_list(quoted.into_iter().chain(ids));
    // What is history only is deleted also where the id may be another's.
    for sql in [DELETE_AUDITS_NAMING, DELETE_ATTEMPTS_NAMING, DELETE_JOBS_NAMING, DELETE_CHANGES_NAMING] {
        sqlx::query(sql).bind(&org.0).bind(&list).execute(&mut *c).await?;
    }
    for company in &companies {
        dirty::note(&mut marks, "erased", company);
    }
    dirty::mark(c, org, &marks, at).await?;
    let referrers: Vec<&String> = referrers.iter().filter(|key| !own.contains(*key)).collect();
    let reread = |keys: &[&String]| NewJob {
        kind: REREAD_KIND,
        org_id: org.clone(),
        connection_id: Some(connection.clone()),
        dedupe_key: None,
        args: json!({ "keys": keys }),
        run_at: at,
        priority: 0,
        max_attempts: 20,
    };
    let jobs: Vec<NewJob> = referrers.chunks(REREAD_TOGETHER).map(reread).collect();
    jobs::push_in(c, &jobs, at).await?;
    Ok(())
}

/// Deletes a connection's finished deliveries that touched one of the records, name one, or hold one of the addresses.
/// Those that wait are worked off first: what touches an erased record is not kept then.
async fn erase_deliveries_about(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    own: &BTreeSet<String>,
    addresses: &BTreeSet<String>,
    names_of: &NamesOf,
) -> Result<()> {
    let keys = own.iter().map(to_json).collect::<Result<Vec<String>>>()?;
    sqlx::query(DELETE_DELIVERIES_TOUCHING)
        .bind(&org.0)
        .bind(&connection.0)
        .bind(to_json(&keys)?)
        .execute(&mut *c)
        .await?;
    let folded: BTreeSet<String> = addresses.iter().map(|address| address.to_lowercase()).collect();
    let ids = own.iter().filter_map(|key| key.split_once('/')).map(|(_, id)| id);
    // A body may hold any character by its number; what does is looked into.
    let hints = ids.chain(addresses.iter().chain(&folded).map(String::as_str)).chain(["\\u"]);
    let candidates: Vec<String> = sqlx::query_scalar(DELIVERIES_ABOUT)
        .bind(&org.0)
        .bind(&connection.0)
        .bind(json_list(hints.collect::<BTreeSet<_>>()))
        .fetch_all(&mut *c)
        .await?;
    for piece in candidates.chunks(BODIES_TOGETHER) {
        let bodies: Vec<(String, Vec<u8>)> =
            sqlx::query_as(BODIES).bind(&org.0).bind(json_list(piece)).fetch_all(&mut *c).await?;
        let is_about = |body: &[u8]| {
            names_of(body).iter().any(|key| own.contains(&clean(&key_text(key))))
                || serde_json::from_slice(body).is_ok_and(|body| holds_address(&body, &folded))
        };
        let about: Vec<&String> =
            bodies.iter().filter(|(_, body)| is_about(body)).map(|(id, _)| id).collect();
        if !about.is_empty() {
            sqlx::query(DELETE_DELIVERIES_BY_ID).bind(&org.0).bind(json_list(about)).execute(&mut *c).await?;
        }
    }
    Ok(())
}

/// Whether a text in the value holds one of the addresses (in lower case), alone or among other words.
fn holds_address(value: &Value, addresses: &BTreeSet<String>) -> bool {
    match value {
        Value::String(text) if text.contains('@') => {
            let is_end = |ch: char| ch.is_whitespace() || "<>()[]\",;:".contains(ch);
            let text = text.to_lowercase();
            addresses.contains(&text) || text.split(is_end).any(|word| addresses.contains(word))
        }
        Value::Array(items) => items.iter().any(|item| holds_address(item, addresses)),
        Value::Object(members) => members.values().any(|member| holds_address(member, addresses)),
        _ => false,
    }
}

/// The e-mail addresses that a record holds, by which others may name the person.
fn addresses(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.contains('@') && !text.contains(char::is_whitespace) => {
            found.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| addresses(item, found)),
        Value::Object(members) => members.values().for_each(|member| addresses(member, found)),
        _ => {}
    }
}

/// Takes keys out of the notes of what reads found unchanged.
async fn forget_sightings(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    gone: &BTreeSet<String>,
) -> Result<()> {
    #[derive(FromRow)]
    struct Note {
        stream: String,
        generation: i64,
        read_seq: i64,
        record_keys: String,
    }
    let streams: BTreeSet<&str> =
        gone.iter().filter_map(|key| key.split_once('/')).map(|(stream, _)| stream).collect();
    let notes: Vec<Note> = sqlx::query_as(NOTES)
        .bind(&org.0)
        .bind(connection)
        .bind(json_list(streams))
        .fetch_all(&mut *c)
        .await?;
    for note in notes {
        let keys: Vec<String> = from_json("seen_notes", "record_keys", connection, &note.record_keys)?;
        let kept: Vec<&String> = keys.iter().filter(|key| !gone.contains(*key)).collect();
        if kept.len() < keys.len() {
            sqlx::query(REWRITE_NOTE)
                .bind(&org.0)
                .bind(connection)
                .bind(&note.stream)
                .bind(note.generation)
                .bind(note.read_seq)
                .bind(to_json(&kept)?)
                .execute(&mut *c)
                .await?;
        }
    }
    Ok(())
}

/// Deletes stored requests, rejected records and histories that name somebody, as a JSON string of its own: by an
/// id, an address, or the id of a party. Answers how many requests.
async fn erase_naming(c: &mut Conn, org: &OrgId, names: &[&str], parties: &Parties) -> Result<u64> {
    let ids = parties.values().flatten().filter_map(|key| key.split_once('/')).map(|(_, id)| id);
    let keys = parties.values().flatten().map(String::as_str);
    let names: BTreeSet<&str> = names.iter().copied().chain(ids).chain(keys).collect();
    let names = names.into_iter().map(to_json).collect::<Result<Vec<String>>>()?;
    let list = to_json(&names)?;
    let done = sqlx::query(DELETE_DELIVERIES_NAMING).bind(&org.0).bind(&list).execute(&mut *c).await?;
    for sql in [DELETE_REJECTED_NAMING, DELETE_AUDITS_NAMING, DELETE_ATTEMPTS_NAMING, DELETE_JOBS_NAMING] {
        sqlx::query(sql).bind(&org.0).bind(&list).execute(&mut *c).await?;
    }
    Ok(done.rows_affected())
}
