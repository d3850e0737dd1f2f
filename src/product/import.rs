//! Rows of a file: batches of users or companies, each written once however often it is sent.

use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Author, CompanyWrite, Presence, Product, ProductError, Record, Refusal, Traits, UserWrite, fits, keys,
};
use crate::domain::OrgId;
use crate::domain::attributes::CustomField;
use crate::store::identity::Lookup;
use crate::store::imports::{Foreseen, ImportBatch, ImportState};
use crate::store::product::{Outcome, ProductWrite};

/// Characters of a reason that are kept.
const REASON_CHARS: usize = 400;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportKind {
    /// End users.
    Contacts,
    /// Companies.
    Companies,
}

/// A row, read and not yet judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImportRow {
    /// Its number, from 1 over the file.
    pub row: u64,
    /// The caller's id; a user without one is found by e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Traits, as JSON text: amounts keep every digit.
    pub traits: String,
    /// Context entries by key; `null` removes.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub context: Map<String, Value>,
    /// The caller's id of the user's company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company_id: Option<String>,
}

/// Rows that go on behind those of an import that are answered for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImportStep {
    /// What the rows are.
    pub kind: ImportKind,
    /// The import: a digest of what is imported and the file's path.
    pub id: String,
    /// How far it was.
    pub before: ImportState,
    /// The rows that could be read.
    pub rows: Vec<ImportRow>,
    /// Those that could not, and why.
    pub refused: Vec<(u64, String)>,
    /// Rows whose id an earlier row of the file had.
    pub duplicates: u64,
    /// Digest of the rows up to the last of these.
    pub digest: String,
    /// Length of the rejects file in front of this batch's.
    pub rejects_bytes: u64,
    /// Whether it is the last batch.
    pub last: bool,
    /// Skip what is not known.
    pub update_only: bool,
}

/// A row of a dry run.
#[derive(Debug, Clone)]
pub struct ForeseenRow {
    /// Its number.
    pub row: u64,
    /// What would become of it, or why it is refused.
    pub foreseen: Result<Foreseen, String>,
}

/// Rows by whether they can be written.
struct Judged {
    writes: Vec<(u64, ProductWrite)>,
    refused: Vec<(u64, String)>,
}

impl Product {
    /// Writes a batch, and how far the import is by it, in one transaction. When nobody was seen is not touched.
    ///
    /// # Errors
    ///
    /// [`ProductError::Store`]: nothing was written.
    pub async fn import(&self, org: &OrgId, step: ImportStep) -> Result<ImportState, ProductError> {
        let at = self.clock.now();
        let Judged { writes, mut refused } = self.import_writes(org, &step, at).await?;
        refused.extend(step.refused.iter().cloned());
        let written: Vec<u64> = writes.iter().map(|(row, _)| *row).collect();
        let batch = ImportBatch {
            id: step.id.clone(),
            before: step.before,
            writes,
            refused,
            duplicates: step.duplicates,
            digest: step.digest,
            rejects_bytes: step.rejects_bytes,
            last: step.last,
            at,
        };
        let done = self.store.put_import(org, batch).await?;
        let record = match step.kind {
            ImportKind::Contacts => Record::User,
            ImportKind::Companies => Record::Company,
        };
        let mut rows = step.rows.iter();
        for (row, outcome) in written.iter().zip(&done.outcomes) {
            let Some(said) = rows.find(|said| said.row == *row) else { continue };
            if let (Outcome::Written(written), Ok(traits)) = (outcome, traits_of(said)) {
                let id = match (&written.user, &written.company) {
                    (Some((user, _)), _) => user.id.as_str(),
                    (None, Some((company, _))) => company.id.as_str(),
                    (None, None) => continue,
                };
                self.observed(org, record, id, &Author::import(), &traits, &said.context);
            }
        }
        Ok(done.state)
    }

    /// What [`Self::import`] would do with the rows, and does not: by row, in their order.
    ///
    /// # Errors
    ///
    /// [`ProductError::Store`].
    pub async fn foresee_import(
        &self,
        org: &OrgId,
        step: &ImportStep,
    ) -> Result<Vec<ForeseenRow>, ProductError> {
        let Judged { writes, refused } = self.import_writes(org, step, self.clock.now()).await?;
        let (rows, writes): (Vec<u64>, Vec<ProductWrite>) = writes.into_iter().unzip();
        let foreseen = self.store.foresee_product(org, writes).await?.into_iter().map(Ok);
        let right = rows.into_iter().zip(foreseen);
        let wrong = refused.into_iter().chain(step.refused.iter().cloned()).map(|(row, why)| (row, Err(why)));
        let mut all: Vec<_> =
            right.chain(wrong).map(|(row, foreseen)| ForeseenRow { row, foreseen }).collect();
        all.sort_by_key(|foreseen| foreseen.row);
        Ok(all)
    }

    /// The writes of the rows that are right, and why the others are not.
    async fn import_writes(
        &self,
        org: &OrgId,
        step: &ImportStep,
        at: Timestamp,
    ) -> Result<Judged, ProductError> {
        let mut judged = Judged { writes: Vec::with_capacity(step.rows.len()), refused: Vec::new() };
        let fields = self.fields(org).await?;
        for row in &step.rows {
            let write = match step.kind {
                ImportKind::Contacts => self.imported_user(org, row, &fields, step.update_only, at).await,
                ImportKind::Companies => self.imported_company(row, &fields, step.update_only, at),
            };
            match write {
                Ok(write) => judged.writes.push((row.row, write)),
                Err(ProductError::Refused(refusal)) => {
                    judged.refused.push((row.row, shortened(refusal.message)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(judged)
    }

    async fn imported_user(
        &self,
        org: &OrgId,
        row: &ImportRow,
        fields: &[CustomField],
        update_only: bool,
        at: Timestamp,
    ) -> Result<ProductWrite, ProductError> {
        let traits = traits_of(row)?;
        fits(fields, Record::User, &traits)?;
        let email = traits.values.get("email").and_then(Value::as_str);
        let email = email.and_then(|email| keys::normalise("email", email));
        let presence = Presence::Elsewhere { create: !update_only };
        let author = Author::import();
        let user = |id: &str| UserWrite {
            user_id: id.to_owned(),
            traits: traits.clone(),
            context: row.context.clone(),
            company_id: row.company_id.clone(),
            session_id: None,
        };
        if let Some(id) = &row.id {
            let mut write = self.user_write(&user(id), &author, at, presence)?;
            // Somebody who is known by the address alone becomes this user.
            if let Some(user) = &mut write.user {
                user.adopt = email;
            }
            return Ok(write);
        }
        let Some(email) = email else {
            return Err(Refusal::new("missing_field", "neither an id nor an e-mail address").into());
        };
        let Some(known) = self.store.find_user_by_email(org, &email).await? else {
            let text =
                "no id, and nobody has this e-mail address; --id-column email takes the address as the id";
            return Err(Refusal::new("missing_field", text).into());
        };
        let mut write = self.user_write(&user(&email), &author, at, presence)?;
        if let Some(user) = &mut write.user {
            user.record.lookup = Lookup::Id(known.id.0);
        }
        Ok(write)
    }

    fn imported_company(
        &self,
        row: &ImportRow,
        fields: &[CustomField],
        update_only: bool,
        at: Timestamp,
    ) -> Result<ProductWrite, ProductError> {
        let traits = traits_of(row)?;
        fits(fields, Record::Company, &traits)?;
        let company = CompanyWrite {
            company_id: row.id.clone().unwrap_or_default(),
            traits,
            context: row.context.clone(),
            user_id: None,
        };
        Ok(self.company_write(&company, &Author::import(), at, !update_only)?)
    }
}

/// Rows of one batch are kept with their reasons: one that is wrong in a thousand ways says the first of them.
fn shortened(message: String) -> String {
    match message.char_indices().nth(REASON_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

fn traits_of(row: &ImportRow) -> Result<Traits, Refusal> {
    serde_json::from_str(&row.traits).map_err(|e| Refusal::new("invalid_record", format!("traits: {e}")))
}
