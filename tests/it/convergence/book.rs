//! What a history's customers owe and paid, added up beside the sandbox: the driver writes down what it did, and
//! two sums follow from that by rules of a line each. Nothing of the program's own arithmetic is used.

use std::collections::BTreeMap;

/// A price cut of a coupon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) coupon: String,
    pub(super) percent: i64,
    pub(super) off: i64,
    /// Else it is for one invoice, and no part of what recurs.
    pub(super) forever: bool,
}

impl Cut {
    fn of(&self, amount: i64) -> i64 {
        // Amounts are whole hundreds and percentages whole: nothing is rounded.
        (amount - self.off - amount * self.percent / 100).max(0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Active,
    PastDue,
    Trialing,
    Incomplete,
    Paused,
    Ended,
}

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) unit: i64,
    pub(super) quantity: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Subscription {
    pub(super) id: String,
    pub(super) items: Vec<Item>,
    /// Months of a period: 1 or 12.
    pub(super) months: i64,
    pub(super) cut: Option<Cut>,
    pub(super) state: State,
    /// What happens to invoices meanwhile.
    pub(super) collection: Option<&'static str>,
    pub(super) schedule: Option<String>,
}

impl Subscription {
    pub(super) fn runs(&self) -> bool {
        matches!(self.state, State::Active | State::PastDue)
    }

    fn sum(&self) -> i64 {
        self.items.iter().map(|item| item.unit * item.quantity).sum()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dispute {
    Open,
    Won,
    Lost,
    Inquiry,
}

#[derive(Debug, Clone)]
pub(super) struct Charge {
    pub(super) id: String,
    pub(super) amount: i64,
    pub(super) refunded: i64,
    pub(super) dispute: Option<(String, Dispute)>,
}

impl Charge {
    fn kept(&self) -> i64 {
        let withdrawn = matches!(self.dispute, Some((_, Dispute::Open | Dispute::Lost)));
        (self.amount - self.refunded - if withdrawn { self.amount } else { 0 }).max(0)
    }
}

/// An invoice that waits for its money.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) id: String,
    pub(super) amount: i64,
    pub(super) subscription: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Customer {
    pub(super) id: String,
    /// The company's external id, else its name, which is the customer's.
    pub(super) company: String,
    pub(super) gone: bool,
    /// What it pays with declines.
    pub(super) declines: bool,
    /// Whether anything is there to pay with.
    pub(super) pays: bool,
    pub(super) cut: Option<Cut>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) charges: Vec<Charge>,
    pub(super) open: Vec<Open>,
    /// Paid outside of Stripe.
    pub(super) outside: i64,
}

impl Customer {
    /// What an invoice of that sum comes to.
    pub(super) fn billed(&self, sum: i64, own: Option<&Cut>) -> i64 {
        own.or(self.cut.as_ref()).map_or(sum, |cut| cut.of(sum))
    }

    pub(super) fn bill_of(&self, subscription: &Subscription) -> i64 {
        self.billed(subscription.sum(), subscription.cut.as_ref())
    }

    /// Twelfths of what recurs in a month.
    fn recurring(&self) -> i64 {
        if self.gone {
            return 0;
        }
        self.subscriptions
            .iter()
            .filter(|s| s.runs() && !matches!(s.collection, Some("void" | "mark_uncollectible")))
            .map(|s| {
                let cut = s.cut.as_ref().or(self.cut.as_ref()).filter(|cut| cut.forever);
                cut.map_or(s.sum(), |cut| cut.of(s.sum())) * 12 / s.months
            })
            .sum()
    }

    fn paid(&self) -> i64 {
        self.charges.iter().map(Charge::kept).sum::<i64>() + self.outside
    }
}

/// What a company must show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Money {
    /// Monthly recurring revenue, cents.
    pub(super) mrr: i64,
    /// Lifetime value, cents.
    pub(super) ltv: i64,
}

/// The sums of each company.
pub(super) fn money<'a>(customers: impl IntoIterator<Item = &'a Customer>) -> BTreeMap<String, Money> {
    let mut twelfths: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for customer in customers {
        let sum = twelfths.entry(&customer.company).or_default();
        sum.0 += customer.recurring();
        sum.1 += customer.paid();
    }
    // Halves are rounded up, once.
    twelfths
        .into_iter()
        .map(|(company, (mrr, ltv))| (company.to_owned(), Money { mrr: (mrr + 6) / 12, ltv }))
        .collect()
}
