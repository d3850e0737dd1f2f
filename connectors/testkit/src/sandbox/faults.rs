//! Faults on demand.
//!
//! | what goes wrong | how it is asked for |
//! | --- | --- |
//! | a call is throttled, refused, cut, spoilt, held up; a page comes doubled or in another order | a [`FaultRule`] with a [`Fault`] |
//! | any of them, now and then | [`Faults::at_random`] |
//! | an object changes between two pages, or between a list and the read of one of its objects | [`Fault::ThenWrite`] |
//! | webhooks are lost, doubled, late, out of order | [`WebhookFaults`], or a `Flush` for a fixed pattern |
//!
//! All of it follows from a seed or from the order of the calls, so that a failure can be had again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::chance::Chance;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// 429, with the `Retry-After` header given (seconds or an HTTP date).
    TooManyRequests {
        /// The header's value.
        retry_after: Option<String>,
    },
    /// That status, with the provider's own error body.
    Status(u16),
    /// The right answer, cut in the middle; the connection closes.
    CutBody,
    /// The connection closes after the headers.
    NoBody,
    /// A 200 with a page of HTML.
    Html,
    /// A 200 with bytes that are no text.
    Garbage,
    /// A 200 with JSON that ends too early, of the announced length.
    TruncatedJson,
    /// A 200 that holds the provider's error object.
    ErrorWith200,
    /// An answer that never comes.
    Stall,
    /// The right answer, later.
    Slow(Duration),
    /// The right page, with an item in front that is no object of the stream.
    BadItem,
    /// The right page, with every item twice.
    Doubled,
    /// The right page, its items the other way round.
    Reversed,
    /// The right answer; then, before any other call is answered, this write, with its events. After a page of a
    /// list it is a change between two pages, or between the list and the read of an object.
    ThenWrite {
        /// `POST` or `DELETE`.
        method: &'static str,
        /// The path (`/v1/customers/cus_1`).
        path: String,
        /// The form as a tree whose leaves are texts.
        form: Value,
    },
}

/// Which calls a fault hits.
#[derive(Debug, Clone)]
pub struct FaultRule {
    /// The beginning of the path: `/v1/customers` for all that is below it, `/v1/customers/` for single objects,
    /// `/v1/customers?` for the list alone.
    pub path: String,
    /// How many such calls go well before.
    pub skip: u32,
    /// How many it then hits.
    pub times: u32,
    /// What happens to them.
    pub fault: Fault,
}

impl Fault {
    /// One of each kind that spoils an answer whole: a reader that asks again gets a good one.
    #[must_use]
    pub fn passing() -> Vec<Self> {
        vec![
            Self::TooManyRequests { retry_after: Some("1".to_owned()) },
            Self::TooManyRequests { retry_after: None },
            Self::Status(500),
            Self::Status(503),
            Self::CutBody,
            Self::NoBody,
            Self::Html,
            Self::Garbage,
            Self::TruncatedJson,
            Self::ErrorWith200,
        ]
    }

    /// A word for it, for counts.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::TooManyRequests { retry_after: None } => "429",
            Self::TooManyRequests { retry_after: Some(_) } => "429 with Retry-After",
            Self::Status(_) => "status",
            Self::CutBody => "cut body",
            Self::NoBody => "no body",
            Self::Html => "html",
            Self::Garbage => "garbage",
            Self::TruncatedJson => "truncated JSON",
            Self::ErrorWith200 => "error with 200",
            Self::Stall => "stall",
            Self::Slow(_) => "slow",
            Self::BadItem => "bad item",
            Self::Doubled => "doubled",
            Self::Reversed => "reversed",
            Self::ThenWrite { .. } => "then a write",
        }
    }
}

impl FaultRule {
    /// The next call below `path`.
    #[must_use]
    pub fn next(path: &str, fault: Fault) -> Self {
        Self { path: path.to_owned(), skip: 0, times: 1, fault }
    }

    /// Every call below `path`.
    #[must_use]
    pub fn always(path: &str, fault: Fault) -> Self {
        Self { path: path.to_owned(), skip: 0, times: u32::MAX, fault }
    }
}

/// Faults that hit calls by chance.
#[derive(Debug)]
struct Random {
    chance: Chance,
    per_mille: u16,
    left: u32,
    faults: Vec<Fault>,
}

impl Random {
    fn take(&mut self) -> Option<Fault> {
        if self.left == 0 || !self.chance.hits(self.per_mille) {
            return None;
        }
        self.left -= 1;
        self.chance.pick(&self.faults).cloned()
    }
}

/// The faults that wait for their calls.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<FaultRule>>,
    random: Mutex<Option<Random>>,
    hit: Mutex<BTreeMap<&'static str, u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    /// Adds a rule; earlier rules are asked first.
    pub fn add(&self, rule: FaultRule) {
        lock(&self.rules).push(rule);
    }

    /// Lets one of `faults` hit `per_mille` of a thousand calls that no rule hits, `at_most` times in all.
    pub fn at_random(&self, seed: u64, per_mille: u16, at_most: u32, faults: Vec<Fault>) {
        *lock(&self.random) = Some(Random { chance: Chance::new(seed), per_mille, left: at_most, faults });
    }

    /// Forgets all rules.
    pub fn clear(&self) {
        lock(&self.rules).clear();
        *lock(&self.random) = None;
    }

    /// How often each fault has hit a call, by [`Fault::name`].
    #[must_use]
    pub fn hits(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.hit).clone()
    }

    /// The fault for a call of this path, used up by it.
    pub(crate) fn take(&self, path: &str) -> Option<Fault> {
        let fault = self.next(path);
        if let Some(fault) = &fault {
            *lock(&self.hit).entry(fault.name()).or_default() += 1;
        }
        fault
    }

    fn next(&self, path: &str) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        let Some(rule) = rules.iter_mut().find(|rule| hits(&rule.path, path)) else {
            return lock(&self.random).as_mut().and_then(Random::take);
        };
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        let fault = rule.fault.clone();
        // For ever is for ever.
        if rule.times != u32::MAX {
            rule.times = rule.times.saturating_sub(1);
        }
        rules.retain(|r| r.times > 0);
        Some(fault)
    }
}

fn hits(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('?') {
        Some(list) => path == list,
        None => path.starts_with(rule),
    }
}

/// What becomes of webhooks on their way, by chance. Each number is how many of a thousand events it hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookFaults {
    /// Never come.
    pub lost: u16,
    /// Come twice.
    pub doubled: u16,
    /// Come at a later sending.
    pub late: u16,
    /// How many sendings of a thousand are mixed up.
    pub reordered: u16,
    /// What decides.
    pub chance: Chance,
}

/// What one sending comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending<T> {
    /// To be sent, in this order.
    pub now: Vec<T>,
    /// To be sent later.
    pub later: Vec<T>,
    /// Never to be sent.
    pub lost: Vec<T>,
    /// How many are sent twice.
    pub doubled: usize,
    /// Whether the order is another one.
    pub reordered: bool,
}

impl WebhookFaults {
    /// Nothing goes wrong until a member is set.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { lost: 0, doubled: 0, late: 0, reordered: 0, chance: Chance::new(seed) }
    }

    /// Decides about events, given in the order in which they were made.
    pub fn send<T: Clone>(&mut self, events: Vec<T>) -> Sending<T> {
        let mut sending =
            Sending { now: Vec::new(), later: Vec::new(), lost: Vec::new(), doubled: 0, reordered: false };
        for event in events {
            // Each is drawn for every event, so that what becomes of one does not hang on the chances of another.
            let (lost, doubled, late) =
                (self.chance.hits(self.lost), self.chance.hits(self.doubled), self.chance.hits(self.late));
            if lost {
                sending.lost.push(event);
                continue;
            }
            if doubled {
                sending.doubled += 1;
                // The second one may be late by itself.
                let second = if self.chance.hits(self.late) { &mut sending.later } else { &mut sending.now };
                second.push(event.clone());
            }
            if late { sending.later.push(event) } else { sending.now.push(event) }
        }
        if self.chance.hits(self.reordered) && sending.now.len() > 1 {
            self.chance.shuffle(&mut sending.now);
            sending.reordered = true;
        }
        sending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_hits_the_calls_that_it_names() {
        let faults = Faults::default();
        faults.add(FaultRule { path: "/v1/a".into(), skip: 1, times: 2, fault: Fault::Html });
        assert_eq!(faults.take("/v1/b"), None);
        assert_eq!(faults.take("/v1/a/1"), None);
        assert_eq!(faults.take("/v1/a"), Some(Fault::Html));
        assert_eq!(faults.take("/v1/a"), Some(Fault::Html));
        assert_eq!(faults.take("/v1/a"), None);
        assert_eq!(faults.hits(), BTreeMap::from([("html", 2)]));
    }

    #[test]
    fn a_rule_tells_lists_from_objects() {
        let hit = |rule: &str| {
            ["/v1/a", "/v1/a/1", "/v1/a/1/lines", "/v1/ab"]
                .into_iter()
                .filter(|path| hits(rule, path))
                .collect::<Vec<_>>()
        };
        assert_eq!(hit("/v1/a?"), ["/v1/a"]);
        assert_eq!(hit("/v1/a/"), ["/v1/a/1", "/v1/a/1/lines"]);
        assert_eq!(hit("/v1/a"), ["/v1/a", "/v1/a/1", "/v1/a/1/lines", "/v1/ab"]);
    }

    #[test]
    fn chance_hits_calls_that_no_rule_names_and_repeats_itself() {
        let run = |seed| {
            let faults = Faults::default();
            faults.add(FaultRule::always("/v1/b", Fault::Garbage));
            faults.at_random(seed, 300, 20, vec![Fault::Html, Fault::Status(500)]);
            assert_eq!(faults.take("/v1/b"), Some(Fault::Garbage));
            let taken: Vec<_> = (0..200).map(|_| faults.take("/v1/a")).collect();
            faults.clear();
            assert_eq!((faults.take("/v1/a"), faults.take("/v1/b")), (None, None));
            taken
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let hit: Vec<_> = run(1).into_iter().flatten().collect();
        assert_eq!(hit.len(), 20, "no more than allowed");
        assert!(hit.contains(&Fault::Html) && hit.contains(&Fault::Status(500)));
    }

    #[test]
    fn webhooks_are_lost_doubled_late_and_out_of_order() {
        let all: Vec<u32> = (0..1_000).collect();
        let mut good = WebhookFaults::new(1);
        assert_eq!(good.send(all.clone()).now, all, "nothing goes wrong by itself");

        let bad = || WebhookFaults {
            lost: 100,
            doubled: 100,
            late: 100,
            reordered: 1_000,
            ..WebhookFaults::new(7)
        };
        let sending = bad().send(all.clone());
        assert_eq!(sending, bad().send(all.clone()), "a seed repeats itself");
        assert!((50..150).contains(&sending.lost.len()) && (50..150).contains(&sending.doubled));
        assert!((50..170).contains(&sending.later.len()), "{}", sending.later.len());
        assert!(sending.reordered && !sending.now.is_sorted());
        let mut came: Vec<u32> = sending.now.iter().chain(&sending.later).copied().collect();
        assert_eq!(came.len(), all.len() - sending.lost.len() + sending.doubled);
        came.extend(&sending.lost);
        came.sort_unstable();
        came.dedup();
        assert_eq!(came, all, "every event has one fate");
        assert!(sending.lost.iter().all(|e| !sending.now.contains(e) && !sending.later.contains(e)));
    }
}
