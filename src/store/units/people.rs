//! Which end user a provider's person is, and what its records lay over that user.
//!
//! A link is a function of what the records say and of the users whom others know, whatever came first: what a record
//! says is kept, and a user who comes, goes or changes its address decides the links again that could depend on it. A
//! user who stands by such records alone is a placeholder: it goes into the user whom the product knows by the same
//! address, and with its last record.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use connector_sdk::{Fact, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::dirty::Marks;
use super::links::{self, Settled};
use super::members;
use super::rows::{self, UserRow};
use super::{Conn, bulk, keys, product, user_events};
use crate::domain::users::EndUser;
use crate::domain::{CompanyId, OrgId, UserId};
use crate::store::Result;
use crate::store::convert::{clean, from_json, json_list, key_text, to_json, us};
use crate::store::people::{PersonObserved, Said, has_own_word, inherit, lay_person};

statements! {
    LOAD_LINKS = concat!("SELECT * FROM user_links WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"));
    LINKS_OF_USERS = concat!("SELECT * FROM user_links WHERE org_id = $1 AND user_id IS NOT NULL AND user_id",
        in_list!("$2"));
    BY_ADDRESS = concat!("SELECT DISTINCT connection_id, record_key FROM user_candidates
        WHERE org_id = $1 AND email_key", in_list!("$2"));
    USERS_BY_ADDRESS = concat!("SELECT id FROM end_users WHERE org_id = $1 AND email_key IS NOT NULL AND email_key",
        in_list!("$2"));
    LOCK_USERS = concat!("SELECT * FROM end_users WHERE org_id = $1 AND id", in_list!("$2"), " ORDER BY id",
        for_update!());
    COMPANIES_OF = concat!("SELECT party_key, company_id FROM company_links
        WHERE org_id = $1 AND connection_id = $2 AND company_id IS NOT NULL AND party_key", in_list!("$3"));
    OWNERS = concat!("SELECT record_key, facts FROM mirror_records
        WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"));
    OWNED_BY = concat!("SELECT record_key FROM user_links WHERE org_id = $1 AND connection_id = $2
        AND owner_key IS NOT NULL AND owner_key", in_list!("$3"), " AND record_key > $4 ORDER BY record_key LIMIT $5");
    OF_CONNECTION = "SELECT record_key FROM user_links
        WHERE org_id = $1 AND connection_id = $2 AND record_key > $3 ORDER BY record_key LIMIT $4";
    TEST_CONNECTIONS = "SELECT id FROM connections WHERE org_id = $1 AND mode = 'test'";
    DELETE_USER_LINKS = concat!("DELETE FROM user_links
        WHERE org_id = $1 AND connection_id = $2 AND record_key", in_list!("$3"));
    DELETE_USER_CANDIDATES = concat!("DELETE FROM user_candidates
        WHERE org_id = $1 AND (email_key, connection_id, record_key) IN
            (SELECT value ->> 0, value ->> 1, value ->> 2 FROM", json_rows!("$2"), fence!(), ")");
    DELETE_USERS = concat!("DELETE FROM end_users WHERE org_id = $1 AND id", in_list!("$2"));
}

/// A record: its connection and its key.
pub(crate) type Place = (String, String);

/// People in one step, where there may be very many.
const STEP: i64 = 1_000;

/// A row of `user_links`.
#[derive(Debug, Clone, PartialEq, FromRow)]
struct UserLink {
    connection_id: String,
    record_key: String,
    user_id: Option<String>,
    state: String,
    reason: Option<String>,
    owner_key: Option<String>,
    evidence: String,
    updated_at: i64,
}

/// The user stands by records alone.
const MADE: &str = "made";
/// The product knows the user.
const JOINED: &str = "joined";
/// Several users have the address.
const AMBIGUOUS: &str = "ambiguous";
/// Nobody has it, and nobody is to be made.
const UNMATCHED: &str = "unmatched";

/// What a record says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Evidence {
    source: String,
    /// In their normal form, the main one first.
    emails: Vec<String>,
    traits: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    merged: Vec<String>,
    create: bool,
}

impl Evidence {
    fn of(person: &PersonObserved) -> Self {
        let mut emails = Vec::new();
        for (_, email) in person.emails.iter().filter_map(|email| keys::key("email", email)) {
            if !emails.contains(&email) {
                emails.push(email);
            }
        }
        Self {
            source: person.source.clone(),
            emails,
            traits: person.traits.iter().map(|(key, value)| (clean(key), clean(value))).collect(),
            owner: person.owner.as_ref().map(|key| clean(&key_text(key))),
            merged: person.merged.iter().map(|key| clean(&key_text(key))).collect(),
            create: person.create,
        }
    }

    fn read(link: &UserLink) -> Result<Self> {
        from_json("user_links", "evidence", &link.record_key, &link.evidence)
    }
}

/// A person whose user is to be decided; without evidence the record is gone.
struct Item {
    place: Place,
    evidence: Option<Evidence>,
    existing: Option<UserLink>,
}

/// What deciding changed: keys of companies that decide links anew, and companies whose team changed.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    pub(crate) keys: BTreeSet<keys::Key>,
    pub(crate) members: BTreeSet<String>,
}

/// Takes people as a read saw them, and records that are gone. What is known already costs one look and writes nothing.
pub(crate) async fn observe(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    people: &[&PersonObserved],
    gone: &BTreeSet<String>,
    at: Timestamp,
) -> Result<Settled> {
    let mut seen: BTreeMap<String, Option<&PersonObserved>> =
        gone.iter().map(|key| (key.clone(), None)).collect();
    for person in people {
        seen.insert(clean(&key_text(&person.record)), Some(person).filter(|person| !person.deleted).copied());
    }
    if seen.is_empty() {
        return Ok(Settled::default());
    }
    let mut items = changed_items(c, org, connection, &seen).await?;
    if items.is_empty() {
        return Ok(Settled::default());
    }
    if super::MANY_WRITERS {
        super::serialise_links(c, org.as_str()).await?;
        items = changed_items(c, org, connection, &seen).await?;
    }
    decide_all(c, org, items, BTreeSet::new(), at).await
}

/// Those of whom something else is known than is seen.
async fn changed_items(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    seen: &BTreeMap<String, Option<&PersonObserved>>,
) -> Result<Vec<Item>> {
    let mut known = load_links(c, org, connection, seen.keys()).await?;
    let mut items = Vec::new();
    for (key, person) in seen {
        let existing = known.remove(key);
        let evidence = person.map(Evidence::of);
        let same = match (&existing, &evidence) {
            (None, None) => true,
            (Some(row), Some(evidence)) => row.evidence == to_json(evidence)?,
            _ => false,
        };
        if !same {
            items.push(Item { place: (connection.to_owned(), key.clone()), evidence, existing });
        }
    }
    Ok(items)
}

async fn load_links<'k>(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    records: impl Iterator<Item = &'k String>,
) -> Result<BTreeMap<String, UserLink>> {
    let rows: Vec<UserLink> = sqlx::query_as(LOAD_LINKS)
        .bind(&org.0)
        .bind(connection)
        .bind(json_list(records))
        .fetch_all(c)
        .await?;
    Ok(rows.into_iter().map(|row| (row.record_key.clone(), row)).collect())
}

/// Decides the links again that depend on these addresses, or lead to these users.
pub(crate) async fn reevaluate(
    c: &mut Conn,
    org: &OrgId,
    emails: &BTreeSet<String>,
    users: &BTreeSet<String>,
    at: Timestamp,
) -> Result<Settled> {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    if !emails.is_empty() {
        let found: Vec<Place> =
            sqlx::query_as(BY_ADDRESS).bind(&org.0).bind(json_list(emails)).fetch_all(&mut *c).await?;
        for (connection, record) in found {
            places.entry(connection).or_default().insert(record);
        }
    }
    let mut rows: BTreeMap<Place, UserLink> = BTreeMap::new();
    if !users.is_empty() {
        let found: Vec<UserLink> =
            sqlx::query_as(LINKS_OF_USERS).bind(&org.0).bind(json_list(users)).fetch_all(&mut *c).await?;
        rows.extend(found.into_iter().map(|row| (place_of(&row), row)));
    }
    for (connection, records) in places {
        for (record, row) in load_links(c, org, &connection, records.iter()).await? {
            rows.insert((connection.clone(), record), row);
        }
    }
    if rows.is_empty() {
        return Ok(Settled::default());
    }
    super::serialise_links(c, org.as_str()).await?;
    let mut items = Vec::with_capacity(rows.len());
    for (place, row) in rows {
        items.push(Item { place, evidence: Some(Evidence::read(&row)?), existing: Some(row) });
    }
    decide_all(c, org, items, BTreeSet::new(), at).await
}

fn place_of(link: &UserLink) -> Place {
    (link.connection_id.clone(), link.record_key.clone())
}

/// Users follow when a company's link changed by which they were of it.
pub(crate) async fn follow(
    c: &mut Conn,
    org: &OrgId,
    places: &BTreeSet<Place>,
    at: Timestamp,
) -> Result<Followed> {
    settle(c, org, Vec::new(), places, at).await
}

/// Lays the names of those of our side anew over the users whom they look after.
pub(crate) async fn name_owners(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    owners: &BTreeSet<String>,
    at: Timestamp,
) -> Result<Settled> {
    let mut settled = Settled::default();
    let mut after = String::new();
    while !owners.is_empty() {
        let records: Vec<String> = sqlx::query_scalar(OWNED_BY)
            .bind(&org.0)
            .bind(connection)
            .bind(json_list(owners))
            .bind(&after)
            .bind(STEP)
            .fetch_all(&mut *c)
            .await?;
        let Some(last) = records.last() else { break };
        after.clone_from(last);
        let places = records.into_iter().map(|record| (connection.to_owned(), record)).collect();
        settled.add(decide_all(c, org, Vec::new(), places, at).await?);
    }
    Ok(settled)
}

/// Forgets all people of a connection.
pub(crate) async fn forget_connection(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    at: Timestamp,
) -> Result<Settled> {
    let mut settled = Settled::default();
    let mut after = String::new();
    loop {
        let records: Vec<String> = sqlx::query_scalar(OF_CONNECTION)
            .bind(&org.0)
            .bind(connection)
            .bind(&after)
            .bind(STEP)
            .fetch_all(&mut *c)
            .await?;
        let Some(last) = records.last() else { return Ok(settled) };
        after.clone_from(last);
        settled.add(observe(c, org, connection, &[], &records.into_iter().collect(), at).await?);
    }
}

/// The users of records.
pub(crate) async fn users_of(
    c: &mut Conn,
    org: &OrgId,
    connection: &str,
    records: &BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    Ok(load_links(c, org, connection, records.iter())
        .await?
        .into_values()
        .filter_map(|row| row.user_id)
        .collect())
}

/// The records of a user, by connection.
pub(crate) async fn records_of(
    c: &mut Conn,
    org: &OrgId,
    user: &UserId,
) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let rows: Vec<UserLink> =
        sqlx::query_as(LINKS_OF_USERS).bind(&org.0).bind(json_list([&user.0])).fetch_all(c).await?;
    let mut records: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        records.entry(row.connection_id).or_default().insert(row.record_key);
    }
    Ok(records)
}

/// Decides people, lays what is said over their users, and goes on with the links of companies that this decides.
async fn decide_all(
    c: &mut Conn,
    org: &OrgId,
    items: Vec<Item>,
    places: BTreeSet<Place>,
    at: Timestamp,
) -> Result<Settled> {
    let followed = settle(c, org, items, &places, at).await?;
    let mut settled = Settled { members: followed.members, ..Settled::default() };
    settled.add(links::reevaluate(c, org, &followed.keys, at).await?);
    Ok(settled)
}

/// Whose user a person is.
enum Decision {
    /// A user whom the product knows.
    Join(String),
    /// A user who stands by records alone.
    Share(String),
    /// Nobody yet.
    New,
    Ambiguous(String),
    Open,
}

/// The users whom people may be, and all links to them.
#[derive(Default)]
struct Desk {
    /// As they were read; `None` for those that are new.
    users: BTreeMap<String, (Option<EndUser>, EndUser)>,
    links: BTreeMap<Place, UserLink>,
    /// Users by an address that others know them by.
    by_email: HashMap<String, BTreeSet<String>>,
    /// Users who stand by records alone.
    made: HashSet<String>,
}

impl Desk {
    async fn read(
        c: &mut Conn,
        org: &OrgId,
        emails: &BTreeSet<&String>,
        ids: BTreeSet<String>,
    ) -> Result<Self> {
        let mut ids = ids;
        if !emails.is_empty() {
            let found: Vec<String> = sqlx::query_scalar(USERS_BY_ADDRESS)
                .bind(&org.0)
                .bind(json_list(emails))
                .fetch_all(&mut *c)
                .await?;
            ids.extend(found);
        }
        let mut desk = Self::default();
        if ids.is_empty() {
            return Ok(desk);
        }
        let list = json_list(&ids);
        let users: Vec<UserRow> =
            sqlx::query_as(LOCK_USERS).bind(&org.0).bind(&list).fetch_all(&mut *c).await?;
        for row in users {
            let user = row.read()?;
            if let Some(email) = rows::trusted_email(&user) {
                desk.by_email.entry(email).or_default().insert(user.id.0.clone());
            }
            desk.users.insert(user.id.0.clone(), (Some(user.clone()), user));
        }
        let links: Vec<UserLink> =
            sqlx::query_as(LINKS_OF_USERS).bind(&org.0).bind(&list).fetch_all(&mut *c).await?;
        for link in links {
            if let Some(id) = &link.user_id
                && link.state == MADE
                && desk.users.get(id).is_some_and(|(_, user)| user.external_id.is_none())
            {
                desk.made.insert(id.clone());
            }
            desk.links.insert(place_of(&link), link);
        }
        Ok(desk)
    }

    fn has_name(&self, id: &str) -> bool {
        self.users.get(id).is_some_and(|(_, user)| user.external_id.is_some())
    }

    /// The first address that somebody has whom the product knows decides; where several have it, nobody is guessed.
    fn decide(&self, evidence: &Evidence, current: Option<&String>, merged: &[String]) -> Decision {
        for email in &evidence.emails {
            let known = self.by_email.get(email).into_iter().flatten().filter(|id| !self.made.contains(*id));
            let known: Vec<&String> = known.collect();
            let named: Vec<&String> = known.iter().copied().filter(|id| self.has_name(id)).collect();
            match if named.is_empty() { &known[..] } else { &named[..] } {
                [] => {}
                [one] => return Decision::Join((*one).clone()),
                several => {
                    let ids: Vec<&str> = several.iter().take(5).map(|id| id.as_str()).collect();
                    return Decision::Ambiguous(format!(
                        "{} users have the address: {}",
                        several.len(),
                        ids.join(", ")
                    ));
                }
            }
        }
        let of_merged: BTreeSet<&String> = merged.iter().filter(|id| self.users.contains_key(*id)).collect();
        let mut known = of_merged.iter().copied().filter(|id| !self.made.contains(*id));
        if let (Some(one), None) = (known.next(), known.next()) {
            return Decision::Join(one.clone());
        }
        if !evidence.create {
            return Decision::Open;
        }
        let by_main = evidence.emails.first().and_then(|email| self.by_email.get(email));
        let made = |id: &&String| self.made.contains(*id);
        let shared = by_main.into_iter().flatten().find(made);
        let shared = shared.or(current.filter(made)).or_else(|| of_merged.iter().copied().find(made));
        shared.map_or(Decision::New, |id| Decision::Share(id.clone()))
    }

    fn make(&mut self, evidence: &Evidence, at: Timestamp) -> String {
        let user = product::new_user(None, &evidence.source, at);
        let id = user.id.0.clone();
        if let Some(email) = evidence.emails.first() {
            self.by_email.entry(email.clone()).or_default().insert(id.clone());
        }
        self.made.insert(id.clone());
        self.users.insert(id.clone(), (None, user));
        id
    }
}

async fn settle(
    c: &mut Conn,
    org: &OrgId,
    mut items: Vec<Item>,
    places: &BTreeSet<Place>,
    at: Timestamp,
) -> Result<Followed> {
    let mut merged = add_merged(c, org, &mut items).await?;
    let emails: BTreeSet<&String> =
        items.iter().flat_map(|item| &item.evidence).flat_map(|evidence| &evidence.emails).collect();
    let known = items.iter().filter_map(|item| item.existing.as_ref()?.user_id.clone());
    let mut ids: BTreeSet<String> = known.collect();
    let mut touched: BTreeSet<String> = ids.clone();
    for (connection, records) in by_connection(places) {
        let records = records.into_iter().cloned().collect();
        let users = users_of(c, org, connection, &records).await?;
        touched.extend(users.iter().cloned());
        ids.extend(users);
    }
    let mut desk = Desk::read(c, org, &emails, ids).await?;
    // Whom the users that are left go into.
    let mut into: HashMap<String, String> = HashMap::new();
    let mut written: Vec<Place> = Vec::new();
    for item in &items {
        let old = item.existing.as_ref().and_then(|row| row.user_id.clone());
        let Some(evidence) = &item.evidence else {
            desk.links.remove(&item.place);
            continue;
        };
        let merged = merged.remove(&item.place).unwrap_or_default();
        let (state, user, reason) = match desk.decide(evidence, old.as_ref(), &merged) {
            Decision::Join(id) => (JOINED, Some(id), None),
            Decision::Share(id) => (MADE, Some(id), None),
            Decision::New => (MADE, Some(desk.make(evidence, at)), None),
            Decision::Ambiguous(reason) => (AMBIGUOUS, None, Some(reason)),
            Decision::Open => (UNMATCHED, None, None),
        };
        if let Some(new) = &user {
            let left = merged.into_iter().chain(old).filter(|id| id != new);
            into.extend(left.map(|id| (id, new.clone())));
            touched.insert(new.clone());
        }
        let row = UserLink {
            connection_id: item.place.0.clone(),
            record_key: item.place.1.clone(),
            user_id: user,
            state: state.to_owned(),
            reason,
            owner_key: evidence.owner.clone(),
            evidence: to_json(evidence)?,
            updated_at: us(at),
        };
        let same = |old: &UserLink| UserLink { updated_at: row.updated_at, ..old.clone() } == row;
        if !item.existing.as_ref().is_some_and(same) {
            written.push(item.place.clone());
        }
        desk.links.insert(item.place.clone(), row);
    }
    lay_all(c, org, &mut desk, &touched, at).await?;
    let gone = vanishing(c, org, &mut desk, &touched, &into).await?;

    let mut moves: Vec<members::Move<'_>> = Vec::new();
    let mut changed: Vec<&EndUser> = Vec::new();
    for (id, (before, now)) in desk.users.iter().filter(|(id, _)| touched.contains(*id)) {
        if gone.contains_key(id) {
            moves.push((before.as_ref(), None));
        } else if before.as_ref() != Some(now) {
            changed.push(now);
            moves.push((before.as_ref(), Some(now)));
        }
    }
    rows::write_users(c, org, &changed).await?;
    for (id, target) in &gone {
        if let Some(target) = target {
            user_events::hand_over(c, org, id, target, at).await?;
        }
    }
    if !gone.is_empty() {
        sqlx::query(DELETE_USERS).bind(&org.0).bind(json_list(gone.keys())).execute(&mut *c).await?;
    }
    write_links(c, org, &desk, &written).await?;
    write_candidates(c, org, &items).await?;
    forget(c, org, &items).await?;
    let mut marks = Marks::new();
    let keys = members::after(c, org, &moves, &mut marks).await?;
    Ok(Followed { keys, members: marks.into_values().flatten().collect() })
}

/// Adds the records that were merged into others, which are gone. Answers the users that they had, by the record that
/// they went into.
async fn add_merged(c: &mut Conn, org: &OrgId, items: &mut Vec<Item>) -> Result<HashMap<Place, Vec<String>>> {
    let mut wanted: BTreeSet<Place> = BTreeSet::new();
    for item in items.iter() {
        let merged = item.evidence.iter().flat_map(|evidence| &evidence.merged);
        wanted.extend(merged.map(|record| (item.place.0.clone(), record.clone())));
    }
    let mut users: HashMap<Place, Vec<String>> = HashMap::new();
    if wanted.is_empty() {
        return Ok(users);
    }
    let mut rows: HashMap<Place, UserLink> = HashMap::new();
    for (connection, records) in by_connection(&wanted) {
        for (record, row) in load_links(c, org, connection, records.into_iter()).await? {
            rows.insert((connection.clone(), record), row);
        }
    }
    for item in items.iter() {
        let merged = item.evidence.iter().flat_map(|evidence| &evidence.merged);
        for record in merged.filter(|record| **record != item.place.1) {
            let user = rows.get(&(item.place.0.clone(), record.clone())).and_then(|row| row.user_id.clone());
            users.entry(item.place.clone()).or_default().extend(user);
        }
    }
    let own: HashSet<Place> = items.iter().map(|item| item.place.clone()).collect();
    items.extend(rows.into_iter().filter(|(place, _)| !own.contains(place)).map(|(place, row)| Item {
        place,
        evidence: None,
        existing: Some(row),
    }));
    Ok(users)
}

fn by_connection<'p>(places: impl IntoIterator<Item = &'p Place>) -> BTreeMap<&'p String, Vec<&'p String>> {
    let mut all: BTreeMap<&String, Vec<&String>> = BTreeMap::new();
    for (connection, record) in places {
        all.entry(connection).or_default().push(record);
    }
    all
}

/// Lays over each user what its records say: of each trait the first that says it, in the order of the records.
async fn lay_all(
    c: &mut Conn,
    org: &OrgId,
    desk: &mut Desk,
    touched: &BTreeSet<String>,
    at: Timestamp,
) -> Result<()> {
    let mut of_user: BTreeMap<&String, Vec<(&Place, Evidence)>> = BTreeMap::new();
    for (place, link) in &desk.links {
        if let Some(user) = link.user_id.as_ref().filter(|user| touched.contains(*user)) {
            of_user.entry(user).or_default().push((place, Evidence::read(link)?));
        }
    }
    let places: Vec<&Place> = of_user.values().flatten().map(|(place, _)| *place).collect();
    let mut companies: HashMap<Place, String> = HashMap::new();
    for (connection, records) in by_connection(places.iter().copied()) {
        let rows: Vec<(String, String)> = sqlx::query_as(COMPANIES_OF)
            .bind(&org.0)
            .bind(connection)
            .bind(json_list(records))
            .fetch_all(&mut *c)
            .await?;
        companies.extend(rows.into_iter().map(|(record, id)| ((connection.clone(), record), id)));
    }
    let owners: BTreeSet<Place> = of_user
        .values()
        .flatten()
        .filter_map(|(place, evidence)| Some((place.0.clone(), evidence.owner.clone()?)))
        .collect();
    let names = load_names(c, org, &owners).await?;
    let test: Vec<String> = sqlx::query_scalar(TEST_CONNECTIONS).bind(&org.0).fetch_all(&mut *c).await?;
    let none = Vec::new();
    for id in touched {
        let Some((_, user)) = desk.users.get_mut(id) else { continue };
        let records = of_user.get(id).unwrap_or(&none);
        let mut said: BTreeMap<String, Said> = BTreeMap::new();
        let mut company = None;
        for (place, evidence) in records {
            let source = &evidence.source;
            let owner =
                evidence.owner.as_ref().and_then(|owner| names.get(&(place.0.clone(), owner.clone())));
            let owner = owner.map(|name| ("owner", name));
            let all = evidence.traits.iter().map(|(key, value)| (key.as_str(), value)).chain(owner);
            for (key, value) in all {
                let value = || Said { value: value.clone(), source: source.clone() };
                said.entry(key.to_owned()).or_insert_with(value);
            }
            let of = companies.get(*place).map(|id| (CompanyId(id.clone()), source.clone()));
            company = company.or(of);
        }
        lay_person(user, &said, company.as_ref(), at)?;
        if desk.made.contains(id) && !records.is_empty() {
            user.is_test = records.iter().all(|(place, _)| test.contains(&place.0));
        }
    }
    Ok(())
}

/// What those of our side are called, by their records.
async fn load_names(c: &mut Conn, org: &OrgId, owners: &BTreeSet<Place>) -> Result<HashMap<Place, String>> {
    let mut names = HashMap::new();
    for (connection, records) in by_connection(owners) {
        let rows: Vec<(String, String)> = sqlx::query_as(OWNERS)
            .bind(&org.0)
            .bind(connection)
            .bind(json_list(records))
            .fetch_all(&mut *c)
            .await?;
        for (record, facts) in rows {
            // Facts of another version are derivation's to complain of.
            let facts: Vec<Fact> = serde_json::from_str(&facts).unwrap_or_default();
            let name = facts.into_iter().find_map(|fact| match fact {
                Fact::Person(person) if person.staff => person.name.or(person.emails.into_iter().next()),
                _ => None,
            });
            names.extend(name.map(|name| ((connection.clone(), record), name)));
        }
    }
    Ok(names)
}

/// Users who stood by records alone, and have none any more; with whom each went into. What was said and done with them
/// stays: with that other user, or with them where there is none.
async fn vanishing(
    c: &mut Conn,
    org: &OrgId,
    desk: &mut Desk,
    touched: &BTreeSet<String>,
    into: &HashMap<String, String>,
) -> Result<BTreeMap<String, Option<String>>> {
    let held: HashSet<&String> = desk.links.values().filter_map(|link| link.user_id.as_ref()).collect();
    let bare: BTreeSet<String> = touched
        .iter()
        .filter(|id| desk.made.contains(*id) && !held.contains(id) && desk.users.contains_key(*id))
        .cloned()
        .collect();
    if bare.is_empty() {
        return Ok(BTreeMap::new());
    }
    let busy = user_events::with_history(c, org, &bare).await?;
    let mut gone = BTreeMap::new();
    for id in bare {
        let target = into.get(&id).filter(|target| desk.users.contains_key(*target)).cloned();
        let Some((_, user)) = desk.users.get(&id) else { continue };
        match &target {
            Some(target) => {
                let user = user.clone();
                if let Some((_, kept)) = desk.users.get_mut(target) {
                    inherit(kept, &user)?;
                }
            }
            None if busy.contains(&id) || has_own_word(user)? => continue,
            None => {}
        }
        gone.insert(id, target);
    }
    Ok(gone)
}

async fn write_links(c: &mut Conn, org: &OrgId, desk: &Desk, written: &[Place]) -> Result<()> {
    let rows: Vec<&UserLink> = written.iter().filter_map(|place| desk.links.get(place)).collect();
    bulk::insert(
        c,
        "INSERT INTO user_links (org_id, connection_id, record_key, user_id, state, reason, owner_key, evidence, \
         updated_at)",
        &rows,
        "ON CONFLICT (connection_id, record_key) DO UPDATE SET user_id = excluded.user_id, state = excluded.state, \
         reason = excluded.reason, owner_key = excluded.owner_key, evidence = excluded.evidence, \
         updated_at = excluded.updated_at",
        |row, x| {
            row.push_bind(&org.0)
                .push_bind(&x.connection_id)
                .push_bind(&x.record_key)
                .push_bind(&x.user_id)
                .push_bind(&x.state)
                .push_bind(&x.reason)
                .push_bind(&x.owner_key)
                .push_bind(&x.evidence)
                .push_bind(x.updated_at);
        },
    )
    .await?;
    Ok(())
}

/// Brings the reverse of the evidence in step.
async fn write_candidates(c: &mut Conn, org: &OrgId, items: &[Item]) -> Result<()> {
    let mut stale: Vec<(String, &String, &String)> = Vec::new();
    let mut fresh: Vec<(&String, &String, &String)> = Vec::new();
    for item in items {
        let old = item.existing.as_ref().map(Evidence::read).transpose()?.unwrap_or_default().emails;
        let new: &[String] = item.evidence.as_ref().map_or(&[], |evidence| &evidence.emails);
        let (connection, record) = &item.place;
        fresh
            .extend(new.iter().filter(|email| !old.contains(email)).map(|email| (email, connection, record)));
        let gone = old.into_iter().filter(|email| !new.contains(email));
        stale.extend(gone.map(|email| (email, connection, record)));
    }
    if !stale.is_empty() {
        sqlx::query(DELETE_USER_CANDIDATES).bind(&org.0).bind(to_json(&stale)?).execute(&mut *c).await?;
    }
    bulk::insert(
        c,
        "INSERT INTO user_candidates (org_id, email_key, connection_id, record_key)",
        &fresh,
        "ON CONFLICT (org_id, email_key, connection_id, record_key) DO NOTHING",
        |row, (email, connection, record)| {
            row.push_bind(&org.0).push_bind(*email).push_bind(*connection).push_bind(*record);
        },
    )
    .await?;
    Ok(())
}

/// Removes what is kept of people whose records are gone.
async fn forget(c: &mut Conn, org: &OrgId, items: &[Item]) -> Result<()> {
    let gone = items.iter().filter(|item| item.evidence.is_none()).map(|item| &item.place);
    for (connection, records) in by_connection(gone) {
        sqlx::query(DELETE_USER_LINKS)
            .bind(&org.0)
            .bind(connection)
            .bind(json_list(&records))
            .execute(&mut *c)
            .await?;
        links::delete_people(c, org, connection, &records.into_iter().collect()).await?;
    }
    Ok(())
}
