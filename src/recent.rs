//! Things that were looked up a moment ago.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Remembers what was found for a short time, a bounded number at once. Only things that exist are
/// remembered: a flood of made-up keys costs a look-up each and no memory.
#[derive(Debug)]
pub struct Recent<K, V> {
    ttl: Duration,
    capacity: usize,
    entries: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Hash + Eq, V: Clone> Recent<K, V> {
    /// Remembers for `ttl`, at most `capacity` at once.
    pub fn new(ttl: Duration, capacity: usize) -> Self {
        Self { ttl, capacity, entries: Mutex::default() }
    }

    /// What was put there less than `ttl` ago.
    pub fn get(&self, key: &K) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, value) = entries.get(key)?;
        (*until > Instant::now()).then(|| value.clone())
    }

    /// Remembers. When full, what has run out goes; when nothing has, everything does.
    pub fn put(&self, key: K, value: V) {
        let now = Instant::now();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.capacity {
            entries.retain(|_, (until, _)| *until > now);
            if entries.len() >= self.capacity {
                entries.clear();
            }
        }
        entries.insert(key, (now + self.ttl, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn forgets_in_time_and_stays_small() {
        let recent = Recent::new(Duration::from_secs(1), 2);
        recent.put("a", 1);
        assert_eq!(recent.get(&"a"), Some(1));
        tokio::time::advance(Duration::from_millis(1001)).await;
        assert_eq!(recent.get(&"a"), None);
        for (key, value) in [("b", 2), ("c", 3), ("d", 4)] {
            recent.put(key, value);
        }
        assert_eq!(recent.get(&"d"), Some(4));
        assert!(recent.entries.lock().unwrap().len() <= 2);
    }
}
