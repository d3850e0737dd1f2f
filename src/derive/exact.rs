//! Exact arithmetic for money (R4): rationals, rounded half up once for each reported figure.

use std::cmp::Ordering;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Mul, Sub};

use connector_sdk::facts::Decimal;
use num_integer::Integer;
use num_rational::{BigRational, Ratio};
use num_traits::{CheckedAdd, CheckedMul, CheckedSub, Signed, ToPrimitive, Zero};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An exact rational number.
///
/// Nearly every amount fits a fraction of two `i128`; what does not goes on in big integers, so no
/// operation loses a digit or overflows. Written as text: `9000` or `25/3`.
#[derive(Clone, PartialEq, Eq)]
pub struct Exact(Repr);

// A value that fits is always `Small`, so that equal numbers have equal forms.
#[derive(Clone, PartialEq, Eq)]
enum Repr {
    Small(Ratio<i128>),
    Big(Box<BigRational>),
}

impl Exact {
    /// Zero.
    pub fn zero() -> Self {
        Self(Repr::Small(Ratio::zero()))
    }

    /// `numerator / denominator`. A denominator of 0 is a mistake of the program and gives 0.
    pub fn ratio(numerator: i128, denominator: i128) -> Self {
        if denominator == 0 {
            debug_assert!(false, "a ratio over 0");
            return Self::zero();
        }
        // `Ratio::new` negates both parts of a fraction over a negative number, which `i128::MIN` cannot.
        if numerator == i128::MIN || denominator == i128::MIN {
            let big = BigRational::new(numerator.into(), denominator.into());
            return Self::from_big(big);
        }
        Self(Repr::Small(Ratio::new(numerator, denominator)))
    }

    fn big(&self) -> BigRational {
        match &self.0 {
            Repr::Small(r) => BigRational::new_raw((*r.numer()).into(), (*r.denom()).into()),
            Repr::Big(b) => (**b).clone(),
        }
    }

    fn from_big(b: BigRational) -> Self {
        match (b.numer().to_i128(), b.denom().to_i128()) {
            (Some(n), Some(d)) if n != i128::MIN => Self(Repr::Small(Ratio::new_raw(n, d))),
            _ => Self(Repr::Big(Box::new(b))),
        }
    }

    /// Rounded to a whole number, ties upwards.
    pub fn round_half_up(&self) -> Self {
        if let Repr::Small(r) = &self.0 {
            if r.is_integer() {
                return self.clone();
            }
            // floor(x + 1/2) = floor((2n + d) / 2d)
            let doubled = i128::checked_mul(*r.numer(), 2).and_then(|n| i128::checked_add(n, *r.denom()));
            if let (Some(n), Some(d)) = (doubled, i128::checked_mul(*r.denom(), 2)) {
                return Self::from(Integer::div_floor(&n, &d));
            }
        }
        let half = BigRational::new(1.into(), 2.into());
        Self::from_big((self.big() + half).floor())
    }

    /// The largest whole number that is not larger.
    pub fn floor(&self) -> Self {
        match &self.0 {
            Repr::Small(r) => Self::from(Integer::div_floor(r.numer(), r.denom())),
            Repr::Big(b) => Self::from_big(b.floor()),
        }
    }

    /// The smallest whole number that is not smaller.
    pub fn ceil(&self) -> Self {
        match &self.0 {
            Repr::Small(r) => Self::from(Integer::div_ceil(r.numer(), r.denom())),
            Repr::Big(b) => Self::from_big(b.ceil()),
        }
    }

    /// The number divided by another; 0 where that is 0.
    pub fn over(&self, other: &Self) -> Self {
        if other.is_zero() {
            debug_assert!(false, "division by 0");
            return Self::zero();
        }
        if let (Repr::Small(a), Repr::Small(b)) = (&self.0, &other.0)
            && let Some(inverse) = (b.numer().abs() != i128::MAX).then(|| b.recip())
            && let Some(r) = a.checked_mul(&inverse)
        {
            return Self(Repr::Small(r));
        }
        Self::from_big(self.big() / other.big())
    }

    /// Whether the number is 0.
    pub fn is_zero(&self) -> bool {
        match &self.0 {
            Repr::Small(r) => r.is_zero(),
            Repr::Big(b) => b.is_zero(),
        }
    }

    /// Whether the number is below 0.
    pub fn is_negative(&self) -> bool {
        match &self.0 {
            Repr::Small(r) => r.is_negative(),
            Repr::Big(b) => b.is_negative(),
        }
    }

    /// The number, or 0 where it is below.
    pub fn floored_at_zero(self) -> Self {
        if self.is_negative() { Self::zero() } else { self }
    }

    /// Rounded half up, as the integer that a column holds; `None` outside of 64 bits.
    pub fn to_minor(&self) -> Option<i64> {
        match self.round_half_up().0 {
            Repr::Small(r) => i64::try_from(*r.numer()).ok(),
            Repr::Big(_) => None,
        }
    }
}

impl Default for Exact {
    fn default() -> Self {
        Self::zero()
    }
}

impl From<i128> for Exact {
    fn from(n: i128) -> Self {
        Self::ratio(n, 1)
    }
}

impl From<i64> for Exact {
    fn from(n: i64) -> Self {
        Self(Repr::Small(Ratio::from_integer(i128::from(n))))
    }
}

impl From<u64> for Exact {
    fn from(n: u64) -> Self {
        Self(Repr::Small(Ratio::from_integer(i128::from(n))))
    }
}

impl From<Decimal> for Exact {
    fn from(d: Decimal) -> Self {
        match 10i128.checked_pow(d.scale()) {
            Some(unit) => Self::ratio(d.mantissa(), unit),
            // 10^38 fits; a Decimal has no larger scale.
            None => Self::zero(),
        }
    }
}

macro_rules! operation {
    ($trait:ident, $method:ident, $checked:ident) => {
        impl $trait<&Exact> for &Exact {
            type Output = Exact;

            fn $method(self, other: &Exact) -> Exact {
                if let (Repr::Small(a), Repr::Small(b)) = (&self.0, &other.0)
                    && let Some(r) = a.$checked(b)
                    && *r.numer() != i128::MIN
                {
                    return Exact(Repr::Small(r));
                }
                Exact::from_big($trait::$method(self.big(), other.big()))
            }
        }

        impl $trait<Exact> for Exact {
            type Output = Exact;

            fn $method(self, other: Exact) -> Exact {
                $trait::$method(&self, &other)
            }
        }

        impl $trait<&Exact> for Exact {
            type Output = Exact;

            fn $method(self, other: &Exact) -> Exact {
                $trait::$method(&self, other)
            }
        }
    };
}

operation!(Add, add, checked_add);
operation!(Sub, sub, checked_sub);
operation!(Mul, mul, checked_mul);

impl Sum for Exact {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::zero(), |a, b| a + b)
    }
}

impl<'a> Sum<&'a Exact> for Exact {
    fn sum<I: Iterator<Item = &'a Self>>(iter: I) -> Self {
        iter.fold(Self::zero(), |a, b| a + b)
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Repr::Small(a), Repr::Small(b)) => a.cmp(b),
            _ => self.big().cmp(&other.big()),
        }
    }
}

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Small(r) => fmt::Display::fmt(r, f),
            Repr::Big(b) => fmt::Display::fmt(b, f),
        }
    }
}

impl fmt::Debug for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let big: BigRational =
            text.parse().map_err(|_| de::Error::custom("expected a whole number or n/d"))?;
        Ok(Self::from_big(big))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(n: i128, d: i128) -> Exact {
        Exact::ratio(n, d)
    }

    #[test]
    fn rounds_half_up_once() {
        for (n, d, rounded) in
            [(5, 2, 3), (7, 3, 2), (8, 3, 3), (-5, 2, -2), (-7, 2, -3), (10, 1, 10), (1, 2, 1)]
        {
            assert_eq!(r(n, d).to_minor(), Some(rounded), "{n}/{d}");
        }
        assert_eq!(r(i128::MAX, 2).to_minor(), None);
    }

    #[test]
    fn goes_on_in_big_integers_and_comes_back() {
        let huge = r(i128::MAX, 3);
        let product = &huge * &huge;
        assert!(matches!(product.0, Repr::Big(_)));
        assert_eq!(product.over(&huge), huge);
        assert!(product > huge);
        assert!(huge < product);
        assert_eq!((&product - &product), Exact::zero());
        assert_eq!((&huge + &huge) - &huge, huge);
        let text = serde_json::to_string(&product).unwrap();
        assert_eq!(serde_json::from_str::<Exact>(&text).unwrap(), product);
        assert_eq!(product.round_half_up().floor(), product.round_half_up());
    }

    #[test]
    fn extremes_do_not_panic() {
        let low = r(i128::MIN, 1);
        let all = [low.clone(), r(i128::MAX, 1), r(1, i128::MAX), r(-1, i128::MIN), r(0, 5)];
        for a in &all {
            for b in &all {
                let _ = (a + b, a - b, a * b, a.cmp(b));
                if !b.is_zero() {
                    assert_eq!(&a.over(b) * b, *a);
                }
            }
            let _ = (a.floor(), a.ceil(), a.round_half_up(), a.to_minor(), a.to_string());
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_big_rationals(a in -1_000_000i128..1_000_000, b in 1i128..10_000, c in -1_000_000i128..1_000_000, d in 1i128..10_000) {
            let (x, y) = (r(a, b), r(c, d));
            let (bx, by) = (x.big(), y.big());
            proptest::prop_assert_eq!((&x + &y).big(), &bx + &by);
            proptest::prop_assert_eq!((&x - &y).big(), &bx - &by);
            proptest::prop_assert_eq!((&x * &y).big(), &bx * &by);
            proptest::prop_assert_eq!(x.cmp(&y), bx.cmp(&by));
            let half = BigRational::new(1.into(), 2.into());
            proptest::prop_assert_eq!(x.round_half_up().big(), (bx + half).floor());
        }
    }
}
