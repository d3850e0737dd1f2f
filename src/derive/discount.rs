//! Discounts on a subscription's lines (R12).

use connector_sdk::Timestamp;
use connector_sdk::facts::{Coupon, CouponDuration, Discount, DiscountRef, Period};

use super::amount::{months, per_month};
use super::book::Book;
use super::document::{LineDiscount, Missing};
use super::exact::Exact;
use super::inputs::Source;
use super::settings::MrrDiscounts;

/// A line while discounts are taken off it.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) product: Option<&'a str>,
    pub(super) every: Period,
    /// What is left, a whole number of minor units.
    pub(super) left: Exact,
    pub(super) taken: Vec<LineDiscount>,
}

/// What surrounds the discounts of one subscription.
pub(super) struct Context<'b, 'a> {
    pub(super) book: &'b Book<'a>,
    pub(super) source: &'a Source,
    pub(super) currency: &'b str,
    pub(super) mode: MrrDiscounts,
    pub(super) now: Timestamp,
    /// The subscription, `stream/id`, for what is missing.
    pub(super) of: &'b str,
}

/// What came of taking discounts off, besides the lines.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) missing: Vec<Missing>,
    /// Running discounts that are not in the sum, with the reason.
    pub(super) ignored: Vec<String>,
    /// Instants at which a discount begins or ends.
    pub(super) turns: Vec<Timestamp>,
}

/// A coupon as it is known: what came with the discount, and what the coupon's own record adds.
///
/// The terms that came along win: an id may be used again for another coupon, running discounts keep theirs.
struct Terms<'a> {
    id: &'a str,
    inside: Option<&'a Coupon>,
    own: Option<&'a Coupon>,
}

impl<'a> Terms<'a> {
    fn get<T>(&self, part: impl Fn(&'a Coupon) -> Option<T>) -> Option<T> {
        self.inside.and_then(&part).or_else(|| self.own.and_then(&part))
    }

    fn amount(&self, currency: &str) -> Option<i64> {
        let direct = |c: &'a Coupon| {
            if c.currency.as_deref() == Some(currency) {
                return c.amount_off;
            }
            c.currency_options.as_ref().and_then(|o| o.get(currency)).copied()
        };
        self.get(direct)
    }

    fn applies(&self, line: &Line<'_>) -> bool {
        match self.get(|c| c.applies_to.as_deref()) {
            None => true,
            Some(products) => line.product.is_some_and(|id| products.iter().any(|p| p == id)),
        }
    }
}

impl<'a> Context<'_, 'a> {
    fn missing(&self, what: &str, id: Option<&str>) -> Missing {
        Missing {
            field: "mrr".to_owned(),
            what: what.to_owned(),
            id: id.map(str::to_owned),
            of: self.of.to_owned(),
        }
    }

    /// The discount and its terms, or what is missing.
    fn resolve(&self, reference: &'a DiscountRef) -> Result<(Option<&'a Discount>, Terms<'a>), Missing> {
        let discount = match reference {
            DiscountRef::Whole(d) => d,
            DiscountRef::Id(id) => match self.book.discount(self.source, id) {
                Some(found) => found.fact,
                // A bare id may also be the coupon's own.
                None => match self.book.coupon(self.source, id) {
                    Some(coupon) => {
                        return Ok((None, Terms { id, inside: None, own: Some(coupon.fact) }));
                    }
                    None => return Err(self.missing("discount", Some(id))),
                },
            },
        };
        let Some(id) = discount.coupon_id.as_deref() else {
            return Err(self.missing("coupon", None));
        };
        let own = self.book.coupon(self.source, id).map(|c| c.fact);
        let inside = discount.coupon.as_deref();
        if inside.is_none() && own.is_none() {
            return Err(self.missing("coupon", Some(id)));
        }
        Ok((Some(discount), Terms { id, inside, own }))
    }

    /// Whether the terms are in the sum for lines of that interval.
    fn counts(&self, terms: &Terms<'_>, duration: CouponDuration, every: Period) -> Result<bool, Missing> {
        Ok(match (self.mode, duration) {
            (MrrDiscounts::None, _) => false,
            (_, CouponDuration::Forever) | (MrrDiscounts::All, _) => true,
            (MrrDiscounts::Forever, _) | (MrrDiscounts::Recurring, CouponDuration::Once) => false,
            (MrrDiscounts::Recurring, CouponDuration::Repeating(Some(n))) => {
                // At least two invoices: longer than one interval.
                Exact::from(i64::from(n)) > months(every)
            }
            (MrrDiscounts::Recurring, CouponDuration::Repeating(None)) => {
                return Err(self.missing("coupon", Some(terms.id)));
            }
        })
    }

    /// Takes one discount off the lines at `on`.
    fn take(&self, reference: &'a DiscountRef, on: &[usize], lines: &mut [Line<'a>], out: &mut Outcome) {
        if self.mode == MrrDiscounts::None {
            return;
        }
        if let Err(missing) = self.try_take(reference, on, lines, out) {
            out.missing.push(missing);
        }
    }

    fn try_take(
        &self,
        reference: &'a DiscountRef,
        on: &[usize],
        lines: &mut [Line<'a>],
        out: &mut Outcome,
    ) -> Result<(), Missing> {
        // A window that is over needs no coupon.
        if let DiscountRef::Whole(d) = reference
            && d.end.is_some_and(|end| end <= self.now)
        {
            out.ignored.push(format!("{}: ended", d.coupon_id.as_deref().unwrap_or("a discount")));
            return Ok(());
        }
        let (discount, terms) = self.resolve(reference)?;
        let (start, end) = discount.map_or((None, None), |d| (d.start, d.end));
        out.turns.extend([start, end].into_iter().flatten());
        if end.is_some_and(|end| end <= self.now) {
            out.ignored.push(format!("{}: ended", terms.id));
            return Ok(());
        }
        if start.is_some_and(|start| self.now < start) {
            out.ignored.push(format!("{}: not begun", terms.id));
            return Ok(());
        }
        let duration = terms.get(|c| c.duration).ok_or_else(|| self.missing("coupon", Some(terms.id)))?;
        let on: Vec<usize> = on.iter().copied().filter(|&i| terms.applies(&lines[i])).collect();
        let mut groups = groups(&on, lines);
        let percent = terms.get(|c| c.percent_off);
        if percent.is_none() {
            // An amount comes off every invoice, so off each of the shortest interval.
            groups.truncate(1);
        }
        for (every, group) in groups {
            if !self.counts(&terms, duration, every)? {
                out.ignored.push(format!("{}: does not hit two invoices or is not counted", terms.id));
                continue;
            }
            let base: Exact = group.iter().map(|&i| &lines[i].left).sum();
            let (off, words) = match percent {
                Some(percent) => {
                    let share = Exact::from(percent).over(&Exact::from(100i64));
                    ((&base * &share).round_half_up(), format!("{percent}%"))
                }
                None => {
                    if terms.get(|c| c.amount_off).is_none() {
                        return Err(self.missing("coupon", Some(terms.id)));
                    }
                    let amount = terms
                        .amount(self.currency)
                        .ok_or_else(|| self.missing("coupon_currency", Some(terms.id)))?;
                    (Exact::from(amount), format!("{amount} off each invoice"))
                }
            };
            let off = off.floored_at_zero().min(base.clone());
            spread(&off, &base, &group, lines, |line, off| {
                line.taken.push(LineDiscount { coupon: terms.id.to_owned(), terms: words.clone(), off });
            });
        }
        Ok(())
    }

    /// Takes off the discounts of the items, then those of the subscription, each on what the former left.
    pub(super) fn apply(
        &self,
        items: &[(usize, &'a [DiscountRef])],
        whole: &'a [DiscountRef],
        lines: &mut [Line<'a>],
    ) -> Outcome {
        let mut out = Outcome::default();
        for (line, discounts) in items {
            for discount in *discounts {
                self.take(discount, &[*line], lines, &mut out);
            }
        }
        let all: Vec<usize> = (0..lines.len()).collect();
        for discount in whole {
            self.take(discount, &all, lines, &mut out);
        }
        out
    }
}

/// Lines by equal interval and count, the shortest interval first.
fn groups(on: &[usize], lines: &[Line<'_>]) -> Vec<(Period, Vec<usize>)> {
    let mut groups: Vec<(Period, Vec<usize>)> = Vec::new();
    for &i in on {
        match groups.iter_mut().find(|(every, _)| *every == lines[i].every) {
            Some((_, group)) => group.push(i),
            None => groups.push((lines[i].every, vec![i])),
        }
    }
    // A stable sort: equal lengths (12 months, 1 year) keep the order of the items.
    groups.sort_by_key(|(every, _)| std::cmp::Reverse(per_month(*every)));
    groups
}

/// Takes a whole number of minor units off a group, in shares of what each line has left. What the shares
/// leave over goes to the largest remainders, the earlier line first, so that the parts sum to the whole.
fn spread<'a>(
    off: &Exact,
    base: &Exact,
    group: &[usize],
    lines: &mut [Line<'a>],
    mut note: impl FnMut(&mut Line<'a>, Exact),
) {
    if base.is_zero() || off.is_zero() {
        return;
    }
    let mut parts: Vec<(usize, Exact, Exact)> = group
        .iter()
        .map(|&i| {
            let share = (off * &lines[i].left).over(base);
            let whole = share.floor();
            let rest = &share - &whole;
            (i, whole, rest)
        })
        .collect();
    let mut over = off - &parts.iter().map(|(_, whole, _)| whole).sum::<Exact>();
    let one = Exact::from(1i64);
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by(|&a, &b| parts[b].2.cmp(&parts[a].2));
    for at in order {
        if over < one {
            break;
        }
        parts[at].1 = &parts[at].1 + &one;
        over = over - &one;
    }
    for (i, part, _) in parts {
        let line = &mut lines[i];
        line.left = &line.left - &part;
        note(line, part);
    }
}
