//! Cron expressions in a time zone: when does this tick next?
//!
//! Five fields (`minute hour day-of-month month day-of-week`) or six (with seconds in front), POSIX weekdays
//! (0 and 7 are Sunday), names (`MON`, `jan`), lists, ranges, steps, and `@hourly`, `@daily`, `@weekly`,
//! `@monthly`, `@yearly`. As POSIX has it, when day-of-month and day-of-week are both restricted a day needs to
//! match only one of them.
//!
//! The `cron` crate walks the calendar, on naive local time; the clock's gaps and overlaps are resolved here:
//!
//! - An expression that names its hours (`30 2 * * *`, `*/5 2 * * *`, `0 2,14 * * *`) means wall-clock times of
//!   the day. Each happens once: a time that a gap leaves out happens at the first instant after the gap (several
//!   such times fall together and tick once), a time that an overlap repeats happens at its first occurrence.
//! - An expression whose hour field begins with `*` means a rhythm. It ticks at every real instant whose local
//!   time matches: none inside a gap, both of a repeated hour.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, MappedLocalTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use connector_sdk::Timestamp;

/// Why an expression or a time zone is refused. Names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Neither five nor six fields.
    #[error("a schedule has five fields (minute hour day month weekday) or six (seconds first), not {found}")]
    FieldCount {
        /// How many there are.
        found: usize,
    },
    /// An unknown `@name`.
    #[error("`{0}` is not one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually")]
    Shorthand(String),
    /// A field that cannot be read.
    #[error("{field}: {reason}")]
    Field {
        /// The field's name (`day of month`).
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Not an IANA time zone.
    #[error("time zone: `{0}` is not an IANA name such as Europe/Berlin or UTC")]
    TimeZone(String),
    /// No date ever matches (30 February).
    #[error("the schedule never fires: no date before 2100 matches `{0}`")]
    Never(String),
}

/// One field of an expression: its name, its bounds, and the names of its values.
struct FieldRule {
    name: &'static str,
    low: u32,
    high: u32,
    /// Names, the first of which stands for `low` (for the months) or 0 (for the weekdays).
    names: &'static [&'static str],
}

const SECOND: FieldRule = FieldRule { name: "second", low: 0, high: 59, names: &[] };
const MINUTE: FieldRule = FieldRule { name: "minute", low: 0, high: 59, names: &[] };
const HOUR: FieldRule = FieldRule { name: "hour", low: 0, high: 23, names: &[] };
const DAY: FieldRule = FieldRule { name: "day of month", low: 1, high: 31, names: &[] };
const MONTH: FieldRule = FieldRule {
    name: "month",
    low: 1,
    high: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
/// 7 is a second name of Sunday, so that `5-7` and `SAT-SUN` are ranges.
const WEEKDAY: FieldRule = FieldRule {
    name: "day of week",
    low: 0,
    high: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
};

/// A field that was read.
struct Field {
    /// The values that match.
    values: BTreeSet<u32>,
    /// Whether it is `*` or `?` alone.
    any: bool,
    /// Whether it begins with `*`.
    star: bool,
}

/// A parsed expression.
#[derive(Debug, Clone)]
pub struct Cron {
    text: String,
    /// Ticks are the union: two schedules when both day fields are restricted, else one.
    schedules: Vec<cron::Schedule>,
    /// Whether the hours are named, so that each wall-clock time happens once a day.
    names_hours: bool,
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let expanded = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other if other.starts_with('@') => return Err(CronError::Shorthand(other.to_owned())),
            other => other,
        };
        let parts: Vec<&str> = expanded.split_whitespace().collect();
        let (second, rest) = match parts.len() {
            5 => ("0", &parts[..]),
            6 => (parts[0], &parts[1..]),
            found => return Err(CronError::FieldCount { found }),
        };
        let second = read_field(&SECOND, second)?;
        let minute = read_field(&MINUTE, rest[0])?;
        let hour = read_field(&HOUR, rest[1])?;
        let day = read_field(&DAY, rest[2])?;
        let month = read_field(&MONTH, rest[3])?;
        let weekday = read_field(&WEEKDAY, rest[4])?;

        let clock =
            format!("{} {} {}", list(&second.values, 0), list(&minute.values, 0), list(&hour.values, 0));
        let days = list(&day.values, 0);
        let months = list(&month.values, 0);
        // The `cron` crate counts weekdays from Sunday = 1.
        let weekdays = list(&weekday.values.iter().map(|value| value % 7).collect(), 1);
        let texts = match (day.any, weekday.any) {
            (_, true) => vec![format!("{clock} {days} {months} *")],
            (true, false) => vec![format!("{clock} * {months} {weekdays}")],
            (false, false) => {
                vec![format!("{clock} {days} {months} *"), format!("{clock} * {months} {weekdays}")]
            }
        };
        let schedules = texts
            .iter()
            .map(|normal| cron::Schedule::from_str(normal))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CronError::Field { field: "expression", reason: error.to_string() })?;
        Ok(Self { text: text.to_owned(), schedules, names_hours: !hour.star })
    }
}

/// Comma list of the values, each plus `shift`.
fn list(values: &BTreeSet<u32>, shift: u32) -> String {
    values.iter().map(|value| (value + shift).to_string()).collect::<Vec<_>>().join(",")
}

fn read_field(rule: &FieldRule, text: &str) -> Result<Field, CronError> {
    let mut values = BTreeSet::new();
    for item in text.split(',') {
        read_item(rule, item, &mut values).map_err(|reason| CronError::Field {
            field: rule.name,
            reason: format!("{reason} in `{text}`"),
        })?;
    }
    let question = matches!(rule.name, "day of month" | "day of week") && text == "?";
    Ok(Field { values, any: text == "*" || question, star: text.starts_with('*') })
}

/// One member of a list: `*`, `n`, `a-b`, each with an optional `/step`.
fn read_item(rule: &FieldRule, item: &str, values: &mut BTreeSet<u32>) -> Result<(), String> {
    let (span, step) = match item.split_once('/') {
        None => (item, None),
        Some((span, step)) => match step.parse::<u32>() {
            Ok(step) if step > 0 && step <= rule.high => (span, Some(step)),
            _ => return Err(format!("the step `{step}` is not a number from 1 to {}", rule.high)),
        },
    };
    // `*` does not reach the second name of Sunday.
    let last = if rule.names.len() == 7 { 6 } else { rule.high };
    let (from, to) = match span.split_once('-') {
        _ if span == "*" => (rule.low, last),
        _ if span == "?" && matches!(rule.name, "day of month" | "day of week") => (rule.low, last),
        Some((from, to)) => {
            let from = read_value(rule, from)?;
            let to = match read_value(rule, to)? {
                // `SAT-SUN`: the Sunday at the end of a range is the one after Saturday.
                0 if rule.names.len() == 7 && from > 0 => 7,
                to => to,
            };
            if from > to {
                return Err(format!("the range `{span}` runs backwards"));
            }
            (from, to)
        }
        None => {
            let value = read_value(rule, span)?;
            // `5/15` means from 5 on.
            (value, if step.is_some() { last.max(value) } else { value })
        }
    };
    values.extend((from..=to).step_by(step.unwrap_or(1) as usize));
    Ok(())
}

fn read_value(rule: &FieldRule, text: &str) -> Result<u32, String> {
    if let Some(position) = rule.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        let base = if rule.names.len() == 12 { 1 } else { 0 };
        return Ok(base + u32::try_from(position).unwrap_or(0));
    }
    let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(value) if digits && (rule.low..=rule.high).contains(&value) => Ok(value),
        _ => Err(format!("`{text}` is not {} to {}", rule.low, rule.high)),
    }
}

impl Cron {
    /// The first tick strictly after `after`.
    ///
    /// # Errors
    /// [`CronError::Never`] when nothing before the year 2100 matches.
    pub fn next_after(&self, zone: Tz, after: Timestamp) -> Result<Timestamp, CronError> {
        let tick =
            if self.names_hours { self.next_named(zone, after) } else { self.next_rhythm(zone, after) };
        tick.ok_or_else(|| CronError::Never(self.text.clone()))
    }

    /// The text that was parsed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Matching local times strictly after `naive`, in order.
    fn matches_after(&self, naive: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> + '_ {
        let mut cursor = naive;
        std::iter::from_fn(move || {
            // The crate sees UTC, where every local time exists exactly once.
            let from = Utc.from_utc_datetime(&cursor);
            let next = self.schedules.iter().filter_map(|schedule| schedule.after(&from).next()).min()?;
            cursor = next.naive_utc();
            Some(cursor)
        })
    }

    /// Named hours: every matching local time happens once. The map from local times to instants never runs
    /// backwards, so the first match whose instant is later than `after` is the answer.
    fn next_named(&self, zone: Tz, after: Timestamp) -> Option<Timestamp> {
        let local = whole_second(after.with_timezone(&zone).naive_local());
        self.matches_after(local)
            .filter_map(|naive| match zone.from_local_datetime(&naive) {
                MappedLocalTime::Single(instant) => Some(instant),
                MappedLocalTime::Ambiguous(first, _) => Some(first),
                MappedLocalTime::None => end_of_gap(zone, naive),
            })
            .map(|instant| instant.with_timezone(&Utc))
            .find(|instant| *instant > after)
    }

    /// A rhythm: every instant whose local time matches.
    fn next_rhythm(&self, zone: Tz, after: Timestamp) -> Option<Timestamp> {
        let here = after.with_timezone(&zone);
        let local = whole_second(here.naive_local());
        let ahead = self.matches_after(local).find_map(|naive| match zone.from_local_datetime(&naive) {
            MappedLocalTime::Single(instant) => Some(instant),
            MappedLocalTime::Ambiguous(first, second) => Some(if first > after { first } else { second }),
            MappedLocalTime::None => None,
        });
        // In the first pass of an overlap, local times that are past will come once more, in the second pass.
        let repeated = self.first_in_second_pass(zone, &here);
        match (ahead, repeated) {
            (Some(ahead), Some(repeated)) => Some(ahead.min(repeated)),
            (ahead, repeated) => ahead.or(repeated),
        }
        .map(|instant| instant.with_timezone(&Utc))
    }

    /// When `here` lies in the first pass of a repeated range: the first tick of the second pass.
    fn first_in_second_pass(&self, zone: Tz, here: &DateTime<Tz>) -> Option<DateTime<Tz>> {
        let MappedLocalTime::Ambiguous(first, second) = zone.from_local_datetime(&here.naive_local()) else {
            return None;
        };
        if *here != first {
            return None;
        }
        let turn = clock_change(zone, first.timestamp(), second.timestamp())?;
        let start = turn.naive_local();
        let naive = self.matches_after(start - TimeDelta::seconds(1)).next()?;
        match zone.from_local_datetime(&naive) {
            MappedLocalTime::Ambiguous(_, second) if second >= turn => Some(second),
            _ => None,
        }
    }
}

fn whole_second(naive: NaiveDateTime) -> NaiveDateTime {
    naive.with_nanosecond(0).unwrap_or(naive)
}

/// The first instant after the gap that swallowed `naive`.
fn end_of_gap(zone: Tz, naive: NaiveDateTime) -> Option<DateTime<Tz>> {
    // No gap is longer than the day that Samoa left out.
    let before = zone.from_utc_datetime(&(naive - TimeDelta::hours(40)));
    let after = zone.from_utc_datetime(&(naive + TimeDelta::hours(40)));
    // Instants at which the local clock shows less, and more, than `naive`: the gap's end lies between them.
    let (mut low, mut high) = (before.timestamp(), after.timestamp());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if at(zone, middle)?.naive_local() < naive {
            low = middle;
        } else {
            high = middle;
        }
    }
    at(zone, high)
}

/// The instant in (`low`, `high`] at which the offset changes, `high` having another offset than `low`.
fn clock_change(zone: Tz, mut low: i64, mut high: i64) -> Option<DateTime<Tz>> {
    let offset = at(zone, low)?.offset().fix();
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if at(zone, middle)?.offset().fix() == offset {
            low = middle;
        } else {
            high = middle;
        }
    }
    at(zone, high)
}

fn at(zone: Tz, seconds: i64) -> Option<DateTime<Tz>> {
    DateTime::from_timestamp(seconds, 0).map(|instant| instant.with_timezone(&zone))
}

/// The IANA zone of this name.
///
/// # Errors
/// [`CronError::TimeZone`].
pub fn time_zone(name: &str) -> Result<Tz, CronError> {
    name.parse().map_err(|_| CronError::TimeZone(name.to_owned()))
}

/// The first tick of `expression` in `zone` strictly after `after`.
///
/// # Errors
/// An expression or zone that cannot be read, or a schedule that never fires.
pub fn next_after(expression: &str, zone: &str, after: Timestamp) -> Result<Timestamp, CronError> {
    expression.parse::<Cron>()?.next_after(time_zone(zone)?, after)
}

#[cfg(test)]
mod tests;
