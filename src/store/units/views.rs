//! What a chat reads: a user and its company, and what tells that view from another.

use sqlx::FromRow;

use super::rows::{CompanyRow, UserRow};
use super::{Conn, Db};
use crate::domain::OrgId;
use crate::store::Result;
use crate::store::conversations::{ChatView, ViewStamp};
use crate::store::convert::clean;
use crate::store::identity::{Lookup, StoredView};

statements! {
    // Who is meant is found first, and fenced; CASE, for COALESCE may leak, and would walk the organisation.
    STAMP = concat!("SELECT u.id AS user_id, u.version AS user_version, k.id AS company_id, k.version AS company_version
        FROM (SELECT
            COALESCE((SELECT x.id FROM end_users x WHERE x.org_id = $1 AND x.external_id = $3), $2) AS user_id,
            COALESCE((SELECT y.id FROM companies y WHERE y.org_id = $1 AND y.external_id = $5), $4) AS company_id",
            fence!(), ") o
        LEFT JOIN end_users u ON u.org_id = $1 AND u.id = o.user_id
        LEFT JOIN companies k ON k.org_id = $1
            AND k.id = CASE WHEN u.company_id IS NULL THEN o.company_id ELSE u.company_id END");
    USER_BY_ID = "SELECT * FROM end_users WHERE org_id = $1 AND id = $2";
    USER_BY_EXTERNAL = "SELECT * FROM end_users WHERE org_id = $1 AND external_id = $2";
    COMPANY_BY_ID = "SELECT * FROM companies WHERE org_id = $1 AND id = $2";
    COMPANY_BY_EXTERNAL = "SELECT * FROM companies WHERE org_id = $1 AND external_id = $2";
}

#[derive(FromRow)]
struct StampRow {
    user_id: Option<String>,
    user_version: Option<i64>,
    company_id: Option<String>,
    company_version: Option<i64>,
}

/// Our id, and the caller's. What looks like an id of ours may be one of the caller's, which goes before.
fn parted(lookup: Option<&Lookup>) -> (Option<String>, Option<String>) {
    match lookup {
        None => (None, None),
        Some(Lookup::Id(id)) => (Some(clean(id)), Some(clean(id))),
        Some(Lookup::External(id)) => (None, Some(clean(id))),
    }
}

pub(crate) async fn find_view_stamp(
    c: &mut Conn,
    org: &OrgId,
    user: Option<&Lookup>,
    company: Option<&Lookup>,
) -> Result<ViewStamp> {
    let ((user_id, user_external), (company_id, company_external)) = (parted(user), parted(company));
    let row: StampRow = sqlx::query_as(STAMP)
        .bind(&org.0)
        .bind(user_id)
        .bind(user_external)
        .bind(company_id)
        .bind(company_external)
        .fetch_one(c)
        .await?;
    Ok(ViewStamp {
        user: row.user_id.zip(row.user_version),
        company: row.company_id.zip(row.company_version),
    })
}

pub(crate) async fn load_chat_view(
    c: &mut Conn,
    org: &OrgId,
    user: Option<&Lookup>,
    company: Option<&Lookup>,
) -> Result<ChatView> {
    let (id, external) = parted(user);
    let row: Option<UserRow> = find(c, org, [(USER_BY_EXTERNAL, external), (USER_BY_ID, id)]).await?;
    let mut stamp = ViewStamp::default();
    let user = match row {
        None => None,
        Some(row) => {
            let version = row.version;
            let user = row.read()?;
            stamp.user = Some((user.id.0.clone(), version));
            Some(user)
        }
    };
    let linked = user.as_ref().and_then(|user| user.company_id.as_ref());
    let (id, external) = match linked {
        Some(id) => (Some(id.0.clone()), None),
        None => parted(company),
    };
    let row: Option<CompanyRow> =
        find(c, org, [(COMPANY_BY_EXTERNAL, external), (COMPANY_BY_ID, id)]).await?;
    let company = match row {
        None => None,
        Some(row) => {
            let version = row.version;
            let company = row.read()?;
            stamp.company = Some((company.id.0.clone(), version));
            Some(company)
        }
    };
    Ok(ChatView { view: StoredView { user, company }, stamp })
}

/// The first row that one of the statements gives; those without a text are left out.
async fn find<R>(
    c: &mut Conn,
    org: &OrgId,
    statements: [(&'static str, Option<String>); 2],
) -> Result<Option<R>>
where
    R: for<'r> FromRow<'r, <Db as sqlx::Database>::Row> + Send + Unpin,
{
    for (sql, text) in statements {
        if let Some(text) = text {
            let row = sqlx::query_as::<Db, R>(sql).bind(&org.0).bind(text).fetch_optional(&mut *c).await?;
            if row.is_some() {
                return Ok(row);
            }
        }
    }
    Ok(None)
}
