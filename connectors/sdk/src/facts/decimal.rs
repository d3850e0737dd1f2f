//! Exact decimal numbers, as providers write prices and percentages.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// An exact decimal number: `mantissa / 10^scale`.
///
/// Always in lowest terms (no trailing zero in the mantissa while the scale is above 0), so that equal
/// numbers are equal values. Written as a JSON string; read from a string or a JSON number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Decimal {
    mantissa: i128,
    scale: u32,
}

/// Text that is not a decimal number of at most 38 significant digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a decimal number of at most 38 significant digits")]
pub struct ParseDecimalError;

/// More decimal places than any price has; keeps `10^scale` inside `i128`.
const MAX_SCALE: u32 = 38;

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self { mantissa: 0, scale: 0 };

    /// `mantissa / 10^scale`, reduced. `None` where the scale is above 38.
    pub fn new(mantissa: i128, scale: u32) -> Option<Self> {
        let (mut mantissa, mut scale) = (mantissa, scale);
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        (scale <= MAX_SCALE).then_some(Self { mantissa, scale })
    }

    /// A JSON number or string, by the digits that stand in the text.
    pub fn from_json(raw: &RawValue) -> Result<Self, ParseDecimalError> {
        let text = raw.get();
        text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(text).parse()
    }

    /// The numerator over `10^scale`.
    pub fn mantissa(self) -> i128 {
        self.mantissa
    }

    /// The number of decimal places.
    pub fn scale(self) -> u32 {
        self.scale
    }

    /// Whether the number is zero.
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }
}

impl From<i64> for Decimal {
    fn from(n: i64) -> Self {
        Self { mantissa: i128::from(n), scale: 0 }
    }
}

impl FromStr for Decimal {
    type Err = ParseDecimalError;

    /// Reads `-12.50`, `0.000000000001`, `1e-7`. Digits are required on at least one side of the point.
    fn from_str(s: &str) -> Result<Self, ParseDecimalError> {
        let (body, exponent) = match s.find(['e', 'E']) {
            Some(at) => (&s[..at], s[at + 1..].parse::<i32>().map_err(|_| ParseDecimalError)?),
            None => (s, 0),
        };
        let (negative, digits) = match body.as_bytes().first() {
            Some(b'-') => (true, &body[1..]),
            Some(b'+') => (false, &body[1..]),
            _ => (false, body),
        };
        let mut mantissa: i128 = 0;
        let mut scale: i32 = 0;
        let mut seen = false;
        let mut after_point = false;
        // Zeros are held back, so that a long tail of them costs no digits of the mantissa.
        let mut zeros: u32 = 0;
        for b in digits.bytes() {
            match b {
                b'0'..=b'9' => {
                    seen = true;
                    if after_point {
                        scale = scale.checked_add(1).ok_or(ParseDecimalError)?;
                    }
                    if b == b'0' {
                        if mantissa != 0 {
                            zeros += 1;
                        }
                        continue;
                    }
                    let shift = 10i128.checked_pow(zeros + 1).ok_or(ParseDecimalError)?;
                    mantissa = mantissa
                        .checked_mul(shift)
                        .and_then(|m| m.checked_add(i128::from(b - b'0')))
                        .ok_or(ParseDecimalError)?;
                    zeros = 0;
                }
                b'.' if !after_point => after_point = true,
                _ => return Err(ParseDecimalError),
            }
        }
        if !seen {
            return Err(ParseDecimalError);
        }
        if mantissa == 0 {
            return Ok(Self::ZERO);
        }
        // value = mantissa * 10^(zeros + exponent - scale)
        let places = i64::from(scale) - i64::from(zeros) - i64::from(exponent);
        if negative {
            mantissa = -mantissa;
        }
        if places <= 0 {
            let up = u32::try_from(-places).map_err(|_| ParseDecimalError)?;
            let factor = 10i128.checked_pow(up).ok_or(ParseDecimalError)?;
            let mantissa = mantissa.checked_mul(factor).ok_or(ParseDecimalError)?;
            return Ok(Self { mantissa, scale: 0 });
        }
        let scale = u32::try_from(places).map_err(|_| ParseDecimalError)?;
        Self::new(mantissa, scale).ok_or(ParseDecimalError)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale == 0 {
            return write!(f, "{}", self.mantissa);
        }
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let width = self.scale as usize + 1;
        let digits = format!("{:0>width$}", self.mantissa.unsigned_abs());
        let (whole, fraction) = digits.split_at(digits.len() - self.scale as usize);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    /// From a string or a whole number, never from a float: a provider's `19.0` goes through
    /// [`Decimal::from_json`], which reads its digits.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Exact)
    }
}

struct Exact;

impl Visitor<'_> for Exact {
    type Value = Decimal;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decimal number in a string, or a whole number")
    }

    fn visit_str<E: de::Error>(self, v: &str) -> Result<Decimal, E> {
        v.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Decimal, E> {
        Ok(Decimal::from(v))
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Decimal, E> {
        Decimal::new(i128::from(v), 0).ok_or_else(|| E::custom(ParseDecimalError))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(s: &str) -> Decimal {
        s.parse().unwrap()
    }

    #[test]
    fn reads_and_prints_without_loss() {
        for (text, printed) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("120000", "120000"),
            ("0.000000000001", "0.000000000001"),
            ("25.50", "25.5"),
            ("-12.05", "-12.05"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e-7", "0.0000001"),
            ("1.5E3", "1500"),
            ("100000000000000000000000000000000000000", "100000000000000000000000000000000000000"),
            ("10.00000000000000000000000000000000000000000000", "10"),
        ] {
            assert_eq!(d(text).to_string(), printed, "{text}");
        }
        assert_eq!(d("2.50"), d("2.5"));
        assert_eq!(d("1e2"), d("100.00"));
    }

    #[test]
    fn refuses_what_is_no_number() {
        for text in ["", "-", ".", "1.2.3", "NaN", "1,5", "0x10", "1e", " 1", "1e999", &"9".repeat(40)] {
            assert!(text.parse::<Decimal>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn json_numbers_are_read_by_their_digits() {
        let raw = |s: &str| Decimal::from_json(&RawValue::from_string(s.to_owned()).unwrap());
        assert_eq!(raw("19.0").unwrap(), d("19"));
        assert_eq!(raw("\"0.1\"").unwrap(), d("0.1"));
        assert_eq!(raw("0.10000000000000000555").unwrap().to_string(), "0.10000000000000000555");
        assert!(raw("true").is_err());
        assert!(serde_json::from_str::<Decimal>("1.5").is_err(), "a float must not slip in");
        assert_eq!(serde_json::from_str::<Decimal>("\"1.5\"").unwrap(), d("1.5"));
    }

    proptest::proptest! {
        #[test]
        fn printing_and_reading_are_inverse(mantissa in proptest::num::i64::ANY, scale in 0u32..18) {
            let x = Decimal::new(i128::from(mantissa), scale).unwrap();
            proptest::prop_assert_eq!(x.to_string().parse::<Decimal>(), Ok(x));
        }
    }
}
