//! Instants as people type them.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use connector_sdk::Timestamp;

/// An instant, or so long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// An instant.
    At(Timestamp),
    /// Before now.
    Ago(TimeDelta),
}

impl When {
    /// The instant that is meant when the span lies ahead.
    pub fn instant_ahead(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(span) => now.checked_add_signed(span).unwrap_or(Timestamp::MAX_UTC),
        }
    }

    /// The instant that is meant.
    pub fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.checked_sub_signed(ago).unwrap_or(Timestamp::MIN_UTC),
        }
    }
}

/// Reads `2026-11-22T10:00:00Z`, `2026-11-22` (its beginning in UTC), or `90s`, `30m`, `24h`, `7d`, `2w` for so long
/// ago.
pub(super) fn when(text: &str) -> Result<When, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(When::At(at.with_timezone(&Utc)));
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(When::At(day.and_time(chrono::NaiveTime::MIN).and_utc()));
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (Ok(n), Some(unit)) = (digits.parse::<u32>(), text.get(digits.len()..)) else {
        return Err(EXPECTED.to_owned());
    };
    let n = i64::from(n);
    let ago = match unit {
        "s" => TimeDelta::try_seconds(n),
        "m" => TimeDelta::try_minutes(n),
        "h" => TimeDelta::try_hours(n),
        "d" => TimeDelta::try_days(n),
        "w" => TimeDelta::try_weeks(n),
        _ => None,
    };
    ago.map(When::Ago).ok_or_else(|| EXPECTED.to_owned())
}

/// Reads `90s`, `30m`, `24h`, `7d`, `2w` as a length of time, in seconds.
pub(super) fn span(text: &str) -> Result<u64, String> {
    match when(text) {
        Ok(When::Ago(span)) => u64::try_from(span.num_seconds()).map_err(|_| EXPECTED_SPAN.to_owned()),
        _ => Err(EXPECTED_SPAN.to_owned()),
    }
}

/// Reads an instant, or a length of time from now on.
pub(super) fn until(text: &str) -> Result<When, String> {
    when(text).map_err(|_| {
        "expected an instant (2027-01-31, 2027-01-31T10:00:00Z) or for how long (24h, 90d)".to_owned()
    })
}

const EXPECTED_SPAN: &str = "expected a length of time (30m, 24h, 7d)";
const EXPECTED: &str =
    "expected an instant (2026-11-22T10:00:00Z, 2026-11-22) or how long ago (30m, 24h, 7d)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_seconds_and_can_lie_ahead() {
        let now = DateTime::parse_from_rfc3339("2026-11-22T12:00:00Z").unwrap().with_timezone(&Utc);
        assert_eq!((span("24h"), span("90s"), span("0s")), (Ok(86_400), Ok(90), Ok(0)));
        assert!(span("2026-11-22").is_err() && span("soon").is_err());
        assert_eq!(until("2d").unwrap().instant_ahead(now).to_rfc3339(), "2026-11-24T12:00:00+00:00");
        assert_eq!(until("2027-01-31").unwrap().instant_ahead(now).to_rfc3339(), "2027-01-31T00:00:00+00:00");
    }

    #[test]
    fn instants_and_spans_are_read() {
        let now = DateTime::parse_from_rfc3339("2026-11-22T12:00:00Z").unwrap().with_timezone(&Utc);
        for (text, expected) in [
            ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00+00:00"),
            ("2026-11-22T10:00:00.5+02:00", "2026-11-22T08:00:00.500+00:00"),
            ("2026-11-20", "2026-11-20T00:00:00+00:00"),
            ("90s", "2026-11-22T11:58:30+00:00"),
            ("24h", "2026-11-21T12:00:00+00:00"),
            ("2w", "2026-11-08T12:00:00+00:00"),
        ] {
            assert_eq!(when(text).unwrap().instant(now).to_rfc3339(), expected, "{text}");
        }
        for bad in ["", "h", "24", "24 h", "-3d", "1y", "yesterday", "2026-13-01", "99999999999d"] {
            assert!(when(bad).is_err(), "{bad}");
        }
    }
}
