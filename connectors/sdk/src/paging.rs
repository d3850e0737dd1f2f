//! Lists that only count rows: reading them without losing any.
//!
//! A list by offset or page number moves while it is read: when a row that was read is deleted, every later one
//! comes a place earlier, and the next page misses one. It needs two things to be read without loss: the provider
//! sorts by something that never changes (the time of creation and the id), and the reader looks back. Each page
//! begins with the last row of the one before. When another row is there, the reader goes back until it finds its
//! place again; rows that it has read are passed over by their key.

use serde::{Deserialize, Serialize};

/// Where a reader of a counted list stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowPlace<K> {
    /// How many rows were in front when the last page was read.
    pub row: u64,
    /// The key of the last row that was read; none at the start.
    pub last: Option<K>,
    /// From here on there was no row, where a page showed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
}

impl<K> Default for RowPlace<K> {
    fn default() -> Self {
        Self { row: 0, last: None, end: None }
    }
}

/// What to do with a page of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict<K> {
    /// The list has moved: ask for the page from [`Rows::start`] on instead.
    Back,
    /// Take what was not read before.
    Take {
        /// What was read before is up to this key, itself included; none at the start.
        after: Option<K>,
        /// Where the next page begins; `None` at the end of the list.
        next: Option<RowPlace<K>>,
    },
}

/// The reading of one page of a counted list.
#[derive(Debug, Clone)]
pub struct Rows<K> {
    place: RowPlace<K>,
    start: u64,
}

impl<K: Ord + Clone> Rows<K> {
    /// Begins at a place.
    #[must_use]
    pub fn new(place: RowPlace<K>) -> Self {
        // The row that was read last comes first again, to show that nothing moved.
        let start = place.row.saturating_sub(1);
        Self { place, start }
    }

    /// The row that the page must hold, counted from 0.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Judges a page that begins at row `from` and may hold `asked` rows. `keys` are those of its rows, in the
    /// order of the list; `None` for a row whose key cannot be read.
    pub fn judge(&mut self, from: u64, asked: u64, keys: &[Option<K>]) -> Verdict<K> {
        // No page holds more than was asked for; what is more was not counted by the list.
        let rows = (keys.len() as u64).min(asked);
        let readable: Vec<&K> = keys.iter().flatten().collect();
        if let Some(last) = &self.place.last
            && from > 0
            && readable.first().is_none_or(|first| *first > last)
        {
            if readable.is_empty() && rows < asked {
                self.place.end = Some(from);
            }
            self.start = from.saturating_sub(asked.saturating_sub(1).max(1));
            return Verdict::Back;
        }
        let reached = from.saturating_add(rows);
        let over = rows < asked || self.place.end.is_some_and(|end| reached >= end);
        let last = readable.last().map(|key| (*key).clone()).max(self.place.last.clone());
        let next = (!over).then_some(RowPlace { row: reached, last, end: self.place.end });
        Verdict::Take { after: self.place.last.clone(), next }
    }
}

/// The page, as its size and its number from 1, that holds `row` and reaches farthest behind it. For providers that
/// count pages: the size changes a little from page to page, so that a page can begin with a row that was read.
///
/// The page holds the row behind `row`, too, as long as not every size up to `largest` ends there: with 20 and more
/// for 232,792,559 rows.
#[must_use]
pub fn page_holding(row: u64, largest: u64) -> (u64, u64) {
    let reach = |size: u64| (row / size + 1) * size;
    let size = (1..=largest.max(1)).max_by_key(|size| (reach(*size), *size)).unwrap_or(1);
    (size, row / size + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a list to its end while `change` happens to it before each call.
    fn read(
        list: &mut Vec<u32>,
        size: u64,
        by_page: bool,
        spoilt: bool,
        mut change: impl FnMut(&mut Vec<u32>, &[u32]),
    ) -> (Vec<u32>, usize) {
        let (mut seen, mut calls) = (Vec::new(), 0);
        let mut place = RowPlace::default();
        loop {
            let mut rows = Rows::new(place);
            let next = loop {
                change(list, &seen);
                calls += 1;
                assert!(calls < 10_000, "the read does not end");
                let (asked, from) = match by_page {
                    true => {
                        let (asked, number) = page_holding(rows.start(), size);
                        (asked, (number - 1) * asked)
                    }
                    false => (size, rows.start()),
                };
                let page: Vec<u32> = list.iter().skip(from as usize).take(asked as usize).copied().collect();
                let bad = spoilt.then_some(None);
                let keys: Vec<Option<u32>> = bad.into_iter().chain(page.iter().copied().map(Some)).collect();
                match rows.judge(from, asked, &keys) {
                    Verdict::Back => {}
                    Verdict::Take { after, next } => {
                        seen.extend(page.into_iter().filter(|key| after.is_none_or(|after| *key > after)));
                        break next;
                    }
                }
            };
            match next {
                Some(next) => place = next,
                None => return (seen, calls),
            }
        }
    }

    #[test]
    fn a_still_list_takes_hardly_more_calls_than_pages() {
        for by_page in [false, true] {
            let (seen, calls) = read(&mut (0..1_000).collect(), 100, by_page, false, |_, _| {});
            assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
            assert!(calls <= 12, "{calls}");
        }
    }

    #[test]
    fn a_page_holds_its_row_and_new_ones() {
        for row in 0..2_000 {
            let (size, number) = page_holding(row, 100);
            assert!((1..=100).contains(&size));
            let from = (number - 1) * size;
            assert!(from <= row && row + 1 < from + size, "{row}: {number} of {size}");
        }
    }

    proptest! {
        #[test]
        fn what_stays_is_read_once_whatever_else_goes_and_comes(
            len in 0u32..60,
            (size, by_page) in prop_oneof![(2u64..9, Just(false)), (7u64..12, Just(true))],
            spoilt: bool,
            going in prop::collection::vec((0usize..70, any::<bool>()), 0..40),
        ) {
            let mut list: Vec<u32> = (0..len).collect();
            let (mut going, mut next) = (going.into_iter(), len);
            let (seen, _) = read(&mut list, size, by_page, spoilt, |list, _| {
                if let Some((at, grow)) = going.next() {
                    if at < list.len() {
                        list.remove(at);
                    }
                    if grow {
                        list.push(next);
                        next += 1;
                    }
                }
            });
            let once: std::collections::BTreeSet<u32> = seen.iter().copied().collect();
            prop_assert_eq!(once.len(), seen.len(), "no row twice");
            // A row that came with the last call may be seen by the next read only.
            for row in list.iter().filter(|row| **row < len) {
                prop_assert!(once.contains(row), "{} of {:?} missed in {:?}", row, list, seen);
            }
        }
    }
}
