//! Users and companies as a product writes them: many in one unit. Everything that is concerned is read at once,
//! worked out in memory one write after the other, and written at once.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use connector_sdk::Timestamp;
use serde_json::{Map, Value};
use sqlx::FromRow;

use super::dirty::{self, Marks};
use super::links;
use super::members::{self, mark_settled};
use super::people;
use super::rows::{self, CompanyRow, UserRow};
use super::{Conn, keys, new_id_at, sessions, user_events};
use crate::domain::companies::{Company, CompanyFields, FieldSource, TraitPatch};
use crate::domain::users::{EndUser, UserFields};
use crate::domain::{CompanyId, ContextEntry, OrgId, Rank, UserId};
use crate::store::convert::{clean, json_list, to_json, us};
use crate::store::identity::Lookup;
use crate::store::imports::Foreseen;
use crate::store::product::{
    Change, Clear, Layer, MOST_COMPANY_BYTES, MOST_USER_BYTES, Outcome, ProductWrite, RecordPart, Refused,
    Sighting, UserPart, Written,
};
use crate::store::traits::{self, Changed, RESERVED_CONTEXT, Traits, outranked};
use crate::store::{Result, StoreError};

statements! {
    USERS_BY_EXTERNAL = concat!("SELECT * FROM end_users WHERE org_id = $1 AND external_id", in_list!("$2"));
    USERS_BY_ID = concat!("SELECT * FROM end_users WHERE org_id = $1 AND id", in_list!("$2"));
    LEADS = concat!("SELECT * FROM end_users WHERE org_id = $1 AND email_key", in_list!("$2"),
        " AND external_id IS NULL ORDER BY id");
    LOCK_USERS = concat!("SELECT * FROM end_users WHERE org_id = $1 AND id", in_list!("$2"), " ORDER BY id",
        for_update!());
    COMPANIES_BY_EXTERNAL = concat!("SELECT * FROM companies WHERE org_id = $1 AND external_id", in_list!("$2"));
    COMPANIES_BY_ID = concat!("SELECT * FROM companies WHERE org_id = $1 AND id", in_list!("$2"));
    LOCK_COMPANIES = concat!("SELECT * FROM companies WHERE org_id = $1 AND id", in_list!("$2"), " ORDER BY id",
        for_update!());
    COMPANY_NAMES = concat!("SELECT id, external_id FROM companies WHERE org_id = $1 AND id", in_list!("$2"));
    ORG_NAME = "SELECT name FROM orgs WHERE id = $1";
    // Sightings: nothing that an index or a reader of the record looks at.
    SEEN = concat!("UPDATE end_users SET first_seen = x.first_seen, last_seen = x.last_seen
        FROM (SELECT value ->> 0 AS id, CAST(value ->> 1 AS BIGINT) AS first_seen,
                CAST(value ->> 2 AS BIGINT) AS last_seen FROM ", json_rows!("$2"), fence!(), ") x
        WHERE end_users.org_id = $1 AND end_users.id = x.id");
}

/// A record of the unit: as it was read, and as it will be written.
struct Slot<T> {
    before: Option<T>,
    now: T,
}

/// A record as one write leaves it.
struct After<T> {
    /// Its slot, unless it is new.
    place: Option<usize>,
    record: T,
    change: Change,
    /// Whether values or ranks changed that derivation may read.
    fields: bool,
}

/// A company, and whether it is (still) a placeholder.
struct CompanySlot {
    slot: Slot<Company>,
    was_placeholder: bool,
    placeholder: bool,
    /// Whether a value or a rank changed that derivation may read.
    fields: bool,
}

/// Everything that the writes of a unit are about.
#[derive(Default)]
struct Desk {
    users: Vec<Slot<EndUser>>,
    companies: Vec<CompanySlot>,
    user_ids: HashMap<String, usize>,
    user_names: HashMap<String, usize>,
    company_ids: HashMap<String, usize>,
    company_names: HashMap<String, usize>,
    /// Leads by address.
    leads: HashMap<String, Vec<String>>,
}

/// What the writes name.
#[derive(Default)]
struct Wanted {
    user_ids: BTreeSet<String>,
    user_names: BTreeSet<String>,
    company_ids: BTreeSet<String>,
    company_names: BTreeSet<String>,
    /// A user's name, and the address of the lead that may become it.
    leads: BTreeSet<(String, String)>,
}

impl Wanted {
    fn of(writes: &[ProductWrite]) -> Self {
        let mut wanted = Self::default();
        for write in writes {
            if let Some(user) = &write.user {
                match &user.record.lookup {
                    Lookup::Id(id) => wanted.user_ids.insert(clean(id)),
                    Lookup::External(name) => {
                        wanted.leads.extend(user.adopt.clone().map(|email| (clean(name), email)));
                        wanted.user_names.insert(clean(name))
                    }
                };
            }
            match write.company.as_ref().map(|company| &company.lookup) {
                Some(Lookup::Id(id)) => wanted.company_ids.insert(clean(id)),
                Some(Lookup::External(name)) => wanted.company_names.insert(clean(name)),
                None => false,
            };
        }
        wanted
    }
}

pub(crate) async fn put(c: &mut Conn, org: &OrgId, writes: &[ProductWrite]) -> Result<Vec<Outcome>> {
    let Some(at) = writes.iter().map(|write| write.at).max() else { return Ok(Vec::new()) };
    let mut desk = Desk::read(c, org, &Wanted::of(writes)).await?;
    if super::MANY_WRITERS {
        // A change of keys decides links: that lock comes before the rows', here as in ingest.
        desk.apply(writes)?;
        if desk.decides_links() {
            super::serialise_links(c, org.as_str()).await?;
        }
        desk = desk.lock(c, org).await?;
    }
    let mut outcomes = desk.apply(writes)?;
    desk.write(c, org, at).await?;
    let sessions: Vec<(&str, Rank, &UserId)> = writes
        .iter()
        .zip(&outcomes)
        .filter_map(|(write, outcome)| {
            let (session, rank) = write.user.as_ref()?.session.as_ref()?;
            let Outcome::Written(written) = outcome else { return None };
            Some((session.as_str(), *rank, &written.user.as_ref()?.0.id))
        })
        .collect();
    sessions::link(c, org, &sessions, at).await?;
    let mut identified: BTreeMap<(&str, i64), i64> = BTreeMap::new();
    for (write, outcome) in writes.iter().zip(&outcomes) {
        if let (Some(UserPart { sighting: Sighting::Identified, .. }), Outcome::Written(written)) =
            (&write.user, outcome)
            && let Some((user, _)) = &written.user
        {
            *identified.entry((user.id.as_str(), user_events::day_of(write.at))).or_default() += 1;
        }
    }
    user_events::note_identifies(c, org, &identified).await?;
    desk.name_companies(c, org, writes, &mut outcomes).await?;
    Ok(outcomes)
}

/// What [`put`] would do. Reads only.
pub(crate) async fn foresee(c: &mut Conn, org: &OrgId, writes: &[ProductWrite]) -> Result<Vec<Foreseen>> {
    let mut desk = Desk::read(c, org, &Wanted::of(writes)).await?;
    let mut foreseen = Vec::with_capacity(writes.len());
    for write in writes {
        let before = desk.before(write)?;
        let outcome = desk.apply(std::slice::from_ref(write))?.pop();
        foreseen.extend(outcome.map(|outcome| Foreseen { before, outcome }));
    }
    Ok(foreseen)
}

impl Desk {
    /// The record that a write is about, as it is now.
    fn before(&self, write: &ProductWrite) -> Result<Option<Value>> {
        let json = |value: serde_json::Result<Value>| value.map_err(|e| StoreError::Invalid(e.to_string()));
        if let Some(part) = &write.user {
            let known = self.find_user(part).and_then(|place| self.users.get(place));
            return known.map(|slot| json(serde_json::to_value(&slot.now))).transpose();
        }
        let place = match write.company.as_ref().map(|part| &part.lookup) {
            Some(Lookup::Id(id)) => self.company_ids.get(&clean(id)),
            Some(Lookup::External(name)) => self.company_names.get(&clean(name)),
            None => None,
        };
        let known = place.and_then(|place| self.companies.get(*place));
        known.map(|x| json(serde_json::to_value(&x.slot.now))).transpose()
    }

    async fn read(c: &mut Conn, org: &OrgId, wanted: &Wanted) -> Result<Self> {
        let mut desk = Self::default();
        for (sql, list) in [(USERS_BY_EXTERNAL, &wanted.user_names), (USERS_BY_ID, &wanted.user_ids)] {
            desk.add_users(users(c, org, sql, list).await?)?;
        }
        // Nobody is looked for by an address who is known by the caller's id.
        let names = |name: &String| desk.user_names.contains_key(name);
        let leads = wanted.leads.iter().filter(|(name, _)| !names(name)).map(|(_, email)| email.clone());
        let leads: BTreeSet<String> = leads.collect();
        for row in users(c, org, LEADS, &leads).await? {
            let user = row.read()?;
            if let Some(email) = rows::email_key(&user) {
                desk.leads.entry(email).or_default().push(user.id.0.clone());
            }
            desk.add_user(user);
        }
        for (sql, list) in
            [(COMPANIES_BY_EXTERNAL, &wanted.company_names), (COMPANIES_BY_ID, &wanted.company_ids)]
        {
            desk.add_companies(companies(c, org, sql, list).await?)?;
        }
        Ok(desk)
    }

    /// The same records once more, nobody else's to change until the commit. What was made meanwhile is found by
    /// the constraint that its making breaks: then the unit is run again.
    async fn lock(&self, c: &mut Conn, org: &OrgId) -> Result<Self> {
        let known = self.companies.iter().filter_map(|x| x.slot.before.as_ref().map(|company| &company.id.0));
        let company_ids: BTreeSet<String> = known.cloned().collect();
        let known = self.users.iter().filter_map(|slot| slot.before.as_ref().map(|user| &user.id.0));
        let user_ids: BTreeSet<String> = known.cloned().collect();
        let mut desk = Self { leads: self.leads.clone(), ..Self::default() };
        desk.add_companies(companies(c, org, LOCK_COMPANIES, &company_ids).await?)?;
        desk.add_users(users(c, org, LOCK_USERS, &user_ids).await?)?;
        if desk.companies.len() < company_ids.len() || desk.users.len() < user_ids.len() {
            return Err(StoreError::Contended {
                attempts: 1,
                reason: "a record was removed meanwhile".to_owned(),
            });
        }
        Ok(desk)
    }

    fn add_users(&mut self, rows: Vec<UserRow>) -> Result<()> {
        for row in rows {
            self.add_user(row.read()?);
        }
        Ok(())
    }

    fn add_user(&mut self, user: EndUser) {
        if !self.user_ids.contains_key(&user.id.0) {
            self.index_user(&user, self.users.len());
            self.users.push(Slot { before: Some(user.clone()), now: user });
        }
    }

    fn index_user(&mut self, user: &EndUser, place: usize) {
        self.user_ids.insert(user.id.0.clone(), place);
        if let Some(name) = &user.external_id {
            self.user_names.insert(name.clone(), place);
        }
    }

    fn add_companies(&mut self, rows: Vec<CompanyRow>) -> Result<()> {
        for row in rows {
            let placeholder = row.placeholder;
            let company = row.read()?;
            if self.company_ids.contains_key(&company.id.0) {
                continue;
            }
            self.index_company(&company, self.companies.len());
            self.companies.push(CompanySlot {
                slot: Slot { before: Some(company.clone()), now: company },
                was_placeholder: placeholder,
                placeholder,
                fields: false,
            });
        }
        Ok(())
    }

    fn index_company(&mut self, company: &Company, place: usize) {
        self.company_ids.insert(company.id.0.clone(), place);
        if let Some(name) = &company.external_id {
            self.company_names.insert(name.clone(), place);
        }
    }

    fn apply(&mut self, writes: &[ProductWrite]) -> Result<Vec<Outcome>> {
        writes
            .iter()
            .map(|write| match self.apply_one(write) {
                Ok(outcome) => Ok(outcome),
                Err(StoreError::Invalid(text)) => Ok(Outcome::Refused(Refused::Invalid(text))),
                Err(other) => Err(other),
            })
            .collect()
    }

    /// Works one write out beside the records, and puts it into them when nothing of it is refused.
    fn apply_one(&mut self, write: &ProductWrite) -> Result<Outcome> {
        let mut cleared = Vec::new();
        let company = match &write.company {
            None => None,
            Some(part) => match self.company_after(part, write, &mut cleared)? {
                Ok(after) => Some(after),
                Err(outcome) => return Ok(outcome),
            },
        };
        let user = match &write.user {
            None => None,
            Some(part) => {
                let link_to = write.link.zip(company.as_ref().map(|after| &after.record.id));
                match self.user_after(part, write, link_to, &mut cleared)? {
                    Ok(after) => Some(after),
                    Err(outcome) => return Ok(outcome),
                }
            }
        };
        // Nothing is refused from here on.
        let linked = match (&user, &company) {
            (Some(user), Some(company)) => user.record.company_id.as_ref() == Some(&company.record.id),
            _ => false,
        };
        let said = write.company.as_ref().is_some_and(|part| !part.layers.is_empty());
        Ok(Outcome::Written(Box::new(Written {
            company: company.map(|after| {
                self.keep_company(&after, linked || said);
                (after.record, after.change)
            }),
            user: user.map(|after| {
                self.keep_user(&after);
                (after.record, after.change)
            }),
            user_company: None,
            cleared,
        })))
    }

    /// A company as a write leaves it, or why the write ends here.
    fn company_after(
        &self,
        part: &RecordPart,
        write: &ProductWrite,
        cleared: &mut Vec<String>,
    ) -> Result<std::result::Result<After<Company>, Outcome>> {
        let found = match &part.lookup {
            Lookup::Id(id) => self.company_ids.get(&clean(id)),
            Lookup::External(name) => self.company_names.get(&clean(name)),
        };
        let place = found.copied();
        let before = place.and_then(|place| self.companies.get(place)).map(|x| &x.slot.now);
        let mut company = match (before, &part.lookup) {
            (Some(company), _) => company.clone(),
            (None, Lookup::Id(id)) => {
                return Err(StoreError::Invalid(format!("there is no company {id}")));
            }
            (None, _) if !part.create => return Ok(Err(Outcome::Unknown("company"))),
            (None, Lookup::External(name)) => new_company(external_id(name)?, &write.source, write.at),
        };
        let changed = merge_company(&mut company, part, write, cleared)?;
        if changed.any() {
            let old = before.map(|old| (&old.custom_fields, &old.context));
            let new = (&company.custom_fields, &company.context);
            if let Some(refused) = too_large("company", MOST_COMPANY_BYTES, old, new)? {
                return Ok(Err(Outcome::Refused(refused)));
            }
            company.updated_at = write.at;
        }
        let fields = changed.ranks || !changed.traits.is_empty();
        let change = change(place.is_none(), changed.any());
        Ok(Ok(After { place, record: company, change, fields }))
    }

    /// As [`Self::company_after`], of a user.
    fn user_after(
        &self,
        part: &UserPart,
        write: &ProductWrite,
        link_to: Option<(Rank, &CompanyId)>,
        cleared: &mut Vec<String>,
    ) -> Result<std::result::Result<After<EndUser>, Outcome>> {
        let place = self.find_user(part);
        let before = place.and_then(|place| self.users.get(place)).map(|slot| &slot.now);
        let mut user = match (before, &part.record.lookup) {
            (Some(user), _) => user.clone(),
            (None, Lookup::Id(id)) => return Err(StoreError::Invalid(format!("there is no user {id}"))),
            (None, _) if !part.record.create => return Ok(Err(Outcome::Unknown("user"))),
            (None, Lookup::External(name)) => new_user(Some(external_id(name)?), &write.source, write.at),
        };
        let (was_test, mut changed) = (user.is_test, false);
        if let (None, Lookup::External(name)) = (&user.external_id, &part.record.lookup) {
            user.external_id = Some(external_id(name)?);
            changed = true;
        }
        let merged = merge_user(&mut user, part, write, cleared)?;
        if merged.any() {
            let old = before.map(|old| (&old.custom_fields, &old.context));
            let new = (&user.custom_fields, &user.context);
            if let Some(refused) = too_large("user", MOST_USER_BYTES, old, new)? {
                return Ok(Err(Outcome::Refused(refused)));
            }
        }
        changed |= merged.any() || was_test != user.is_test;
        if let Some((rank, company)) = link_to {
            changed |= link(&mut user, company, rank, write);
        }
        if changed {
            user.updated_at = write.at;
        }
        if part.sighting != Sighting::Elsewhere {
            user.first_seen = user.first_seen.or(Some(write.at));
            user.last_seen = user.last_seen.max(Some(write.at));
        }
        Ok(Ok(After { place, record: user, change: change(place.is_none(), changed), fields: changed }))
    }

    fn find_user(&self, part: &UserPart) -> Option<usize> {
        match &part.record.lookup {
            Lookup::Id(id) => self.user_ids.get(&clean(id)).copied(),
            Lookup::External(name) => self.user_names.get(&clean(name)).copied().or_else(|| {
                let leads = self.leads.get(part.adopt.as_deref()?)?;
                let free =
                    |place: &usize| self.users.get(*place).is_some_and(|slot| slot.now.external_id.is_none());
                leads.iter().filter_map(|id| self.user_ids.get(id)).copied().find(free)
            }),
        }
    }

    fn keep_company(&mut self, after: &After<Company>, real: bool) {
        let place = after.place.unwrap_or_else(|| {
            self.companies.push(CompanySlot {
                slot: Slot { before: None, now: after.record.clone() },
                was_placeholder: false,
                placeholder: false,
                fields: true,
            });
            self.index_company(&after.record, self.companies.len() - 1);
            self.companies.len() - 1
        });
        if let Some(slot) = self.companies.get_mut(place) {
            slot.slot.now = after.record.clone();
            slot.fields |= after.fields;
            slot.placeholder &= !real;
        }
    }

    fn keep_user(&mut self, after: &After<EndUser>) {
        let place = after.place.unwrap_or_else(|| {
            self.users.push(Slot { before: None, now: after.record.clone() });
            self.users.len() - 1
        });
        self.index_user(&after.record, place);
        if let Some(slot) = self.users.get_mut(place) {
            slot.now = after.record.clone();
        }
    }

    /// Whether links of parties may depend on what changes.
    fn decides_links(&self) -> bool {
        self.companies.iter().any(|x| {
            x.placeholder != x.was_placeholder
                || x.slot.before.as_ref().is_none_or(|before| {
                    x.slot.now != *before && keys::of_company(before) != keys::of_company(&x.slot.now)
                })
        }) || self.users.iter().any(|slot| {
            let place =
                |user: &EndUser| (user.company_id.clone(), rows::matchable_email(user), identity(user));
            match &slot.before {
                None => slot.now.company_id.is_some() || identity(&slot.now).1.is_some(),
                Some(before) => slot.now != *before && place(before) != place(&slot.now),
            }
        })
    }

    async fn write(&self, c: &mut Conn, org: &OrgId, at: Timestamp) -> Result<()> {
        let mut marks = Marks::new();
        let mut decides = BTreeSet::new();
        self.write_companies(c, org, &mut marks, &mut decides).await?;
        self.write_users(c, org, &mut marks, &mut decides).await?;
        let (emails, users) = self.identified();
        mark_settled(&mut marks, &people::reevaluate(c, org, &emails, &users, at).await?);
        let settled = links::reevaluate(c, org, &decides, at).await?;
        mark_settled(&mut marks, &settled);
        dirty::mark(c, org, &marks, at).await?;
        Ok(())
    }

    /// Addresses and users by which a provider's people may be others than they were.
    fn identified(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut emails, mut users) = (BTreeSet::new(), BTreeSet::new());
        for slot in &self.users {
            let (old, new) = (slot.before.as_ref().map(identity), identity(&slot.now));
            if old.as_ref() == Some(&new) {
                continue;
            }
            users.extend(slot.before.as_ref().map(|before| before.id.0.clone()));
            emails.extend(old.and_then(|(_, email)| email).into_iter().chain(new.1));
        }
        (emails, users)
    }

    async fn write_companies(
        &self,
        c: &mut Conn,
        org: &OrgId,
        marks: &mut Marks,
        decides: &mut BTreeSet<keys::Key>,
    ) -> Result<()> {
        let settles = |x: &CompanySlot| x.placeholder != x.was_placeholder;
        let mut moved: Vec<&CompanySlot> = self
            .companies
            .iter()
            .filter(|x| settles(x) || x.slot.before.as_ref() != Some(&x.slot.now))
            .collect();
        moved.sort_by(|a, b| a.slot.now.external_id.cmp(&b.slot.now.external_id));
        let written: Vec<(&Company, bool)> = moved.iter().map(|x| (&x.slot.now, x.placeholder)).collect();
        rows::write_companies(c, org, &written).await.map_err(raced)?;
        let rekeyed: Vec<&Company> = moved
            .iter()
            .filter(|x| {
                x.slot
                    .before
                    .as_ref()
                    .is_none_or(|old| keys::of_company(old) != keys::of_company(&x.slot.now))
            })
            .map(|x| &x.slot.now)
            .collect();
        let changed = keys::replace(c, org, &rekeyed).await?;
        for x in moved {
            let id = &x.slot.now.id.0;
            if settles(x) {
                // It has become a real company, which outranks placeholders wherever its keys are named.
                decides.extend(keys::of_company(&x.slot.now));
            }
            if x.slot.before.is_none() || x.fields || changed.iter().any(|(_, company)| company == id) {
                dirty::note(marks, "fields", id);
            }
        }
        decides.extend(changed.into_iter().map(|(key, _)| key));
        Ok(())
    }

    async fn write_users(
        &self,
        c: &mut Conn,
        org: &OrgId,
        marks: &mut Marks,
        decides: &mut BTreeSet<keys::Key>,
    ) -> Result<()> {
        let (mut whole, mut seen) = (Vec::new(), Vec::new());
        for slot in &self.users {
            match &slot.before {
                Some(before) if *before == slot.now => {}
                Some(before) if only_seen(before, &slot.now) => seen.push(&slot.now),
                _ => whole.push(slot),
            }
        }
        if !seen.is_empty() {
            let list: Vec<_> = seen
                .iter()
                .map(|user| (&user.id.0, user.first_seen.map(us), user.last_seen.map(us)))
                .collect();
            sqlx::query(SEEN).bind(&org.0).bind(to_json(&list)?).execute(&mut *c).await?;
        }
        // In one order everywhere: two transactions that make the same users wait, and do not block each other.
        whole.sort_by(|a, b| a.now.external_id.cmp(&b.now.external_id));
        let (kept, rekeyed): (Vec<&&Slot<EndUser>>, Vec<&&Slot<EndUser>>) = whole
            .iter()
            .partition(|slot| slot.before.as_ref().is_some_and(|old| rows::found_alike(old, &slot.now)));
        let kept: Vec<&EndUser> = kept.into_iter().map(|slot| &slot.now).collect();
        let rekeyed: Vec<&EndUser> = rekeyed.into_iter().map(|slot| &slot.now).collect();
        rows::write_user_values(c, org, &kept).await?;
        rows::write_users(c, org, &rekeyed).await.map_err(raced)?;
        let moves: Vec<members::Move<'_>> =
            whole.iter().map(|slot| (slot.before.as_ref(), Some(&slot.now))).collect();
        decides.extend(members::after(c, org, &moves, marks).await?);
        Ok(())
    }

    /// Says which company the users are of who are identified, by its external id.
    async fn name_companies(
        &self,
        c: &mut Conn,
        org: &OrgId,
        writes: &[ProductWrite],
        outcomes: &mut [Outcome],
    ) -> Result<()> {
        #[derive(FromRow)]
        struct Name {
            id: String,
            external_id: Option<String>,
        }
        let company_of = |outcome: &Outcome| match outcome {
            Outcome::Written(written) => {
                written.user.as_ref().and_then(|(user, _)| user.company_id.clone().map(|id| id.0))
            }
            _ => None,
        };
        let mut names: HashMap<String, Option<String>> = self
            .companies
            .iter()
            .map(|x| (x.slot.now.id.0.clone(), x.slot.now.external_id.clone()))
            .collect();
        let identified = |write: &ProductWrite| {
            write.user.as_ref().is_some_and(|user| user.sighting == Sighting::Identified)
        };
        let unknown: BTreeSet<String> = writes
            .iter()
            .zip(outcomes.iter())
            .filter(|(write, _)| identified(write))
            .filter_map(|(_, outcome)| company_of(outcome))
            .filter(|id| !names.contains_key(id))
            .collect();
        if !unknown.is_empty() {
            let rows: Vec<Name> =
                sqlx::query_as(COMPANY_NAMES).bind(&org.0).bind(json_list(&unknown)).fetch_all(c).await?;
            names.extend(rows.into_iter().map(|row| (row.id, row.external_id)));
        }
        for outcome in outcomes {
            let name = company_of(outcome).and_then(|id| names.get(&id).cloned().flatten());
            if let Outcome::Written(written) = outcome {
                written.user_company = name;
            }
        }
        Ok(())
    }
}

/// By what a provider's person may be the user.
fn identity(user: &EndUser) -> (Option<String>, Option<String>) {
    (user.external_id.clone(), rows::trusted_email(user))
}

/// Whether nothing differs but when the user was seen.
fn only_seen(before: &EndUser, now: &EndUser) -> bool {
    let seen = EndUser { first_seen: now.first_seen, last_seen: now.last_seen, ..before.clone() };
    seen == *now && now.first_seen.is_some() && now.last_seen.is_some()
}

fn change(new: bool, changed: bool) -> Change {
    match (new, changed) {
        (true, _) => Change::Created,
        (false, true) => Change::Updated,
        (false, false) => Change::Unchanged,
    }
}

async fn users(c: &mut Conn, org: &OrgId, sql: &'static str, ids: &BTreeSet<String>) -> Result<Vec<UserRow>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_as(sql).bind(&org.0).bind(json_list(ids)).fetch_all(c).await?)
}

async fn companies(
    c: &mut Conn,
    org: &OrgId,
    sql: &'static str,
    ids: &BTreeSet<String>,
) -> Result<Vec<CompanyRow>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_as(sql).bind(&org.0).bind(json_list(ids)).fetch_all(c).await?)
}

/// A caller's id, refused where it could not be stored as it is.
fn external_id(text: &str) -> Result<String> {
    if text.is_empty() || text.contains('\0') {
        return Err(StoreError::Invalid("an external id must be text without NUL, and not empty".to_owned()));
    }
    Ok(text.to_owned())
}

/// A concurrent writer made the row first: the unit is run again and finds it.
fn raced(error: StoreError) -> StoreError {
    if error.is_unique_violation() {
        StoreError::Contended { attempts: 1, reason: error.to_string() }
    } else {
        error
    }
}

fn new_company(external_id: String, source: &str, at: Timestamp) -> Company {
    Company {
        id: CompanyId(new_id_at(CompanyId::PREFIX, at)),
        external_id: Some(external_id),
        source: source.to_owned(),
        fields: CompanyFields::default(),
        custom_fields: serde_json::Map::new(),
        context: BTreeMap::new(),
        provenance: BTreeMap::new(),
        test: false,
        created_at: at,
        updated_at: at,
    }
}

/// A user of whom nothing is known yet.
pub(super) fn new_user(external_id: Option<String>, source: &str, at: Timestamp) -> EndUser {
    EndUser {
        id: UserId(new_id_at(UserId::PREFIX, at)),
        external_id,
        company_id: None,
        source: source.to_owned(),
        fields: UserFields::default(),
        custom_fields: serde_json::Map::new(),
        context: BTreeMap::new(),
        provenance: BTreeMap::new(),
        first_seen: None,
        last_seen: None,
        is_test: false,
        created_at: at,
        updated_at: at,
    }
}

/// Removes what a part clears, then merges its layers one after the other.
fn merge(
    row: &mut Traits<'_>,
    part: &RecordPart,
    write: &ProductWrite,
    kind_of: fn(&str) -> Option<traits::Kind>,
    cleared: &mut Vec<String>,
) -> Result<Changed> {
    let from = |rank| FieldSource { rank, source: write.source.clone(), at: write.at };
    let mut all = Changed::default();
    if let Some(clear) = &part.clear {
        let (rank, keys) = match clear {
            Clear::Keys(rank, keys) => (*rank, keys.clone()),
            Clear::All(rank) => {
                let own = row.context.keys().filter(|key| !key.starts_with(RESERVED_CONTEXT));
                (*rank, own.cloned().collect())
            }
        };
        let context = keys.into_iter().map(|key| (key, None)).collect();
        let patch = TraitPatch { context, ..TraitPatch::default() };
        let changed = traits::merge(row, &patch, kind_of, &from(rank))?;
        cleared.extend(changed.context.iter().cloned());
        all.add(changed);
    }
    for layer in &part.layers {
        all.add(traits::merge(row, &layer.patch, kind_of, &from(layer.rank))?);
    }
    Ok(all)
}

fn merge_company(
    company: &mut Company,
    part: &RecordPart,
    write: &ProductWrite,
    cleared: &mut Vec<String>,
) -> Result<Changed> {
    let mut fields = traits::to_map(&company.fields)?;
    let mut row = Traits {
        fields: &mut fields,
        custom: &mut company.custom_fields,
        context: &mut company.context,
        provenance: &mut company.provenance,
    };
    let changed = merge(&mut row, part, write, traits::company_kind, cleared)?;
    company.fields = traits::from_map(fields)?;
    Ok(changed)
}

/// The trait that marks a test user; a browser cannot set it.
const IS_TEST: &str = "is_test";

fn merge_user(
    user: &mut EndUser,
    part: &UserPart,
    write: &ProductWrite,
    cleared: &mut Vec<String>,
) -> Result<Changed> {
    let mut part = Cow::Borrowed(&part.record);
    let marks = |layer: &Layer| layer.rank != Rank::Claimed && layer.patch.traits.contains_key(IS_TEST);
    if part.layers.iter().any(marks) {
        for layer in part.to_mut().layers.iter_mut().filter(|layer| marks(layer)) {
            user.is_test = match layer.patch.traits.remove(IS_TEST) {
                None | Some(Value::Null) => false,
                Some(Value::Bool(flag)) => flag,
                Some(_) => return Err(StoreError::Invalid(format!("{IS_TEST} must be true or false"))),
            };
        }
    }
    let mut fields = traits::to_map(&user.fields)?;
    let mut row = Traits {
        fields: &mut fields,
        custom: &mut user.custom_fields,
        context: &mut user.context,
        provenance: &mut user.provenance,
    };
    let mut changed = merge(&mut row, &part, write, traits::user_kind, cleared)?;
    for layer in part.layers.iter().filter(|layer| layer.rank == Rank::Server) {
        for key in layer.patch.traits.keys() {
            changed.ranks |= confirm(&mut user.provenance, key, write);
        }
    }
    user.fields = traits::from_map(fields)?;
    Ok(changed)
}

/// What a record of a provider said, and the product says as well, is the product's word from then on: a user is the
/// same whichever of the two came first. True when it was not.
fn confirm(provenance: &mut BTreeMap<String, FieldSource>, key: &str, write: &ProductWrite) -> bool {
    match provenance.get_mut(key) {
        Some(from) if from.rank == Rank::Synced => {
            *from = FieldSource { rank: Rank::Server, source: write.source.clone(), at: write.at };
            true
        }
        _ => false,
    }
}

/// Links a user to a company, unless its link is of a higher rank. True when something of it changed.
fn link(user: &mut EndUser, company: &CompanyId, rank: Rank, write: &ProductWrite) -> bool {
    if outranked(&user.provenance, rows::COMPANY_LINK, user.company_id.is_some(), rank) {
        return false;
    }
    let from = FieldSource { rank, source: write.source.clone(), at: write.at };
    let same = user.company_id.as_ref() == Some(company);
    user.company_id = Some(company.clone());
    let mut raised = traits::rank(&mut user.provenance, rows::COMPANY_LINK, false, same, &from);
    if rank == Rank::Server {
        raised |= confirm(&mut user.provenance, rows::COMPANY_LINK, write);
    }
    !same || raised
}

/// What of a record is bounded: its custom fields and its context.
type Bounded<'a> = (&'a Map<String, Value>, &'a BTreeMap<String, ContextEntry>);

/// Refuses a record that has grown beyond what it may hold.
fn too_large(
    record: &'static str,
    most: usize,
    before: Option<Bounded<'_>>,
    after: Bounded<'_>,
) -> Result<Option<Refused>> {
    let size = |(fields, context): Bounded<'_>| -> Result<usize> {
        Ok(to_json(fields)?.len() + to_json(context)?.len())
    };
    let bytes = size(after)?;
    if bytes <= most || before.map(size).transpose()?.is_some_and(|before| bytes <= before) {
        return Ok(None);
    }
    Ok(Some(Refused::TooLarge { record, bytes, most }))
}

pub(crate) async fn find_org_name(c: &mut Conn, org: &OrgId) -> Result<Option<String>> {
    Ok(sqlx::query_scalar(ORG_NAME).bind(&org.0).fetch_optional(c).await?)
}
