//! What objects mean.

use connector_chargebee::Chargebee;

use connector_sdk::facts::{CatalogItem, DiscountRef, InvoiceStatus, Subscription, SubscriptionStatus};
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
