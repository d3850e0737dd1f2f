//! What objects mean.

use connector_chargebee::Chargebee;

use connector_sdk::facts::{
    CatalogItem, ChargeStatus, DiscountRef, EndBehavior, InvoiceStatus, Payment, RefundStatus,
    ScheduleStatus, Subscription, SubscriptionSchedule, SubscriptionStatus,
};
use connector_sdk::{Connector, Extract, Fact, Record, RecordKey};
use serde_json::{Value, json};

fn sample(stream: &str) -> Value {
    let samples = Connector::samples(&Chargebee);
    let sample = samples.iter().find(|sample| sample.stream == stream).unwrap();
    serde_json::from_str(sample.records().unwrap().remove(0).payload.get()).unwrap()
}

fn facts(stream: &str, object: &Value) -> Extract {
    let payload = serde_json::value::RawValue::from_string(object.to_string()).unwrap();
    let key = RecordKey::new(stream, object["id"].as_str().unwrap());
    Connector::facts(&Chargebee, &Record { key, payload }).unwrap()
}

fn schedule(object: &Value) -> Option<SubscriptionSchedule> {
    let facts = facts("subscriptions", object).facts;
    let found = facts.into_iter().find_map(|fact| match fact {
        Fact::SubscriptionSchedule(schedule) => Some(schedule),
        _ => None,
    });
    assert_eq!(subscription(object).schedule, found.as_ref().map(|schedule| schedule.id.clone()));
    found
}

fn payments(object: &Value) -> Vec<Payment> {
    let all = facts("transactions", object).facts.into_iter();
    all.map(|fact| match fact {
        Fact::Payment(payment) => payment,
        other => unreachable!("{other:?}"),
    })
    .collect()
}

fn subscription(object: &Value) -> Subscription {
    match facts("subscriptions", object).facts.remove(0) {
        Fact::Subscription(subscription) => *subscription,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn an_item_costs_its_amount_whatever_its_quantity() {
    let s = subscription(&sample("subscriptions"));
    let costs: Vec<_> = s
        .items
        .iter()
        .map(|item| {
            let price = item.price.as_ref().unwrap();
            (
                item.quantity,
                price.amounts.unit.map(|unit| unit.to_string()),
                price.transform.map(|t| t.divide_by),
            )
        })
        .collect();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(costs, [(Some(2), text("240000"), Some(2)), (Some(7), text("24000"), Some(7))]);
    let refs: Vec<String> =
        facts("subscriptions", &sample("subscriptions")).refs.iter().map(ToString::to_string).collect();
    assert_eq!(refs, ["coupons/PARTNER10", "item_prices/growth-USD-Yearly", "item_prices/seats-USD-Yearly"]);
    assert_eq!(s.discounts.len(), 1);
}

/// Chargebee writes hundredths where a currency has thousandths.
#[test]
fn a_dinar_s_amounts_are_thousandths() {
    let mut object = sample("subscriptions");
    object["currency_code"] = json!("KWD");
    let s = subscription(&object);
    let unit = s.items[0].price.as_ref().unwrap().amounts.unit.map(|unit| unit.to_string());
    assert_eq!(unit.as_deref(), Some("2400000"));
}

#[test]
fn a_coupon_whose_limits_name_no_prices_takes_off_nobody_knows_what() {
    let percent = |constraints: Value| {
        let object = json!({"id": "C", "discount_percentage": 50, "duration_type": "forever",
            "apply_on": "each_specified_item", "item_constraints": constraints});
        match facts("coupons", &object).facts.remove(0) {
            Fact::CatalogItem(CatalogItem::Coupon(coupon)) => {
                (coupon.percent_off.is_some(), coupon.applies_to)
            }
            other => unreachable!("{other:?}"),
        }
    };
    let of = |kind: &str, word: &str| json!({"item_type": kind, "constraint": word});
    assert_eq!(percent(json!([of("plan", "all"), of("addon", "none")])), (false, None));
    assert_eq!(percent(json!([of("plan", "all"), of("addon", "all")])), (true, None));
}

#[test]
fn every_status_has_its_meaning() {
    use SubscriptionStatus::{Active, Canceled, Incomplete, Paused, Trialing, Unknown};
    for (word, meaning) in [
        ("future", Incomplete),
        ("in_trial", Trialing),
        ("active", Active),
        ("non_renewing", Active),
        ("paused", Paused),
        ("cancelled", Canceled),
        ("transferred", Canceled),
        ("brand_new", Unknown),
    ] {
        let mut object = sample("subscriptions");
        object["status"] = json!(word);
        object["cancelled_at"] = json!(1_770_000_000);
        let s = subscription(&object);
        assert_eq!(s.status, meaning, "{word}");
        assert_eq!(s.cancel_at.is_some(), word == "non_renewing", "{word}");
        assert_eq!(s.ended_at.is_some(), meaning == Canceled, "{word}");
    }
}

#[test]
fn a_discount_of_its_own_is_exact_and_knows_its_item() {
    let mut object = sample("subscriptions");
    object["discounts"] = json!([{
        "id": "d1", "percentage": 12.55, "duration_type": "limited_period", "period": 2, "period_unit": "year",
        "apply_on": "specific_item_price", "item_price_id": "seats-USD-Yearly", "apply_till": 1_800_000_000,
    }]);
    let s = subscription(&object);
    let Some(DiscountRef::Whole(discount)) = s.discounts.last() else { unreachable!("{s:?}") };
    let coupon = discount.coupon.as_ref().unwrap();
    assert_eq!(coupon.percent_off.unwrap().to_string(), "12.55");
    assert_eq!(coupon.applies_to.as_deref(), Some(["seats-USD-Yearly".to_owned()].as_slice()));
    assert_eq!(discount.end.unwrap().timestamp(), 1_800_000_000);
}

#[test]
fn a_metered_item_and_a_charge_are_no_monthly_amount() {
    let mut object = sample("subscriptions");
    object["subscription_items"][0]["metered_quantity"] = json!("12");
    object["subscription_items"][1]["item_type"] = json!("charge");
    let s = subscription(&object);
    let prices: Vec<_> = s.items.iter().map(|item| item.price.as_ref().unwrap()).collect();
    assert_eq!(prices[0].usage, Some(connector_sdk::facts::Usage::Metered));
    assert_eq!(prices[1].kind, Some(connector_sdk::facts::PriceKind::OneTime));
}

#[test]
fn a_plan_is_called_as_customers_know_it_and_a_company_is_found_by_its_own_field() {
    let extract = facts("item_prices", &sample("item_prices"));
    let named = extract.facts.iter().any(|fact| {
        matches!(fact, Fact::CatalogItem(CatalogItem::Product(p)) if p.name.as_deref() == Some("Growth"))
    });
    assert!(named, "{extract:?}");
    let extract = facts("customers", &sample("customers"));
    let Some(Fact::BillingAccount(account)) = extract.facts.first() else { unreachable!("{extract:?}") };
    assert_eq!(account.name.as_deref(), Some("Northwind"));
    assert_eq!(account.metadata["company_id"], "northwind");
}

#[test]
fn a_written_off_invoice_is_not_paid() {
    for (change, status) in [
        (json!({}), InvoiceStatus::Paid),
        (json!({"write_off_amount": 5}), InvoiceStatus::Uncollectible),
        (json!({"status": "payment_due"}), InvoiceStatus::Open),
        (json!({"status": "voided"}), InvoiceStatus::Void),
        (json!({"status": "pending"}), InvoiceStatus::Draft),
    ] {
        let mut object = sample("invoices");
        object.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let extract = facts("invoices", &object);
        let Some(Fact::Invoice(invoice)) = extract.facts.first() else { unreachable!("{extract:?}") };
        assert_eq!(invoice.status, status);
    }
}

/// Money that came, to the minor unit of its currency, and what went back of it.
#[test]
fn a_payment_is_a_charge_in_minor_units() {
    let of = |currency: &str, status: &str| {
        let object = json!({"id": "t", "customer_id": "c", "type": "payment", "status": status, "amount": 1_234,
            "currency_code": currency, "date": 1_760_000_000, "linked_invoices": [{"invoice_id": "i"}],
            "linked_refunds": [{"txn_status": "success", "txn_amount": 200}, {"txn_status": "failure", "txn_amount": 7}]});
        match payments(&object).remove(0) {
            Payment::Charge(charge) => *charge,
            other => unreachable!("{other:?}"),
        }
    };
    for (currency, amount, back) in [("USD", 1_234, 200), ("JPY", 1_234, 200), ("KWD", 12_340, 2_000)] {
        let charge = of(currency, "success");
        assert_eq!((charge.amount_captured, charge.amount_refunded), (amount, Some(back)), "{currency}");
        assert_eq!(charge.currency, currency.to_lowercase());
        assert!(charge.paid && charge.captured && charge.status == ChargeStatus::Succeeded);
        assert_eq!((charge.account.as_deref(), charge.invoice.as_deref()), (Some("c"), Some("i")));
        assert_eq!(charge.created.unwrap().timestamp(), 1_760_000_000);
    }
    for (status, meaning) in [
        ("in_progress", ChargeStatus::Pending),
        ("needs_attention", ChargeStatus::Pending),
        ("failure", ChargeStatus::Failed),
        ("late_failure", ChargeStatus::Failed),
        ("timeout", ChargeStatus::Failed),
        ("voided", ChargeStatus::Failed),
        ("brand_new", ChargeStatus::Unknown),
    ] {
        let charge = of("USD", status);
        assert_eq!((charge.status, charge.paid, charge.captured), (meaning, false, false), "{status}");
    }
    // One that pays several invoices is none's alone; an authorization moved no money.
    let mut several = sample("transactions");
    several["linked_invoices"] = json!([{"invoice_id": "a"}, {"invoice_id": "b"}]);
    assert!(matches!(&payments(&several)[..], [Payment::Charge(charge)] if charge.invoice.is_none()));
    several["type"] = json!("authorization");
    assert_eq!(payments(&several), []);
    several["type"] = json!("payment");
    several.as_object_mut().unwrap().remove("customer_id");
    assert_eq!(facts("transactions", &several).party, None);
}

#[test]
fn a_refund_and_a_reversal_take_back_what_they_are_linked_to() {
    let of = |object: Value| {
        let all = payments(&object).into_iter();
        all.map(|payment| match payment {
            Payment::Refund(refund) => (refund.id, refund.charge, refund.amount, refund.status),
            other => unreachable!("{other:?}"),
        })
        .collect::<Vec<_>>()
    };
    let text = |text: &str| Some(text.to_owned());
    let base = json!({"id": "r", "customer_id": "c", "type": "refund", "status": "success", "amount": 500,
        "currency_code": "KWD", "date": 1_760_000_000});
    let with = |change: Value| {
        let mut object = base.clone();
        object.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        of(object)
    };
    let done = RefundStatus::Succeeded;
    assert_eq!(with(json!({"refunded_txn_id": "p"})), [("r".into(), text("p"), 5_000, done)]);
    assert_eq!(
        with(json!({"linked_payments": [{"id": "p", "amount": 500}]})),
        [("r".into(), text("p"), 5_000, done)]
    );
    assert_eq!(
        with(json!({"linked_payments": [{"id": "p", "amount": 300}, {"id": "q", "amount": 200}]})),
        [("r/p".into(), text("p"), 3_000, done), ("r/q".into(), text("q"), 2_000, done)]
    );
    assert_eq!(
        with(json!({"type": "payment_reversal", "reference_transaction_id": "p"})),
        [("r".into(), text("p"), 5_000, done)]
    );
    for (status, meaning) in [
        ("in_progress", RefundStatus::Pending),
        ("needs_attention", RefundStatus::RequiresAction),
        ("failure", RefundStatus::Failed),
        ("timeout", RefundStatus::Failed),
        ("voided", RefundStatus::Canceled),
    ] {
        assert_eq!(with(json!({"status": status}))[0].3, meaning, "{status}");
    }
}

/// What was agreed binds as a schedule: its end, its length, and whether it goes on behind it.
#[test]
fn a_contract_term_binds_the_subscription() {
    let mut object = sample("subscriptions");
    for (action, behavior) in [
        ("cancel", EndBehavior::Cancel),
        ("renew", EndBehavior::Release),
        ("renew_once", EndBehavior::Release),
        ("evergreen", EndBehavior::Release),
        ("brand_new", EndBehavior::Other),
    ] {
        object["contract_term"] = json!({"id": "term_1", "status": "active", "contract_start": 1_760_000_000,
            "contract_end": 1_823_072_000, "billing_cycle": 2, "action_at_term_end": action});
        let schedule = schedule(&object).unwrap();
        assert_eq!((schedule.id.as_str(), schedule.end_behavior), ("term_1", behavior), "{action}");
        assert_eq!(schedule.status, ScheduleStatus::Active);
        assert_eq!(schedule.subscription.as_deref(), object["id"].as_str());
        let [phase] = schedule.phases[..] else { unreachable!("{schedule:?}") };
        assert_eq!((phase.start.timestamp(), phase.end.timestamp()), (1_760_000_000, 1_823_072_000));
    }
    for (word, status) in [
        ("completed", ScheduleStatus::Completed),
        ("cancelled", ScheduleStatus::Canceled),
        ("terminated", ScheduleStatus::Canceled),
        ("brand_new", ScheduleStatus::Unknown),
    ] {
        object["contract_term"]["status"] = json!(word);
        assert_eq!(schedule(&object).unwrap().status, status, "{word}");
    }
}

/// A number of periods that are left is a fixed term, and no notice, unless somebody asked for the end.
#[test]
fn a_number_of_periods_is_a_fixed_term() {
    let mut object = sample("subscriptions");
    assert_eq!(schedule(&object), None);
    object["activated_at"] = json!(1_728_464_000);
    object["remaining_billing_cycles"] = json!(1);
    // The running year ends on 4 October 2026, and one more follows.
    let agreed = schedule(&object).unwrap();
    assert_eq!((agreed.end_behavior, agreed.status), (EndBehavior::Cancel, ScheduleStatus::Active));
    assert_eq!(agreed.phases[0].start.timestamp(), 1_728_464_000);
    assert_eq!(agreed.phases[0].end.timestamp(), 1_791_536_000 + 365 * 86_400);
    object["billing_period_unit"] = json!("month");
    object["remaining_billing_cycles"] = json!(2);
    object["current_term_end"] = json!(1_798_675_200);
    let end = schedule(&object).unwrap().phases[0].end;
    assert_eq!(end.to_rfc3339(), "2027-02-28T00:00:00+00:00", "the end of a month clamps");
    // The last period runs: its end is that of the term.
    object["remaining_billing_cycles"] = json!(0);
    object["status"] = json!("non_renewing");
    object["cancelled_at"] = json!(1_798_675_200);
    let end = schedule(&object).unwrap().phases[0].end;
    assert_eq!(subscription(&object).cancel_at, Some(end));
    object["cancel_schedule_created_at"] = json!(1_790_000_000);
    assert_eq!(schedule(&object), None, "somebody asked for the end");
    object["status"] = json!("in_trial");
    object.as_object_mut().unwrap().remove("cancel_schedule_created_at");
    assert_eq!(schedule(&object), None);
}

#[test]
fn invoices_that_are_due_make_a_subscription_past_due() {
    let mut object = sample("subscriptions");
    object["due_invoices_count"] = json!(0);
    assert_eq!(subscription(&object).status, SubscriptionStatus::Active);
    object["due_invoices_count"] = json!(2);
    for (word, status) in [
        ("active", SubscriptionStatus::PastDue),
        ("non_renewing", SubscriptionStatus::PastDue),
        ("paused", SubscriptionStatus::Paused),
        ("cancelled", SubscriptionStatus::Canceled),
    ] {
        object["status"] = json!(word);
        assert_eq!(subscription(&object).status, status, "{word}");
    }
    object["status"] = json!("active");
    object["due_invoices_count"] = json!(0);
    object["due_since"] = json!(1_760_000_000);
    assert_eq!(subscription(&object).status, SubscriptionStatus::PastDue);
}
