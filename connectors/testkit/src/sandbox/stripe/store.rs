//! The objects of the sandbox, in the order in which Stripe lists them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

/// A kind of object; the path below `/v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `customers`
    Customers,
    /// `products`
    Products,
    /// `prices`
    Prices,
    /// `coupons`
    Coupons,
    /// `subscriptions`
    Subscriptions,
    /// `invoices`
    Invoices,
    /// `charges`
    Charges,
    /// `refunds`
    Refunds,
    /// `disputes`
    Disputes,
    /// `subscription_schedules`
    Schedules,
    /// `payment_intents`
    PaymentIntents,
    /// `payment_methods`
    PaymentMethods,
    /// `invoiceitems`
    InvoiceItems,
    /// `promotion_codes`
    PromotionCodes,
    /// `tax_rates`
    TaxRates,
    /// `balance_transactions`
    BalanceTransactions,
    /// `events`
    Events,
}

/// All kinds.
pub const KINDS: [Kind; 17] = [
    Kind::Customers,
    Kind::Products,
    Kind::Prices,
    Kind::Coupons,
    Kind::Subscriptions,
    Kind::Invoices,
    Kind::Charges,
    Kind::Refunds,
    Kind::Disputes,
    Kind::Schedules,
    Kind::PaymentIntents,
    Kind::PaymentMethods,
    Kind::InvoiceItems,
    Kind::PromotionCodes,
    Kind::TaxRates,
    Kind::BalanceTransactions,
    Kind::Events,
];

impl Kind {
    /// The path below `/v1`, which is also the name of the stream.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Customers => "customers",
            Self::Products => "products",
            Self::Prices => "prices",
            Self::Coupons => "coupons",
            Self::Subscriptions => "subscriptions",
            Self::Invoices => "invoices",
            Self::Charges => "charges",
            Self::Refunds => "refunds",
            Self::Disputes => "disputes",
            Self::Schedules => "subscription_schedules",
            Self::PaymentIntents => "payment_intents",
            Self::PaymentMethods => "payment_methods",
            Self::InvoiceItems => "invoiceitems",
            Self::PromotionCodes => "promotion_codes",
            Self::TaxRates => "tax_rates",
            Self::BalanceTransactions => "balance_transactions",
            Self::Events => "events",
        }
    }

    /// The `object` member.
    #[must_use]
    pub fn object(self) -> &'static str {
        self.path().strip_suffix('s').unwrap_or(self.path())
    }

    /// The kind of that path.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        KINDS.into_iter().find(|k| k.path() == path)
    }

    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Customers => "cus",
            Self::Products => "prod",
            Self::Prices => "price",
            Self::Coupons => "coupon",
            Self::Subscriptions => "sub",
            Self::Invoices => "in",
            Self::Charges => "ch",
            Self::Refunds => "re",
            Self::Disputes => "dp",
            Self::Schedules => "sub_sched",
            Self::PaymentIntents => "pi",
            Self::PaymentMethods => "pm",
            Self::InvoiceItems => "ii",
            Self::PromotionCodes => "promo",
            Self::TaxRates => "txr",
            Self::BalanceTransactions => "txn",
            Self::Events => "evt",
        }
    }

    /// The permission of a restricted key that reading needs.
    #[must_use]
    pub fn permission(self) -> &'static str {
        match self {
            Self::Customers => "rak_customer_read",
            Self::Products => "rak_product_read",
            Self::Prices => "rak_plan_read",
            Self::Coupons => "rak_coupon_read",
            Self::PromotionCodes => "rak_promotion_code_read",
            Self::Subscriptions | Self::Schedules => "rak_subscription_read",
            Self::Invoices | Self::InvoiceItems => "rak_invoice_read",
            Self::PaymentIntents => "rak_payment_intent_read",
            Self::PaymentMethods => "rak_payment_method_read",
            Self::Charges | Self::Refunds => "rak_charge_read",
            Self::Disputes => "rak_dispute_read",
            Self::TaxRates => "rak_tax_rate_read",
            Self::BalanceTransactions => "rak_balance_read",
            Self::Events => "rak_event_read",
        }
    }
}

/// How an object is kept.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// Text that every read answers: nothing in it is expandable. Bulk objects are kept so, because
    /// parsed ones take ten times the memory and rendering them costs what the client should cost.
    Text(Arc<str>),
    /// A document: references are ids, hidden members are in it.
    Doc(Arc<Value>),
}

/// One object.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) customer: Option<String>,
    pub(super) status: Option<String>,
    pub(super) body: Body,
}

impl Object {
    pub(super) fn of_doc(doc: Value) -> Self {
        let text = |name: &str| doc.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            id: text("id").unwrap_or_default(),
            // An invoice item has its date instead.
            created: doc.get("created").or_else(|| doc.get("date")).and_then(Value::as_i64).unwrap_or(0),
            customer: text("customer"),
            status: text("status"),
            body: Body::Doc(Arc::new(doc)),
        }
    }

    /// The document, parsed where it is kept as text.
    pub(super) fn doc(&self) -> Arc<Value> {
        match &self.body {
            Body::Doc(doc) => Arc::clone(doc),
            Body::Text(text) => Arc::new(serde_json::from_str(text).unwrap_or(Value::Null)),
        }
    }
}

/// Creation time, then order of arrival: listing goes backwards through it.
type Place = (i64, u64);

/// Objects of one kind.
#[derive(Debug, Default)]
pub(super) struct Collection {
    by_place: BTreeMap<Place, Object>,
    places: HashMap<String, Place>,
    /// Deleted objects as they last were: a discount may still run on a deleted coupon, and a deleted
    /// customer is answered with `deleted: true`.
    deleted: HashMap<String, Object>,
    arrivals: u64,
}

impl Collection {
    pub(super) fn put(&mut self, object: Object) {
        let place = match self.places.get(&object.id) {
            Some(place) => *place,
            None => {
                self.arrivals += 1;
                (object.created, self.arrivals)
            }
        };
        self.places.insert(object.id.clone(), place);
        self.by_place.insert(place, object);
    }

    pub(super) fn get(&self, id: &str) -> Option<&Object> {
        self.by_place.get(self.places.get(id)?)
    }

    pub(super) fn deleted(&self, id: &str) -> Option<&Object> {
        self.deleted.get(id)
    }

    pub(super) fn deleted_ids(&self) -> Vec<String> {
        self.deleted.keys().filter(|id| !self.places.contains_key(*id)).cloned().collect()
    }

    pub(super) fn remove(&mut self, id: &str) -> bool {
        let Some(place) = self.places.remove(id) else { return false };
        if let Some(object) = self.by_place.remove(&place) {
            self.deleted.insert(id.to_owned(), object);
        }
        true
    }

    /// Forgets what was created before, without a trace.
    pub(super) fn forget_before(&mut self, created: i64) {
        while let Some(first) = self.by_place.first_entry() {
            if first.key().0 >= created {
                break;
            }
            self.places.remove(&first.remove().id);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_place.len()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.by_place.values().rev().map(|o| o.id.clone()).collect()
    }

    /// Objects newest first, behind `after` and within `created`, which are `(from, until)` inclusive.
    pub(super) fn newest_first<'a>(
        &'a self,
        after: Option<&str>,
        created: (i64, i64),
    ) -> Box<dyn Iterator<Item = &'a Object> + 'a> {
        let low = (created.0, 0);
        let mut high = (created.1, u64::MAX);
        if let Some(place) = after.and_then(|id| self.places.get(id)) {
            high = high.min((place.0, place.1.saturating_sub(1)));
        }
        if low > high {
            return Box::new(std::iter::empty());
        }
        Box::new(self.by_place.range(low..=high).rev().map(|(_, o)| o))
    }

    /// Objects oldest first, in front of `before` in the listing (that is: newer ones).
    pub(super) fn oldest_first<'a>(
        &'a self,
        before: &str,
        created: (i64, i64),
    ) -> Box<dyn Iterator<Item = &'a Object> + 'a> {
        let Some(place) = self.places.get(before) else { return Box::new(std::iter::empty()) };
        let low = (created.0, 0).max((place.0, place.1 + 1));
        let high = (created.1, u64::MAX);
        if low > high {
            return Box::new(std::iter::empty());
        }
        Box::new(self.by_place.range(low..=high).map(|(_, o)| o))
    }
}

/// Everything the sandbox holds.
#[derive(Debug, Default)]
pub(super) struct Store {
    collections: HashMap<Kind, Collection>,
    ids: u64,
}

impl Store {
    pub(super) fn of(&self, kind: Kind) -> Option<&Collection> {
        self.collections.get(&kind)
    }

    pub(super) fn of_mut(&mut self, kind: Kind) -> &mut Collection {
        self.collections.entry(kind).or_default()
    }

    pub(super) fn find(&self, kind: Kind, id: &str) -> Option<&Object> {
        self.of(kind)?.get(id)
    }

    /// Also one that was deleted.
    pub(super) fn find_ever(&self, kind: Kind, id: &str) -> Option<&Object> {
        let collection = self.of(kind)?;
        collection.get(id).or_else(|| collection.deleted(id))
    }

    pub(super) fn new_id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        format!("{prefix}_{:014}", self.ids)
    }
}
