//! The contract between a connector and the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::budget::{Budget, Priority};
use crate::clock::{Clock, Timestamp};
use crate::endpoint::EndpointAdmin;
use crate::error::{ConnectorError, FactsError};
use crate::facts::Fact;
use crate::http::HttpClient;
use crate::programs::Programs;
use crate::record::{Batch, Changed, Cursor, Page, Partition, ReadMode, Record, RecordKey};
use crate::sample::Sample;
use crate::spec::Spec;
use crate::webhook::WebhookSource;

/// Whether an account holds real or test objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Real money, real customers.
    Live,
    /// Test objects; everything derived from them is labelled TEST.
    Test,
}

/// Who a connection turned out to be when its credentials were checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The provider's account id; `None` where the provider does not offer it.
    pub id: Option<String>,
    /// A name for people.
    pub name: Option<String>,
    /// Live or test.
    pub mode: Mode,
    /// Streams that the credentials may not read, with the permission that is missing.
    pub missing: Vec<MissingPermission>,
    /// Streams or calls that this server does not offer at all.
    pub not_offered: Vec<String>,
}

/// A stream that the credentials may not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingPermission {
    /// The stream.
    pub stream: String,
    /// The permission, as the provider names it.
    pub permission: String,
}

/// The secrets of one connection, by name (`api_key`, `access_token`).
#[derive(Clone, Default)]
pub struct Secrets(pub BTreeMap<String, SecretString>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// The secret of that name, or a [`ConnectorError::Auth`] that names it.
    pub fn require(&self, name: &str) -> Result<&SecretString, ConnectorError> {
        self.0.get(name).ok_or_else(|| ConnectorError::Auth {
            message: format!("the connection has no secret named {name:?}"),
            missing_permission: None,
        })
    }
}

/// Everything ambient that a session may touch.
#[derive(Clone)]
pub struct Io {
    /// Calls go through here, never through a client of the connector's own.
    pub http: HttpClient,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The account's rate budget, shared by everything that reads this account.
    pub budget: Arc<Budget>,
    /// What the calls of this session are for.
    pub priority: Priority,
}

/// What a record means: facts, what it refers to, and whose it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extract {
    /// The record in the shared vocabulary.
    pub facts: Vec<Fact>,
    /// Other records that the facts depend on (a subscription's prices, products, coupons). A change of
    /// one of them makes this record's company dirty. Complete: derivation loads this closure, one level.
    pub refs: Vec<RecordKey>,
    /// The party that the record belongs to (itself, for a customer); `None` for catalogue records.
    pub party: Option<RecordKey>,
}

/// A connector, as its author writes it. See [`DynConnector`] for the engine's view.
pub trait Connector: Send + Sync + 'static {
    /// Settings of a connection, without secrets. Unknown members are refused (`deny_unknown_fields`).
    type Config: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// What the connector says about itself.
    fn spec(&self) -> Spec;

    /// Parses nothing again: settings come typed, secrets by name. Opening makes no call.
    fn open(
        &self,
        config: Self::Config,
        secrets: Secrets,
        io: Io,
    ) -> Result<Box<dyn Session>, ConnectorError>;

    /// The webhook side; `None` for a provider without webhooks.
    fn webhooks(&self) -> Option<&dyn WebhookSource>;

    /// Translates one raw record. Pure: same record, same answer.
    fn facts(&self, record: &Record) -> Result<Extract, FactsError>;

    /// Whether a record lacks what the provider could not say just now, and may have said before. Pure.
    fn is_partial(&self, _record: &Record) -> bool {
        false
    }

    /// A partial record with what it lacks out of the text that is stored of the same object; `None` where that tells
    /// of another state of the object, or does not say it either. Pure.
    fn completed(&self, _record: &Record, _stored: &str) -> Option<Record> {
        None
    }

    /// Records that show what the connector does, of nobody's: `connectors demo` translates them.
    fn samples(&self) -> &'static [Sample] {
        &[]
    }

    /// This connector with the programs that the operator allows, where it runs any.
    fn with_programs(&self, _programs: &Programs) -> Option<Arc<dyn DynConnector>> {
        None
    }
}

/// Reading one connection, with its settings and secrets.
#[async_trait]
pub trait Session: Send + Sync {
    /// Are the credentials good, what may they read, which account and mode is this.
    async fn check(&self) -> Result<Account, ConnectorError>;

    /// The partitions of a read of `stream`. At least one.
    async fn plan(
        &self,
        stream: &str,
        mode: ReadMode,
        now: Timestamp,
    ) -> Result<Vec<Partition>, ConnectorError>;

    /// How many partitions of one stream may be read at once.
    fn partitions_at_once(&self) -> usize {
        1
    }

    /// One page. `cursor` is what the last page of this partition gave, `None` at its start. For an
    /// incremental read it is the cursor that the last read was caught up with. A cursor of an unknown
    /// version or shape is [`ConnectorError::Protocol`], never a silent restart.
    ///
    /// Of a change feed ([`Spec::feed`]) `Full` gives an empty page whose cursor is the feed's present end, and
    /// `Incremental` what changed since the cursor.
    async fn read_page(
        &self,
        stream: &str,
        mode: ReadMode,
        partition: &Partition,
        cursor: Option<&Cursor>,
    ) -> Result<Page, ConnectorError>;

    /// Where an incremental read goes on when the last complete pass was made of other partitions than
    /// [`Self::plan`] gives for it: one cursor for all that `cursors` have read, or `None` to read from the
    /// start. `cursors` are those of every partition of that pass, each at its end.
    fn join_cursors(&self, _stream: &str, _cursors: &[Cursor]) -> Result<Option<Cursor>, ConnectorError> {
        Ok(None)
    }

    /// The records of those ids as the provider has them now, batched where the API can. An id that the
    /// provider no longer has comes back as a tombstone.
    async fn read_many(&self, stream: &str, ids: &[String]) -> Result<Batch, ConnectorError>;

    /// Webhook endpoints at the provider, where its API can make them; `None` where a person must.
    fn endpoints(&self) -> Option<&dyn EndpointAdmin> {
        None
    }

    /// Everything that the provider has of a party as it is now: its own record, and every record that belongs to
    /// it. What those refer to is not in it. A party that the provider no longer has comes back as a tombstone.
    async fn read_party(&self, _party: &RecordKey) -> Result<Batch, ConnectorError> {
        Err(ConnectorError::NotOffered("reading one party".to_owned()))
    }

    /// The newest records of a stream, those of one page: where an audit looks for what never arrived. Lists that begin
    /// with the oldest are to be asked for in another order; this asks for the first page of the last partition.
    async fn read_newest(&self, stream: &str, now: Timestamp) -> Result<Batch, ConnectorError> {
        let Some(newest) = self.plan(stream, ReadMode::Full, now).await?.pop() else {
            return Ok(Batch::default());
        };
        let page = self.read_page(stream, ReadMode::Full, &newest, None).await?;
        Ok(Batch { records: page.records, rejected: page.rejected, tombstones: Vec::new() })
    }

    /// Records that were created, changed or deleted since that instant, as the provider's own history names
    /// them; a page a call, each from the cursor that the last one gave.
    ///
    /// # Errors
    /// [`ConnectorError::NotOffered`] where the provider keeps no history, or none that goes back so far, in words
    /// that say so.
    async fn changed_since(
        &self,
        _since: Timestamp,
        _cursor: Option<&Cursor>,
    ) -> Result<Changed, ConnectorError> {
        Err(ConnectorError::NotOffered("a history of changes".to_owned()))
    }

    /// Pairs (from, to) of associated records, for providers whose records do not name each other.
    async fn associations(
        &self,
        _stream: &str,
        _ids: &[String],
    ) -> Result<Vec<(RecordKey, RecordKey)>, ConnectorError> {
        Ok(Vec::new())
    }
}

/// The object-safe twin of [`Connector`], which a blanket impl provides.
pub trait DynConnector: Send + Sync {
    /// See [`Connector::spec`].
    fn spec(&self) -> Spec;
    /// Parses the settings (the error names the member) and opens a session.
    fn open(
        &self,
        config: &serde_json::Value,
        secrets: Secrets,
        io: Io,
    ) -> Result<Box<dyn Session>, ConnectorError>;
    /// Parses the settings and forgets them: validation without opening.
    fn check_config(&self, config: &serde_json::Value) -> Result<(), ConnectorError>;
    /// See [`Connector::webhooks`].
    fn webhooks(&self) -> Option<&dyn WebhookSource>;
    /// See [`Connector::facts`].
    fn facts(&self, record: &Record) -> Result<Extract, FactsError>;
    /// See [`Connector::is_partial`].
    fn is_partial(&self, record: &Record) -> bool;
    /// See [`Connector::completed`].
    fn completed(&self, record: &Record, stored: &str) -> Option<Record>;
    /// See [`Connector::samples`].
    fn samples(&self) -> &'static [Sample];
    /// See [`Connector::with_programs`].
    fn with_programs(&self, programs: &Programs) -> Option<Arc<dyn DynConnector>>;
}

fn parse<C: DeserializeOwned>(config: &serde_json::Value) -> Result<C, ConnectorError> {
    serde_path_to_error::deserialize(config)
        .map_err(|e| ConnectorError::Config(format!("{}: {}", e.path(), e.inner())))
}

impl<C: Connector> DynConnector for C {
    fn spec(&self) -> Spec {
        Connector::spec(self)
    }

    fn open(
        &self,
        config: &serde_json::Value,
        secrets: Secrets,
        io: Io,
    ) -> Result<Box<dyn Session>, ConnectorError> {
        Connector::open(self, parse::<C::Config>(config)?, secrets, io)
    }

    fn check_config(&self, config: &serde_json::Value) -> Result<(), ConnectorError> {
        parse::<C::Config>(config).map(drop)
    }

    fn webhooks(&self) -> Option<&dyn WebhookSource> {
        Connector::webhooks(self)
    }

    fn facts(&self, record: &Record) -> Result<Extract, FactsError> {
        Connector::facts(self, record)
    }

    fn is_partial(&self, record: &Record) -> bool {
        Connector::is_partial(self, record)
    }

    fn completed(&self, record: &Record, stored: &str) -> Option<Record> {
        Connector::completed(self, record, stored)
    }

    fn samples(&self) -> &'static [Sample] {
        Connector::samples(self)
    }

    fn with_programs(&self, programs: &Programs) -> Option<Arc<dyn DynConnector>> {
        Connector::with_programs(self, programs)
    }
}
