//! Subscriptions.

use serde_json::{Value, json};

use super::billing::Pay;
use super::fields::{missing_param, number, required, set, text};
use super::read::Refusal;
use super::shapes;
use super::store::Kind;
use super::write::{Ctx, Written};

/// A trial's end is announced this long before, in seconds.
const WARNED_BEFORE: i64 = 3 * 86_400;

impl Ctx<'_> {
    pub(super) fn create_subscription(&mut self, form: &Value) -> Written {
        let customer = required(form, "customer")?.to_owned();
        self.doc(Kind::Customers, &customer, "customer")?;
        let items = form.get("items").and_then(Value::as_array).ok_or_else(|| missing_param("items"))?;
        let id = self.store.new_id("sub");
        let mut currency = None;
        let mut built = Vec::new();
        let trial_end = number(form, "trial_end")
            .or_else(|| number(form, "trial_period_days").map(|days| self.now + days * 86_400));
        for item in items {
            let item = self.build_item(&id, item, trial_end)?;
            let price = self.doc(Kind::Prices, item["price"].as_str().unwrap_or_default(), "items[price]")?;
            currency = currency.or_else(|| price["currency"].as_str().map(str::to_owned));
            built.push(item);
        }
        let currency = text(form, "currency").map(str::to_owned).or(currency).unwrap_or_else(|| "usd".into());
        let mut doc = shapes::subscription(&id, self.now, self.live, &customer, &currency);
        doc["items"] = Value::Array(built);
        if let Some(trial_end) = trial_end {
            doc["status"] = json!("trialing");
            doc["trial_start"] = json!(self.now);
            doc["trial_end"] = json!(trial_end);
        }
        self.apply_to_subscription(&mut doc, form)?;
        self.take_currency(&customer, &currency)?;
        let waits = text(form, "payment_behavior") == Some("default_incomplete") && trial_end.is_none();
        if waits {
            doc["status"] = json!("incomplete");
        }
        // The first invoice is named by what is announced.
        let invoice = trial_end.is_none().then(|| self.store.new_id(Kind::Invoices.prefix()));
        if invoice.is_some() {
            doc["latest_invoice"] = json!(invoice);
        }
        self.put(Kind::Subscriptions, doc, Some("customer.subscription.created"));
        if let Some(invoice) = invoice {
            let pay = if waits { Pay::Later } else { Pay::ByMethod };
            self.bill_as(&id, Some(invoice), "subscription_create", pay)?;
        }
        if trial_end.is_some_and(|end| end <= self.now + WARNED_BEFORE) {
            self.announce(Kind::Subscriptions, &id, "customer.subscription.trial_will_end")?;
        }
        self.shown(Kind::Subscriptions, &id)
    }

    pub(super) fn build_item(&mut self, subscription: &str, form: &Value, until: Option<i64>) -> Written {
        let price_id = required(form, "price")?;
        let price = self.doc(Kind::Prices, price_id, "items[price]")?;
        let metered = price["recurring"]["usage_type"] == "metered";
        let quantity = if metered { None } else { Some(number(form, "quantity").unwrap_or(1)) };
        let id = self.store.new_id("si");
        let end = until.unwrap_or_else(|| shapes::period_end(&price, self.now));
        let mut item = shapes::item(&id, self.now, subscription, price_id, quantity, (self.now, end));
        if let Some(Value::Array(discounts)) = form.get("discounts") {
            item["discounts"] = self.discounts(discounts)?;
        }
        Ok(item)
    }

    pub(super) fn update_subscription(&mut self, id: &str, form: &Value) -> Written {
        let form = form.clone();
        let mut moved = false;
        let shown = self.change(Kind::Subscriptions, id, "customer.subscription.updated", |cx, doc| {
            for wanted in form.get("items").and_then(Value::as_array).into_iter().flatten() {
                let Some(item_id) = text(wanted, "id") else {
                    let item = cx.build_item(id, wanted, None)?;
                    if let Some(items) = doc["items"].as_array_mut() {
                        items.push(item);
                    }
                    continue;
                };
                let price = match text(wanted, "price") {
                    Some(price) => Some(cx.doc(Kind::Prices, price, "items[price]")?),
                    None => None,
                };
                let Some(items) = doc["items"].as_array_mut() else { continue };
                if text(wanted, "deleted") == Some("true") {
                    items.retain(|i| i["id"].as_str() != Some(item_id));
                    continue;
                }
                let item = items.iter_mut().find(|i| i["id"].as_str() == Some(item_id)).ok_or_else(|| {
                    Refusal::invalid("items[id]", format!("No such subscription item: '{item_id}'"))
                })?;
                if let Some(price) = price {
                    item["price"] = price["id"].clone();
                    item["current_period_start"] = json!(cx.now);
                    item["current_period_end"] = json!(shapes::period_end(&price, cx.now));
                    moved = true;
                }
                if let Some(quantity) = number(wanted, "quantity") {
                    item["quantity"] = json!(quantity);
                }
            }
            cx.apply_to_subscription(doc, &form)
        })?;
        if text(&form, "trial_end") == Some("now") && shown["status"] == "trialing" {
            return self.end_trial(id);
        }
        if moved {
            self.bill_as(id, None, "subscription_update", Pay::ByMethod)?;
            return self.shown(Kind::Subscriptions, id);
        }
        Ok(shown)
    }

    /// The members that creating and updating share.
    fn apply_to_subscription(&mut self, doc: &mut Value, form: &Value) -> Result<(), Refusal> {
        set(
            doc,
            form,
            &["description", "collection_method"],
            &["cancel_at", "days_until_due"],
            &["cancel_at_period_end"],
        );
        if let Some(flag) = form.get("cancel_at_period_end") {
            let end = doc["items"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|i| i["current_period_end"].as_i64());
            let end = end.min();
            let on = flag == "true";
            doc["cancel_at"] = if on { json!(end) } else { Value::Null };
            doc["canceled_at"] = if on { json!(self.now) } else { Value::Null };
        }
        if let Some(Value::Array(discounts)) = form.get("discounts") {
            doc["discounts"] = self.discounts(discounts)?;
        }
        if let Some(method) = text(form, "default_payment_method") {
            doc["default_payment_method"] = match method {
                "" => Value::Null,
                method => self.method(method)?["id"].clone(),
            };
        }
        if let Some(behavior) = form.get("trial_settings").and_then(|s| s.get("end_behavior")) {
            let wanted = required(behavior, "missing_payment_method")?;
            doc["trial_settings"]["end_behavior"]["missing_payment_method"] = json!(wanted);
        }
        match form.get("pause_collection") {
            Some(Value::String(empty)) if empty.is_empty() => doc["pause_collection"] = Value::Null,
            Some(pause) => {
                doc["pause_collection"] = json!({
                    "behavior": required(pause, "behavior")?, "resumes_at": number(pause, "resumes_at"),
                });
            }
            None => {}
        }
        Ok(())
    }

    /// Ends a subscription now, and the schedule that it follows.
    pub(super) fn cancel(&mut self, id: &str) -> Written {
        let before = self.doc(Kind::Subscriptions, id, "id")?;
        if before["status"] == "canceled" {
            return Err(Refusal::missing(Kind::Subscriptions, id, "id"));
        }
        let shown = self.change(Kind::Subscriptions, id, "customer.subscription.deleted", |cx, doc| {
            doc["status"] = json!("canceled");
            doc["canceled_at"] = json!(cx.now);
            doc["ended_at"] = json!(cx.now);
            Ok(())
        })?;
        if let Some(schedule) = before["schedule"].as_str() {
            self.schedule_canceled(schedule)?;
        }
        Ok(shown)
    }

    /// Ends a trial now: billed, or paused where nothing is there to pay with and the subscription says so.
    fn end_trial(&mut self, id: &str) -> Written {
        let doc = self.doc(Kind::Subscriptions, id, "id")?;
        let pauses = doc["trial_settings"]["end_behavior"]["missing_payment_method"] == "pause"
            && doc["default_payment_method"].is_null()
            && self.default_method(doc["customer"].as_str()).is_none();
        let events: &[&str] = if pauses {
            &["customer.subscription.paused", "customer.subscription.updated"]
        } else {
            &["customer.subscription.updated"]
        };
        self.change_as(Kind::Subscriptions, id, events, |cx, doc| {
            doc["status"] = json!(if pauses { "paused" } else { "active" });
            doc["trial_end"] = json!(cx.now);
            cx.begin_periods(doc)
        })?;
        if !pauses {
            self.bill_as(id, None, "subscription_cycle", Pay::ByMethod)?;
        }
        self.shown(Kind::Subscriptions, id)
    }

    /// Takes a paused subscription up again.
    pub(super) fn resume(&mut self, id: &str) -> Written {
        if self.doc(Kind::Subscriptions, id, "id")?["status"] != "paused" {
            return Err(Refusal::bad("Only a paused subscription can be resumed."));
        }
        let events = ["customer.subscription.resumed", "customer.subscription.updated"];
        self.change_as(Kind::Subscriptions, id, &events, |cx, doc| {
            doc["status"] = json!("active");
            cx.begin_periods(doc)
        })?;
        self.bill_as(id, None, "subscription_cycle", Pay::ByMethod)?;
        self.shown(Kind::Subscriptions, id)
    }

    /// Every item's period begins now.
    fn begin_periods(&mut self, doc: &mut Value) -> Result<(), Refusal> {
        for item in doc["items"].as_array_mut().into_iter().flatten() {
            let price = self.doc(Kind::Prices, item["price"].as_str().unwrap_or_default(), "price")?;
            item["current_period_start"] = json!(self.now);
            item["current_period_end"] = json!(shapes::period_end(&price, self.now));
        }
        Ok(())
    }

    pub(super) fn subscriptions_of(&self, customer: &str) -> Vec<String> {
        let all = self.store.of(Kind::Subscriptions);
        all.map(|all| {
            all.newest_first(None, (i64::MIN, i64::MAX))
                .filter(|s| {
                    s.customer.as_deref() == Some(customer) && s.status.as_deref() != Some("canceled")
                })
                .map(|s| s.id.clone())
                .collect()
        })
        .unwrap_or_default()
    }
}
