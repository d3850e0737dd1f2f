//! Reading one PandaDoc workspace.

mod endpoints;
mod extraction;
mod fetch;
mod history;
mod newest;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use connector_sdk::connector::MissingPermission;
use connector_sdk::{
    Account, Answer, Batch, Call, Changed, ConnectorError, Cursor, EndpointAdmin, Io, Mode, Next, Page,
    Partition, ReadMode, RecordKey, Secrets, Session, Timestamp,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::{Client, provider_time};
use crate::config::Config;
use crate::cursor::{self, Kept, OVERLAP, Pass, Phase, Plan, Position, instant, stamp};
use crate::record::{self, Head};
use crate::walk::{End, Place, Row};
use crate::{DOCUMENTS, READ};
use fetch::{From, One};

const LIST: &str = "GET /public/v1/documents";
const DOCUMENTS_PATH: [&str; 3] = ["public", "v1", "documents"];

pub(crate) struct PandaDocSession {
    client: Client,
    config: Config,
    /// What the settings add to each record.
    ours: Option<String>,
    /// This workspace has no extracted contract data, or the credentials may not read it.
    no_extraction: AtomicBool,
}

/// A list as PandaDoc answers it; the items stay text.
#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

/// What a list is asked for.
#[derive(Clone, Copy)]
struct Query<'a> {
    phase: Phase,
    plan: &'a Plan,
    since: Option<&'a str>,
    until: Option<&'a str>,
    place: &'a Place,
    count: u8,
}

#[derive(Deserialize)]
struct Member {
    workspace: Option<String>,
    workspace_name: Option<String>,
    email: Option<String>,
}

impl PandaDocSession {
    pub(crate) fn open(config: Config, secrets: &Secrets, io: Io) -> Result<Self, ConnectorError> {
        let base = config.validate()?;
        let client = Client::new(io, base, secrets, config.sandbox)?;
        let ours = record::ours(&config.fields)?;
        let no_extraction = AtomicBool::new(!config.ai_metadata);
        Ok(Self { client, config, ours, no_extraction })
    }

    /// Whether a document is one of those that the settings name. What the head does not say does not exclude it.
    fn counts(&self, head: &Head) -> bool {
        let of = |list: &[String], value: Option<&str>| {
            list.is_empty() || value.is_none_or(|value| list.iter().any(|item| item == value))
        };
        // A row of the list has no tags, a document without any has an empty list.
        let tagged = head.tags.as_ref().is_none_or(|tags| {
            self.config.tags.is_empty() || tags.iter().any(|tag| self.config.tags.iter().any(|t| t == tag))
        });
        let created = head.date_created.as_deref().and_then(instant);
        let late_enough = self.config.created_since.is_none_or(|since| created.is_none_or(|at| at >= since));
        of(&self.config.templates, head.template.as_deref())
            && of(&self.config.folders, head.folder.as_deref())
            && tagged
            && late_enough
            && (self.config.sandbox || !head.is_of_sandbox())
    }

    fn list_call(&self, query: Query<'_>) -> Result<Call, ConnectorError> {
        let count = query.count.to_string();
        let (order, from, to) = match query.phase {
            Phase::All => ("date_created", "created_from", "created_to"),
            Phase::Changed | Phase::Deleted => ("date_modified", "modified_from", "modified_to"),
        };
        let mut call = self
            .documents_call(query.plan)?
            .query("order_by", order)
            .query("count", &count)
            .query("page", &query.place.page.to_string());
        if let Some(at) = query.place.from.as_deref().or(query.since) {
            call = call.query(from, at);
        }
        if let Some(at) = query.until {
            call = call.query(to, at);
        }
        if query.phase != Phase::All
            && let Some(since) = self.config.created_since
        {
            call = call.query("created_from", &stamp(since));
        }
        if query.phase == Phase::Deleted {
            call = call.query("deleted", "true");
        }
        Ok(call)
    }

    /// A call for a list of those documents.
    fn documents_call(&self, plan: &Plan) -> Result<Call, ConnectorError> {
        let mut call = self.client.get(LIST, &DOCUMENTS_PATH)?;
        for (name, value) in
            [("template_id", &plan.template), ("folder_uuid", &plan.folder), ("tag", &plan.tag)]
        {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        Ok(call)
    }

    async fn list(&self, query: Query<'_>) -> Result<Answer, ConnectorError> {
        self.rows(&self.list_call(query)?).await
    }

    /// Whether the credentials may read documents at all.
    async fn may_list(&self) -> Result<bool, ConnectorError> {
        let call = self.first_row()?;
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::FORBIDDEN => Ok(false),
            _ => Err(self.client.unexpected(&call, &answer)),
        }
    }

    /// A list of one document, which may be refused.
    fn first_row(&self) -> Result<Call, ConnectorError> {
        let (plan, place) = (Plan::default(), Place::default());
        let query =
            Query { phase: Phase::All, plan: &plan, since: None, until: None, place: &place, count: 1 };
        Ok(self.list_call(query)?.leave(StatusCode::FORBIDDEN))
    }

    async fn rows(&self, call: &Call) -> Result<Answer, ConnectorError> {
        let answer = self.client.send(call).await?;
        match answer.status {
            StatusCode::OK => Ok(answer),
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                Err(ConnectorError::NotOffered(DOCUMENTS.to_owned()))
            }
            _ => Err(self.client.unexpected(call, &answer)),
        }
    }

    /// Where a read begins that has read nothing of this pass yet.
    fn begin(&self, mode: ReadMode, position: Option<Position>) -> Result<Pass, Cursor> {
        let all = || {
            let since = self.config.created_since.map(stamp);
            Pass::new(Phase::All, since, Kept::default())
        };
        match position {
            None => Ok(all()),
            Some(Position::Page(pass)) => Ok(*pass),
            // Complete already; a repeated call changes nothing.
            Some(done @ Position::Done { .. }) if mode == ReadMode::Full => {
                Err(done.cursor().unwrap_or(Cursor(String::new())))
            }
            Some(Position::Done { began, kept, .. }) => {
                Ok(Pass::new(Phase::Changed, Some(stamp(began - OVERLAP)), kept))
            }
        }
    }

    /// One page of a pass.
    async fn page(&self, plan: &Plan, mut pass: Pass) -> Result<Page, ConnectorError> {
        let count = self.config.page_size;
        let query = Query {
            phase: pass.phase,
            plan,
            since: pass.since.as_deref(),
            until: pass.until.as_deref(),
            place: &pass.place,
            count,
        };
        let answer = self.list(query).await?;
        let mut out = empty_page();
        if pass.began.is_none() {
            // The first page has no upper end: which second it is at PandaDoc, its answer tells.
            let began = self.client.time_of(&answer);
            let theirs = provider_time(&answer.headers).unwrap_or(began);
            pass.began = Some(began);
            pass.until = Some(stamp(theirs.max(began) + chrono::TimeDelta::seconds(1)));
            out.records.extend(self.extracted_meanwhile(&mut pass).await?);
        }
        let list: List<'_> = answer.json()?;
        let mut heads = Vec::with_capacity(list.results.len());
        for raw in &list.results {
            match record::head(raw.get()) {
                Ok(head) => heads.push(head),
                Err(rejected) => out.rejected.push(rejected),
            }
        }
        let rows: Vec<Row<'_>> = heads
            .iter()
            .map(|(id, head)| {
                let at = match pass.phase {
                    Phase::All => &head.date_created,
                    Phase::Changed | Phase::Deleted => &head.date_modified,
                };
                Row { id, at: at.as_deref().unwrap_or_default() }
            })
            .collect();
        // A full pass decides what is gone, so its end is confirmed.
        let end = if pass.phase == Phase::All { End::NothingNew } else { End::ShortPage };
        let step = pass.place.step(&rows, list.results.len(), usize::from(count), end);
        let fresh = step.fresh.iter().filter_map(|n| heads.get(*n));
        if pass.phase == Phase::Deleted {
            out.tombstones.extend(fresh.map(|(id, _)| RecordKey::new(DOCUMENTS, id.as_str())));
        } else {
            let had: BTreeSet<String> = out.records.iter().map(|record| record.key.id.clone()).collect();
            let wanted: Vec<&(String, Head)> = fresh
                .filter(|(id, head)| self.counts(head) && !pass.read_before(id, head) && !had.contains(id))
                .collect();
            let ids: Vec<(&str, bool)> =
                wanted.iter().map(|(id, head)| (id.as_str(), head.is_unmade())).collect();
            let from = if pass.phase == Phase::All { From::Everything } else { From::Changes };
            let (found, extracting) = self.fetch(&ids, from).await?;
            for one in found {
                out.take(one);
            }
            let now = self.client.now().timestamp();
            pass.kept.extracting.extend(extracting.into_iter().map(|id| (id, now)));
            for n in &step.fresh {
                if let Some((id, head)) = heads.get(*n) {
                    pass.remember(id, head);
                }
            }
        }
        out.next = match step.next {
            Some(next) => {
                pass.place = next;
                Next::More(Position::Page(Box::new(pass)).cursor()?)
            }
            None if pass.phase == Phase::Changed => {
                pass.phase = Phase::Deleted;
                pass.place = Place::default();
                Next::More(Position::Page(Box::new(pass)).cursor()?)
            }
            None => {
                let began = pass.began.unwrap_or_else(|| self.client.now());
                Next::CaughtUp(Position::Done { of: plan.id(), began, kept: pass.kept }.cursor()?)
            }
        };
        Ok(out)
    }
}

impl Pass {
    /// Whether the last pass read this very change.
    fn read_before(&self, id: &str, head: &Head) -> bool {
        let change = head.date_modified.as_deref();
        change.is_some() && self.before.recent.get(id).map(String::as_str) == change
    }

    /// Keeps what the next pass will list again.
    fn remember(&mut self, id: &str, head: &Head) {
        let Some(change) = head.date_modified.as_deref() else { return };
        let from = self.began.map(|began| began - OVERLAP);
        if instant(change).is_some_and(|at| from.is_none_or(|from| at >= from)) {
            self.kept.recent.insert(id.to_owned(), change.to_owned());
        }
    }
}

/// What a page or a batch does with a document.
trait Take {
    fn take(&mut self, one: One);
}

impl Take for Page {
    fn take(&mut self, one: One) {
        match one {
            One::Live(record) => self.records.push(record),
            One::Gone(key) => self.tombstones.push(key),
            One::Bad(rejected) => self.rejected.push(rejected),
        }
    }
}

impl Take for Batch {
    fn take(&mut self, one: One) {
        match one {
            One::Live(record) => self.records.push(record),
            One::Gone(key) => self.tombstones.push(key),
            One::Bad(rejected) => self.rejected.push(rejected),
        }
    }
}

fn empty_page() -> Page {
    Page {
        records: Vec::new(),
        rejected: Vec::new(),
        touched: Vec::new(),
        tombstones: Vec::new(),
        next: Next::CaughtUp(Cursor(String::new())),
        split: None,
        total: None,
    }
}

fn known(stream: &str) -> Result<(), ConnectorError> {
    match stream == DOCUMENTS {
        true => Ok(()),
        false => Err(ConnectorError::Config(format!("PandaDoc has no stream named {stream:?}"))),
    }
}

#[async_trait]
impl Session for PandaDocSession {
    async fn check(&self) -> Result<Account, ConnectorError> {
        let (mut missing, mut not_offered) = (Vec::new(), Vec::new());
        let call = self
            .client
            .get("GET /public/v1/members/current", &["public", "v1", "members", "current"])?
            .leave(StatusCode::FORBIDDEN);
        let answer = self.client.send(&call).await?;
        let (id, name) = match answer.status {
            StatusCode::OK => {
                let member: Member = answer.json_owned()?;
                let mut names = member.workspace_name.into_iter().chain(member.email);
                (member.workspace, names.find(|name| !name.trim().is_empty()))
            }
            StatusCode::FORBIDDEN => {
                missing
                    .push(MissingPermission { stream: "workspace".to_owned(), permission: READ.to_owned() });
                (None, None)
            }
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                not_offered.push("workspace".to_owned());
                (None, None)
            }
            _ => return Err(self.client.unexpected(&call, &answer)),
        };
        if let (Some(wanted), Some(found)) = (&self.config.workspace, &id)
            && wanted != found
        {
            return Err(ConnectorError::Config(format!(
                "workspace: the credentials belong to workspace {found}, not to {wanted}"
            )));
        }
        let call = self.first_row()?;
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::OK => drop(answer.json::<List<'_>>()?),
            StatusCode::FORBIDDEN => {
                missing.push(MissingPermission { stream: DOCUMENTS.to_owned(), permission: READ.to_owned() });
            }
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                not_offered.push(DOCUMENTS.to_owned());
            }
            _ => return Err(self.client.unexpected(&call, &answer)),
        }
        // No call tells a sandbox key from a production key: both read the same documents.
        let mode = if self.config.sandbox { Mode::Test } else { Mode::Live };
        Ok(Account { id, name, mode, missing, not_offered })
    }

    async fn plan(
        &self,
        stream: &str,
        _mode: ReadMode,
        _now: Timestamp,
    ) -> Result<Vec<Partition>, ConnectorError> {
        known(stream)?;
        Plan::all(&self.config).iter().map(Plan::partition).collect()
    }

    async fn read_page(
        &self,
        stream: &str,
        mode: ReadMode,
        partition: &Partition,
        cursor: Option<&Cursor>,
    ) -> Result<Page, ConnectorError> {
        known(stream)?;
        let plan = Plan::parse(partition)?;
        match self.begin(mode, cursor.map(Position::parse).transpose()?) {
            Ok(pass) => self.page(&plan, pass).await,
            Err(done) => Ok(Page { next: Next::CaughtUp(done), ..empty_page() }),
        }
    }

    /// Of several lists: the earliest of their beginnings. None where the settings name other lists now.
    fn join_cursors(&self, stream: &str, cursors: &[Cursor]) -> Result<Option<Cursor>, ConnectorError> {
        known(stream)?;
        cursor::join(&Plan::all(&self.config), cursors)
    }

    async fn read_many(&self, stream: &str, ids: &[String]) -> Result<Batch, ConnectorError> {
        known(stream)?;
        self.many(ids).await
    }

    fn endpoints(&self) -> Option<&dyn EndpointAdmin> {
        Some(self)
    }

    /// A document is all there is of itself.
    async fn read_party(&self, party: &RecordKey) -> Result<Batch, ConnectorError> {
        if party.stream != DOCUMENTS {
            return Err(ConnectorError::Config(format!("PandaDoc has no parties in {:?}", party.stream)));
        }
        self.many(std::slice::from_ref(&party.id)).await
    }

    async fn read_newest(&self, stream: &str, _now: Timestamp) -> Result<Batch, ConnectorError> {
        known(stream)?;
        self.newest().await
    }

    async fn changed_since(
        &self,
        since: Timestamp,
        cursor: Option<&Cursor>,
    ) -> Result<Changed, ConnectorError> {
        self.history(since, cursor).await
    }
}
