//! Invoices: what is pending, drafts, payment, and the ends that an invoice can come to.

use serde_json::{Value, json};

use super::cards::Outcome;
use super::fields::{filled, flag, number, required, required_number, set, text};
use super::payments::Debit;
use super::read::Refusal;
use super::shapes;
use super::store::{Kind, Object};
use super::write::{Ctx, Written};

/// How an invoice of a subscription is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pay {
    /// Well, whatever it is paid with.
    Well,
    /// In vain, whatever it is paid with.
    InVain,
    /// As what it is paid with does; well where there is nothing, so that tests need no card.
    ByMethod,
    /// Not now: it stays open.
    Later,
}

impl Ctx<'_> {
    // --- invoice items

    pub(super) fn create_invoice_item(&mut self, form: &Value) -> Written {
        let customer = required(form, "customer")?.to_owned();
        self.doc(Kind::Customers, &customer, "customer")?;
        let (price, unit, currency) = match form.get("pricing").and_then(|p| filled(p, "price")) {
            Some(price) => {
                let doc = self.doc(Kind::Prices, price, "pricing[price]")?;
                (json!(price), doc["unit_amount"].as_i64().unwrap_or(0), doc["currency"].clone())
            }
            None => (Value::Null, required_number(form, "amount")?, json!(required(form, "currency")?)),
        };
        let quantity = number(form, "quantity").unwrap_or(1);
        let id = self.store.new_id(Kind::InvoiceItems.prefix());
        let mut doc = shapes::invoice_item(&id, self.now, self.live, &customer, &currency, unit * quantity);
        doc["quantity"] = json!(quantity);
        if !price.is_null() {
            doc["pricing"] = shapes::pricing(&price, unit);
        }
        set(&mut doc, form, &["description"], &[], &[]);
        let invoice = filled(form, "invoice").map(str::to_owned);
        if let Some(invoice) = &invoice {
            self.draft(invoice)?;
            doc["invoice"] = json!(invoice);
        }
        let shown = self.put(Kind::InvoiceItems, doc.clone(), Some("invoiceitem.created"));
        if let Some(invoice) = invoice {
            let line = self.item_line(&invoice, &doc);
            self.change(Kind::Invoices, &invoice, "invoice.updated", |cx, invoice| {
                if let Some(lines) = invoice["lines"].as_array_mut() {
                    lines.push(line);
                }
                cx.total(invoice);
                Ok(())
            })?;
        }
        Ok(shown)
    }

    pub(super) fn update_invoice_item(&mut self, id: &str, form: &Value) -> Written {
        let mut doc = self.doc(Kind::InvoiceItems, id, "id")?;
        if !doc["invoice"].is_null() {
            return Err(Refusal::bad("This invoice item is on an invoice and can no longer be changed."));
        }
        set(&mut doc, form, &["description"], &["amount"], &[]);
        doc["net_amount"] = doc["amount"].clone();
        Ok(self.put(Kind::InvoiceItems, doc, None))
    }

    pub(super) fn delete_invoice_item(&mut self, id: &str) -> Written {
        if !self.doc(Kind::InvoiceItems, id, "id")?["invoice"].is_null() {
            return Err(Refusal::bad("This invoice item is on an invoice and can no longer be deleted."));
        }
        self.delete(Kind::InvoiceItems, id)
    }

    /// Invoice items of a customer that no invoice holds yet, oldest first.
    fn pending_items(&self, customer: &str, currency: Option<&str>) -> Vec<Value> {
        let all = self.store.of(Kind::InvoiceItems);
        let mut found: Vec<Value> = all
            .into_iter()
            .flat_map(|all| all.newest_first(None, (i64::MIN, i64::MAX)))
            .filter(|item| item.customer.as_deref() == Some(customer))
            .map(|item| (*item.doc()).clone())
            .filter(|doc| doc["invoice"].is_null() && currency.is_none_or(|c| doc["currency"] == c))
            .collect();
        found.reverse();
        found
    }

    fn item_line(&mut self, invoice: &str, item: &Value) -> Value {
        let id = self.store.new_id("il");
        shapes::item_line(&id, self.live, invoice, item)
    }

    // --- drafts

    pub(super) fn create_invoice(&mut self, form: &Value) -> Written {
        let customer = required(form, "customer")?.to_owned();
        self.doc(Kind::Customers, &customer, "customer")?;
        if let Some(subscription) = filled(form, "subscription") {
            return self.bill_as(subscription, None, "manual", Pay::Later);
        }
        let id = self.store.new_id(Kind::Invoices.prefix());
        let items = match text(form, "pending_invoice_items_behavior") {
            Some("include") => self.pending_items(&customer, filled(form, "currency")),
            _ => Vec::new(),
        };
        let currency = items.first().map_or_else(
            || json!(filled(form, "currency").unwrap_or("usd")),
            |item| item["currency"].clone(),
        );
        let mut lines = Vec::new();
        for mut item in items.into_iter().filter(|item| item["currency"] == currency) {
            lines.push(self.item_line(&id, &item));
            item["invoice"] = json!(id);
            self.put(Kind::InvoiceItems, item, None);
        }
        let mut doc = shapes::invoice(&id, self.now, self.live, &customer, &currency);
        doc["auto_advance"] = json!(false);
        set(
            &mut doc,
            form,
            &["description", "footer", "collection_method"],
            &["days_until_due", "due_date"],
            &["auto_advance"],
        );
        if let Some(days) = number(form, "days_until_due") {
            doc["due_date"] = json!(self.now + days * 86_400);
        }
        if let Some(map) = doc.as_object_mut() {
            map.remove("days_until_due");
        }
        if let Some(method) = filled(form, "default_payment_method") {
            doc["default_payment_method"] = self.method(method)?["id"].clone();
        }
        doc["discounts"] = match form.get("discounts") {
            Some(Value::Array(wanted)) => self.discounts(wanted)?,
            _ => self.inherited_discounts(&json!([]), &customer),
        };
        doc["lines"] = Value::Array(lines);
        self.total(&mut doc);
        Ok(self.put(Kind::Invoices, doc, Some("invoice.created")))
    }

    fn draft(&self, id: &str) -> Written {
        let doc = self.doc(Kind::Invoices, id, "id")?;
        if doc["status"] == "draft" {
            Ok(doc)
        } else {
            Err(Refusal::bad("This invoice is no longer a draft."))
        }
    }

    pub(super) fn delete_invoice(&mut self, id: &str) -> Written {
        self.draft(id)?;
        self.delete(Kind::Invoices, id)
    }

    /// A subscription's own discounts, else the customer's.
    fn inherited_discounts(&self, own: &Value, customer: &str) -> Value {
        if own.as_array().is_some_and(|own| !own.is_empty()) {
            return own.clone();
        }
        match self.doc(Kind::Customers, customer, "customer") {
            Ok(doc) if !doc["discount"].is_null() => json!([doc["discount"]]),
            _ => json!([]),
        }
    }

    /// Works out an invoice's amounts from its lines and discounts.
    fn total(&self, doc: &mut Value) {
        let subtotal: i64 =
            doc["lines"].as_array().into_iter().flatten().filter_map(|line| line["amount"].as_i64()).sum();
        let mut total = subtotal;
        let mut taken = Vec::new();
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
            let off = off.min(total);
            total -= off;
            taken.push(json!({"amount": off, "discount": discount["id"]}));
        }
        doc["subtotal"] = json!(subtotal);
        doc["subtotal_excluding_tax"] = json!(subtotal);
        for name in ["total", "total_excluding_tax", "amount_due", "amount_remaining"] {
            doc[name] = json!(total);
        }
        doc["total_discount_amounts"] = json!(taken);
    }

    /// Invoices what a subscription costs for a period, and charges it: well or in vain.
    pub(super) fn bill(&mut self, subscription: &str, succeeds: bool) -> Written {
        let pay = if succeeds { Pay::Well } else { Pay::InVain };
        self.bill_as(subscription, None, "subscription_cycle", pay)
    }

    /// Invoices what a subscription costs for a period, for that reason.
    pub(super) fn bill_as(
        &mut self,
        subscription: &str,
        id: Option<String>,
        reason: &str,
        pay: Pay,
    ) -> Written {
        let doc = self.doc(Kind::Subscriptions, subscription, "subscription")?;
        let customer = doc["customer"].as_str().unwrap_or_default().to_owned();
        let id = id.unwrap_or_else(|| self.store.new_id(Kind::Invoices.prefix()));
        let mut lines = Vec::new();
        for item in doc["items"].as_array().into_iter().flatten() {
            let price = self.doc(Kind::Prices, item["price"].as_str().unwrap_or_default(), "price")?;
            if price["recurring"]["usage_type"] == "metered" {
                continue;
            }
            let amount = shapes::amount(&price, item["quantity"].as_i64().unwrap_or(1));
            let line = self.store.new_id("il");
            lines.push(shapes::line(&line, self.live, &id, &doc["currency"], item, amount));
        }
        for mut item in self.pending_items(&customer, doc["currency"].as_str()) {
            lines.push(self.item_line(&id, &item));
            item["invoice"] = json!(id);
            self.put(Kind::InvoiceItems, item, None);
        }
        let mut invoice = shapes::invoice(&id, self.now, self.live, &customer, &doc["currency"]);
        invoice["billing_reason"] = json!(reason);
        invoice["collection_method"] = doc["collection_method"].clone();
        invoice["parent"] = shapes::subscription_parent(&doc["id"]);
        invoice["discounts"] = self.inherited_discounts(&doc["discounts"], &customer);
        invoice["lines"] = Value::Array(lines);
        self.total(&mut invoice);
        self.put(Kind::Invoices, invoice, Some("invoice.created"));
        if doc["latest_invoice"].as_str() != Some(&id) {
            self.change(Kind::Subscriptions, subscription, "customer.subscription.updated", |_, doc| {
                doc["latest_invoice"] = json!(id);
                Ok(())
            })?;
        }
        match doc["pause_collection"]["behavior"].as_str() {
            Some("keep_as_draft") => return self.shown(Kind::Invoices, &id),
            Some(behavior @ ("void" | "mark_uncollectible")) => {
                // One of nothing is paid as soon as it is final.
                let done = self.finalize(&id)?;
                return match behavior {
                    _ if done["status"] == "paid" => Ok(done),
                    "void" => self.void_invoice(&id),
                    _ => self.mark_uncollectible(&id),
                };
            }
            _ => {}
        }
        if reason == "manual" {
            return self.shown(Kind::Invoices, &id);
        }
        let finalized = self.finalize(&id)?;
        if pay == Pay::Later || finalized["status"] == "paid" {
            return Ok(finalized);
        }
        // Nobody is there to be told of the refusal: the invoice shows it.
        let refused = self.settle(&id, None, pay, true).err();
        if let Some(refusal) = refused.filter(|r| r.kind != "card_error") {
            return Err(refusal);
        }
        self.shown(Kind::Invoices, &id)
    }

    // --- ends

    pub(super) fn finalize(&mut self, id: &str) -> Written {
        self.draft(id)?;
        let number = format!(
            "SANDBOX-{}",
            id.trim_start_matches(|c: char| !c.is_ascii_digit()).trim_start_matches('0')
        );
        let doc = self.change(Kind::Invoices, id, "invoice.finalized", |cx, doc| {
            doc["status"] = json!("open");
            doc["number"] = json!(number);
            doc["effective_at"] = json!(cx.now);
            doc["status_transitions"]["finalized_at"] = json!(cx.now);
            Ok(())
        })?;
        if doc["amount_due"] == 0 { self.paid(id) } else { Ok(doc) }
    }

    pub(super) fn send_invoice(&mut self, id: &str) -> Written {
        if self.doc(Kind::Invoices, id, "id")?["status"] == "draft" {
            self.finalize(id)?;
        }
        self.announce(Kind::Invoices, id, "invoice.sent")?;
        self.shown(Kind::Invoices, id)
    }

    pub(super) fn pay_invoice(&mut self, id: &str, form: &Value) -> Written {
        let doc = self.doc(Kind::Invoices, id, "id")?;
        match doc["status"].as_str() {
            Some("draft") => {
                if self.finalize(id)?["status"] == "paid" {
                    return self.shown(Kind::Invoices, id);
                }
            }
            Some("open" | "uncollectible") => {}
            Some("paid") => {
                return Err(Refusal {
                    code: Some("invoice_already_paid"),
                    ..Refusal::bad("Invoice is already paid")
                });
            }
            status => {
                return Err(Refusal::bad(format!(
                    "You can only pay open invoices: this one is {}.",
                    status.unwrap_or_default()
                )));
            }
        }
        if flag(form, "paid_out_of_band") {
            self.change_as(Kind::Invoices, id, &[], |_, doc| {
                doc["amount_paid_off_stripe"] = doc["amount_due"].clone();
                Ok(())
            })?;
            return self.paid(id);
        }
        let method = match filled(form, "payment_method").or_else(|| filled(form, "source")) {
            Some(method) => Some(self.method(method)?["id"].as_str().unwrap_or_default().to_owned()),
            None => None,
        };
        self.settle(id, method, Pay::ByMethod, false)?;
        self.shown(Kind::Invoices, id)
    }

    /// Tries to take an open invoice's money. `automatic` tries decide whether a customer is delinquent.
    fn settle(&mut self, id: &str, method: Option<String>, pay: Pay, automatic: bool) -> Result<(), Refusal> {
        let doc = self.doc(Kind::Invoices, id, "id")?;
        let subscription = subscription_of(&doc);
        let customer = doc["customer"].as_str().map(str::to_owned);
        let chosen = |doc: &Value| doc["default_payment_method"].as_str().map(str::to_owned);
        let method = match pay {
            Pay::Well => None,
            _ => method
                .or_else(|| chosen(&doc))
                .or_else(|| chosen(&self.store.find(Kind::Subscriptions, subscription.as_deref()?)?.doc()))
                .or_else(|| self.default_method(customer.as_deref())),
        };
        let debit = Debit {
            customer: customer.clone(),
            currency: doc["currency"].as_str().unwrap_or("usd").to_owned(),
            amount: doc["amount_due"].as_i64().unwrap_or(0),
            method,
            fails: pay == Pay::InVain,
            description: doc["description"].clone(),
            ..Debit::default()
        };
        let outcome = self.collect_for_invoice(&debit);
        let attempted = |doc: &mut Value| {
            doc["attempted"] = json!(true);
            doc["attempt_count"] = json!(doc["attempt_count"].as_i64().unwrap_or(0) + 1);
        };
        let refusal = match outcome {
            Ok(Outcome::NeedsAction) => {
                self.change(Kind::Invoices, id, "invoice.payment_action_required", |_, doc| {
                    attempted(doc);
                    Ok(())
                })?;
                Refusal {
                    status: 402,
                    kind: "card_error",
                    code: Some("invoice_payment_intent_requires_action"),
                    message: "This invoice's payment needs its payer to confirm it.".to_owned(),
                    ..Refusal::default()
                }
            }
            Ok(_) => {
                self.change_as(Kind::Invoices, id, &[], |_, doc| {
                    attempted(doc);
                    Ok(())
                })?;
                return self.paid(id).map(drop);
            }
            Err(refusal) if refusal.kind == "card_error" => refusal,
            Err(refusal) => return Err(refusal),
        };
        if refusal.code != Some("invoice_payment_intent_requires_action") {
            self.change(Kind::Invoices, id, "invoice.payment_failed", |_, doc| {
                attempted(doc);
                Ok(())
            })?;
        }
        if automatic {
            let first = doc["billing_reason"] == "subscription_create";
            if let Some(subscription) = subscription {
                self.set_status(
                    &subscription,
                    &["active", "past_due"],
                    if first { "incomplete" } else { "past_due" },
                )?;
            }
            if let Some(customer) = customer {
                self.set_delinquent(&customer, true)?;
            }
        }
        Err(refusal)
    }

    /// Notes that an open invoice is paid.
    fn paid(&mut self, id: &str) -> Written {
        let doc =
            self.change_as(Kind::Invoices, id, &["invoice.paid", "invoice.payment_succeeded"], |cx, doc| {
                doc["status"] = json!("paid");
                doc["amount_paid"] = doc["amount_due"].clone();
                doc["amount_remaining"] = json!(0);
                doc["status_transitions"]["paid_at"] = json!(cx.now);
                Ok(())
            })?;
        self.relieved(&doc)?;
        self.shown(Kind::Invoices, id)
    }

    /// A paid or given up invoice no longer holds its subscription and its customer in arrears.
    fn relieved(&mut self, invoice: &Value) -> Result<(), Refusal> {
        if let Some(subscription) = subscription_of(invoice)
            && invoice["status"] == "paid"
        {
            let latest =
                self.doc(Kind::Subscriptions, &subscription, "subscription")?["latest_invoice"].clone();
            if latest == invoice["id"] {
                self.set_status(&subscription, &["past_due", "incomplete", "unpaid"], "active")?;
            }
        }
        match invoice["customer"].as_str() {
            Some(customer) => self.set_delinquent(customer, false),
            None => Ok(()),
        }
    }

    fn set_status(&mut self, subscription: &str, from: &[&str], to: &str) -> Result<(), Refusal> {
        self.change(Kind::Subscriptions, subscription, "customer.subscription.updated", |cx, doc| {
            if doc["status"].as_str().is_some_and(|status| from.contains(&status)) {
                doc["status"] = json!(to);
                if to == "incomplete_expired" {
                    doc["ended_at"] = json!(cx.now);
                }
            }
            Ok(())
        })
        .map(drop)
    }

    pub(super) fn void_invoice(&mut self, id: &str) -> Written {
        self.end_invoice(id, &["open", "uncollectible"], "void", "voided_at", "invoice.voided")?;
        let doc = self.doc(Kind::Invoices, id, "id")?;
        if let Some(subscription) = subscription_of(&doc)
            && doc["billing_reason"] == "subscription_create"
        {
            self.set_status(&subscription, &["incomplete"], "incomplete_expired")?;
        }
        self.shown(Kind::Invoices, id)
    }

    pub(super) fn mark_uncollectible(&mut self, id: &str) -> Written {
        let transition = "marked_uncollectible_at";
        let doc =
            self.end_invoice(id, &["open"], "uncollectible", transition, "invoice.marked_uncollectible")?;
        self.relieved(&doc)?;
        self.shown(Kind::Invoices, id)
    }

    fn end_invoice(&mut self, id: &str, from: &[&str], to: &str, transition: &str, event: &str) -> Written {
        let doc = self.doc(Kind::Invoices, id, "id")?;
        if doc["status"].as_str().is_none_or(|status| !from.contains(&status)) {
            return Err(Refusal::bad(format!(
                "This invoice is {}: it cannot become {to}.",
                doc["status"].as_str().unwrap_or_default()
            )));
        }
        self.change(Kind::Invoices, id, event, |cx, doc| {
            doc["status"] = json!(to);
            doc["status_transitions"][transition] = json!(cx.now);
            Ok(())
        })
    }
}

fn subscription_of(invoice: &Value) -> Option<String> {
    invoice["parent"]["subscription_details"]["subscription"].as_str().map(str::to_owned)
}
