//! Amounts of money as they are printed: `299.00 USD` from 29900 minor units.

use serde::Serialize;
use serde_json::Number;

use crate::domain::currency;

/// An amount in minor units, as the billing tool writes them, and its currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Money {
    /// Minor units: cents for USD, yen for JPY, fils for KWD.
    pub minor: i64,
    /// ISO 4217 code in capitals.
    #[serde(serialize_with = "code_as_text")]
    currency: [u8; 3],
}

fn code_as_text<S: serde::Serializer>(code: &[u8; 3], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&code.map(char::from).iter().collect::<String>())
}

impl Money {
    /// `None` unless `currency` is three ASCII letters, in either case.
    pub fn new(minor: i64, currency: &str) -> Option<Self> {
        let code: [u8; 3] = currency.as_bytes().try_into().ok()?;
        code.iter()
            .all(u8::is_ascii_alphabetic)
            .then(|| Self { minor, currency: code.map(|b| b.to_ascii_uppercase()) })
    }

    /// An amount in major units, converted exactly. `None` where it does not fit: half a yen, a
    /// tenth of a cent, more than an `i64` holds, or no currency code.
    pub fn from_major(major: &Number, currency: &str) -> Option<Self> {
        Self::parse_major(&major.to_string(), currency)
    }

    /// As [`Self::from_major`], from the text of a JSON number: to its last digit, however many there are.
    pub fn parse_major(text: &str, currency: &str) -> Option<Self> {
        let mut money = Self::new(0, currency)?;
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // Zeros at the end of a fraction say nothing, and would not fit.
        let fraction = fraction.trim_end_matches('0');
        let mut digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let decimals = i32::try_from(money.decimals()).ok()?;
        let mut shift = exponent.checked_add(decimals)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        while shift < 0 && digits != 0 {
            if digits % 10 != 0 {
                return None;
            }
            digits /= 10;
            shift += 1;
        }
        while shift > 0 && digits != 0 {
            digits = digits.checked_mul(10)?;
            shift -= 1;
        }
        money.minor = i64::try_from(if negative { -digits } else { digits }).ok()?;
        Some(money)
    }

    /// Reads an amount exactly as [`Display`](std::fmt::Display) writes it (`299.00 USD`), and nothing else.
    pub fn from_text(text: &str) -> Option<Self> {
        let (amount, currency) = text.rsplit_once(' ')?;
        let digits: String = amount.chars().filter(|c| *c != '.').collect();
        let money = Self::new(digits.parse().ok()?, currency)?;
        (money.to_string() == text).then_some(money)
    }

    /// The amount in major units as the shortest JSON number: `299`, `299.5`.
    pub fn major(&self) -> String {
        let text = self.to_string();
        let number = text.rsplit_once(' ').map_or(text.as_str(), |(number, _)| number);
        if number.contains('.') {
            number.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            number.to_owned()
        }
    }

    fn decimals(&self) -> usize {
        std::str::from_utf8(&self.currency).map_or(2, currency::exponent) as usize
    }
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let decimals = self.decimals();
        let unit = 10_u64.pow(decimals as u32);
        let amount = self.minor.unsigned_abs();
        let sign = if self.minor < 0 { "-" } else { "" };
        write!(f, "{sign}{}", amount / unit)?;
        if decimals > 0 {
            write!(f, ".{:0decimals$}", amount % unit)?;
        }
        let [a, b, c] = self.currency.map(char::from);
        write!(f, " {a}{b}{c}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_back_as_written_and_no_other_way() {
        for text in ["299.00 USD", "29900 JPY", "-0.05 EUR", "0.000 KWD"] {
            assert_eq!(Money::from_text(text).map(|m| m.to_string()).as_deref(), Some(text));
        }
        for text in [
            "299 USD",
            "299.0 USD",
            "299.00 usd",
            "+299.00 USD",
            " 299.00 USD",
            "2.9900 USD",
            "USD",
            "",
            "x USD",
        ] {
            assert_eq!(Money::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn printed_with_the_decimals_of_the_currency() {
        for (minor, currency, text) in [
            (29_900, "usd", "299.00 USD"),
            (29_900, "JPY", "29900 JPY"),
            (29_905, "kwd", "29.905 KWD"),
            (-5, "eur", "-0.05 EUR"),
            (0, "isk", "0.00 ISK"),
            (i64::MIN, "usd", "-92233720368547758.08 USD"),
        ] {
            assert_eq!(Money::new(minor, currency).map(|m| m.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Money::new(1, "us"), None);
        assert_eq!(Money::new(1, "u$d"), None);
    }

    #[test]
    fn major_units_convert_exactly_or_not_at_all() {
        let from = |json: &str, currency| {
            Money::from_major(&serde_json::from_str(json).expect("a number"), currency).map(|m| m.minor)
        };
        assert_eq!(from("299", "usd"), Some(29_900));
        assert_eq!(from("299.5", "usd"), Some(29_950));
        assert_eq!(from("-0.07", "usd"), Some(-7));
        assert_eq!(from("299.005", "usd"), None);
        assert_eq!(from("299.0", "jpy"), Some(299));
        assert_eq!(from("0.5", "jpy"), None);
        assert_eq!(from("5.124", "kwd"), Some(5_124));
        assert_eq!(from("1e3", "usd"), Some(100_000));
        assert_eq!(from("1e300", "usd"), None);
        assert_eq!(from("0", "usd"), Some(0));
    }
}
