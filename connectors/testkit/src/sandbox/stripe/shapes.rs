//! Objects in the shapes of the pinned version. Lists inside an object and references are kept bare
//! (an array, an id); `render` answers them as Stripe does.

use chrono::{DateTime, Months, TimeDelta};
use serde_json::{Value, json};

pub(super) use super::shapes_of_money::{charge, dispute, payment_intent, payment_method, refund};

/// A customer.
pub(super) fn customer(id: &str, created: i64, live: bool) -> Value {
    json!({
        "id": id, "object": "customer", "address": null, "balance": 0, "created": created, "currency": null,
        "default_source": null, "delinquent": false, "description": null,
        "discount": null, "email": null, "invoice_prefix": null,
        "invoice_settings": {"custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null},
        "livemode": live, "metadata": {}, "name": null, "next_invoice_sequence": 1, "phone": null,
        "preferred_locales": [], "shipping": null, "tax_exempt": "none", "test_clock": null,
    })
}

/// A product.
pub(super) fn product(id: &str, created: i64, live: bool, name: &str) -> Value {
    json!({
        "id": id, "object": "product", "active": true, "created": created, "default_price": null,
        "description": null, "images": [], "livemode": live, "marketing_features": [], "metadata": {},
        "name": name, "package_dimensions": null, "shippable": null, "statement_descriptor": null,
        "tax_code": null, "type": "service", "unit_label": null, "updated": created, "url": null,
    })
}

/// A price of that product, without an amount yet.
pub(super) fn price(id: &str, created: i64, live: bool, product: &str, currency: &str) -> Value {
    json!({
        "id": id, "object": "price", "active": true, "billing_scheme": "per_unit", "created": created,
        "currency": currency, "custom_unit_amount": null, "livemode": live, "lookup_key": null, "metadata": {},
        "nickname": null, "product": product, "recurring": null, "tax_behavior": "unspecified",
        "tiers_mode": null, "transform_quantity": null, "type": "one_time", "unit_amount": null,
        "unit_amount_decimal": null,
    })
}

/// A coupon.
pub(super) fn coupon(id: &str, created: i64, live: bool) -> Value {
    json!({
        "id": id, "object": "coupon", "amount_off": null, "created": created, "currency": null,
        "duration": "once", "duration_in_months": null, "livemode": live, "max_redemptions": null,
        "metadata": {}, "name": null, "percent_off": null, "redeem_by": null, "times_redeemed": 0, "valid": true,
    })
}

/// A discount of a coupon.
pub(super) fn discount(id: &str, coupon: &str, start: i64, end: Option<i64>) -> Value {
    json!({
        "id": id, "object": "discount", "checkout_session": null, "customer": null, "customer_account": null,
        "end": end, "invoice": null, "invoice_item": null, "promotion_code": null,
        "source": {"coupon": coupon, "type": "coupon"}, "start": start, "subscription": null,
        "subscription_item": null,
    })
}

/// A subscription without items.
pub(super) fn subscription(id: &str, created: i64, live: bool, customer: &str, currency: &str) -> Value {
    json!({
        "id": id, "object": "subscription", "application": null, "application_fee_percent": null,
        "automatic_tax": {"enabled": false, "liability": null, "disabled_reason": null},
        "billing_cycle_anchor": created, "billing_cycle_anchor_config": null,
        "billing_mode": {"type": "flexible", "flexible": {"proration_discounts": "included"}},
        "billing_thresholds": null, "cancel_at": null, "cancel_at_period_end": false, "canceled_at": null,
        "cancellation_details": {"comment": null, "feedback": null, "reason": null},
        "collection_method": "charge_automatically", "created": created, "currency": currency,
        "customer": customer, "customer_account": null, "days_until_due": null, "default_payment_method": null,
        "default_source": null, "default_tax_rates": [], "description": null, "discounts": [], "ended_at": null,
        "invoice_settings": {"account_tax_ids": null, "issuer": {"type": "self"}}, "items": [],
        "latest_invoice": null, "livemode": live, "metadata": {}, "next_pending_invoice_item_invoice": null,
        "on_behalf_of": null, "pause_collection": null,
        "payment_settings": {"payment_method_options": null, "payment_method_types": null, "save_default_payment_method": "off"},
        "pending_invoice_item_interval": null, "pending_setup_intent": null, "pending_update": null,
        "schedule": null, "start_date": created, "status": "active", "test_clock": null, "transfer_data": null,
        "trial_end": null, "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": null,
    })
}

/// A subscription item; `price` is an id.
pub(super) fn item(
    id: &str,
    created: i64,
    subscription: &str,
    price: &str,
    quantity: Option<i64>,
    period: (i64, i64),
) -> Value {
    json!({
        "id": id, "object": "subscription_item", "billing_thresholds": null, "created": created,
        "current_period_end": period.1, "current_period_start": period.0, "discounts": [], "metadata": {},
        "price": price, "quantity": quantity, "subscription": subscription, "tax_rates": [],
    })
}

/// A schedule without phases.
pub(super) fn empty_schedule(id: &str, created: i64, live: bool, customer: &str) -> Value {
    json!({
        "id": id, "object": "subscription_schedule", "application": null, "billing_mode": {"type": "flexible"},
        "canceled_at": null, "completed_at": null, "created": created, "current_phase": null,
        "customer": customer, "customer_account": null,
        "default_settings": {
            "application_fee_percent": null, "automatic_tax": {"enabled": false, "liability": null, "disabled_reason": null},
            "billing_cycle_anchor": "automatic", "billing_thresholds": null, "collection_method": "charge_automatically",
            "default_payment_method": null, "description": null,
            "invoice_settings": {"account_tax_ids": null, "days_until_due": null, "issuer": {"type": "self"}},
            "on_behalf_of": null, "transfer_data": null,
        },
        "end_behavior": "release", "livemode": live, "metadata": {}, "phases": [], "released_at": null,
        "released_subscription": null, "status": "active", "subscription": null, "test_clock": null,
    })
}

/// One phase of a schedule.
pub(super) fn phase(currency: &Value, start: i64, end: i64, items: Value) -> Value {
    json!({
        "add_invoice_items": [], "application_fee_percent": null, "billing_cycle_anchor": null,
        "billing_thresholds": null, "collection_method": null, "currency": currency,
        "default_payment_method": null, "default_tax_rates": [], "description": null, "discounts": [],
        "end_date": end, "invoice_settings": null, "items": items, "metadata": {}, "on_behalf_of": null,
        "proration_behavior": "create_prorations", "start_date": start, "transfer_data": null, "trial_end": null,
    })
}

/// One item of a phase.
pub(super) fn phase_item(price: &str, quantity: i64) -> Value {
    json!({
        "billing_thresholds": null, "discounts": [], "metadata": {}, "price": price, "quantity": quantity,
        "tax_rates": [],
    })
}

/// A schedule of a subscription as it is now, with one phase until `end`.
pub(super) fn schedule(id: &str, created: i64, subscription: &Value, end: i64, end_behavior: &str) -> Value {
    let items = subscription["items"].as_array().into_iter().flatten();
    let items = items.map(|i| {
        let mut item = phase_item(i["price"].as_str().unwrap_or_default(), 1);
        item["quantity"] = i["quantity"].clone();
        item
    });
    let customer = subscription["customer"].as_str().unwrap_or_default();
    let mut doc = empty_schedule(id, created, subscription["livemode"] == true, customer);
    doc["phases"] = json!([phase(&subscription["currency"], created, end, items.collect())]);
    doc["current_phase"] = json!({"end_date": end, "start_date": created});
    doc["end_behavior"] = json!(end_behavior);
    doc["subscription"] = subscription["id"].clone();
    doc
}

/// A code that gives a coupon.
pub(super) fn promotion_code(id: &str, created: i64, live: bool, coupon: &str, code: &str) -> Value {
    json!({
        "id": id, "object": "promotion_code", "active": true, "code": code, "created": created, "customer": null,
        "customer_account": null, "expires_at": null, "livemode": live, "max_redemptions": null, "metadata": {},
        "promotion": {"coupon": coupon, "type": "coupon"},
        "restrictions": {"first_time_transaction": false, "minimum_amount": null, "minimum_amount_currency": null},
        "times_redeemed": 0,
    })
}

/// A draft of an invoice without lines.
pub(super) fn invoice(id: &str, created: i64, live: bool, customer: &str, currency: &Value) -> Value {
    json!({
        "id": id, "object": "invoice", "account_country": "US", "account_name": "Sandbox", "account_tax_ids": null,
        "amount_due": 0, "amount_overpaid": 0, "amount_paid": 0, "amount_paid_off_stripe": 0,
        "amount_remaining": 0, "amount_shipping": 0, "application": null, "attempt_count": 0, "attempted": false,
        "auto_advance": true, "automatic_tax": {"enabled": false, "liability": null, "status": null, "disabled_reason": null, "provider": null},
        "automatically_finalizes_at": null, "billing_reason": "manual",
        "collection_method": "charge_automatically", "created": created, "currency": currency,
        "custom_fields": null, "customer": customer, "customer_account": null, "customer_address": null,
        "customer_email": null, "customer_name": null, "customer_phone": null, "customer_shipping": null,
        "customer_tax_exempt": "none", "customer_tax_ids": [], "default_payment_method": null,
        "default_source": null, "default_tax_rates": [], "description": null, "discounts": [], "due_date": null,
        "effective_at": null, "ending_balance": null, "footer": null, "from_invoice": null,
        "issuer": {"type": "self"}, "last_finalization_error": null, "latest_revision": null,
        "lines": [], "livemode": live, "metadata": {}, "next_payment_attempt": null, "number": null,
        "on_behalf_of": null, "parent": null,
        "payment_settings": {"default_mandate": null, "payment_method_options": null, "payment_method_types": null},
        "period_end": created, "period_start": created, "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0, "receipt_number": null, "rendering": null, "shipping_cost": null,
        "shipping_details": null, "starting_balance": 0, "statement_descriptor": null, "status": "draft",
        "status_transitions": {"finalized_at": null, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null},
        "subtotal": 0, "subtotal_excluding_tax": 0, "test_clock": null, "total": 0,
        "total_discount_amounts": [], "total_excluding_tax": 0, "total_pretax_credit_amounts": [],
        "total_taxes": [], "webhooks_delivered_at": created,
    })
}

/// The `parent` of a subscription's invoice.
pub(super) fn subscription_parent(subscription: &Value) -> Value {
    json!({
        "quote_details": null,
        "subscription_details": {"metadata": {}, "subscription": subscription},
        "type": "subscription_details",
    })
}

/// An invoice item that waits for its invoice.
pub(super) fn invoice_item(
    id: &str,
    date: i64,
    live: bool,
    customer: &str,
    currency: &Value,
    amount: i64,
) -> Value {
    json!({
        "id": id, "object": "invoiceitem", "amount": amount, "currency": currency, "customer": customer,
        "customer_account": null, "date": date, "description": null, "discountable": true, "discounts": [],
        "invoice": null, "livemode": live, "metadata": {}, "net_amount": amount, "parent": null,
        "period": {"end": date, "start": date}, "pricing": null, "proration": false, "quantity": 1,
        "quantity_decimal": "1", "tax_rates": [], "test_clock": null,
    })
}

/// The price of an invoice item or line.
pub(super) fn pricing(price: &Value, unit: i64) -> Value {
    json!({
        "price_details": {"price": price, "product": ""}, "type": "price_details",
        "unit_amount_decimal": unit.to_string(),
    })
}

/// An invoice line of an invoice item.
pub(super) fn item_line(id: &str, live: bool, invoice: &str, item: &Value) -> Value {
    json!({
        "id": id, "object": "line_item", "amount": item["amount"], "currency": item["currency"],
        "description": item["description"], "discount_amounts": [], "discountable": true, "discounts": [],
        "invoice": invoice, "livemode": live, "metadata": {},
        "parent": {
            "invoice_item_details": {
                "invoice_item": item["id"], "proration": false, "proration_details": {"credited_items": null},
                "subscription": null,
            },
            "subscription_item_details": null,
            "type": "invoice_item_details",
        },
        "period": item["period"], "pretax_credit_amounts": [], "pricing": item["pricing"],
        "quantity": item["quantity"], "quantity_decimal": item["quantity_decimal"], "subtotal": item["amount"],
        "taxes": [],
    })
}

/// An invoice line of a subscription item.
pub(super) fn line(
    id: &str,
    live: bool,
    invoice: &str,
    currency: &Value,
    item: &Value,
    amount: i64,
) -> Value {
    json!({
        "id": id, "object": "line_item", "amount": amount, "currency": currency, "description": null,
        "discount_amounts": [], "discountable": true, "discounts": [], "invoice": invoice, "livemode": live,
        "metadata": {},
        "parent": {
            "invoice_item_details": null,
            "subscription_item_details": {
                "invoice_item": null, "proration": false, "proration_details": {"credited_items": null},
                "subscription": item["subscription"], "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": item["current_period_end"], "start": item["current_period_start"]},
        "pretax_credit_amounts": [],
        "pricing": {"price_details": {"price": item["price"], "product": null}, "type": "price_details", "unit_amount_decimal": null},
        "quantity": item["quantity"], "subtotal": amount, "taxes": [],
    })
}

/// The account.
pub(super) fn account(id: &str, created: i64, name: &str) -> Value {
    json!({
        "id": id, "object": "account", "business_profile": {"name": name, "url": null}, "business_type": null,
        "charges_enabled": true, "country": "US", "created": created, "default_currency": "usd",
        "details_submitted": true, "email": null, "metadata": {}, "payouts_enabled": true,
        "settings": {"dashboard": {"display_name": name, "timezone": "Etc/UTC"}}, "type": "standard",
    })
}

/// The end of a period of a price that begins at `start`; month ends clamp.
pub(super) fn period_end(price: &Value, start: i64) -> i64 {
    let recurring = &price["recurring"];
    let count = recurring["interval_count"].as_i64().unwrap_or(1);
    let Some(at) = DateTime::from_timestamp(start, 0) else { return start };
    let months = |n: i64| u32::try_from(n).ok().and_then(|n| at.checked_add_months(Months::new(n)));
    let end = match recurring["interval"].as_str() {
        Some("year") => months(12 * count),
        Some("month") => months(count),
        Some("week") => at.checked_add_signed(TimeDelta::days(7 * count)),
        Some("day") => at.checked_add_signed(TimeDelta::days(count)),
        _ => None,
    };
    end.map_or(start, |end| end.timestamp())
}

/// What one period of `quantity` costs, in minor units. Half units are rounded up.
pub(super) fn amount(price: &Value, quantity: i64) -> i64 {
    let unit = |amount: &Value, decimal: &Value, n: i64| -> i64 {
        match (amount.as_i64(), decimal.as_str().and_then(|d| d.parse::<f64>().ok())) {
            (Some(amount), _) => amount * n,
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                reason = "a sandbox's invoice"
            )]
            (None, Some(decimal)) => (decimal * n as f64).round() as i64,
            (None, None) => 0,
        }
    };
    if price["billing_scheme"] != "tiered" {
        return unit(&price["unit_amount"], &price["unit_amount_decimal"], quantity);
    }
    let mut total = 0;
    let mut below = 0;
    for tier in price["tiers"].as_array().into_iter().flatten() {
        let up_to = tier["up_to"].as_i64().unwrap_or(i64::MAX);
        let flat = tier["flat_amount"].as_i64().unwrap_or(0);
        if price["tiers_mode"] == "volume" {
            if quantity <= up_to {
                return unit(&tier["unit_amount"], &tier["unit_amount_decimal"], quantity) + flat;
            }
        } else {
            let here = quantity.min(up_to) - below;
            total += unit(&tier["unit_amount"], &tier["unit_amount_decimal"], here) + flat;
            below = up_to;
            if quantity <= up_to {
                break;
            }
        }
    }
    total
}
