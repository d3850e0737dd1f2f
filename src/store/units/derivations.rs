//! Derivations: documents, columns, traits, entries, history, marks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use connector_sdk::Timestamp;
use serde_json::Value;
use sqlx::FromRow;

use super::dirty::{self, Marks};
use super::inputs;
use super::{Conn, bulk, jobs, new_id_at, rows};
use crate::domain::companies::Company;
use crate::domain::jobs::Fence;
use crate::domain::{CompanyId, OrgId};
use crate::store::Result;
use crate::store::convert::{clean, from_json, json_list, time, to_json, us};
use crate::store::derivations::{DERIVE_KIND, DerivationCommit, DerivationWrite, FieldChange};
use crate::store::lay::{Changed, Laid, lay_derivation};

statements! {
    LOCK_COMPANIES = concat!("SELECT id, version FROM companies WHERE org_id = $1 AND id", in_list!("$2"),
        " ORDER BY id", for_update!());
    COMPANIES_BEHIND = "SELECT id FROM companies WHERE org_id = $1 AND id > $2 ORDER BY id LIMIT $3";
    EXISTING = concat!("SELECT id FROM companies WHERE org_id = $1 AND id", in_list!("$2"));
    CLEAR_MARKS = concat!("DELETE FROM dirty_companies WHERE org_id = $1 AND (company_id, seq) IN
        (SELECT value ->> 0, CAST(value ->> 1 AS BIGINT) FROM", json_rows!("$2"), fence!(), ")");
    CLEAR_TURNS = concat!("DELETE FROM company_turns WHERE org_id = $1 AND company_id", in_list!("$2"));
    FIND_DERIVATION = "SELECT document FROM company_derivations WHERE org_id = $1 AND company_id = $2";
    LIST_CHANGES = "SELECT id, changed_at, cause, changes FROM field_changes
        WHERE org_id = $1 AND company_id = $2 AND (changed_at, id) < ($3, $4)
        ORDER BY changed_at DESC, id DESC LIMIT $5";
    ANY_DIRTY = "SELECT CAST(1 AS BIGINT) FROM dirty_companies WHERE org_id = $1 LIMIT 1";
    // Where the derive job waits or runs, nothing was missed: it is not to be hastened.
    ORGS_WITH_DIRTY = "SELECT DISTINCT d.org_id FROM dirty_companies d
        WHERE d.marked_at < $1
            AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.org_id = d.org_id AND j.kind = $2)
        ORDER BY d.org_id";
    DUE_TURNS = "SELECT org_id, company_id FROM company_turns WHERE next_turn_at <= $1
        ORDER BY next_turn_at, company_id LIMIT $2";
    TAKE_TURN = concat!("DELETE FROM company_turns WHERE org_id = $1 AND next_turn_at <= $2 AND company_id", in_list!("$3"));
}

pub(crate) async fn mark_dirty(
    c: &mut Conn,
    org: &OrgId,
    companies: &[CompanyId],
    reason: &str,
    at: Timestamp,
) -> Result<()> {
    // A company that is not there would stay dirty for ever.
    let existing: Vec<String> = sqlx::query_scalar(EXISTING)
        .bind(&org.0)
        .bind(json_list(companies.iter().map(CompanyId::as_str)))
        .fetch_all(&mut *c)
        .await?;
    let mut marks = Marks::new();
    for company in existing {
        dirty::note(&mut marks, reason, &company);
    }
    let marked = dirty::mark(c, org, &marks, at).await?;
    if marked == 0 {
        let waiting: Option<i64> = sqlx::query_scalar(ANY_DIRTY).bind(&org.0).fetch_optional(&mut *c).await?;
        if waiting.is_some() {
            dirty::push_derive(c, org, at, at).await?;
        }
    }
    Ok(())
}

pub(crate) async fn mark_all_dirty(
    c: &mut Conn,
    org: &OrgId,
    reason: &str,
    after: Option<&str>,
    limit: i64,
    at: Timestamp,
) -> Result<Option<String>> {
    let ids: Vec<String> = sqlx::query_scalar(COMPANIES_BEHIND)
        .bind(&org.0)
        .bind(clean(after.unwrap_or_default()))
        .bind(limit)
        .fetch_all(&mut *c)
        .await?;
    let full = i64::try_from(ids.len()).is_ok_and(|len| len >= limit);
    let next = ids.last().filter(|_| full).cloned();
    let mut marks = Marks::new();
    for company in ids {
        dirty::note(&mut marks, reason, &company);
    }
    dirty::mark(c, org, &marks, at).await?;
    Ok(next)
}

/// What one company's derivation writes.
struct Prepared<'a> {
    company: Company,
    placeholder: bool,
    row_changed: bool,
    write: &'a DerivationWrite,
    cause: &'a [String],
    changes: Vec<Changed>,
}

pub(crate) async fn commit_derivations(
    c: &mut Conn,
    org: &OrgId,
    commits: &[DerivationCommit],
    fence: Option<&Fence>,
    at: Timestamp,
) -> Result<Vec<CompanyId>> {
    if let Some(fence) = fence {
        jobs::fence_in(c, fence).await?;
    }
    // By company: what to write, and whether a mark asked for it.
    let writes: BTreeMap<&str, (&DerivationWrite, bool)> = commits
        .iter()
        .filter_map(|x| x.write.as_ref().map(|write| (x.company_id.as_str(), (write, x.seq.is_some()))))
        .collect();
    let mut answer = Vec::new();
    if !writes.is_empty() {
        let list = json_list(writes.keys());
        let causes: HashMap<String, Vec<String>> = inputs::load_dirty(c, org, &list)
            .await?
            .into_iter()
            .map(|row| (row.company_id, dirty::reasons(&row.reasons)))
            .collect();
        let by_hand = ["manual".to_owned()];
        let versions: HashMap<String, i64> = sqlx::query_as(LOCK_COMPANIES)
            .bind(&org.0)
            .bind(&list)
            .fetch_all(&mut *c)
            .await?
            .into_iter()
            .collect();
        let written_since = writes.iter().filter_map(|(id, (write, _))| {
            let version = versions.get(*id)?;
            write.read.as_ref().is_none_or(|(_, state)| state.version != *version).then_some(*id)
        });
        let written_since = json_list(written_since);
        let mut again = match written_since.as_str() {
            "[]" => HashMap::new(),
            list => rows::load_companies(c, org, list).await?,
        };
        let mut prepared = Vec::with_capacity(writes.len());
        for (id, (write, marked)) in &writes {
            // Removed since its inputs were read: nothing to write, and its mark went with it.
            if !versions.contains_key(*id) {
                continue;
            }
            let Some((company, state)) = again.remove(*id).or_else(|| write.read.clone()) else { continue };
            let cause = causes.get(*id).filter(|_| *marked).map_or(&by_hand[..], Vec::as_slice);
            let Laid { company, moved, changes } = lay_derivation(company, write, at)?;
            prepared.push(Prepared {
                company,
                placeholder: state.placeholder,
                row_changed: moved,
                write,
                cause,
                changes,
            });
        }
        write_all(c, org, &prepared, at).await?;
        answer = prepared.into_iter().filter(|x| !x.changes.is_empty()).map(|x| x.company.id).collect();
    }
    let marks: BTreeSet<(&str, i64)> =
        commits.iter().filter_map(|x| x.seq.map(|seq| (x.company_id.as_str(), seq))).collect();
    if !marks.is_empty() {
        sqlx::query(CLEAR_MARKS).bind(&org.0).bind(to_json(&marks)?).execute(&mut *c).await?;
    }
    Ok(answer)
}

async fn write_all(c: &mut Conn, org: &OrgId, prepared: &[Prepared<'_>], at: Timestamp) -> Result<()> {
    let companies: Vec<(&Company, bool)> =
        prepared.iter().filter(|x| x.row_changed).map(|x| (&x.company, x.placeholder)).collect();
    rows::write_companies(c, org, &companies).await?;
    bulk::insert(
        c,
        "INSERT INTO company_derivations (org_id, company_id, document, inputs_hash, updated_at)",
        prepared,
        "ON CONFLICT (company_id) DO UPDATE SET document = excluded.document, \
         inputs_hash = excluded.inputs_hash, updated_at = excluded.updated_at",
        |row, x| {
            row.push_bind(&org.0)
                .push_bind(&x.company.id.0)
                .push_bind(&x.write.document)
                .push_bind(&x.write.inputs_hash)
                .push_bind(us(at));
        },
    )
    .await?;
    let mut changes = Vec::new();
    for x in prepared.iter().filter(|x| !x.changes.is_empty()) {
        changes.push((&x.company.id.0, new_id_at("chg", at), to_json(x.cause)?, to_json(&x.changes)?));
    }
    bulk::insert(
        c,
        "INSERT INTO field_changes (org_id, company_id, id, changed_at, cause, changes)",
        &changes,
        "",
        |row, (company, id, cause, changes)| {
            row.push_bind(&org.0)
                .push_bind(*company)
                .push_bind(id)
                .push_bind(us(at))
                .push_bind(cause)
                .push_bind(changes);
        },
    )
    .await?;
    let turns: Vec<(&String, i64)> =
        prepared.iter().filter_map(|x| x.write.next_turn.map(|turn| (&x.company.id.0, us(turn)))).collect();
    let ended: Vec<&String> =
        prepared.iter().filter(|x| x.write.next_turn.is_none()).map(|x| &x.company.id.0).collect();
    bulk::insert(
        c,
        "INSERT INTO company_turns (org_id, company_id, next_turn_at)",
        &turns,
        "ON CONFLICT (company_id) DO UPDATE SET next_turn_at = excluded.next_turn_at",
        |row, (company, turn)| {
            row.push_bind(&org.0).push_bind(*company).push_bind(*turn);
        },
    )
    .await?;
    if !ended.is_empty() {
        sqlx::query(CLEAR_TURNS).bind(&org.0).bind(json_list(ended)).execute(c).await?;
    }
    Ok(())
}

pub(crate) async fn find_derivation(c: &mut Conn, org: &OrgId, company: &CompanyId) -> Result<Option<Value>> {
    let text: Option<String> =
        sqlx::query_scalar(FIND_DERIVATION).bind(&org.0).bind(clean(&company.0)).fetch_optional(c).await?;
    text.map(|text| from_json("company_derivations", "document", &company.0, &text)).transpose()
}

#[derive(FromRow)]
struct ChangeRow {
    id: String,
    changed_at: i64,
    cause: String,
    changes: String,
}

/// Rows of history that are looked at in one statement.
const HISTORY_PAGE: i64 = 100;

pub(crate) async fn list_field_changes(
    c: &mut Conn,
    org: &OrgId,
    company: &CompanyId,
    field: Option<&str>,
    limit: i64,
) -> Result<Vec<FieldChange>> {
    let limit = usize::try_from(limit).unwrap_or(0);
    let mut found = Vec::new();
    let mut before = (i64::MAX, String::new());
    while found.len() < limit {
        let rows: Vec<ChangeRow> = sqlx::query_as(LIST_CHANGES)
            .bind(&org.0)
            .bind(clean(&company.0))
            .bind(before.0)
            .bind(&before.1)
            .bind(HISTORY_PAGE)
            .fetch_all(&mut *c)
            .await?;
        let Some(last) = rows.last() else { break };
        before = (last.changed_at, last.id.clone());
        for row in rows {
            let cause: Vec<String> = from_json("field_changes", "cause", &company.0, &row.cause)?;
            let changes: Vec<Changed> = from_json("field_changes", "changes", &company.0, &row.changes)?;
            found.extend(
                changes.into_iter().filter(|(name, ..)| field.is_none_or(|wanted| wanted == name)).map(
                    |(field, old, new)| FieldChange {
                        field,
                        old,
                        new,
                        at: time(row.changed_at),
                        cause: cause.clone(),
                    },
                ),
            );
        }
    }
    found.truncate(limit);
    Ok(found)
}

pub(crate) async fn list_orgs_with_dirty(c: &mut Conn, before: Timestamp) -> Result<Vec<OrgId>> {
    let ids: Vec<String> =
        sqlx::query_scalar(ORGS_WITH_DIRTY).bind(us(before)).bind(DERIVE_KIND).fetch_all(c).await?;
    Ok(ids.into_iter().map(OrgId).collect())
}

pub(crate) async fn mark_turned(c: &mut Conn, now: Timestamp, limit: i64) -> Result<i64> {
    let due: Vec<(String, String)> =
        sqlx::query_as(DUE_TURNS).bind(us(now)).bind(limit).fetch_all(&mut *c).await?;
    let mut by_org: BTreeMap<String, Marks> = BTreeMap::new();
    for (org, company) in &due {
        dirty::note(by_org.entry(org.clone()).or_default(), "time", company);
    }
    let mut marked = 0;
    for (org, marks) in by_org {
        let org = OrgId(org);
        // The turn is taken with the mark: the derivation that follows sets the next one.
        let taken = sqlx::query(TAKE_TURN)
            .bind(&org.0)
            .bind(us(now))
            .bind(json_list(marks.values().flatten()))
            .execute(&mut *c)
            .await?;
        if taken.rows_affected() > 0 {
            marked += dirty::mark(c, &org, &marks, now).await?;
        }
    }
    Ok(marked)
}
