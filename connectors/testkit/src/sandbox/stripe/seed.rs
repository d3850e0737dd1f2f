//! Objects in bulk, kept as finished text so that a listing costs the sandbox next to nothing.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;

use super::shapes;
use super::store::{Body, Kind, Object, Store};

/// Plans that bulk subscriptions are spread over: (name, minor units, interval).
const PLANS: [(&str, i64, &str); 4] = [
    ("Starter", 1_900, "month"),
    ("Team", 9_900, "month"),
    ("Business", 29_900, "month"),
    ("Annual", 299_000, "year"),
];

/// Adds `n` customers with a subscription each, their creation spread evenly over the two years before
/// `now`. Customer `i` is `cus_seed{i:08}`, its subscription `sub_seed{i:08}`, metadata `company_id` is
/// `company-{i}`.
pub(super) fn customers(store: &mut Store, n: usize, now: i64, live: bool) {
    const SPAN: i64 = 2 * 365 * 86_400;
    let start = now - SPAN;
    let mut prices = Vec::new();
    for (k, (name, amount, interval)) in PLANS.iter().enumerate() {
        let (product, price) = (format!("prod_seed{k}"), format!("price_seed{k}"));
        let mut doc = shapes::price(&price, start, live, &product, "usd");
        doc["unit_amount"] = (*amount).into();
        doc["unit_amount_decimal"] = amount.to_string().into();
        doc["type"] = "recurring".into();
        doc["recurring"] = serde_json::json!({
            "interval": interval, "interval_count": 1, "meter": null, "trial_period_days": null, "usage_type": "licensed",
        });
        store.of_mut(Kind::Products).put(Object::of_doc(shapes::product(&product, start, live, name)));
        store.of_mut(Kind::Prices).put(Object::of_doc(doc.clone()));
        prices.push(doc);
    }
    let customer = Template::new(&shapes::customer("@id@", AT, live), &["email", "name"]);
    for i in 0..n {
        #[expect(clippy::cast_possible_wrap, reason = "a count of objects")]
        let created = start + SPAN * i as i64 / (n.max(1) as i64);
        let id = format!("cus_seed{i:08}");
        let text = customer.fill(&[
            ("@id@", &id),
            ("\"@created@\"", &created.to_string()),
            ("@email@", &format!("billing@company-{i}.example")),
            ("@name@", &format!("Company {i}")),
            ("\"metadata\":{}", &format!("\"metadata\":{{\"company_id\":\"company-{i}\"}}")),
        ]);
        store.of_mut(Kind::Customers).put(Object {
            id: id.clone(),
            created,
            customer: None,
            status: None,
            body: Body::Text(Arc::from(text)),
        });
        let Some(price) = prices.get(i % prices.len()) else { continue };
        let subscription = format!("sub_seed{i:08}");
        let end = shapes::period_end(price, now - 86_400);
        let mut doc = shapes::subscription(&subscription, created, live, &id, "usd");
        let mut item = shapes::item(
            &format!("si_seed{i:08}"),
            created,
            &subscription,
            "",
            Some(1 + i64::try_from(i % 7).unwrap_or(0)),
            (now - 86_400, end),
        );
        item["price"] = price.clone();
        doc["items"] = serde_json::json!({
            "object": "list", "data": [item], "has_more": false,
            "url": format!("/v1/subscription_items?subscription={subscription}"),
        });
        store.of_mut(Kind::Subscriptions).put(Object {
            id: subscription,
            created,
            customer: Some(id),
            status: Some("active".to_owned()),
            body: Body::Text(Arc::from(doc.to_string())),
        });
    }
}

/// Stands for a creation time in a template.
const AT: i64 = -1;

/// The text of a document with places to fill in.
struct Template(String);

impl Template {
    fn new(doc: &Value, texts: &[&str]) -> Self {
        let mut doc = doc.clone();
        if doc["created"] == AT {
            doc["created"] = "@created@".into();
        }
        for name in texts {
            doc[*name] = format!("@{name}@").into();
        }
        Self(doc.to_string())
    }

    fn fill(&self, places: &[(&str, &str)]) -> String {
        let mut out = self.0.clone();
        for (place, value) in places {
            if let Some(at) = out.find(place) {
                let mut filled = String::with_capacity(out.len() + value.len());
                let _ = write!(filled, "{}{}{}", &out[..at], value, &out[at + place.len()..]);
                out = filled;
            }
        }
        out
    }
}
