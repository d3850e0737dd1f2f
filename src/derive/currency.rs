//! Minor units of currencies and exact conversion (R6, R7).

use connector_sdk::facts::Decimal;

pub use crate::domain::currency::exponent;

use super::exact::Exact;
use super::settings::Settings;

fn power(places: u32) -> Exact {
    Exact::from(10i128.pow(places))
}

/// Major units of an amount in minor units.
pub fn to_major(minor: &Exact, currency: &str) -> Exact {
    minor.over(&power(exponent(currency)))
}

/// An integer amount in minor units as a decimal text in major units (`29900` usd is `299.00`).
pub fn major_text(minor: i64, currency: &str) -> String {
    let places = exponent(currency) as usize;
    if places == 0 {
        return minor.to_string();
    }
    let sign = if minor < 0 { "-" } else { "" };
    let width = places + 1;
    let digits = format!("{:0>width$}", minor.unsigned_abs());
    let (whole, fraction) = digits.split_at(digits.len() - places);
    format!("{sign}{whole}.{fraction}")
}

/// Conversion into the reporting currency.
#[derive(Debug, Clone, Copy)]
pub struct Conversion<'a> {
    settings: &'a Settings,
}

impl<'a> Conversion<'a> {
    /// By the rates of `settings`.
    pub fn new(settings: &'a Settings) -> Self {
        Self { settings }
    }

    /// The reporting currency, in lower case.
    pub fn target(self) -> Option<String> {
        self.settings.reporting_currency.as_deref().map(str::to_ascii_lowercase)
    }

    fn rate(self, currency: &str) -> Option<Decimal> {
        self.settings
            .fx
            .iter()
            .find(|(code, rate)| code.eq_ignore_ascii_case(currency) && !rate.is_zero())
            .map(|(_, rate)| *rate)
    }

    /// Minor units of the reporting currency, exact. `None` without a reporting currency or a rate.
    ///
    /// A rate is the price of one major unit in the reporting currency, so the places of both count:
    /// `minor / 10^e(from) * rate * 10^e(to)`.
    pub fn convert(self, minor: &Exact, currency: &str) -> Option<Exact> {
        let target = self.target()?;
        if target == currency {
            return Some(minor.clone());
        }
        let rate = Exact::from(self.rate(currency)?);
        Some(to_major(minor, currency) * rate * power(exponent(&target)))
    }

    /// Amounts in a unit that they can be ranked by: converted where every one of them can be, else the minor
    /// units as they are written. For choosing between currencies only, never for a figure.
    pub fn comparable<'x>(self, amounts: impl Iterator<Item = (&'x Exact, &'x str)> + Clone) -> Vec<Exact> {
        let converted: Option<Vec<Exact>> =
            amounts.clone().map(|(minor, currency)| self.convert(minor, currency)).collect();
        converted.unwrap_or_else(|| amounts.map(|(minor, _)| minor.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_minor_units() {
        assert_eq!(
            (exponent("usd"), exponent("jpy"), exponent("kwd"), exponent("isk"), exponent("ugx")),
            (2, 0, 3, 2, 2)
        );
        assert_eq!(major_text(29900, "usd"), "299.00");
        assert_eq!(major_text(5, "usd"), "0.05");
        assert_eq!(major_text(-1234, "kwd"), "-1.234");
        assert_eq!(major_text(7500, "jpy"), "7500");
    }

    #[test]
    fn conversion_respects_the_places_of_both_currencies() {
        let settings: Settings = serde_json::from_str(
            r#"{"reporting_currency": "USD", "fx": {"JPY": "0.0065", "kwd": "3.25", "usd": "9"}}"#,
        )
        .unwrap();
        let fx = Conversion::new(&settings);
        assert_eq!(fx.convert(&Exact::from(10_000i64), "jpy").unwrap(), Exact::from(6_500i64));
        assert_eq!(fx.convert(&Exact::from(1_000i64), "kwd").unwrap(), Exact::from(325i64));
        assert_eq!(
            fx.convert(&Exact::from(7i64), "usd").unwrap(),
            Exact::from(7i64),
            "itself is never converted"
        );
        assert_eq!(fx.convert(&Exact::from(7i64), "eur"), None);
        let (a, b) = (Exact::from(10_000i64), Exact::from(7_000i64));
        assert_eq!(
            fx.comparable([(&a, "jpy"), (&b, "usd")].into_iter()),
            [Exact::from(6_500i64), Exact::from(7_000i64)]
        );
        assert_eq!(fx.comparable([(&a, "jpy"), (&b, "eur")].into_iter()), [a.clone(), b.clone()]);
    }
}
