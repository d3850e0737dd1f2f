//! Files that are imported: how far each is, and what a batch of it did.

use async_trait::async_trait;
use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};

use super::Result;
use super::product::{Outcome, ProductWrite};
use crate::domain::OrgId;

/// What became of the rows of an import.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportCounts {
    /// Records that were not known.
    pub created: u64,
    /// Records of which something changed.
    pub updated: u64,
    /// Records that were so already.
    pub unchanged: u64,
    /// Records that are not known and were not to be made.
    pub skipped: u64,
    /// Rows that were refused.
    pub rejected: u64,
    /// Rows whose id an earlier row of the file had; they are counted as what became of them, too.
    pub duplicates: u64,
}

impl ImportCounts {
    /// Rows that were answered for.
    pub fn rows(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.skipped + self.rejected
    }
}

/// How far an import is, behind a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportState {
    /// Names one run over the file, over all its resumptions.
    pub run: String,
    /// How the file is read; another way would be another import.
    pub options: String,
    /// What became of the rows so far.
    pub counts: ImportCounts,
    /// Digest of the rows so far.
    pub digest: String,
    /// Length of the rejects file in front of the last batch's.
    pub rejects_bytes: u64,
    /// Rows of the last batch that were refused, numbered from 1 over the file, and why.
    pub rejects: Vec<(u64, String)>,
    /// Whether the file has been read to its end.
    pub finished: bool,
}

/// A batch of an import: rows that go on behind those that are answered for.
#[derive(Debug, Clone)]
pub struct ImportBatch {
    /// The import.
    pub id: String,
    /// How far it was.
    pub before: ImportState,
    /// Number of the rows to be written, from 1 over the file, with their writes.
    pub writes: Vec<(u64, ProductWrite)>,
    /// Rows that were refused before the store saw them, and why.
    pub refused: Vec<(u64, String)>,
    /// Rows whose id an earlier row had.
    pub duplicates: u64,
    /// [`ImportState::digest`] behind the batch.
    pub digest: String,
    /// [`ImportState::rejects_bytes`] of the batch.
    pub rejects_bytes: u64,
    /// Whether it is the last one.
    pub last: bool,
    /// Now.
    pub at: Timestamp,
}

/// What a batch did.
#[derive(Debug, Clone)]
pub struct ImportedBatch {
    /// How far the import is.
    pub state: ImportState,
    /// What became of each write; nothing where the batch had been written before.
    pub outcomes: Vec<Outcome>,
}

/// A write as it would end.
#[derive(Debug, Clone)]
pub struct Foreseen {
    /// The record as it is: its JSON. `None`: it is not known.
    pub before: Option<serde_json::Value>,
    /// What would become of it.
    pub outcome: Outcome,
}

/// Imports of files.
#[async_trait]
pub trait ImportStore {
    /// Writes a batch and how far the import is by it, in one transaction. A batch that was written already (its
    /// answer was lost) writes nothing and answers what it did. An import begins with a batch behind no rows.
    ///
    /// # Errors
    /// [`StoreError::Invalid`](super::StoreError::Invalid): the import is elsewhere than the batch says.
    async fn put_import(&self, org: &OrgId, batch: ImportBatch) -> Result<ImportedBatch>;

    /// How far an import is.
    async fn find_import(&self, org: &OrgId, id: &str) -> Result<Option<ImportState>>;

    /// What [`ProductStore::put_product`](super::ProductStore::put_product) would do, and does not.
    async fn foresee_product(&self, org: &OrgId, writes: Vec<ProductWrite>) -> Result<Vec<Foreseen>>;
}
