//! Calendar arithmetic: months between dates, terms in words (R9).

use chrono::{Datelike, Days, Months, NaiveDate};
use connector_sdk::facts::{Interval, Period};

use super::amount::months;
use super::exact::Exact;

/// How long an agreement runs, or how often it is paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    /// Whole months, where the length is a number of them.
    pub(super) months: Option<u32>,
    /// The enum's word, where there is one.
    pub(super) word: Option<&'static str>,
    /// Months to compare by: of the word for lengths in weeks and days, where they have one.
    pub(super) length: Exact,
}

/// The terms that have a word. `bi_annual` stands for half a year and for two years; the months tell.
const WORDS: [(u32, &str); 5] =
    [(1, "monthly"), (3, "quarterly"), (6, "bi_annual"), (12, "annual"), (24, "bi_annual")];

impl Term {
    /// A term of whole months; a part of a month counts as monthly.
    pub(super) fn of_months(n: u32) -> Self {
        let word =
            if n <= 1 { Some("monthly") } else { WORDS.iter().find(|(m, _)| *m == n).map(|(_, w)| *w) };
        Self { months: Some(n), word, length: Exact::from(i64::from(n)) }
    }

    /// The term of an interval.
    ///
    /// Weeks and days have no whole months. Their word is the nearest one by 52/12 and 365/12 when it is within a
    /// tenth; shorter ones are monthly, others have none.
    pub(super) fn of_period(every: Period) -> Self {
        if let Some(n) = every.months() {
            return Self::of_months(n);
        }
        let exact = months(every);
        // Five weeks are a month too far for a tenth, and called monthly all the same.
        let five_weeks = every == Period { interval: Interval::Week, count: 5 };
        let shorter = exact < Exact::ratio(9, 10);
        let near = WORDS.iter().find(|(n, _)| {
            let n = Exact::from(i64::from(*n));
            let distance = if exact > n { &exact - &n } else { &n - &exact };
            distance <= &n * &Exact::ratio(1, 10)
        });
        match near {
            _ if shorter || five_weeks => {
                Self { months: None, word: Some("monthly"), length: exact.min(Exact::from(1i64)) }
            }
            Some((n, word)) => Self { months: None, word: Some(word), length: Exact::from(i64::from(*n)) },
            None => Self { months: None, word: None, length: exact },
        }
    }

    /// Whether the term makes a contract: three months or more.
    pub(super) fn is_contract(&self) -> bool {
        self.length >= Exact::from(3i64)
    }
}

/// `date` plus a number of months; the end of a month clamps.
pub(super) fn add_months(date: NaiveDate, n: u32) -> Option<NaiveDate> {
    date.checked_add_months(Months::new(n))
}

/// `date` plus `n` periods.
pub(super) fn add(date: NaiveDate, every: Period, n: u32) -> Option<NaiveDate> {
    let count = every.count.checked_mul(n)?;
    match every.interval {
        Interval::Day => date.checked_add_days(Days::new(u64::from(count))),
        Interval::Week => date.checked_add_days(Days::new(u64::from(count) * 7)),
        Interval::Month => add_months(date, count),
        Interval::Year => add_months(date, count.checked_mul(12)?),
    }
}

/// Whole months from `start` to `end`. `end` may be the day after the last one or the last one itself: from
/// 1 July to 30 June and from 1 July to 1 July are both 12.
pub(super) fn months_between(start: NaiveDate, end: NaiveDate) -> u32 {
    let Some(after) = end.succ_opt() else { return 0 };
    let apart = (after.year() - start.year()) * 12 + after.month() as i32 - start.month() as i32;
    let mut n = u32::try_from(apart).unwrap_or(0);
    // The month of `after` is reached, its day perhaps not.
    while n > 0 && add_months(start, n).is_none_or(|reached| reached > after) {
        n -= 1;
    }
    n
}

/// The term between two dates, in whole months.
pub(super) fn between(start: NaiveDate, end: NaiveDate) -> Term {
    Term::of_months(months_between(start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(s: &str) -> NaiveDate {
        s.parse().unwrap()
    }

    #[test]
    fn months_from_first_to_last_day() {
        for (start, end, n) in [
            ("2025-07-01", "2026-06-30", 12),
            ("2025-07-01", "2026-07-01", 12),
            ("2025-07-01", "2026-06-29", 11),
            ("2026-01-31", "2026-02-28", 1),
            ("2026-01-31", "2026-02-27", 1),
            ("2026-01-31", "2026-02-26", 0),
            ("2024-02-29", "2025-02-28", 12),
            ("2026-01-01", "2026-01-15", 0),
            ("2026-01-15", "2026-01-01", 0),
            ("2025-12-15", "2026-03-20", 3),
        ] {
            assert_eq!(months_between(d(start), d(end)), n, "{start} {end}");
        }
    }

    #[test]
    fn words() {
        let word = |interval, count| {
            let t = Term::of_period(Period { interval, count });
            (t.word, t.months)
        };
        assert_eq!(word(Interval::Month, 1), (Some("monthly"), Some(1)));
        assert_eq!(word(Interval::Month, 3), (Some("quarterly"), Some(3)));
        assert_eq!(word(Interval::Month, 4), (None, Some(4)));
        assert_eq!(word(Interval::Month, 6), (Some("bi_annual"), Some(6)));
        assert_eq!(word(Interval::Year, 1), (Some("annual"), Some(12)));
        assert_eq!(word(Interval::Year, 2), (Some("bi_annual"), Some(24)));
        assert_eq!(word(Interval::Year, 3), (None, Some(36)));
        for (interval, count, expected) in [
            (Interval::Day, 1, Some("monthly")),
            (Interval::Day, 30, Some("monthly")),
            (Interval::Day, 31, Some("monthly")),
            (Interval::Day, 45, None),
            (Interval::Day, 90, Some("quarterly")),
            (Interval::Day, 365, Some("annual")),
            (Interval::Week, 2, Some("monthly")),
            (Interval::Week, 4, Some("monthly")),
            (Interval::Week, 5, Some("monthly")),
            (Interval::Week, 8, None),
            (Interval::Week, 13, Some("quarterly")),
            (Interval::Week, 26, Some("bi_annual")),
            (Interval::Week, 52, Some("annual")),
        ] {
            assert_eq!(word(interval, count), (expected, None), "{count} {interval:?}");
        }
        assert!(Term::of_period(Period { interval: Interval::Day, count: 90 }).is_contract());
        assert!(!Term::of_period(Period { interval: Interval::Week, count: 8 }).is_contract());
    }
}
