//! What the companies of `fill.py` and `change.py` must come to, worked by hand.
//!
//! Every figure is written out with its working; nothing here calls the program. Amounts are minor units.
//! Lifetime value is what localstripe charged, which differs from the MRR in the ways that
//! `tests/localstripe/README.md` lists: it knows no discounts, adds inclusive tax, and reads graduated tiers
//! in its own way.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, Months, NaiveDate};
use serde_json::{Value, json};

/// What the filling said about one name.
pub(crate) type Told = BTreeMap<String, Value>;

/// When a company renews, from what the server said about its subscription.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Renewal {
    Never,
    /// So long after the subscription's start. localstripe's periods are one interval of the plan.
    Months(u32),
    Days(u64),
    /// On the day of the member `cancel_at`.
    CancelAt,
}

/// What one company must come to.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    mrr_minor: i64,
    arr_minor: i64,
    /// `None`: nothing counts, so no rule names a currency (localstripe calls every customer `eur`).
    currency: Option<&'static str>,
    plan: Option<&'static str>,
    status: &'static str,
    delinquent: bool,
    ltv_minor: i64,
    /// `None`: nothing was ever paid.
    ltv_currency: Option<&'static str>,
    renewal: Renewal,
    /// `contract_term` and `contract_term_months`.
    term: (Option<&'static str>, Option<u32>),
    payment_terms: Option<&'static str>,
    on_contract: bool,
    renewal_status: Option<&'static str>,
}

impl Figures {
    /// The values of a derivation.
    pub(crate) fn derived(&self, told: &Value) -> BTreeMap<&'static str, Value> {
        let mut all = self.common(told);
        all.insert("delinquent", json!(self.delinquent));
        all.insert("ltv_minor", json!(self.ltv_minor));
        if let Some(currency) = self.ltv_currency {
            all.insert("ltv_currency", json!(currency));
        }
        all
    }

    /// The fields and traits of a stored company, which say money in major units.
    pub(crate) fn stored(&self, told: &Value) -> BTreeMap<&'static str, Value> {
        let mut all = self.common(told);
        all.insert("test", json!(true));
        if let Some(currency) = self.ltv_currency {
            let text = match currency {
                "jpy" => format!("{} JPY", self.ltv_minor),
                _ => {
                    let (whole, cents) = (self.ltv_minor / 100, self.ltv_minor % 100);
                    format!("{whole}.{cents:02} {}", currency.to_uppercase())
                }
            };
            all.insert("lifetime_value", json!(text));
        }
        all
    }

    fn common(&self, told: &Value) -> BTreeMap<&'static str, Value> {
        let mut all = BTreeMap::from([
            ("mrr_minor", json!(self.mrr_minor)),
            ("arr_minor", json!(self.arr_minor)),
            ("plan", json!(self.plan)),
            ("subscription_status", json!(self.status)),
            ("renewal_date", json!(self.renewal_date(told))),
            ("contract_term", json!(self.term.0)),
            ("contract_term_months", json!(self.term.1)),
            ("payment_terms", json!(self.payment_terms)),
            ("on_contract", json!(self.on_contract)),
            ("renewal_status", json!(self.renewal_status)),
        ]);
        if let Some(currency) = self.currency {
            all.insert("currency", json!(currency));
        }
        all
    }

    fn renewal_date(&self, told: &Value) -> Option<NaiveDate> {
        let day = |member: &str| {
            let seconds = told[member].as_i64().unwrap_or_else(|| panic!("{member} of {told}"));
            DateTime::from_timestamp(seconds, 0).unwrap().date_naive()
        };
        match self.renewal {
            Renewal::Never => None,
            Renewal::Months(n) => Some(day("start") + Months::new(n)),
            Renewal::Days(n) => Some(day("start") + Days::new(n)),
            Renewal::CancelAt => Some(day("cancel_at")),
        }
    }
}

/// An active monthly subscription in US dollars: `mrr` a month, `paid` so far.
fn monthly(plan: &'static str, mrr: i64, paid: i64) -> Figures {
    Figures {
        mrr_minor: mrr,
        arr_minor: 12 * mrr,
        currency: Some("usd"),
        plan: Some(plan),
        status: "active",
        delinquent: false,
        ltv_minor: paid,
        ltv_currency: (paid > 0).then_some("usd"),
        renewal: Renewal::Months(1),
        term: (Some("monthly"), Some(1)),
        payment_terms: Some("monthly"),
        // A term below three months is no contract (R9).
        on_contract: false,
        renewal_status: None,
    }
}

/// An active yearly subscription in US dollars.
fn yearly(plan: &'static str, mrr: i64, arr: i64, paid: i64) -> Figures {
    Figures {
        arr_minor: arr,
        renewal: Renewal::Months(12),
        term: (Some("annual"), Some(12)),
        payment_terms: Some("annual"),
        on_contract: true,
        ..monthly(plan, mrr, paid)
    }
}

/// An interval that is no whole number of months: its word is `monthly`, its months are unknown.
fn short(plan: &'static str, mrr: i64, arr: i64, days: u64, paid: i64) -> Figures {
    Figures {
        arr_minor: arr,
        renewal: Renewal::Days(days),
        term: (Some("monthly"), None),
        ..monthly(plan, mrr, paid)
    }
}

/// Nothing that lives.
fn nothing(status: &'static str, paid: i64) -> Figures {
    Figures {
        mrr_minor: 0,
        arr_minor: 0,
        currency: None,
        plan: None,
        status,
        delinquent: false,
        ltv_minor: paid,
        ltv_currency: (paid > 0).then_some("usd"),
        renewal: Renewal::Never,
        term: (None, None),
        payment_terms: None,
        on_contract: false,
        renewal_status: None,
    }
}

/// After `fill.py`.
pub(crate) fn filled() -> BTreeMap<&'static str, Figures> {
    BTreeMap::from([
        // 49.00 a month.
        ("monthly", monthly("Team", 4900, 4900)),
        // 1,000.00 a year: 100000 / 12 = 8333.33, and ARR is 12 times the unrounded MRR.
        ("yearly", yearly("Scale", 8333, 100_000, 100_000)),
        // 10.00 a week: 1000 x 52 / 12 = 4333.33; a year 52000.
        ("weekly", short("Market Stall", 4333, 52_000, 7, 1000)),
        // 1.00 a day: 100 x 365 / 12 = 3041.67; a year 36500.
        ("daily", short("Day Pass", 3042, 36_500, 1, 100)),
        // 10.00 in two weeks: 1000 x 52 / (12 x 2) = 2166.67; a year 26000. The server's period is one week.
        ("biweekly", short("Fortnight", 2167, 26_000, 7, 1000)),
        // 299.99 in three months: 29999 / 3 = 9999.67; a year 119996. The server's period is one month, and
        // it ends 8 to 11 days from now: within the 30 days before a renewal.
        (
            "quarterly",
            Figures {
                arr_minor: 119_996,
                term: (Some("quarterly"), Some(3)),
                payment_terms: Some("quarterly"),
                on_contract: true,
                renewal_status: Some("up_for_renewal"),
                ..monthly("Season", 10_000, 29_999)
            },
        ),
        // 7 x 12.50 = 87.50.
        ("quantity", monthly("Seats", 8750, 8750)),
        // 25 units: 10 x 5.00 + 15 x 3.00 = 95.00. Charged: 25 x 5.00 + 4 x 3.00 = 137.00.
        ("graduated", monthly("Steps", 9500, 13_700)),
        // 25 units, all in the second tier: 25 x 6.00 + 20.00 = 170.00.
        ("volume", monthly("Bulk", 17_000, 17_000)),
        ("free", monthly("Free", 0, 0)),
        // 3 x 20.00 less 25 % for ever = 45.00. Charged without the discount: 60.00.
        ("percent", monthly("Percent Off", 4500, 6000)),
        // 100.00 less 15.00 for ever = 85.00.
        ("amount", monthly("Amount Off", 8500, 10_000)),
        // 40.00 less 50 % for six months: six invoices, so it counts. 20.00.
        ("repeating", monthly("Half A Year", 2000, 4000)),
        // 1,200.00 a year less 10 % for twelve months: one invoice, so it does not count. 100.00 a month.
        ("repeating-yearly", yearly("First Year", 10_000, 120_000, 120_000)),
        // 30.00; the first month free is one invoice and does not count.
        ("once", monthly("First Month", 3000, 3000)),
        // localstripe calls a trial incomplete, and an incomplete one is not begun.
        ("trial", nothing("incomplete", 0)),
        ("canceled", Figures { renewal_status: Some("lost"), ..nothing("canceled", 2500) }),
        // Counts until its end.
        (
            "cancel-at-period-end",
            Figures { renewal_status: Some("set_to_cancel"), ..monthly("Leaving", 6000, 6000) },
        ),
        (
            "cancel-at",
            Figures {
                renewal: Renewal::CancelAt,
                renewal_status: Some("set_to_cancel"),
                ..monthly("Leaving Later", 7000, 7000)
            },
        ),
        // Moved from 20.00 a month, paid, to 200.00 a year, declined: 20000 / 12 = 1666.67.
        (
            "past-due",
            Figures { status: "past_due", delinquent: true, ..yearly("Yearly Care", 1667, 20_000, 2000) },
        ),
        ("incomplete", nothing("incomplete", 0)),
        ("incomplete-expired", nothing("incomplete_expired", 0)),
        (
            "eur",
            Figures { currency: Some("eur"), ltv_currency: Some("eur"), ..monthly("Équipe", 1999, 1999) },
        ),
        // Yen have no minor unit: 5,000 a month.
        (
            "jpy",
            Figures { currency: Some("jpy"), ltv_currency: Some("jpy"), ..monthly("チーム", 5000, 5000) },
        ),
        // 50.00 and 20 % on top, which is no revenue; charged 60.00.
        ("tax-on-top", monthly("Taxed", 5000, 6000)),
        // 60.00 with 20 % inside: 6000 - 6000 x 20 / 120 = 5000. Charged by localstripe: 60.00 and 20 %.
        ("tax-within", monthly("Tax Within", 5000, 7200)),
        // 15.00 a month and 360.00 a year: 1500 + 36000 / 12 = 4500; a year 54000. The yearly one is the
        // larger and the longer; paid 15.00 + 360.00.
        ("two-subscriptions", yearly("Main Contract", 4500, 54_000, 37_500)),
        // 11.00 and 22.00 of two customers of one company.
        ("two-customers", monthly("Paris Office", 3300, 3300)),
        // 80.00 paid, 30.00 given back.
        ("refunded", monthly("Half Back", 8000, 5000)),
        // 12.34, and 4.00 captured of 10.00; 5.00 never captured, 9.99 declined.
        ("no-subscription", nothing("none", 1634)),
        // 10.00 a month; twelve times 1.00 on its first invoice were sold once and are no MRR.
        ("long-invoice", monthly("Hours", 1000, 2200)),
        ("doomed", monthly("Doomed", 4400, 4400)),
    ])
}

/// After `change.py told`.
pub(crate) fn changed_with_events() -> BTreeMap<&'static str, Figures> {
    let mut all = filled();
    all.extend([
        // The customer was deleted, and with it everything that ran. What was paid was paid.
        ("doomed", Figures { renewal_status: Some("lost"), ..nothing("canceled", 4400) }),
        // 4 x 9.99.
        ("newcomer", monthly("Welcome", 3996, 3996)),
        // 123.45 a year: 12345 / 12 = 1028.75.
        ("latecomer", yearly("Late", 1029, 12_345, 12_345)),
        ("monthly", Figures { renewal_status: Some("lost"), ..nothing("canceled", 4900) }),
        // 600.00 a year: 5000 a month. Paid 10.00, then 600.00 less the unused 10.00.
        ("weekly", yearly("Market Hall", 5000, 60_000, 60_000)),
        // 10 x 12.50. Paid 87.50, then 125.00 less the unused 87.50.
        ("quantity", monthly("Seats", 12_500, 12_500)),
        // Paid 20.00, then 200.00 less the unused 20.00.
        ("past-due", yearly("Yearly Care", 1667, 20_000, 20_000)),
        // 1,000.00 less 20 % for ever: 80000 / 12 = 6666.67.
        ("yearly", yearly("Scale", 6667, 80_000, 100_000)),
    ]);
    all
}

/// After `change.py silent` too.
pub(crate) fn changed_in_silence() -> BTreeMap<&'static str, Figures> {
    let mut all = changed_with_events();
    all.extend([
        // 5 x 20.00 less 25 %. Nothing was billed for it.
        ("percent", monthly("Percent Off", 7500, 6000)),
        // Everything was given back.
        ("eur", Figures { currency: Some("eur"), ltv_currency: Some("eur"), ..monthly("Équipe", 1999, 0) }),
        ("cancel-at-period-end", monthly("Leaving", 6000, 6000)),
        ("amount", Figures { renewal_status: Some("set_to_cancel"), ..monthly("Amount Off", 8500, 10_000) }),
        ("free", monthly("Community", 0, 0)),
    ]);
    all
}

/// How `seen` (the program's values by company) differs from the figures, one line a member. `expected` gives
/// the members as that place names them.
pub(crate) fn differences(
    figures: &BTreeMap<&'static str, Figures>,
    told: &Told,
    seen: &BTreeMap<String, Value>,
    expected: fn(&Figures, &Value) -> BTreeMap<&'static str, Value>,
) -> Vec<String> {
    let mut out = Vec::new();
    for (name, figures) in figures {
        let told = told.get(*name).unwrap_or_else(|| panic!("the filling said nothing about {name}"));
        let Some(values) = seen.get(*name) else {
            out.push(format!("{name}: there is no such company"));
            continue;
        };
        for (member, expected) in expected(figures, told) {
            let found = values.get(member).unwrap_or(&Value::Null);
            if *found != expected {
                out.push(format!("{name}: {member}: expected {expected}, found {found}"));
            }
        }
    }
    for name in seen.keys().filter(|name| !figures.contains_key(name.as_str())) {
        out.push(format!("{name}: a company that nobody made"));
    }
    out
}
