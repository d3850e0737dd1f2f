//! A PandaDoc document in the shared vocabulary.
//!
//! One document is one agreement ([`Contract`](connector_sdk::facts::Contract)), the people in it, and what it says
//! about the company behind it: metadata, and the objects of other tools that it is linked to.
//!
//! PandaDoc's own examples do not keep to its own schema, so a member of another shape than expected counts as one
//! that says nothing. What nobody said stays unknown: an invented date is worse than none. In particular
//! `expiration_date` is never read: it is the day on which the signing link ends, not the agreement.

mod document;
mod said;
mod when;

use connector_sdk::{Extract, FactsError, Record};

pub use document::{DocumentStatus, status_of};

use crate::DOCUMENTS;

/// Version of this translation. A larger one makes stored facts stale.
pub const FACTS_VERSION: u32 = 1;

/// Translates one document. Pure.
///
/// # Errors
///
/// [`FactsError`] with the path of the member without which a document is none, or with the path `stream` for
/// another stream than that of the documents ([`FactsError::unknown_stream`]).
pub fn facts(record: &Record) -> Result<Extract, FactsError> {
    if record.key.stream != DOCUMENTS {
        return Err(FactsError::unknown_stream(&record.key.stream));
    }
    let facts = document::document(&record.key.id, record.payload.get())?;
    // A document is its own party: two of them may well be of two companies, whoever signed both.
    Ok(Extract { facts, refs: Vec::new(), party: Some(record.key.clone()) })
}

#[cfg(test)]
mod tests;
