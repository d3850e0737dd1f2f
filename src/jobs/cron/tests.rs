//! Worked dates, and the comparison with an independent implementation.

use chrono::{NaiveDate, NaiveTime};
use proptest::prelude::*;

use super::*;

fn utc(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next `count` ticks as local time with offset.
fn ticks(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let cron: Cron = expression.parse().unwrap();
    let zone = time_zone(zone).unwrap();
    let mut now = utc(after);
    (0..count)
        .map(|_| {
            now = cron.next_after(zone, now).unwrap();
            now.with_timezone(&zone).format("%m-%d %H:%M:%S%:z").to_string()
        })
        .collect()
}

#[test]
fn five_and_six_fields() {
    assert_eq!(
        ticks("*/20 * * * *", "UTC", "2026-01-01T00:00:00Z", 3),
        ["01-01 00:20:00+00:00", "01-01 00:40:00+00:00", "01-01 01:00:00+00:00"]
    );
    assert_eq!(
        ticks("*/30 0 0 * * *", "UTC", "2026-01-01T00:00:00Z", 2),
        ["01-01 00:00:30+00:00", "01-02 00:00:00+00:00"]
    );
    assert_eq!(ticks("@monthly", "UTC", "2026-01-01T00:00:00Z", 1), ["02-01 00:00:00+00:00"]);
}

#[test]
fn weekdays_are_posix() {
    // 2026-01-01 is a Thursday.
    let expected = ["01-01", "01-02", "01-05", "01-06", "01-07", "01-08"];
    for expression in ["0 9 * * 1-5", "0 9 * * MON-fri", "0 9 * * 1,2,3,4,5"] {
        let days: Vec<String> = ticks(expression, "UTC", "2026-01-01T00:00:00Z", 6);
        assert!(days.iter().zip(expected).all(|(tick, day)| tick.starts_with(day)), "{expression}: {days:?}");
    }
    for expression in ["0 0 * * 0", "0 0 * * 7", "0 0 * * SUN"] {
        assert_eq!(ticks(expression, "UTC", "2026-01-01T00:00:00Z", 1), ["01-04 00:00:00+00:00"]);
    }
    for expression in ["0 0 * * SAT-SUN", "0 0 * * 6-7", "0 0 * * 6,0"] {
        let days = ticks(expression, "UTC", "2026-01-01T00:00:00Z", 3);
        assert_eq!(days, ["01-03 00:00:00+00:00", "01-04 00:00:00+00:00", "01-10 00:00:00+00:00"]);
    }
}

#[test]
fn a_day_matches_either_restricted_day_field() {
    // The 13th, and Fridays.
    let days = ticks("0 0 13 * 5", "UTC", "2026-01-01T00:00:00Z", 4);
    assert_eq!(
        days,
        ["01-02 00:00:00+00:00", "01-09 00:00:00+00:00", "01-13 00:00:00+00:00", "01-16 00:00:00+00:00"]
    );
}

#[test]
fn a_daily_job_runs_once_on_the_days_of_the_clock_change() {
    // Berlin 2026: 29 March 02:00 -> 03:00, 25 October 03:00 -> 02:00.
    assert_eq!(
        ticks("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3),
        ["03-28 02:30:00+01:00", "03-29 03:00:00+02:00", "03-30 02:30:00+02:00"]
    );
    assert_eq!(
        ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["10-25 02:30:00+02:00", "10-26 02:30:00+01:00"]
    );
    // From inside the second pass of the repeated hour.
    assert_eq!(ticks("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1), ["10-26 02:30:00+01:00"]);
}

#[test]
fn several_named_times_in_a_gap_fall_together() {
    assert_eq!(
        ticks("*/15 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 3),
        ["03-29 03:00:00+02:00", "03-30 02:00:00+02:00", "03-30 02:15:00+02:00"]
    );
    assert_eq!(
        ticks("30 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["03-29 03:00:00+02:00", "03-29 03:30:00+02:00"]
    );
}

#[test]
fn a_rhythm_follows_real_time() {
    assert_eq!(
        ticks("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 4),
        ["10-25 02:00:00+02:00", "10-25 02:00:00+01:00", "10-25 03:00:00+01:00", "10-25 04:00:00+01:00"]
    );
    assert_eq!(
        ticks("0 * * * *", "Europe/Berlin", "2026-03-28T23:30:00Z", 3),
        ["03-29 01:00:00+01:00", "03-29 03:00:00+02:00", "03-29 04:00:00+02:00"]
    );
    // From a first-pass instant whose matching local time is already past: it comes again in the second pass.
    assert_eq!(ticks("0 * * * *", "Europe/Berlin", "2026-10-25T00:40:00Z", 1), ["10-25 02:00:00+01:00"]);
}

#[test]
fn a_gap_of_half_an_hour_and_one_at_midnight() {
    // Lord Howe moves by half an hour: 4 October 2026, 02:00 -> 02:30.
    assert_eq!(
        ticks("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2),
        ["10-04 02:30:00+11:00", "10-05 02:15:00+11:00"]
    );
    // Beirut 2026: 29 March 00:00 -> 01:00.
    assert_eq!(
        ticks("0 0 * * *", "Asia/Beirut", "2026-03-28T00:00:00Z", 2),
        ["03-29 01:00:00+03:00", "03-30 00:00:00+03:00"]
    );
    // Samoa left out 30 December 2011.
    assert_eq!(
        ticks("0 12 * * *", "Pacific/Apia", "2011-12-29T23:00:00Z", 2),
        ["12-31 00:00:00+14:00", "12-31 12:00:00+14:00"]
    );
}

#[test]
fn errors_name_the_field() {
    let cases = [
        ("61 * * * *", "minute: `61` is not 0 to 59 in `61`"),
        ("0 24 * * *", "hour: `24` is not 0 to 23 in `24`"),
        ("0 0 0 * *", "day of month: `0` is not 1 to 31 in `0`"),
        ("0 0 1 13 *", "month: `13` is not 1 to 12 in `13`"),
        ("0 0 * * 8", "day of week: `8` is not 0 to 7 in `8`"),
        ("0 0 * * mo", "day of week: `mo` is not 0 to 7 in `mo`"),
        ("99 0 0 * * *", "second: `99` is not 0 to 59 in `99`"),
        ("0 10-8 * * *", "hour: the range `10-8` runs backwards in `10-8`"),
        ("*/0 * * * *", "minute: the step `0` is not a number from 1 to 59 in `*/0`"),
        ("1,,2 * * * *", "minute: `` is not 0 to 59 in `1,,2`"),
        ("+5 * * * *", "minute: `+5` is not 0 to 59 in `+5`"),
        ("* * *", "a schedule has five fields (minute hour day month weekday) or six (seconds first), not 3"),
        (
            "@often",
            "`@often` is not one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually",
        ),
    ];
    for (expression, message) in cases {
        assert_eq!(expression.parse::<Cron>().unwrap_err().to_string(), message);
    }
    let never = next_after("0 0 30 2 *", "UTC", utc("2026-01-01T00:00:00Z"));
    assert_eq!(never, Err(CronError::Never("0 0 30 2 *".to_owned())));
    let zone = next_after("0 0 * * *", "Berlin", utc("2026-01-01T00:00:00Z"));
    assert_eq!(zone, Err(CronError::TimeZone("Berlin".to_owned())));
}

const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Asia/Kolkata",
    "Asia/Beirut",
    "Pacific/Chatham",
    "America/Havana",
];

fn one_of(low: u32, high: u32) -> impl Strategy<Value = String> {
    (low..=high).prop_map(|value| value.to_string())
}

/// `*`, a value, a list, a range, a step.
fn any_field(low: u32, high: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("*".to_owned()),
        3 => one_of(low, high),
        1 => (low..=high, low..=high).prop_map(|(a, b)| format!("{},{}", a.min(b), a.max(b))),
        1 => (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (2..=high.min(20)).prop_map(|step| format!("*/{step}")),
        1 => (low..=high, low..=high, 2u32..=5).prop_map(|(a, b, n)| format!("{}-{}/{n}", a.min(b), a.max(b))),
    ]
}

fn days() -> impl Strategy<Value = String> {
    (
        prop_oneof![4 => Just("*".to_owned()), 2 => any_field(1, 28)],
        prop_oneof![6 => Just("*".to_owned()), 1 => any_field(1, 12)],
        prop_oneof![4 => Just("*".to_owned()), 2 => any_field(0, 7)],
    )
        .prop_map(|(day, month, weekday)| format!("{day} {month} {weekday}"))
}

/// Instants near the clock changes of 2024 to 2031, and anywhere.
fn instants() -> impl Strategy<Value = Timestamp> {
    let near = (
        2024i32..2031,
        prop_oneof![Just((3, 8)), Just((3, 29)), Just((4, 5)), Just((10, 4)), Just((10, 25)), Just((11, 1))],
        -200_000i64..400_000,
    )
        .prop_map(|(year, (month, day), shift)| {
            NaiveDate::from_ymd_opt(year, month, day).unwrap().and_time(NaiveTime::MIN).and_utc()
                + TimeDelta::seconds(shift)
        });
    let anywhere = (1_704_067_200i64..1_925_000_000).prop_map(|s| DateTime::from_timestamp(s, 0).unwrap());
    prop_oneof![3 => near, 1 => anywhere]
}

fn theirs(expression: &str, zone: Tz, after: Timestamp, count: usize) -> Vec<Timestamp> {
    let parser = croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Optional).build();
    let cron = parser.parse(expression).unwrap();
    cron.iter_after(after.with_timezone(&zone)).take(count).map(|tick| tick.with_timezone(&Utc)).collect()
}

fn ours(expression: &str, zone: Tz, after: Timestamp, count: usize) -> Vec<Timestamp> {
    let cron: Cron = expression.parse().unwrap();
    let mut now = after;
    (0..count)
        .map(|_| {
            now = cron.next_after(zone, now).unwrap();
            now
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Single times of day: both implementations tick once a day, after a gap, and before an overlap.
    #[test]
    fn agrees_on_fixed_times(
        (second, minute, hour) in (0u32..60, 0u32..60, prop_oneof![2 => 0u32..4, 1 => 0u32..24]),
        six in any::<bool>(),
        days in days(),
        zone in proptest::sample::select(&ZONES[..]),
        after in instants(),
    ) {
        let expression = if six { format!("{second} {minute} {hour} {days}") } else { format!("{minute} {hour} {days}") };
        let zone: Tz = zone.parse().unwrap();
        prop_assert_eq!(ours(&expression, zone, after, 4), theirs(&expression, zone, after, 4), "{} {}", expression, zone);
    }

    /// Rhythms: every hour or every n-th, with any minutes.
    #[test]
    fn agrees_on_rhythms(
        minute in any_field(0, 59),
        hour in prop_oneof![3 => Just("*".to_owned()), 1 => (2u32..12).prop_map(|n| format!("*/{n}"))],
        days in days(),
        zone in proptest::sample::select(&ZONES[..]),
        after in instants(),
    ) {
        let expression = format!("{minute} {hour} {days}");
        let zone: Tz = zone.parse().unwrap();
        prop_assert_eq!(ours(&expression, zone, after, 6), theirs(&expression, zone, after, 6), "{} {}", expression, zone);
    }

    /// Where the clock never changes, everything agrees.
    #[test]
    fn agrees_on_everything_where_the_clock_stands(
        clock in (any_field(0, 59), any_field(0, 59), any_field(0, 23)),
        days in days(),
        zone in proptest::sample::select(vec!["UTC", "Asia/Kolkata", "Asia/Tokyo"]),
        after in instants(),
    ) {
        let expression = format!("{} {} {} {days}", clock.0, clock.1, clock.2);
        let zone: Tz = zone.parse().unwrap();
        prop_assert_eq!(ours(&expression, zone, after, 4), theirs(&expression, zone, after, 4), "{} {}", expression, zone);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Named hours of any shape: by definition each matching wall time of the day happens once.
    #[test]
    fn named_hours_follow_the_definition(
        minute in any_field(0, 59),
        hour in (0u32..24, 0u32..24).prop_map(|(a, b)| format!("{},{}", a.min(b), a.max(b))),
        zone in proptest::sample::select(&ZONES[..]),
        after in instants(),
    ) {
        let expression = format!("{minute} {hour} * * *");
        let zone: Tz = zone.parse().unwrap();
        let wall = ours(&expression, chrono_tz::UTC, after - TimeDelta::days(2), 400)
            .into_iter()
            .map(|tick| tick.naive_utc());
        let expected = wall
            .map(|naive| {
                // The first instant at which the local clock shows this time or more, by minutes of real time.
                let mut instant = naive.and_utc() - TimeDelta::hours(15);
                while instant.with_timezone(&zone).naive_local() < naive {
                    instant += TimeDelta::minutes(1);
                }
                instant
            })
            .find(|instant| *instant > after);
        if let Some(expected) = expected {
            prop_assert_eq!(ours(&expression, zone, after, 1)[0], expected, "{} {}", expression, zone);
        }
    }
}
