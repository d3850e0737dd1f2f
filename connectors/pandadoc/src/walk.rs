//! From page to page of a list that has no cursor of its own.
//!
//! PandaDoc's list knows page numbers only, and rows move between pages while they are read: one that is deleted
//! pulls all behind it forward, and the row at the border is never seen. So no page number is relied on: the list
//! is ordered by a time, and the next page is the first one of what happened *at or after* the last row seen. Rows
//! of that very instant come again and are known by their ids. Only where more rows than a page holds happened in
//! one instant is the page number all there is; then the instant is gone over until nothing new is found.

use std::collections::BTreeSet;

use connector_sdk::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cursor::instant;

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
    pub(crate) page: std::num::NonZeroU32,
    /// Whether a further page of one instant held a row that an earlier one should have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
}

impl Default for Place {
    fn default() -> Self {
        Self { from: None, seen: BTreeSet::new(), page: std::num::NonZeroU32::MIN, again: false }
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
        let sweeping = self.page.get() > 1;
        if let Some((at, text)) = moved {
            if sweeping && self.leaves_behind(rows, &fresh, from) {
                return self.sweep_again(rows, fresh, from);
            }
            let seen = rows.iter().filter(|row| instant(row.at) == Some(at)).map(|row| row.id.to_owned());
            let next = Self { from: Some(text.to_owned()), seen: seen.collect(), ..Self::default() };
            let more = full || (end == End::NothingNew && !fresh.is_empty());
            return Step { fresh, next: more.then_some(next) };
        }
        if !full && sweeping && self.leaves_behind(rows, &fresh, from) {
            return self.sweep_again(rows, fresh, from);
        }
        if !full && (end == End::ShortPage || fresh.is_empty()) {
            return Step { fresh, next: None };
        }
        if items == 0 {
            return Step { fresh, next: None };
        }
        // All of the page happened in the instant that the last one ended with.
        let mut next = self.clone();
        next.again |= sweeping && !fresh.is_empty();
        next.seen.extend(fresh.iter().filter_map(|n| rows.get(*n)).map(|row| row.id.to_owned()));
        next.page = if full { self.page.saturating_add(1) } else { std::num::NonZeroU32::MIN };
        Step { fresh, next: Some(next) }
    }

    /// Whether the pages of one instant held something new this time, so that they must be gone over once more.
    fn leaves_behind(&self, rows: &[Row<'_>], fresh: &[usize], from: Option<Timestamp>) -> bool {
        let of_instant = |n: &usize| rows.get(*n).is_some_and(|row| instant(row.at) == from);
        self.again || fresh.iter().any(of_instant)
    }

    /// From the first page of the instant again; what happened later is taken when that is done.
    fn sweep_again(&self, rows: &[Row<'_>], mut fresh: Vec<usize>, from: Option<Timestamp>) -> Step {
        fresh.retain(|n| rows.get(*n).is_some_and(|row| instant(row.at) == from));
        let mut next = Self { again: false, page: std::num::NonZeroU32::MIN, ..self.clone() };
        next.seen.extend(fresh.iter().filter_map(|n| rows.get(*n)).map(|row| row.id.to_owned()));
        Step { fresh, next: Some(next) }
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
