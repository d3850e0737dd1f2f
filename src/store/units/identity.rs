//! Companies, end users, links by hand.

use std::collections::BTreeSet;

use connector_sdk::{RecordKey, Timestamp};
use sqlx::FromRow;

use super::dirty::{self, Marks};
use super::links::{self, LinkRow, MANUAL, Settled};
use super::members::{self, mark_settled};
use super::rows::{self, CompanyRow, UserRow};
use super::{Conn, Db, keys, people, product};
use crate::domain::companies::{Company, TraitPatch};
use crate::domain::users::EndUser;
use crate::domain::{CompanyId, ConnectionId, OrgId, Rank, UserId};
use crate::store::convert::{clean, key_text, us};
use crate::store::identity::{
    CompanyLink, IdentityCounts, LinkState, Listed, Lookup, StoredView, WriteSource,
};
use crate::store::product::{Layer, Outcome, ProductWrite, RecordPart, Sighting, UserPart, Written};
use crate::store::traits;
use crate::store::{Result, StoreError};

/// Whether a word of the name, the e-mail address or the caller's id begins as `$4` says. Both engines fold the
/// case of ASCII letters alone here.
macro_rules! user_words {
    () => {
        "' ' || lower(COALESCE(name, '') || ' ' || COALESCE(email, '') || ' ' || COALESCE(external_id, '')) \
         LIKE $4 ESCAPE '\\'"
    };
}

statements! {
    FIND_COMPANY_BY_ID = "SELECT * FROM companies WHERE org_id = $1 AND id = $2";
    FIND_COMPANY_BY_EXTERNAL = "SELECT * FROM companies WHERE org_id = $1 AND external_id = $2";
    LOCK_COMPANY = concat!("SELECT * FROM companies WHERE org_id = $1 AND id = $2", for_update!());
    LIST_COMPANIES = "SELECT * FROM companies WHERE org_id = $1 AND id > $2 AND ($3 = '' OR search LIKE $3 ESCAPE '\\')
        ORDER BY id LIMIT $4";
    RESET_HASH = "UPDATE company_derivations SET inputs_hash = '' WHERE org_id = $1 AND company_id = $2";
    FIND_USER_BY_ID = "SELECT * FROM end_users WHERE org_id = $1 AND id = $2";
    FIND_USER_BY_EXTERNAL = "SELECT * FROM end_users WHERE org_id = $1 AND external_id = $2";
    LIST_USERS = "SELECT * FROM end_users WHERE org_id = $1 AND id > $2 ORDER BY id LIMIT $3";
    LIST_USERS_OF = "SELECT * FROM end_users WHERE org_id = $1 AND company_id = $4 AND id > $2 ORDER BY id LIMIT $3";
    SEARCH_USERS = concat!(
        "SELECT * FROM end_users WHERE org_id = $1 AND id > $2 AND ", user_words!(), " ORDER BY id LIMIT $3"
    );
    SEARCH_USERS_OF = concat!(
        "SELECT * FROM end_users WHERE org_id = $1 AND company_id = $5 AND id > $2 AND ", user_words!(),
        " ORDER BY id LIMIT $3"
    );
    SETTLE_PLACEHOLDER = "UPDATE companies SET placeholder = false, version = version + 1
        WHERE org_id = $1 AND id = $2 AND placeholder";
    DELETE_USER = "DELETE FROM end_users WHERE org_id = $1 AND id = $2";
    LIST_LINKS = "SELECT connection_id, party_key, party_label, company_id, state, rule, reason, evidence, person,
            updated_at
        FROM company_links
        WHERE org_id = $1 AND NOT person AND ($2 = '' OR state = $2) AND ($3 = '' OR company_id = $3)
            AND (updated_at < $4 OR (updated_at = $4 AND (connection_id, party_key) > ($5, $6)))
        ORDER BY updated_at DESC, connection_id, party_key LIMIT $7";
    COUNT_COMPANIES = "SELECT COUNT(*) FROM companies WHERE org_id = $1";
    COUNT_USERS = "SELECT COUNT(*) FROM end_users WHERE org_id = $1";
    COUNT_LINKS = "SELECT state, COUNT(*) FROM company_links WHERE org_id = $1 AND NOT person GROUP BY state";
}

async fn company_row(c: &mut Conn, org: &OrgId, lookup: &Lookup) -> Result<Option<CompanyRow>> {
    let (sql, text) = match lookup {
        Lookup::Id(id) => (FIND_COMPANY_BY_ID, id),
        Lookup::External(id) => (FIND_COMPANY_BY_EXTERNAL, id),
    };
    Ok(sqlx::query_as(sql).bind(&org.0).bind(clean(text)).fetch_optional(c).await?)
}

pub(crate) async fn find_company(c: &mut Conn, org: &OrgId, lookup: &Lookup) -> Result<Option<Company>> {
    company_row(c, org, lookup).await?.map(CompanyRow::read).transpose()
}

pub(crate) async fn list_companies(
    c: &mut Conn,
    org: &OrgId,
    search: Option<&str>,
    after: Option<&str>,
    limit: i64,
) -> Result<Listed<Company>> {
    let rows: Vec<CompanyRow> = sqlx::query_as(LIST_COMPANIES)
        .bind(&org.0)
        .bind(clean(after.unwrap_or_default()))
        .bind(rows::search_pattern(search, str::to_lowercase))
        .bind(limit)
        .fetch_all(c)
        .await?;
    let full = is_full(rows.len(), limit);
    let rows = rows.into_iter().map(CompanyRow::read).collect::<Result<Vec<_>>>()?;
    Ok(Listed { next: rows.last().filter(|_| full).map(|company| company.id.0.clone()), rows })
}

fn is_full(len: usize, limit: i64) -> bool {
    i64::try_from(len).is_ok_and(|len| len >= limit)
}

/// The one answer of a unit of one write.
fn only(outcomes: Vec<Outcome>) -> Result<Written> {
    match outcomes.into_iter().next() {
        Some(Outcome::Written(written)) => Ok(*written),
        Some(Outcome::Refused(refused)) => Err(StoreError::Invalid(refused.to_string())),
        Some(Outcome::Unknown(_)) | None => Err(StoreError::Invalid("nothing was written".to_owned())),
    }
}

fn said(lookup: &Lookup, patch: &TraitPatch, rank: Rank) -> RecordPart {
    RecordPart { layers: vec![Layer { rank, patch: patch.clone() }], ..RecordPart::named(lookup.clone()) }
}

pub(crate) async fn put_company(
    c: &mut Conn,
    org: &OrgId,
    lookup: &Lookup,
    patch: &TraitPatch,
    source: &WriteSource,
) -> Result<Company> {
    let write = ProductWrite {
        user: None,
        company: Some(said(lookup, patch, source.rank)),
        link: None,
        source: source.source.clone(),
        at: source.at,
    };
    let written = only(product::put(c, org, &[write]).await?)?;
    written.company.map(|(company, _)| company).ok_or_else(|| StoreError::Invalid("no company".to_owned()))
}

pub(crate) async fn release_company_fields(
    c: &mut Conn,
    org: &OrgId,
    id: &CompanyId,
    names: &[String],
    at: Timestamp,
) -> Result<()> {
    super::serialise_links(c, org.as_str()).await?;
    let locked: Option<CompanyRow> =
        sqlx::query_as(LOCK_COMPANY).bind(&org.0).bind(clean(&id.0)).fetch_optional(&mut *c).await?;
    let Some(row) = locked else {
        return Err(StoreError::Invalid(format!("there is no company {id}")));
    };
    let placeholder = row.placeholder;
    let mut company = row.read()?;
    let mut fields = traits::to_map(&company.fields)?;
    let mut released = false;
    for name in names {
        if company.provenance.get(name).is_none_or(|source| source.rank != Rank::Manual) {
            continue;
        }
        company.provenance.remove(name);
        match name.strip_prefix("context.") {
            Some(key) => {
                company.context.remove(key);
            }
            None => {
                fields.remove(name);
                company.custom_fields.remove(name);
            }
        }
        released = true;
    }
    if !released {
        return Ok(());
    }
    company.fields = traits::from_map(fields)?;
    company.updated_at = at;
    rows::write_companies(c, org, &[(&company, placeholder)]).await?;
    // Equal inputs would leave the derivation as it is: it must write its values once more.
    sqlx::query(RESET_HASH).bind(&org.0).bind(&company.id.0).execute(&mut *c).await?;
    let changed = keys::replace(c, org, &[&company]).await?;
    let changed = changed.into_iter().map(|(key, _)| key).collect();
    let settled = links::reevaluate(c, org, &changed, at).await?;
    let mut marks = Marks::new();
    mark_settled(&mut marks, &settled);
    dirty::note(&mut marks, "released", &company.id.0);
    dirty::mark(c, org, &marks, at).await?;
    Ok(())
}

async fn user_row(c: &mut Conn, org: &OrgId, lookup: &Lookup) -> Result<Option<EndUser>> {
    let (sql, text) = match lookup {
        Lookup::Id(id) => (FIND_USER_BY_ID, id),
        Lookup::External(id) => (FIND_USER_BY_EXTERNAL, id),
    };
    let row: Option<UserRow> = sqlx::query_as(sql).bind(&org.0).bind(clean(text)).fetch_optional(c).await?;
    row.map(UserRow::read).transpose()
}

pub(crate) async fn find_user(c: &mut Conn, org: &OrgId, lookup: &Lookup) -> Result<Option<EndUser>> {
    user_row(c, org, lookup).await
}

pub(crate) async fn list_users(
    c: &mut Conn,
    org: &OrgId,
    company: Option<&CompanyId>,
    after: Option<&str>,
    limit: i64,
) -> Result<Listed<EndUser>> {
    let after = clean(after.unwrap_or_default());
    let rows: Vec<UserRow> = match company {
        Some(company) => {
            sqlx::query_as(LIST_USERS_OF)
                .bind(&org.0)
                .bind(after)
                .bind(limit)
                .bind(clean(&company.0))
                .fetch_all(c)
                .await?
        }
        None => sqlx::query_as(LIST_USERS).bind(&org.0).bind(after).bind(limit).fetch_all(c).await?,
    };
    listed_users(rows, limit)
}

pub(crate) async fn search_users(
    c: &mut Conn,
    org: &OrgId,
    search: &str,
    company: Option<&CompanyId>,
    after: Option<&str>,
    limit: i64,
) -> Result<Listed<EndUser>> {
    let pattern = rows::search_pattern(Some(search), str::to_ascii_lowercase);
    if pattern.is_empty() {
        return list_users(c, org, company, after, limit).await;
    }
    let sql = if company.is_some() { SEARCH_USERS_OF } else { SEARCH_USERS };
    let mut query =
        sqlx::query_as(sql).bind(&org.0).bind(clean(after.unwrap_or_default())).bind(limit).bind(pattern);
    if let Some(company) = company {
        query = query.bind(clean(&company.0));
    }
    listed_users(query.fetch_all(c).await?, limit)
}

fn listed_users(rows: Vec<UserRow>, limit: i64) -> Result<Listed<EndUser>> {
    let full = is_full(rows.len(), limit);
    let rows = rows.into_iter().map(UserRow::read).collect::<Result<Vec<_>>>()?;
    Ok(Listed { next: rows.last().filter(|_| full).map(|user| user.id.0.clone()), rows })
}

/// The product saw the user: an identify, not an import.
const SEEN_BY: &str = "sdk";

pub(crate) async fn put_user(
    c: &mut Conn,
    org: &OrgId,
    lookup: &Lookup,
    patch: &TraitPatch,
    company: Option<&CompanyId>,
    source: &WriteSource,
) -> Result<EndUser> {
    let write = ProductWrite {
        user: Some(UserPart {
            record: said(lookup, patch, source.rank),
            sighting: if source.source == SEEN_BY { Sighting::Seen } else { Sighting::Elsewhere },
            adopt: None,
            session: None,
        }),
        company: company.map(|id| RecordPart::named(Lookup::Id(id.0.clone()))),
        link: company.map(|_| source.rank),
        source: source.source.clone(),
        at: source.at,
    };
    let written = only(product::put(c, org, &[write]).await?)?;
    written.user.map(|(user, _)| user).ok_or_else(|| StoreError::Invalid("no user".to_owned()))
}

pub(crate) async fn delete_user(c: &mut Conn, org: &OrgId, id: &UserId, at: Timestamp) -> Result<bool> {
    super::serialise_links(c, org.as_str()).await?;
    let Some(user) = user_row(c, org, &Lookup::Id(id.0.clone())).await? else { return Ok(false) };
    let gone = sqlx::query(DELETE_USER).bind(&org.0).bind(&user.id.0).execute(&mut *c).await?;
    if gone.rows_affected() == 0 {
        return Ok(false);
    }
    let mut marks = Marks::new();
    let changed = members::after(c, org, &[(Some(&user), None)], &mut marks).await?;
    let emails = rows::trusted_email(&user).into_iter().collect();
    mark_settled(&mut marks, &people::reevaluate(c, org, &emails, &[user.id.0].into(), at).await?);
    let settled = links::reevaluate(c, org, &changed, at).await?;
    mark_settled(&mut marks, &settled);
    dirty::mark(c, org, &marks, at).await?;
    Ok(true)
}

pub(crate) async fn load_view(
    c: &mut Conn,
    org: &OrgId,
    user: Option<&Lookup>,
    company: Option<&Lookup>,
) -> Result<StoredView> {
    let user = match user {
        Some(lookup) => user_row(c, org, lookup).await?,
        None => None,
    };
    let lookup = match (company, &user) {
        (Some(lookup), _) => Some(lookup.clone()),
        (None, Some(user)) => user.company_id.as_ref().map(|id| Lookup::Id(id.0.clone())),
        (None, None) => None,
    };
    let company = match lookup {
        Some(lookup) => find_company(c, org, &lookup).await?,
        None => None,
    };
    Ok(StoredView { user, company })
}

pub(crate) async fn list_links(
    c: &mut Conn,
    org: &OrgId,
    state: Option<LinkState>,
    company: Option<&CompanyId>,
    after: Option<&str>,
    limit: i64,
) -> Result<Listed<CompanyLink>> {
    let (at, connection, party) = match after {
        None => (i64::MAX, String::new(), String::new()),
        Some(text) => {
            let mut parts = text.splitn(3, ' ');
            let at = parts.next().and_then(|at| at.parse().ok());
            match (at, parts.next(), parts.next()) {
                (Some(at), Some(connection), Some(party)) => (at, clean(connection), clean(party)),
                _ => {
                    return Err(StoreError::Invalid(
                        "`after` is not a place in the list of links".to_owned(),
                    ));
                }
            }
        }
    };
    let rows: Vec<LinkRow> = sqlx::query_as(LIST_LINKS)
        .bind(&org.0)
        .bind(state.map_or("", links::state_word))
        .bind(company.map_or(String::new(), |id| clean(&id.0)))
        .bind(at)
        .bind(connection)
        .bind(party)
        .bind(limit)
        .fetch_all(c)
        .await?;
    let next = rows
        .last()
        .filter(|_| is_full(rows.len(), limit))
        .map(|row| format!("{} {} {}", row.updated_at, row.connection_id, row.party_key));
    Ok(Listed { rows: rows.into_iter().map(LinkRow::read).collect::<Result<_>>()?, next })
}

pub(crate) async fn put_manual_link(
    c: &mut Conn,
    org: &OrgId,
    connection: &ConnectionId,
    party: &RecordKey,
    company: Option<&CompanyId>,
    at: Timestamp,
) -> Result<Option<CompanyLink>> {
    super::serialise_links(c, org.as_str()).await?;
    let key = clean(&key_text(party));
    let mut found = links::load_links(c, org, &connection.0, std::iter::once(&key)).await?;
    let Some(row) = found.remove(&key) else { return Ok(None) };
    let mut changed = BTreeSet::new();
    if let Some(company) = company {
        let Some(target) = company_row(c, org, &Lookup::Id(company.0.clone())).await? else {
            return Err(StoreError::Invalid(format!("there is no company {company}")));
        };
        if target.placeholder {
            sqlx::query(SETTLE_PLACEHOLDER).bind(&org.0).bind(&company.0).execute(&mut *c).await?;
            changed.extend(keys::of_company(&target.read()?));
        }
    }
    let old = row.company_id.clone();
    let (state, reason) = links::by_hand(company.map(|id| &id.0));
    let decided = LinkRow {
        company_id: company.map(|id| id.0.clone()),
        state: links::state_word(state).to_owned(),
        rule: Some(MANUAL.to_owned()),
        reason,
        updated_at: us(at),
        ..row
    };
    links::write_links(c, org, std::slice::from_ref(&decided)).await?;
    let mut settled = Settled::default();
    if old != decided.company_id && decided.person {
        let followed = people::follow(c, org, &[(connection.0.clone(), key)].into(), at).await?;
        settled.members.extend(followed.members);
        changed.extend(followed.keys);
        let left: BTreeSet<String> = old.into_iter().collect();
        changed.extend(links::remove_bare_placeholders(c, org, &left, &mut settled).await?);
    } else if old != decided.company_id {
        let connectors = links::connectors(c, org).await?;
        changed.extend(connectors.get(&connection.0).and_then(|connector| links::party_key(connector, &key)));
        settled.companies.extend(old.clone());
        settled.companies.extend(decided.company_id.clone());
        let left: BTreeSet<String> = old.into_iter().collect();
        changed.extend(links::remove_bare_placeholders(c, org, &left, &mut settled).await?);
    }
    settled.add(links::reevaluate(c, org, &changed, at).await?);
    let mut marks = Marks::new();
    mark_settled(&mut marks, &settled);
    dirty::mark(c, org, &marks, at).await?;
    decided.read().map(Some)
}

pub(crate) async fn count_identities(c: &mut Conn, org: &OrgId) -> Result<IdentityCounts> {
    #[derive(FromRow)]
    struct ByState(String, i64);
    let mut counts = IdentityCounts {
        companies: sqlx::query_scalar::<Db, _>(COUNT_COMPANIES).bind(&org.0).fetch_one(&mut *c).await?,
        users: sqlx::query_scalar::<Db, _>(COUNT_USERS).bind(&org.0).fetch_one(&mut *c).await?,
        ..IdentityCounts::default()
    };
    let rows: Vec<ByState> = sqlx::query_as(COUNT_LINKS).bind(&org.0).fetch_all(c).await?;
    for ByState(state, count) in rows {
        match state.as_str() {
            "linked" => counts.linked = count,
            "ambiguous" => counts.ambiguous = count,
            _ => counts.unmatched += count,
        }
    }
    Ok(counts)
}
