//! The figures of all rounds.

use std::collections::BTreeMap;

use crate::common::figures::{Goal, at, load, row, row_under};

/// Figures by what they are, one of each round, with the loads that they were measured under.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) round: usize,
    figures: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Seen {
    /// Prints a figure of this round and keeps it.
    pub(crate) fn note(&mut self, what: &str, value: f64, unit: &str) {
        row(&format!("{}: {what}", self.round), value, unit, Goal::None);
        let load = load().parse().unwrap_or(f64::NAN);
        self.figures.entry(what.to_owned()).or_default().push((value, load));
    }

    fn of(&self, what: &str) -> (Vec<f64>, Vec<f64>) {
        self.figures.get(what).expect("it was measured").iter().copied().unzip()
    }

    /// The median over the rounds, beside the median load.
    pub(crate) fn median(&self, what: &str, unit: &str) {
        let (values, loads) = self.of(what);
        row_under(&shown(loads), what, spread(values).1, unit, Goal::None);
    }

    /// The median over the rounds of how many times the one is the other, each within its round; least and most
    /// beside it.
    pub(crate) fn times(&self, what: &str, ours: &str, theirs: &str, goal: Goal) {
        let ((ours, loads), (theirs, _)) = (self.of(ours), self.of(theirs));
        let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let (least, median, most) = spread(ratios);
        let what = format!("{what} ({least:.2} to {most:.2})");
        row_under(&shown(loads), &what, median, "x", goal);
    }
}

fn shown(loads: Vec<f64>) -> String {
    format!("{:.2}", spread(loads).1)
}

/// The least, the median and the most.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (at(&values, 0.0), at(&values, 0.5), at(&values, 1.0))
}
