//! From page to page of a list that has no cursor of its own.
//!
//! PandaDoc's list knows page numbers only, and rows move between pages while they are read: one that is deleted
//! pulls all behind it forward, and the row at the border is never seen. So no page number is relied on: the list
//! is ordered by a time, and the next page is the first one of what happened *at or after* the last row seen. Rows
//! of that very instant come again and are known by their ids. Only where more rows than a page holds happened in
//! one instant is the page number all there is; then the instant is gone over until two goings over in a row show the
//! same rows: a row that one of them missed was pulled forward by a deletion, and the deleted row, which that one
//! still showed, is not shown by the next.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use chrono::TimeDelta;
use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cursor::{instant, stamp};

/// Goings over of one instant before it is left, come what may: the rows may have an order that changes by itself.
const MOST_SWEEPS: u8 = 8;

/// Where the walk stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// The time of the last row seen, as PandaDoc wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// The rows of that time that were given.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    seen: BTreeSet<String>,
    /// The page of what happened at or after `from`.
    pub(crate) page: NonZeroU32,
    /// Of an instant with more rows than a page holds: those that this going over has shown.
    #[serde(default, skip_serializing_if = "Rows::is_none")]
    rows: Rows,
    /// Those that the going over before it showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Rows>,
    #[serde(default, skip_serializing_if = "is_zero")]
    sweeps: u8,
}

/// A set of rows, told from others by a sum over their ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    n: u32,
    sum: u64,
}

impl Rows {
    fn is_none(&self) -> bool {
        self.n == 0
    }

    fn and(self, id: &str) -> Self {
        // FNV-1a; added up, so that the order does not matter.
        let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { n: self.n.saturating_add(1), sum: self.sum.wrapping_add(hash) }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(n: &u8) -> bool {
    *n == 0
}

impl Default for Place {
    fn default() -> Self {
        Self {
            from: None,
            seen: BTreeSet::new(),
            page: NonZeroU32::MIN,
            rows: Rows::default(),
            before: None,
            sweeps: 0,
        }
    }
}

/// A row of a list: its id and the time it is ordered by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) id: &'a str,
    pub(crate) at: &'a str,
}

/// What one page comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Which of the rows are new, by their place on the page.
    pub(crate) fresh: Vec<usize>,
    /// Where the next page is; `None` at the end.
    pub(crate) next: Option<Place>,
}

/// How the end of a list is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A page that is not full is the last one.
    ShortPage,
    /// Nothing new came: costs one more call, for passes that decide what is gone.
    NothingNew,
}

impl Place {
    /// Takes the rows of a page. `items` is how many items the page held, readable or not, `count` how many were
    /// asked for.
    pub(crate) fn step(&self, rows: &[Row<'_>], items: usize, count: usize, end: End) -> Step {
        let full = items >= count;
        let from = self.from.as_deref().and_then(instant);
        let mut fresh = Vec::new();
        let mut last: Option<(Timestamp, &str)> = None;
        for (n, row) in rows.iter().enumerate() {
            // A row without a readable time can be given, and is no place to go on from.
            let at = instant(row.at);
            if let Some(at) = at
                && last.is_none_or(|(latest, _)| at >= latest)
            {
                last = Some((at, row.at));
            }
            let before = match (at, from) {
                (Some(at), Some(from)) => at < from,
                _ => false,
            };
            if !before && !self.seen.contains(row.id) {
                fresh.push(n);
            }
        }
        let moved = last.filter(|(at, _)| from.is_none_or(|from| *at > from));
        let of_instant = |row: &Row<'_>| instant(row.at) == from;
        let shown = rows.iter().filter(|row| of_instant(row)).fold(self.rows, |shown, row| shown.and(row.id));
        let sweeping = self.page.get() > 1;
        if sweeping && (moved.is_some() || !full) {
            // What happened later is taken when this instant is done, from a first page: a row of a further page
            // may have been pulled into the one before.
            fresh.retain(|n| rows.get(*n).is_some_and(of_instant));
            let settled = self.before == Some(shown) || self.sweeps >= MOST_SWEEPS;
            let next = match (settled, from) {
                (false, _) => Some(Self {
                    page: NonZeroU32::MIN,
                    rows: Rows::default(),
                    before: Some(shown),
                    sweeps: self.sweeps + 1,
                    ..self.seen_too(rows, &fresh)
                }),
                // PandaDoc's times have microseconds.
                (true, Some(from)) => {
                    let after = stamp(from + TimeDelta::microseconds(1));
                    Some(Self { from: Some(after), ..Self::default() })
                }
                (true, None) => None,
            };
            return Step { fresh, next };
        }
        if let Some((at, text)) = moved {
            let seen = rows.iter().filter(|row| instant(row.at) == Some(at)).map(|row| row.id.to_owned());
            let next = Self { from: Some(text.to_owned()), seen: seen.collect(), ..Self::default() };
            let more = full || (end == End::NothingNew && !fresh.is_empty());
            return Step { fresh, next: more.then_some(next) };
        }
        if full {
            // All of the page happened in the instant that the last one ended with.
            let next = Self { page: self.page.saturating_add(1), rows: shown, ..self.seen_too(rows, &fresh) };
            return Step { fresh, next: Some(next) };
        }
        let more = end == End::NothingNew && !fresh.is_empty();
        let next = more.then(|| self.seen_too(rows, &fresh));
        Step { fresh, next }
    }

    fn seen_too(&self, rows: &[Row<'_>], fresh: &[usize]) -> Self {
        let mut next = self.clone();
        next.seen.extend(fresh.iter().filter_map(|n| rows.get(*n)).map(|row| row.id.to_owned()));
        next
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
