//! Stripe's webhooks: signatures, and which objects an event names.
//!
//! An event's payload is a hint. It says which objects to read again and is never a record itself: its
//! shape follows the API version of its creation, its order is not promised and its stamps are whole
//! seconds. Only "deleted" is believed, because there is nothing left to read.

use chrono::{DateTime, Utc};
use connector_sdk::signature::{
    Digest, digest_from_hex, hmac_sha256, unix_time, verify_hmac_sha256, within_tolerance,
};
use connector_sdk::{Event, RawRequest, RecordKey, SignatureError, Timestamp, WebhookSource};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::streams;

const HEADER: &str = "stripe-signature";
/// More `v1` signatures than secrets can be valid at once are noise that costs time to compare.
const MOST_SIGNATURES: usize = 16;
/// How the types of the test clocks' own events begin.
const CLOCKS: &str = "test_helpers.test_clock.";

/// The event types that change something here; what an endpoint at Stripe is registered for.
pub(crate) const EVENTS: &[&str] = &[
    "charge.captured",
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
    "charge.expired",
    "charge.failed",
    "charge.pending",
    "charge.refund.updated",
    "charge.refunded",
    "charge.succeeded",
    "charge.updated",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "coupon.created",
    "coupon.deleted",
    "coupon.updated",
    "credit_note.created",
    "credit_note.updated",
    "credit_note.voided",
    "customer.created",
    "customer.deleted",
    "customer.discount.created",
    "customer.discount.deleted",
    "customer.discount.updated",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.pending_update_applied",
    "customer.subscription.pending_update_expired",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "customer.updated",
    "invoice.created",
    "invoice.deleted",
    "invoice.finalization_failed",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.overdue",
    "invoice.overpaid",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice.sent",
    "invoice.updated",
    "invoice.voided",
    "invoice_payment.paid",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
    "payment_intent.succeeded",
    "plan.created",
    "plan.deleted",
    "plan.updated",
    "price.created",
    "price.deleted",
    "price.updated",
    "product.created",
    "product.deleted",
    "product.updated",
    "promotion_code.created",
    "promotion_code.updated",
    "refund.created",
    "refund.failed",
    "refund.updated",
    "subscription_schedule.aborted",
    "subscription_schedule.canceled",
    "subscription_schedule.completed",
    "subscription_schedule.created",
    "subscription_schedule.expiring",
    "subscription_schedule.released",
    "subscription_schedule.updated",
    "tax_rate.created",
    "tax_rate.updated",
];

/// The webhook side of the connector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Webhooks;

/// The `Stripe-Signature` header of a body sent at that time: for sandboxes and replays.
#[must_use]
pub fn sign(secret: &SecretString, body: &[u8], at: Timestamp) -> String {
    let t = at.timestamp().to_string();
    let digest = hmac_sha256(secret.expose_secret().as_bytes(), &[t.as_bytes(), b".", body]);
    format!("t={t},v1={}", hex(&digest))
}

fn hex(digest: &Digest) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl WebhookSource for Webhooks {
    fn verify(&self, secrets: &[SecretString], request: &RawRequest<'_>) -> Result<(), SignatureError> {
        let mut headers = request.headers.get_all(HEADER).iter();
        let header = headers.next().ok_or(SignatureError::Missing)?;
        if headers.next().is_some() {
            return Err(SignatureError::Malformed("more than one signature header"));
        }
        let header = header.to_str().map_err(|_| SignatureError::Malformed("not ASCII"))?;
        if header.is_empty() {
            return Err(SignatureError::Missing);
        }
        let mut times = Vec::new();
        let mut signatures = Vec::new();
        for item in header.split(',') {
            match item.split_once('=') {
                Some(("t", text)) => times.push(text),
                // One that cannot be a digest is as good as a wrong one: others may still match.
                Some(("v1", text)) => signatures.extend(digest_from_hex(text)),
                // Other schemes are for other readers (v0 is a test scheme that anybody could ask for).
                _ => {}
            }
        }
        let time = match times.as_slice() {
            [time] => *time,
            [] => return Err(SignatureError::Malformed("no timestamp")),
            _ => return Err(SignatureError::Malformed("more than one timestamp")),
        };
        let signed_at = unix_time(time).ok_or(SignatureError::Malformed("timestamp is not an integer"))?;
        if signatures.is_empty() {
            return Err(SignatureError::Malformed("no v1 signature"));
        }
        if signatures.len() > MOST_SIGNATURES {
            return Err(SignatureError::Malformed("too many signatures"));
        }
        if request.body.is_empty() {
            return Err(SignatureError::Malformed("empty body"));
        }
        // The signature first: the clock is judged only for a time that is proved to be Stripe's.
        verify_hmac_sha256(secrets, &[time.as_bytes(), b".", request.body], &signatures)?;
        within_tolerance(signed_at, request.received_at, request.tolerance)
    }

    fn route(&self, request: &RawRequest<'_>) -> Result<Vec<Event>, String> {
        let body: Value = serde_json::from_slice(request.body)
            .map_err(|e| format!("not JSON (line {}, column {})", e.line(), e.column()))?;
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let id = text("id").filter(|id| !id.is_empty()).ok_or("id: missing or no text")?;
        let kind = text("type").filter(|kind| !kind.is_empty()).ok_or("type: missing or no text")?;
        let thin = body.get("related_object").filter(|o| o.is_object());
        let empty = Value::Null;
        let object = match thin {
            Some(related) => related,
            None => body.get("data").and_then(|d| d.get("object")).unwrap_or(&empty),
        };
        let mut named = Named::default();
        // Thin events carry the version of the API's namespace in front: v1.customer.updated.
        let bare = if thin.is_some() { kind.strip_prefix("v1.").unwrap_or(kind) } else { kind };
        let known = named.collect(bare, object, thin.is_some());
        Ok(vec![Event {
            id: id.to_owned(),
            kind: kind.to_owned(),
            account: text("account").or_else(|| text("context")).map(str::to_owned),
            live: body.get("livemode").and_then(Value::as_bool),
            created: created(body.get("created")),
            touches: named.touches,
            tombstones: named.tombstones,
            simulated: test_clock(bare, object),
            known,
        }])
    }
}

/// The records that a stored event (`/v1/events`) names, gone ones included: to be read again. None for one of a
/// test clock, and for one that means nothing here.
pub(crate) fn named_by(event: &Value) -> Vec<RecordKey> {
    let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
    let empty = Value::Null;
    let object = event.get("data").and_then(|d| d.get("object")).unwrap_or(&empty);
    if test_clock(kind, object).is_some() {
        return Vec::new();
    }
    let mut named = Named::default();
    named.collect(kind, object, false);
    named.touches.append(&mut named.tombstones);
    named.touches
}

/// The test clock that an event is of, or that its object lives on.
fn test_clock(kind: &str, object: &Value) -> Option<String> {
    let clock = match kind.starts_with(CLOCKS) {
        true => id_of(object.get("id")).or(Some("unnamed")),
        false => id_of(object.get("test_clock")),
    };
    clock.map(str::to_owned)
}

/// Whole seconds in an event, RFC 3339 in a thin one.
fn created(value: Option<&Value>) -> Option<Timestamp> {
    match value? {
        Value::Number(n) => DateTime::from_timestamp(n.as_i64()?, 0),
        Value::String(s) => DateTime::parse_from_rfc3339(s).ok().map(|t| t.with_timezone(&Utc)),
        _ => None,
    }
}

/// A reference, as an id or as the object itself.
fn id_of(value: Option<&Value>) -> Option<&str> {
    let value = value?;
    value.as_str().or_else(|| value.get("id")?.as_str()).filter(|id| !id.is_empty())
}

/// The items of a member that is a bare array.
fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The objects that an event names.
#[derive(Default)]
struct Named {
    touches: Vec<RecordKey>,
    tombstones: Vec<RecordKey>,
}

impl Named {
    /// Names an object, where its stream is one that is read.
    fn touch(&mut self, stream: &str, id: Option<&str>) {
        if let Some(id) = id.filter(|_| streams::ALL.iter().any(|s| s.spec.name == stream)) {
            let key = RecordKey::new(stream, id);
            if !self.touches.contains(&key) {
                self.touches.push(key);
            }
        }
    }

    fn gone(&mut self, stream: &str, id: Option<&str>) {
        self.tombstones.extend(id.map(|id| RecordKey::new(stream, id)));
    }

    /// The subscription of an invoice, in the shapes before and since 2025-03-31.
    fn touch_subscription_of(&mut self, invoice: &Value) {
        let details = invoice.get("parent").and_then(|p| p.get("subscription_details"));
        self.touch("subscriptions", id_of(details.and_then(|d| d.get("subscription"))));
        self.touch("subscriptions", id_of(invoice.get("subscription")));
    }

    /// Collects what an event of this type names; false for a type that means nothing here. A thin
    /// event names one object and holds none.
    fn collect(&mut self, kind: &str, object: &Value, thin: bool) -> bool {
        let id = id_of(object.get("id"));
        let member = |name: &str| if thin { None } else { id_of(object.get(name)) };
        let (family, action) = kind.rsplit_once('.').unwrap_or((kind, ""));
        match (family, action) {
            ("customer", "deleted") => self.gone("customers", id),
            ("customer", "created" | "updated") => self.touch("customers", id),
            // A deleted subscription is a canceled one: it stays readable.
            ("customer.subscription", _) => self.touch("subscriptions", id),
            ("customer.discount", _) => {
                self.touch("customers", member("customer"));
                self.touch("subscriptions", member("subscription"));
            }
            ("product", "deleted") => self.gone("products", id),
            ("product", _) => self.touch("products", id),
            // A plan is a price under its older name, with the same id.
            ("price" | "plan", "deleted") => self.gone("prices", id),
            ("price" | "plan", _) => self.touch("prices", id),
            ("coupon", "deleted") => self.gone("coupons", id),
            ("coupon", _) => self.touch("coupons", id),
            // A code leads to a coupon; what it has given away shows on customers and subscriptions.
            ("promotion_code", _) => {
                self.touch("promotion_codes", id);
                let promotion = object.get("promotion").filter(|_| !thin);
                self.touch("coupons", promotion.and_then(|p| id_of(p.get("coupon"))));
                self.touch("coupons", member("coupon"));
            }
            ("tax_rate", _) => self.touch("tax_rates", id),
            // What a credit note takes off is counted on its invoice.
            ("credit_note", _) => {
                self.touch("invoices", member("invoice"));
                self.touch("customers", member("customer"));
            }
            // A preview: it has no id and changes nothing.
            ("invoice", "upcoming" | "will_be_due") => {}
            ("invoice", "deleted") => self.gone("invoices", id),
            ("invoice", action) => {
                self.touch("invoices", id);
                if matches!(
                    action,
                    "paid"
                        | "payment_succeeded"
                        | "payment_failed"
                        | "payment_action_required"
                        | "marked_uncollectible"
                        | "voided"
                        | "overdue"
                ) {
                    // Payment decides the subscription's status and the customer's delinquency.
                    if !thin {
                        self.touch_subscription_of(object);
                    }
                    self.touch("customers", member("customer"));
                    self.touch("charges", member("charge"));
                }
            }
            ("invoice_payment", _) => {
                self.touch("invoices", member("invoice"));
                self.touch("charges", object.get("payment").and_then(|p| id_of(p.get("charge"))));
            }
            ("charge.dispute", _) => {
                self.touch("disputes", id);
                self.touch("charges", member("charge"));
                for settled in list(object.get("balance_transactions")) {
                    self.touch("balance_transactions", id_of(Some(settled)));
                }
            }
            // `charge.refund.updated` holds the refund, `charge.refunded` the charge.
            ("refund" | "charge.refund", _) => {
                self.touch("refunds", id);
                self.touch("charges", member("charge"));
                self.touch("balance_transactions", member("balance_transaction"));
            }
            ("charge", _) => {
                self.touch("charges", id);
                self.touch("invoices", member("invoice"));
                self.touch("balance_transactions", member("balance_transaction"));
                let refunds = object.get("refunds").and_then(|r| r.get("data")).and_then(Value::as_array);
                for refund in refunds.into_iter().flatten() {
                    self.touch("refunds", id_of(Some(refund)));
                }
            }
            ("payment_intent", _) => {
                self.touch("charges", member("latest_charge"));
                self.touch("invoices", member("invoice"));
                let charges = object.get("charges").and_then(|c| c.get("data")).and_then(Value::as_array);
                for charge in charges.into_iter().flatten() {
                    self.touch("charges", id_of(Some(charge)));
                }
            }
            ("checkout.session", _) => {
                self.touch("customers", member("customer"));
                self.touch("subscriptions", member("subscription"));
                self.touch("invoices", member("invoice"));
            }
            ("subscription_schedule", _) => {
                self.touch("subscription_schedules", id);
                self.touch("subscriptions", member("subscription"));
                self.touch("subscriptions", member("released_subscription"));
            }
            // Known, and never applied: see `Event::simulated`.
            ("test_helpers.test_clock", _) => {}
            // Payouts, the balance and its transactions settle days after what they are of; no field waits for them,
            // and the ledger is read by the page.
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
