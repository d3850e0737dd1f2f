//! Creating, changing and deleting objects, each with the events that Stripe sends for it.
//!
//! Nothing changes without an event that names what changed, so that a reader that is told everything misses
//! nothing. `call` is the list of operations; what they do is in a file for each part of the account.

use serde_json::{Map, Value, json};

use super::events::{Outbox, emit};
use super::fields::{set, text};
use super::read::Refusal;
use super::render;
use super::store::{Kind, Object, Store};

/// What a write works on.
pub(super) struct Ctx<'a> {
    pub(super) store: &'a mut Store,
    pub(super) outbox: &'a mut Outbox,
    pub(super) now: i64,
    pub(super) live: bool,
}

/// The object as it is answered, or Stripe's refusal.
pub(super) type Written = Result<Value, Refusal>;

impl Ctx<'_> {
    pub(super) fn emit(&mut self, event: &str, object: &Value, previous: Option<Value>) {
        emit(self.store, self.outbox, event, object.clone(), previous, self.now, self.live);
    }

    /// Sends `event` about an object as it is.
    pub(super) fn announce(&mut self, kind: Kind, id: &str, event: &str) -> Result<(), Refusal> {
        let shown = self.shown(kind, id)?;
        self.emit(event, &shown, None);
        Ok(())
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

    /// An object as it is answered without expansion.
    pub(super) fn shown(&self, kind: Kind, id: &str) -> Written {
        let doc = self.doc(kind, id, "id")?;
        Ok(render::value(self.store, kind, &doc, &[]))
    }

    /// Changes an object and sends `event` with what was there before.
    pub(super) fn change(
        &mut self,
        kind: Kind,
        id: &str,
        event: &str,
        change: impl FnOnce(&mut Self, &mut Value) -> Result<(), Refusal>,
    ) -> Written {
        self.change_as(kind, id, &[event], change)
    }

    /// As [`Self::change`], with several events about the one change.
    pub(super) fn change_as(
        &mut self,
        kind: Kind,
        id: &str,
        events: &[&str],
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
            for event in events {
                self.emit(event, &new, Some(Value::Object(previous.clone())));
            }
        }
        Ok(new)
    }

    /// Deletes an object and sends `event`.
    pub(super) fn delete(&mut self, kind: Kind, id: &str) -> Written {
        let shown = self.shown(kind, id)?;
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

    /// A `POST` or `DELETE` as Stripe takes it.
    pub(super) fn call(&mut self, method: &str, path: &[&str], form: &Value) -> Written {
        match (method, path) {
            ("POST", ["customers"]) => self.create_customer(form),
            ("POST", ["customers", id]) => self.update_customer(id, form),
            ("DELETE", ["customers", id]) => self.delete(Kind::Customers, id),
            ("DELETE", ["customers", id, "discount"]) => self.set_customer_discount(id, None),
            ("POST", ["customers", id, "sources"]) => self.create_source(id, form),
            ("POST", ["customers", id, "sources", source]) => self.update_source(id, source, form),
            ("POST", ["payment_methods"]) => self.create_method(form),
            ("POST", ["payment_methods", id]) => {
                self.change(Kind::PaymentMethods, id, "payment_method.updated", |_, doc| {
                    set(doc, form, &["allow_redisplay"], &[], &[]);
                    Ok(())
                })
            }
            ("POST", ["payment_methods", id, "attach"]) => self.attach(id, form),
            ("POST", ["payment_methods", id, "detach"]) => self.detach(id),

            ("POST", ["products"]) => self.create_product(form),
            ("POST", ["products", id]) => self.change(Kind::Products, id, "product.updated", |_, doc| {
                set(doc, form, &["name", "description", "default_price", "unit_label"], &[], &["active"]);
                Ok(())
            }),
            ("DELETE", ["products", id]) => self.delete_product(id),
            ("POST", ["prices"]) => self.create_price(form),
            ("POST", ["prices", id]) => self.change(Kind::Prices, id, "price.updated", |_, doc| {
                set(doc, form, &["nickname", "lookup_key"], &[], &["active"]);
                Ok(())
            }),
            ("POST", ["plans"]) => self.create_plan(form),
            ("POST", ["plans", id]) => self.update_plan(id, form),
            ("DELETE", ["plans", id]) => self.delete_plan(id),
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
            ("DELETE", ["coupons", id]) => self.delete(Kind::Coupons, id),
            ("POST", ["promotion_codes"]) => self.create_promotion_code(form),
            ("POST", ["promotion_codes", id]) => {
                self.change(Kind::PromotionCodes, id, "promotion_code.updated", |_, doc| {
                    set(doc, form, &[], &[], &["active"]);
                    Ok(())
                })
            }

            ("POST", ["subscriptions"]) => self.create_subscription(form),
            ("POST", ["subscriptions", id]) => self.update_subscription(id, form),
            ("POST", ["subscriptions", id, "resume"]) => self.resume(id),
            ("DELETE", ["subscriptions", id]) => self.cancel(id),
            ("POST", ["subscription_schedules"]) => self.create_schedule(form),
            ("POST", ["subscription_schedules", id]) => self.update_schedule(id, form),
            ("POST", ["subscription_schedules", id, "cancel"]) => self.cancel_schedule(id),
            ("POST", ["subscription_schedules", id, "release"]) => self.release_schedule(id),

            ("POST", ["invoiceitems"]) => self.create_invoice_item(form),
            ("POST", ["invoiceitems", id]) => self.update_invoice_item(id, form),
            ("DELETE", ["invoiceitems", id]) => self.delete_invoice_item(id),
            ("POST", ["invoices"]) => self.create_invoice(form),
            ("POST", ["invoices", id]) => self.change(Kind::Invoices, id, "invoice.updated", |_, doc| {
                set(doc, form, &["description", "footer"], &["due_date"], &["auto_advance"]);
                Ok(())
            }),
            ("DELETE", ["invoices", id]) => self.delete_invoice(id),
            ("POST", ["invoices", id, "finalize"]) => self.finalize(id),
            ("POST", ["invoices", id, "pay"]) => self.pay_invoice(id, form),
            ("POST", ["invoices", id, "send"]) => self.send_invoice(id),
            ("POST", ["invoices", id, "void"]) => self.void_invoice(id),
            ("POST", ["invoices", id, "mark_uncollectible"]) => self.mark_uncollectible(id),

            ("POST", ["payment_intents"]) => self.create_intent(form),
            ("POST", ["payment_intents", id]) => self.update_intent(id, form),
            ("POST", ["payment_intents", id, "confirm"]) => self.confirm_intent(id, form),
            ("POST", ["payment_intents", id, "capture"]) => self.capture_intent(id, form),
            ("POST", ["payment_intents", id, "cancel"]) => self.cancel_intent(id, form),
            ("POST", ["charges"]) => self.create_charge(form),
            ("POST", ["charges", id]) => self.change(Kind::Charges, id, "charge.updated", |_, doc| {
                set(doc, form, &["description", "receipt_email", "transfer_group"], &[], &[]);
                Ok(())
            }),
            ("POST", ["charges", id, "capture"]) => self.capture_charge(id, form),
            ("POST", ["refunds"]) => self.create_refund(form),
            ("POST", ["refunds", id]) => {
                self.change_as(Kind::Refunds, id, &["refund.updated", "charge.refund.updated"], |_, doc| {
                    set(doc, form, &[], &[], &[]);
                    Ok(())
                })
            }
            ("POST", ["disputes", id]) => self.answer_dispute(id, form),
            ("POST", ["disputes", id, "close"]) => self.close_dispute(id),
            _ => Err(Refusal::unknown_url(method, &format!("/v1/{}", path.join("/")))),
        }
    }

    pub(super) fn id_or_new(&mut self, kind: Kind, form: &Value) -> Result<String, Refusal> {
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
