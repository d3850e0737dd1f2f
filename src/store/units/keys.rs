//! `company_keys`: what parties find companies by.

use std::collections::BTreeSet;

use sqlx::FromRow;

use super::{Conn, bulk};
use crate::domain::companies::Company;
use crate::domain::keys::{self, notes_party};
use crate::domain::{OrgId, Rank};
use crate::store::Result;
use crate::store::convert::{clean, json_list, to_json};
use crate::store::lay::DERIVED;

statements! {
    LOAD_KEYS = concat!("SELECT kind, value, company_id FROM company_keys WHERE org_id = $1 AND company_id",
        in_list!("$2"), " AND kind <> 'email'");
    DELETE_KEYS = concat!("DELETE FROM company_keys WHERE org_id = $1 AND (kind, value, company_id) IN
        (SELECT value ->> 0, value ->> 1, value ->> 2 FROM", json_rows!("$2"), fence!(), ")");
    // Run when the users are written: whoever still has the address there keeps the key.
    DROP_EMAILS = concat!("DELETE FROM company_keys
        WHERE org_id = $1 AND kind = 'email' AND (company_id, value) IN
            (SELECT value ->> 0, value ->> 1 FROM", json_rows!("$2"), fence!(), ")
            AND NOT EXISTS (SELECT 1 FROM end_users u WHERE u.company_id = company_keys.company_id
                AND u.matchable_email = company_keys.value AND u.org_id = $1)
        RETURNING value");
}

/// Kind and normalised value.
pub(crate) type Key = (String, String);

/// Values longer than this identify nobody and would burden the index.
const LONGEST: usize = 512;

/// The key of a kind, where the value has a normal form.
pub(crate) fn key(kind: &str, value: &str) -> Option<Key> {
    let value = keys::normalise(kind, &clean(value))?;
    (value.len() <= LONGEST && kind.len() <= LONGEST).then(|| (clean(kind), value))
}

/// The keys of a company but its users' e-mail addresses. What a browser merely claimed identifies nobody.
pub(crate) fn of_company(company: &Company) -> BTreeSet<Key> {
    let trusted = |name: &str| company.provenance.get(name).is_none_or(|source| source.rank != Rank::Claimed);
    let mut set = BTreeSet::new();
    set.extend(company.external_id.as_deref().and_then(|id| key("external_id", id)));
    if trusted("domain") {
        set.extend(company.fields.domain.as_deref().and_then(|domain| key("domain", domain)));
    }
    if trusted("name") {
        set.extend(company.fields.name.as_deref().and_then(|name| key("name", name)));
    }
    // An id that was noted because a party is linked here must not be why it is.
    let noted = |name: &str| {
        notes_party(name) && company.provenance.get(name).is_some_and(|source| source.source == DERIVED)
    };
    for (name, value) in &company.custom_fields {
        if trusted(name) && !noted(name) {
            set.extend(keys::scalar(value).and_then(|text| key(&format!("field:{name}"), &text)));
        }
    }
    set
}

#[derive(FromRow)]
struct KeyRow {
    kind: String,
    value: String,
    company_id: String,
}

/// Brings the stored keys of companies in step. Answers those that came or went, with their company.
pub(crate) async fn replace(
    c: &mut Conn,
    org: &OrgId,
    companies: &[&Company],
) -> Result<BTreeSet<(Key, String)>> {
    if companies.is_empty() {
        return Ok(BTreeSet::new());
    }
    let ids = json_list(companies.iter().map(|company| &company.id.0));
    let stored: Vec<KeyRow> = sqlx::query_as(LOAD_KEYS).bind(&org.0).bind(ids).fetch_all(&mut *c).await?;
    let stored: BTreeSet<(Key, String)> =
        stored.into_iter().map(|row| ((row.kind, row.value), row.company_id)).collect();
    let wanted: BTreeSet<(Key, String)> = companies
        .iter()
        .flat_map(|company| of_company(company).into_iter().map(|key| (key, company.id.0.clone())))
        .collect();
    remove(c, org, stored.difference(&wanted)).await?;
    let fresh: Vec<(Key, String)> = wanted.difference(&stored).cloned().collect();
    insert(c, org, &fresh).await?;
    Ok(stored.symmetric_difference(&wanted).cloned().collect())
}

/// Adds keys of companies.
pub(crate) async fn insert(c: &mut Conn, org: &OrgId, rows: &[(Key, String)]) -> Result<u64> {
    bulk::insert(
        c,
        "INSERT INTO company_keys (org_id, kind, value, company_id)",
        rows,
        "ON CONFLICT (org_id, kind, value, company_id) DO NOTHING",
        |row, ((kind, value), company)| {
            row.push_bind(&org.0).push_bind(kind).push_bind(value).push_bind(company);
        },
    )
    .await
}

async fn remove(c: &mut Conn, org: &OrgId, keys: impl Iterator<Item = &(Key, String)>) -> Result<()> {
    let list: Vec<_> = keys.map(|((kind, value), company)| (kind, value, company)).collect();
    if !list.is_empty() {
        sqlx::query(DELETE_KEYS).bind(&org.0).bind(to_json(&list)?).execute(c).await?;
    }
    Ok(())
}

/// Takes addresses from the keys of companies whose last user with the address has gone. Answers those that went.
pub(crate) async fn drop_emails(
    c: &mut Conn,
    org: &OrgId,
    gone: &BTreeSet<(String, String)>,
) -> Result<Vec<Key>> {
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    let dropped: Vec<String> =
        sqlx::query_scalar(DROP_EMAILS).bind(&org.0).bind(to_json(gone)?).fetch_all(c).await?;
    Ok(dropped.into_iter().map(|value| ("email".to_owned(), value)).collect())
}

/// Adds addresses of users to the keys of their companies. Answers the keys, new or not.
pub(crate) async fn add_emails(
    c: &mut Conn,
    org: &OrgId,
    come: &BTreeSet<(String, String)>,
) -> Result<Vec<Key>> {
    let rows: Vec<(Key, String)> =
        come.iter().map(|(company, email)| (("email".to_owned(), email.clone()), company.clone())).collect();
    let inserted = insert(c, org, &rows).await?;
    Ok(if inserted == 0 { Vec::new() } else { rows.into_iter().map(|(key, _)| key).collect() })
}
