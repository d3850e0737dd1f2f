//! Reading one portal.

mod associate;
mod batch;
mod check;
mod definitions;
mod newest;
mod owners;
mod pages;
mod party;

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use connector_sdk::{
    Account, Batch, ConnectorError, Cursor, Io, Next, Page, Partition, ReadMode, RecordKey, Rejected,
    Session, Timestamp,
};
use secrecy::SecretString;

use crate::client::Client;
use crate::config::Config;
use crate::cursor::{check_version, whole};
use crate::streams::{self, Object, Reads, Stream};

/// Calls of one read that run at once; the budget's own limit stands behind it.
const CALLS_AT_ONCE: usize = 4;

pub(crate) struct HubSpotSession {
    client: Client,
    config: Config,
    /// By place in [`streams::ALL`]: the credentials may read the objects, but not what they are associated with.
    unlinked: [AtomicBool; streams::ALL.len()],
    /// The credentials may not read line items.
    no_lines: AtomicBool,
}

impl HubSpotSession {
    pub(crate) fn open(config: Config, token: SecretString, io: Io) -> Result<Self, ConnectorError> {
        let base = config.validate()?;
        let client = Client::new(io, base, token, &config)?;
        Ok(Self {
            client,
            config,
            unlinked: std::array::from_fn(|_| AtomicBool::new(false)),
            no_lines: AtomicBool::new(false),
        })
    }

    /// The properties that are read of a stream's objects, in a fixed order: the same in every way of reading.
    fn properties(&self, stream: &Stream, object: &Object) -> Vec<String> {
        let bodies = object.bodies.iter().filter(|_| self.config.bodies);
        let own = object.properties.iter().chain(bodies).copied();
        let mut names: Vec<String> =
            own.chain(self.config.named(stream.spec.name)).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn is_unlinked(&self, n: usize) -> bool {
        self.unlinked.get(n).is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// What the objects of this stream are associated with is read no more in this session.
    fn unlink(&self, n: usize, stream: &Stream, why: &ConnectorError) {
        if let Some(flag) = self.unlinked.get(n)
            && !flag.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(stream = stream.spec.name, %why, "associations cannot be read");
        }
    }
}

#[async_trait]
impl Session for HubSpotSession {
    async fn check(&self) -> Result<Account, ConnectorError> {
        self.checked().await
    }

    async fn plan(
        &self,
        stream: &str,
        _mode: ReadMode,
        _now: Timestamp,
    ) -> Result<Vec<Partition>, ConnectorError> {
        streams::find(stream)?;
        Ok(vec![whole()])
    }

    async fn read_page(
        &self,
        stream: &str,
        mode: ReadMode,
        partition: &Partition,
        cursor: Option<&Cursor>,
    ) -> Result<Page, ConnectorError> {
        let (n, stream) = streams::find(stream)?;
        check_version(&partition.spec, "partition")?;
        match &stream.reads {
            Reads::Objects(object) => self.page_of_objects((n, stream, object), mode, cursor).await,
            Reads::Owners => self.page_of_owners(stream, mode, cursor).await,
            Reads::Properties => self.page_of_definitions(stream, mode, cursor).await,
        }
    }

    async fn read_many(&self, stream: &str, ids: &[String]) -> Result<Batch, ConnectorError> {
        let (n, stream) = streams::find(stream)?;
        let mut wanted: Vec<&str> = ids.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        wanted.dedup();
        match &stream.reads {
            Reads::Objects(object) => self.objects_by_id((n, stream, object), &wanted).await,
            Reads::Owners => self.owners_by_id(stream, &wanted).await,
            Reads::Properties => self.definitions_by_name(stream, &wanted).await,
        }
    }

    async fn read_party(&self, party: &RecordKey) -> Result<Batch, ConnectorError> {
        self.party(party).await
    }

    async fn read_newest(&self, stream: &str, _now: Timestamp) -> Result<Batch, ConnectorError> {
        let (n, found) = streams::find(stream)?;
        match &found.reads {
            Reads::Objects(object) => self.newest_objects((n, found, object)).await,
            Reads::Owners | Reads::Properties => self.newest_of_few(stream).await,
        }
    }

    async fn associations(
        &self,
        stream: &str,
        ids: &[String],
    ) -> Result<Vec<(RecordKey, RecordKey)>, ConnectorError> {
        let (_, stream) = streams::find(stream)?;
        let Reads::Objects(object) = &stream.reads else { return Ok(Vec::new()) };
        let numbers: Vec<u64> = ids.iter().filter_map(|id| crate::object::id(id)).collect();
        let mut pairs = Vec::new();
        for to in object.to {
            for (from, links) in self.linked(stream.spec.name, to, &numbers).await? {
                pairs.extend(links.ordered().into_iter().map(|(id, _)| {
                    let from = RecordKey::new(stream.spec.name, from.to_string());
                    (from, RecordKey::new(*to, id.to_string()))
                }));
            }
        }
        Ok(pairs)
    }
}

/// A stream of CRM objects: its place in [`streams::ALL`], the stream, its type.
type Objects = (usize, &'static Stream, &'static Object);

fn page(next: Next) -> Page {
    Page {
        records: Vec::new(),
        rejected: Vec::new(),
        touched: Vec::new(),
        tombstones: Vec::new(),
        next,
        split: None,
        total: None,
    }
}

/// An id that no object can have names something that is gone.
fn gone(stream: &Stream, id: &str) -> RecordKey {
    RecordKey::new(stream.spec.name, id)
}

fn rejected(stream: &Stream, id: Option<String>, reason: &str, payload: &str) -> Rejected {
    Rejected {
        stream: stream.spec.name.to_owned(),
        id,
        reason: reason.to_owned(),
        payload: payload.to_owned(),
    }
}
