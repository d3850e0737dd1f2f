//! Check, plan, pages.
//!
//! A page is what a tap says until there are enough records or enough time has passed. Its cursor is the last STATE that
//! came: every record before that is of this page or an earlier one, so that a state is stored in one transaction with
//! its records, or later. The tap runs on between pages, stopped by its full pipe; a cursor that it does not stand at
//! starts it anew from the state.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use connector_sdk::{
    Account, Batch, ConnectorError, Cursor, Io, Next, Page, Partition, Programs, ReadMode, Record, RecordKey,
    Rejected, Secrets, Session, Timestamp,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::STREAM;
use crate::config::Config;
use crate::mapping;
use crate::message::{self, Message};
use crate::tap::{Heard, Tap, Waiting};
use crate::workplace::{Redaction, Workplace, filled};

/// Version of the cursors. Raise it with every change of [`Place`].
const CURSORS: u32 = 1;
/// The name of the secret.
const SECRET: &str = "api_key";
/// A page ends with so many records, so many bytes of them, or so much time.
const PAGE_RECORDS: usize = 500;
const PAGE_BYTES: usize = 8 << 20;
const PAGE_TIME: Duration = Duration::from_secs(10);
/// What a tap may say of its streams, and for how long.
const CATALOG_BYTES: usize = 64 << 20;
const CATALOG_TIME: Duration = Duration::from_secs(120);
/// Ids of whole tables that are kept to tell what an older version had. Beyond them only a full run finds what is gone.
const VERSIONED: usize = 1_000_000;

/// Where a read stands.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// The last STATE.
    state: Option<Box<RawValue>>,
    /// The tap that was being read, and how many lines.
    tap: String,
    lines: u64,
    /// Whether the tap ended well.
    done: bool,
}

/// A tap that is being read.
pub(crate) struct Running {
    tap: Tap,
    name: String,
    /// The cursor of the last page.
    at: String,
    /// What it was started with.
    config: Config,
    secret: Option<SecretString>,
    state: Option<Box<RawValue>>,
    lines: u64,
    /// The keys of the streams whose SCHEMA came.
    keys: HashMap<String, Vec<String>>,
    /// Of records of whole tables: the version that each was last seen in.
    versions: HashMap<String, HashMap<String, i64>>,
    versioned: usize,
    passed_over: HashSet<String>,
    /// Why the next page is none.
    failed: Option<ConnectorError>,
}

impl Running {
    /// What tells it from every other.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many lines were read of it.
    pub(crate) fn read(&self) -> u64 {
        self.lines
    }

    fn cursor(&self, done: bool) -> Result<Cursor, ConnectorError> {
        let (state, tap) = (self.state.clone(), self.name.clone());
        Cursor::encode(CURSORS, &Place { state, tap, lines: self.lines, done })
    }
}

/// A page as it fills.
#[derive(Default)]
struct Filling {
    records: HashMap<String, Record>,
    /// The ids in the order in which they came.
    order: Vec<String>,
    rejected: Vec<Rejected>,
    gone: BTreeSet<String>,
    bytes: usize,
}

impl Filling {
    fn is_full(&self) -> bool {
        self.order.len() + self.rejected.len() >= PAGE_RECORDS || self.bytes >= PAGE_BYTES
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty() && self.rejected.is_empty() && self.gone.is_empty()
    }

    /// The last of equal ids stays.
    fn put(&mut self, record: Record) {
        let id = record.key.id.clone();
        self.gone.remove(&id);
        if self.records.insert(id.clone(), record).is_none() {
            self.order.push(id);
        }
    }

    fn remove(&mut self, id: String) {
        self.records.remove(&id);
        self.gone.insert(id);
    }

    fn page(mut self, next: Next) -> Page {
        let order = std::mem::take(&mut self.order);
        Page {
            records: order.iter().filter_map(|id| self.records.remove(id)).collect(),
            rejected: self.rejected,
            touched: Vec::new(),
            tombstones: self.gone.into_iter().map(|id| RecordKey::new(STREAM, id)).collect(),
            next,
            split: None,
            total: None,
        }
    }
}

/// The session.
pub(crate) struct Reading {
    config: Config,
    secret: Option<SecretString>,
    io: Io,
    programs: Arc<Programs>,
    waiting: Arc<Waiting>,
}

/// Numbers taps within this process; the time makes them unlike those of another.
static TAPS: AtomicU64 = AtomicU64::new(0);

impl Reading {
    pub(crate) fn open(
        config: Config,
        secrets: Secrets,
        io: Io,
        programs: Arc<Programs>,
        waiting: Arc<Waiting>,
    ) -> Result<Self, ConnectorError> {
        config.validate()?;
        let reading = Self { config, secret: secrets.0.get(SECRET).cloned(), io, programs, waiting };
        reading.program()?;
        Ok(reading)
    }

    fn program(&self) -> Result<&std::path::Path, ConnectorError> {
        let known = &self.programs.by_name;
        known.get(&self.config.tap).map(std::path::PathBuf::as_path).ok_or_else(|| {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            ConnectorError::Config(format!(
                "tap: {:?} is no program that this server may run; its operator names them in singer.taps (there: {there})",
                self.config.tap
            ))
        })
    }

    fn start(&self, place: Workplace, args: Vec<std::ffi::OsString>) -> Result<Tap, ConnectorError> {
        let redaction = Redaction::of(self.secret.as_ref());
        Tap::start(&self.programs, self.program()?, place, args, redaction)
    }

    /// A folder with the tap's settings, and the arguments that name them.
    fn place(&self) -> Result<(Workplace, Vec<std::ffi::OsString>), ConnectorError> {
        let place = Workplace::new()?;
        let config = filled(&Value::Object(self.config.config.clone()), self.secret.as_ref())?;
        let path = place.write("config.json", &config)?;
        Ok((place, vec!["--config".into(), path.into_os_string()]))
    }

    /// The catalog of the settings, or the tap's own with the streams of the settings selected.
    async fn catalog(&self) -> Result<Value, ConnectorError> {
        if let Some(catalog) = &self.config.catalog {
            self.check_streams(catalog)?;
            return Ok(catalog.clone());
        }
        let (place, mut args) = self.place()?;
        args.push("--discover".into());
        let mut tap = self.start(place, args)?;
        let (mut text, until) = (Vec::new(), Instant::now() + CATALOG_TIME);
        loop {
            let (line, ended) = match tap.hear(until).await? {
                Heard::Line(line) => (line, false),
                Heard::End(line) => (line, true),
                Heard::Quiet => {
                    return Err(ConnectorError::Transient(format!(
                        "the tap did not say its streams within {} s (--discover)",
                        CATALOG_TIME.as_secs()
                    )));
                }
            };
            text.extend_from_slice(&line);
            text.push(b'\n');
            if text.len() > CATALOG_BYTES {
                return Err(ConnectorError::Protocol(
                    "the tap's catalog is too large (--discover)".to_owned(),
                ));
            }
            if ended {
                break;
            }
        }
        tap.end().await?;
        let mut catalog: Value = serde_json::from_slice(&text).map_err(|_| {
            ConnectorError::Protocol("what the tap says of its streams is no JSON (--discover)".to_owned())
        })?;
        self.check_streams(&catalog)?;
        for stream in catalog["streams"].as_array_mut().into_iter().flatten() {
            let selected = names(stream).any(|name| self.config.streams.contains_key(name));
            select(stream, selected);
        }
        Ok(catalog)
    }

    /// Every stream of the settings is one of the tap's.
    fn check_streams(&self, catalog: &Value) -> Result<(), ConnectorError> {
        let Some(streams) = catalog["streams"].as_array() else {
            return Err(ConnectorError::Protocol("the tap's catalog has no list of streams".to_owned()));
        };
        let there: BTreeSet<&str> = streams.iter().flat_map(names).collect();
        match self.config.streams.keys().find(|name| !there.contains(name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let there: Vec<&str> = there.into_iter().collect();
                Err(ConnectorError::Config(format!(
                    "streams.{name}: the tap has no such stream; it has {}",
                    there.join(", ")
                )))
            }
        }
    }

    async fn begin(&self, state: Option<Box<RawValue>>) -> Result<Running, ConnectorError> {
        let catalog = self.catalog().await?;
        let (place, mut args) = self.place()?;
        args.extend(["--catalog".into(), place.write("catalog.json", &catalog)?.into_os_string()]);
        if let Some(state) = &state {
            args.extend(["--state".into(), place.write("state.json", state)?.into_os_string()]);
        }
        let number = TAPS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{number}", std::process::id(), self.io.clock.now().timestamp_micros());
        Ok(Running {
            tap: self.start(place, args)?,
            name,
            at: String::new(),
            config: self.config.clone(),
            secret: self.secret.clone(),
            state,
            lines: 0,
            keys: HashMap::new(),
            versions: HashMap::new(),
            versioned: 0,
            passed_over: HashSet::new(),
            failed: None,
        })
    }

    /// The tap that stands at this cursor, with these settings.
    fn waiting_at(&self, place: &Place, cursor: &Cursor) -> Option<Running> {
        let running = self.waiting.take(&place.tap)?;
        let text = |secret: &Option<SecretString>| secret.as_ref().map(|s| s.expose_secret().to_owned());
        let same = running.config == self.config && text(&running.secret) == text(&self.secret);
        (running.at == cursor.0 && same).then_some(running)
    }

    /// Takes what the tap says until a page is full. Whether the tap ended well.
    async fn fill(&self, running: &mut Running, page: &mut Filling) -> Result<bool, ConnectorError> {
        let until = Instant::now() + PAGE_TIME;
        while !page.is_full() {
            let (line, ended) = match running.tap.hear(until).await? {
                Heard::Quiet => return Ok(false),
                Heard::Line(line) => (line, false),
                Heard::End(line) => (line, true),
            };
            let is_blank = line.iter().all(u8::is_ascii_whitespace);
            if !is_blank {
                running.lines += 1;
                let said = message::parse(&line).map_err(|why| {
                    let cut = if ended { ", and is cut off" } else { "" };
                    ConnectorError::Protocol(format!("line {} of the tap: {why}{cut}", running.lines))
                });
                // What a failing tap says of itself comes before a line that it could not finish.
                let said = match said {
                    Err(error) if ended => {
                        running.tap.end().await?;
                        return Err(error);
                    }
                    said => said?,
                };
                page.bytes += line.len();
                self.take(running, page, said)?;
            }
            if ended {
                running.tap.end().await?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn take(&self, running: &mut Running, page: &mut Filling, said: Message) -> Result<(), ConnectorError> {
        match said {
            Message::State(state) => running.state = Some(state),
            Message::Schema { stream, key } => {
                let Some(map) = self.config.streams.get(&stream) else { return Ok(()) };
                if key.is_empty() && map.key.is_empty() {
                    return Err(ConnectorError::Config(format!(
                        "streams.{stream}.key: missing; the tap names no key of this stream, so name the members that are"
                    )));
                }
                running.keys.insert(stream, key);
            }
            Message::Record { stream, record, version } => {
                self.record(running, page, &stream, &record, version)?
            }
            Message::ActivateVersion { stream, version } => {
                let Some(seen) = running.versions.get_mut(&stream) else { return Ok(()) };
                let old: Vec<String> =
                    seen.iter().filter(|(_, of)| **of != version).map(|(id, _)| id.clone()).collect();
                running.versioned -= old.len();
                for id in old {
                    seen.remove(&id);
                    page.remove(id);
                }
            }
            Message::Batch => {
                return Err(ConnectorError::Config(
                    "config: the tap writes BATCH messages, files of records, which are not read; turn them off in its \
                     settings (batch_config)"
                        .to_owned(),
                ));
            }
            Message::Other(kind) => {
                if running.passed_over.insert(kind.clone()) {
                    tracing::warn!(
                        tap = self.config.tap,
                        kind,
                        "messages of an unknown type are passed over"
                    );
                }
            }
        }
        Ok(())
    }

    fn record(
        &self,
        running: &mut Running,
        page: &mut Filling,
        stream: &str,
        record: &RawValue,
        version: Option<i64>,
    ) -> Result<(), ConnectorError> {
        let Some(map) = self.config.streams.get(stream) else { return Ok(()) };
        let Some(of_schema) = running.keys.get(stream) else {
            return Err(ConnectorError::Protocol(format!(
                "line {} of the tap: a RECORD of {stream} before its SCHEMA",
                running.lines
            )));
        };
        let rejected = |id: Option<String>, reason: String| Rejected {
            stream: STREAM.to_owned(),
            id,
            reason: format!("{stream}: {reason}"),
            payload: record.get().to_owned(),
        };
        let key = match mapping::key(map, of_schema, record) {
            Ok(key) => key,
            Err(reason) => {
                page.rejected.push(rejected(None, reason));
                return Ok(());
            }
        };
        let id = self.config.id(stream, &key);
        if let Some(version) = version {
            let seen = running.versions.entry(stream.to_owned()).or_default();
            if let Some(of) = seen.get_mut(&id) {
                *of = version;
            } else if running.versioned < VERSIONED {
                seen.insert(id.clone(), version);
                running.versioned += 1;
            }
        }
        match mapping::translate(&self.config, stream, map, &key, record) {
            Ok(record) => page.put(record),
            Err(reason) => page.rejected.push(rejected(Some(id), reason)),
        }
        Ok(())
    }
}

/// What a stream of a catalog is called.
fn names(stream: &Value) -> impl Iterator<Item = &str> {
    ["tap_stream_id", "stream"].into_iter().filter_map(|member| stream[member].as_str())
}

/// Selects a stream of a catalog, or not: in its metadata, and where older taps look.
fn select(stream: &mut Value, selected: bool) {
    let Some(members) = stream.as_object_mut() else { return };
    members.insert("selected".to_owned(), json!(selected));
    let metadata = members.entry("metadata").or_insert_with(|| json!([]));
    let Some(entries) = metadata.as_array_mut() else { return };
    let of_stream = entries.iter_mut().find(|e| e["breadcrumb"].as_array().is_some_and(Vec::is_empty));
    match of_stream.and_then(|entry| entry["metadata"].as_object_mut()) {
        Some(metadata) => drop(metadata.insert("selected".to_owned(), json!(selected))),
        None => entries.push(json!({"breadcrumb": [], "metadata": {"selected": selected}})),
    }
}

fn is_stream(stream: &str) -> Result<(), ConnectorError> {
    match stream {
        STREAM => Ok(()),
        other => Err(ConnectorError::Config(format!(
            "a Singer connection has no stream named {other:?}; it has {STREAM}"
        ))),
    }
}

#[async_trait]
impl Session for Reading {
    async fn check(&self) -> Result<Account, ConnectorError> {
        // Nothing but the tap knows whether its settings are right; one that does not start is a person's matter.
        self.catalog().await.map_err(|error| match error {
            ConnectorError::Transient(why) => ConnectorError::Config(format!("config: {why}")),
            other => other,
        })?;
        Ok(Account {
            id: Some(self.config.account.clone()),
            name: Some(self.config.tap.clone()),
            mode: self.config.mode(),
            missing: Vec::new(),
            not_offered: Vec::new(),
        })
    }

    async fn plan(
        &self,
        stream: &str,
        _mode: ReadMode,
        _now: Timestamp,
    ) -> Result<Vec<Partition>, ConnectorError> {
        is_stream(stream)?;
        Ok(vec![Partition::whole()])
    }

    async fn read_page(
        &self,
        stream: &str,
        mode: ReadMode,
        _partition: &Partition,
        cursor: Option<&Cursor>,
    ) -> Result<Page, ConnectorError> {
        is_stream(stream)?;
        let place = cursor.map(|cursor| cursor.decode::<Place>(CURSORS).map(|place| (cursor, place)));
        let mut running = match place.transpose()? {
            Some((cursor, Place { done: true, .. })) if mode == ReadMode::Full => {
                return Ok(Filling::default().page(Next::CaughtUp(cursor.clone())));
            }
            Some((cursor, place)) => match self.waiting_at(&place, cursor) {
                Some(running) => running,
                None => self.begin(place.state).await?,
            },
            None => self.begin(None).await?,
        };
        if let Some(error) = running.failed.take() {
            return Err(error);
        }
        let mut page = Filling::default();
        let ended = match self.fill(&mut running, &mut page).await {
            Ok(ended) => ended,
            // What came before is good, and the state in it is where the next try begins.
            Err(error) if !page.is_empty() => {
                running.failed = Some(error);
                false
            }
            Err(error) => return Err(error),
        };
        let cursor = running.cursor(ended)?;
        if ended {
            return Ok(page.page(Next::CaughtUp(cursor)));
        }
        running.at.clone_from(&cursor.0);
        self.waiting.put(running);
        Ok(page.page(Next::More(cursor)))
    }

    async fn read_many(&self, _stream: &str, _ids: &[String]) -> Result<Batch, ConnectorError> {
        Err(ConnectorError::NotOffered(
            "reading a record by its id: a Singer tap only gives whole streams; a full run reads everything again".to_owned(),
        ))
    }

    async fn read_party(&self, _party: &RecordKey) -> Result<Batch, ConnectorError> {
        Err(ConnectorError::NotOffered(
            "reading one party: a Singer tap only gives whole streams; a full run reads everything again"
                .to_owned(),
        ))
    }
}
