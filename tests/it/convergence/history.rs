//! A seed's history: what happens to an account, step by step, and what is written down of it.

use std::collections::BTreeMap;

use connector_testkit::sandbox::chance::Chance;
use connector_testkit::sandbox::stripe::{Kind, StripeSandbox};
use serde_json::{Value, json};

use super::book::{Charge, Customer, Cut, Dispute, Item, Open, State, Subscription};
use crate::support::clock::TestClock;

/// Everything that can happen. A run of all seeds must have done each.
pub(super) const OPERATIONS: [&str; 48] = [
    "add an item",
    "archive a price",
    "archive a product",
    "bill in vain",
    "bill well",
    "cancel",
    "cancel a schedule",
    "cancel at the end",
    "change the price",
    "change the quantity",
    "charge",
    "create a coupon",
    "create a customer",
    "create a price",
    "create a product",
    "cut a customer's price",
    "cut a subscription's price",
    "delete a coupon",
    "delete a customer",
    "delete a product",
    "dispute",
    "end a customer's cut",
    "end a subscription's cut",
    "end a trial unpaid",
    "fail a charge",
    "give up an invoice",
    "go on after all",
    "inquire",
    "invoice once",
    "lose a dispute",
    "pause collection",
    "pay an open invoice",
    "pay outside",
    "pay with a bad card",
    "pay with a good card",
    "refund",
    "release a schedule",
    "rename a coupon",
    "rename a product",
    "resume",
    "resume collection",
    "schedule",
    "schedule for later",
    "subscribe",
    "try out",
    "update a customer",
    "void an invoice",
    "win a dispute",
];

#[derive(Debug, Clone)]
struct Price {
    id: String,
    unit: i64,
    months: i64,
    product: String,
}

/// An account with a past.
pub(super) struct History {
    sandbox: std::sync::Arc<StripeSandbox>,
    clock: TestClock,
    chance: Chance,
    name: String,
    prices: Vec<Price>,
    products: Vec<String>,
    coupons: Vec<Cut>,
    pub(super) customers: Vec<Customer>,
    /// External ids of companies that are there before their customers.
    companies: Vec<String>,
    pub(super) done: BTreeMap<&'static str, u64>,
    made: u64,
}

fn id_of(object: &Value) -> String {
    object["id"].as_str().unwrap().to_owned()
}

impl History {
    pub(super) fn new(
        sandbox: std::sync::Arc<StripeSandbox>,
        clock: TestClock,
        chance: Chance,
        name: &str,
        companies: Vec<String>,
    ) -> Self {
        let mut history = Self {
            sandbox,
            clock,
            chance,
            name: name.to_owned(),
            prices: Vec::new(),
            products: Vec::new(),
            coupons: Vec::new(),
            customers: Vec::new(),
            companies,
            done: BTreeMap::new(),
            made: 0,
        };
        for _ in 0..2 {
            history.create_product();
            history.create_price();
        }
        history.create_coupon();
        for _ in 0..2 {
            history.create_customer();
            history.subscribe(false);
        }
        history
    }

    fn post(&self, path: &str, form: &Value) -> Value {
        self.sandbox
            .call("POST", path, form)
            .unwrap_or_else(|e| panic!("{}: POST {path} {form}: {e}", self.name))
    }

    fn post_refused(&self, path: &str, form: &Value) {
        let refused = self.sandbox.call("POST", path, form).unwrap_err();
        assert_eq!(refused.status, 402, "{}: POST {path}: {refused}", self.name);
    }

    fn next(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.chance.below(n as u64)).unwrap()
    }

    /// Lets some hours pass, then something happen that can.
    pub(super) fn step(&mut self) -> &'static str {
        let hours = 1 + i64::try_from(self.chance.below(4)).unwrap();
        self.clock.advance_us(hours * 3_600_000_000);
        loop {
            let operation = OPERATIONS[self.below(OPERATIONS.len())];
            if self.happen(operation) {
                *self.done.entry(operation).or_default() += 1;
                return operation;
            }
        }
    }

    /// One that is there.
    fn customer(&mut self) -> Option<usize> {
        let there: Vec<usize> = (0..self.customers.len()).filter(|&c| !self.customers[c].gone).collect();
        self.chance.pick(&there).copied()
    }

    /// A subscription that fits.
    fn subscription(&mut self, fits: impl Fn(&Customer, &Subscription) -> bool) -> Option<(usize, usize)> {
        let mut found = Vec::new();
        for (c, customer) in self.customers.iter().enumerate().filter(|(_, c)| !c.gone) {
            for (s, subscription) in customer.subscriptions.iter().enumerate() {
                if fits(customer, subscription) {
                    found.push((c, s));
                }
            }
        }
        self.chance.pick(&found).copied()
    }

    fn charge(&mut self, fits: impl Fn(&Charge) -> bool) -> Option<(usize, usize)> {
        let mut found = Vec::new();
        for (c, customer) in self.customers.iter().enumerate() {
            found.extend(
                customer.charges.iter().enumerate().filter(|(_, charge)| fits(charge)).map(|(n, _)| (c, n)),
            );
        }
        self.chance.pick(&found).copied()
    }

    fn open(&mut self, fits: impl Fn(&Open) -> bool) -> Option<(usize, Open)> {
        let mut found = Vec::new();
        for (c, customer) in self.customers.iter_mut().enumerate().filter(|(_, c)| !c.gone) {
            found.extend(customer.open.iter().enumerate().filter(|(_, o)| fits(o)).map(|(n, _)| (c, n)));
        }
        let (c, n) = self.chance.pick(&found).copied()?;
        Some((c, self.customers[c].open.remove(n)))
    }

    /// False where there is nothing that it could happen to.
    fn happen(&mut self, operation: &str) -> bool {
        self.catalog(operation)
            .or_else(|| self.people(operation))
            .or_else(|| self.terms(operation))
            .or_else(|| self.invoices(operation))
            .or_else(|| self.payments(operation))
            .unwrap_or_else(|| panic!("{operation}: nobody knows it"))
    }

    // --- the catalogue

    fn catalog(&mut self, operation: &str) -> Option<bool> {
        let n = self.made + 1;
        match operation {
            "create a product" => self.create_product(),
            "create a price" => self.create_price(),
            "create a coupon" => self.create_coupon(),
            "rename a product" | "archive a product" => {
                let product = self.chance.pick(&self.products).cloned().unwrap();
                let form = match operation {
                    "rename a product" => json!({"name": format!("Plan {n} of {}", self.name)}),
                    _ => json!({"active": "false"}),
                };
                self.next();
                self.post(&format!("/v1/products/{product}"), &form);
            }
            "archive a price" => {
                let price = self.below(self.prices.len());
                let price = self.prices[price].id.clone();
                self.next();
                self.post(
                    &format!("/v1/prices/{price}"),
                    &json!({"active": "false", "nickname": format!("Old {n}")}),
                );
            }
            "delete a product" => {
                let unsold: Vec<String> = self
                    .products
                    .iter()
                    .filter(|p| self.prices.iter().all(|price| price.product != **p))
                    .cloned()
                    .collect();
                let Some(product) = self.chance.pick(&unsold).cloned() else { return Some(false) };
                self.sandbox.call("DELETE", &format!("/v1/products/{product}"), &json!({})).unwrap();
                self.products.retain(|p| *p != product);
            }
            "rename a coupon" | "delete a coupon" => {
                if self.coupons.is_empty() {
                    return Some(false);
                }
                let at = self.below(self.coupons.len());
                let path = format!("/v1/coupons/{}", self.coupons[at].coupon);
                if operation == "delete a coupon" {
                    // Who has it keeps its cut.
                    self.coupons.remove(at);
                    self.sandbox.call("DELETE", &path, &json!({})).unwrap();
                } else {
                    self.next();
                    self.post(&path, &json!({"name": format!("Offer {n}")}));
                }
            }
            _ => return None,
        }
        Some(true)
    }

    fn create_product(&mut self) {
        let n = self.next();
        let product = self.post("/v1/products", &json!({"name": format!("Plan {n} of {}", self.name)}));
        self.products.push(id_of(&product));
    }

    fn create_price(&mut self) {
        let unit = 100 * i64::try_from(1 + self.chance.below(500)).unwrap();
        let months = if self.chance.hits(300) { 12 } else { 1 };
        let product = self.chance.pick(&self.products).cloned().unwrap();
        let price = self.post(
            "/v1/prices",
            &json!({"product": product, "currency": "usd", "unit_amount": unit.to_string(),
                "recurring": {"interval": if months == 12 { "year" } else { "month" }}}),
        );
        self.prices.push(Price { id: id_of(&price), unit, months, product });
    }

    fn create_coupon(&mut self) {
        let forever = self.chance.hits(750);
        let (percent, off) = if self.chance.hits(500) {
            ([10, 20, 25, 50, 100][self.below(5)], 0)
        } else {
            (0, 100 * i64::try_from(1 + self.chance.below(100)).unwrap())
        };
        let mut form = json!({"duration": if forever { "forever" } else { "once" }});
        if percent > 0 {
            form["percent_off"] = json!(percent.to_string());
        } else {
            form["amount_off"] = json!(off.to_string());
            form["currency"] = json!("usd");
        }
        let coupon = id_of(&self.post("/v1/coupons", &form));
        self.coupons.push(Cut { coupon, percent, off, forever });
    }

    // --- customers

    fn people(&mut self, operation: &str) -> Option<bool> {
        if operation == "create a customer" {
            if self.customers.len() >= 5 {
                return Some(false);
            }
            self.create_customer();
            return Some(true);
        }
        let known = [
            "update a customer",
            "delete a customer",
            "pay with a bad card",
            "pay with a good card",
            "cut a customer's price",
            "end a customer's cut",
        ];
        if !known.contains(&operation) {
            return None;
        }
        let Some(c) = self.customer() else { return Some(false) };
        let path = format!("/v1/customers/{}", self.customers[c].id);
        match operation {
            "update a customer" => {
                let n = self.next();
                let form = json!({"description": format!("Change {n}"), "email": format!("c{n}@{}.example", self.name), "metadata": {"n": n.to_string()}});
                self.post(&path, &form);
            }
            "delete a customer" => {
                if self.customers.iter().filter(|c| !c.gone).count() < 2 || !self.chance.hits(400) {
                    return Some(false);
                }
                self.sandbox.call("DELETE", &path, &json!({})).unwrap();
                self.customers[c].gone = true;
                for subscription in &mut self.customers[c].subscriptions {
                    subscription.state = State::Ended;
                }
            }
            "pay with a bad card" | "pay with a good card" => {
                let declines = operation == "pay with a bad card";
                let card = if declines { "pm_card_chargeCustomerFail" } else { "pm_card_visa" };
                let method = self.post(
                    &format!("/v1/payment_methods/{card}/attach"),
                    &json!({"customer": self.customers[c].id}),
                );
                self.post(&path, &json!({"invoice_settings": {"default_payment_method": method["id"]}}));
                self.customers[c].declines = declines;
                self.customers[c].pays = true;
            }
            "cut a customer's price" => {
                let Some(cut) = self.chance.pick(&self.coupons).cloned() else { return Some(false) };
                self.post(&path, &json!({"coupon": cut.coupon}));
                self.customers[c].cut = Some(cut);
            }
            _ => {
                if self.customers[c].cut.is_none() {
                    return Some(false);
                }
                self.sandbox.call("DELETE", &format!("{path}/discount"), &json!({})).unwrap();
                self.customers[c].cut = None;
            }
        }
        Some(true)
    }

    fn create_customer(&mut self) {
        let n = self.next();
        let name = format!("{} Customer {n}", self.name);
        let mut form = json!({"name": name, "email": format!("c{n}@{}.example", self.name)});
        let mut company = name;
        // Several customers may be one company.
        if !self.companies.is_empty() && self.chance.hits(600) {
            company = self.chance.pick(&self.companies).cloned().unwrap();
            form["metadata"] = json!({"company_id": company});
        }
        let customer = self.post("/v1/customers", &form);
        self.customers.push(Customer {
            id: id_of(&customer),
            company,
            gone: false,
            declines: false,
            pays: false,
            cut: None,
            subscriptions: Vec::new(),
            charges: Vec::new(),
            open: Vec::new(),
            outside: 0,
        });
    }

    // --- subscriptions

    fn terms(&mut self, operation: &str) -> Option<bool> {
        let found = match operation {
            "subscribe" => return Some(self.subscribe(false)),
            "try out" => return Some(self.subscribe(true)),
            "change the quantity" | "add an item" | "cancel at the end" | "go on after all" => {
                self.subscription(|_, s| s.runs())
            }
            "change the price" => self.subscription(|_, s| s.runs() && s.items.len() == 1),
            "cut a subscription's price" => self.subscription(|_, s| s.runs()),
            "end a subscription's cut" => self.subscription(|_, s| s.runs() && s.cut.is_some()),
            "pause collection" => self.subscription(|_, s| s.runs() && s.collection.is_none()),
            "resume collection" => self.subscription(|_, s| s.runs() && s.collection.is_some()),
            "cancel" => self.subscription(|_, s| s.state != State::Ended),
            "end a trial unpaid" => self.subscription(|c, s| s.state == State::Trialing && !c.pays),
            "resume" => self.subscription(|_, s| s.state == State::Paused),
            "schedule" => self.subscription(|_, s| s.state == State::Active && s.schedule.is_none()),
            "release a schedule" | "cancel a schedule" => {
                self.subscription(|_, s| s.state != State::Ended && s.schedule.is_some())
            }
            "schedule for later" => return Some(self.schedule_for_later()),
            _ => return None,
        };
        let Some((c, s)) = found else { return Some(false) };
        let subscription = self.customers[c].subscriptions[s].clone();
        let path = format!("/v1/subscriptions/{}", subscription.id);
        match operation {
            "change the quantity" => {
                let i = self.below(subscription.items.len());
                let quantity = 1 + i64::try_from(self.chance.below(20)).unwrap();
                let item = &subscription.items[i].id;
                self.post(&path, &json!({"items": [{"id": item, "quantity": quantity.to_string()}]}));
                self.customers[c].subscriptions[s].items[i].quantity = quantity;
            }
            "add an item" => {
                let prices: Vec<Price> =
                    self.prices.iter().filter(|p| p.months == subscription.months).cloned().collect();
                let price = self.chance.pick(&prices).cloned();
                let Some(price) = price.filter(|_| subscription.items.len() < 4) else { return Some(false) };
                let answer = self.post(&path, &json!({"items": [{"price": price.id, "quantity": "2"}]}));
                let id = id_of(answer["items"]["data"].as_array().unwrap().last().unwrap());
                self.customers[c].subscriptions[s].items.push(Item { id, unit: price.unit, quantity: 2 });
            }
            "change the price" => {
                let at = self.below(self.prices.len());
                let price = self.prices[at].clone();
                self.post(&path, &json!({"items": [{"id": subscription.items[0].id, "price": price.id}]}));
                let changed = &mut self.customers[c].subscriptions[s];
                changed.items[0].unit = price.unit;
                changed.months = price.months;
                let fails = self.customers[c].declines;
                self.billed(c, s, fails);
            }
            "cut a subscription's price" => {
                let Some(cut) = self.chance.pick(&self.coupons).cloned() else { return Some(false) };
                self.post(&path, &json!({"discounts": [{"coupon": cut.coupon}]}));
                self.customers[c].subscriptions[s].cut = Some(cut);
            }
            "end a subscription's cut" => {
                self.post(&path, &json!({"discounts": []}));
                self.customers[c].subscriptions[s].cut = None;
            }
            "cancel at the end" => drop(self.post(&path, &json!({"cancel_at_period_end": "true"}))),
            "go on after all" => drop(self.post(&path, &json!({"cancel_at_period_end": "false"}))),
            "pause collection" => {
                let behavior = ["void", "mark_uncollectible", "keep_as_draft"][self.below(3)];
                self.post(&path, &json!({"pause_collection": {"behavior": behavior}}));
                self.customers[c].subscriptions[s].collection = Some(behavior);
            }
            "resume collection" => {
                self.post(&path, &json!({"pause_collection": ""}));
                self.customers[c].subscriptions[s].collection = None;
            }
            "cancel" => {
                self.sandbox.call("DELETE", &path, &json!({})).unwrap();
                self.ended(c, s);
            }
            "end a trial unpaid" => {
                self.post(&path, &json!({"trial_end": "now"}));
                self.customers[c].subscriptions[s].state = State::Paused;
            }
            "resume" => {
                self.post(&format!("{path}/resume"), &json!({}));
                self.customers[c].subscriptions[s].state = State::Active;
                let fails = self.customers[c].declines;
                self.billed(c, s, fails);
            }
            "schedule" => {
                let behavior = ["release", "cancel"][self.below(2)];
                let form = json!({"from_subscription": subscription.id, "end_behavior": behavior});
                let schedule = id_of(&self.post("/v1/subscription_schedules", &form));
                self.post(
                    &format!("/v1/subscription_schedules/{schedule}"),
                    &json!({"metadata": {"step": "1"}}),
                );
                self.customers[c].subscriptions[s].schedule = Some(schedule);
            }
            _ => {
                let end = if operation == "release a schedule" { "release" } else { "cancel" };
                let schedule = subscription.schedule.unwrap();
                self.post(&format!("/v1/subscription_schedules/{schedule}/{end}"), &json!({}));
                if end == "release" {
                    self.customers[c].subscriptions[s].schedule = None;
                } else {
                    self.ended(c, s);
                }
            }
        }
        Some(true)
    }

    fn ended(&mut self, c: usize, s: usize) {
        let subscription = &mut self.customers[c].subscriptions[s];
        subscription.state = State::Ended;
        subscription.schedule = None;
    }

    /// A new subscription of somebody; false where there is nobody.
    fn subscribe(&mut self, trial: bool) -> bool {
        let Some(c) = self.customer() else { return false };
        let at = self.below(self.prices.len());
        let price = self.prices[at].clone();
        let quantity = 1 + i64::try_from(self.chance.below(9)).unwrap();
        let mut form = json!({
            "customer": self.customers[c].id,
            "items": [{"price": price.id, "quantity": quantity.to_string()}],
        });
        let cut = self.chance.pick(&self.coupons).cloned();
        let cut = if self.chance.hits(300) { cut } else { None };
        if let Some(cut) = &cut {
            form["discounts"] = json!([{"coupon": cut.coupon}]);
        }
        if trial {
            form["trial_period_days"] = json!((2 + self.chance.below(60) + 40).to_string());
            form["trial_settings"] = json!({"end_behavior": {"missing_payment_method": "pause"}});
        }
        let made = self.post("/v1/subscriptions", &form);
        let item = Item { id: id_of(&made["items"]["data"][0]), unit: price.unit, quantity };
        self.customers[c].subscriptions.push(Subscription {
            id: id_of(&made),
            items: vec![item],
            months: price.months,
            cut,
            state: if trial { State::Trialing } else { State::Active },
            collection: None,
            schedule: None,
        });
        if !trial {
            let s = self.customers[c].subscriptions.len() - 1;
            let fails = self.customers[c].declines;
            self.billed(c, s, fails);
            let subscription = &mut self.customers[c].subscriptions[s];
            if subscription.state == State::PastDue {
                // Its first invoice is unpaid.
                subscription.state = State::Incomplete;
            }
        }
        true
    }

    fn schedule_for_later(&mut self) -> bool {
        let Some(c) = self.customer() else { return false };
        let at = self.below(self.prices.len());
        let form = json!({
            "customer": self.customers[c].id, "start_date": "4102444800",
            "phases": [{"items": [{"price": self.prices[at].id, "quantity": "1"}]}],
        });
        let schedule = id_of(&self.post("/v1/subscription_schedules", &form));
        if self.chance.hits(500) {
            self.post(&format!("/v1/subscription_schedules/{schedule}/cancel"), &json!({}));
        }
        true
    }

    /// Notes what the invoice that was just made of a subscription came to.
    fn billed(&mut self, c: usize, s: usize, fails: bool) {
        let customer = &self.customers[c];
        let subscription = &customer.subscriptions[s];
        let amount = customer.bill_of(subscription);
        let id = subscription.id.clone();
        if let Some(collection) = subscription.collection {
            // An invoice of nothing is paid as soon as it is final; any other is given up, or stays a draft.
            if amount == 0 && collection != "keep_as_draft" {
                self.customers[c].subscriptions[s].state = State::Active;
            }
            return;
        }
        if fails && amount > 0 {
            let now = self.sandbox.object(Kind::Subscriptions, &id).unwrap();
            let invoice = now["latest_invoice"].as_str().unwrap().to_owned();
            self.customers[c].open.push(Open { id: invoice, amount, subscription: Some(id) });
            self.customers[c].subscriptions[s].state = State::PastDue;
            return;
        }
        if amount > 0 {
            self.paid(c, amount);
        }
        self.customers[c].subscriptions[s].state = State::Active;
    }

    /// Notes the charge that was just made.
    fn paid(&mut self, c: usize, amount: i64) {
        let id = self.sandbox.ids(Kind::Charges).remove(0);
        let charge = self.sandbox.object(Kind::Charges, &id).unwrap();
        let (taken, status) = (&charge["amount_captured"], &charge["status"]);
        assert_eq!((taken, status), (&json!(amount), &json!("succeeded")), "{}: what {id} took", self.name);
        self.customers[c].charges.push(Charge { id, amount, refunded: 0, dispute: None });
    }

    // --- invoices

    fn invoices(&mut self, operation: &str) -> Option<bool> {
        match operation {
            "bill well" | "bill in vain" => {
                let Some((c, s)) = self.subscription(|_, s| s.runs()) else { return Some(false) };
                let fails = operation == "bill in vain";
                let id = self.customers[c].subscriptions[s].id.clone();
                self.sandbox.bill(&id, !fails).unwrap();
                self.billed(c, s, fails);
            }
            "invoice once" | "pay outside" => {
                let Some(c) = self.customer() else { return Some(false) };
                let sum = 100 * i64::try_from(1 + self.chance.below(300)).unwrap();
                let customer = self.customers[c].id.clone();
                let item = json!({"customer": customer, "amount": sum.to_string(), "currency": "usd"});
                self.post("/v1/invoiceitems", &item);
                let form = json!({"customer": customer, "pending_invoice_items_behavior": "include"});
                let invoice = id_of(&self.post("/v1/invoices", &form));
                let amount = self.customers[c].billed(sum, None);
                let pay = format!("/v1/invoices/{invoice}/pay");
                if operation == "pay outside" {
                    self.post(&pay, &json!({"paid_out_of_band": "true"}));
                    self.customers[c].outside += amount;
                } else if self.customers[c].declines && amount > 0 {
                    self.post_refused(&pay, &json!({}));
                    self.customers[c].open.push(Open { id: invoice, amount, subscription: None });
                } else {
                    self.post(&pay, &json!({}));
                    if amount > 0 {
                        self.paid(c, amount);
                    }
                }
            }
            "pay an open invoice" => {
                let Some((c, open)) = self.open(|_| true) else { return Some(false) };
                self.post(
                    &format!("/v1/invoices/{}/pay", open.id),
                    &json!({"payment_method": "pm_card_visa"}),
                );
                self.paid(c, open.amount);
                let Some(id) = open.subscription else { return Some(true) };
                let now = self.sandbox.object(Kind::Subscriptions, &id).unwrap();
                let s = self.customers[c].subscriptions.iter_mut().find(|s| s.id == id).unwrap();
                let waits = matches!(s.state, State::PastDue | State::Incomplete);
                if waits && now["latest_invoice"] == open.id.as_str() {
                    s.state = State::Active;
                }
            }
            "void an invoice" | "give up an invoice" => {
                let Some((c, open)) = self.open(|_| true) else { return Some(false) };
                let end = if operation == "void an invoice" { "void" } else { "mark_uncollectible" };
                self.post(&format!("/v1/invoices/{}/{end}", open.id), &json!({}));
                let subscriptions = &mut self.customers[c].subscriptions;
                if let Some(s) = subscriptions.iter_mut().find(|s| Some(&s.id) == open.subscription.as_ref())
                    && s.state == State::Incomplete
                    && end == "void"
                {
                    s.state = State::Ended;
                }
            }
            _ => return None,
        }
        Some(true)
    }

    // --- money

    fn payments(&mut self, operation: &str) -> Option<bool> {
        match operation {
            "charge" | "fail a charge" | "inquire" => {
                let Some(c) = self.customer() else { return Some(false) };
                let amount = i64::try_from(50 + self.chance.below(50_000)).unwrap();
                let card = match operation {
                    "charge" => "tok_visa",
                    "inquire" => "tok_createDisputeInquiry",
                    _ => "tok_chargeDeclinedInsufficientFunds",
                };
                let form = json!({"customer": self.customers[c].id, "amount": amount.to_string(), "currency": "usd", "source": card});
                if operation == "fail a charge" {
                    self.post_refused("/v1/charges", &form);
                    return Some(true);
                }
                self.post("/v1/charges", &form);
                self.paid(c, amount);
                if operation == "inquire" {
                    let dispute = self.sandbox.ids(Kind::Disputes).remove(0);
                    self.customers[c].charges.last_mut().unwrap().dispute = Some((dispute, Dispute::Inquiry));
                }
            }
            "refund" => {
                let fits = |charge: &Charge| charge.dispute.is_none() && charge.refunded < charge.amount;
                let Some((c, n)) = self.charge(fits) else { return Some(false) };
                let (id, left) = {
                    let charge = &self.customers[c].charges[n];
                    (charge.id.clone(), charge.amount - charge.refunded)
                };
                let amount = if self.chance.hits(500) {
                    left
                } else {
                    1 + i64::try_from(self.chance.below(left.unsigned_abs())).unwrap()
                };
                self.post("/v1/refunds", &json!({"charge": id, "amount": amount.to_string()}));
                self.customers[c].charges[n].refunded += amount;
            }
            "dispute" => {
                let Some((c, n)) = self.charge(|charge| charge.dispute.is_none()) else { return Some(false) };
                let dispute = self.sandbox.dispute(&self.customers[c].charges[n].id).unwrap();
                self.customers[c].charges[n].dispute = Some((id_of(&dispute), Dispute::Open));
            }
            "win a dispute" | "lose a dispute" => {
                let fits = |charge: &Charge| matches!(charge.dispute, Some((_, Dispute::Open)));
                let Some((c, n)) = self.charge(fits) else { return Some(false) };
                let won = operation == "win a dispute";
                let evidence = if won { "winning_evidence" } else { "losing_evidence" };
                let (id, state) = self.customers[c].charges[n].dispute.as_mut().unwrap();
                *state = if won { Dispute::Won } else { Dispute::Lost };
                let path = format!("/v1/disputes/{id}");
                self.post(&path, &json!({"evidence": {"uncategorized_text": evidence}}));
            }
            _ => return None,
        }
        Some(true)
    }

    /// Somebody, for a change that is not of this history.
    pub(super) fn bystander(&self) -> Option<&str> {
        self.customers.iter().find(|c| !c.gone).map(|c| c.id.as_str())
    }
}
