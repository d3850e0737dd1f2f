//! Customers, their discounts, and what they pay with.

use serde_json::{Value, json};

use super::cards::{self, Outcome};
use super::fields::{filled, required, set, set_metadata, text};
use super::payments::declined;
use super::read::Refusal;
use super::store::Kind;
use super::write::{Ctx, Written};
use super::{render, shapes};

impl Ctx<'_> {
    pub(super) fn create_customer(&mut self, form: &Value) -> Written {
        let id = self.id_or_new(Kind::Customers, form)?;
        let mut doc = shapes::customer(&id, self.now, self.live);
        set(&mut doc, form, &["name", "email", "description", "phone"], &["balance"], &[]);
        let method = match filled(form, "payment_method") {
            Some(method) => Some(self.method_for(method, &id, "pm")?),
            None => None,
        };
        if let Some(wanted) = default_method(form) {
            // The same test card twice is the same card.
            let same = method.as_ref().filter(|_| text(form, "payment_method") == Some(wanted));
            doc["invoice_settings"]["default_payment_method"] = match same {
                Some(method) => method["id"].clone(),
                None => self.method_for(wanted, &id, "pm")?["id"].clone(),
            };
        }
        let source = match filled(form, "source") {
            Some(token) => Some(self.method_for(token, &id, "card")?),
            None => None,
        };
        if let Some(source) = &source {
            doc["default_source"] = source["id"].clone();
        }
        if let Some(coupon) = filled(form, "coupon") {
            doc["discount"] = self.customer_discount(coupon, &id)?;
        }
        let discount = doc["discount"].clone();
        let shown = self.put(Kind::Customers, doc, Some("customer.created"));
        if !discount.is_null() {
            self.emit("customer.discount.created", &discount, None);
        }
        if let Some(method) = &method {
            self.emit("payment_method.attached", method, None);
        }
        if let Some(source) = &source {
            self.emit("customer.source.created", &render::card(source), None);
        }
        Ok(shown)
    }

    pub(super) fn update_customer(&mut self, id: &str, form: &Value) -> Written {
        if let Some(coupon) = text(form, "coupon") {
            self.set_customer_discount(id, Some(coupon).filter(|c| !c.is_empty()))?;
        }
        let source = match filled(form, "source") {
            Some(token) => Some(self.method_for(token, id, "card")?),
            None => None,
        };
        let method = match default_method(form) {
            Some(method) => Some(self.method_for(method, id, "pm")?),
            None => None,
        };
        self.change(Kind::Customers, id, "customer.updated", |_, doc| {
            set(doc, form, &["name", "email", "description", "phone", "default_source"], &["balance"], &[]);
            if let Some(source) = &source {
                doc["default_source"] = source["id"].clone();
            }
            if let Some(method) = &method {
                doc["invoice_settings"]["default_payment_method"] = method["id"].clone();
            }
            Ok(())
        })
    }

    /// Gives a customer the discount of that coupon, or none.
    pub(super) fn set_customer_discount(&mut self, id: &str, coupon: Option<&str>) -> Written {
        let before = self.doc(Kind::Customers, id, "id")?["discount"].clone();
        let after = match coupon {
            Some(coupon) => self.customer_discount(coupon, id)?,
            None => Value::Null,
        };
        let event = match (before.is_null(), after.is_null()) {
            (true, true) => return Ok(json!({"object": "discount", "deleted": true})),
            (true, false) => "customer.discount.created",
            (false, false) => "customer.discount.updated",
            (false, true) => "customer.discount.deleted",
        };
        let about = if after.is_null() { before } else { after.clone() };
        self.change(Kind::Customers, id, "customer.updated", |_, doc| {
            doc["discount"] = after;
            Ok(())
        })?;
        self.emit(event, &about, None);
        Ok(json!({"id": about["id"], "object": "discount", "deleted": true}))
    }

    fn customer_discount(&mut self, coupon: &str, customer: &str) -> Written {
        let mut discount = self.discount(coupon)?;
        discount["customer"] = json!(customer);
        Ok(discount)
    }

    /// A customer takes the currency of the first subscription.
    pub(super) fn take_currency(&mut self, id: &str, currency: &str) -> Result<(), Refusal> {
        if self.doc(Kind::Customers, id, "customer")?["currency"].is_null() {
            self.change(Kind::Customers, id, "customer.updated", |_, doc| {
                doc["currency"] = json!(currency);
                Ok(())
            })?;
        }
        Ok(())
    }

    pub(super) fn set_delinquent(&mut self, id: &str, delinquent: bool) -> Result<(), Refusal> {
        if self.store.find(Kind::Customers, id).is_none() {
            // Its last invoice may be settled after it is gone.
            return Ok(());
        }
        self.change(Kind::Customers, id, "customer.updated", |_, doc| {
            doc["delinquent"] = json!(delinquent);
            Ok(())
        })
        .map(drop)
    }

    // --- what is paid with

    /// A new payment method from a test card, kept by nobody.
    pub(super) fn new_method(&mut self, name: &str, prefix: &str) -> Written {
        let card = cards::named(name)
            .ok_or_else(|| Refusal::missing(Kind::PaymentMethods, name, "payment_method"))?;
        let id = self.store.new_id(prefix);
        Ok(self.put(Kind::PaymentMethods, shapes::payment_method(&id, self.now, self.live, &card), None))
    }

    /// The payment method of that id, or a new one from a test card.
    pub(super) fn method(&mut self, id: &str) -> Written {
        if self.store.find(Kind::PaymentMethods, id).is_some() {
            return self.doc(Kind::PaymentMethods, id, "payment_method");
        }
        self.new_method(id, "pm")
    }

    /// A payment method that the customer keeps from now on.
    fn method_for(&mut self, name: &str, customer: &str, prefix: &str) -> Written {
        let mut doc = match self.store.find(Kind::PaymentMethods, name) {
            Some(known) => (*known.doc()).clone(),
            None => {
                refuse_unkept(name)?;
                self.new_method(name, prefix)?
            }
        };
        doc["customer"] = json!(customer);
        Ok(self.put(Kind::PaymentMethods, doc, None))
    }

    pub(super) fn create_method(&mut self, form: &Value) -> Written {
        let token = form.get("card").map(|card| required(card, "token"));
        let mut doc = self.new_method(token.unwrap_or(Ok("tok_visa"))?, "pm")?;
        set_metadata(&mut doc, form);
        Ok(self.put(Kind::PaymentMethods, doc, None))
    }

    pub(super) fn attach(&mut self, id: &str, form: &Value) -> Written {
        let customer = required(form, "customer")?;
        self.doc(Kind::Customers, customer, "customer")?;
        let method = self.method_for(id, customer, "pm")?;
        self.emit("payment_method.attached", &method, None);
        Ok(method)
    }

    pub(super) fn detach(&mut self, id: &str) -> Written {
        let customer = self.doc(Kind::PaymentMethods, id, "id")?["customer"].as_str().map(str::to_owned);
        let method = self.change(Kind::PaymentMethods, id, "payment_method.detached", |_, doc| {
            doc["customer"] = Value::Null;
            Ok(())
        })?;
        if let Some(customer) = customer.filter(|c| self.store.find(Kind::Customers, c).is_some()) {
            self.change(Kind::Customers, &customer, "customer.updated", |_, doc| {
                if doc["invoice_settings"]["default_payment_method"] == id {
                    doc["invoice_settings"]["default_payment_method"] = Value::Null;
                }
                if doc["default_source"] == id {
                    doc["default_source"] = Value::Null;
                }
                Ok(())
            })?;
        }
        Ok(method)
    }

    pub(super) fn create_source(&mut self, customer: &str, form: &Value) -> Written {
        let first = self.doc(Kind::Customers, customer, "id")?["default_source"].is_null();
        let source = self.method_for(required(form, "source")?, customer, "card")?;
        let card = render::card(&source);
        self.emit("customer.source.created", &card, None);
        if first {
            self.change(Kind::Customers, customer, "customer.updated", |_, doc| {
                doc["default_source"] = source["id"].clone();
                Ok(())
            })?;
        }
        Ok(card)
    }

    pub(super) fn update_source(&mut self, customer: &str, id: &str, form: &Value) -> Written {
        let mut doc = self.doc(Kind::PaymentMethods, id, "id")?;
        if doc["customer"] != customer {
            return Err(Refusal::missing(Kind::PaymentMethods, id, "id"));
        }
        set_metadata(&mut doc, form);
        let card = render::card(&self.put(Kind::PaymentMethods, doc, None));
        self.emit("customer.source.updated", &card, None);
        Ok(card)
    }

    /// What a customer pays with unless told otherwise.
    pub(super) fn default_method(&self, customer: Option<&str>) -> Option<String> {
        let doc = self.doc(Kind::Customers, customer?, "customer").ok()?;
        let wanted = &doc["invoice_settings"]["default_payment_method"];
        wanted.as_str().or_else(|| doc["default_source"].as_str()).map(str::to_owned)
    }
}

fn default_method(form: &Value) -> Option<&str> {
    form.get("invoice_settings").and_then(|s| filled(s, "default_payment_method"))
}

/// Most cards that decline are refused already when a customer is to keep them.
fn refuse_unkept(name: &str) -> Result<(), Refusal> {
    match cards::named(name) {
        Some(card) if !card.attaches => match card.outcome {
            Outcome::Declined(decline) => Err(declined(&decline)),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}
