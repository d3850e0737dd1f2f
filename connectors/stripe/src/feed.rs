//! The change feed: `GET /v1/events`, by which a later read finds what changed without listing streams.
//!
//! An event only names what is read again, as in a webhook; also a deletion, for a coupon or a product may
//! have been made again under its id since, and a read by id knows. Stripe lists events newest first, stamps
//! them with whole seconds and promises no order, so each read goes a little behind the newest event of the
//! last one and knows again what it has seen there. It keeps events for 30 days.

use std::time::Duration;

use connector_sdk::{
    Answer, ConnectorError, Cursor, FeedSpec, Next, Page, RawRequest, ReadMode, Rejected, Touch,
    WebhookSource as _,
};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{Client, StripeError, missing_permission};
use crate::config::Config;
use crate::cursor::{check_version, from_json, to_json};
use crate::object::List;
use crate::webhook::Webhooks;

const VERSION: u32 = 1;
/// How far behind the newest event the next read begins, in seconds: what was made earlier and becomes
/// visible later than that event is found.
const OVERLAP: i64 = 10 * 60;
/// Events known again in the overlap. When there are more, the overlap is the shorter for it.
const KNOWN: usize = 1_000;
/// Less than the 30 days that Stripe keeps an event: reading takes a while.
const RETENTION: i64 = 30 * 24 * 60 * 60 - 60 * 60;

pub(crate) const SPEC: FeedSpec = FeedSpec {
    name: "events",
    about: "What changed, by which later reads find it without listing everything.",
    permission: Some("rak_event_read"),
    retention_days: 30,
};

/// How far the feed has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    /// Everything that had happened then has been read. Of our clock, in Unix seconds: an account may be
    /// quiet for longer than events are kept.
    read_at: i64,
    /// When the newest event that was read was made, in Unix seconds; `None` while there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<i64>,
    /// When it was first seen, by our clock.
    newest_seen_at: i64,
    /// Where the next read begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<i64>,
    /// Events from there on that have been read.
    #[serde(default)]
    known: Vec<String>,
}

/// A read on its way, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Passing {
    /// Where the read began, and goes back to when it cannot go on: the oldest position.
    start: Mark,
    /// When it began, by our clock.
    begun_at: i64,
    /// The last event seen.
    after: String,
    seen: Seen,
}

/// What a read has met so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newest: Option<i64>,
    #[serde(default)]
    known: Vec<String>,
    /// When the newest event that did not fit into `known` was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crowded_out: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
enum Position {
    /// At the end.
    End(Mark),
    /// Between two pages.
    Page(Passing),
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    v: u32,
    #[serde(flatten)]
    position: Position,
}

impl Position {
    fn cursor(self) -> Result<Cursor, ConnectorError> {
        to_json(&Versioned { v: VERSION, position: self }).map(Cursor)
    }

    fn parse(cursor: &Cursor) -> Result<Self, ConnectorError> {
        check_version(&cursor.0, "cursor", VERSION)?;
        from_json::<Versioned>(&cursor.0, "cursor").map(|versioned| versioned.position)
    }
}

impl Seen {
    fn take(&mut self, id: &str, created: i64) {
        self.newest = self.newest.max(Some(created));
        if self.newest.is_some_and(|newest| created < newest - OVERLAP) {
            return;
        }
        if self.known.len() < KNOWN {
            self.known.push(id.to_owned());
        } else {
            self.crowded_out = self.crowded_out.max(Some(created));
        }
    }

    /// The mark of a read that began at `begun_at` and met this.
    fn mark(self, start: &Mark, begun_at: i64) -> Mark {
        let newest = self.newest.max(start.newest);
        let quiet = newest == start.newest;
        let newest_seen_at = if quiet { start.newest_seen_at } else { begun_at };
        let settled = newest.filter(|_| quiet && begun_at - newest_seen_at >= OVERLAP);
        // Nothing came for so long that nothing made before can still be on its way: what is known needs not
        // be known again.
        if let Some(newest) = settled {
            return Mark {
                read_at: begun_at,
                newest: Some(newest),
                newest_seen_at,
                from: Some(newest + 1),
                known: Vec::new(),
            };
        }
        let from = newest.map(|newest| newest - OVERLAP).max(self.crowded_out);
        Mark { read_at: begun_at, newest, newest_seen_at, from, known: self.known }
    }
}

/// One page of the feed.
pub(crate) async fn read_page(
    client: &Client,
    config: &Config,
    mode: ReadMode,
    cursor: Option<&Cursor>,
) -> Result<Page, ConnectorError> {
    let now = client.now().timestamp();
    let position = cursor.map(Position::parse).transpose()?;
    let (start, begun_at, after, mut seen) = match (mode, position) {
        (ReadMode::Full, _) => return end(client, config, now).await,
        (ReadMode::Incremental, None) => {
            return Err(ConnectorError::Expired("there is no cursor".to_owned()));
        }
        (ReadMode::Incremental, Some(Position::End(mark))) => (mark, now, None, Seen::default()),
        (ReadMode::Incremental, Some(Position::Page(p))) => (p.start, p.begun_at, Some(p.after), p.seen),
    };
    let age = now - start.read_at;
    if age > RETENTION {
        return Err(ConnectorError::Expired(format!(
            "events were last read {} days ago, and Stripe keeps them for {}",
            age / (24 * 60 * 60),
            SPEC.retention_days
        )));
    }
    let answer = list(client, config, start.from, after.as_deref()).await?;
    let list: List<'_> = answer.json()?;
    if list.data.is_empty() && after.is_none() && start.newest.is_none() {
        // An account in which something happens has events.
        return Err(ConnectorError::Expired("the list of events has been empty ever since".to_owned()));
    }
    let mut page = Page {
        records: Vec::new(),
        rejected: Vec::new(),
        touched: Vec::new(),
        tombstones: Vec::new(),
        next: Next::CaughtUp(Cursor(String::new())),
        split: None,
        total: None,
    };
    let mut last = None;
    for raw in &list.data {
        match Named::of(raw.get(), config) {
            Ok(event) => {
                if !start.known.contains(&event.id) {
                    page.touched.extend(event.touched);
                }
                seen.take(&event.id, event.created);
                last = Some(event.id);
            }
            Err(rejected) => {
                last = rejected.id.clone().or(last);
                page.rejected.push(*rejected);
            }
        }
    }
    page.next = if list.has_more {
        let after = last.filter(|last| after.as_ref() != Some(last)).ok_or_else(|| {
            ConnectorError::Protocol(
                "GET /v1/events: says that there is more and names no event to go on after".to_owned(),
            )
        })?;
        Next::More(Position::Page(Passing { start, begun_at, after, seen }).cursor()?)
    } else {
        Next::CaughtUp(Position::End(seen.mark(&start, begun_at)).cursor()?)
    };
    Ok(page)
}

/// The feed's present end, which costs one call.
async fn end(client: &Client, config: &Config, now: i64) -> Result<Page, ConnectorError> {
    let answer = list(client, config, None, None).await?;
    let list: List<'_> = answer.json()?;
    let mut seen = Seen::default();
    for raw in &list.data {
        if let Ok(event) = Named::of(raw.get(), config) {
            seen.take(&event.id, event.created);
        }
    }
    let mark = seen.mark(&Mark::default(), now);
    Ok(Page {
        records: Vec::new(),
        rejected: Vec::new(),
        touched: Vec::new(),
        tombstones: Vec::new(),
        next: Next::CaughtUp(Position::End(Mark { newest_seen_at: now, ..mark }).cursor()?),
        split: None,
        total: None,
    })
}

async fn list(
    client: &Client,
    config: &Config,
    from: Option<i64>,
    after: Option<&str>,
) -> Result<Answer, ConnectorError> {
    let mut call =
        client.get("GET /v1/events", &["v1", "events"])?.query("limit", &config.page_size.to_string());
    if let Some(from) = from {
        call = call.query("created[gte]", &from.to_string());
    }
    if let Some(after) = after {
        call = call.query("starting_after", after);
    }
    let answer = client.send(&call).await?;
    match answer.status {
        StatusCode::OK => Ok(answer),
        // Events go at the old end: when the last one seen is gone, all behind it are.
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND
            if after.is_some() && StripeError::of(&answer).is_some_and(|e| e.object_missing()) =>
        {
            Err(ConnectorError::Expired("the event to go on after is no longer kept".to_owned()))
        }
        StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
            Err(ConnectorError::NotOffered(SPEC.name.to_owned()))
        }
        _ => Err(client.unexpected(&call, &answer)),
    }
}

/// What a probe of the feed gave: the permission that is missing, or nothing.
pub(crate) async fn probe(client: &Client) -> Result<Option<String>, ConnectorError> {
    let call =
        client.get("GET /v1/events", &["v1", "events"])?.query("limit", "1").leave(StatusCode::FORBIDDEN);
    let answer = client.send(&call).await?;
    match answer.status {
        StatusCode::OK => Ok(None),
        StatusCode::FORBIDDEN => {
            Ok(missing_permission(&answer).or_else(|| SPEC.permission.map(str::to_owned)))
        }
        StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => {
            Err(ConnectorError::NotOffered(SPEC.name.to_owned()))
        }
        _ => Err(client.unexpected(&call, &answer)),
    }
}

/// One event, and what it names.
struct Named {
    id: String,
    created: i64,
    touched: Vec<Touch>,
}

impl Named {
    fn of(text: &str, config: &Config) -> Result<Self, Box<Rejected>> {
        let value: Option<Value> = serde_json::from_str(text).ok();
        let member = |name: &str| value.as_ref().and_then(|v| v.get(name));
        let id = member("id").and_then(Value::as_str).map(str::to_owned);
        let rejected = |reason: String| {
            Box::new(Rejected {
                stream: SPEC.name.to_owned(),
                id: id.clone(),
                reason,
                payload: text.to_owned(),
            })
        };
        let created = member("created")
            .and_then(Value::as_i64)
            .ok_or_else(|| rejected("created: expected Unix seconds".to_owned()))?;
        let headers = HeaderMap::new();
        // The same rules as for a webhook, so that both name the same.
        let routed = Webhooks.route(&RawRequest {
            method: "POST",
            url: "",
            headers: &headers,
            body: text.as_bytes(),
            received_at: chrono::DateTime::UNIX_EPOCH,
            tolerance: Duration::ZERO,
        });
        let mut out = Self { id: id.clone().unwrap_or_default(), created, touched: Vec::new() };
        let on_clock = member("data")
            .and_then(|data| data.get("object")?.get("test_clock"))
            .is_some_and(|clock| !clock.is_null());
        for event in routed.map_err(rejected)? {
            // A platform's feed may hold events of the accounts that are connected to it.
            let elsewhere = event.account.is_some() && event.account != config.account;
            if on_clock || elsewhere {
                continue;
            }
            let keys = event.touches.into_iter().chain(event.tombstones);
            out.touched.extend(keys.map(|key| Touch { key, event: Some(event.id.clone()) }));
        }
        Ok(out)
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
