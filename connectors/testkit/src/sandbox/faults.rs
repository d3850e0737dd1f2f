//! Faults on demand.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
}

/// Which calls a fault hits.
#[derive(Debug, Clone)]
pub struct FaultRule {
    /// The beginning of the path (`/v1/customers`).
    pub path: String,
    /// How many such calls go well before.
    pub skip: u32,
    /// How many it then hits.
    pub times: u32,
    /// What happens to them.
    pub fault: Fault,
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

/// The faults that wait for their calls.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<FaultRule>>);

impl Faults {
    /// Adds a rule; earlier rules are asked first.
    pub fn add(&self, rule: FaultRule) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    /// Forgets all rules.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The fault for a call of this path, used up by it.
    pub(crate) fn take(&self, path: &str) -> Option<Fault> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rule = rules.iter_mut().find(|r| path.starts_with(&r.path))?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        let fault = rule.fault.clone();
        rule.times = rule.times.saturating_sub(1);
        rules.retain(|r| r.times > 0);
        Some(fault)
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
    }
}
