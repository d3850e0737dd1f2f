//! What changed since an instant.
//!
//! PandaDoc's list tells what was modified and what was deleted. Its log of webhook events (15 days) tells what
//! neither does: changes that move no date, sent to an address that did not take them. The log names no document,
//! only each entry's own page does, so only deliveries that failed and deletions are looked into.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use connector_sdk::{Changed, ConnectorError, Cursor, RecordKey, Timestamp};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{List, PandaDocSession, Query};
use crate::DOCUMENTS;
use crate::cursor::{Phase, Plan, from_json, stamp, to_json};
use crate::record;
use crate::walk::{End, Place, Row};
use crate::webhook::documents_in;

/// How long the log goes back.
const LOGGED: TimeDelta = TimeDelta::days(15);
/// Entries of the log a page.
const COUNT: usize = 100;
const AT_ONCE: usize = 4;
/// Its first page. PandaDoc's OpenAPI file allows 0 and does not say which is the first; asking for one that is
/// before the first shows the first, or is refused.
const FIRST: u32 = 0;

/// Which of the lists is being read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case", deny_unknown_fields)]
enum At {
    Modified {
        plan: usize,
        place: Place,
    },
    Deleted {
        plan: usize,
        place: Place,
    },
    /// Entries of the log that one of [`QUESTIONS`] asks for.
    Log {
        question: usize,
        page: u32,
    },
}

/// What the log is asked for: refused deliveries, those that met no answer, and deletions.
const QUESTIONS: [&[(&str, &str)]; 3] = [
    &[("http_status_code", "300"), ("http_status_code", "400"), ("http_status_code", "500")],
    &[
        ("error", "INTERNAL_ERROR"),
        ("error", "NOT_VALID_URL"),
        ("error", "CONNECT_ERROR"),
        ("error", "TIMEOUT_ERROR"),
    ],
    &[("type", "document_deleted")],
];

#[derive(Deserialize)]
struct Log {
    items: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    uuid: Option<String>,
}

#[derive(Deserialize)]
struct EntryPage {
    request_body: Option<String>,
}

impl PandaDocSession {
    pub(super) async fn history(
        &self,
        since: Timestamp,
        cursor: Option<&Cursor>,
    ) -> Result<Changed, ConnectorError> {
        let at = match cursor {
            None => At::Modified { plan: 0, place: Place::default() },
            Some(cursor) => from_json(&cursor.0, "cursor")?,
        };
        let plans = Plan::all(&self.config);
        let (keys, next) = match at {
            At::Modified { plan, place } => {
                let (keys, next) = self.listed(Phase::Changed, &plans, plan, since, &place).await?;
                let next = match next {
                    Some(place) => At::Modified { plan, place },
                    None if plan + 1 < plans.len() => {
                        At::Modified { plan: plan + 1, place: Place::default() }
                    }
                    None => At::Deleted { plan: 0, place: Place::default() },
                };
                (keys, Some(next))
            }
            At::Deleted { plan, place } => {
                let (keys, next) = self.listed(Phase::Deleted, &plans, plan, since, &place).await?;
                let next = match next {
                    Some(place) => At::Deleted { plan, place },
                    None if plan + 1 < plans.len() => At::Deleted { plan: plan + 1, place: Place::default() },
                    None => At::Log { question: 0, page: FIRST },
                };
                (keys, Some(next))
            }
            At::Log { question, page } => self.logged(since, question, page).await?,
        };
        let keys = keys.into_iter().map(|id| RecordKey::new(DOCUMENTS, id)).collect();
        let next = next.map(|at| to_json(&at).map(Cursor)).transpose()?;
        Ok(Changed { keys, next })
    }

    /// Documents of a page of the list.
    async fn listed(
        &self,
        phase: Phase,
        plans: &[Plan],
        plan: usize,
        since: Timestamp,
        place: &Place,
    ) -> Result<(BTreeSet<String>, Option<Place>), ConnectorError> {
        let plan = plans
            .get(plan)
            .ok_or_else(|| ConnectorError::Protocol("cursor: of other settings".to_owned()))?;
        let since = stamp(since);
        let query = Query { phase, plan, since: Some(&since), until: None, place, count: 100 };
        let answer = self.list(query).await?;
        let list: List<'_> = answer.json()?;
        let heads: Vec<_> =
            list.results.iter().filter_map(|raw| record::head(RawValue::get(raw)).ok()).collect();
        let rows: Vec<Row<'_>> = heads
            .iter()
            .map(|(id, head)| Row { id, at: head.date_modified.as_deref().unwrap_or_default() })
            .collect();
        let step = place.step(&rows, list.results.len(), 100, End::ShortPage);
        let fresh = step.fresh.iter().filter_map(|n| heads.get(*n));
        let ids = fresh.filter(|(_, head)| self.counts(head)).map(|(id, _)| id.clone()).collect();
        Ok((ids, step.next))
    }

    /// Documents of a page of the log. Credentials that may not read the log, and a PandaDoc without one, have
    /// told all they can by the list.
    async fn logged(
        &self,
        since: Timestamp,
        question: usize,
        page: u32,
    ) -> Result<(BTreeSet<String>, Option<At>), ConnectorError> {
        let filters = *QUESTIONS
            .get(question)
            .ok_or_else(|| ConnectorError::Protocol("cursor: names no question".to_owned()))?;
        let since = since.max(self.client.now() - LOGGED);
        let mut call = self
            .client
            .get("GET /public/v1/webhook-events", &["public", "v1", "webhook-events"])?
            .query("count", &COUNT.to_string())
            .query("page", &page.to_string())
            .query("since", &stamp(since))
            .leave(StatusCode::FORBIDDEN);
        for (name, value) in filters {
            call = call.query(name, value);
        }
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST if page == FIRST => {
                return Ok((BTreeSet::new(), Some(At::Log { question, page: FIRST + 1 })));
            }
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED => {
                return Ok((BTreeSet::new(), None));
            }
            _ => return Err(self.client.unexpected(&call, &answer)),
        }
        let log: Log = answer.json_owned()?;
        let reads: Vec<_> =
            log.items.iter().filter_map(|entry| entry.uuid.as_deref()).map(|id| self.entry(id)).collect();
        let named: Vec<Vec<String>> =
            futures_util::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let next = match log.items.len() >= COUNT {
            true => Some(At::Log { question, page: page.saturating_add(1) }),
            false if question + 1 < QUESTIONS.len() => Some(At::Log { question: question + 1, page: FIRST }),
            false => None,
        };
        Ok((named.into_iter().flatten().collect(), next))
    }

    /// The documents that an entry of the log names.
    async fn entry(&self, id: &str) -> Result<Vec<String>, ConnectorError> {
        let path = ["public", "v1", "webhook-events", id];
        let call = self.client.get("GET /public/v1/webhook-events/:id", &path)?;
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::OK => {}
            // Just over its fifteen days.
            StatusCode::NOT_FOUND => return Ok(Vec::new()),
            _ => return Err(self.client.unexpected(&call, &answer)),
        }
        let entry: EntryPage = answer.json_owned()?;
        Ok(entry.request_body.map(|body| documents_in(body.as_bytes())).unwrap_or_default())
    }
}

#[cfg(test)]
#[test]
fn the_place_in_a_history_is_read_back() {
    for at in [
        At::Modified { plan: 1, place: Place::default() },
        At::Deleted { plan: 0, place: Place::default() },
        At::Log { question: 2, page: 3 },
    ] {
        let text = to_json(&at).unwrap();
        assert_eq!(from_json::<At>(&text, "cursor").unwrap(), at);
    }
    assert!(from_json::<At>("{}", "cursor").is_err());
}
