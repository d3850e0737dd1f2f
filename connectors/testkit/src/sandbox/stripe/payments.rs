//! Money: payment intents, charges, refunds, disputes.

use serde_json::{Value, json};

use super::cards::{self, Decline, GENERIC, Outcome};
use super::fields::{filled, flag, number, required, required_number, set, set_metadata, text};
use super::read::Refusal;
use super::shapes;
use super::store::Kind;
use super::write::{Ctx, Written};

/// Money that is asked for.
#[derive(Debug, Default)]
pub(super) struct Debit {
    pub(super) customer: Option<String>,
    pub(super) currency: String,
    pub(super) amount: i64,
    /// What it is paid with; without one it is paid well.
    pub(super) method: Option<String>,
    pub(super) intent: Option<String>,
    /// Only authorised; captured later.
    pub(super) manual: bool,
    /// Declined whatever it is paid with.
    pub(super) fails: bool,
    pub(super) description: Value,
    pub(super) metadata: Option<Value>,
}

/// Stripe's answer to a payment that was declined.
pub(super) fn declined(decline: &Decline) -> Refusal {
    Refusal {
        status: 402,
        kind: "card_error",
        code: Some(decline.code),
        message: decline.message.to_owned(),
        more: decline.decline_code.map(|code| vec![("decline_code", json!(code))]).unwrap_or_default(),
        ..Refusal::default()
    }
}

fn unexpected(message: String) -> Refusal {
    Refusal { code: Some("payment_intent_unexpected_state"), ..Refusal::bad(message) }
}

impl Ctx<'_> {
    // --- payment intents

    pub(super) fn create_intent(&mut self, form: &Value) -> Written {
        let id = self.store.new_id(Kind::PaymentIntents.prefix());
        let amount = required_number(form, "amount")?;
        if amount <= 0 {
            return Err(Refusal::invalid("amount", "This value must be greater than or equal to 1."));
        }
        let mut doc = shapes::payment_intent(&id, self.now, self.live, required(form, "currency")?, amount);
        if let Some(customer) = filled(form, "customer") {
            self.doc(Kind::Customers, customer, "customer")?;
        }
        set(
            &mut doc,
            form,
            &["customer", "description", "capture_method", "confirmation_method", "receipt_email"],
            &[],
            &[],
        );
        if let Some(types @ Value::Array(_)) = form.get("payment_method_types") {
            doc["payment_method_types"] = types.clone();
        }
        if let Some(method) = filled(form, "payment_method") {
            doc["payment_method"] = self.method(method)?["id"].clone();
            doc["status"] = json!("requires_confirmation");
        }
        let shown = self.put(Kind::PaymentIntents, doc, Some("payment_intent.created"));
        if flag(form, "confirm") {
            return self.confirm_intent(&id, &Value::Null);
        }
        Ok(shown)
    }

    pub(super) fn update_intent(&mut self, id: &str, form: &Value) -> Written {
        let mut doc = self.doc(Kind::PaymentIntents, id, "id")?;
        set(&mut doc, form, &["description", "receipt_email"], &["amount"], &[]);
        Ok(self.put(Kind::PaymentIntents, doc, None))
    }

    pub(super) fn confirm_intent(&mut self, id: &str, form: &Value) -> Written {
        let mut doc = self.doc(Kind::PaymentIntents, id, "id")?;
        let status = doc["status"].as_str().unwrap_or_default().to_owned();
        if !matches!(status.as_str(), "requires_payment_method" | "requires_confirmation" | "requires_action")
        {
            return Err(unexpected(format!(
                "This PaymentIntent's status is {status}: it can no longer be confirmed."
            )));
        }
        if let Some(method) = filled(form, "payment_method") {
            doc["payment_method"] = self.method(method)?["id"].clone();
            self.put(Kind::PaymentIntents, doc.clone(), None);
        }
        if doc["payment_method"].is_null() {
            return Err(unexpected(
                "You cannot confirm this PaymentIntent because it's missing a payment method.".to_owned(),
            ));
        }
        self.collect(id, false).map(|_| ())?;
        self.shown(Kind::PaymentIntents, id)
    }

    /// Charges an intent's payment method and moves the intent on; gives what the card did.
    fn collect(&mut self, id: &str, fails: bool) -> Result<Outcome, Refusal> {
        let doc = self.doc(Kind::PaymentIntents, id, "id")?;
        let of = |name: &str| doc[name].as_str().map(str::to_owned);
        let debit = Debit {
            customer: of("customer"),
            currency: of("currency").unwrap_or_default(),
            amount: doc["amount"].as_i64().unwrap_or(0),
            method: of("payment_method"),
            intent: Some(id.to_owned()),
            manual: doc["capture_method"] == "manual",
            fails,
            description: doc["description"].clone(),
            metadata: Some(doc["metadata"].clone()),
        };
        let outcome = self.outcome(&debit);
        let amount = debit.amount;
        if outcome == Outcome::NeedsAction {
            self.change(Kind::PaymentIntents, id, "payment_intent.requires_action", |_, doc| {
                doc["status"] = json!("requires_action");
                doc["next_action"] = json!({"type": "use_stripe_sdk", "use_stripe_sdk": {}});
                Ok(())
            })?;
            return Ok(outcome);
        }
        let charge = self.debit(&debit)?;
        if let Outcome::Declined(decline) = outcome {
            self.change(Kind::PaymentIntents, id, "payment_intent.payment_failed", |_, doc| {
                doc["status"] = json!("requires_payment_method");
                doc["latest_charge"] = charge["id"].clone();
                doc["last_payment_error"] = json!({
                    "type": "card_error", "code": decline.code, "decline_code": decline.decline_code,
                    "message": decline.message, "charge": charge["id"],
                });
                doc["payment_method"] = Value::Null;
                Ok(())
            })?;
            let mut refusal = declined(&decline);
            refusal.more.push(("charge", charge["id"].clone()));
            refusal.more.push(("payment_intent", self.shown(Kind::PaymentIntents, id)?));
            return Err(refusal);
        }
        let event = if debit.manual {
            "payment_intent.amount_capturable_updated"
        } else {
            "payment_intent.succeeded"
        };
        self.change(Kind::PaymentIntents, id, event, |_, doc| {
            doc["latest_charge"] = charge["id"].clone();
            doc["last_payment_error"] = Value::Null;
            doc["next_action"] = Value::Null;
            if debit.manual {
                doc["status"] = json!("requires_capture");
                doc["amount_capturable"] = json!(amount);
            } else {
                doc["status"] = json!("succeeded");
                doc["amount_received"] = json!(amount);
            }
            Ok(())
        })?;
        if let Outcome::Disputed { reason, inquiry } = outcome {
            self.dispute_as(charge["id"].as_str().unwrap_or_default(), reason, inquiry)?;
        }
        Ok(outcome)
    }

    /// A payment of an invoice: an intent of its own, or the one of an earlier try.
    pub(super) fn collect_for_invoice(&mut self, debit: &Debit) -> Result<Outcome, Refusal> {
        let id = self.store.new_id(Kind::PaymentIntents.prefix());
        let mut doc = shapes::payment_intent(&id, self.now, self.live, &debit.currency, debit.amount);
        doc["customer"] = json!(debit.customer);
        doc["description"] = debit.description.clone();
        doc["payment_method"] = json!(debit.method);
        self.put(Kind::PaymentIntents, doc, Some("payment_intent.created"));
        self.collect(&id, debit.fails)
    }

    pub(super) fn capture_intent(&mut self, id: &str, form: &Value) -> Written {
        let doc = self.doc(Kind::PaymentIntents, id, "id")?;
        if doc["status"] != "requires_capture" {
            return Err(unexpected(format!(
                "This PaymentIntent could not be captured because it has a status of {}.",
                doc["status"].as_str().unwrap_or_default()
            )));
        }
        let amount =
            number(form, "amount_to_capture").or_else(|| doc["amount_capturable"].as_i64()).unwrap_or(0);
        let charge = doc["latest_charge"].as_str().unwrap_or_default().to_owned();
        self.capture_charge(&charge, &json!({"amount": amount.to_string()}))?;
        self.change(Kind::PaymentIntents, id, "payment_intent.succeeded", |_, doc| {
            doc["status"] = json!("succeeded");
            doc["amount_capturable"] = json!(0);
            doc["amount_received"] = json!(amount);
            Ok(())
        })
    }

    pub(super) fn cancel_intent(&mut self, id: &str, form: &Value) -> Written {
        let doc = self.doc(Kind::PaymentIntents, id, "id")?;
        if matches!(doc["status"].as_str(), Some("succeeded" | "canceled")) {
            return Err(unexpected("You cannot cancel this PaymentIntent.".to_owned()));
        }
        if doc["status"] == "requires_capture" {
            // The authorisation is given back: the charge counts as refunded, and nothing was taken.
            let charge = doc["latest_charge"].as_str().unwrap_or_default().to_owned();
            self.change(Kind::Charges, &charge, "charge.refunded", |_, doc| {
                doc["amount_refunded"] = doc["amount"].clone();
                doc["refunded"] = json!(true);
                Ok(())
            })?;
        }
        self.change(Kind::PaymentIntents, id, "payment_intent.canceled", |cx, doc| {
            doc["status"] = json!("canceled");
            doc["canceled_at"] = json!(cx.now);
            doc["amount_capturable"] = json!(0);
            doc["cancellation_reason"] = json!(filled(form, "cancellation_reason"));
            Ok(())
        })
    }

    // --- charges

    pub(super) fn create_charge(&mut self, form: &Value) -> Written {
        let customer = filled(form, "customer").map(str::to_owned);
        if let Some(customer) = &customer {
            self.doc(Kind::Customers, customer, "customer")?;
        }
        let method = match filled(form, "source") {
            Some(source) => Some(self.method(source)?["id"].as_str().unwrap_or_default().to_owned()),
            None => self.default_method(customer.as_deref()),
        };
        let debit = Debit {
            customer,
            currency: required(form, "currency")?.to_owned(),
            amount: required_number(form, "amount")?,
            method,
            manual: text(form, "capture") == Some("false"),
            description: json!(filled(form, "description")),
            metadata: form.get("metadata").cloned(),
            ..Debit::default()
        };
        let outcome = self.outcome(&debit);
        if outcome == Outcome::NeedsAction {
            let decline = Decline {
                code: "authentication_required",
                decline_code: Some("authentication_required"),
                message: "Your card was declined. This transaction requires authentication.",
            };
            return Err(declined(&decline));
        }
        let charge = self.debit(&debit)?;
        match outcome {
            Outcome::Declined(decline) => {
                let mut refusal = declined(&decline);
                refusal.more.push(("charge", charge["id"].clone()));
                Err(refusal)
            }
            Outcome::Disputed { reason, inquiry } => {
                let id = charge["id"].as_str().unwrap_or_default();
                self.dispute_as(id, reason, inquiry)?;
                self.shown(Kind::Charges, id)
            }
            _ => Ok(charge),
        }
    }

    /// What paying that way leads to.
    fn outcome(&self, debit: &Debit) -> Outcome {
        if debit.fails {
            return Outcome::Declined(GENERIC);
        }
        let method = debit.method.as_deref().and_then(|id| self.store.find_ever(Kind::PaymentMethods, id));
        let doc = method.map(super::store::Object::doc);
        cards::outcome(doc.as_ref().and_then(|doc| doc["card"]["last4"].as_str()))
    }

    /// Makes the charge of a payment: well, only authorised, or failed.
    fn debit(&mut self, debit: &Debit) -> Written {
        let id = self.store.new_id(Kind::Charges.prefix());
        let customer = debit.customer.as_deref();
        let mut doc = shapes::charge(&id, self.now, self.live, customer, &debit.currency, debit.amount);
        doc["description"] = debit.description.clone();
        doc["payment_intent"] = json!(debit.intent);
        doc["payment_method"] = json!(debit.method);
        if let Some(method) = &debit.method
            && let Some(method) = self.store.find_ever(Kind::PaymentMethods, method)
        {
            let card = &method.doc()["card"];
            for name in ["brand", "last4"] {
                doc["payment_method_details"]["card"][name] = card[name].clone();
            }
            doc["payment_method_details"]["card"]["network"] = card["brand"].clone();
        }
        if let Some(metadata) = &debit.metadata {
            set_metadata(&mut doc, &json!({ "metadata": metadata }));
        }
        if let Outcome::Declined(decline) = self.outcome(debit) {
            doc["status"] = json!("failed");
            doc["paid"] = json!(false);
            doc["captured"] = json!(false);
            doc["amount_captured"] = json!(0);
            doc["failure_code"] = json!(decline.code);
            doc["failure_message"] = json!(decline.message);
            doc["outcome"]["type"] = json!("issuer_declined");
            doc["outcome"]["network_status"] = json!("declined_by_network");
            doc["outcome"]["reason"] = json!(decline.decline_code.unwrap_or(decline.code));
            doc["outcome"]["seller_message"] =
                json!("The bank did not return any further details with this decline.");
            return Ok(self.put(Kind::Charges, doc, Some("charge.failed")));
        }
        if debit.manual {
            doc["captured"] = json!(false);
            doc["amount_captured"] = json!(0);
        } else {
            let amount = doc["amount_captured"].as_i64().unwrap_or(0);
            doc["balance_transaction"] = self.book("charge", &id, amount, &doc["currency"]);
        }
        Ok(self.put(Kind::Charges, doc, Some("charge.succeeded")))
    }

    pub(super) fn capture_charge(&mut self, id: &str, form: &Value) -> Written {
        let doc = self.doc(Kind::Charges, id, "id")?;
        if doc["captured"] == true || doc["status"] != "succeeded" || doc["refunded"] == true {
            return Err(Refusal {
                code: Some("charge_already_captured"),
                ..Refusal::bad(format!("Charge {id} cannot be captured."))
            });
        }
        let whole = doc["amount"].as_i64().unwrap_or(0);
        let amount = number(form, "amount").unwrap_or(whole);
        if amount <= 0 || amount > whole {
            return Err(Refusal::invalid("amount", "This value must be within what was authorised."));
        }
        self.change(Kind::Charges, id, "charge.captured", |cx, doc| {
            doc["balance_transaction"] = cx.book("charge", id, amount, &doc["currency"]);
            doc["captured"] = json!(true);
            doc["amount_captured"] = json!(amount);
            Ok(())
        })
    }

    // --- refunds

    pub(super) fn create_refund(&mut self, form: &Value) -> Written {
        let charge = match (filled(form, "charge"), filled(form, "payment_intent")) {
            (Some(charge), _) => charge.to_owned(),
            (None, Some(intent)) => {
                let intent = self.doc(Kind::PaymentIntents, intent, "payment_intent")?;
                intent["latest_charge"].as_str().map(str::to_owned).ok_or_else(|| {
                    Refusal::invalid(
                        "payment_intent",
                        "This PaymentIntent does not have a successful charge to refund.",
                    )
                })?
            }
            (None, None) => {
                return Err(Refusal::bad(
                    "One of the following params should be provided for this request: payment_intent or charge.",
                ));
            }
        };
        let refund = self.refund(&charge, number(form, "amount"))?;
        let id = refund["id"].as_str().unwrap_or_default().to_owned();
        if form.get("metadata").is_some() || filled(form, "reason").is_some() {
            let mut doc = self.doc(Kind::Refunds, &id, "id")?;
            set(&mut doc, form, &["reason"], &[], &[]);
            self.put(Kind::Refunds, doc, None);
        }
        self.shown(Kind::Refunds, &id)
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
        let last4 = doc["payment_method_details"]["card"]["last4"].as_str();
        let outcome = cards::outcome(last4);
        if outcome == Outcome::RefundWaits {
            refund["status"] = json!("pending");
        }
        refund["balance_transaction"] = self.book("refund", &id, -amount, &refund["currency"]);
        self.put(Kind::Refunds, refund, Some("refund.created"));
        self.move_refunded(charge, amount, "charge.refunded")?;
        let updated = ["refund.updated", "charge.refund.updated"];
        match outcome {
            Outcome::RefundWaits => self.change_as(Kind::Refunds, &id, &updated, |_, doc| {
                doc["status"] = json!("succeeded");
                Ok(())
            }),
            Outcome::RefundFails => {
                self.change_as(Kind::Refunds, &id, &["refund.updated", "refund.failed"], |cx, doc| {
                    let back = cx.book("refund_failure", &id, amount, &doc["currency"]);
                    doc["failure_balance_transaction"] = back;
                    doc["status"] = json!("failed");
                    doc["failure_reason"] = json!("expired_or_canceled_card");
                    Ok(())
                })?;
                self.move_refunded(charge, -amount, "charge.updated")?;
                self.shown(Kind::Refunds, &id)
            }
            _ => self.shown(Kind::Refunds, &id),
        }
    }

    fn move_refunded(&mut self, charge: &str, by: i64, event: &str) -> Written {
        self.change(Kind::Charges, charge, event, |_, doc| {
            let refunded = doc["amount_refunded"].as_i64().unwrap_or(0) + by;
            doc["amount_refunded"] = json!(refunded);
            doc["refunded"] = json!(refunded == doc["amount_captured"].as_i64().unwrap_or(0));
            Ok(())
        })
    }

    // --- disputes

    /// A customer disputes a charge.
    pub(super) fn dispute(&mut self, charge: &str) -> Written {
        self.dispute_as(charge, "fraudulent", false)
    }

    fn dispute_as(&mut self, charge: &str, reason: &str, inquiry: bool) -> Written {
        let doc = self.doc(Kind::Charges, charge, "charge")?;
        let id = self.store.new_id(Kind::Disputes.prefix());
        let mut dispute = shapes::dispute(&id, self.now, &doc);
        dispute["reason"] = json!(reason);
        if inquiry {
            dispute["status"] = json!("warning_needs_response");
            dispute["is_charge_refundable"] = json!(true);
            dispute["payment_method_details"]["card"]["case_type"] = json!("inquiry");
        } else {
            dispute["balance_transactions"] = json!([self.withdraw(&dispute)]);
        }
        let dispute = self.put(Kind::Disputes, dispute, Some("charge.dispute.created"));
        self.change(Kind::Charges, charge, "charge.updated", |_, doc| {
            doc["disputed"] = json!(true);
            Ok(())
        })?;
        if !inquiry {
            self.emit("charge.dispute.funds_withdrawn", &dispute, None);
        }
        Ok(dispute)
    }

    /// Evidence: Stripe's words `winning_evidence` and `losing_evidence` decide a test dispute at once.
    pub(super) fn answer_dispute(&mut self, id: &str, form: &Value) -> Written {
        let evidence = form.get("evidence");
        let said = evidence.and_then(|e| text(e, "uncategorized_text")).unwrap_or_default().to_owned();
        let inquiry = is_inquiry(&self.doc(Kind::Disputes, id, "id")?);
        let shown = self.change(Kind::Disputes, id, "charge.dispute.updated", |_, doc| {
            set_metadata(doc, form);
            for (name, value) in evidence.and_then(Value::as_object).into_iter().flatten() {
                doc["evidence"][name] = value.clone();
                doc["evidence_details"]["has_evidence"] = json!(true);
            }
            if evidence.is_some() && text(form, "submit") != Some("false") {
                let count = doc["evidence_details"]["submission_count"].as_i64().unwrap_or(0);
                doc["evidence_details"]["submission_count"] = json!(count + 1);
                doc["status"] = json!(if inquiry { "warning_under_review" } else { "under_review" });
            }
            Ok(())
        })?;
        match said.as_str() {
            "winning_evidence" => self.end_dispute(id, if inquiry { "warning_closed" } else { "won" }),
            "losing_evidence" => self.end_dispute(id, "lost"),
            _ => Ok(shown),
        }
    }

    /// Gives a dispute up.
    pub(super) fn close_dispute(&mut self, id: &str) -> Written {
        let inquiry = is_inquiry(&self.doc(Kind::Disputes, id, "id")?);
        self.end_dispute(id, if inquiry { "warning_closed" } else { "lost" })
    }

    fn end_dispute(&mut self, id: &str, status: &str) -> Written {
        let doc = self.doc(Kind::Disputes, id, "id")?;
        if matches!(doc["status"].as_str(), Some("won" | "lost" | "warning_closed")) {
            return Err(Refusal::bad("This dispute is already closed."));
        }
        let shown = self.change(Kind::Disputes, id, "charge.dispute.closed", |cx, doc| {
            doc["status"] = json!(status);
            if status == "won" {
                let back = cx.reinstate(doc);
                if let Some(all) = doc["balance_transactions"].as_array_mut() {
                    all.push(back);
                }
            }
            Ok(())
        })?;
        if status == "won" {
            self.emit("charge.dispute.funds_reinstated", &shown, None);
        }
        Ok(shown)
    }
}

fn is_inquiry(dispute: &Value) -> bool {
    dispute["status"].as_str().is_some_and(|s| s.starts_with("warning"))
}
