//! Buckets of calls, one an account and one each of its endpoints, that several processes draw from.
//!
//! Times come from the processes' own clocks, and an account's never goes back: where the clocks differ, the
//! fastest one is everybody's, and nobody finds a bucket filled twice for one time.

use std::collections::BTreeMap;
use std::time::Duration;

use connector_sdk::{Fill, Grant, Priority, Throttle, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::{Conn, bulk};
use crate::store::Result;
use crate::store::convert::{clean, from_json, json_list, to_json, us};
use crate::store::rates::{RateAsk, RateTaken};

statements! {
    LOAD = concat!("SELECT endpoint, tokens, rate, filled_at, blocked_until, refused_at, urgency, urgent_until, processes
        FROM rate_buckets WHERE account = $1 AND endpoint", in_list!("$2"), " ORDER BY endpoint", for_update!());
}

const SECOND: i64 = 1_000_000;
/// Tokens and rates are stored in millionths.
const ONE: i64 = 1_000_000;
/// So many seconds' worth of calls gather in a bucket that nobody draws from: what processes draw in one go.
const BURST_TENTHS: i64 = 1;
/// How long a halved rate takes to win back its full value.
const RECOVERY: i64 = 60;
/// A learned rate never falls below this part of the stated one.
const FLOOR: i64 = 64;
/// Refusals within this time of each other are one event.
const SAME_REFUSAL: i64 = SECOND;
/// A process that asked within this time shares the account. Whoever got nothing asks again sooner.
const ACTIVE: i64 = 2 * SECOND;
/// Who did not get all that it wanted goes before the less urgent for so long.
const URGENT: i64 = SECOND / 4;
/// Nobody waits.
const NO_URGENCY: i64 = i64::MAX;
/// The account's own bucket.
const ACCOUNT: &str = "";
/// Between two draws of one process.
const BETWEEN_DRAWS: Duration = Duration::from_millis(50);

/// A process that shares an account.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Process {
    asked_at: i64,
    /// How urgent what it wants is, and since when it gets nothing: who has waited longest goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owed: Option<(i64, i64)>,
}

#[derive(Debug, Clone, PartialEq, FromRow)]
struct Bucket {
    endpoint: String,
    tokens: i64,
    rate: i64,
    filled_at: i64,
    blocked_until: i64,
    refused_at: i64,
    urgency: i64,
    urgent_until: i64,
    processes: String,
}

impl Bucket {
    fn new(endpoint: &str, full: i64, now: i64) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            tokens: burst(full),
            rate: full,
            filled_at: now,
            blocked_until: 0,
            refused_at: 0,
            urgency: NO_URGENCY,
            urgent_until: 0,
            processes: "{}".to_owned(),
        }
    }

    /// Brings it up to now.
    fn advance(&mut self, full: i64, now: i64) {
        let since = (now - self.filled_at).max(0);
        self.filled_at += since;
        self.rate = (self.rate + part(full, since) / RECOVERY).clamp((full / FLOOR).max(1), full);
        self.tokens = (self.tokens + part(self.rate, since)).min(burst(self.rate));
    }

    /// Whole calls that it holds.
    fn calls(&self, now: i64) -> u32 {
        if self.blocked_until > now { 0 } else { u32::try_from(self.tokens.max(0) / ONE).unwrap_or(u32::MAX) }
    }

    fn draw(&mut self, calls: u32) {
        self.tokens -= i64::from(calls) * ONE;
    }

    fn refuse(&mut self, pause: Duration, halve: bool, now: i64) {
        let until = now.saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX));
        self.blocked_until = self.blocked_until.max(until);
        if halve && now - self.refused_at >= SAME_REFUSAL {
            self.refused_at = now;
            self.rate /= 2;
        }
        if halve {
            self.tokens = self.tokens.min(0);
        }
    }

    fn fill(&self, tokens: u32, now: i64) -> Fill {
        #[expect(clippy::cast_precision_loss, reason = "a rate, not an amount")]
        let rate = self.rate as f64 / ONE as f64;
        Fill { tokens, rate, blocked_for: micros(self.blocked_until - now) }
    }

    /// When it holds one call.
    fn ready_in(&self, now: i64) -> Duration {
        let missing =
            i128::from((ONE - self.tokens).max(0)) * i128::from(SECOND) / i128::from(self.rate.max(1));
        micros(i64::try_from(missing).unwrap_or(SECOND)).max(micros(self.blocked_until - now))
    }

    /// Whether somebody more urgent waits.
    fn is_kept_from(&self, urgency: i64, now: i64) -> bool {
        self.urgency < urgency && self.urgent_until > now
    }

    /// Notes who could not get all.
    fn note(&mut self, urgency: i64, satisfied: bool, now: i64) {
        if !satisfied {
            (self.urgency, self.urgent_until) = (urgency, now + URGENT);
        } else if self.urgency == urgency {
            self.urgency = NO_URGENCY;
        }
    }
}

/// What a rate gives in that many microseconds.
fn part(rate: i64, since: i64) -> i64 {
    i64::try_from(i128::from(rate) * i128::from(since) / i128::from(SECOND)).unwrap_or(i64::MAX)
}

fn burst(rate: i64) -> i64 {
    (rate * BURST_TENTHS / 10).max(ONE)
}

fn micros(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

/// Millionths of calls a second; a provider that allows nothing means almost nothing.
#[expect(clippy::cast_possible_truncation, reason = "within the clamp")]
fn millionths(per_second: f64) -> i64 {
    (per_second.clamp(1e-3, 1e6) * ONE as f64) as i64
}

fn urgency(priority: Priority) -> i64 {
    match priority {
        Priority::Webhook => 0,
        Priority::Incremental => 1,
        Priority::Backfill => 2,
    }
}

pub(crate) async fn take_calls(c: &mut Conn, ask: &RateAsk, at: Timestamp) -> Result<RateTaken> {
    let account = clean(&ask.account);
    let (mut buckets, now) = load(c, &account, ask, us(at)).await?;
    let taken = draw(&mut buckets, ask, now)?;
    let drawn: Vec<Bucket> = buckets.into_values().collect();
    write(
        c,
        &account,
        &drawn,
        "ON CONFLICT (account, endpoint) DO UPDATE SET tokens = excluded.tokens, rate = excluded.rate, \
         filled_at = excluded.filled_at, blocked_until = excluded.blocked_until, refused_at = excluded.refused_at, \
         urgency = excluded.urgency, urgent_until = excluded.urgent_until, processes = excluded.processes",
    )
    .await?;
    Ok(taken)
}

async fn write(c: &mut Conn, account: &str, buckets: &[Bucket], on_conflict: &str) -> Result<()> {
    bulk::insert(
        c,
        "INSERT INTO rate_buckets (account, endpoint, tokens, rate, filled_at, blocked_until, refused_at, urgency, \
         urgent_until, processes)",
        buckets,
        on_conflict,
        |row, bucket| {
            row.push_bind(account)
                .push_bind(&bucket.endpoint)
                .push_bind(bucket.tokens)
                .push_bind(bucket.rate)
                .push_bind(bucket.filled_at)
                .push_bind(bucket.blocked_until)
                .push_bind(bucket.refused_at)
                .push_bind(bucket.urgency)
                .push_bind(bucket.urgent_until)
                .push_bind(&bucket.processes);
        },
    )
    .await?;
    Ok(())
}

/// The buckets that an ask is about, locked and up to the account's time, by endpoint; and that time. A bucket
/// that nobody drew from yet is full.
async fn load(
    c: &mut Conn,
    account: &str,
    ask: &RateAsk,
    now: i64,
) -> Result<(BTreeMap<String, Bucket>, i64)> {
    let full = (millionths(ask.per_second), ask.per_endpoint_per_second.map(millionths));
    let mut wanted = BTreeMap::from([(ACCOUNT.to_owned(), full.0)]);
    let full_of = |endpoint: &String| {
        ask.demand.rates.get(endpoint).map_or(full.1.unwrap_or(full.0), |own| millionths(*own))
    };
    let refused = ask.demand.refusals.iter().filter_map(|refusal| refusal.endpoint.as_ref());
    for endpoint in ask.demand.endpoints.keys().chain(refused) {
        wanted.insert(clean(endpoint), full_of(endpoint));
    }
    let select = async |c: &mut Conn| -> Result<Vec<Bucket>> {
        Ok(sqlx::query_as(LOAD).bind(account).bind(json_list(wanted.keys())).fetch_all(c).await?)
    };
    let mut rows = select(&mut *c).await?;
    let fresh: Vec<Bucket> = wanted
        .iter()
        .filter(|(endpoint, _)| rows.iter().all(|row| row.endpoint != **endpoint))
        .map(|(endpoint, full)| Bucket::new(endpoint, *full, now))
        .collect();
    if !fresh.is_empty() {
        // Made before it is locked: two processes that come first are one after the other, too.
        write(c, account, &fresh, "ON CONFLICT (account, endpoint) DO NOTHING").await?;
        rows = select(c).await?;
    }
    let mut buckets: BTreeMap<String, Bucket> =
        rows.into_iter().map(|row| (row.endpoint.clone(), row)).collect();
    let now = buckets.get(ACCOUNT).map_or(now, |own| own.filled_at.max(now));
    for (endpoint, bucket) in &mut buckets {
        bucket.advance(wanted.get(endpoint).copied().unwrap_or(full.0), now);
    }
    Ok((buckets, now))
}

/// What a process gets of the buckets, which are up to now.
fn draw(buckets: &mut BTreeMap<String, Bucket>, ask: &RateAsk, now: i64) -> Result<RateTaken> {
    let demand = &ask.demand;
    for refusal in &demand.refusals {
        let (endpoint, halve) = match refusal.about {
            Throttle::Account => (ACCOUNT, true),
            Throttle::Concurrency => (ACCOUNT, false),
            Throttle::Endpoint => (refusal.endpoint.as_deref().unwrap_or(ACCOUNT), true),
        };
        if let Some(bucket) = buckets.get_mut(&clean(endpoint)) {
            bucket.refuse(refusal.pause, halve, now);
        }
    }
    let mut grant = Grant { processes: 1, ..Grant::default() };
    let Some(account) = buckets.get_mut(ACCOUNT) else {
        return Ok(RateTaken { grant, again_in: BETWEEN_DRAWS });
    };
    let mut processes: BTreeMap<String, Process> =
        from_json("rate_buckets", "processes", &ask.account, &account.processes)?;
    let mut own = processes.remove(&clean(&ask.process)).unwrap_or_default();
    processes.retain(|_, other| now - other.asked_at < ACTIVE);
    grant.processes = u32::try_from(processes.len() + 1).unwrap_or(u32::MAX);
    own.asked_at = now;
    let Some(priority) = demand.priority else {
        grant.account = account.fill(0, now);
        processes.insert(clean(&ask.process), own);
        account.processes = to_json(&processes)?;
        return Ok(RateTaken { grant, again_in: BETWEEN_DRAWS });
    };
    let urgency = urgency(priority);
    let kept = account.is_kept_from(urgency, now);
    let since = own.owed.map_or(now, |(_, since)| since);
    let goes_first =
        |other: &Process| other.owed.is_some_and(|(theirs, from)| theirs <= urgency && from < since);
    let yields = processes.values().any(goes_first);
    let account_holds = if kept || yields { 0 } else { account.calls(now).div_ceil(grant.processes) };
    let ready_in = account.ready_in(now);

    // An endpoint's calls are of use with as many of the account's, and the other way round.
    let mut calls = demand.calls.min(account_holds);
    let mut wanted: BTreeMap<&String, u32> = BTreeMap::new();
    for (endpoint, count) in &demand.endpoints {
        let holds = buckets.get(&clean(endpoint)).map_or(0, |bucket| bucket.calls(now));
        wanted.insert(endpoint, (*count).min(holds.div_ceil(grant.processes)));
    }
    // Those of endpoints without a limit, and of endpoints whose calls the process holds already.
    let free = demand.calls.saturating_sub(demand.endpoints.values().sum());
    if demand.calls > 0 {
        calls = calls.min(wanted.values().sum::<u32>().saturating_add(free));
    }
    let mut left = if demand.calls > 0 { calls } else { u32::MAX };
    let mut endpoint_ready = Duration::ZERO;
    for (endpoint, count) in wanted {
        let Some(bucket) = buckets.get_mut(&clean(endpoint)) else { continue };
        let drawn = count.min(left);
        left -= drawn;
        bucket.draw(drawn);
        if drawn == 0 {
            endpoint_ready = endpoint_ready.max(bucket.ready_in(now));
        }
        grant.endpoints.insert(endpoint.clone(), bucket.fill(drawn, now));
    }
    if let Some(account) = buckets.get_mut(ACCOUNT) {
        account.draw(calls);
        if !kept {
            // Who waits for an endpoint alone keeps nobody from the account.
            let satisfied = calls >= demand.calls || account_holds > calls;
            account.note(urgency, satisfied, now);
        }
        own.owed = (calls == 0 && demand.calls > 0 && account_holds == 0).then_some((urgency, since));
        processes.insert(clean(&ask.process), own);
        account.processes = to_json(&processes)?;
        grant.account = account.fill(calls, now);
    }
    let nothing = calls == 0 && grant.endpoints.values().all(|fill| fill.tokens == 0);
    let again_in =
        if nothing { ready_in.max(endpoint_ready).min(Duration::from_secs(1)) } else { BETWEEN_DRAWS };
    Ok(RateTaken { grant, again_in: again_in.max(BETWEEN_DRAWS / 5) })
}
