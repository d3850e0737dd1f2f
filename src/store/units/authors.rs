//! Who writes a conversation, a ticket or an event: the user and the company that a write names.

use connector_sdk::Timestamp;

use super::{Conn, identity, keys, new_id_at, rows};
use crate::domain::companies::{FieldSource, TraitPatch};
use crate::domain::users::{EndUser, UserFields};
use crate::domain::{CompanyId, OrgId, Rank, UserId};
use crate::store::conversations::{Author, Refusal};
use crate::store::identity::{Lookup, WriteSource};
use crate::store::{Result, StoreError};

statements! {
    // What a browser merely claimed comes after what others know.
    FIND_BY_EMAIL = "SELECT id FROM end_users WHERE org_id = $1 AND email_key = $2
        ORDER BY CASE WHEN matchable_email IS NULL THEN 1 ELSE 0 END, id LIMIT 1";
}

/// What a write names, as it is stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named {
    pub(crate) user: Option<UserId>,
    pub(crate) company: Option<CompanyId>,
}

/// How the user that an event names is written: the product sees it.
const SEEN_BY: &str = "sdk";
/// A user that is named elsewhere is known, and not seen.
const NAMED_BY: &str = "chat";

/// The user that a write names, where there is one. Writes nothing.
pub(crate) async fn find(
    c: &mut Conn,
    org: &OrgId,
    author: &Author,
) -> Result<std::result::Result<Option<UserId>, Refusal>> {
    let Some(lookup) = &author.user else { return Ok(Ok(None)) };
    let found = identity::find_user(c, org, lookup).await?;
    if found.is_none() && matches!(lookup, Lookup::Id(_)) {
        return Ok(Err(Refusal::Unknown("user_id")));
    }
    Ok(Ok(found.map(|user| user.id)))
}

/// The user, made where the caller's id is not known yet, and the company: the user's, else the one that is named.
/// `seen`: the user is in the product now. To be called when [`find`] has refused nothing.
pub(crate) async fn resolve(c: &mut Conn, org: &OrgId, author: &Author, seen: bool) -> Result<Named> {
    let mut user = match &author.user {
        Some(lookup) => identity::find_user(c, org, lookup).await?,
        None => None,
    };
    if let Some(lookup) = &author.user
        && (seen || user.is_none())
    {
        let source = if seen { SEEN_BY } else { NAMED_BY };
        let source = WriteSource { rank: author.rank, source: source.to_owned(), at: author.at };
        user = Some(identity::put_user(c, org, lookup, &TraitPatch::default(), None, &source).await?);
    }
    let linked = user.as_ref().and_then(|user| user.company_id.clone());
    let company = match (linked, &author.company) {
        (Some(company), _) => Some(company),
        (None, Some(lookup)) => identity::find_company(c, org, lookup).await?.map(|company| company.id),
        (None, None) => None,
    };
    Ok(Named { user: user.map(|user| user.id), company })
}

/// The user with that address: one whom others know by it, else one who claims it.
pub(crate) async fn find_by_email(c: &mut Conn, org: &OrgId, email: &str) -> Result<Option<EndUser>> {
    let Some((_, email)) = keys::key("email", email) else { return Ok(None) };
    let found: Option<String> =
        sqlx::query_scalar(FIND_BY_EMAIL).bind(&org.0).bind(email).fetch_optional(&mut *c).await?;
    match found {
        Some(id) => identity::find_user(c, org, &Lookup::Id(id)).await,
        None => Ok(None),
    }
}

/// Makes a user of whom nothing but this is known.
pub(crate) async fn make_user(
    c: &mut Conn,
    org: &OrgId,
    external_id: Option<String>,
    name: Option<String>,
    email: Option<String>,
    rank: Rank,
    at: Timestamp,
) -> Result<EndUser> {
    let from = FieldSource { rank, source: SEEN_BY.to_owned(), at };
    let named = [("name", &name), ("email", &email)];
    let provenance = named
        .into_iter()
        .filter(|(_, value)| value.is_some() && rank.level() != Rank::Server.level())
        .map(|(key, _)| (key.to_owned(), from.clone()))
        .collect();
    let user = EndUser {
        id: UserId(new_id_at(UserId::PREFIX, at)),
        external_id,
        company_id: None,
        source: SEEN_BY.to_owned(),
        fields: UserFields { name, email, ..UserFields::default() },
        custom_fields: serde_json::Map::new(),
        context: std::collections::BTreeMap::new(),
        provenance,
        first_seen: None,
        last_seen: None,
        is_test: false,
        created_at: at,
        updated_at: at,
    };
    rows::write_users(c, org, &[&user]).await.map_err(raced)?;
    Ok(user)
}

/// A concurrent writer made the row first: the unit is run again and finds it.
pub(crate) fn raced(error: StoreError) -> StoreError {
    if error.is_unique_violation() {
        StoreError::Contended { attempts: 1, reason: error.to_string() }
    } else {
        error
    }
}
