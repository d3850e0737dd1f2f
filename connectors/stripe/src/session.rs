//! Reading one Stripe account.

mod endpoints;
mod history;
mod party;

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use connector_sdk::connector::MissingPermission;
use connector_sdk::{
    Account, Answer, Batch, Changed, ConnectorError, Cursor, EndpointAdmin, Io, Mode, Next, Page, Partition,
    ReadMode, Record, RecordKey, Rejected, Session, Split, Timestamp,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

use crate::client::{Client, StripeError, missing_permission};
use crate::config::Config;
use crate::cursor::{Plan, Position, Window, last_ids};
use crate::feed;
use crate::object::{self, Head, Item, List};
use crate::splice::Nested;
use crate::streams::{self, Nesting, Stream};

/// Reads by id that run at once; the budget's own limit stands behind it.
const READS_AT_ONCE: usize = 8;
/// Nested lists longer than this many pages of 100 are taken for a server that never ends.
const NESTED_PAGES: usize = 1_000;
/// 2011-01-01, before Stripe took its first public customer: no object is older.
const BEFORE_STRIPE: i64 = 1_293_840_000;

pub(crate) struct StripeSession {
    client: Client,
    config: Config,
    /// By place in [`streams::ALL`]: this server refuses the stream's expansion (imitations do).
    unexpanded: [AtomicBool; streams::ALL.len()],
    /// By place in [`streams::ALL`]: this server answers what it was not asked for (imitations do), so that
    /// ranges of creation time would each be read as the whole.
    unranged: [AtomicBool; streams::ALL.len()],
    born: OnceCell<Born>,
}

/// What the account call says of the account's age.
#[derive(Clone, Copy)]
struct Born {
    /// Whether this server has the call at all; Stripe has.
    offered: bool,
    /// In Unix seconds.
    at: Option<i64>,
}

/// Answers of a listing that are not errors.
enum Listed {
    Page(Answer),
    /// The object to go on after is gone.
    CursorGone,
    /// A probe was forbidden, with the permission that Stripe names.
    Forbidden(Option<String>),
}

/// Where a listing begins.
#[derive(Clone, Copy, Default)]
struct From<'a> {
    window: Window,
    after: Option<&'a str>,
    /// Only objects with this member.
    filter: Option<(&'a str, &'a str)>,
    /// Whether "forbidden" is an answer and no error.
    probe: bool,
}

#[derive(Deserialize)]
struct AccountObject {
    id: Option<String>,
    created: Option<i64>,
    email: Option<String>,
    business_profile: Option<Named>,
    settings: Option<Settings>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Settings {
    dashboard: Option<Dashboard>,
}

#[derive(Deserialize)]
struct Dashboard {
    display_name: Option<String>,
}

/// What the account call gave.
enum AccountAnswer {
    Known(Box<AccountObject>),
    Forbidden(Option<String>),
    NotOffered,
}

/// What a probe of a stream gave.
enum Probe {
    Readable { live: Option<bool> },
    Forbidden(Option<String>),
    NotOffered,
}

impl StripeSession {
    pub(crate) fn open(config: Config, key: SecretString, io: Io) -> Result<Self, ConnectorError> {
        let base = config.validate()?;
        let client = Client::new(io, base, key, config.account.as_deref())?;
        Ok(Self {
            client,
            config,
            unexpanded: std::array::from_fn(|_| AtomicBool::new(false)),
            unranged: std::array::from_fn(|_| AtomicBool::new(false)),
            born: OnceCell::new(),
        })
    }

    async fn account(&self) -> Result<AccountAnswer, ConnectorError> {
        // 401 means the key itself; 403 only that this call is not among its permissions.
        let call = self.client.get("GET /v1/account", &["v1", "account"])?.leave(StatusCode::FORBIDDEN);
        let answer = self.client.send(&call).await?;
        match answer.status {
            StatusCode::FORBIDDEN => Ok(AccountAnswer::Forbidden(missing_permission(&answer))),
            StatusCode::OK => answer.json_owned().map(Box::new).map(AccountAnswer::Known),
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                Ok(AccountAnswer::NotOffered)
            }
            _ => Err(self.client.unexpected(&call, &answer)),
        }
    }

    async fn probe(&self, n: usize, stream: &'static Stream) -> Result<Probe, ConnectorError> {
        let from = From { probe: true, ..From::default() };
        match self.list(n, stream, from, 1).await {
            Ok(Listed::Forbidden(permission)) => Ok(Probe::Forbidden(permission)),
            Ok(Listed::Page(answer)) => {
                let list: List<'_> = answer.json()?;
                let live = list.data.first().and_then(|raw| match object::read(stream, raw.get()) {
                    Item::Live(_, head) => head.livemode,
                    _ => None,
                });
                Ok(Probe::Readable { live })
            }
            Ok(Listed::CursorGone) => Ok(Probe::Readable { live: None }),
            Err(ConnectorError::NotOffered(_)) => Ok(Probe::NotOffered),
            Err(e) => Err(e),
        }
    }

    /// Sends a call that expands what the stream expands; once more without, if this server refuses
    /// that, and then never again in this session.
    async fn expanded(
        &self,
        n: usize,
        stream: &Stream,
        below: &str,
        call: impl Fn() -> Result<connector_sdk::Call, ConnectorError>,
    ) -> Result<(connector_sdk::Call, Answer), ConnectorError> {
        let refused = self.unexpanded.get(n);
        let expand = !stream.expand.is_empty() && refused.is_none_or(|r| !r.load(Ordering::Relaxed));
        let plain = call()?;
        if !expand {
            let answer = self.client.send(&plain).await?;
            return Ok((plain, answer));
        }
        let full = stream.expand.iter().fold(call()?, |c, e| c.query("expand[]", &format!("{below}{e}")));
        let answer = self.client.send(&full).await?;
        let refusal = (answer.status == StatusCode::BAD_REQUEST).then(|| StripeError::of(&answer)).flatten();
        if !refusal.is_some_and(|e| e.about_expansion()) {
            return Ok((full, answer));
        }
        tracing::warn!(stream = stream.spec.name, "this server does not expand; reading without");
        if let Some(refused) = refused {
            refused.store(true, Ordering::Relaxed);
        }
        let answer = self.client.send(&plain).await?;
        Ok((plain, answer))
    }

    async fn list(
        &self,
        n: usize,
        stream: &'static Stream,
        from: From<'_>,
        limit: u8,
    ) -> Result<Listed, ConnectorError> {
        let (call, answer) = self
            .expanded(n, stream, "data.", || {
                let mut call = self.client.get(stream.list, &["v1", stream.spec.name])?;
                call = call.query("limit", &limit.to_string());
                for (name, value) in stream.query {
                    call = call.query(name, value);
                }
                if let Some(at) = from.window.from {
                    call = call.query("created[gte]", &at.to_string());
                }
                if let Some(at) = from.window.until {
                    call = call.query("created[lt]", &at.to_string());
                }
                if let Some(id) = from.after {
                    call = call.query("starting_after", id);
                }
                if let Some((name, value)) = from.filter {
                    call = call.query(name, value);
                }
                if from.probe {
                    call = call.leave(StatusCode::FORBIDDEN);
                }
                Ok(call)
            })
            .await?;
        match answer.status {
            StatusCode::OK => Ok(Listed::Page(answer)),
            StatusCode::FORBIDDEN => Ok(Listed::Forbidden(missing_permission(&answer))),
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND
                if from.after.is_some() && StripeError::of(&answer).is_some_and(|e| e.object_missing()) =>
            {
                Ok(Listed::CursorGone)
            }
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                Err(ConnectorError::NotOffered(stream.spec.name.to_owned()))
            }
            _ => Err(self.client.unexpected(&call, &answer)),
        }
    }

    /// The object's text with its nested list complete.
    async fn complete(
        &self,
        stream: &Stream,
        id: &str,
        head: &Head<'_>,
        text: &str,
    ) -> Result<String, ConnectorError> {
        let Some(nesting) = stream.nesting else { return Ok(text.to_owned()) };
        let Some(nested) = head.nested(nesting).and_then(Nested::cut) else { return Ok(text.to_owned()) };
        let mut items: Vec<Box<RawValue>> = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..NESTED_PAGES {
            let mut call = match nesting {
                Nesting::SubscriptionItems => self
                    .client
                    .get("GET /v1/subscription_items", &["v1", "subscription_items"])?
                    .query("subscription", id)
                    .query("expand[]", "data.discounts"),
                Nesting::InvoiceLines => {
                    self.client.get("GET /v1/invoices/:id/lines", &["v1", "invoices", id, "lines"])?
                }
            }
            .query("limit", "100");
            if let Some(after) = &after {
                call = call.query("starting_after", after);
            }
            let answer = self.client.send(&call).await?;
            match answer.status {
                StatusCode::OK => {}
                // A server that does not page here, or an object that went a moment ago. The object stays
                // as it came: it says itself that there is more, and its facts say so too. One object must
                // not hold the stream back.
                StatusCode::BAD_REQUEST
                | StatusCode::NOT_FOUND
                | StatusCode::NOT_IMPLEMENTED
                | StatusCode::METHOD_NOT_ALLOWED => {
                    let why = self.client.unexpected(&call, &answer);
                    tracing::warn!(stream = stream.spec.name, id, %why, "the rest of a nested list cannot be read");
                    return Ok(text.to_owned());
                }
                _ => return Err(self.client.unexpected(&call, &answer)),
            }
            let list: List<'_> = answer.json()?;
            let last = list.data.last().and_then(|raw| {
                #[derive(Deserialize)]
                struct Id {
                    id: String,
                }
                serde_json::from_str::<Id>(raw.get()).ok()
            });
            items.extend(list.data.into_iter().map(ToOwned::to_owned));
            if !list.has_more {
                return nested.completed(text, &items).ok_or_else(|| {
                    ConnectorError::Protocol(format!("{}: a nested list has no end", call.endpoint))
                });
            }
            match last {
                Some(last) if after.as_ref() != Some(&last.id) => after = Some(last.id),
                _ => break,
            }
        }
        Err(ConnectorError::Protocol(format!("{}: a nested list never ends", stream.spec.name)))
    }

    async fn read_one(&self, n: usize, stream: &'static Stream, id: &str) -> Result<One, ConnectorError> {
        let name = stream.spec.name;
        if matches!(id, "" | "." | "..") {
            return Ok(One::Bad(Rejected {
                stream: name.to_owned(),
                id: Some(id.to_owned()),
                reason: "id: no object can have it".to_owned(),
                payload: "null".to_owned(),
            }));
        }
        let (call, answer) =
            self.expanded(n, stream, "", || self.client.get(stream.retrieve, &["v1", name, id])).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND if StripeError::of(&answer).is_some_and(|e| e.object_missing()) => {
                return Ok(One::Gone(RecordKey::new(name, id)));
            }
            StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
                return Err(ConnectorError::NotOffered(name.to_owned()));
            }
            _ => return Err(self.client.unexpected(&call, &answer)),
        }
        let raw: &RawValue = answer.json()?;
        Ok(match object::read(stream, raw.get()) {
            Item::Live(found, _) if found != id => One::Bad(Rejected {
                stream: name.to_owned(),
                id: Some(id.to_owned()),
                reason: format!("id: asked for {id:?}, found {found:?}"),
                payload: raw.get().to_owned(),
            }),
            Item::Live(found, head) => {
                let text = self.complete(stream, &found, &head, raw.get()).await?;
                One::Live(object::record(stream, found, text)?)
            }
            Item::Deleted(found) => One::Gone(RecordKey::new(name, found)),
            Item::OnClock(_) => One::KeptOut,
            // An error that comes with 200 is no object that could be set aside.
            Item::Bad(_) if StripeError::of(&answer).is_some() => {
                return Err(self.client.unexpected(&call, &answer));
            }
            Item::Bad(rejected) => One::Bad(rejected),
        })
    }

    /// Where ranges of a backfill begin: the configured instant, else the account's birth.
    async fn floor(&self) -> Result<i64, ConnectorError> {
        if let Some(since) = self.config.created_since {
            return Ok(since.timestamp());
        }
        Ok(self.born().await?.at.unwrap_or(BEFORE_STRIPE).max(BEFORE_STRIPE))
    }

    async fn born(&self) -> Result<Born, ConnectorError> {
        let asked = self.born.get_or_try_init(|| async {
            Ok::<_, ConnectorError>(match self.account().await? {
                AccountAnswer::Known(account) => Born { offered: true, at: account.created },
                AccountAnswer::Forbidden(_) => Born { offered: true, at: None },
                AccountAnswer::NotOffered => Born { offered: false, at: None },
            })
        });
        asked.await.copied()
    }

    /// A page of the list of events. A place in it is only taken where Stripe itself can be behind it: an
    /// imitation that has no account has events, too, and leaves many out.
    async fn read_events(&self, mode: ReadMode, cursor: Option<&Cursor>) -> Result<Page, ConnectorError> {
        if mode == ReadMode::Full && !self.born().await?.offered {
            return Err(ConnectorError::NotOffered(
                "a list of events that tells of every change (this server has no account call, as Stripe has)"
                    .to_owned(),
            ));
        }
        feed::read_page(&self.client, &self.config, mode, cursor).await
    }

    /// What a read of `stream` never goes behind.
    fn since(&self, stream: &Stream) -> Option<i64> {
        stream.overlap.and(self.config.created_since).map(|t| t.timestamp())
    }
}

/// What a read by id gave.
enum One {
    Live(Record),
    Gone(RecordKey),
    KeptOut,
    Bad(Rejected),
}

/// A pass through one partition.
#[derive(Clone)]
struct Pass {
    after: Vec<String>,
    last_created: Option<i64>,
    window: Window,
    newest: Option<i64>,
}

#[async_trait]
impl Session for StripeSession {
    async fn check(&self) -> Result<Account, ConnectorError> {
        let mut missing = Vec::new();
        let mut not_offered = Vec::new();
        let (id, name) = match self.account().await? {
            AccountAnswer::Known(a) => {
                let dashboard = a.settings.and_then(|s| s.dashboard).and_then(|d| d.display_name);
                let business = a.business_profile.and_then(|b| b.name);
                let name =
                    dashboard.into_iter().chain(business).chain(a.email).find(|n| !n.trim().is_empty());
                (a.id, name)
            }
            AccountAnswer::Forbidden(permission) => {
                missing.push(MissingPermission {
                    stream: "account".to_owned(),
                    permission: permission.unwrap_or_else(|| "rak_accounts_kyc_basic_read".to_owned()),
                });
                (None, None)
            }
            AccountAnswer::NotOffered => {
                not_offered.push("account".to_owned());
                (None, None)
            }
        };
        // Futures first, then the stream of them: a closure over borrowed items is not general enough
        // for the boxed future of the trait.
        let probes: Vec<_> = (0..).zip(streams::ALL).map(|(n, stream)| self.probe(n, stream)).collect();
        let probes: Vec<Probe> = futures_util::stream::iter(probes).buffered(4).try_collect().await?;
        let mut live = None;
        for (stream, probe) in streams::ALL.iter().zip(probes) {
            match probe {
                Probe::Readable { live: seen } => live = live.or(seen),
                Probe::Forbidden(permission) => missing.push(MissingPermission {
                    stream: stream.spec.name.to_owned(),
                    permission: permission
                        .or_else(|| stream.spec.permission.map(str::to_owned))
                        .unwrap_or_default(),
                }),
                Probe::NotOffered => not_offered.push(stream.spec.name.to_owned()),
            }
        }
        match feed::probe(&self.client).await {
            Ok(None) => {}
            Ok(Some(permission)) => {
                missing.push(MissingPermission { stream: feed::SPEC.name.to_owned(), permission });
            }
            Err(ConnectorError::NotOffered(name)) => not_offered.push(name),
            Err(error) => return Err(error),
        }
        let of_objects = live.map(|live| if live { Mode::Live } else { Mode::Test });
        let mode = self.client.mode_of_key().or(of_objects).ok_or_else(|| {
            ConnectorError::Config(
                "whether this account is live or in test mode cannot be told: the key does not say, and \
                 there is no object to look at"
                    .to_owned(),
            )
        })?;
        Ok(Account { id, name, mode, missing, not_offered })
    }

    async fn plan(
        &self,
        stream: &str,
        _mode: ReadMode,
        _now: Timestamp,
    ) -> Result<Vec<Partition>, ConnectorError> {
        if stream != feed::SPEC.name {
            streams::find(stream)?;
        }
        // One range over all time. How dense it is nobody knows; it is divided while it is read.
        Ok(vec![Plan::new(Window::default()).partition()?])
    }

    fn partitions_at_once(&self) -> usize {
        usize::from(self.config.partitions)
    }

    async fn read_page(
        &self,
        stream: &str,
        mode: ReadMode,
        partition: &Partition,
        cursor: Option<&Cursor>,
    ) -> Result<Page, ConnectorError> {
        if stream == feed::SPEC.name {
            return self.read_events(mode, cursor).await;
        }
        let (n, stream) = streams::find(stream)?;
        let plan = Plan::parse(partition)?;
        let start = |window: Window, newest: Option<i64>| Pass {
            after: Vec::new(),
            last_created: None,
            window,
            newest,
        };
        let mut pass = match cursor.map(Position::parse).transpose()? {
            None => start(plan.created, None),
            Some(Position::Page { after, last_created, window, newest }) => {
                Pass { after, last_created, window, newest }
            }
            Some(Position::Done { newest }) if mode == ReadMode::Full => {
                // Complete already; a repeated call changes nothing.
                let next = Next::CaughtUp(Position::Done { newest }.cursor()?);
                return Ok(page(next));
            }
            Some(Position::Done { newest }) => {
                let from = stream.overlap.and_then(|overlap| newest.map(|at| at - overlap));
                start(Window { from: from.max(plan.created.from), ..plan.created }, newest)
            }
        };
        pass.window.from = pass.window.from.max(self.since(stream));

        let answer = self.resume(n, stream, &mut pass).await?;
        let list: List<'_> = answer.json()?;
        let mut ids = Vec::with_capacity(list.data.len());
        let mut out = page(Next::CaughtUp(Cursor(String::new())));
        out.total = list.total_count;
        for raw in &list.data {
            match object::read(stream, raw.get()) {
                Item::Live(id, head) => {
                    pass.newest = pass.newest.max(head.created);
                    if head.created.is_some_and(|at| !pass.window.holds(at)) {
                        self.set_unranged(n);
                    }
                    pass.last_created = head.created.or(pass.last_created);
                    let text = self.complete(stream, &id, &head, raw.get()).await?;
                    ids.push(id.clone());
                    out.records.push(object::record(stream, id, text)?);
                }
                Item::Deleted(id) => {
                    out.tombstones.push(RecordKey::new(stream.spec.name, id.as_str()));
                    ids.push(id);
                }
                Item::OnClock(id) => ids.push(id),
                Item::Bad(rejected) => {
                    ids.extend(rejected.id.clone());
                    out.rejected.push(rejected);
                }
            }
        }
        if !list.has_more {
            out.next = Next::CaughtUp(Position::Done { newest: pass.newest }.cursor()?);
            return Ok(out);
        }
        let after = last_ids(ids.iter().map(String::as_str), &pass.after);
        if ids.is_empty() || after.first() == pass.after.first() {
            return Err(ConnectorError::Protocol(format!(
                "{}: says that there is more and names no object to go on after",
                stream.list
            )));
        }
        pass.after = after;
        if mode == ReadMode::Full {
            out.split = self.halve(n, &pass).await?;
        }
        out.next = Next::More(pass.position().cursor()?);
        Ok(out)
    }

    /// The ranges of a backfill become the one range of an incremental read: what is newest in any of them.
    fn join_cursors(&self, _stream: &str, cursors: &[Cursor]) -> Result<Option<Cursor>, ConnectorError> {
        let mut latest = None;
        for cursor in cursors {
            match Position::parse(cursor)? {
                Position::Done { newest } => latest = latest.max(newest),
                Position::Page { .. } => return Ok(None),
            }
        }
        latest.map(|at| Position::Done { newest: Some(at) }.cursor()).transpose()
    }

    fn endpoints(&self) -> Option<&dyn EndpointAdmin> {
        Some(self)
    }

    async fn read_party(&self, party: &RecordKey) -> Result<Batch, ConnectorError> {
        self.party(party).await
    }

    async fn changed_since(
        &self,
        since: Timestamp,
        cursor: Option<&Cursor>,
    ) -> Result<Changed, ConnectorError> {
        self.history(since, cursor).await
    }

    async fn read_many(&self, stream: &str, ids: &[String]) -> Result<Batch, ConnectorError> {
        let (n, stream) = streams::find(stream)?;
        let mut wanted: Vec<&String> = ids.iter().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let reads: Vec<_> = wanted.into_iter().map(|id| self.read_one(n, stream, id)).collect();
        let found: Vec<One> = futures_util::stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let mut batch = Batch::default();
        for one in found {
            match one {
                One::Live(record) => batch.records.push(record),
                One::KeptOut => {}
                One::Gone(key) => batch.tombstones.push(key),
                One::Bad(rejected) => batch.rejected.push(rejected),
            }
        }
        Ok(batch)
    }
}

impl StripeSession {
    fn set_unranged(&self, n: usize) {
        if let Some(unranged) = self.unranged.get(n) {
            unranged.store(true, Ordering::Relaxed);
        }
    }

    /// How what is left of a pass can be divided: the older half of its time to another partition. Offered
    /// with every page that is not the last, and never else: each partition ends with one page that may hold
    /// little, and each full page pays for one partition at most, so that all of them together take less than
    /// twice the fewest calls, however dense the objects lie.
    async fn halve(&self, n: usize, pass: &Pass) -> Result<Option<Split>, ConnectorError> {
        let unranged = self.unranged.get(n).is_some_and(|u| u.load(Ordering::Relaxed));
        let Some(last) = pass.last_created.filter(|_| self.config.partitions > 1 && !unranged) else {
            return Ok(None);
        };
        let from = match pass.window.from {
            Some(from) => from,
            None => self.floor().await?,
        };
        if last - from < 2 {
            return Ok(None);
        }
        let middle = from + (last - from) / 2;
        // Open below where this one was: nothing is beside the ranges, whatever the floor is.
        let older = Plan::new(Window { until: Some(middle), ..pass.window });
        let rest = Pass { window: Window { from: Some(middle), ..pass.window }, ..pass.clone() };
        Ok(Some(Split { partitions: vec![older.partition()?], rest: rest.position().cursor()? }))
    }

    /// The next page of a pass. When the object that the last page ended with is gone, an earlier one
    /// takes its place; when all that are remembered are gone, the listing goes on from the second in
    /// which the last one was created. Both read some objects again and miss none.
    async fn resume(
        &self,
        n: usize,
        stream: &'static Stream,
        pass: &mut Pass,
    ) -> Result<Answer, ConnectorError> {
        let limit = self.config.page_size;
        if pass.after.is_empty() {
            let from = From { window: pass.window, ..From::default() };
            return match self.list(n, stream, from, limit).await? {
                Listed::Page(answer) => Ok(answer),
                Listed::CursorGone | Listed::Forbidden(_) => Err(lost(stream)),
            };
        }
        for id in &pass.after {
            let from = From { window: pass.window, after: Some(id), ..From::default() };
            if let Listed::Page(answer) = self.list(n, stream, from, limit).await? {
                return Ok(answer);
            }
        }
        let last = pass.last_created.ok_or_else(|| lost(stream))?;
        pass.window.until = Some(pass.window.until.map_or(last + 1, |until| until.min(last + 1)));
        pass.after.clear();
        match self.list(n, stream, From { window: pass.window, ..From::default() }, limit).await? {
            Listed::Page(answer) => Ok(answer),
            Listed::CursorGone | Listed::Forbidden(_) => Err(lost(stream)),
        }
    }
}

impl Pass {
    fn position(self) -> Position {
        Position::Page {
            after: self.after,
            last_created: self.last_created,
            window: self.window,
            newest: self.newest,
        }
    }
}

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

fn lost(stream: &Stream) -> ConnectorError {
    ConnectorError::Protocol(format!("{}: the place to go on from is gone", stream.list))
}
