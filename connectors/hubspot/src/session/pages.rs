//! Pages of CRM objects: the list of all, the search for what changed, the list of what is archived.
//!
//! An incremental read searches by the time of the last change and goes through the results by object id, each page
//! a search of its own for ids beyond the last one. So it never comes near the 10,000 results that a search ends at,
//! an import that gives thousands of objects one instant is no trouble, and what changes meanwhile moves nothing: the
//! next read begins where this one began, less the time that the index lags behind.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use chrono::DateTime;
use connector_sdk::{Answer, Call, ConnectorError, Cursor, Next, Page, ReadMode, Record, RecordKey};
use http::StatusCode;
use http::header::DATE;
use serde_json::{Value, json};

use super::associate::{ASSOCIATION_INPUTS, LINES_SCOPE, Source};
use super::{HubSpotSession, Objects, page};
use crate::client::Area;
use crate::cursor::Position;
use crate::object::{self, Found, List, Paging};
use crate::streams::Object;

/// HubSpot refuses addresses of more than about 15,000 characters.
const LONGEST_QUERY: usize = 12_000;
/// HubSpot refuses bodies of searches of more than 3,000 characters.
const LONGEST_SEARCH: usize = 3_000;
/// Searches of two hundred objects that make up [`ASSOCIATION_INPUTS`](super::associate::ASSOCIATION_INPUTS).
const SEARCHES_A_PAGE: usize = 5;

const DEALS: &str = "deals";
const LINE_ITEMS: &str = "line_items";
const LINES_MODIFIED: &str = "hs_lastmodifieddate";

/// When HubSpot answered, in milliseconds since 1970 by its own clock.
fn answered_at(answer: &Answer) -> Option<i64> {
    let text = answer.headers.get(DATE)?.to_str().ok()?;
    Some(DateTime::parse_from_rfc2822(text).ok()?.timestamp_millis())
}

impl HubSpotSession {
    pub(super) async fn page_of_objects(
        &self,
        of: Objects,
        mode: ReadMode,
        cursor: Option<&Cursor>,
    ) -> Result<Page, ConnectorError> {
        match cursor.map(Position::parse).transpose()? {
            None => self.listed(of, None).await,
            Some(Position::List { after, since }) => self.listed(of, Some((after, since))).await,
            // Complete already; a repeated call changes nothing.
            Some(Position::Done { since }) if mode == ReadMode::Full => {
                Ok(page(Next::CaughtUp(Position::Done { since }.cursor()?)))
            }
            Some(Position::Done { since }) => {
                self.searched(of, since.saturating_sub(self.config.overlap()), 0, None).await
            }
            Some(Position::Search { from, last, since }) => self.searched(of, from, last, Some(since)).await,
            Some(Position::Lines { from, last, since }) if of.1.spec.name == DEALS => {
                self.of_changed_lines(of, from, last, since).await
            }
            Some(Position::Archived { after, from, since }) => self.archived(of, after, from, since).await,
            Some(Position::Lines { .. } | Position::Owners { .. } | Position::Types { .. }) => {
                Err(Position::misplaced(of.1.spec.name))
            }
        }
    }

    fn began(&self, answer: &Answer) -> i64 {
        answered_at(answer).unwrap_or_else(|| self.client.now().timestamp_millis())
    }

    pub(super) async fn sent(&self, of: Objects, call: &Call) -> Result<Answer, ConnectorError> {
        let answer = self.client.send(call, of.1.spec.permission).await?;
        match answer.status {
            StatusCode::OK | StatusCode::MULTI_STATUS => Ok(answer),
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                Err(ConnectorError::NotOffered(of.1.spec.name.to_owned()))
            }
            _ => Err(self.client.unexpected(call, &answer)),
        }
    }

    /// What a list is asked to show of associations: free of charge, unlike batches of them.
    fn inline(&self, of: Objects) -> String {
        let (n, stream, object) = of;
        if self.is_unlinked(n) {
            return String::new();
        }
        let lines = (stream.spec.name == DEALS && self.reads_lines()).then_some("line_items");
        object.to.iter().copied().chain(lines).collect::<Vec<_>>().join(",")
    }

    async fn listed(&self, of: Objects, from: Option<(String, i64)>) -> Result<Page, ConnectorError> {
        let (n, stream, object) = of;
        let names = self.properties(stream, object).join(",");
        // A comma takes three characters in an address.
        let fits = names.len() + 2 * names.matches(',').count() <= LONGEST_QUERY;
        let call = |associations: &str| -> Result<Call, ConnectorError> {
            let mut call = self
                .client
                .get("GET /crm/objects/:type", Area::Objects(stream.spec.name), &[])?
                .query("limit", &self.config.page_size.to_string())
                .query("archived", "false")
                .query("properties", if fits { &names } else { "hs_object_id" });
            if !associations.is_empty() {
                call = call.query("associations", associations);
            }
            if let Some((after, _)) = &from {
                call = call.query("after", after);
            }
            Ok(call)
        };
        let inline = self.inline(of);
        let answer = match self.sent(of, &call(&inline)?).await {
            Err(ConnectorError::Auth { missing_permission: Some(scope), message })
                if !inline.is_empty() && stream.spec.permission != Some(scope.as_str()) =>
            {
                // What may not be read may be what the objects are associated with; of those first the lines.
                let why = ConnectorError::Auth { missing_permission: Some(scope), message };
                let others = object.to.join(",");
                let again = match others != inline && !others.is_empty() {
                    true => Some(self.sent(of, &call(&others)?).await),
                    false => None,
                };
                match again {
                    Some(Ok(without_lines)) => {
                        tracing::warn!(%why, "line items cannot be read");
                        self.no_lines.store(true, Ordering::Relaxed);
                        without_lines
                    }
                    Some(Err(error)) if !error.is_of_one_stream() => return Err(error),
                    _ => {
                        let without = self.sent(of, &call("")?).await?;
                        self.unlink(n, stream, &why);
                        without
                    }
                }
            }
            other => other?,
        };
        let since = from.as_ref().map_or_else(|| self.began(&answer), |(_, since)| *since);
        let list: List<'_> = answer.json()?;
        let mut out = page(Next::CaughtUp(Position::Done { since }.cursor()?));
        let mut found = Vec::with_capacity(list.results.len());
        for raw in &list.results {
            match object::read(stream.spec.name, raw.get()) {
                Ok(one) => found.push(one),
                Err(rejected) => out.rejected.push(rejected),
            }
        }
        if fits {
            out.records = self.records(of, found, Source::List).await?;
        } else {
            let ids: Vec<u64> = found.iter().map(|one| one.id).collect();
            let batch = self.batch_of(of, &ids).await?;
            (out.records, out.tombstones) = (batch.records, batch.tombstones);
            out.rejected.extend(batch.rejected);
        }
        if let Some(after) = Paging::after(list.paging) {
            if from.is_some_and(|(before, _)| before == after) {
                return Err(ConnectorError::Protocol(
                    "GET /crm/objects/:type: the list never ends".to_owned(),
                ));
            }
            out.next = Next::More(Position::List { after, since }.cursor()?);
        }
        Ok(out)
    }

    fn query(&self, modified: &str, from: i64, last: u64, properties: &[String]) -> Value {
        json!({
            "filterGroups": [{"filters": [
                {"propertyName": modified, "operator": "GTE", "value": from.max(0).to_string()},
                {"propertyName": "hs_object_id", "operator": "GT", "value": last.to_string()},
            ]}],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "properties": properties,
            "limit": u16::from(self.config.page_size) * 2,
        })
    }

    /// As many searches as make one batch of associations: those are read a thousand objects at a time, and a search
    /// shows no more than two hundred.
    async fn searched(
        &self,
        of: Objects,
        from: i64,
        last: u64,
        since: Option<i64>,
    ) -> Result<Page, ConnectorError> {
        let (n, stream, object) = of;
        let mut properties = self.properties(stream, object);
        let fits =
            self.query(object.modified, from, u64::MAX, &properties).to_string().len() <= LONGEST_SEARCH;
        if !fits {
            properties = vec!["hs_merged_object_ids".to_owned()];
        }
        let alone = (object.to.is_empty() || self.is_unlinked(n)) && fits;
        let searches = if alone { 1 } else { SEARCHES_A_PAGE };
        let (mut answers, mut last, mut since, mut more) = (Vec::new(), last, since, true);
        while more && answers.len() < searches {
            let call = self
                .client
                .search(stream.spec.name, &self.query(object.modified, from, last, &properties))?;
            let answer = match self.sent(of, &call).await {
                Ok(answer) => answer,
                // What was found already is a page; the next one begins here, and meets what is wrong.
                Err(_) if !answers.is_empty() => break,
                Err(error) => return Err(error),
            };
            since = since.or_else(|| Some(self.began(&answer)));
            let list: List<'_> = answer.json()?;
            let reached = goes_on(&list, last)?;
            (more, last) = (reached.is_some(), reached.unwrap_or(last));
            answers.push(answer);
        }
        let since = since.unwrap_or_else(|| self.client.now().timestamp_millis());
        let mut out = page(match more {
            true => Next::More(Position::Search { from, last, since }.cursor()?),
            false => self.after_search(of, from, since)?,
        });
        let mut found: Vec<Found<'_>> = Vec::new();
        for answer in &answers {
            let list: List<'_> = answer.json()?;
            for raw in list.results {
                match object::read(stream.spec.name, raw.get()) {
                    Ok(one) => found.push(one),
                    Err(rejected) => out.rejected.push(rejected),
                }
            }
        }
        out.tombstones = merged(stream.spec.name, &found);
        if fits {
            out.records = self.records(of, found, Source::Plain).await?;
        } else {
            let ids: Vec<u64> = found.iter().map(|one| one.id).collect();
            let batch = self.batch_of(of, &ids).await?;
            out.records = batch.records;
            out.tombstones.extend(batch.tombstones);
            out.rejected.extend(batch.rejected);
        }
        Ok(out)
    }

    fn after_search(&self, of: Objects, from: i64, since: i64) -> Result<Next, ConnectorError> {
        if of.1.spec.name == DEALS && self.reads_lines() {
            return Ok(Next::More(Position::Lines { from, last: 0, since }.cursor()?));
        }
        self.after_lines(of.2, from, since)
    }

    /// An edit of a line item changes no time of its deal: the deals of those that were edited, as they are now.
    async fn of_changed_lines(
        &self,
        of: Objects,
        from: i64,
        last: u64,
        since: i64,
    ) -> Result<Page, ConnectorError> {
        let mut out = page(self.after_lines(of.2, from, since)?);
        let query = self.query(LINES_MODIFIED, from, last, &[]);
        let call = self.client.search(LINE_ITEMS, &query)?;
        let deals = async {
            let answer = self.client.send(&call, Some(LINES_SCOPE)).await?;
            match answer.status {
                StatusCode::OK | StatusCode::MULTI_STATUS => {}
                StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                    return Err(ConnectorError::NotOffered(LINE_ITEMS.to_owned()));
                }
                _ => return Err(self.client.unexpected(&call, &answer)),
            }
            let list: List<'_> = answer.json()?;
            let lines: Vec<u64> = list.results.iter().filter_map(|raw| object::id_in(raw.get())).collect();
            let reached = goes_on(&list, last)?;
            let linked = self.linked(LINE_ITEMS, DEALS, &lines).await?;
            let deals: BTreeSet<u64> = linked.values().flat_map(|links| links.0.keys().copied()).collect();
            Ok((deals.into_iter().collect::<Vec<_>>(), reached))
        };
        let (deals, reached) = match deals.await {
            Ok(found) => found,
            Err(why) if why.is_of_one_stream() => {
                tracing::warn!(%why, "line items cannot be read");
                self.no_lines.store(true, Ordering::Relaxed);
                return Ok(out);
            }
            Err(error) => return Err(error),
        };
        for some in deals.chunks(ASSOCIATION_INPUTS) {
            let batch = self.batch_of(of, some).await?;
            // Those that changed themselves the search for deals has shown; the next one does again, if need be.
            let is_new = |record: &Record| {
                object::changed_at(record.payload.get(), of.2.modified).is_none_or(|at| at < from)
            };
            out.records.extend(batch.records.into_iter().filter(is_new));
            out.tombstones.extend(batch.tombstones);
            out.rejected.extend(batch.rejected);
        }
        if let Some(last) = reached {
            out.next = Next::More(Position::Lines { from, last, since }.cursor()?);
        }
        Ok(out)
    }

    fn after_lines(&self, object: &Object, from: i64, since: i64) -> Result<Next, ConnectorError> {
        if self.config.archived && object.lists_archived {
            return Ok(Next::More(Position::Archived { after: None, from, since }.cursor()?));
        }
        Ok(Next::CaughtUp(Position::Done { since }.cursor()?))
    }

    /// A search never shows what is archived, and this list knows no time: what was archived before the last read
    /// is passed over here.
    async fn archived(
        &self,
        of: Objects,
        after: Option<String>,
        from: i64,
        since: i64,
    ) -> Result<Page, ConnectorError> {
        let (_, stream, _) = of;
        let mut call = self
            .client
            .get("GET /crm/objects/:type", Area::Objects(stream.spec.name), &[])?
            .query("limit", &self.config.page_size.to_string())
            .query("archived", "true")
            .query("properties", "hs_object_id");
        if let Some(after) = &after {
            call = call.query("after", after);
        }
        let answer = self.sent(of, &call).await?;
        let list: List<'_> = answer.json()?;
        let mut out = page(Next::CaughtUp(Position::Done { since }.cursor()?));
        for raw in &list.results {
            match object::read(stream.spec.name, raw.get()) {
                Ok(one) if one.archived_at().is_some_and(|at| at < from) => {}
                Ok(one) => out.tombstones.push(RecordKey::new(stream.spec.name, one.id.to_string())),
                Err(rejected) => out.rejected.push(rejected),
            }
        }
        if let Some(next) = Paging::after(list.paging) {
            if after.is_some_and(|before| before == next) {
                return Err(ConnectorError::Protocol(
                    "GET /crm/objects/:type: the list never ends".to_owned(),
                ));
            }
            out.next = Next::More(Position::Archived { after: Some(next), from, since }.cursor()?);
        }
        Ok(out)
    }
}

/// The last object of a page of a search, where more come behind it.
fn goes_on(list: &List<'_>, last: u64) -> Result<Option<u64>, ConnectorError> {
    let shown = list.results.len() as u64;
    let more = shown > 0 && list.total.map_or_else(|| list.paging.is_some(), |total| total > shown);
    if !more {
        return Ok(None);
    }
    let reached = list.results.iter().filter_map(|raw| object::id_in(raw.get())).max();
    reached.filter(|id| *id > last).map(Some).ok_or_else(|| {
        ConnectorError::Protocol(
            "POST /crm/objects/:type/search: says that there is more and names no object to go on after"
                .to_owned(),
        )
    })
}

/// What was merged into these is gone.
pub(super) fn merged(stream: &str, found: &[Found<'_>]) -> Vec<RecordKey> {
    let mut keys: Vec<RecordKey> = found
        .iter()
        .flat_map(|one| {
            let own = one.id.to_string();
            one.merged().into_iter().filter(move |id| *id != own)
        })
        .map(|id| RecordKey::new(stream, id))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
