//! `company_keys`: what parties find companies by.

use std::collections::BTreeSet;

use sqlx::FromRow;

use super::{Conn, bulk};
use crate::domain::companies::Company;
use crate::domain::{OrgId, Rank, keys};
use crate::store::Result;
use crate::store::convert::clean;

statements! {
    LOAD_KEYS = "SELECT kind, value FROM company_keys WHERE org_id = $1 AND company_id = $2 AND kind <> 'email'";
    DELETE_KEY = "DELETE FROM company_keys WHERE org_id = $1 AND kind = $2 AND value = $3 AND company_id = $4";
    OTHER_USER_WITH_EMAIL = "SELECT COUNT(*) FROM end_users
        WHERE org_id = $1 AND company_id = $2 AND matchable_email = $3 AND id <> $4";
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
    for (name, value) in &company.custom_fields {
        if trusted(name) {
            set.extend(keys::scalar(value).and_then(|text| key(&format!("field:{name}"), &text)));
        }
    }
    set
}

#[derive(FromRow)]
struct KeyRow {
    kind: String,
    value: String,
}

/// Brings a company's stored keys in step. Answers those that came or went.
pub(crate) async fn replace(c: &mut Conn, org: &OrgId, company: &Company) -> Result<BTreeSet<Key>> {
    let stored: Vec<KeyRow> =
        sqlx::query_as(LOAD_KEYS).bind(&org.0).bind(&company.id.0).fetch_all(&mut *c).await?;
    let stored: BTreeSet<Key> = stored.into_iter().map(|row| (row.kind, row.value)).collect();
    let wanted = of_company(company);
    for (kind, value) in stored.difference(&wanted) {
        remove(c, org, kind, value, &company.id.0).await?;
    }
    let fresh: Vec<(Key, String)> =
        wanted.difference(&stored).map(|key| (key.clone(), company.id.0.clone())).collect();
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

async fn remove(c: &mut Conn, org: &OrgId, kind: &str, value: &str, company: &str) -> Result<()> {
    sqlx::query(DELETE_KEY).bind(&org.0).bind(kind).bind(value).bind(company).execute(c).await?;
    Ok(())
}

/// Adds a user's address to the keys of its company. Answers the key when it is new.
pub(crate) async fn add_email(c: &mut Conn, org: &OrgId, company: &str, email: &str) -> Result<Option<Key>> {
    let key = ("email".to_owned(), email.to_owned());
    let inserted = insert(c, org, &[(key.clone(), company.to_owned())]).await?;
    Ok((inserted > 0).then_some(key))
}

/// Takes a user's address from the keys of the company that it leaves, unless another user there has it.
pub(crate) async fn drop_email(
    c: &mut Conn,
    org: &OrgId,
    company: &str,
    email: &str,
    user: &str,
) -> Result<Option<Key>> {
    let others: i64 = sqlx::query_scalar(OTHER_USER_WITH_EMAIL)
        .bind(&org.0)
        .bind(company)
        .bind(email)
        .bind(user)
        .fetch_one(&mut *c)
        .await?;
    if others > 0 {
        return Ok(None);
    }
    remove(c, org, "email", email, company).await?;
    Ok(Some(("email".to_owned(), email.to_owned())))
}
