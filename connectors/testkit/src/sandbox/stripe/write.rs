//! Creating, changing and deleting objects, each with the events that Stripe sends for it.

use serde_json::{Map, Value, json};

use super::events::{Outbox, emit};
use super::read::Refusal;
use super::store::{Kind, Object, Store};
use super::{render, shapes};

/// What a write works on.
pub(super) struct Ctx<'a> {
    pub(super) store: &'a mut Store,
    pub(super) outbox: &'a mut Outbox,
    pub(super) now: i64,
    pub(super) live: bool,
}

type Written = Result<Value, Refusal>;

impl Ctx<'_> {
    fn emit(&mut self, event: &str, object: &Value, previous: Option<Value>) {
        emit(self.store, self.outbox, event, object.clone(), previous, self.now, self.live);
    }

    /// Stores a document, new or changed, and sends `event` about it.
    pub(super) fn put(&mut self, kind: Kind, doc: Value, event: Option<&str>) -> Value {
        self.store.of_mut(kind).put(Object::of_doc(doc.clone()));
        let shown = render::value(self.store, kind, &doc, &[]);
        if let Some(event) = event {
            self.emit(event, &shown, None);
        }
        shown
    }

    /// The document of an object, or Stripe's refusal.
    pub(super) fn doc(&self, kind: Kind, id: &str, param: &str) -> Written {
        let object = self.store.find(kind, id).ok_or_else(|| Refusal::missing(kind, id, param))?;
        Ok((*object.doc()).clone())
    }

    /// Changes an object and sends `event` with what was there before.
    pub(super) fn change(
        &mut self,
        kind: Kind,
        id: &str,
        event: &str,
        change: impl FnOnce(&mut Self, &mut Value) -> Result<(), Refusal>,
    ) -> Written {
        let before = self.doc(kind, id, "id")?;
        let mut after = before.clone();
        change(self, &mut after)?;
        if after.get("updated").is_some() {
            after["updated"] = json!(self.now);
        }
        self.store.of_mut(kind).put(Object::of_doc(after.clone()));
        let old = render::value(self.store, kind, &before, &[]);
        let new = render::value(self.store, kind, &after, &[]);
        let previous: Map<String, Value> = old
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, value)| new.get(*name) != Some(value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !previous.is_empty() {
            self.emit(event, &new, Some(Value::Object(previous)));
        }
        Ok(new)
    }

    /// Deletes an object and sends `event`.
    pub(super) fn delete(&mut self, kind: Kind, id: &str) -> Written {
        let doc = self.doc(kind, id, "id")?;
        let shown = render::value(self.store, kind, &doc, &[]);
        if kind == Kind::Customers {
            // Stripe cancels the subscriptions of a customer that is deleted.
            for subscription in self.subscriptions_of(id) {
                self.cancel(&subscription)?;
            }
        }
        self.store.of_mut(kind).remove(id);
        self.emit(&format!("{}.deleted", kind.object()), &shown, None);
        Ok(json!({"id": id, "object": kind.object(), "deleted": true}))
    }

    fn subscriptions_of(&self, customer: &str) -> Vec<String> {
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

    /// Ends a subscription now.
    pub(super) fn cancel(&mut self, id: &str) -> Written {
        self.change(Kind::Subscriptions, id, "customer.subscription.deleted", |cx, doc| {
            doc["status"] = json!("canceled");
            doc["canceled_at"] = json!(cx.now);
            doc["ended_at"] = json!(cx.now);
            Ok(())
        })
    }

    /// A `POST` or `DELETE` as Stripe takes it.
    pub(super) fn call(&mut self, method: &str, path: &[&str], form: &Value) -> Written {
        match (method, path) {
            ("POST", ["customers"]) => self.create_customer(form),
            ("POST", ["customers", id]) => self.change(Kind::Customers, id, "customer.updated", |_, doc| {
                set(doc, form, &["name", "email", "description", "phone"], &["balance"], &[]);
                Ok(())
            }),
            ("POST", ["products"]) => self.create_product(form),
            ("POST", ["products", id]) => self.change(Kind::Products, id, "product.updated", |_, doc| {
                set(doc, form, &["name", "description", "default_price"], &[], &["active"]);
                Ok(())
            }),
            ("POST", ["prices"]) => self.create_price(form),
            ("POST", ["prices", id]) => self.change(Kind::Prices, id, "price.updated", |_, doc| {
                set(doc, form, &["nickname", "lookup_key"], &[], &["active"]);
                Ok(())
            }),
            ("POST", ["tax_rates"]) => self.create_tax_rate(form),
            ("POST", ["tax_rates", id]) => self.change(Kind::TaxRates, id, "tax_rate.updated", |_, doc| {
                set(doc, form, &["display_name", "description"], &[], &["active"]);
                Ok(())
            }),
            ("POST", ["coupons"]) => self.create_coupon(form),
            ("POST", ["coupons", id]) => self.change(Kind::Coupons, id, "coupon.updated", |_, doc| {
                set(doc, form, &["name"], &[], &[]);
                Ok(())
            }),
            ("POST", ["subscriptions"]) => self.create_subscription(form),
            ("POST", ["subscriptions", id]) => self.update_subscription(id, form),
            ("DELETE", ["subscriptions", id]) => self.cancel(id),
            ("POST", ["charges"]) => {
                let amount = required_number(form, "amount")?;
                let customer = text(form, "customer").map(str::to_owned);
                let currency = required(form, "currency")?.to_owned();
                if let Some(customer) = &customer {
                    self.doc(Kind::Customers, customer, "customer")?;
                }
                Ok(self.charge(customer.as_deref(), &currency, amount, true))
            }
            ("POST", ["refunds"]) => {
                let charge = required(form, "charge")?.to_owned();
                self.refund(&charge, number(form, "amount"))
            }
            ("DELETE", ["customers", id]) => self.delete(Kind::Customers, id),
            ("DELETE", ["products", id]) => self.delete(Kind::Products, id),
            ("DELETE", ["coupons", id]) => self.delete(Kind::Coupons, id),
            _ => Err(Refusal::unknown_url(method, &format!("/v1/{}", path.join("/")))),
        }
    }

    fn create_customer(&mut self, form: &Value) -> Written {
        let id = self.id_or_new(Kind::Customers, form)?;
        let mut doc = shapes::customer(&id, self.now, self.live);
        set(&mut doc, form, &["name", "email", "description", "phone"], &["balance"], &[]);
        if let Some(coupon) = text(form, "coupon") {
            doc["discount"] = self.discount(coupon)?;
            doc["discount"]["customer"] = json!(id);
        }
        Ok(self.put(Kind::Customers, doc, Some("customer.created")))
    }

    fn create_product(&mut self, form: &Value) -> Written {
        let id = self.id_or_new(Kind::Products, form)?;
        let mut doc = shapes::product(&id, self.now, self.live, required(form, "name")?);
        set(&mut doc, form, &["description", "default_price"], &[], &["active"]);
        Ok(self.put(Kind::Products, doc, Some("product.created")))
    }

    fn create_price(&mut self, form: &Value) -> Written {
        let currency = required(form, "currency")?;
        let product = match (text(form, "product"), form.get("product_data")) {
            (Some(id), _) => {
                self.doc(Kind::Products, id, "product")?;
                id.to_owned()
            }
            (None, Some(data)) => {
                let product = self.create_product(data)?;
                product["id"].as_str().unwrap_or_default().to_owned()
            }
            (None, None) => return Err(missing_param("product")),
        };
        let id = self.id_or_new(Kind::Prices, form)?;
        let mut doc = shapes::price(&id, self.now, self.live, &product, currency);
        set(
            &mut doc,
            form,
            &[
                "nickname",
                "lookup_key",
                "billing_scheme",
                "tiers_mode",
                "tax_behavior",
                "unit_amount_decimal",
            ],
            &["unit_amount"],
            &["active"],
        );
        if let Some(amount) = number(form, "unit_amount") {
            doc["unit_amount_decimal"] = json!(amount.to_string());
        } else if let Some(amount) = text(form, "unit_amount_decimal").and_then(|d| d.parse::<i64>().ok()) {
            doc["unit_amount"] = json!(amount);
        }
        if let Some(recurring) = form.get("recurring") {
            doc["type"] = json!("recurring");
            doc["recurring"] = json!({
                "interval": required(recurring, "interval")?,
                "interval_count": number(recurring, "interval_count").unwrap_or(1),
                "meter": null, "trial_period_days": null,
                "usage_type": text(recurring, "usage_type").unwrap_or("licensed"),
            });
        }
        if let Some(transform) = form.get("transform_quantity") {
            doc["transform_quantity"] = json!({
                "divide_by": required_number(transform, "divide_by")?,
                "round": required(transform, "round")?,
            });
        }
        if let Some(Value::Array(tiers)) = form.get("tiers") {
            doc["tiers"] = tiers
                .iter()
                .map(|tier| {
                    let unit = number(tier, "unit_amount");
                    let flat = number(tier, "flat_amount");
                    json!({
                        "up_to": number(tier, "up_to"),
                        "unit_amount": unit,
                        "unit_amount_decimal": unit.map(|u| u.to_string()).or_else(|| text(tier, "unit_amount_decimal").map(str::to_owned)),
                        "flat_amount": flat,
                        "flat_amount_decimal": flat.map(|f| f.to_string()),
                    })
                })
                .collect();
        }
        if let Some(Value::Object(options)) = form.get("currency_options") {
            let options: Map<String, Value> = options
                .iter()
                .map(|(currency, option)| {
                    let amount = number(option, "unit_amount");
                    let option = json!({
                        "custom_unit_amount": null, "tax_behavior": "unspecified", "unit_amount": amount,
                        "unit_amount_decimal": amount.map(|a| a.to_string()),
                    });
                    (currency.clone(), option)
                })
                .collect();
            doc["currency_options"] = Value::Object(options);
        }
        Ok(self.put(Kind::Prices, doc, Some("price.created")))
    }

    fn create_coupon(&mut self, form: &Value) -> Written {
        let id = self.id_or_new(Kind::Coupons, form)?;
        let mut doc = shapes::coupon(&id, self.now, self.live);
        set(
            &mut doc,
            form,
            &["name", "currency", "duration"],
            &["amount_off", "duration_in_months", "max_redemptions", "redeem_by"],
            &[],
        );
        if let Some(percent) = text(form, "percent_off") {
            doc["percent_off"] = percent
                .parse::<f64>()
                .ok()
                .filter(|p| (0.0..=100.0).contains(p))
                .map(|p| json!(p))
                .ok_or_else(|| Refusal::invalid("percent_off", "Invalid decimal"))?;
        }
        if doc["percent_off"].is_null() == doc["amount_off"].is_null() {
            return Err(Refusal::invalid(
                "amount_off",
                "You must pass either percent_off or amount_off, and not both.",
            ));
        }
        if let Some(applies_to) = form.get("applies_to") {
            doc["applies_to"] = applies_to.clone();
        }
        Ok(self.put(Kind::Coupons, doc, Some("coupon.created")))
    }

    fn create_subscription(&mut self, form: &Value) -> Written {
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
        self.change_customer_currency(&customer, &currency);
        self.put(Kind::Subscriptions, doc, Some("customer.subscription.created"));
        if trial_end.is_none() {
            self.bill(&id, true)?;
        }
        let doc = self.doc(Kind::Subscriptions, &id, "id")?;
        Ok(render::value(self.store, Kind::Subscriptions, &doc, &[]))
    }

    /// A customer takes the currency of the first subscription.
    fn change_customer_currency(&mut self, id: &str, currency: &str) {
        if let Ok(mut doc) = self.doc(Kind::Customers, id, "id")
            && doc["currency"].is_null()
        {
            doc["currency"] = json!(currency);
            self.store.of_mut(Kind::Customers).put(Object::of_doc(doc));
        }
    }

    fn build_item(&mut self, subscription: &str, form: &Value, until: Option<i64>) -> Written {
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

    fn update_subscription(&mut self, id: &str, form: &Value) -> Written {
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
        if moved {
            self.bill(id, true)?;
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

    fn discounts(&mut self, wanted: &[Value]) -> Written {
        wanted
            .iter()
            .map(|d| self.discount(required(d, "coupon")?))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array)
    }

    fn discount(&mut self, coupon: &str) -> Written {
        let doc = self.doc(Kind::Coupons, coupon, "coupon")?;
        let id = self.store.new_id("di");
        let end = (doc["duration"] == "repeating").then(|| doc["duration_in_months"].as_i64()).flatten().map(
            |months| {
                let recurring = json!({"recurring": {"interval": "month", "interval_count": months}});
                shapes::period_end(&recurring, self.now)
            },
        );
        Ok(shapes::discount(&id, coupon, self.now, end))
    }

    /// Invoices what a subscription costs for a period, and charges it: well or in vain.
    pub(super) fn bill(&mut self, subscription: &str, succeeds: bool) -> Written {
        let doc = self.doc(Kind::Subscriptions, subscription, "subscription")?;
        let id = self.store.new_id("in");
        let mut lines = Vec::new();
        let mut total = 0;
        for item in doc["items"].as_array().into_iter().flatten() {
            let price = self.doc(Kind::Prices, item["price"].as_str().unwrap_or_default(), "price")?;
            if price["recurring"]["usage_type"] == "metered" {
                continue;
            }
            let amount = shapes::amount(&price, item["quantity"].as_i64().unwrap_or(1));
            let line = self.store.new_id("il");
            lines.push(shapes::line(&line, self.live, &id, &doc["currency"], item, amount));
            total += amount;
        }
        let subtotal = total;
        for discount in doc["discounts"].as_array().into_iter().flatten() {
            let coupon = discount["source"]["coupon"].as_str().unwrap_or_default();
            let Some(coupon) = self.store.find_ever(Kind::Coupons, coupon).map(Object::doc) else { continue };
            let off = match (coupon["amount_off"].as_i64(), coupon["percent_off"].as_f64()) {
                (Some(amount), _) => amount,
                #[expect(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    reason = "a sandbox's invoice"
                )]
                (None, Some(percent)) => (total as f64 * percent / 100.0).round() as i64,
                (None, None) => 0,
            };
            total = (total - off).max(0);
        }
        let mut invoice = shapes::invoice(&id, self.now, self.live, &doc, total);
        invoice["subtotal"] = json!(subtotal);
        invoice["lines"] = Value::Array(lines);
        let customer = doc["customer"].as_str().map(str::to_owned);
        let currency = doc["currency"].as_str().unwrap_or("usd").to_owned();
        let mut doc = doc;
        doc["latest_invoice"] = json!(id);
        self.store.of_mut(Kind::Subscriptions).put(Object::of_doc(doc));
        if total > 0 {
            self.charge(customer.as_deref(), &currency, total, succeeds);
        }
        invoice["attempted"] = json!(total > 0);
        invoice["attempt_count"] = json!(i64::from(total > 0));
        if succeeds {
            invoice["status"] = json!("paid");
            invoice["amount_paid"] = json!(total);
            invoice["amount_remaining"] = json!(0);
            invoice["status_transitions"]["paid_at"] = json!(self.now);
            return Ok(self.put(Kind::Invoices, invoice, Some("invoice.paid")));
        }
        let invoice = self.put(Kind::Invoices, invoice, Some("invoice.payment_failed"));
        self.change(Kind::Subscriptions, subscription, "customer.subscription.updated", |_, doc| {
            doc["status"] = json!("past_due");
            Ok(())
        })?;
        if let Some(customer) = customer {
            self.change(Kind::Customers, &customer, "customer.updated", |_, doc| {
                doc["delinquent"] = json!(true);
                Ok(())
            })?;
        }
        Ok(invoice)
    }

    /// Takes money, or fails to.
    pub(super) fn charge(
        &mut self,
        customer: Option<&str>,
        currency: &str,
        amount: i64,
        succeeds: bool,
    ) -> Value {
        let id = self.store.new_id("ch");
        let mut doc = shapes::charge(&id, self.now, self.live, customer, currency, amount);
        if succeeds {
            doc["balance_transaction"] = self.settle("charge", &id, amount, &doc["currency"]);
            return self.put(Kind::Charges, doc, Some("charge.succeeded"));
        }
        doc["status"] = json!("failed");
        doc["paid"] = json!(false);
        doc["captured"] = json!(false);
        doc["amount_captured"] = json!(0);
        doc["failure_code"] = json!("card_declined");
        doc["failure_message"] = json!("Your card was declined.");
        self.put(Kind::Charges, doc, Some("charge.failed"))
    }

    /// Gives money back: all that is left, or `amount`.
    pub(super) fn refund(&mut self, charge: &str, amount: Option<i64>) -> Written {
        let doc = self.doc(Kind::Charges, charge, "charge")?;
        let left =
            doc["amount_captured"].as_i64().unwrap_or(0) - doc["amount_refunded"].as_i64().unwrap_or(0);
        let amount = amount.unwrap_or(left);
        if amount <= 0 || amount > left {
            return Err(Refusal {
                code: Some("charge_already_refunded"),
                ..Refusal::invalid("amount", "Refund amount is greater than what is left on the charge.")
            });
        }
        let id = self.store.new_id("re");
        let mut refund = shapes::refund(&id, self.now, &doc, amount);
        refund["balance_transaction"] = self.settle("refund", &id, -amount, &refund["currency"]);
        let refund = self.put(Kind::Refunds, refund, Some("refund.created"));
        self.change(Kind::Charges, charge, "charge.refunded", |_, doc| {
            let refunded = doc["amount_refunded"].as_i64().unwrap_or(0) + amount;
            doc["amount_refunded"] = json!(refunded);
            doc["refunded"] = json!(refunded == doc["amount_captured"].as_i64().unwrap_or(0));
            Ok(())
        })?;
        Ok(refund)
    }

    /// A customer disputes a charge.
    pub(super) fn dispute(&mut self, charge: &str) -> Written {
        let doc = self.doc(Kind::Charges, charge, "charge")?;
        let id = self.store.new_id("dp");
        let mut dispute = shapes::dispute(&id, self.now, &doc);
        dispute["balance_transactions"] = json!([self.withdraw(&dispute)]);
        let dispute = self.put(Kind::Disputes, dispute, Some("charge.dispute.created"));
        self.change(Kind::Charges, charge, "charge.updated", |_, doc| {
            doc["disputed"] = json!(true);
            Ok(())
        })?;
        Ok(dispute)
    }

    /// Binds a subscription to a schedule of one phase that ends at `end`.
    pub(super) fn schedule(&mut self, subscription: &str, end: i64, end_behavior: &str) -> Written {
        let doc = self.doc(Kind::Subscriptions, subscription, "subscription")?;
        let id = self.store.new_id(Kind::Schedules.prefix());
        let schedule = shapes::schedule(&id, self.now, &doc, end, end_behavior);
        let schedule = self.put(Kind::Schedules, schedule, Some("subscription_schedule.created"));
        self.change(Kind::Subscriptions, subscription, "customer.subscription.updated", |_, doc| {
            doc["schedule"] = json!(id);
            Ok(())
        })?;
        Ok(schedule)
    }

    fn id_or_new(&mut self, kind: Kind, form: &Value) -> Result<String, Refusal> {
        let Some(id) = text(form, "id") else { return Ok(self.store.new_id(kind.prefix())) };
        if self.store.find(kind, id).is_some() {
            return Err(Refusal {
                code: Some("resource_already_exists"),
                ..Refusal::invalid("id", format!("{} already exists.", kind.object()))
            });
        }
        Ok(id.to_owned())
    }
}

fn text<'a>(form: &'a Value, name: &str) -> Option<&'a str> {
    form.get(name).and_then(Value::as_str)
}

fn number(form: &Value, name: &str) -> Option<i64> {
    text(form, name).and_then(|t| t.parse().ok())
}

fn missing_param(name: &str) -> Refusal {
    Refusal {
        code: Some("parameter_missing"),
        ..Refusal::invalid(name, format!("Missing required param: {name}."))
    }
}

fn required<'a>(form: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    text(form, name).filter(|t| !t.is_empty()).ok_or_else(|| missing_param(name))
}

fn required_number(form: &Value, name: &str) -> Result<i64, Refusal> {
    required(form, name)?.parse().map_err(|_| Refusal::invalid(name, format!("Invalid integer: {name}")))
}

/// Copies texts, numbers, flags and metadata from a form; an empty text clears, as at Stripe.
fn set(doc: &mut Value, form: &Value, texts: &[&str], numbers: &[&str], flags: &[&str]) {
    for name in texts {
        if let Some(value) = text(form, name) {
            doc[*name] = if value.is_empty() { Value::Null } else { json!(value) };
        }
    }
    for name in numbers {
        if let Some(value) = text(form, name) {
            doc[*name] = value.parse::<i64>().map_or(Value::Null, |n| json!(n));
        }
    }
    for name in flags {
        if let Some(value) = text(form, name) {
            doc[*name] = json!(value == "true");
        }
    }
    if let Some(Value::Object(metadata)) = form.get("metadata") {
        for (key, value) in metadata {
            let Some(kept) = doc["metadata"].as_object_mut() else { break };
            if value.as_str() == Some("") {
                kept.remove(key);
            } else {
                kept.insert(key.clone(), value.clone());
            }
        }
    }
}
