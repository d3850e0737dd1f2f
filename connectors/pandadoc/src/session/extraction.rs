//! Contract data that PandaDoc extracts from completed documents (beta): forty documents a call.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use connector_sdk::{ConnectorError, Record};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::PandaDocSession;
use super::fetch::{From, One};
use crate::cursor::Pass;

/// Documents that PandaDoc takes in one call.
const IN_ONE_CALL: usize = 40;
/// Its ids are no longer than this; one that is makes it refuse the call.
const LONGEST_ID: usize = 22;
/// How long an extraction is waited for, in seconds. Then a full pass may find it.
const WAITED_FOR: i64 = 24 * 60 * 60;

/// What was extracted.
#[derive(Default)]
pub(super) struct Extracted {
    /// By document.
    pub(super) found: BTreeMap<String, Box<RawValue>>,
    /// Documents that are still worked on.
    pub(super) waiting: Vec<String>,
}

#[derive(Deserialize)]
struct Outcomes {
    results: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    document_id: String,
    status: String,
    ai_metadata: Option<Box<RawValue>>,
}

impl PandaDocSession {
    /// The extracted data of completed documents. Nothing where the workspace has none: the document itself is
    /// read all the same.
    pub(super) async fn extractions(&self, ids: &[&str]) -> Result<Extracted, ConnectorError> {
        let mut out = Extracted::default();
        let plain: Vec<&str> = ids.iter().copied().filter(|id| id.len() <= LONGEST_ID).collect();
        for some in plain.chunks(IN_ONE_CALL) {
            if self.no_extraction.load(Ordering::Relaxed) {
                break;
            }
            let call = self
                .client
                .post(
                    "POST /public/beta/documents/ai-metadata",
                    &["public", "beta", "documents", "ai-metadata"],
                    &json!({ "document_ids": some }),
                )?
                .leave(StatusCode::FORBIDDEN);
            let answer = self.client.send(&call).await?;
            match answer.status {
                StatusCode::OK => {}
                // Not in this plan, not with this role, not (any more) in this beta.
                StatusCode::FORBIDDEN
                | StatusCode::NOT_FOUND
                | StatusCode::GONE
                | StatusCode::NOT_IMPLEMENTED
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::PAYMENT_REQUIRED => {
                    tracing::info!(status = answer.status.as_u16(), "PandaDoc offers no extracted data here");
                    self.no_extraction.store(true, Ordering::Relaxed);
                    break;
                }
                // Dates that are missing are better than documents that are.
                StatusCode::BAD_REQUEST => {
                    tracing::warn!(documents = some.len(), "PandaDoc refuses to tell extracted data");
                    continue;
                }
                _ => return Err(self.client.unexpected(&call, &answer)),
            }
            let outcomes: Outcomes = answer.json_owned()?;
            for outcome in outcomes.results {
                match (outcome.status.as_str(), outcome.ai_metadata) {
                    ("ok", Some(data)) => drop(out.found.insert(outcome.document_id, data)),
                    ("extraction_pending" | "internal_error", _) => out.waiting.push(outcome.document_id),
                    // Failed for good, not begun, gone or closed to us: there is nothing to wait for.
                    _ => {}
                }
            }
        }
        Ok(out)
    }

    /// At the beginning of a pass: the documents whose extraction has ended since the last one. That moves no date
    /// of theirs, so no list shows it.
    pub(super) async fn extracted_meanwhile(&self, pass: &mut Pass) -> Result<Vec<Record>, ConnectorError> {
        let now = self.client.now().timestamp();
        let mut waited_for = std::mem::take(&mut pass.before.extracting);
        waited_for.retain(|_, since| now - *since < WAITED_FOR);
        let ids: Vec<&str> = waited_for.keys().map(String::as_str).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let extracted = self.extractions(&ids).await?;
        let ended: Vec<(&str, bool)> = extracted.found.keys().map(|id| (id.as_str(), false)).collect();
        let (found, _) = self.fetch(&ended, From::Changes).await?;
        for id in extracted.waiting {
            if let Some(since) = waited_for.get(&id) {
                pass.kept.extracting.insert(id, *since);
            }
        }
        Ok(found
            .into_iter()
            .filter_map(|one| match one {
                One::Live(record) => Some(record),
                // Its going is seen by the list of what was deleted.
                One::Gone(_) | One::Bad(_) => None,
            })
            .collect())
    }
}
