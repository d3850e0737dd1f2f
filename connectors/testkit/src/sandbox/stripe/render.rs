//! How a document is answered: prices inside items, cut lists, expansions.

use serde_json::{Map, Value, json};

use super::store::{Body, Kind, Object, Store};

/// A nested list holds this many; the rest is behind `has_more`.
const NESTED: usize = 10;

/// What may be expanded, as seen from one object. Four levels at most, the `data` of a list included.
fn expandable(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Customers => &["discount.source.coupon"],
        Kind::Products => &["default_price"],
        Kind::Prices => &["tiers", "currency_options", "product"],
        Kind::Coupons => &["applies_to", "currency_options"],
        Kind::Subscriptions => &[
            "customer",
            "latest_invoice",
            "schedule",
            "discounts",
            "discounts.source.coupon",
            "items.data.discounts",
            "items.data.discounts.source.coupon",
            "items.data.price.product",
        ],
        Kind::Invoices => &["customer", "discounts", "discounts.source.coupon"],
        Kind::Charges => &["customer", "payment_intent"],
        Kind::Refunds | Kind::Disputes => &["charge", "payment_intent"],
        Kind::Schedules => &["customer", "subscription"],
        Kind::PaymentIntents => &["customer", "latest_charge", "payment_method"],
        Kind::PaymentMethods => &["customer"],
        Kind::InvoiceItems => &["customer", "invoice"],
        Kind::PromotionCodes => &["promotion.coupon"],
        Kind::TaxRates | Kind::BalanceTransactions | Kind::Events => &[],
    }
}

/// Paths that a call asks to expand, checked as Stripe checks them; `Err` is Stripe's sentence.
pub(super) fn check_expansion(kind: Kind, asked: &[String], list: bool) -> Result<Vec<String>, String> {
    asked
        .iter()
        .map(|path| {
            if path.split('.').count() > 4 {
                return Err("You cannot expand more than 4 levels of a property".to_owned());
            }
            let bare = if list { path.strip_prefix("data.") } else { Some(path.as_str()) };
            match bare {
                Some(bare) if expandable(kind).contains(&bare) => Ok(bare.to_owned()),
                _ => Err(format!("This property cannot be expanded ({path}).")),
            }
        })
        .collect()
}

/// The text of an object.
pub(super) fn text(store: &Store, kind: Kind, object: &Object, expand: &[String]) -> String {
    match &object.body {
        Body::Text(text) => text.to_string(),
        Body::Doc(doc) => value(store, kind, doc, expand).to_string(),
    }
}

/// An object as it is answered.
pub(super) fn value(store: &Store, kind: Kind, doc: &Value, expand: &[String]) -> Value {
    let mut out = doc.clone();
    let Some(map) = out.as_object_mut() else { return out };
    let asked = |path: &str| expand.iter().any(|e| e == path);
    match kind {
        Kind::Prices => {
            hide(map, &["tiers", "currency_options"], expand);
            reference(store, map, "product", Kind::Products, asked("product"));
        }
        Kind::Coupons => hide(map, &["applies_to", "currency_options"], expand),
        Kind::Products => reference(store, map, "default_price", Kind::Prices, asked("default_price")),
        Kind::Customers => {
            if let Some(discount) = map.get_mut("discount") {
                coupon(store, discount, asked("discount.source.coupon"));
            }
        }
        Kind::Subscriptions => {
            discounts(store, map, asked("discounts"), asked("discounts.source.coupon"));
            let id = text_of(map, "id");
            if let Some(Value::Array(items)) = map.get_mut("items") {
                let items = std::mem::take(items);
                map.insert("items".to_owned(), nested_items(store, &id, &items, expand));
            }
            reference(store, map, "customer", Kind::Customers, asked("customer"));
            reference(store, map, "latest_invoice", Kind::Invoices, asked("latest_invoice"));
            reference(store, map, "schedule", Kind::Schedules, asked("schedule"));
        }
        Kind::Invoices => {
            discounts(store, map, asked("discounts"), asked("discounts.source.coupon"));
            let id = text_of(map, "id");
            if let Some(Value::Array(lines)) = map.get_mut("lines") {
                let lines = std::mem::take(lines);
                map.insert("lines".to_owned(), cut(&lines, &format!("/v1/invoices/{id}/lines")));
            }
            reference(store, map, "customer", Kind::Customers, asked("customer"));
        }
        Kind::Charges => {
            reference(store, map, "customer", Kind::Customers, asked("customer"));
            reference(store, map, "payment_intent", Kind::PaymentIntents, asked("payment_intent"));
        }
        Kind::Refunds | Kind::Disputes => {
            reference(store, map, "charge", Kind::Charges, asked("charge"));
            reference(store, map, "payment_intent", Kind::PaymentIntents, asked("payment_intent"));
        }
        Kind::PaymentIntents => {
            reference(store, map, "customer", Kind::Customers, asked("customer"));
            reference(store, map, "latest_charge", Kind::Charges, asked("latest_charge"));
            reference(store, map, "payment_method", Kind::PaymentMethods, asked("payment_method"));
        }
        Kind::PaymentMethods => reference(store, map, "customer", Kind::Customers, asked("customer")),
        Kind::InvoiceItems => {
            reference(store, map, "customer", Kind::Customers, asked("customer"));
            reference(store, map, "invoice", Kind::Invoices, asked("invoice"));
        }
        Kind::PromotionCodes => {
            if let Some(promotion) = map.get_mut("promotion").and_then(Value::as_object_mut) {
                reference(store, promotion, "coupon", Kind::Coupons, asked("promotion.coupon"));
            }
        }
        Kind::Schedules => {
            reference(store, map, "customer", Kind::Customers, asked("customer"));
            reference(store, map, "subscription", Kind::Subscriptions, asked("subscription"));
        }
        Kind::TaxRates | Kind::BalanceTransactions | Kind::Events => {}
    }
    out
}

/// One subscription item, with its price inside.
pub(super) fn item(store: &Store, item: &Value, discounts_expanded: bool, product_expanded: bool) -> Value {
    let mut out = item.clone();
    let Some(map) = out.as_object_mut() else { return out };
    discounts(store, map, discounts_expanded, false);
    if let Some(id) = map.get("price").and_then(Value::as_str)
        && let Some(price) = store.find_ever(Kind::Prices, id)
    {
        let expand: &[String] = if product_expanded { &["product".to_owned()] } else { &[] };
        let price = value(store, Kind::Prices, &price.doc(), expand);
        map.insert("price".to_owned(), price);
    }
    out
}

fn nested_items(store: &Store, subscription: &str, items: &[Value], expand: &[String]) -> Value {
    let asked = |path: &str| expand.iter().any(|e| e == path);
    let rendered: Vec<Value> = items
        .iter()
        .map(|i| item(store, i, asked("items.data.discounts"), asked("items.data.price.product")))
        .collect();
    cut(&rendered, &format!("/v1/subscription_items?subscription={subscription}"))
}

fn cut(items: &[Value], url: &str) -> Value {
    json!({
        "object": "list",
        "data": items.iter().take(NESTED).collect::<Vec<_>>(),
        "has_more": items.len() > NESTED,
        "url": url,
    })
}

fn hide(map: &mut Map<String, Value>, names: &[&str], expand: &[String]) {
    for name in names {
        if !expand.iter().any(|e| e == name) {
            map.remove(*name);
        }
    }
}

fn reference(store: &Store, map: &mut Map<String, Value>, name: &str, kind: Kind, expanded: bool) {
    if !expanded {
        return;
    }
    let Some(id) = map.get(name).and_then(Value::as_str) else { return };
    if let Some(object) = store.find(kind, id) {
        let object = value(store, kind, &object.doc(), &[]);
        map.insert(name.to_owned(), object);
    }
}

/// Discounts are kept as objects and answered as ids unless expanded.
fn discounts(store: &Store, map: &mut Map<String, Value>, expanded: bool, with_coupon: bool) {
    let Some(Value::Array(list)) = map.get_mut("discounts") else { return };
    for discount in list {
        if expanded || with_coupon {
            coupon(store, discount, with_coupon);
        } else if let Some(id) = discount.get("id") {
            *discount = id.clone();
        }
    }
}

fn coupon(store: &Store, discount: &mut Value, expanded: bool) {
    if !expanded {
        return;
    }
    let Some(coupon) = discount.get_mut("source").and_then(|s| s.get_mut("coupon")) else { return };
    if let Some(found) = coupon.as_str().and_then(|id| store.find_ever(Kind::Coupons, id)) {
        *coupon = value(store, Kind::Coupons, &found.doc(), &[]);
    }
}

/// A payment method as the older card object, which sources are answered as.
pub(super) fn card(method: &Value) -> Value {
    let card = &method["card"];
    let brand = match card["brand"].as_str().unwrap_or_default() {
        "visa" => "Visa",
        "mastercard" => "MasterCard",
        "amex" => "American Express",
        "discover" => "Discover",
        "diners" => "Diners Club",
        "jcb" => "JCB",
        "unionpay" => "UnionPay",
        _ => "Unknown",
    };
    json!({
        "id": method["id"], "object": "card", "address_city": null, "address_country": null, "address_line1": null,
        "address_line1_check": null, "address_line2": null, "address_state": null, "address_zip": null,
        "address_zip_check": null, "brand": brand, "country": card["country"], "customer": method["customer"],
        "cvc_check": null, "dynamic_last4": null, "exp_month": card["exp_month"], "exp_year": card["exp_year"],
        "fingerprint": card["fingerprint"], "funding": card["funding"], "last4": card["last4"],
        "metadata": method["metadata"], "name": null, "regulated_status": card["regulated_status"],
        "tokenization_method": null,
    })
}

/// A price as the older plan object.
pub(super) fn plan(price: &Value) -> Value {
    let recurring = &price["recurring"];
    json!({
        "id": price["id"], "object": "plan", "active": price["active"], "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"], "billing_scheme": price["billing_scheme"],
        "created": price["created"], "currency": price["currency"], "interval": recurring["interval"],
        "interval_count": recurring["interval_count"], "livemode": price["livemode"],
        "metadata": price["metadata"], "meter": recurring["meter"], "nickname": price["nickname"],
        "product": price["product"], "tiers_mode": price["tiers_mode"], "transform_usage": price["transform_quantity"],
        "trial_period_days": recurring["trial_period_days"], "usage_type": recurring["usage_type"],
    })
}

fn text_of(map: &Map<String, Value>, name: &str) -> String {
    map.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
