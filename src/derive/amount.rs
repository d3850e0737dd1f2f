//! What one subscription item costs each period (R2).

use connector_sdk::facts::{
    Amounts, Interval, Period, Price, PriceKind, Rounding, Scheme, SubscriptionItem, TaxBehavior, Tier,
    TiersMode, Usage,
};

use super::book::Book;
use super::exact::Exact;
use super::inputs::Source;

/// Periods in a month: year 1/12n, month 1/n, week 52/12n, day 365/12n.
pub(super) fn per_month(every: Period) -> Exact {
    let n = i128::from(every.count.max(1));
    match every.interval {
        Interval::Year => Exact::ratio(1, 12 * n),
        Interval::Month => Exact::ratio(1, n),
        Interval::Week => Exact::ratio(WEEKS_IN_A_YEAR, 12 * n),
        Interval::Day => Exact::ratio(DAYS_IN_A_YEAR, 12 * n),
    }
}

/// A week is 52/12 of a month. Providers do not print their factor; this is the calendar's.
const WEEKS_IN_A_YEAR: i128 = 52;
/// A day is 365/12 of a month.
const DAYS_IN_A_YEAR: i128 = 365;

/// Months in a period, exact where the unit is a month or a year, by the factors above where it is not.
pub(super) fn months(every: Period) -> Exact {
    Exact::from(1i64).over(&per_month(every))
}

/// A price as it is known: what came with the item, and what the price's own record adds.
///
/// Amounts of a price never change, so the two cannot disagree on them; the own record has what comes only
/// with the price itself (tiers, currency options) and the newer names.
#[derive(Debug, Clone, Copy)]
pub(super) struct PriceView<'a> {
    inside: Option<&'a Price>,
    own: Option<&'a Price>,
}

impl<'a> PriceView<'a> {
    pub(super) fn of(book: &Book<'a>, source: &Source, item: &'a SubscriptionItem) -> Self {
        let own = item.price_id.as_deref().and_then(|id| book.price(source, id)).map(|p| p.fact);
        Self { inside: item.price.as_deref(), own }
    }

    pub(super) fn is_known(&self) -> bool {
        self.inside.is_some() || self.own.is_some()
    }

    fn get<T>(&self, part: impl Fn(&'a Price) -> Option<T>) -> Option<T> {
        self.inside.and_then(&part).or_else(|| self.own.and_then(&part))
    }

    fn newest<T>(&self, part: impl Fn(&'a Price) -> Option<T>) -> Option<T> {
        self.own.and_then(&part).or_else(|| self.inside.and_then(&part))
    }

    pub(super) fn product(&self) -> Option<&'a str> {
        self.get(|p| p.product.as_deref())
    }

    pub(super) fn nickname(&self) -> Option<&'a str> {
        self.newest(|p| p.nickname.as_deref()).filter(|name| !name.is_empty())
    }

    pub(super) fn lookup_key(&self) -> Option<&'a str> {
        self.newest(|p| p.lookup_key.as_deref()).filter(|key| !key.is_empty())
    }

    pub(super) fn currency(&self) -> Option<&'a str> {
        self.get(|p| p.currency.as_deref())
    }

    pub(super) fn every(&self) -> Option<Period> {
        self.get(|p| p.every)
    }

    pub(super) fn is_one_time(&self) -> bool {
        self.get(|p| p.kind) == Some(PriceKind::OneTime)
    }

    pub(super) fn is_metered(&self) -> bool {
        self.get(|p| p.usage) == Some(Usage::Metered)
    }

    pub(super) fn tax(&self) -> Option<TaxBehavior> {
        self.newest(|p| p.tax)
    }

    /// Amounts in `currency`: the base ones, or the option of a price in several currencies (R6).
    fn amounts(&self, currency: &str) -> Option<(Option<Exact>, Option<&'a [Tier]>)> {
        fn parts(a: &Amounts) -> (Option<Exact>, Option<&[Tier]>) {
            (a.unit.map(Exact::from), a.tiers.as_deref())
        }
        let base = self.currency().is_none_or(|own| own == currency);
        let in_currency = |p: &'a Price| {
            if base { Some(&p.amounts) } else { p.currency_options.as_ref()?.get(currency) }
        };
        let (a, b) = (self.inside.and_then(in_currency), self.own.and_then(in_currency));
        let ((unit, tiers), (more_unit, more_tiers)) = match (a, b) {
            (Some(a), Some(b)) => (parts(a), parts(b)),
            (Some(a), None) | (None, Some(a)) => (parts(a), (None, None)),
            (None, None) => return None,
        };
        Some((unit.or(more_unit), tiers.or(more_tiers)))
    }

    /// Minor units of `currency` for `quantity` units, each period, rounded half up once.
    ///
    /// # Errors
    ///
    /// The name of the part that is missing.
    pub(super) fn gross(&self, currency: &str, quantity: u64) -> Result<Exact, &'static str> {
        let (unit, tiers) = self.amounts(currency).ok_or("currency_option")?;
        let mode = self.get(|p| p.tiers_mode);
        let scheme =
            self.get(|p| p.scheme).unwrap_or(if mode.is_some() { Scheme::Tiered } else { Scheme::PerUnit });
        let amount = match scheme {
            Scheme::PerUnit => unit.ok_or("unit_amount")? * Exact::from(self.packets(quantity)),
            Scheme::Tiered => {
                let tiers = tiers.filter(|t| !t.is_empty()).ok_or("tiers")?;
                match mode.ok_or("tiers_mode")? {
                    TiersMode::Volume => volume(tiers, quantity)?,
                    TiersMode::Graduated => graduated(tiers, quantity)?,
                }
            }
        };
        Ok(amount.round_half_up())
    }

    /// The quantity that is multiplied: packets, where the price is by the packet.
    fn packets(&self, quantity: u64) -> u64 {
        match self.get(|p| p.transform) {
            None => quantity,
            Some(t) => {
                let by = t.divide_by.max(1);
                match t.round {
                    Rounding::Up => quantity.div_ceil(by),
                    Rounding::Down => quantity / by,
                }
            }
        }
    }
}

fn part(tier: &Tier, units: u64) -> Exact {
    let unit = tier.unit.map_or_else(Exact::zero, Exact::from);
    let flat = tier.flat.map_or_else(Exact::zero, Exact::from);
    unit * Exact::from(units) + flat
}

/// All units at the tier that holds the quantity, and its flat amount.
fn volume(tiers: &[Tier], quantity: u64) -> Result<Exact, &'static str> {
    let tier = tiers.iter().find(|t| t.up_to.is_none_or(|last| quantity <= last)).ok_or("tiers")?;
    Ok(part(tier, quantity))
}

/// Each tier's units at its own amount, and the flat amount of every tier reached. The first tier is reached
/// with no unit at all.
fn graduated(tiers: &[Tier], quantity: u64) -> Result<Exact, &'static str> {
    let mut sum = Exact::zero();
    let mut below = 0u64;
    for tier in tiers {
        let upper = tier.up_to.map_or(quantity, |last| last.min(quantity));
        sum = sum + part(tier, upper.saturating_sub(below));
        if tier.up_to.is_none_or(|last| quantity <= last) {
            return Ok(sum);
        }
        below = upper;
    }
    // The last tier ends before the quantity: the table is cut.
    Err("tiers")
}
