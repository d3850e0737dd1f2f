//! What a product says about its users and companies: checked by one set of rules, converted, written.
//!
//! The SDK API, imports and the chat call [`Product`]. Users are named by the caller's own ids, whatever these look
//! like; ids of ours mean nothing here. Single calls that arrive together are written together (`gather`).

mod checks;
mod gather;
mod import;
mod refusal;
mod traits;

use std::collections::BTreeMap;
use std::sync::Arc;

use connector_sdk::{Clock, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

pub use checks::{
    COMPANY_BYTES, DEFAULT_CURRENCY, DEPTH, ID_BYTES, KEY_BYTES, MOST_ENTRIES, MOST_KEYS, Record, USER_BYTES,
};
pub use import::{ForeseenRow, ImportKind, ImportRow, ImportStep};
pub use refusal::{FieldFault, ProductError, Refusal};
pub use traits::Traits;

use crate::attributes::{Attributes, Seen};
use crate::domain::attributes::{AttributeScope, CustomField, misfits};
use crate::domain::companies::{Company, TraitPatch};
use crate::domain::users::EndUser;
use crate::domain::{ContextEntry, OrgId, Rank, UserId, keys};
use crate::store::Store;
use crate::store::identity::Lookup;
use crate::store::product::{
    Change, Clear, Erased, Layer, Outcome, ProductWrite, RecordPart, Sighting, UserPart, Written,
};
use crate::store::traits::{Kind, company_kind, from_map, user_kind};

/// The reference's word for a user who is not known.
pub const ANONYMOUS: &str = "anonymous";
/// Records in one call of [`Product::update_users`] and [`Product::update_companies`].
pub const MOST_RECORDS: usize = 1_000;

/// In whose voice a write speaks.
#[derive(Debug, Clone)]
pub struct Author {
    /// The rank of what is said.
    pub rank: Rank,
    /// What a verified token says about the user, of rank server.
    pub claims: Map<String, Value>,
    /// Whether a token proved who speaks.
    pub verified: bool,
    /// Who writes, as it is stored: `sdk`, `import`.
    pub source: &'static str,
}

impl Author {
    /// A backend of the customer's.
    pub fn server() -> Self {
        Self { rank: Rank::Server, claims: Map::new(), verified: false, source: "sdk" }
    }

    /// A browser.
    pub fn claimed() -> Self {
        Self { rank: Rank::Claimed, ..Self::server() }
    }

    /// A file that a person of the customer's imports.
    pub fn import() -> Self {
        Self { source: "import", ..Self::server() }
    }

    /// Whether a token proved who speaks, or a backend does.
    fn is_trusted(&self) -> bool {
        self.rank != Rank::Claimed || self.verified
    }
}

/// What is said about a user.
#[derive(Debug, Clone, Default)]
pub struct UserWrite {
    /// The caller's id.
    pub user_id: String,
    /// Traits.
    pub traits: Traits,
    /// Context entries by key; `null` removes.
    pub context: Map<String, Value>,
    /// The caller's id of the user's company, which is made where it is not known.
    pub company_id: Option<String>,
    /// What was said in this session belongs to the user.
    pub session_id: Option<String>,
}

/// What is said about a company.
#[derive(Debug, Clone, Default)]
pub struct CompanyWrite {
    /// The caller's id.
    pub company_id: String,
    /// Traits.
    pub traits: Traits,
    /// Context entries by key; `null` removes.
    pub context: Map<String, Value>,
    /// The caller's id of a user of the company, who is linked to it, and made where not known.
    pub user_id: Option<String>,
}

/// Whose context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The user's with this id of the caller's.
    User(String),
    /// The company's with this id of the caller's.
    Company(String),
}

/// What became of one record of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was not known.
    Created,
    /// Something changed.
    Updated,
    /// Nothing changed.
    Unchanged,
    /// It is not known, and was not to be made.
    Skipped,
    /// It was refused; nothing of it was written.
    Rejected,
}

/// The result of one record of many.
#[derive(Debug, Clone)]
pub struct ItemResult {
    /// What became of it.
    pub status: Status,
    /// Our id of it.
    pub id: Option<String>,
    /// Why it was refused.
    pub refusal: Option<Refusal>,
}

impl ItemResult {
    /// A refused record.
    pub fn rejected(refusal: Refusal) -> Self {
        Self { status: Status::Rejected, id: None, refusal: Some(refusal) }
    }

    /// What became of the user or the company that the record is about; a user's company is not.
    fn of(outcome: Outcome, record: Record) -> Self {
        let (change, id) = match outcome {
            Outcome::Unknown(_) => return Self { status: Status::Skipped, id: None, refusal: None },
            Outcome::Refused(refused) => return Self::rejected(refused.into()),
            Outcome::Written(written) => match (record, &written.user, &written.company) {
                (Record::User, Some((user, change)), _) => (*change, user.id.0.clone()),
                (Record::Company, _, Some((company, change))) => (*change, company.id.0.clone()),
                _ => (Change::Unchanged, String::new()),
            },
        };
        let status = match change {
            Change::Created => Status::Created,
            Change::Updated => Status::Updated,
            Change::Unchanged => Status::Unchanged,
        };
        Self { status, id: Some(id), refusal: None }
    }
}

/// A user as written.
#[derive(Debug, Clone)]
pub struct UserWritten {
    /// The record.
    pub user: EndUser,
    /// The caller's id of its company.
    pub company_id: Option<String>,
    /// What became of it.
    pub change: Change,
    said: TraitPatch,
}

impl UserWritten {
    /// The user with nothing but what this call said: its ids, the values that were sent, and times.
    pub fn said(&self) -> EndUser {
        let (fields, custom_fields) = split(&self.said, user_kind);
        EndUser {
            fields: from_map(fields).unwrap_or_default(),
            custom_fields,
            context: entries(&self.said),
            ..self.user.clone()
        }
    }
}

/// A company as written.
#[derive(Debug, Clone)]
pub struct CompanyWritten {
    /// The record.
    pub company: Company,
    /// What became of it.
    pub change: Change,
    /// Our id of the user that the call named.
    pub user: Option<UserId>,
    said: TraitPatch,
}

impl CompanyWritten {
    /// As [`UserWritten::said`].
    pub fn said(&self) -> Company {
        let (fields, custom_fields) = split(&self.said, company_kind);
        Company {
            fields: from_map(fields).unwrap_or_default(),
            custom_fields,
            context: entries(&self.said),
            ..self.company.clone()
        }
    }
}

/// The values of a patch: recognised ones, and the others.
fn split(patch: &TraitPatch, kind_of: fn(&str) -> Option<Kind>) -> (Map<String, Value>, Map<String, Value>) {
    let set = patch.traits.iter().filter(|(_, value)| !value.is_null());
    set.map(|(key, value)| (key.clone(), value.clone())).partition(|(key, _)| kind_of(key).is_some())
}

fn entries(patch: &TraitPatch) -> BTreeMap<String, ContextEntry> {
    patch.context.iter().filter_map(|(key, entry)| Some((key.clone(), entry.clone()?))).collect()
}

/// What became of a context.
#[derive(Debug, Clone)]
pub struct ContextWritten {
    /// Our id of the record, unless it is not known.
    pub id: Option<String>,
    /// Whether something changed.
    pub changed: bool,
    /// Keys of the entries that were removed.
    pub cleared: Vec<String>,
}

/// Which entries to clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clearing {
    /// All but those that the server writes.
    All,
    /// The one of this key.
    Key(String),
}

/// Writes users and companies.
#[derive(Clone)]
pub struct Product {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    gather: gather::Gather,
    currency: Arc<str>,
    attributes: Option<Arc<Attributes>>,
}

impl Product {
    /// Over the store. `currency`: what amounts are sent in, an ISO 4217 code; [`DEFAULT_CURRENCY`] where the
    /// configuration names none.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, currency: Option<&str>) -> Self {
        let gather = gather::Gather::new(Arc::clone(&store));
        Self { store, clock, gather, currency: currency.unwrap_or(DEFAULT_CURRENCY).into(), attributes: None }
    }

    /// Has what is written noted as seen, and held against the fields that organisations define.
    #[must_use]
    pub fn noting(self, attributes: Arc<Attributes>) -> Self {
        Self { attributes: Some(attributes), ..self }
    }

    /// The currency that amounts are sent in.
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// A user is there now: made or updated, `last_seen` moved. With an author whom a token or a server key proves,
    /// a lead of the same e-mail address becomes the user.
    ///
    /// # Errors
    ///
    /// [`ProductError::Refused`]: nothing was written.
    pub async fn identify_user(
        &self,
        org: &OrgId,
        user: &UserWrite,
        author: &Author,
    ) -> Result<UserWritten, ProductError> {
        let at = self.clock.now();
        fits(&self.fields(org).await?, Record::User, &user.traits)?;
        let write = self.user_write(user, author, at, Presence::Here)?;
        let said = last_said(write.user.as_ref().map(|user| &user.record));
        let written = self.put_one(org, write).await?;
        match written {
            Some(Written { user: Some((record, change)), user_company, .. }) => {
                self.observed(org, Record::User, &record.id.0, author, &user.traits, &user.context);
                let user = record;
                Ok(UserWritten { user, company_id: user_company, change, said })
            }
            _ => Err(Refusal::new("not_found", "the user is not known").into()),
        }
    }

    /// Makes or updates up to [`MOST_RECORDS`] users without touching when they were seen. With `update_only` those
    /// that are not known are skipped. Each is written whole or not at all; answers in their order.
    ///
    /// # Errors
    ///
    /// [`ProductError::Store`]: nothing was written. A refused user is a result.
    pub async fn update_users(
        &self,
        org: &OrgId,
        users: &[UserWrite],
        update_only: bool,
        author: &Author,
    ) -> Result<Vec<ItemResult>, ProductError> {
        let at = self.clock.now();
        let presence = Presence::Elsewhere { create: !update_only };
        let fields = self.fields(org).await?;
        let writes = users.iter().map(|user| {
            fits(&fields, Record::User, &user.traits)?;
            self.user_write(user, author, at, presence)
        });
        let results = self.put_many(org, writes.collect(), Record::User).await?;
        for (user, result) in users.iter().zip(&results).filter(|(_, result)| is_written(result)) {
            let row = result.id.as_deref().unwrap_or_default();
            self.observed(org, Record::User, row, author, &user.traits, &user.context);
        }
        Ok(results)
    }

    /// Makes or updates a company, and links the user that is named.
    ///
    /// # Errors
    ///
    /// [`ProductError::Refused`]: nothing was written.
    pub async fn identify_company(
        &self,
        org: &OrgId,
        company: &CompanyWrite,
        author: &Author,
    ) -> Result<CompanyWritten, ProductError> {
        fits(&self.fields(org).await?, Record::Company, &company.traits)?;
        let write = self.company_write(company, author, self.clock.now(), true)?;
        let said = last_said(write.company.as_ref());
        let written = self.put_one(org, write).await?;
        match written {
            Some(Written { company: Some((record, change)), user, .. }) => {
                self.observed(org, Record::Company, &record.id.0, author, &company.traits, &company.context);
                let company = record;
                Ok(CompanyWritten { company, change, user: user.map(|(user, _)| user.id), said })
            }
            _ => Err(Refusal::new("not_found", "the company is not known").into()),
        }
    }

    /// As [`Self::update_users`], of companies.
    ///
    /// # Errors
    ///
    /// Those of [`Self::update_users`].
    pub async fn update_companies(
        &self,
        org: &OrgId,
        companies: &[CompanyWrite],
        update_only: bool,
        author: &Author,
    ) -> Result<Vec<ItemResult>, ProductError> {
        let at = self.clock.now();
        let fields = self.fields(org).await?;
        let writes = companies.iter().map(|company| {
            fits(&fields, Record::Company, &company.traits)?;
            self.company_write(company, author, at, !update_only)
        });
        let results = self.put_many(org, writes.collect(), Record::Company).await?;
        for (company, result) in companies.iter().zip(&results).filter(|(_, result)| is_written(result)) {
            let row = result.id.as_deref().unwrap_or_default();
            self.observed(org, Record::Company, row, author, &company.traits, &company.context);
        }
        Ok(results)
    }

    /// Sets context entries; each replaces the one of its key, `null` removes it. The record is made where it is not
    /// known.
    ///
    /// # Errors
    ///
    /// [`ProductError::Refused`]: nothing was written.
    pub async fn set_context(
        &self,
        org: &OrgId,
        whose: &Whose,
        context: &Map<String, Value>,
        author: &Author,
    ) -> Result<ContextWritten, ProductError> {
        let at = self.clock.now();
        let (record, write) = match whose {
            Whose::User(id) => {
                let user =
                    UserWrite { user_id: id.clone(), context: context.clone(), ..UserWrite::default() };
                let presence = Presence::Elsewhere { create: true };
                (Record::User, self.user_write(&user, author, at, presence)?)
            }
            Whose::Company(id) => {
                let company = CompanyWrite {
                    company_id: id.clone(),
                    context: context.clone(),
                    ..CompanyWrite::default()
                };
                (Record::Company, self.company_write(&company, author, at, true)?)
            }
        };
        let written = ContextWritten::of(self.put_one(org, write).await?);
        if let Some(row) = &written.id {
            self.observed(org, record, row, author, &Traits::default(), context);
        }
        Ok(written)
    }

    /// Clears context entries, but for those of a higher rank and those that the server writes. A record that is not
    /// known has none.
    ///
    /// # Errors
    ///
    /// [`ProductError::Refused`]: nothing was written.
    pub async fn clear_context(
        &self,
        org: &OrgId,
        whose: &Whose,
        what: &Clearing,
        author: &Author,
    ) -> Result<ContextWritten, ProductError> {
        let clear = match what {
            Clearing::All => Clear::All(author.rank),
            Clearing::Key(key) => {
                checks::context_key(key).map_err(|message| {
                    Refusal::fields("invalid_field", vec![FieldFault { field: "key".to_owned(), message }])
                })?;
                Clear::Keys(author.rank, vec![key.clone()])
            }
        };
        let part = |id: &String| RecordPart {
            clear: Some(clear.clone()),
            create: false,
            ..RecordPart::named(Lookup::External(id.clone()))
        };
        let (mut user, mut company) = (None, None);
        match whose {
            Whose::User(id) => {
                checks::id("user_id", id)?;
                user = Some(UserPart {
                    record: part(id),
                    sighting: Sighting::Elsewhere,
                    adopt: None,
                    session: None,
                });
            }
            Whose::Company(id) => {
                checks::id("company_id", id)?;
                company = Some(part(id));
            }
        }
        let (source, at) = (author.source.to_owned(), self.clock.now());
        let write = ProductWrite { user, company, link: None, source, at };
        Ok(ContextWritten::of(self.put_one(org, write).await?))
    }

    /// Deletes the user with this id of the caller's and everything that hangs on it. `None`: there is none.
    ///
    /// # Errors
    ///
    /// [`ProductError::Store`].
    pub async fn delete_user(&self, org: &OrgId, user_id: &str) -> Result<Option<Erased>, ProductError> {
        checks::id("user_id", user_id)?;
        let lookup = Lookup::External(user_id.to_owned());
        Ok(self.store.erase_user(org, &lookup, self.clock.now()).await?)
    }

    /// Deletes the company with this id of the caller's and everything that hangs on it; its users stay. `None`: there
    /// is none.
    ///
    /// # Errors
    ///
    /// [`ProductError::Store`].
    pub async fn delete_company(
        &self,
        org: &OrgId,
        company_id: &str,
    ) -> Result<Option<Erased>, ProductError> {
        checks::id("company_id", company_id)?;
        let lookup = Lookup::External(company_id.to_owned());
        Ok(self.store.erase_company(org, &lookup, self.clock.now()).await?)
    }

    /// What was written is noted as seen, for the list of attributes.
    fn observed(
        &self,
        org: &OrgId,
        record: Record,
        row: &str,
        author: &Author,
        traits: &Traits,
        context: &Map<String, Value>,
    ) {
        let Some(attributes) = &self.attributes else { return };
        let seen = Seen { row, rank: author.rank, traits: &traits.values, context };
        attributes.observe(org, scope_of(record), &seen);
        if !traits.amounts.is_empty() {
            let amounts = traits.amounts.iter();
            let amounts =
                amounts.filter_map(|(key, text)| Some((key.clone(), serde_json::from_str(text).ok()?)));
            let (amounts, none) = (amounts.collect(), Map::new());
            attributes.observe(org, scope_of(record), &Seen { traits: &amounts, context: &none, ..seen });
        }
    }

    /// The fields that the organisation defines.
    async fn fields(&self, org: &OrgId) -> Result<Arc<Vec<CustomField>>, ProductError> {
        match &self.attributes {
            Some(attributes) => Ok(attributes.fields(org).await?),
            None => Ok(Arc::default()),
        }
    }

    async fn put_one(&self, org: &OrgId, write: ProductWrite) -> Result<Option<Written>, ProductError> {
        match self.gather.put(org, write).await? {
            Outcome::Written(written) => Ok(Some(*written)),
            Outcome::Unknown(_) => Ok(None),
            Outcome::Refused(refused) => Err(Refusal::from(refused).into()),
        }
    }

    /// Writes those that are right; answers for all, in order.
    async fn put_many(
        &self,
        org: &OrgId,
        writes: Vec<Result<ProductWrite, Refusal>>,
        record: Record,
    ) -> Result<Vec<ItemResult>, ProductError> {
        let mut results: Vec<Option<ItemResult>> = Vec::with_capacity(writes.len());
        let mut right = Vec::with_capacity(writes.len());
        for write in writes {
            results.push(match write {
                Ok(write) => {
                    right.push(write);
                    None
                }
                Err(refusal) => Some(ItemResult::rejected(refusal)),
            });
        }
        let mut outcomes = match right.is_empty() {
            true => Vec::new(),
            false => self.store.put_product(org, right).await?,
        }
        .into_iter();
        let next = |result: Option<ItemResult>| match result {
            Some(result) => Some(result),
            None => outcomes.next().map(|outcome| ItemResult::of(outcome, record)),
        };
        Ok(results.into_iter().filter_map(next).collect())
    }

    fn user_write(
        &self,
        user: &UserWrite,
        author: &Author,
        at: Timestamp,
        presence: Presence,
    ) -> Result<ProductWrite, Refusal> {
        checks::id("user_id", &user.user_id)?;
        if let Some(session) = &user.session_id {
            checks::id("session_id", session)?;
        }
        let proven = if author.is_trusted() { Rank::Server } else { Rank::Claimed };
        let mut layers = Vec::new();
        let mut claims = author.claims.clone();
        let claimed_company = claims.remove("company_id");
        claims.retain(|key, _| !Record::User.is_reserved(key));
        if !claims.is_empty() {
            let patch = checks::patch(Record::User, &claims.into(), &Map::new(), &self.currency).map_err(
                |refusal| Refusal { message: format!("user_token: {}", refusal.message), ..refusal },
            )?;
            layers.push(Layer { rank: Rank::Server, patch });
        }
        let patch = checks::patch(Record::User, &user.traits, &user.context, &self.currency)?;
        let trusted = |layer: &Layer| layer.rank != Rank::Claimed;
        layers.push(Layer { rank: author.rank, patch });
        let address = layers
            .iter()
            .filter(|layer| trusted(layer))
            .filter_map(|layer| layer.patch.traits.get("email")?.as_str())
            .next_back();
        let adopt = match presence {
            Presence::Here if author.is_trusted() => {
                address.and_then(|address| keys::normalise("email", address))
            }
            _ => None,
        };
        // What the token says of the company outranks what a browser says, and both may be the same.
        let company = match (claimed_company, &user.company_id) {
            (Some(Value::String(id)), _) => Some((id, Rank::Server, "user_token: company_id")),
            (_, Some(id)) => Some((id.clone(), author.rank, "company_id")),
            _ => None,
        };
        let create = presence != Presence::Elsewhere { create: false };
        let company = match company {
            Some((id, rank, field)) => {
                checks::id(field, &id)?;
                Some((RecordPart::named(Lookup::External(id)), rank))
            }
            None => None,
        };
        let (company, link) = company.unzip();
        Ok(ProductWrite {
            user: Some(UserPart {
                record: RecordPart {
                    layers,
                    create,
                    ..RecordPart::named(Lookup::External(user.user_id.clone()))
                },
                sighting: match presence {
                    Presence::Here => Sighting::Identified,
                    Presence::Elsewhere { .. } => Sighting::Elsewhere,
                },
                adopt,
                session: user.session_id.clone().map(|session| (session, proven)),
            }),
            company,
            link,
            source: author.source.to_owned(),
            at,
        })
    }

    fn company_write(
        &self,
        company: &CompanyWrite,
        author: &Author,
        at: Timestamp,
        create: bool,
    ) -> Result<ProductWrite, Refusal> {
        checks::id("company_id", &company.company_id)?;
        let patch = checks::patch(Record::Company, &company.traits, &company.context, &self.currency)?;
        let named = company.user_id.as_ref().filter(|id| *id != ANONYMOUS);
        let mut link = None;
        let mut user = None;
        if let Some(id) = named {
            checks::id("user_id", id)?;
            // The token may name the company itself: then the link is as sure as the token.
            let said = author.claims.get("company_id").and_then(Value::as_str);
            let sure = said == Some(company.company_id.as_str());
            link = Some(if sure { Rank::Server } else { author.rank });
            let record = RecordPart::named(Lookup::External(id.clone()));
            user = Some(UserPart { record, sighting: Sighting::Elsewhere, adopt: None, session: None });
        }
        let layers = vec![Layer { rank: author.rank, patch }];
        let lookup = Lookup::External(company.company_id.clone());
        Ok(ProductWrite {
            user,
            company: Some(RecordPart { layers, create, ..RecordPart::named(lookup) }),
            link,
            source: author.source.to_owned(),
            at,
        })
    }
}

/// What a body says, behind what a token says.
fn last_said(part: Option<&RecordPart>) -> TraitPatch {
    part.and_then(|part| part.layers.last()).map(|layer| layer.patch.clone()).unwrap_or_default()
}

/// Whether a user is there while something is said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Yes.
    Here,
    /// No: a backend brings its own records in step.
    Elsewhere {
        /// Whether a user that is not known is made.
        create: bool,
    },
}

impl ContextWritten {
    fn of(written: Option<Written>) -> Self {
        let Some(written) = written else { return Self { id: None, changed: false, cleared: Vec::new() } };
        let user = written.user.map(|(user, change)| (user.id.0, change));
        let company = written.company.map(|(company, change)| (company.id.0, change));
        let (id, change) = user.or(company).unzip();
        let changed = change.is_some_and(|change| change != Change::Unchanged);
        Self { id, changed, cleared: written.cleared }
    }
}

fn scope_of(record: Record) -> AttributeScope {
    match record {
        Record::User => AttributeScope::User,
        Record::Company => AttributeScope::Company,
    }
}

/// Refuses values that do not fit a field whose definition is strict; each is named.
fn fits(fields: &[CustomField], record: Record, traits: &Traits) -> Result<(), Refusal> {
    let misfits = misfits(fields, scope_of(record), &traits.values);
    let strict = misfits.into_iter().filter(|misfit| misfit.strict);
    let faults: Vec<FieldFault> = strict
        .map(|misfit| FieldFault { field: format!("traits.{}", misfit.key), message: misfit.why })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Refusal::fields("invalid_field", faults)) }
}

fn is_written(result: &ItemResult) -> bool {
    !matches!(result.status, Status::Skipped | Status::Rejected)
}
