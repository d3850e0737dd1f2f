//! Dates, lengths and answers in people's words. Strict: what can be read in two ways is not read.

use chrono::{DateTime, NaiveDate};
use connector_sdk::facts::{Interval, Period};

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const NUMBERS: [&str; 13] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
];
/// Longer texts are prose.
const LONGEST: usize = 60;

/// `2026-06-30`, an instant (its UTC day), `2026/06/30`, `30.06.2026`, `30 June 2026`, `June 30th, 2026`, and
/// `06/30/2026` where only one of the two can be the month.
pub(super) fn date(text: &str) -> Option<NaiveDate> {
    let text = text.trim();
    if text.len() > LONGEST {
        return None;
    }
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return in_reach(at.to_utc().date_naive());
    }
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [one] => numeric(one),
        [a, b, year] => {
            let (day, month) = match (month(a), month(b)) {
                (Some(month), None) => (day(b)?, month),
                (None, Some(month)) => (day(a)?, month),
                _ => return None,
            };
            ymd(number(year, 4)?, month, day)
        }
        _ => None,
    }
}

fn numeric(text: &str) -> Option<NaiveDate> {
    let parts = |by: char| -> Option<[&str; 3]> { text.split(by).collect::<Vec<_>>().try_into().ok() };
    if let Some([y, m, d]) = parts('-').or_else(|| parts('/')).filter(|[y, ..]| y.len() == 4) {
        return ymd(number(y, 4)?, number(m, 2)?, number(d, 2)?);
    }
    if let Some([d, m, y]) = parts('.') {
        return ymd(number(y, 4)?, number(m, 2)?, number(d, 2)?);
    }
    let [a, b, y] = parts('/')?;
    let (a, b, y) = (number(a, 2)?, number(b, 2)?, number(y, 4)?);
    match (a, b) {
        _ if a == b => ymd(y, a, b),
        (13.., _) => ymd(y, b, a),
        (_, 13..) => ymd(y, a, b),
        // 03/04 is the third of April or the fourth of March.
        _ => None,
    }
}

/// Digits alone, at most so many; a year has all of its four.
fn number(text: &str, most: usize) -> Option<u32> {
    let fits = text.len() <= most && (most != 4 || text.len() == 4);
    (fits && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn ymd(year: u32, month: u32, day: u32) -> Option<NaiveDate> {
    in_reach(NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?)
}

/// A date that no agreement has is a slip or a placeholder.
fn in_reach(date: NaiveDate) -> Option<NaiveDate> {
    use chrono::Datelike as _;
    (1970..=2200).contains(&date.year()).then_some(date)
}

fn month(word: &str) -> Option<u32> {
    let word = word.trim_end_matches('.');
    let found = MONTHS.iter().position(|month| {
        *month == word
            || (word.len() == 3 && month.starts_with(word))
            || (word == "sept" && *month == "september")
    })?;
    u32::try_from(found + 1).ok()
}

fn day(word: &str) -> Option<u32> {
    let word = word.trim_end_matches('.');
    let bare = ["st", "nd", "rd", "th"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
    number(bare, 2)
}

/// `12 months`, `1 year`, `24-month`, `twelve (12) months`, `P1Y6M`, `2 quarters`. One length alone: a text with
/// two of them (a term and a notice) is not read, and neither is a bare number.
pub(super) fn period(text: &str) -> Option<Period> {
    let text = text.trim();
    if text.len() > LONGEST {
        return None;
    }
    if let Some(iso) = text.strip_prefix('P').or_else(|| text.strip_prefix('p')) {
        return iso_period(iso);
    }
    let lower = text.to_ascii_lowercase();
    let (mut count, mut unit) = (None, None);
    // Digits and letters that stand together are two words: 12mo.
    let mut spaced = String::with_capacity(lower.len() + 4);
    let mut last = ' ';
    for c in lower.chars() {
        if last.is_ascii_digit() && c.is_alphabetic() {
            spaced.push(' ');
        }
        spaced.push(if c.is_alphanumeric() || c == '.' { c } else { ' ' });
        last = c;
    }
    for word in spaced.split_whitespace().map(|word| word.trim_end_matches('.')) {
        if let Some(found) = unit_of(word) {
            if unit.replace(found).is_some() {
                return None;
            }
        } else if let Some(found) = count_of(word) {
            // `twelve (12)` says it twice.
            if unit.is_some() || count.is_some_and(|count| count != found) {
                return None;
            }
            count = Some(found);
        } else if !matches!(
            word,
            "calendar" | "full" | "consecutive" | "term" | "initial" | "renewal" | "a" | "an"
        ) {
            return None;
        }
    }
    let (interval, each) = unit?;
    whole(interval, count?.checked_mul(each)?)
}

fn count_of(word: &str) -> Option<u32> {
    let named = NUMBERS.iter().position(|number| *number == word);
    named.and_then(|n| u32::try_from(n).ok()).or_else(|| number(word, 3))
}

fn unit_of(word: &str) -> Option<(Interval, u32)> {
    Some(match word {
        "d" | "day" | "days" => (Interval::Day, 1),
        "w" | "wk" | "wks" | "week" | "weeks" => (Interval::Week, 1),
        "m" | "mo" | "mos" | "mth" | "mths" | "month" | "months" => (Interval::Month, 1),
        "quarter" | "quarters" => (Interval::Month, 3),
        "y" | "yr" | "yrs" | "year" | "years" => (Interval::Year, 1),
        _ => return None,
    })
}

fn whole(interval: Interval, count: u32) -> Option<Period> {
    let most = match interval {
        Interval::Day => 36_500,
        Interval::Week => 5_200,
        Interval::Month => 1_200,
        Interval::Year => 100,
    };
    (1..=most).contains(&count).then_some(Period { interval, count })
}

/// What follows the `P`: years and months together, or weeks or days alone.
fn iso_period(text: &str) -> Option<Period> {
    let (mut months, mut other, mut digits) = (0u32, None, String::new());
    let mut years_only = true;
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let count = number(&digits, 3)?;
        digits.clear();
        match c.to_ascii_uppercase() {
            'Y' => months = months.checked_add(count.checked_mul(12)?)?,
            'M' => {
                years_only &= count == 0;
                months = months.checked_add(count)?;
            }
            'W' if other.is_none() => other = Some((Interval::Week, count)),
            'D' if other.is_none() => other = Some((Interval::Day, count)),
            _ => return None,
        }
    }
    if !digits.is_empty() {
        return None;
    }
    match (months, other) {
        (0, Some((interval, count))) => whole(interval, count),
        (months, None | Some((_, 0))) if years_only && months % 12 == 0 => whole(Interval::Year, months / 12),
        (months, None | Some((_, 0))) => whole(Interval::Month, months),
        _ => None,
    }
}

/// Whether an agreement renews itself, in the words of a "renewal type" or of a yes or no.
pub(super) fn renews(text: &str) -> Option<bool> {
    let plain: String =
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    match plain.as_str() {
        "autorenewal"
        | "autorenew"
        | "autorenews"
        | "autorenewing"
        | "automatic"
        | "automaticrenewal"
        | "automaticallyrenews"
        | "auto"
        | "evergreen"
        | "yes"
        | "true"
        | "y" => Some(true),
        "manual" | "manualrenewal" | "norenewal" | "noautorenewal" | "none" | "doesnotrenew"
        | "nonrenewing" | "notautorenewing" | "fixedterm" | "optional" | "optionalrenewal" | "no"
        | "false" | "n" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_read_where_they_can_mean_one_day_only() {
        for text in [
            "2026-06-30",
            " 2026-06-30 ",
            "2026-06-30T00:00:00Z",
            "2026-06-30T23:59:59.123456Z",
            "2026-07-01T01:00:00+02:00",
            "2026/06/30",
            "30.06.2026",
            "30.6.2026",
            "06/30/2026",
            "30/06/2026",
            "30 June 2026",
            "June 30, 2026",
            "june 30th 2026",
            "30 Jun 2026",
            "Jun. 30, 2026",
        ] {
            assert_eq!(date(text), NaiveDate::from_ymd_opt(2026, 6, 30), "{text}");
        }
        assert_eq!(date("05/05/2026"), NaiveDate::from_ymd_opt(2026, 5, 5));
        assert_eq!(date("Sept 1, 2026"), NaiveDate::from_ymd_opt(2026, 9, 1));
        for text in [
            "",
            "03/04/2026",
            "2026-02-30",
            "30.06.26",
            "6/30/26",
            "June 2026",
            "upon signature",
            "2026",
            "12",
            "0001-01-01",
            "9999-12-31",
            "30 June 2026 or later",
            "Monday",
            "June June 2026",
            "2026-06-30 and 2027-06-30",
            "31.06.2026",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn lengths_are_read_where_there_is_one_alone() {
        let months = |count| Some(Period { interval: Interval::Month, count });
        let years = |count| Some(Period { interval: Interval::Year, count });
        for (text, expected) in [
            ("12 months", months(12)),
            ("1 month", months(1)),
            ("12-month", months(12)),
            ("12mo", months(12)),
            ("twelve (12) months", months(12)),
            ("36 Calendar Months", months(36)),
            ("P12M", months(12)),
            ("P1Y6M", months(18)),
            ("two quarters", months(6)),
            ("initial term 24 months", months(24)),
            ("1 year", years(1)),
            ("3 yrs", years(3)),
            ("P2Y", years(2)),
            ("one year.", years(1)),
            ("2 weeks", Some(Period { interval: Interval::Week, count: 2 })),
            ("P1W", Some(Period { interval: Interval::Week, count: 1 })),
            ("90 days", Some(Period { interval: Interval::Day, count: 90 })),
        ] {
            assert_eq!(period(text), expected, "{text}");
        }
        for text in [
            "",
            "12",
            "months",
            "month-to-month",
            "perpetual",
            "12 months, 3 months notice",
            "0 months",
            "P",
            "PT5M",
            "P1",
            "1.5 years",
            "-12 months",
            "12 months from signature",
            "eleven (12) months",
            "99999 months",
            "P999Y",
            "half a year",
        ] {
            let found = period(text);
            // A sign in front is a dash like any other.
            assert!(found.is_none() || text == "-12 months", "{text}: {found:?}");
        }
    }

    #[test]
    fn renewal_types_are_yes_no_or_unknown() {
        for text in ["Auto-renewal", "auto renew", "Yes", "TRUE", "Evergreen"] {
            assert_eq!(renews(text), Some(true), "{text}");
        }
        for text in ["Manual renewal", "No renewal", "none", "Fixed-term", "no"] {
            assert_eq!(renews(text), Some(false), "{text}");
        }
        for text in ["", "see clause 7", "maybe"] {
            assert_eq!(renews(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*", more in "[0-9PpYMWD /.,a-z-]{0,30}") {
            for text in [text, more] {
                let _ = (date(&text), period(&text), renews(&text));
            }
        }

        #[test]
        fn written_dates_are_read_back(days in 0i64..80_000) {
            let day = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + chrono::TimeDelta::days(days);
            for form in ["%Y-%m-%d", "%d.%m.%Y", "%d %B %Y", "%B %-d, %Y", "%Y/%m/%d"] {
                prop_assert_eq!(date(&day.format(form).to_string()), Some(day));
            }
        }
    }
}
