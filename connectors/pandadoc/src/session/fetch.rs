//! Documents one by one: details, and what stands in for them.

use std::collections::BTreeMap;

use connector_sdk::{Batch, ConnectorError, Record, RecordKey, Rejected};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{PandaDocSession, Take};
use crate::DOCUMENTS;
use crate::client::{DETAILS, is_error};
use crate::record;

/// Details that are asked for at once; the budget's own limit stands behind it.
const AT_ONCE: usize = 8;
/// No id of PandaDoc's is longer, or holds anything but these; a strange one from outside is no document.
const LONGEST_ID: usize = 64;

/// What a read by id gave.
pub(super) enum One {
    Live(Record),
    Gone(RecordKey),
    Bad(Rejected),
}

/// Who names the documents that are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// A page of the list of all.
    Everything,
    /// A list of what changed.
    Changes,
    /// Somebody who knows their ids.
    Ids,
}

/// The text that a record is made of, before what PandaDoc keeps apart is joined to it.
enum Read {
    Details { text: String, complete: bool },
    Gone,
    Bad(Rejected),
    Forbidden,
}

/// A 409 about a document that is still being made: `{"id", "status", "info_message"}`.
#[derive(Deserialize)]
struct StillMade {
    status: String,
}

fn is_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn gone(id: &str) -> RecordKey {
    RecordKey::new(DOCUMENTS, id)
}

impl PandaDocSession {
    /// The records of those documents, and the ids of those whose contract data is still being extracted. Of each
    /// is said whether it is known to have no details yet. A document that may not be read is set aside.
    pub(super) async fn fetch(
        &self,
        ids: &[(&str, bool)],
        from: From,
    ) -> Result<(Vec<One>, Vec<String>), ConnectorError> {
        // Futures first, then the stream of them: a closure over borrowed items is not general enough for the
        // boxed future of the trait.
        let reads: Vec<_> = ids.iter().map(|(id, unmade)| self.read_one(id, *unmade)).collect();
        let read: Vec<Read> = futures_util::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        // One document that may not be read holds no others up. Where all are refused, it may be that the credentials
        // may read none: of a whole page of everything that is sure enough, of others the list tells.
        let all = !read.is_empty() && read.iter().all(|read| matches!(read, Read::Forbidden));
        let none = match from {
            _ if !all => false,
            From::Everything => read.len() > 1,
            From::Changes => false,
            From::Ids => !self.may_list().await?,
        };
        if none {
            let call = self.details_call("any")?;
            return Err(self.client.forbidden(&call, crate::READ));
        }
        let complete: Vec<&str> = ids
            .iter()
            .zip(&read)
            .filter(|(_, read)| matches!(read, Read::Details { complete: true, .. }))
            .map(|((id, _), _)| *id)
            .collect();
        let extracted = self.extractions(&complete).await?;
        let mut out = Vec::with_capacity(ids.len());
        for ((id, _), read) in ids.iter().zip(read) {
            out.push(match read {
                Read::Details { text, .. } => {
                    let waits =
                        extracted.waiting.iter().any(|waiting| waiting == id).then_some(RawValue::NULL);
                    let ai_metadata = extracted.found.get(*id).map(AsRef::as_ref).or(waits);
                    One::Live(record::record(id, &text, ai_metadata, self.ours.as_deref())?)
                }
                Read::Gone => One::Gone(gone(id)),
                Read::Bad(rejected) => One::Bad(rejected),
                Read::Forbidden => {
                    let reason = "the credentials may not read this document's details".to_owned();
                    One::Bad(record::rejected(Some((*id).to_owned()), reason, ""))
                }
            });
        }
        Ok((out, extracted.waiting))
    }

    /// Reads by id, each id once. What does not count is gone for us, whatever it is for PandaDoc.
    pub(super) async fn many(&self, ids: &[String]) -> Result<Batch, ConnectorError> {
        let mut wanted: BTreeMap<&str, bool> = BTreeMap::new();
        let mut batch = Batch::default();
        for id in ids {
            if is_id(id) {
                wanted.insert(id, false);
            } else if !batch.tombstones.iter().any(|key| key.id == *id) {
                batch.tombstones.push(gone(id));
            }
        }
        let wanted: Vec<(&str, bool)> = wanted.into_iter().collect();
        let (found, _) = self.fetch(&wanted, From::Ids).await?;
        for one in found {
            batch.take(one);
        }
        Ok(batch)
    }

    pub(super) fn details_call(&self, id: &str) -> Result<connector_sdk::Call, ConnectorError> {
        let path = ["public", "v1", "documents", id, "details"];
        Ok(self.client.get(DETAILS, &path)?.leave(StatusCode::FORBIDDEN))
    }

    async fn read_one(&self, id: &str, unmade: bool) -> Result<Read, ConnectorError> {
        if unmade {
            return self.read_unmade(id).await;
        }
        let call = self.details_call(id)?;
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(Read::Gone),
            StatusCode::FORBIDDEN => return Ok(Read::Forbidden),
            StatusCode::CONFLICT
                if serde_json::from_slice::<StillMade>(&answer.body)
                    .is_ok_and(|made| made.status.starts_with("document.")) =>
            {
                return self.read_unmade(id).await;
            }
            _ => return Err(self.client.unexpected(&call, &answer)),
        }
        self.judge(id, &call, &answer)
    }

    /// The little that PandaDoc says of a document that is still being made, or could not be made.
    async fn read_unmade(&self, id: &str) -> Result<Read, ConnectorError> {
        let path = ["public", "v1", "documents", id];
        let call = self.client.get("GET /public/v1/documents/:id", &path)?.leave(StatusCode::FORBIDDEN);
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::OK => self.judge(id, &call, &answer),
            StatusCode::NOT_FOUND => Ok(Read::Gone),
            StatusCode::FORBIDDEN => Ok(Read::Forbidden),
            _ => Err(self.client.unexpected(&call, &answer)),
        }
    }

    fn judge(
        &self,
        id: &str,
        call: &connector_sdk::Call,
        answer: &connector_sdk::Answer,
    ) -> Result<Read, ConnectorError> {
        // What is no JSON at all is the answer's fault, not the document's.
        let text: &serde_json::value::RawValue = answer.json()?;
        let text = text.get();
        let (found, head) = match record::head(text) {
            Ok(found) => found,
            // An error that comes with 200 is no document that could be set aside.
            Err(_) if is_error(answer) => return Err(self.client.unexpected(call, answer)),
            Err(mut rejected) => {
                rejected.id = Some(id.to_owned());
                return Ok(Read::Bad(rejected));
            }
        };
        if found != id {
            let reason = "id: another document than the one that was asked for".to_owned();
            return Ok(Read::Bad(record::rejected(Some(id.to_owned()), reason, text)));
        }
        if !self.counts(&head) {
            return Ok(Read::Gone);
        }
        Ok(Read::Details { complete: head.is_complete(), text: text.to_owned() })
    }
}
