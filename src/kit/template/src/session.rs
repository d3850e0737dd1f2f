//! Reading one account.

use std::collections::BTreeSet;

use async_trait::async_trait;
use connector_sdk::connector::MissingPermission;
use connector_sdk::{
    Account, Batch, ConnectorError, Cursor, Io, Mode, Next, Page, Partition, ReadMode, Record, RecordKey,
    Rejected, Secrets, Session, Timestamp,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::auth;
use crate::client::{Client, refusal};
use crate::config::Config;
use crate::paging::{self, Place};
use crate::streams::{self, Stream};

/// Version of the cursors. Raise it with every change of [`Position`].
const CURSORS: u32 = 1;
/// How far behind the beginning of the last pass the next one begins: a provider's lists lag behind its writes.
const OVERLAP_SECONDS: i64 = 120;
/// Reads by id that run at once; the budget's own limit stands behind it.
const READS_AT_ONCE: usize = 4;

/// Where a read stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Position {
    /// Between two pages.
    Page {
        /// Only what changed since, in Unix seconds; none: everything.
        since: Option<i64>,
        /// When this pass began, by the provider's clock.
        began: i64,
        place: Place,
    },
    /// At the end; the next incremental read begins with what changed since.
    Done { since: i64 },
}

/// The session.
pub(crate) struct Reading {
    client: Client,
    config: Config,
}

/// What the account call gives.
#[derive(Deserialize)]
struct Me {
    id: String,
    name: Option<String>,
    live: Option<bool>,
}

/// The members of an object that reading needs.
#[derive(Deserialize)]
struct Head {
    id: String,
}

/// What a read by id gives.
enum One {
    Live(Record),
    Gone(RecordKey),
    Bad(Rejected),
}

impl Reading {
    pub(crate) fn open(config: Config, secrets: &Secrets, io: Io) -> Result<Self, ConnectorError> {
        let base = config.validate()?;
        let client = Client::new(io, base, auth::secret(secrets)?)?;
        Ok(Self { client, config })
    }

    /// The missing permission of a stream; `None` for one that may be read.
    async fn forbidden(&self, stream: &Stream) -> Result<Option<MissingPermission>, ConnectorError> {
        let call = self.client.get(stream.list, &["v1", stream.spec.name])?;
        let call = call.query("limit", "1").leave(StatusCode::FORBIDDEN);
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::FORBIDDEN => {
                let permission = refusal(&answer).permission.or(stream.spec.permission.map(str::to_owned));
                let (stream, permission) = (stream.spec.name.to_owned(), permission.unwrap_or_default());
                Ok(Some(MissingPermission { stream, permission }))
            }
            status if status.is_success() => Ok(None),
            _ => Err(self.client.unexpected(&call, &answer)),
        }
    }

    async fn read_one(&self, stream: &Stream, id: &str) -> Result<One, ConnectorError> {
        let name = stream.spec.name;
        let rejected = |reason: String, payload: &str| {
            let (stream, payload) = (name.to_owned(), payload.to_owned());
            One::Bad(Rejected { stream, id: Some(id.to_owned()), reason, payload })
        };
        if matches!(id, "" | "." | "..") {
            return Ok(rejected("id: no object can have it".to_owned(), "null"));
        }
        let call = self.client.get(stream.retrieve, &["v1", name, id])?;
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(One::Gone(RecordKey::new(name, id))),
            status if status.is_success() => {}
            _ => return Err(self.client.unexpected(&call, &answer)),
        }
        let head: Head = answer.json_owned()?;
        let payload: Box<RawValue> = answer.json_owned()?;
        if head.id != id {
            return Ok(rejected(format!("id: asked for {id:?}, found {:?}", head.id), payload.get()));
        }
        Ok(One::Live(Record { key: RecordKey::new(name, id), payload }))
    }
}

/// An item of a list: a record, or the reason why it is none.
fn item(stream: &Stream, payload: Box<RawValue>) -> Result<Record, Rejected> {
    let mut json = serde_json::Deserializer::from_str(payload.get());
    match serde_path_to_error::deserialize::<_, Head>(&mut json) {
        Ok(head) if !head.id.is_empty() => {
            Ok(Record { key: RecordKey::new(stream.spec.name, head.id), payload })
        }
        read => Err(Rejected {
            stream: stream.spec.name.to_owned(),
            id: None,
            reason: read.map_or_else(|e| format!("{}: {}", e.path(), e.inner()), |_| "id: empty".to_owned()),
            payload: payload.get().to_owned(),
        }),
    }
}

#[async_trait]
impl Session for Reading {
    async fn check(&self) -> Result<Account, ConnectorError> {
        let call = self.client.get("GET /v1/me", &["v1", "me"])?;
        let answer = self.client.send(&call).await?;
        if !answer.status.is_success() {
            return Err(self.client.unexpected(&call, &answer));
        }
        let me: Me = answer.json_owned()?;
        let (mut missing, mut not_offered) = (Vec::new(), Vec::new());
        for stream in &streams::ALL {
            match self.forbidden(stream).await {
                Ok(permission) => missing.extend(permission),
                Err(ConnectorError::NotOffered(_)) => not_offered.push(stream.spec.name.to_owned()),
                Err(e) => return Err(e),
            }
        }
        let mode = if me.live == Some(true) { Mode::Live } else { Mode::Test };
        Ok(Account { id: Some(me.id), name: me.name, mode, missing, not_offered })
    }

    async fn plan(
        &self,
        stream: &str,
        _mode: ReadMode,
        _now: Timestamp,
    ) -> Result<Vec<Partition>, ConnectorError> {
        streams::find(stream)?;
        Ok(vec![Partition::whole()])
    }

    async fn read_page(
        &self,
        stream: &str,
        mode: ReadMode,
        _partition: &Partition,
        cursor: Option<&Cursor>,
    ) -> Result<Page, ConnectorError> {
        let stream = streams::find(stream)?;
        let mut out = Page {
            records: Vec::new(),
            rejected: Vec::new(),
            touched: Vec::new(),
            tombstones: Vec::new(),
            next: Next::CaughtUp(Cursor(String::new())),
            split: None,
            total: None,
        };
        let position = cursor.map(|cursor| cursor.decode::<Position>(CURSORS).map(|at| (cursor, at)));
        let (since, began, place) = match position.transpose()? {
            None => (None, None, Place::default()),
            Some((_, Position::Page { since, began, place })) => (since, Some(began), place),
            Some((_, Position::Done { since })) if mode == ReadMode::Incremental => {
                (Some(since), None, Place::default())
            }
            Some((cursor, Position::Done { .. })) => {
                out.next = Next::CaughtUp(cursor.clone());
                return Ok(out);
            }
        };
        let listed = paging::page(&self.client, stream, since, &place, self.config.page_size).await?;
        let began = began.unwrap_or(listed.at.timestamp());
        for payload in listed.items {
            match item(stream, payload) {
                Ok(record) => out.records.push(record),
                Err(rejected) => out.rejected.push(rejected),
            }
        }
        out.next = match listed.next {
            Some(place) => Next::More(Cursor::encode(CURSORS, &Position::Page { since, began, place })?),
            None => {
                let since = began - OVERLAP_SECONDS;
                Next::CaughtUp(Cursor::encode(CURSORS, &Position::Done { since })?)
            }
        };
        Ok(out)
    }

    async fn read_many(&self, stream: &str, ids: &[String]) -> Result<Batch, ConnectorError> {
        let stream = streams::find(stream)?;
        let ids: BTreeSet<&String> = ids.iter().collect();
        let reads: Vec<_> = ids.into_iter().map(|id| self.read_one(stream, id)).collect();
        let mut reads = futures_util::stream::iter(reads).buffered(READS_AT_ONCE);
        let mut out = Batch::default();
        while let Some(one) = reads.try_next().await? {
            match one {
                One::Live(record) => out.records.push(record),
                One::Gone(key) => out.tombstones.push(key),
                One::Bad(rejected) => out.rejected.push(rejected),
            }
        }
        Ok(out)
    }
}
