//! Reading one site.

mod due;
mod items;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use connector_sdk::connector::MissingPermission;
use connector_sdk::{
    Account, Batch, ConnectorError, Cursor, Io, Next, Page, Partition, ReadMode, Record, RecordKey, Rejected,
    Secrets, Session, Timestamp,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::auth;
use crate::client::Client;
use crate::config::{self, Config};
use crate::paging::{self, Place, Wanted};
use crate::streams::{self, READ, Stream};

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

/// The catalog whose objects are understood: the older one has plans and addons instead of item prices.
const CATALOG: &str = "v2";

/// What the call for a site's configuration gives.
#[derive(Deserialize)]
struct Configurations {
    configurations: Vec<Configuration>,
}

#[derive(Deserialize)]
struct Configuration {
    domain: Option<String>,
    product_catalog_version: Option<String>,
}

/// The members of an object that reading needs.
#[derive(Deserialize)]
struct Head {
    id: String,
    #[serde(default)]
    deleted: bool,
    status: Option<String>,
}

impl Head {
    /// Customers, subscriptions and invoices have a member for it, item prices and coupons a status.
    fn is_gone(&self) -> bool {
        self.deleted || self.status.as_deref() == Some("deleted")
    }
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

    /// The missing permission of a list; `None` for one that may be read.
    async fn forbidden(
        &self,
        name: &str,
        list: &'static str,
    ) -> Result<Option<MissingPermission>, ConnectorError> {
        let call = self.client.get(list, &[name])?;
        let call = call.query("limit", "1").leave(StatusCode::FORBIDDEN);
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::FORBIDDEN => {
                Ok(Some(MissingPermission { stream: name.to_owned(), permission: READ.to_owned() }))
            }
            status if status.is_success() => Ok(None),
            _ => Err(self.client.unexpected(&call, &answer)),
        }
    }

    async fn read_one(&self, stream: &Stream, id: &str) -> Result<One, ConnectorError> {
        let name = stream.spec.name;
        if matches!(id, "" | "." | "..") {
            let reason = "id: no object can have it".to_owned();
            return Ok(rejected(stream, Some(id), reason, "null"));
        }
        let call = self.client.get(stream.retrieve, &[name, id])?;
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(One::Gone(RecordKey::new(name, id))),
            status if status.is_success() => {}
            _ => return Err(self.client.unexpected(&call, &answer)),
        }
        let whole: Box<RawValue> = answer.json_owned()?;
        match item(stream, &whole) {
            One::Live(record) if record.key.id != id => {
                let reason = format!("id: asked for {id:?}, found {:?}", record.key.id);
                Ok(rejected(stream, Some(id), reason, record.payload.get()))
            }
            // A single answer that holds no object is no answer.
            One::Bad(bad) => Err(ConnectorError::Protocol(format!("{}: {}", stream.retrieve, bad.reason))),
            found => Ok(found),
        }
    }
}

fn rejected(stream: &Stream, id: Option<&str>, reason: String, payload: &str) -> One {
    let (stream, id) = (stream.spec.name.to_owned(), id.map(str::to_owned));
    One::Bad(Rejected { stream, id, reason, payload: payload.to_owned() })
}

/// An item of a list, or a single answer: `{"customer": {…}, "card": {…}}`. The object in it stays text.
fn item(stream: &Stream, whole: &RawValue) -> One {
    let members: BTreeMap<&str, &RawValue> = serde_json::from_str(whole.get()).unwrap_or_default();
    let Some(object) = members.get(stream.object) else {
        return rejected(stream, None, format!("{}: missing", stream.object), whole.get());
    };
    let mut json = serde_json::Deserializer::from_str(object.get());
    match serde_path_to_error::deserialize::<_, Head>(&mut json) {
        Ok(head) if head.id.is_empty() => rejected(stream, None, "id: empty".to_owned(), object.get()),
        Ok(head) if head.is_gone() => One::Gone(RecordKey::new(stream.spec.name, head.id)),
        Ok(head) => {
            let key = RecordKey::new(stream.spec.name, head.id);
            One::Live(Record { key, payload: (*object).to_owned() })
        }
        Err(e) => rejected(stream, None, format!("{}: {}", e.path(), e.inner()), object.get()),
    }
}

fn take(batch: &mut Batch, one: One) {
    match one {
        One::Live(record) => batch.records.push(record),
        One::Gone(key) => batch.tombstones.push(key),
        One::Bad(rejected) => batch.rejected.push(rejected),
    }
}

#[async_trait]
impl Session for Reading {
    async fn check(&self) -> Result<Account, ConnectorError> {
        let call = self.client.get("GET /configurations", &["configurations"])?;
        let answer = self.client.send(&call).await?;
        if !answer.status.is_success() {
            return Err(self.client.unexpected(&call, &answer));
        }
        let all: Configurations = answer.json_owned()?;
        let of_site = all.configurations.into_iter().next();
        let site = of_site.ok_or_else(|| {
            ConnectorError::Protocol(format!("{}: no configuration of the site", call.endpoint))
        })?;
        if let Some(other) = site.product_catalog_version.filter(|version| version != CATALOG) {
            return Err(ConnectorError::Config(format!(
                "site: it has product catalog {other}; only {CATALOG} (item prices) is understood"
            )));
        }
        let (mut missing, mut not_offered) = (Vec::new(), Vec::new());
        let lists = streams::ALL.iter().map(|stream| (stream.spec.name, stream.list));
        for (name, list) in lists.chain([items::LIST]) {
            match self.forbidden(name, list).await {
                Ok(permission) => missing.extend(permission),
                Err(ConnectorError::NotOffered(_)) => not_offered.push(name.to_owned()),
                Err(e) => return Err(e),
            }
        }
        let mode = config::mode(self.client.base());
        // A site has no other name than that.
        Ok(Account { id: site.domain.clone(), name: site.domain, mode, missing, not_offered })
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
        let wanted = Wanted { since, ..Wanted::default() };
        let listed = paging::page(&self.client, stream, wanted, &place, self.config.page_size).await?;
        let began = began.unwrap_or(listed.at.timestamp());
        for payload in listed.items {
            match item(stream, &payload) {
                One::Live(record) => out.records.push(record),
                One::Gone(key) => out.tombstones.push(key),
                One::Bad(rejected) => out.rejected.push(rejected),
            }
        }
        self.with_items(&mut out.records).await?;
        // In a pass over everything the subscriptions themselves say it.
        if mode == ReadMode::Incremental {
            out.touched = due::touched(&out.records);
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

    async fn read_newest(&self, stream: &str, _now: Timestamp) -> Result<Batch, ConnectorError> {
        let stream = streams::find(stream)?;
        let (wanted, place) = (Wanted { newest_first: true, ..Wanted::default() }, Place::default());
        let listed = paging::page(&self.client, stream, wanted, &place, self.config.page_size).await?;
        let mut out = Batch::default();
        listed.items.iter().for_each(|payload| take(&mut out, item(stream, payload)));
        // What is gone is new to nobody.
        out.tombstones.clear();
        self.with_items(&mut out.records).await?;
        Ok(out)
    }

    /// The customer, and every subscription, invoice and transaction of it, one list each.
    async fn read_party(&self, party: &RecordKey) -> Result<Batch, ConnectorError> {
        if party.stream != streams::PARTIES {
            return Err(ConnectorError::Config(format!("Chargebee has no parties in {:?}", party.stream)));
        }
        let mut out = self.read_many(&party.stream, std::slice::from_ref(&party.id)).await?;
        if out.records.is_empty() {
            return Ok(out);
        }
        for stream in streams::ALL.iter().filter(|stream| stream.of_customer) {
            let wanted = Wanted { customer: Some(&party.id), ..Wanted::default() };
            let mut place = Place::default();
            loop {
                let size = self.config.page_size;
                let listed = match paging::page(&self.client, stream, wanted, &place, size).await {
                    Ok(listed) => listed,
                    // Check and runs say so.
                    Err(error) if error.is_of_one_stream() => break,
                    Err(error) => return Err(error),
                };
                listed.items.iter().for_each(|payload| take(&mut out, item(stream, payload)));
                let Some(next) = listed.next else { break };
                place = next;
            }
        }
        Ok(out)
    }

    async fn read_many(&self, stream: &str, ids: &[String]) -> Result<Batch, ConnectorError> {
        let stream = streams::find(stream)?;
        let ids: BTreeSet<&String> = ids.iter().collect();
        let reads: Vec<_> = ids.into_iter().map(|id| self.read_one(stream, id)).collect();
        let mut reads = futures_util::stream::iter(reads).buffered(READS_AT_ONCE);
        let mut out = Batch::default();
        while let Some(one) = reads.try_next().await? {
            take(&mut out, one);
        }
        self.with_items(&mut out.records).await?;
        Ok(out)
    }
}
