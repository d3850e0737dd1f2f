//! Everything that the sandbox Stripe answers has Stripe's shapes.
//!
//! Two sources are beside the checkout: Stripe's specification of an older version (types, what may be null,
//! what must be there, which words an enumeration has), and one fixture of each resource in the current version.
//! A member of both is checked against the specification. One that only the fixture has is new: its type is
//! checked. One that neither has is made up, and a member that both have and that must be there may not be missing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use connector_testkit::parts::shared_or_skip;
use connector_testkit::sandbox::stripe::{KINDS, Kind, Options, StripeSandbox};
use serde_json::{Value, json};

/// In the objects of the pinned version, and in neither source.
const NEWER: [&str; 1] = ["invoice.amount_paid_off_stripe"];

struct Shapes {
    schemas: Value,
    fixtures: Value,
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Shapes {
    fn load() -> Option<Self> {
        let spec = shared_or_skip("data", "data/stripe/spec3_trimmed_2024-06-20.json")?;
        let fixtures = shared_or_skip("data", "data/stripe/fixtures3.json")?;
        let read = |path: std::path::PathBuf| -> Value {
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        Some(Self {
            schemas: read(spec)["components"]["schemas"].clone(),
            fixtures: read(fixtures)["resources"].clone(),
        })
    }

    /// What is wrong with an object of a resource.
    fn complaints(&self, value: &Value) -> Vec<String> {
        let resource = value["object"].as_str().unwrap_or_default();
        let mut out = Vec::new();
        let (Some(schema), Some(fixture)) = (self.schemas.get(resource), self.fixtures.get(resource)) else {
            return vec![format!("{resource}: no such resource: {value}")];
        };
        self.check(resource, value, Some(schema), Some(fixture), &mut out);
        out
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
            Some(name) => &self.schemas[name],
            None => schema,
        }
    }

    fn check(
        &self,
        path: &str,
        value: &Value,
        schema: Option<&Value>,
        fixture: Option<&Value>,
        out: &mut Vec<String>,
    ) {
        let Some(schema) = schema.map(|s| self.resolve(s)) else {
            // New since the specification: the fixture's type, where it has a value.
            if let Some(fixture) = fixture
                && !fixture.is_null()
                && !value.is_null()
            {
                if kind_of(fixture) != kind_of(value) && !(fixture.is_string() && value["id"].is_string()) {
                    out.push(format!(
                        "{path}: {} where the fixture has {}",
                        kind_of(value),
                        kind_of(fixture)
                    ));
                } else if let (Value::Object(members), Value::Object(known)) = (value, fixture) {
                    for (name, member) in members {
                        self.check(&format!("{path}.{name}"), member, None, known.get(name), out);
                    }
                }
            }
            return;
        };
        if value.is_null() {
            let nullable = schema["nullable"] == true;
            // The fixtures of later versions have a null where the older specification had none.
            if !nullable && !fixture.is_some_and(Value::is_null) {
                out.push(format!("{path}: null"));
            }
            return;
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            let tries: Vec<Vec<String>> = choices
                .iter()
                .map(|choice| {
                    let mut found = Vec::new();
                    self.check(path, value, Some(choice), fixture, &mut found);
                    found
                })
                .collect();
            if let Some(best) = tries.into_iter().min_by_key(Vec::len) {
                out.extend(best);
            }
            return;
        }
        let fits = match schema["type"].as_str() {
            Some("integer") => value.is_i64(),
            Some("number") => value.is_number(),
            Some(kind) => kind == kind_of(value),
            None => true,
        };
        if !fits {
            out.push(format!("{path}: {value} is no {}", schema["type"]));
            return;
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            out.push(format!("{path}: {value} is none of {words:?}"));
        }
        match value {
            Value::Array(items) => {
                let sample = fixture.and_then(|f| f.get(0));
                for (n, item) in items.iter().enumerate() {
                    self.check(&format!("{path}[{n}]"), item, schema.get("items"), sample, out);
                }
            }
            Value::Object(members) if schema["properties"].is_object() => {
                self.members(path, members, schema, fixture, out);
            }
            _ => {}
        }
    }

    fn members(
        &self,
        path: &str,
        members: &serde_json::Map<String, Value>,
        schema: &Value,
        fixture: Option<&Value>,
        out: &mut Vec<String>,
    ) {
        // An object inside another may be a resource of its own, whose fixture says more.
        let own = members.get("object").and_then(Value::as_str).and_then(|name| self.fixtures.get(name));
        let fixture = own.or(fixture).filter(|f| f.is_object());
        for (name, member) in members {
            let path = format!("{path}.{name}");
            let (old, new) = (schema["properties"].get(name), fixture.and_then(|f| f.get(name)));
            if fixture.is_some() && old.is_none() && new.is_none() && !NEWER.contains(&path.as_str()) {
                out.push(format!("{path}: made up"));
            }
            self.check(&path, member, old, new, out);
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for name in required {
            // What the current fixture has no more was taken out since.
            let still = fixture.is_none_or(|f| f.get(name).is_some());
            if still && !members.contains_key(name) {
                out.push(format!("{path}.{name}: missing"));
            }
        }
    }
}

/// An account in which something of everything has happened.
fn fill(sandbox: &StripeSandbox) {
    let post =
        |path: &str, form: Value| sandbox.call("POST", path, &form).unwrap_or_else(|e| panic!("{path}: {e}"));
    let id = |object: &Value| object["id"].as_str().unwrap().to_owned();
    let may_fail = |path: &str, form: Value| {
        let refused = sandbox.call("POST", path, &form).unwrap_err();
        assert_eq!(refused.status, 402, "{path}: {refused}");
    };
    let coupon = id(&post(
        "/v1/coupons",
        json!({"percent_off": "20", "duration": "repeating", "duration_in_months": "3"}),
    ));
    post(
        "/v1/coupons",
        json!({"amount_off": "500", "currency": "usd", "applies_to": {"products": ["prod_x"]}}),
    );
    post("/v1/promotion_codes", json!({ "coupon": coupon }));
    let product = id(&post("/v1/products", json!({"name": "Plan", "description": "Seats"})));
    let price = id(&post(
        "/v1/prices",
        json!({"product": product, "currency": "usd", "unit_amount": "1500", "recurring": {"interval": "month"}}),
    ));
    post(
        "/v1/prices",
        json!({"product": product, "currency": "usd", "billing_scheme": "tiered", "tiers_mode": "volume",
            "recurring": {"interval": "year", "usage_type": "metered"}, "transform_quantity": {"divide_by": "5", "round": "up"},
            "tiers": [{"up_to": "10", "unit_amount": "700"}, {"up_to": "inf", "unit_amount": "500"}]}),
    );
    post(
        "/v1/plans",
        json!({"currency": "usd", "interval": "month", "amount": "2000", "product": {"name": "Old"}}),
    );
    let good = id(&post(
        "/v1/customers",
        json!({"name": "Good", "coupon": coupon, "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"}, "metadata": {"a": "b"}}),
    ));
    post(&format!("/v1/customers/{good}/sources"), json!({"source": "tok_mastercard"}));
    let items = json!([{"price": price, "quantity": "2", "discounts": [{"coupon": coupon}]}]);
    let subscription = id(&post(
        "/v1/subscriptions",
        json!({"customer": good, "items": items, "discounts": [{"coupon": coupon}]}),
    ));
    post(
        &format!("/v1/subscriptions/{subscription}"),
        json!({"pause_collection": {"behavior": "void"}, "cancel_at_period_end": "true"}),
    );
    post(
        "/v1/subscriptions",
        json!({"customer": good, "items": [{"price": price}], "trial_period_days": "2"}),
    );
    post("/v1/subscription_schedules", json!({"from_subscription": subscription, "end_behavior": "cancel"}));
    for phases in [1, 2] {
        let phases: Vec<Value> =
            (0..phases).map(|_| json!({"iterations": "1", "items": [{"price": price}]})).collect();
        let schedule = post(
            "/v1/subscription_schedules",
            json!({"customer": good, "start_date": "now", "phases": phases}),
        );
        post(&format!("/v1/subscription_schedules/{}/release", id(&schedule)), json!({}));
    }
    let later =
        json!({"customer": good, "start_date": "4102444800", "phases": [{"items": [{"price": price}]}]});
    let schedule = id(&post("/v1/subscription_schedules", later));
    post(&format!("/v1/subscription_schedules/{schedule}/cancel"), json!({}));

    let bad = id(&post("/v1/customers", json!({"name": "Bad"})));
    let card = id(&post("/v1/payment_methods/pm_card_chargeCustomerFail/attach", json!({ "customer": bad })));
    post(&format!("/v1/customers/{bad}"), json!({"invoice_settings": {"default_payment_method": card}}));
    post("/v1/subscriptions", json!({"customer": bad, "items": [{"price": price}]}));
    for end in ["void", "mark_uncollectible", "send", ""] {
        post(
            "/v1/invoiceitems",
            json!({"customer": bad, "amount": "2000", "currency": "usd", "description": "Work"}),
        );
        let invoice =
            id(&post("/v1/invoices", json!({"customer": bad, "pending_invoice_items_behavior": "include"})));
        if end.is_empty() {
            may_fail(&format!("/v1/invoices/{invoice}/pay"), json!({}));
        } else {
            post(&format!("/v1/invoices/{invoice}/finalize"), json!({}));
            post(&format!("/v1/invoices/{invoice}/{end}"), json!({}));
        }
    }
    post("/v1/invoiceitems", json!({"customer": bad, "amount": "7", "currency": "usd"}));

    for card in ["visa", "createDispute", "createDisputeInquiry", "pendingRefund", "refundFail"] {
        let form = json!({"amount": "900", "currency": "usd", "payment_method": format!("pm_card_{card}"), "confirm": "true"});
        let intent = id(&post("/v1/payment_intents", form));
        post(
            "/v1/refunds",
            json!({"payment_intent": intent, "amount": "300", "reason": "requested_by_customer"}),
        );
    }
    let intent = json!({"amount": "900", "currency": "usd", "payment_method": "pm_card_visa", "confirm": "true", "capture_method": "manual"});
    let captured = id(&post("/v1/payment_intents", intent.clone()));
    post(&format!("/v1/payment_intents/{captured}/capture"), json!({"amount_to_capture": "600"}));
    let canceled = id(&post("/v1/payment_intents", intent));
    post(&format!("/v1/payment_intents/{canceled}/cancel"), json!({"cancellation_reason": "abandoned"}));
    post(
        "/v1/payment_intents",
        json!({"amount": "900", "currency": "usd", "payment_method": "pm_card_authenticationRequired", "confirm": "true"}),
    );
    may_fail(
        "/v1/payment_intents",
        json!({"amount": "900", "currency": "usd", "payment_method": "pm_card_chargeDeclinedInsufficientFunds", "confirm": "true"}),
    );
    may_fail("/v1/charges", json!({"amount": "900", "currency": "usd", "source": "tok_chargeDeclined"}));
    for (dispute, form) in sandbox.ids(Kind::Disputes).iter().zip([
        json!({"evidence": {"uncategorized_text": "winning_evidence"}}),
        json!({"evidence": {"uncategorized_text": "losing_evidence"}}),
    ]) {
        post(&format!("/v1/disputes/{dispute}"), form);
    }
    sandbox.call("DELETE", &format!("/v1/subscriptions/{subscription}"), &json!({})).unwrap();
    for inclusive in ["true", "false"] {
        let form = json!({"display_name": "VAT", "percentage": "19", "inclusive": inclusive});
        let rate = id(&post("/v1/tax_rates", form));
        post(&format!("/v1/tax_rates/{rate}"), json!({"active": "false"}));
    }
}

#[tokio::test]
async fn everything_answered_has_stripes_shapes() {
    let Some(shapes) = Shapes::load() else { return };
    let sandbox = StripeSandbox::start(Options::default()).await.unwrap();
    fill(&sandbox);
    let mut complaints = std::collections::BTreeSet::new();
    for kind in KINDS {
        assert!(sandbox.count(kind) > 0, "nothing of {kind:?}");
        for id in sandbox.ids(kind) {
            let object = sandbox.object(kind, &id).unwrap();
            assert_eq!(object["object"], kind.object());
            complaints.extend(shapes.complaints(&object));
        }
    }
    // What events hold has the same shapes, also that which no list answers: plans, cards, discounts.
    for event in sandbox.take_events() {
        let event: Value = serde_json::from_str(&event.body).unwrap();
        complaints.extend(shapes.complaints(&event["data"]["object"]));
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[tokio::test]
async fn a_wrong_shape_is_seen() {
    let Some(shapes) = Shapes::load() else { return };
    let sandbox = StripeSandbox::start(Options::default()).await.unwrap();
    let customer = sandbox.call("POST", "/v1/customers", &json!({"name": "A"})).unwrap();
    assert_eq!(shapes.complaints(&customer), [""; 0]);
    let spoilt = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut customer = customer.clone();
        change(customer.as_object_mut().unwrap());
        shapes.complaints(&customer)
    };
    assert_eq!(spoilt(&|c| drop(c.insert("colour".into(), json!("red")))), ["customer.colour: made up"]);
    assert_eq!(spoilt(&|c| drop(c.remove("created"))), ["customer.created: missing"]);
    assert_eq!(spoilt(&|c| drop(c.insert("livemode".into(), json!(null)))), ["customer.livemode: null"]);
    assert_eq!(spoilt(&|c| drop(c.insert("created".into(), json!("now")))).len(), 1);
    assert_eq!(spoilt(&|c| drop(c.insert("tax_exempt".into(), json!("perhaps")))).len(), 1);
}
