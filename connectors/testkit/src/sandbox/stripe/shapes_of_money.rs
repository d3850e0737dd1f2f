//! The shapes of what is paid and how; see `shapes`.

use serde_json::{Value, json};

use super::cards::Card;

/// A payment intent that nothing was tried with.
pub(super) fn payment_intent(id: &str, created: i64, live: bool, currency: &str, amount: i64) -> Value {
    json!({
        "id": id, "object": "payment_intent", "amount": amount, "amount_capturable": 0,
        "amount_details": {"tip": {}}, "amount_received": 0, "application": null, "application_fee_amount": null,
        "automatic_payment_methods": null, "canceled_at": null, "cancellation_reason": null,
        "capture_method": "automatic", "client_secret": format!("{id}_secret_sandbox"),
        "confirmation_method": "automatic", "created": created, "currency": currency, "customer": null,
        "customer_account": null, "description": null, "excluded_payment_method_types": null,
        "last_payment_error": null, "latest_charge": null, "livemode": live, "metadata": {}, "next_action": null,
        "on_behalf_of": null, "payment_method": null, "payment_method_configuration_details": null,
        "payment_method_options": {}, "payment_method_types": ["card"], "processing": null,
        "receipt_email": null, "review": null, "setup_future_usage": null, "shipping": null,
        "statement_descriptor": null, "statement_descriptor_suffix": null, "status": "requires_payment_method",
        "transfer_data": null, "transfer_group": null,
    })
}

/// A payment method of a test card.
pub(super) fn payment_method(id: &str, created: i64, live: bool, card: &Card) -> Value {
    json!({
        "id": id, "object": "payment_method", "allow_redisplay": "unspecified",
        "billing_details": {"address": address(), "email": null, "name": null, "phone": null, "tax_id": null},
        "card": {
            "brand": card.brand, "checks": {"address_line1_check": null, "address_postal_code_check": null, "cvc_check": null},
            "country": "US", "display_brand": card.brand, "exp_month": 12, "exp_year": 2034,
            "fingerprint": format!("sandbox{}", card.last4), "funding": "credit", "generated_from": null,
            "last4": card.last4, "networks": {"available": [card.brand], "preferred": null},
            "regulated_status": "unregulated", "three_d_secure_usage": {"supported": true}, "wallet": null,
        },
        "created": created, "customer": null, "customer_account": null, "livemode": live, "metadata": {},
        "type": "card",
    })
}

fn address() -> Value {
    json!({"city": null, "country": null, "line1": null, "line2": null, "postal_code": null, "state": null})
}

/// A charge that succeeded.
pub(super) fn charge(
    id: &str,
    created: i64,
    live: bool,
    customer: Option<&str>,
    currency: &str,
    amount: i64,
) -> Value {
    json!({
        "id": id, "object": "charge", "amount": amount, "amount_captured": amount, "amount_refunded": 0,
        "application": null, "application_fee": null, "application_fee_amount": null, "balance_transaction": null,
        "billing_details": {"address": address(), "email": null, "name": null, "phone": null, "tax_id": null},
        "calculated_statement_descriptor": null, "captured": true, "created": created, "currency": currency,
        "customer": customer, "description": null, "disputed": false, "failure_balance_transaction": null,
        "failure_code": null, "failure_message": null, "fraud_details": {}, "livemode": live, "metadata": {},
        "on_behalf_of": null,
        "outcome": {
            "network_status": "approved_by_network", "reason": null, "seller_message": "Payment complete.",
            "type": "authorized",
        },
        "paid": true, "payment_intent": null, "payment_method": null,
        "payment_method_details": {
            "card": {
                "amount_authorized": amount, "brand": "visa",
                "checks": {"address_line1_check": null, "address_postal_code_check": null, "cvc_check": null},
                "country": "US", "exp_month": 12, "exp_year": 2034, "funding": "credit", "installments": null,
                "last4": "4242", "mandate": null, "network": "visa", "three_d_secure": null, "wallet": null,
            },
            "type": "card",
        },
        "receipt_email": null, "receipt_number": null, "receipt_url": null, "refunded": false, "review": null,
        "shipping": null, "source_transfer": null, "statement_descriptor": null,
        "statement_descriptor_suffix": null, "status": "succeeded", "transfer_data": null,
        "transfer_group": null,
    })
}

/// A refund that succeeded.
pub(super) fn refund(id: &str, created: i64, charge: &Value, amount: i64) -> Value {
    json!({
        "id": id, "object": "refund", "amount": amount, "balance_transaction": null, "charge": charge["id"],
        "created": created, "currency": charge["currency"], "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "metadata": {}, "payment_intent": charge["payment_intent"], "reason": null, "receipt_number": null,
        "source_transfer_reversal": null, "status": "succeeded", "transfer_reversal": null,
    })
}

/// A dispute that waits for an answer.
pub(super) fn dispute(id: &str, created: i64, charge: &Value) -> Value {
    json!({
        "id": id, "object": "dispute", "amount": charge["amount"], "balance_transactions": [],
        "charge": charge["id"], "created": created, "currency": charge["currency"], "enhanced_eligibility_types": [],
        "evidence": evidence(),
        "evidence_details": {
            "due_by": created + 604_800, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false,
            "submission_count": 0,
        },
        "is_charge_refundable": false, "livemode": charge["livemode"], "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {"card": {"brand": "visa", "case_type": "chargeback", "network_reason_code": "10.4"}, "type": "card"},
        "reason": "fraudulent", "status": "needs_response",
    })
}

/// Evidence that nobody has given.
fn evidence() -> Value {
    let mut members: serde_json::Map<String, Value> = [
        "access_activity_log",
        "billing_address",
        "cancellation_policy",
        "cancellation_policy_disclosure",
        "cancellation_rebuttal",
        "customer_communication",
        "customer_email_address",
        "customer_name",
        "customer_purchase_ip",
        "customer_signature",
        "duplicate_charge_documentation",
        "duplicate_charge_explanation",
        "duplicate_charge_id",
        "product_description",
        "receipt",
        "refund_policy",
        "refund_policy_disclosure",
        "refund_refusal_explanation",
        "service_date",
        "service_documentation",
        "shipping_address",
        "shipping_carrier",
        "shipping_date",
        "shipping_documentation",
        "shipping_tracking_number",
        "uncategorized_file",
        "uncategorized_text",
    ]
    .into_iter()
    .map(|name| (name.to_owned(), Value::Null))
    .collect();
    members.insert("enhanced_evidence".to_owned(), json!({}));
    Value::Object(members)
}
