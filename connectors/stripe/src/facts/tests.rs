//! Every shape of an object that Stripe has written since 2018.

use std::path::PathBuf;

use connector_sdk::facts::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;

fn record(stream: &str, object: &Value) -> Record {
    Record {
        key: RecordKey::new(stream, object["id"].as_str().unwrap_or_default()),
        payload: RawValue::from_string(object.to_string()).unwrap(),
    }
}

fn extract(stream: &str, object: &Value) -> Extract {
    let extract = facts(&record(stream, object)).unwrap_or_else(|e| panic!("{stream}: {e}: {object}"));
    // What is stored must read back as what it was.
    for fact in &extract.facts {
        let text = serde_json::to_string(fact).unwrap();
        let back: Fact = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(&back, fact);
    }
    extract
}

fn subscription(object: &Value) -> Subscription {
    match extract("subscriptions", object).facts.swap_remove(0) {
        Fact::Subscription(s) => *s,
        other => panic!("{other:?}"),
    }
}

fn error(stream: &str, object: &Value) -> FactsError {
    facts(&record(stream, object)).expect_err("should not translate")
}

fn refs(extract: &Extract) -> Vec<String> {
    extract.refs.iter().map(ToString::to_string).collect()
}

/// The shared test data, where it lies.
fn shared() -> Option<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = match std::env::var_os("HALO_SYNC_SHARED") {
        Some(dir) => Some(PathBuf::from(dir)),
        None => ["../shared", "../../shared"].iter().map(|p| here.join(p)).find(|p| p.is_dir()),
    }
    .filter(|p| p.is_dir());
    if found.is_none() {
        let required = std::env::var("HALO_SYNC_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|part| part == "data"), "the shared data is required and absent");
        println!("skipped: no shared data beside the workspace");
    }
    found
}

/// Which stream holds objects of a Stripe type.
fn stream_of(object: &str) -> Option<&'static str> {
    Some(match object {
        "customer" => "customers",
        "subscription" => "subscriptions",
        "subscription_schedule" => "subscription_schedules",
        "invoice" => "invoices",
        "product" => "products",
        "price" => "prices",
        "plan" => "plans",
        "coupon" => "coupons",
        "discount" => "discounts",
        "tax_rate" => "tax_rates",
        "charge" => "charges",
        "refund" => "refunds",
        "dispute" => "disputes",
        "balance_transaction" => "balance_transactions",
        _ => return None,
    })
}

/// Calls `f` for every object inside `value` that belongs to a stream.
fn each_object(value: &Value, f: &mut impl FnMut(&'static str, &Value)) {
    match value {
        Value::Object(members) => {
            if let Some(stream) = members.get("object").and_then(Value::as_str).and_then(stream_of)
                && members.get("id").is_some_and(Value::is_string)
            {
                f(stream, value);
            }
            members.values().for_each(|v| each_object(v, f));
        }
        Value::Array(items) => items.iter().for_each(|v| each_object(v, f)),
        _ => {}
    }
}

#[test]
fn every_recorded_object_translates() {
    let Some(shared) = shared() else { return };
    let dir = shared.join("data/stripe");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir.join("dj-stripe-fixtures")).unwrap().map(|e| e.unwrap().path()).collect();
    files.push(dir.join("fixtures3.json"));
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for file in files {
        let value: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        each_object(&value, &mut |stream, object| {
            if object["amount"].is_string() {
                // One recording is a row of somebody's database, in major units: no money is guessed from it.
                assert_eq!(error(stream, object).path, "amount");
                return;
            }
            *seen.entry(stream).or_default() += 1;
            let extract = extract(stream, object);
            if object["deleted"] != true {
                assert!(!extract.facts.is_empty(), "{stream}: {object}");
            }
        });
    }
    let streams: Vec<&str> = seen.keys().copied().collect();
    assert_eq!(
        streams,
        [
            "balance_transactions",
            "charges",
            "coupons",
            "customers",
            "discounts",
            "disputes",
            "invoices",
            "plans",
            "prices",
            "products",
            "refunds",
            "subscription_schedules",
            "subscriptions",
            "tax_rates",
        ],
        "the fixtures hold every type: {seen:?}"
    );
}

#[test]
fn fixtures_survive_every_null_that_the_old_specification_allows() {
    let Some(shared) = shared() else { return };
    let text = std::fs::read(shared.join("data/stripe/spec3_trimmed_2024-06-20.json")).unwrap();
    let spec: Value = serde_json::from_slice(&text).unwrap();
    let fixtures: Value =
        serde_json::from_slice(&std::fs::read(shared.join("data/stripe/fixtures3.json")).unwrap()).unwrap();
    let mut tried = 0;
    for (kind, schema) in spec["components"]["schemas"].as_object().unwrap() {
        let (Some(stream), Some(object)) = (stream_of(kind), fixtures["resources"].get(kind)) else {
            continue;
        };
        for (member, description) in schema["properties"].as_object().unwrap() {
            if member == "id" {
                continue; // Only a preview has none, and a preview is no record.
            }
            let mut object = object.clone();
            if description["nullable"] == true {
                object[member] = Value::Null;
                tried += 1;
            } else if !schema["required"].as_array().unwrap().iter().any(|r| r == member) {
                object.as_object_mut().unwrap().remove(member);
                tried += 1;
            }
            extract(stream, &object);
        }
    }
    assert!(tried > 150, "{tried}");
}

fn item(id: &str) -> Value {
    json!({"id": id, "object": "subscription_item", "quantity": 2, "current_period_start": 10,
        "current_period_end": 20, "discounts": [], "tax_rates": [],
        "price": {"id": "price_1", "object": "price", "currency": "usd", "product": "prod_1", "type": "recurring",
            "billing_scheme": "per_unit", "unit_amount": 100, "unit_amount_decimal": "100.25",
            "recurring": {"interval": "month", "interval_count": 3, "usage_type": "licensed"}}})
}

fn sub(members: Value) -> Value {
    let mut s = json!({"id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active",
        "currency": "USD", "created": 5, "livemode": true, "cancel_at_period_end": false,
        "items": {"object": "list", "has_more": false, "data": [item("si_1")]}});
    for (key, value) in members.as_object().unwrap() {
        s[key] = value.clone();
    }
    s
}

fn seconds(s: i64) -> Option<connector_sdk::Timestamp> {
    shape::at(Some(s))
}

#[test]
fn a_subscription_of_today() {
    let e = extract("subscriptions", &sub(json!({})));
    assert_eq!(e.party, Some(RecordKey::new("customers", "cus_1")));
    assert_eq!(refs(&e), ["prices/price_1", "products/prod_1"]);
    let s = subscription(&sub(json!({})));
    assert_eq!(s.currency.as_deref(), Some("usd"));
    let i = &s.items[0];
    assert_eq!((i.quantity, i.period_end), (Some(2), seconds(20)));
    let p = i.price.as_ref().unwrap();
    assert_eq!(p.amounts.unit.unwrap().to_string(), "100.25", "the decimal is preferred to the integer");
    assert_eq!(p.every, Some(Period { interval: Interval::Month, count: 3 }));
}

#[test]
fn periods_of_old_subscriptions_go_to_the_items() {
    let mut old = sub(json!({"current_period_start": 7, "current_period_end": 9}));
    let data = old["items"]["data"][0].as_object_mut().unwrap();
    data.remove("current_period_end");
    data.remove("current_period_start");
    let s = subscription(&old);
    assert_eq!((s.items[0].period_start, s.items[0].period_end), (seconds(7), seconds(9)));
}

#[test]
fn a_plan_stands_in_for_a_price_and_an_id_for_either() {
    let mut s = sub(json!({}));
    s["items"]["data"][0]["price"] = Value::Null;
    s["items"]["data"][0]["plan"] = json!({"id": "plan_1", "object": "plan", "amount": 300, "currency": "usd",
        "interval": "week", "interval_count": 2, "product": {"id": "prod_x", "object": "product", "name": "X"},
        "transform_usage": {"divide_by": 5, "round": "up"}});
    let e = extract("subscriptions", &s);
    assert_eq!(refs(&e), ["prices/plan_1", "products/prod_x"]);
    let Fact::CatalogItem(CatalogItem::Product(p)) = &e.facts[1] else { panic!("{:?}", e.facts) };
    assert_eq!(p.name.as_deref(), Some("X"));
    let i = &subscription(&s).items[0];
    let p = i.price.as_ref().unwrap();
    assert_eq!(p.usage, Some(Usage::Licensed));
    assert_eq!(p.transform, Some(TransformQuantity { divide_by: 5, round: Rounding::Up }));

    for member in ["price", "plan"] {
        let mut s = sub(json!({}));
        s["items"]["data"][0]["price"] = Value::Null;
        s["items"]["data"][0][member] = json!("price_9");
        let i = &subscription(&s).items[0];
        assert_eq!((i.price_id.as_deref(), &i.price), (Some("price_9"), &None));
    }
    // Neither: the derivation has to say that something is missing.
    s["items"]["data"][0]["plan"] = Value::Null;
    assert_eq!(subscription(&s).items[0].price_id, None);
    // The oldest: a plan and a quantity on the subscription itself.
    let oldest = json!({"id": "sub_1", "status": "active", "customer": "cus_1", "quantity": 4,
        "current_period_end": 9,
        "plan": {"id": "gold", "amount": 10, "currency": "usd", "interval": "month", "name": "Gold"}});
    let s = subscription(&oldest);
    assert_eq!((s.items.len(), s.items_incomplete, s.items[0].quantity), (1, false, Some(4)));
    assert_eq!(s.items[0].price.as_ref().unwrap().nickname.as_deref(), Some("Gold"));
}

#[test]
fn items_past_the_first_page_are_flagged() {
    let mut s = sub(json!({}));
    assert!(!subscription(&s).items_incomplete);
    s["items"]["has_more"] = json!(true);
    assert!(subscription(&s).items_incomplete);
    s["items"] = Value::Null;
    assert!(subscription(&s).items_incomplete);
}

#[test]
fn discounts_in_all_their_places() {
    let coupon = json!({"id": "C", "object": "coupon", "duration": "repeating", "duration_in_months": 3,
        "percent_off": 25.5, "applies_to": {"products": ["prod_1"]}});
    let whole = |s: &Subscription, at: usize| match &s.discounts[at] {
        DiscountRef::Whole(d) => d.clone(),
        DiscountRef::Id(id) => panic!("only {id}"),
    };
    for d in [
        json!({"id": "di_1", "start": 1, "end": 2, "coupon": coupon}),
        json!({"id": "di_1", "start": 1, "end": 2, "source": {"type": "coupon", "coupon": coupon}}),
    ] {
        for members in
            [json!({"discounts": [d]}), json!({"discount": d}), json!({"discounts": [], "discount": d})]
        {
            let object = sub(members);
            let d = whole(&subscription(&object), 0);
            assert_eq!((d.start, d.end), (seconds(1), seconds(2)));
            let c = d.coupon.unwrap();
            assert_eq!(c.percent_off.unwrap().to_string(), "25.5");
            assert_eq!(c.duration, Some(CouponDuration::Repeating(Some(3))));
            assert_eq!(c.applies_to, Some(vec!["prod_1".to_owned()]));
            assert!(refs(&extract("subscriptions", &object)).contains(&"coupons/C".to_owned()));
        }
    }
    // Bare ids: of discounts, of coupons.
    let s = sub(json!({"discounts": ["di_1", {"id": "di_2", "source": {"type": "coupon", "coupon": "C"}}]}));
    let e = extract("subscriptions", &s);
    assert!(refs(&e).contains(&"discounts/di_1".to_owned()) && refs(&e).contains(&"coupons/C".to_owned()));
    assert_eq!(subscription(&s).discounts[0], DiscountRef::Id("di_1".to_owned()));
    assert_eq!(whole(&subscription(&s), 1).coupon_id.as_deref(), Some("C"));
    // The single form says what the bare id of the plural form means.
    let s = sub(json!({"discounts": ["di_0", "di_1"], "discount": {"id": "di_1", "coupon": coupon}}));
    assert!(
        matches!(&subscription(&s).discounts[..], [DiscountRef::Id(a), DiscountRef::Whole(_)] if a == "di_0")
    );
    // Taken away.
    let s = sub(json!({"discount": {"id": "di_1", "object": "discount", "deleted": true}}));
    assert_eq!(subscription(&s).discounts, []);
}

#[test]
fn cancellation_words_of_flexible_billing_become_instants() {
    let mut s = sub(json!({"cancel_at": "min_period_end"}));
    let mut late = item("si_2");
    late["current_period_end"] = json!(90);
    s["items"]["data"].as_array_mut().unwrap().push(late);
    assert_eq!(subscription(&s).cancel_at, seconds(20));
    s["cancel_at"] = json!("max_period_end");
    assert_eq!(subscription(&s).cancel_at, seconds(90));
    s["cancel_at"] = json!(50);
    assert_eq!(subscription(&s).cancel_at, seconds(50));
}

#[test]
fn an_invoice_names_its_subscription_in_both_places() {
    for members in [
        json!({"subscription": "sub_1"}),
        json!({"subscription": {"id": "sub_1", "object": "subscription"}}),
        json!({"parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}}}),
    ] {
        let mut object = json!({"id": "in_1", "customer": "cus_1", "status": "paid", "currency": "usd",
            "lines": {"data": [
                {"id": "a", "amount": 5, "subscription_item": "si_1", "proration": true},
                {"id": "b", "amount": 6, "parent": {"type": "subscription_item_details",
                    "subscription_item_details": {"subscription_item": "si_2", "proration": false}}},
                {"id": "c", "amount": 7, "parent": {"type": "invoice_item_details",
                    "invoice_item_details": {"proration": true}}}], "has_more": true}});
        for (key, value) in members.as_object().unwrap() {
            object[key] = value.clone();
        }
        let e = extract("invoices", &object);
        let Fact::Invoice(i) = &e.facts[0] else { panic!() };
        assert_eq!(i.subscription.as_deref(), Some("sub_1"));
        assert!(i.lines_incomplete);
        let lines: Vec<_> =
            i.lines.iter().map(|l| (l.subscription_item.as_deref(), l.amount, l.proration)).collect();
        assert_eq!(lines, [(Some("si_1"), 5, true), (Some("si_2"), 6, false), (None, 7, true)]);
    }
}

#[test]
fn money_paid_outside_in_both_forms() {
    let outside = |members: Value| {
        let mut object = json!({"id": "in_1", "customer": "cus_1", "status": "paid", "amount_due": 700, "amount_paid": 700});
        for (key, value) in members.as_object().unwrap() {
            object[key] = value.clone();
        }
        let e = extract("invoices", &object);
        let Fact::Invoice(i) = &e.facts[0] else { panic!() };
        i.paid_outside
    };
    assert_eq!(outside(json!({})), None);
    assert_eq!(outside(json!({"paid_out_of_band": true})), Some(700));
    assert_eq!(outside(json!({"paid_out_of_band": true, "status": "open"})), None);
    assert_eq!(outside(json!({"amount_paid_off_stripe": 300})), Some(300));
    assert_eq!(outside(json!({"amount_paid_off_stripe": 300, "status": "open"})), Some(300));
    assert_eq!(outside(json!({"amount_paid_off_stripe": 0, "paid_out_of_band": false})), None);
}

#[test]
fn charges_with_what_was_expanded_in_them() {
    let e = extract(
        "charges",
        &json!({"id": "ch_1", "customer": {"id": "cus_1", "object": "customer"}, "currency": "EUR", "amount": 1000,
            "captured": true, "paid": true, "status": "succeeded", "livemode": false,
            "balance_transaction": {"id": "txn_1", "amount": 1234, "currency": "usd", "exchange_rate": 1.234},
            "refunds": {"data": [{"id": "re_1", "amount": 10, "balance_transaction": "txn_2"}], "has_more": false},
            "dispute": {"id": "dp_1", "amount": 20, "status": "warning_closed"}}),
    );
    assert_eq!(e.party, Some(RecordKey::new("customers", "cus_1")));
    assert_eq!(refs(&e), ["balance_transactions/txn_2"]);
    let Fact::Payment(Payment::Charge(c)) = &e.facts[0] else { panic!() };
    assert_eq!(
        (c.amount_captured, c.currency.as_str(), c.settlement.as_deref()),
        (1000, "eur", Some("txn_1"))
    );
    let Fact::Settlement(t) = &e.facts[1] else { panic!() };
    assert_eq!((t.amount, t.source.as_deref()), (1234, Some("ch_1")));
    let Fact::Payment(Payment::Refund(r)) = &e.facts[2] else { panic!() };
    assert_eq!((r.charge.as_deref(), r.status), (Some("ch_1"), RefundStatus::Succeeded));
    let Fact::Payment(Payment::Dispute(d)) = &e.facts[3] else { panic!() };
    assert_eq!((d.charge.as_deref(), d.status), (Some("ch_1"), DisputeStatus::NotWithdrawn));
}

#[test]
fn refunds_and_disputes_belong_to_the_customer_of_their_charge() {
    for stream in ["refunds", "disputes"] {
        let whose = |object: Value| extract(stream, &object).party.map(|p| p.id);
        assert_eq!(
            whose(json!({"id": "x", "charge": {"id": "ch_1", "customer": "cus_1"}})).as_deref(),
            Some("cus_1")
        );
        assert_eq!(
            whose(json!({"id": "x", "payment_intent": {"id": "pi_1", "customer": "cus_2"}})).as_deref(),
            Some("cus_2")
        );
        assert_eq!(whose(json!({"id": "x", "charge": "ch_1"})), None);
        assert_eq!(refs(&extract(stream, &json!({"id": "x", "charge": "ch_1"}))), ["charges/ch_1"]);
    }
}

#[test]
fn deleted_objects() {
    let e = extract("customers", &json!({"id": "cus_1", "object": "customer", "deleted": true}));
    let Fact::BillingAccount(a) = &e.facts[0] else { panic!() };
    assert!(a.deleted && a.mode.is_none());
    assert_eq!(e.party, Some(RecordKey::new("customers", "cus_1")));
    assert!(extract("coupons", &json!({"id": "C", "deleted": true})).facts.is_empty());
    let e = extract("products", &json!({"id": "prod_1", "deleted": true}));
    assert!(
        matches!(&e.facts[0], Fact::CatalogItem(CatalogItem::Product(p)) if p.deleted && p.name.is_none())
    );
}

#[test]
fn tiers_and_currency_options() {
    let e = extract(
        "prices",
        &json!({"id": "price_1", "product": "prod_1", "currency": "usd", "billing_scheme": "tiered", "tiers_mode": "volume",
            "type": "recurring", "recurring": {"interval": "month"},
            "tiers": [{"up_to": 5, "unit_amount": 100, "flat_amount_decimal": "0.5"}, {"up_to": "inf", "unit_amount_decimal": "12.5"},
                {"up_to": "20", "unit_amount": "500", "flat_amount": "0"}, {"up_to": null, "flat_amount": 3}],
            "currency_options": {"EUR": {"unit_amount": 90, "tiers": [{"unit_amount": 1}]}}}),
    );
    assert_eq!(refs(&e), ["products/prod_1"]);
    let Fact::CatalogItem(CatalogItem::Price(p)) = &e.facts[0] else { panic!() };
    let tiers = p.amounts.tiers.as_ref().unwrap();
    assert_eq!((tiers[0].up_to, tiers[0].flat.unwrap().to_string()), (Some(5), "0.5".to_owned()));
    assert_eq!((tiers[1].up_to, tiers[1].unit.unwrap().to_string()), (None, "12.5".to_owned()));
    assert_eq!(
        (tiers[2].up_to, tiers[2].unit, tiers[2].flat),
        (Some(20), Some(Decimal::from(500)), Some(Decimal::from(0)))
    );
    assert_eq!(tiers[3].flat, Some(Decimal::from(3)));
    assert_eq!(p.currency_options.as_ref().unwrap()["eur"].tiers.as_ref().unwrap()[0].up_to, None);
}

#[test]
fn what_cannot_be_understood_names_its_member() {
    let path = |stream, object| error(stream, &object).path;
    let mut s = sub(json!({}));
    s["items"]["data"][0]["price"]["recurring"]["interval"] = json!("fortnight");
    assert_eq!(path("subscriptions", s.clone()), "items.data[0].price.recurring.interval");
    s["items"]["data"][0]["price"]["recurring"] = json!({"interval": "month", "interval_count": 0});
    assert_eq!(path("subscriptions", s.clone()), "items.data[0].price.recurring.interval_count");
    s["items"]["data"][0]["price"]["recurring"] = json!({"interval": "month", "interval_count": -1});
    assert_eq!(path("subscriptions", s.clone()), "items.data[0].price.recurring.interval_count");
    assert_eq!(
        path("subscriptions", sub(json!({"items": {"data": [{"plan": {"id": "p", "interval": 1}}]}}))),
        "items.data[0].plan.interval"
    );
    assert_eq!(path("subscriptions", sub(json!({"id": null}))), "id");
    assert_eq!(path("invoices", json!({"object": "invoice", "status": "draft"})), "id");
    assert_eq!(path("tax_rates", json!({"id": "txr_1"})), "percentage");
    assert_eq!(
        path("subscription_schedules", json!({"id": "s", "phases": [{"start_date": 1}]})),
        "phases[0].end_date"
    );
    assert_eq!(path("charges", json!({"id": "ch", "currency": 5})), "currency");
    assert!(error("coins", &json!({})).is_unknown_stream());
    // Values may be somebody's data.
    let e = error("customers", &json!({"id": "cus_1", "created": "ada@example.com"}));
    assert_eq!(e.path, "created");
    assert!(!e.to_string().contains("ada"), "{e}");
}

#[test]
fn translation_is_pure() {
    let r = record("subscriptions", &sub(json!({"discounts": ["di_1"]})));
    assert_eq!(facts(&r).unwrap(), facts(&r).unwrap());
}
