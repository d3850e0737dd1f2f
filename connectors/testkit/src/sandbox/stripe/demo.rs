//! A small company's Stripe account: a dozen customers in the situations that matter.

use serde_json::{Value, json};

use super::read::Refusal;
use super::write::Ctx;

/// What the demo is about, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demo {
    /// The customer whose plan `demo_change` raises.
    pub customer: String,
    /// Its subscription.
    pub subscription: String,
    /// The name of that customer.
    pub name: String,
    /// The value of its `company_id` metadata.
    pub company_id: String,
}

const DAY: i64 = 86_400;

fn id_of(object: &Value) -> String {
    object["id"].as_str().unwrap_or_default().to_owned()
}

/// Fills an empty sandbox. Nothing is announced by webhook: it all happened before.
pub(super) fn seed(cx: &mut Ctx<'_>) -> Result<Demo, Refusal> {
    let today = cx.now;
    let at = |cx: &mut Ctx<'_>, days_ago: i64| cx.now = today - days_ago * DAY;
    at(cx, 800);
    for (id, name) in [
        ("prod_starter", "Starter"),
        ("prod_team", "Team"),
        ("prod_enterprise", "Enterprise"),
        ("prod_addon", "Priority Support"),
    ] {
        cx.call("POST", &["products"], &json!({"id": id, "name": name}))?;
    }
    let month = json!({"interval": "month"});
    let year = json!({"interval": "year"});
    for (id, product, amount, currency, recurring) in [
        ("price_starter_month", "prod_starter", "2900", "usd", &month),
        ("price_starter_eur", "prod_starter", "2700", "eur", &month),
        ("price_team_month", "prod_team", "29900", "usd", &month),
        ("price_team_year", "prod_team", "299000", "usd", &year),
        ("price_addon_month", "prod_addon", "5000", "usd", &month),
    ] {
        cx.call(
            "POST",
            &["prices"],
            &json!({"id": id, "product": product, "unit_amount": amount, "currency": currency, "recurring": recurring}),
        )?;
    }
    cx.call(
        "POST",
        &["prices"],
        &json!({
            "id": "price_enterprise_seats", "product": "prod_enterprise", "currency": "usd", "recurring": year,
            "billing_scheme": "tiered", "tiers_mode": "graduated",
            "tiers": [{"up_to": "50", "unit_amount": "36000"}, {"up_to": "inf", "unit_amount": "24000"}],
        }),
    )?;
    cx.call(
        "POST",
        &["coupons"],
        &json!({"id": "LAUNCH20", "name": "Launch offer", "percent_off": "20", "duration": "forever"}),
    )?;
    cx.call("POST", &["coupons"], &json!({"id": "TENOFF3", "name": "Ten off", "amount_off": "1000", "currency": "usd", "duration": "repeating", "duration_in_months": "3"}))?;

    // (days ago, name, domain, items, extra members of the subscription)
    let none = json!({});
    let customers = [
        (
            620,
            "Northwind Traders",
            "northwind.example",
            json!([{"price": "price_starter_month"}]),
            none.clone(),
        ),
        (
            540,
            "Acme Corp",
            "acme.example",
            json!([{"price": "price_team_year", "quantity": "1"}]),
            none.clone(),
        ),
        (
            410,
            "Globex",
            "globex.example",
            json!([{"price": "price_enterprise_seats", "quantity": "80"}, {"price": "price_addon_month"}]),
            none.clone(),
        ),
        (
            300,
            "Initech",
            "initech.example",
            json!([{"price": "price_team_month"}]),
            json!({"discounts": [{"coupon": "LAUNCH20"}]}),
        ),
        (
            60,
            "Umbrella Health",
            "umbrella.example",
            json!([{"price": "price_team_month", "quantity": "2"}]),
            json!({"discounts": [{"coupon": "TENOFF3"}]}),
        ),
        (
            200,
            "Stark Logistics",
            "stark.example",
            json!([{"price": "price_starter_month", "quantity": "5"}]),
            json!({"cancel_at_period_end": "true"}),
        ),
        (150, "Wayne Foundation", "wayne.example", json!([{"price": "price_team_month"}]), none.clone()),
        (
            9,
            "Hooli",
            "hooli.example",
            json!([{"price": "price_team_month"}]),
            json!({"trial_period_days": "14"}),
        ),
        (120, "Soylent Foods", "soylent.example", json!([{"price": "price_starter_month"}]), none.clone()),
        (
            90,
            "Müller & Söhne GmbH",
            "mueller.example",
            json!([{"price": "price_starter_eur", "quantity": "3"}]),
            none.clone(),
        ),
        (
            45,
            "Tyrell Systems",
            "tyrell.example",
            json!([{"price": "price_starter_month"}]),
            json!({"pause_collection": {"behavior": "void"}}),
        ),
        (20, "Vandelay Imports", "vandelay.example", json!([]), none),
    ];
    let mut demo = None;
    for (n, (days, name, domain, items, extra)) in customers.into_iter().enumerate() {
        at(cx, days);
        let company_id = domain.split('.').next().unwrap_or_default().to_owned();
        let customer = cx.call(
            "POST",
            &["customers"],
            &json!({"name": name, "email": format!("billing@{domain}"), "metadata": {"company_id": company_id}}),
        )?;
        let customer = id_of(&customer);
        if items.as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        let mut form = json!({"customer": customer, "items": items});
        for (key, value) in extra.as_object().into_iter().flatten() {
            form[key] = value.clone();
        }
        let subscription = id_of(&cx.call("POST", &["subscriptions"], &form)?);
        renew(cx, &subscription, today)?;
        match n {
            0 => demo = Some(Demo { customer, subscription, name: name.to_owned(), company_id }),
            // A contract of three years in a schedule.
            2 => {
                at(cx, days);
                cx.schedule(&subscription, today - days * DAY + 3 * 365 * DAY, "release")?;
            }
            6 => {
                at(cx, 4);
                cx.bill(&subscription, false)?;
            }
            8 => {
                at(cx, 30);
                cx.cancel(&subscription)?;
            }
            _ => {}
        }
    }
    at(cx, 12);
    let charges = cx.store.of(super::store::Kind::Charges).map(|c| c.ids()).unwrap_or_default();
    let mut paid = charges.into_iter().filter(|id| {
        cx.store.find(super::store::Kind::Charges, id).is_some_and(|c| c.doc()["status"] == "succeeded")
    });
    if let (Some(refunded), Some(disputed)) = (paid.next(), paid.next()) {
        cx.refund(&refunded, Some(900))?;
        cx.dispute(&disputed)?;
    }
    cx.now = today;
    cx.outbox.waiting.clear();
    demo.ok_or_else(|| Refusal::unknown_url("POST", "/demo"))
}

/// Lets the periods of a subscription pass until `today`, with an invoice each.
fn renew(cx: &mut Ctx<'_>, subscription: &str, today: i64) -> Result<(), Refusal> {
    use super::store::Kind;
    loop {
        let mut doc = cx.doc(Kind::Subscriptions, subscription, "id")?;
        let Some(end) = doc["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|i| i["current_period_end"].as_i64())
            .min()
        else {
            return Ok(());
        };
        if end > today || doc["status"] != "active" || doc["cancel_at_period_end"] == true {
            if doc["cancel_at_period_end"] == true {
                move_periods(cx, &mut doc, today)?;
                doc["cancel_at"] = doc["items"][0]["current_period_end"].clone();
                cx.put(Kind::Subscriptions, doc, None);
            }
            return Ok(());
        }
        move_periods(cx, &mut doc, end)?;
        cx.put(Kind::Subscriptions, doc.clone(), None);
        cx.now = end;
        if doc["pause_collection"].is_null() {
            cx.bill(subscription, true)?;
        }
    }
}

/// Moves each item's period on until it ends after `until`.
fn move_periods(cx: &mut Ctx<'_>, doc: &mut Value, until: i64) -> Result<(), Refusal> {
    use super::shapes::period_end;
    use super::store::Kind;
    for item in doc["items"].as_array_mut().into_iter().flatten() {
        let price = cx.doc(Kind::Prices, item["price"].as_str().unwrap_or_default(), "price")?;
        while let Some(end) = item["current_period_end"].as_i64().filter(|end| *end <= until) {
            let next = period_end(&price, end);
            if next <= end {
                break;
            }
            item["current_period_start"] = json!(end);
            item["current_period_end"] = json!(next);
        }
    }
    Ok(())
}

/// What the demo then shows live: the customer moves from Starter to Team, and the next invoice of
/// another one cannot be paid.
pub(super) fn change(cx: &mut Ctx<'_>, demo: &Demo) -> Result<(), Refusal> {
    use super::store::Kind;
    let doc = cx.doc(Kind::Subscriptions, &demo.subscription, "id")?;
    let item = doc["items"][0]["id"].clone();
    let form = json!({"items": [{"id": item, "price": "price_team_month"}]});
    cx.call("POST", &["subscriptions", &demo.subscription], &form)?;
    let other = cx.store.of(Kind::Subscriptions).and_then(|all| {
        all.newest_first(None, (i64::MIN, i64::MAX))
            .find(|s| {
                s.status.as_deref() == Some("active")
                    && s.id != demo.subscription
                    && s.doc()["pause_collection"].is_null()
            })
            .map(|s| s.id.clone())
    });
    if let Some(other) = other {
        cx.bill(&other, false)?;
    }
    Ok(())
}
