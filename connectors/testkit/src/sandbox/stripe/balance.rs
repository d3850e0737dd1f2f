//! What moves the account's balance, and tax rates.

use serde_json::{Value, json};

use super::read::Refusal;
use super::store::{Kind, Object};
use super::write::Ctx;

/// What the sandbox takes of a payment: 2.9 % and 30 minor units.
fn fee(amount: i64) -> i64 {
    amount * 29 / 1_000 + 30
}

impl Ctx<'_> {
    /// Writes what `source` did to the balance, in the currency of `source`; the transaction's id. Stripe
    /// sends no event about it.
    pub(super) fn book(&mut self, kind: &str, source: &str, amount: i64, currency: &Value) -> Value {
        let id = self.store.new_id(Kind::BalanceTransactions.prefix());
        let fee = if kind == "charge" { fee(amount) } else { 0 };
        let doc = json!({
            "id": id, "object": "balance_transaction", "amount": amount, "available_on": self.now + 7 * 86_400,
            "balance_type": "payments", "created": self.now, "currency": currency, "description": null,
            "exchange_rate": null, "fee": fee, "fee_details": [], "net": amount - fee, "reporting_category": kind,
            "source": source, "status": "pending", "type": kind,
        });
        self.store.of_mut(Kind::BalanceTransactions).put(Object::of_doc(doc));
        json!(id)
    }

    /// Takes a disputed amount off the balance; the whole transaction, as a dispute shows it.
    pub(super) fn withdraw(&mut self, dispute: &Value) -> Value {
        self.adjust(dispute, -1)
    }

    fn adjust(&mut self, dispute: &Value, sign: i64) -> Value {
        let id = dispute["id"].as_str().unwrap_or_default();
        let amount = dispute["amount"].as_i64().unwrap_or(0);
        let settled = self.book("adjustment", id, sign * amount, &dispute["currency"]);
        let found = self.store.find(Kind::BalanceTransactions, settled.as_str().unwrap_or_default());
        found.map_or(Value::Null, |object| (*object.doc()).clone())
    }

    /// Gives a disputed amount back; the whole transaction.
    pub(super) fn reinstate(&mut self, dispute: &Value) -> Value {
        self.adjust(dispute, 1)
    }

    pub(super) fn create_tax_rate(&mut self, form: &Value) -> Result<Value, Refusal> {
        let text = |name: &str| form.get(name).and_then(Value::as_str);
        let percentage = text("percentage")
            .and_then(|p| p.parse::<f64>().ok())
            .ok_or_else(|| Refusal::invalid("percentage", "Invalid decimal"))?;
        let id = self.store.new_id(Kind::TaxRates.prefix());
        let doc = json!({
            "id": id, "object": "tax_rate", "active": true, "country": null, "created": self.now,
            "description": null, "display_name": text("display_name").unwrap_or("Tax"),
            "effective_percentage": null, "flat_amount": null, "inclusive": text("inclusive") == Some("true"),
            "jurisdiction": null, "jurisdiction_level": null, "livemode": self.live, "metadata": {},
            "percentage": percentage, "rate_type": "percentage", "state": null, "tax_type": null,
        });
        Ok(self.put(Kind::TaxRates, doc, Some("tax_rate.created")))
    }
}
