//! The facts of one company, indexed, without what does not count for it.

use std::collections::BTreeMap;

use connector_sdk::facts::{
    BillingAccount, CatalogItem, Charge, Contract, Coupon, Deal, Discount, DiscountRef, Dispute, Fact,
    Invoice, Note, Organization, Payment, Person, Price, Product, Refund, Settlement, Subscription,
    SubscriptionSchedule, SubscriptionStatus, TaxRate,
};
use connector_sdk::{Mode, RecordKey, Role};

use super::inputs::{Inputs, Read, Source};

/// A fact with where it comes from.
#[derive(Debug)]
pub(super) struct Of<'a, T> {
    pub(super) source: &'a Source,
    /// The record that holds it; its own, or one that it was found inside.
    pub(super) key: &'a RecordKey,
    /// The fact's own id.
    pub(super) id: &'a str,
    pub(super) fact: &'a T,
}

// Derived impls would ask for `T: Copy`.
impl<T> Clone for Of<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Of<'_, T> {}

impl<T> Of<'_, T> {
    /// `connection/stream/id`.
    pub(super) fn record(&self) -> String {
        format!("{}/{}", self.source.connection, self.key)
    }

    /// `stream/id`.
    pub(super) fn short(&self) -> String {
        self.key.to_string()
    }
}

/// Facts by connection and id.
type Index<'a, T> = BTreeMap<(&'a str, &'a str), Of<'a, T>>;

/// The facts of one company.
#[derive(Debug, Default)]
pub(super) struct Book<'a> {
    accounts: Index<'a, BillingAccount>,
    products: Index<'a, Product>,
    prices: Index<'a, Price>,
    coupons: Index<'a, Coupon>,
    discounts: Index<'a, Discount>,
    tax_rates: Index<'a, TaxRate>,
    schedules: Index<'a, SubscriptionSchedule>,
    settlements: Index<'a, Settlement>,
    subscriptions: Index<'a, Subscription>,
    invoices: Index<'a, Invoice>,
    charges: Index<'a, Charge>,
    refunds: Index<'a, Refund>,
    disputes: Index<'a, Dispute>,
    contracts: Index<'a, Contract>,
    deals: Index<'a, Deal>,
    organizations: Index<'a, Organization>,
    people: Index<'a, Person>,
    notes: Index<'a, Note>,
    /// Whether the figures come from test objects.
    pub(super) test: bool,
    include_test_clocks: bool,
    mode: Option<Mode>,
}

/// The first of equal ids stays: records are sorted, and a record of its own comes before one that was found
/// inside another.
fn put<'a, T>(index: &mut Index<'a, T>, read: &'a Read<'a>, id: &'a str, fact: &'a T) {
    let source = read.source;
    index.entry((&source.connection, id)).or_insert(Of { source, key: read.key, id, fact });
}

/// Whether a record speaks of money, so that its mode matters. Of a source that may be anything its facts decide.
fn is_billing(read: &Read<'_>) -> bool {
    let is_money = |fact: &Fact| {
        matches!(fact, Fact::BillingAccount(_) | Fact::Subscription(_) | Fact::Invoice(_) | Fact::Payment(_))
    };
    match read.source.role {
        Role::Billing => true,
        Role::Any => read.facts.iter().any(is_money),
        Role::Crm | Role::Signature | Role::Support => false,
    }
}

impl<'a> Book<'a> {
    pub(super) fn new(inputs: &Inputs<'_>, records: &'a [Read<'a>]) -> Self {
        let mode_of = |source: &Source| if inputs.settings.include_test { Mode::Test } else { source.mode };
        // Test money is never added to real money: where a live billing account is linked, test ones stay out.
        let billing_modes = || records.iter().filter(|r| is_billing(r)).map(|r| mode_of(r.source));
        let mode =
            if billing_modes().any(|m| m == Mode::Live) { Some(Mode::Live) } else { billing_modes().next() };
        let mut book = Self {
            mode,
            test: mode == Some(Mode::Test),
            include_test_clocks: inputs.settings.include_test_clocks,
            ..Self::default()
        };
        for own in [true, false] {
            for read in records {
                if is_billing(read) && Some(mode_of(read.source)) != mode {
                    continue;
                }
                for fact in &read.facts {
                    if (fact.id() == read.key.id) == own {
                        book.take(read, fact);
                    }
                }
            }
        }
        book.lend_discounts(records);
        book
    }

    fn take(&mut self, read: &'a Read<'a>, fact: &'a Fact) {
        match fact {
            Fact::BillingAccount(x) => put(&mut self.accounts, read, &x.id, x),
            Fact::CatalogItem(CatalogItem::Product(x)) => put(&mut self.products, read, &x.id, x),
            Fact::CatalogItem(CatalogItem::Price(x)) => put(&mut self.prices, read, &x.id, &**x),
            Fact::CatalogItem(CatalogItem::Coupon(x)) => put(&mut self.coupons, read, &x.id, x),
            Fact::CatalogItem(CatalogItem::Discount(x)) => {
                if let Some(id) = &x.id {
                    put(&mut self.discounts, read, id, x);
                }
            }
            Fact::CatalogItem(CatalogItem::TaxRate(x)) => put(&mut self.tax_rates, read, &x.id, x),
            Fact::Subscription(x) => put(&mut self.subscriptions, read, &x.id, &**x),
            Fact::SubscriptionSchedule(x) => put(&mut self.schedules, read, &x.id, x),
            Fact::Invoice(x) => put(&mut self.invoices, read, &x.id, &**x),
            Fact::Payment(Payment::Charge(x)) => put(&mut self.charges, read, &x.id, &**x),
            Fact::Payment(Payment::Refund(x)) => put(&mut self.refunds, read, &x.id, x),
            Fact::Payment(Payment::Dispute(x)) => put(&mut self.disputes, read, &x.id, x),
            Fact::Settlement(x) => put(&mut self.settlements, read, &x.id, x),
            Fact::Contract(x) => put(&mut self.contracts, read, &x.id, &**x),
            Fact::Deal(x) => put(&mut self.deals, read, &x.id, &**x),
            // What a signature tool says beside a document is there to find its company by.
            Fact::Organization(x) if read.own && matches!(read.source.role, Role::Crm | Role::Any) => {
                put(&mut self.organizations, read, &x.id, x);
            }
            Fact::Note(x) if read.own => put(&mut self.notes, read, &x.id, x),
            Fact::Person(x) if x.staff => put(&mut self.people, read, &x.id, x),
            Fact::Organization(_)
            | Fact::Person(_)
            | Fact::Engagement(_)
            | Fact::Ticket(_)
            | Fact::Conversation(_)
            | Fact::Note(_) => {}
        }
    }

    /// A discount that came whole in one place is what a bare id in another place means.
    fn lend_discounts(&mut self, records: &'a [Read<'a>]) {
        for read in records {
            let holder = |list: &'a [DiscountRef]| {
                list.iter().filter_map(|d| match d {
                    DiscountRef::Whole(d) => Some((d.id.as_deref()?, d)),
                    DiscountRef::Id(_) => None,
                })
            };
            for fact in &read.facts {
                let mut lend = |list: &'a [DiscountRef]| {
                    for (id, discount) in holder(list) {
                        put(&mut self.discounts, read, id, discount);
                    }
                };
                match fact {
                    Fact::BillingAccount(a) => lend(a.discount.as_slice()),
                    Fact::Subscription(s) => {
                        lend(&s.discounts);
                        s.items.iter().for_each(|i| lend(&i.discounts));
                    }
                    Fact::Invoice(i) => lend(&i.discounts),
                    _ => {}
                }
            }
        }
    }

    /// Rows of the other mode stay out; a row that does not say is of the connection's own.
    fn in_mode(&self, mode: Option<Mode>) -> bool {
        mode.is_none() || mode == self.mode
    }

    fn on_clock(&self, source: &Source, account: Option<&str>, own: Option<&String>) -> bool {
        if self.include_test_clocks {
            return false;
        }
        let account = account.and_then(|id| self.accounts.get(&(&source.connection, id)));
        own.is_some() || account.is_some_and(|a| a.fact.test_clock.is_some())
    }

    pub(super) fn product(&self, source: &Source, id: &str) -> Option<Of<'a, Product>> {
        self.products.get(&(&source.connection, id)).copied()
    }

    pub(super) fn price(&self, source: &Source, id: &str) -> Option<Of<'a, Price>> {
        self.prices.get(&(&source.connection, id)).copied()
    }

    pub(super) fn coupon(&self, source: &Source, id: &str) -> Option<Of<'a, Coupon>> {
        self.coupons.get(&(&source.connection, id)).copied()
    }

    pub(super) fn discount(&self, source: &Source, id: &str) -> Option<Of<'a, Discount>> {
        self.discounts.get(&(&source.connection, id)).copied()
    }

    pub(super) fn tax_rate(&self, source: &Source, id: &str) -> Option<Of<'a, TaxRate>> {
        self.tax_rates.get(&(&source.connection, id)).copied()
    }

    pub(super) fn schedule(&self, source: &Source, id: &str) -> Option<Of<'a, SubscriptionSchedule>> {
        self.schedules.get(&(&source.connection, id)).copied().filter(|s| self.in_mode(s.fact.mode))
    }

    pub(super) fn settlement(&self, source: &Source, id: &str) -> Option<Of<'a, Settlement>> {
        self.settlements.get(&(&source.connection, id)).copied()
    }

    pub(super) fn account(&self, source: &Source, id: &str) -> Option<Of<'a, BillingAccount>> {
        self.accounts.get(&(&source.connection, id)).copied()
    }

    /// Billing accounts of the right mode, off test clocks.
    pub(super) fn accounts(&self) -> impl Iterator<Item = Of<'a, BillingAccount>> {
        self.accounts.values().copied().filter(|a| {
            self.in_mode(a.fact.mode) && (self.include_test_clocks || a.fact.test_clock.is_none())
        })
    }

    /// Every subscription of the right mode, off test clocks, each id of a connector once.
    pub(super) fn subscriptions(&self) -> Vec<Of<'a, Subscription>> {
        let all = self.subscriptions.values().copied().filter(|s| {
            self.in_mode(s.fact.mode)
                && !self.on_clock(s.source, s.fact.account.as_deref(), s.fact.test_clock.as_ref())
        });
        once(all)
    }

    /// A subscription's status; with a deleted account it is over, whatever a stale row says (R8).
    pub(super) fn status(&self, s: &Of<'a, Subscription>) -> SubscriptionStatus {
        let account = s.fact.account.as_deref().and_then(|id| self.account(s.source, id));
        if account.is_some_and(|a| a.fact.deleted) && s.fact.status != SubscriptionStatus::IncompleteExpired {
            return SubscriptionStatus::Canceled;
        }
        s.fact.status
    }

    pub(super) fn invoices(&self) -> Vec<Of<'a, Invoice>> {
        let all = self.invoices.values().copied().filter(|i| {
            self.in_mode(i.fact.mode)
                && !self.on_clock(i.source, i.fact.account.as_deref(), i.fact.test_clock.as_ref())
        });
        once(all)
    }

    pub(super) fn charges(&self) -> Vec<Of<'a, Charge>> {
        let all = self.charges.values().copied().filter(|c| {
            self.in_mode(c.fact.mode) && !self.on_clock(c.source, c.fact.account.as_deref(), None)
        });
        once(all)
    }

    pub(super) fn refunds(&self) -> impl Iterator<Item = Of<'a, Refund>> {
        self.refunds.values().copied()
    }

    pub(super) fn disputes(&self) -> impl Iterator<Item = Of<'a, Dispute>> {
        self.disputes.values().copied().filter(|d| self.in_mode(d.fact.mode))
    }

    pub(super) fn contracts(&self) -> impl Iterator<Item = Of<'a, Contract>> {
        once(self.contracts.values().copied()).into_iter()
    }

    /// The company at CRMs, but for what is gone there. A contact may refer to other companies' records, too.
    pub(super) fn organizations(&self) -> impl Iterator<Item = Of<'a, Organization>> {
        self.organizations.values().copied().filter(|of| !of.fact.deleted)
    }

    pub(super) fn notes(&self) -> impl Iterator<Item = Of<'a, Note>> {
        self.notes.values().copied()
    }

    /// Somebody of our side.
    pub(super) fn person(&self, source: &Source, id: &str) -> Option<Of<'a, Person>> {
        self.people.get(&(&source.connection, id)).copied()
    }

    pub(super) fn deals(&self) -> impl Iterator<Item = Of<'a, Deal>> {
        self.deals.values().copied()
    }
}

/// Two connections to one account see the same objects: each id of a connector counts once.
fn once<'a, T>(all: impl Iterator<Item = Of<'a, T>>) -> Vec<Of<'a, T>> {
    let mut seen = BTreeMap::new();
    for of in all {
        seen.entry((of.source.connector.as_str(), of.id)).or_insert(of);
    }
    seen.into_values().collect()
}
