//! Minor units of currencies.

/// Decimal places of a currency's minor unit, as payment providers write amounts; in either case.
///
/// Source: rule R6 of `docs/billing.md`, which follows Stripe's list of zero- and three-decimal currencies.
/// ISK and UGX are written with two places although they have no smaller coin.
pub fn exponent(currency: &str) -> u32 {
    let is = |list: &[&str]| list.iter().any(|code| code.eq_ignore_ascii_case(currency));
    if is(NO_DECIMALS) {
        0
    } else if is(THREE_DECIMALS) {
        3
    } else {
        2
    }
}

/// Currencies whose minor unit is the major unit.
const NO_DECIMALS: &[&str] = &[
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf",
];

/// Currencies of a thousand minor units.
const THREE_DECIMALS: &[&str] = &["bhd", "jod", "kwd", "omr", "tnd"];
