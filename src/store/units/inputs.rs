//! What derivation reads: many companies in a number of statements that does not depend on how many.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use connector_sdk::Fact;
use sqlx::FromRow;

use super::{Conn, changes, dirty, rows};
use crate::derive;
use crate::domain::{CompanyId, OrgId};
use crate::store::Result;
use crate::store::convert::{from_json, json_list, key_of, time, to_json, us};
use crate::store::derivations::{CompanyInputs, Dirty, FactsRow, MemberRow};

statements! {
    OLDEST_DIRTY = "SELECT company_id, seq, reasons, marked_at FROM dirty_companies WHERE org_id = $1
            AND (marked_at, company_id) > ($2, $3)
        ORDER BY marked_at, company_id LIMIT $4";
    DIRTY_OF = concat!("SELECT company_id, seq, reasons, marked_at FROM dirty_companies
        WHERE org_id = $1 AND company_id", in_list!("$2"));
    PARTY_RECORDS = concat!("SELECT l.company_id, m.connection_id, m.record_key, m.party_key, m.refs, m.facts, m.changed_at,
            m.deleted_at
        FROM company_links l
        JOIN mirror_records m ON m.connection_id = l.connection_id AND m.party_key = l.party_key
        WHERE l.org_id = $1 AND m.deleted_at IS NULL AND l.company_id", in_list!("$2"));
    LINKED_PARTIES = concat!("SELECT company_id, connection_id, party_key FROM company_links
        WHERE org_id = $1 AND NOT person AND company_id", in_list!("$2"));
    REFERRED = concat!("SELECT '' AS company_id, connection_id, record_key, party_key, refs, facts, changed_at, deleted_at
        FROM mirror_records
        WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"));
    MEMBERS = concat!("SELECT company_id, id, is_test FROM end_users WHERE org_id = $1 AND company_id", in_list!("$2"),
        " ORDER BY id");
    PREVIOUS = concat!("SELECT company_id, document, inputs_hash FROM company_derivations
        WHERE org_id = $1 AND company_id", in_list!("$2"));
}

#[derive(FromRow)]
pub(super) struct DirtyRow {
    pub(super) company_id: String,
    pub(super) seq: i64,
    pub(super) reasons: String,
    marked_at: i64,
}

#[derive(FromRow)]
struct RecordRow {
    company_id: String,
    connection_id: String,
    record_key: String,
    party_key: Option<String>,
    refs: String,
    facts: String,
    changed_at: i64,
    deleted_at: Option<i64>,
}

/// A record without its company: shared by the companies that read it.
struct Shared {
    connection: String,
    key: String,
    party: Option<String>,
    refs: Vec<String>,
    facts: String,
    changed_at: i64,
}

impl Shared {
    fn of(row: RecordRow) -> Result<Self> {
        Ok(Self {
            refs: from_json("mirror_records", "refs", &row.record_key, &row.refs)?,
            connection: row.connection_id,
            facts: match row.deleted_at {
                Some(_) => last_known(row.facts)?,
                None => row.facts,
            },
            key: row.record_key,
            party: row.party_key,
            changed_at: row.changed_at,
        })
    }

    fn facts_row(&self, own: bool) -> FactsRow {
        FactsRow {
            own,
            connection_id: self.connection.as_str().into(),
            key: key_of(&self.key),
            party: self.party.as_deref().map(key_of),
            facts: self.facts.clone(),
            observed_at: time(self.changed_at),
        }
    }
}

/// The facts of a record that is gone, as [`derive::last_known`] has them.
fn last_known(facts: String) -> Result<String> {
    // Facts of another version are the derivation's to complain of: it names the record.
    let Ok(known) = serde_json::from_str::<Vec<Fact>>(&facts) else { return Ok(facts) };
    to_json(&derive::last_known(known))
}

/// Connection and record.
type Place = (String, String);

pub(crate) async fn load_dirty_inputs(
    c: &mut Conn,
    org: &OrgId,
    after: Option<&Dirty>,
    limit: i64,
) -> Result<Vec<CompanyInputs>> {
    let (marked_at, company) = after.map_or((i64::MIN, ""), |mark| (us(mark.marked_at), &mark.company_id.0));
    let dirty: Vec<DirtyRow> = sqlx::query_as(OLDEST_DIRTY)
        .bind(&org.0)
        .bind(marked_at)
        .bind(company)
        .bind(limit)
        .fetch_all(&mut *c)
        .await?;
    let order: Vec<String> = dirty.iter().map(|row| row.company_id.clone()).collect();
    load(c, org, &order, dirty).await
}

pub(crate) async fn load_company_inputs(
    c: &mut Conn,
    org: &OrgId,
    company: &CompanyId,
) -> Result<Option<CompanyInputs>> {
    let list = json_list([&company.0]);
    let dirty = load_dirty(c, org, &list).await?;
    Ok(load(c, org, std::slice::from_ref(&company.0), dirty).await?.pop())
}

pub(super) async fn load_dirty(c: &mut Conn, org: &OrgId, companies: &str) -> Result<Vec<DirtyRow>> {
    Ok(sqlx::query_as(DIRTY_OF).bind(&org.0).bind(companies).fetch_all(c).await?)
}

async fn load(
    c: &mut Conn,
    org: &OrgId,
    order: &[String],
    dirty: Vec<DirtyRow>,
) -> Result<Vec<CompanyInputs>> {
    if order.is_empty() {
        return Ok(Vec::new());
    }
    let list = json_list(order);
    let mut companies = rows::load_companies(c, org, &list).await?;
    let mut facts = load_facts(c, org, &list).await?;
    let mut members = load_members(c, org, &list).await?;
    let mut previous = load_previous(c, org, &list).await?;
    let mut dirty: HashMap<String, Dirty> = dirty
        .into_iter()
        .map(|row| {
            let mark = Dirty {
                company_id: row.company_id.as_str().into(),
                seq: row.seq,
                reasons: dirty::reasons(&row.reasons),
                marked_at: time(row.marked_at),
            };
            (row.company_id, mark)
        })
        .collect();
    let mut inputs = Vec::with_capacity(order.len());
    for id in order {
        let Some((company, state)) = companies.remove(id) else { continue };
        let (document, hash) = previous.remove(id).unzip();
        inputs.push(CompanyInputs {
            company,
            state,
            dirty: dirty.remove(id),
            facts: facts.remove(id).unwrap_or_default(),
            members: members.remove(id).unwrap_or_default(),
            previous: document,
            previous_hash: hash,
        });
    }
    Ok(inputs)
}

async fn load_members(c: &mut Conn, org: &OrgId, list: &str) -> Result<HashMap<String, Vec<MemberRow>>> {
    let rows: Vec<(String, String, bool)> =
        sqlx::query_as(MEMBERS).bind(&org.0).bind(list).fetch_all(c).await?;
    let mut members: HashMap<String, Vec<MemberRow>> = HashMap::new();
    for (company, id, is_test) in rows {
        members.entry(company).or_default().push(MemberRow { id, is_test });
    }
    Ok(members)
}

async fn load_previous(c: &mut Conn, org: &OrgId, list: &str) -> Result<HashMap<String, (String, String)>> {
    let rows: Vec<(String, String, String)> =
        sqlx::query_as(PREVIOUS).bind(&org.0).bind(list).fetch_all(&mut *c).await?;
    Ok(rows.into_iter().map(|(id, document, hash)| (id, (document, hash))).collect())
}

/// The live records of each company's parties and, live or last known, what they refer to and the parties
/// themselves, as far as [`changes::DEPTH`].
async fn load_facts(c: &mut Conn, org: &OrgId, list: &str) -> Result<HashMap<String, Vec<FactsRow>>> {
    let mut known: HashMap<Place, Arc<Shared>> = HashMap::new();
    let mut of_company: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
    // What each company's references lead to next.
    let mut frontier: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
    let rows: Vec<RecordRow> =
        sqlx::query_as(PARTY_RECORDS).bind(&org.0).bind(list).fetch_all(&mut *c).await?;
    for row in rows {
        let company = row.company_id.clone();
        let record = Shared::of(row)?;
        let place = (record.connection.clone(), record.key.clone());
        frontier
            .entry(company.clone())
            .or_default()
            .extend(record.refs.iter().map(|to| (record.connection.clone(), to.clone())));
        of_company.entry(company).or_default().insert(place.clone());
        known.insert(place, Arc::new(record));
    }
    let mut parties_of: HashMap<String, BTreeSet<Place>> = of_company.clone().into_iter().collect();
    // A party's own record belongs to it, whatever party it names itself.
    let parties: Vec<(String, String, String)> =
        sqlx::query_as(LINKED_PARTIES).bind(&org.0).bind(list).fetch_all(&mut *c).await?;
    for (company, connection, party) in parties {
        let place = (connection, party);
        parties_of.entry(company.clone()).or_default().insert(place.clone());
        frontier.entry(company).or_default().insert(place);
    }
    for _ in 0..changes::DEPTH {
        let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (connection, key) in frontier.values().flatten() {
            if !known.contains_key(&(connection.clone(), key.clone())) {
                wanted.entry(connection).or_default().insert(key);
            }
        }
        let mut found = Vec::new();
        for (connection, keys) in wanted {
            let rows: Vec<RecordRow> = sqlx::query_as(REFERRED)
                .bind(&org.0)
                .bind(connection)
                .bind(json_list(keys))
                .fetch_all(&mut *c)
                .await?;
            for row in rows {
                found.push(Shared::of(row)?);
            }
        }
        for record in found {
            known.insert((record.connection.clone(), record.key.clone()), Arc::new(record));
        }
        let mut next: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
        for (company, places) in frontier {
            let own = of_company.entry(company.clone()).or_default();
            for place in places {
                let Some(record) = known.get(&place) else { continue };
                if !own.insert(place) {
                    continue;
                }
                // Another party's record is read, what it refers to is that party's affair.
                if record.party.is_none() {
                    next.entry(company.clone())
                        .or_default()
                        .extend(record.refs.iter().map(|to| (record.connection.clone(), to.clone())));
                }
            }
        }
        if next.is_empty() {
            break;
        }
        frontier = next;
    }
    Ok(of_company
        .into_iter()
        .map(|(company, places)| {
            let own = parties_of.remove(&company).unwrap_or_default();
            let rows = places
                .iter()
                .filter_map(|place| Some((place, known.get(place)?)))
                .filter(|(_, record)| record.facts != "[]")
                .map(|(place, record)| record.facts_row(own.contains(place)))
                .collect();
            (company, rows)
        })
        .collect())
}
