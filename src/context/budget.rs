//! What is left out when a prompt would be too long: visibly, by priority, whole lines at a time.

use std::fmt::Write as _;

use super::body::Body;

/// A section before it is cut.
pub(crate) struct Draft {
    /// The header line with its marks, without the description.
    pub(crate) name: String,
    /// What the header line goes on with.
    pub(crate) description: String,
    pub(crate) body: Body,
    /// Smaller stays longer. Sections of one priority: the later goes first.
    pub(crate) priority: u8,
}

impl Draft {
    fn lines(&self) -> usize {
        self.body.units.iter().map(|unit| unit.end - unit.start).sum()
    }

    /// Bytes of the section as it would be printed now.
    pub(crate) fn size(&self) -> usize {
        self.name.len() + self.description.len() + self.lines() + note_len(self.body.hidden)
    }

    /// Drops lines until the section has at most `bytes`: claims first, then from the end. `false` if
    /// the header alone is longer.
    pub(crate) fn shrink(&mut self, bytes: usize) -> bool {
        let head = self.name.len() + self.description.len();
        let (mut lines, mut hidden) = (self.lines(), self.body.hidden);
        let mut keep = vec![true; self.body.units.len()];
        for claimed in [true, false] {
            for (at, unit) in self.body.units.iter().enumerate().rev() {
                if head + lines + note_len(hidden) <= bytes {
                    break;
                }
                if unit.claimed == claimed {
                    keep[at] = false;
                    lines -= unit.end - unit.start;
                    hidden += 1;
                }
            }
        }
        if head + lines + note_len(hidden) > bytes {
            return false;
        }
        let mut keep = keep.into_iter();
        self.body.units.retain(|_| keep.next().unwrap_or(true));
        self.body.hidden = hidden;
        true
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.body.cut || self.body.hidden > 0
    }

    pub(crate) fn print(&self) -> String {
        let mut out = String::with_capacity(self.size());
        out.push_str(&self.name);
        out.push_str(&self.description);
        for unit in &self.body.units {
            out.push_str(&self.body.text[unit.start..unit.end]);
        }
        if self.body.hidden > 0 {
            let _ = write!(out, "\n({} more not shown)", self.body.hidden);
        }
        out
    }
}

fn note_len(hidden: usize) -> usize {
    if hidden == 0 { 0 } else { "\n( more not shown)".len() + digits(hidden) }
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// The line that stands for sections which are not printed.
pub(crate) fn dropped_note(count: usize) -> String {
    format!("({count} sections not shown)")
}

/// Below this, a section's share of the budget is of no use to anybody.
const LEAST_SHARE: usize = 64;

/// Fits the sections into `bytes`; answers which are dropped whole, as their former positions.
///
/// Sections that are larger than an equal share of the budget are cut down towards it, the least important
/// first; one that is within its share is never cut for the sake of another. Only where the shares would
/// be uselessly small are sections dropped, again the least important first.
pub(crate) fn fit(drafts: &mut [Draft], bytes: usize) -> Vec<usize> {
    let separators = |count: usize| 2 * count.saturating_sub(1);
    let mut order: Vec<usize> = (0..drafts.len()).collect();
    order.sort_by_key(|&at| (drafts[at].priority, at));
    let mut dropped = Vec::new();
    loop {
        let note = if dropped.is_empty() { 0 } else { 2 + dropped_note(drafts.len()).len() };
        let room = bytes.saturating_sub(separators(order.len()) + note);
        let total: usize = order.iter().map(|&at| drafts[at].size()).sum();
        if total <= room {
            break;
        }
        let Some(&last) = order.last() else { break };
        let share = room / order.len();
        if share < LEAST_SHARE {
            dropped.push(last);
            order.pop();
            continue;
        }
        let mut excess = total - room;
        let mut misfit = None;
        for &at in order.iter().rev() {
            let size = drafts[at].size();
            if excess == 0 || size <= share {
                continue;
            }
            if drafts[at].shrink(share.max(size.saturating_sub(excess))) {
                excess = excess.saturating_sub(size - drafts[at].size());
            } else {
                // Its header alone is longer than its share.
                misfit = Some(at);
                break;
            }
        }
        if let Some(at) = misfit {
            dropped.push(at);
            order.retain(|&other| other != at);
        }
    }
    dropped.sort_unstable();
    dropped
}
