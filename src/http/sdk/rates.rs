//! How often a key, an organisation and an address may call.
//!
//! A bucket is one number, the time at which it is full again (the generic cell rate algorithm), in a table that
//! never grows: a new bucket takes the place of the one that is nearest to full, and a bucket that is full is as
//! good as none. A flood from a million addresses so costs the memory of the table, and forgets the quiet ones
//! first. (The keyed limiters that crates offer hold a bucket for each key ever seen until they are swept.)

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use crate::domain::connections::{ApiKey, KeyClass};
use crate::http::ApiError;

/// Buckets that compete for one another's place.
const WAYS: usize = 8;
/// Sets of buckets behind one lock.
const SETS: usize = 128;
/// Locks: calls of different keys seldom wait for each other.
const SHARDS: usize = 64;

/// So many calls a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Calls a second, in the long run; 0 for no limit.
    pub per_second: u32,
    /// Calls at once after a pause.
    pub burst: u32,
}

impl Quota {
    /// No limit.
    pub const NONE: Self = Self { per_second: 0, burst: 0 };

    /// Nanoseconds that one call takes to come back.
    fn interval(self) -> Option<u64> {
        (self.per_second > 0).then(|| 1_000_000_000 / u64::from(self.per_second))
    }
}

/// The limits of the SDK API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Of one server key.
    pub server_key: Quota,
    /// Of one publishable key: all visitors of a customer's product together.
    pub publishable_key: Quota,
    /// Of one organisation, over all its keys.
    pub org: Quota,
    /// Of one address, where it is a browser's: with a publishable key, or with none.
    pub address: Quota,
    /// Of one address: calls whose key is no key.
    pub failures: Quota,
}

impl Quotas {
    /// No limits.
    pub const NONE: Self = Self {
        server_key: Quota::NONE,
        publishable_key: Quota::NONE,
        org: Quota::NONE,
        address: Quota::NONE,
        failures: Quota::NONE,
    };
}

impl Default for Quotas {
    fn default() -> Self {
        Self::from(&crate::config::Limits::default())
    }
}

impl From<&crate::config::Limits> for Quotas {
    fn from(limits: &crate::config::Limits) -> Self {
        Self {
            server_key: Quota { per_second: limits.server_key_per_second, burst: limits.server_key_burst },
            publishable_key: Quota {
                per_second: limits.publishable_key_per_second,
                burst: limits.publishable_key_burst,
            },
            org: Quota { per_second: limits.org_per_second, burst: limits.org_burst },
            address: Quota { per_second: limits.address_per_second, burst: limits.address_burst },
            failures: Quota { per_second: limits.failures_per_second, burst: limits.failures_burst },
        }
    }
}

/// What is left of the tightest of the limits that a call was held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// Calls at once.
    pub(crate) limit: u32,
    /// Calls that could be made now.
    pub(crate) remaining: u32,
    /// Until the next one could be made; zero where one could be made now.
    pub(crate) after: Duration,
}

/// Whose limit a call went over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Address,
    Key,
    Org,
}

impl Whose {
    fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Key => "key",
            Self::Org => "organisation",
        }
    }
}

/// Every bucket of the SDK API in this process.
pub(super) struct Rates {
    quotas: Quotas,
    hashes: RandomState,
    keys: Table,
    orgs: Table,
    addresses: Table,
    failures: Table,
    began: Instant,
}

impl Rates {
    pub(super) fn new(quotas: Quotas) -> Self {
        Self {
            quotas,
            hashes: RandomState::new(),
            keys: Table::default(),
            orgs: Table::default(),
            addresses: Table::default(),
            failures: Table::default(),
            began: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Refuses an address that went on sending what is no key.
    pub(super) fn admit_stranger(&self, address: IpAddr) -> Result<(), (ApiError, Left)> {
        // Nothing is taken: a call whose key is good costs an address nothing here.
        self.judge(&self.failures, self.quotas.failures, network(address), 0, Whose::Address).map(drop)
    }

    /// Notes a call whose key was no key.
    pub(super) fn note_failure(&self, address: IpAddr) {
        // Whether there was room matters at the next call.
        let _ = self.judge(&self.failures, self.quotas.failures, network(address), 1, Whose::Address);
    }

    /// Takes one call of a browser.
    pub(super) fn take_address(&self, address: IpAddr) -> Result<Option<Left>, (ApiError, Left)> {
        self.judge(&self.addresses, self.quotas.address, network(address), 1, Whose::Address)
    }

    /// Takes so many calls of a key and its organisation. The key's come first, so that what it may not do costs the
    /// organisation's other keys nothing.
    pub(super) fn take_key(&self, key: &ApiKey, calls: u32) -> Result<Option<Left>, (ApiError, Left)> {
        let quota = match key.class {
            KeyClass::Server => self.quotas.server_key,
            KeyClass::Publishable => self.quotas.publishable_key,
        };
        let of_key = self.judge(&self.keys, quota, &key.id, calls, Whose::Key)?;
        let of_org = self.judge(&self.orgs, self.quotas.org, &key.org_id, calls, Whose::Org)?;
        Ok(tighter(of_key, of_org))
    }

    fn judge(
        &self,
        table: &Table,
        quota: Quota,
        whose: impl Hash,
        calls: u32,
        word: Whose,
    ) -> Result<Option<Left>, (ApiError, Left)> {
        let Some(interval) = quota.interval() else { return Ok(None) };
        let depth = interval.saturating_mul(u64::from(quota.burst.max(1)));
        // More than ever fits would never come: it takes all there is.
        // More than ever fits would never come: it takes all there is. A look is held against one call.
        let cost = interval.saturating_mul(u64::from(calls.max(1))).min(depth);
        let left = |ahead: u64| Left {
            limit: quota.burst.max(1),
            remaining: u32::try_from(depth.saturating_sub(ahead) / interval.max(1)).unwrap_or(u32::MAX),
            after: Duration::from_nanos((ahead + interval).saturating_sub(depth)),
        };
        match table.take(self.hashes.hash_one(whose), cost, depth, self.now(), calls > 0) {
            Ok(ahead) => Ok(Some(left(ahead))),
            Err(wait) => {
                let left =
                    Left { limit: quota.burst.max(1), remaining: 0, after: Duration::from_nanos(wait) };
                Err((refusal(word, quota, left), left))
            }
        }
    }
}

/// The one of which less is left.
pub(crate) fn tighter(one: Option<Left>, other: Option<Left>) -> Option<Left> {
    match (one, other) {
        (Some(a), Some(b)) => Some(if b.remaining < a.remaining { b } else { a }),
        (one, other) => one.or(other),
    }
}

/// Whole seconds, the next of them begun.
pub(crate) fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

fn refusal(whose: Whose, quota: Quota, left: Left) -> ApiError {
    let word = whose.word();
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests")
        .detail(format!("this {word} may make {} calls a second, {} at once", quota.per_second, left.limit))
        .hint("wait as long as Retry-After says")
        .with("limited", word)
        .retry_after(whole_seconds(left.after).max(1))
}

/// What counts as one address: in IPv6 whoever has one has all of its network's.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let bits = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(bits))
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Bucket {
    whose: u64,
    /// When it is full again, nanoseconds since the beginning.
    full_at: u64,
}

type Shard = Mutex<Box<[[Bucket; WAYS]]>>;

/// Buckets, as many as fit and no more.
struct Table(Box<[Shard]>);

impl Default for Table {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::new(vec![[Bucket::default(); WAYS]; SETS].into())).collect())
    }
}

impl Table {
    /// Takes `cost` from a bucket of that depth, where it holds as much. Answers how far ahead of now it is full
    /// again, or how long to wait. Looks only, unless `keep`.
    fn take(&self, whose: u64, cost: u64, depth: u64, now: u64, keep: bool) -> Result<u64, u64> {
        let [shard, set, ..] = whose.to_le_bytes().map(usize::from);
        let Some(shard) = self.0.get(shard % SHARDS) else { return Ok(0) };
        let mut sets = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(set) = sets.get_mut(set % SETS) else { return Ok(0) };
        let place = set
            .iter()
            .position(|bucket| bucket.whose == whose)
            .or_else(|| (0..WAYS).min_by_key(|place| set.get(*place).map(|bucket| bucket.full_at)));
        let Some(bucket) = place.and_then(|place| set.get_mut(place)) else { return Ok(0) };
        let stored = if bucket.whose == whose { bucket.full_at } else { 0 };
        let full_at = stored.max(now).saturating_add(cost);
        let ahead = full_at - now;
        if ahead > depth {
            return Err(ahead - depth);
        }
        if keep {
            *bucket = Bucket { whose, full_at };
            return Ok(ahead);
        }
        Ok(ahead - cost)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::domain::OrgId;

    fn quota(per_second: u32, burst: u32) -> Quota {
        Quota { per_second, burst }
    }

    fn rates() -> Rates {
        Rates::new(Quotas {
            server_key: quota(1_000, 2_000),
            publishable_key: quota(10, 20),
            org: quota(100, 40),
            address: quota(1, 5),
            failures: quota(1, 3),
        })
    }

    fn key(id: &str, org: &str, class: KeyClass) -> ApiKey {
        ApiKey {
            id: id.into(),
            org_id: OrgId::from(org),
            class,
            name: String::new(),
            prefix: String::new(),
            created_at: chrono::DateTime::UNIX_EPOCH,
            revoked_at: None,
            origins: None,
            expires_at: None,
            last_used_at: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_has_its_burst_and_then_its_rate() {
        let rates = rates();
        let web = key("key_1", "org_a", KeyClass::Publishable);
        for n in (0..20).rev() {
            assert_eq!(rates.take_key(&web, 1).unwrap().unwrap().remaining, n);
        }
        let (error, left) = rates.take_key(&web, 1).unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (429, "rate_limited"));
        assert_eq!((left.remaining, left.after), (0, Duration::from_millis(100)));
        tokio::time::advance(Duration::from_millis(99)).await;
        assert!(rates.take_key(&web, 1).is_err());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(rates.take_key(&web, 1).is_ok());
        assert!(rates.take_key(&web, 1).is_err());
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(rates.take_key(&web, 1).unwrap().unwrap().remaining, 19, "no more than the burst gathers");
    }

    #[tokio::test(start_paused = true)]
    async fn an_organisation_is_limited_over_its_keys_and_another_is_not() {
        let rates = rates();
        let one = key("key_1", "org_a", KeyClass::Server);
        let two = key("key_2", "org_a", KeyClass::Server);
        assert!(rates.take_key(&one, 30).is_ok());
        assert!(rates.take_key(&two, 11).is_err());
        assert!(rates.take_key(&two, 10).is_ok());
        assert!(rates.take_key(&key("key_3", "org_b", KeyClass::Server), 40).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_ever_fits_takes_all_and_is_not_refused_for_ever() {
        let rates = rates();
        let web = key("key_1", "org_a", KeyClass::Publishable);
        assert_eq!(rates.take_key(&web, 1_000).unwrap().unwrap().remaining, 0);
        assert!(rates.take_key(&web, 1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_counted_by_address_and_cost_good_calls_nothing() {
        let rates = rates();
        let (bad, good) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..3 {
            assert!(rates.admit_stranger(bad).is_ok());
            rates.note_failure(bad);
        }
        let (error, left) = rates.admit_stranger(bad).unwrap_err();
        assert_eq!((error.code(), left.after), ("rate_limited", Duration::from_secs(1)));
        for _ in 0..100 {
            assert!(rates.admit_stranger(good).is_ok());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(rates.admit_stranger(bad).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_network_of_ipv6_is_one_address() {
        let rates = rates();
        let from = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 9, 9, 9, last]);
        for n in 0..5 {
            assert!(rates.take_address(from(n)).is_ok());
        }
        assert!(rates.take_address(from(5)).is_err());
        assert!(rates.take_address(IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1])).is_ok());
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
        for _ in 0..5 {
            assert!(rates.take_address(mapped.into()).is_ok());
        }
        assert!(rates.take_address(IpAddr::from([192, 0, 2, 1])).is_err());
    }

    /// The table is as large as it was, and whoever went over the limit is not forgotten for the sake of strangers
    /// who came once.
    #[tokio::test(start_paused = true)]
    async fn a_million_addresses_take_no_memory_and_hide_no_flood() {
        let rates = rates();
        let flood = IpAddr::from([203, 0, 113, 7]);
        while rates.take_address(flood).is_ok() {}
        for n in 0..1_000_000u32 {
            let _ = rates.take_address(IpAddr::from(n.to_be_bytes()));
        }
        assert!(rates.take_address(flood).is_err());
        let buckets: usize =
            rates.addresses.0.iter().map(|shard| shard.lock().unwrap().iter().flatten().count()).sum();
        assert_eq!(buckets, SHARDS * SETS * WAYS);
        assert!(buckets * size_of::<Bucket>() <= 1 << 20, "at most a MiB");
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_is_no_limit() {
        let rates = Rates::new(Quotas::NONE);
        for _ in 0..10_000 {
            assert_eq!(rates.take_key(&key("key_1", "org_a", KeyClass::Publishable), 9).unwrap(), None);
        }
    }
}
