//! Which companies a change reaches.

use connector_testkit::sandbox::stripe::Kind;
use halo_sync::service::Request;
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(
    a_change_reaches_exactly_the_companies_that_it_concerns,
    refunds_and_disputes_without_a_customer_are_counted,
    a_released_value_is_derived_again,
);

/// Names of the companies whose derivation was written since `before`.
async fn written(app: &App, before: &[String]) -> Vec<String> {
    let after = app.dump("company_derivations").await;
    let mut names = Vec::new();
    for company in app.companies().await {
        let of_it = |rows: &[String]| rows.iter().find(|row| row.contains(company.id.as_str())).cloned();
        if of_it(before) != of_it(&after) {
            names.push(company.fields.name.unwrap());
        }
    }
    names.sort();
    names
}

async fn a_change_reaches_exactly_the_companies_that_it_concerns(app: &App) {
    app.price("Starter", 2_900);
    app.price("Team", 29_900);
    for id in ["TENTH", "FIFTH"] {
        let percent = if id == "TENTH" { "10" } else { "20" };
        app.call("POST", "/v1/coupons", json!({"id": id, "percent_off": percent, "duration": "forever"}));
    }
    let mut ids = Vec::new();
    for (name, price) in [("A", "Starter"), ("B", "Starter"), ("C", "Team"), ("D", "Team"), ("E", "Team")] {
        ids.push(app.customer(name, price));
    }
    for (n, coupon) in [(1, "TENTH"), (2, "FIFTH")] {
        let path = format!("/v1/subscriptions/{}", ids[n].1);
        app.call("POST", &path, json!({"discounts": [{"coupon": coupon}]}));
    }
    app.connected().await;
    app.lose_events();
    let mrr = |name: &'static str| async move { app.company(name).await.fields.mrr_minor };
    assert_eq!(mrr("B").await, Some(2_610));

    // A product's name is the plan of those who have its prices.
    let before = app.dump("company_derivations").await;
    app.call("POST", "/v1/products/prod_Starter", json!({"name": "Basic"}));
    app.deliver_all(&app.sandbox.take_events()).await;
    app.drain().await;
    assert_eq!(written(app, &before).await, ["A", "B"]);
    assert_eq!(app.company("A").await.fields.plan.as_deref(), Some("Basic"));

    // A coupon is the discount of those who have it.
    let before = app.dump("company_derivations").await;
    app.call("POST", "/v1/coupons/TENTH", json!({"name": "A tenth"}));
    app.deliver_all(&app.sandbox.take_events()).await;
    app.drain().await;
    assert_eq!(written(app, &before).await, ["B"]);

    // A subscription that ends.
    let before = app.dump("company_derivations").await;
    app.call("DELETE", &format!("/v1/subscriptions/{}", ids[3].1), json!({}));
    app.deliver_all(&app.sandbox.take_events()).await;
    app.drain().await;
    assert_eq!(written(app, &before).await, ["D"]);
    assert_eq!(mrr("D").await, Some(0));

    // A customer that goes; the event that its subscription ended is lost.
    let before = app.dump("company_derivations").await;
    app.call("DELETE", &format!("/v1/customers/{}", ids[4].0), json!({}));
    let mut events = app.sandbox.take_events();
    events.retain(|event| event.kind == "customer.deleted");
    app.deliver_all(&events).await;
    app.drain().await;
    assert_eq!(written(app, &before).await, ["E"]);
    assert_ne!(mrr("E").await, Some(29_900));
    assert_eq!((mrr("A").await, mrr("C").await), (Some(2_900), Some(23_920)));
}

/// Servers that refuse to expand name no customer on a refund, and only a charge.
async fn refunds_and_disputes_without_a_customer_are_counted(app: &App) {
    app.sandbox.refuse_expansion();
    app.price("Starter", 10_000);
    let (first, _) = app.customer("Refunded", "Starter");
    let (second, _) = app.customer("Disputed", "Starter");
    let charge_of = |customer: &str| {
        let ids = app.sandbox.ids(Kind::Charges);
        let of_it = |id: &String| app.sandbox.object(Kind::Charges, id).unwrap()["customer"] == customer;
        ids.into_iter().find(of_it).unwrap()
    };
    let (refunded, disputed) = (charge_of(&first), charge_of(&second));
    app.connected().await;
    app.lose_events();
    let ltv =
        |name: &'static str| async move { app.company(name).await.custom_fields["lifetime_value"].clone() };
    assert_eq!((ltv("Refunded").await, ltv("Disputed").await), (json!("100.00 USD"), json!("100.00 USD")));

    app.call("POST", "/v1/refunds", json!({"charge": refunded, "amount": "2500"}));
    app.sandbox.dispute(&disputed).unwrap();
    let events = app.sandbox.take_events();
    // First only what names no customer.
    let without = |event: &&connector_testkit::sandbox::stripe::SandboxEvent| {
        event.kind.starts_with("refund.") || event.kind.starts_with("charge.dispute.")
    };
    for event in events.iter().filter(without) {
        assert_eq!(app.deliver(event).await, 200);
    }
    app.drain().await;
    let refunds = app.sandbox.ids(Kind::Refunds);
    let record = app.record("refunds", &refunds[0]).await.unwrap();
    assert_eq!(record.party.map(|party| party.id), Some(first));
    let (by_webhook, by_dispute) = (ltv("Refunded").await, ltv("Disputed").await);
    assert_eq!(by_webhook, json!("75.00 USD"));
    assert_ne!(by_dispute, json!("100.00 USD"));

    // Read for the first time, refunds and charges in whatever order.
    let fresh = app.fresh().await;
    fresh.read_once().await;
    for (name, value) in [("Refunded", by_webhook), ("Disputed", by_dispute)] {
        let found: Value = fresh.company(name).await.custom_fields["lifetime_value"].clone();
        assert_eq!(found, value, "{name}");
    }
    fresh.end().await;
}

/// Of a value that derivation does not ask about, its document knows nothing: setting and releasing it leaves the
/// document as it was, and the derived value must come back all the same.
async fn a_released_value_is_derived_again(app: &App) {
    app.price("Starter", 2_900);
    let (customer, _) = app.customer("Acme", "Starter");
    app.connected().await;
    let value = || async {
        let company = app.company("Acme").await;
        (company.custom_fields["stripe_customer_id"].clone(), company.fields.plan)
    };
    assert_eq!(value().await, (json!(customer), Some("Starter".to_owned())));
    let company = app.company("Acme").await.id.to_string();
    let traits = json!({"stripe_customer_id": "cus_by_hand", "plan": "By hand"});
    let traits = traits.as_object().unwrap().clone();
    app.execute(Request::SetCompany { company: company.clone(), traits }).await.unwrap();
    app.drain().await;
    assert_eq!(value().await, (json!("cus_by_hand"), Some("By hand".to_owned())));
    for field in ["stripe_customer_id", "plan"] {
        let fields = vec![field.to_owned()];
        app.execute(Request::ReleaseCompany { company: company.clone(), fields }).await.unwrap();
        app.drain().await;
    }
    assert_eq!(value().await, (json!(customer), Some("Starter".to_owned())));
}
