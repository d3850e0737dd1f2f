//! Against localstripe, filled through Stripe's official Python library: the shapes of 2017.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use connector_sdk::{
    Budget, Connector, ConnectorError, DynConnector, HttpConfig, Io, Mode, Priority, ReadMode, Record,
    Session, SystemClock,
};
use connector_stripe::Stripe;
use connector_testkit::conformance::read_all;
use connector_testkit::localstripe::{API_KEY, Localstripe};
use serde_json::{Value, json};

use crate::support::secrets;

/// Twelve customers, and what their subscriptions are.
const FILL: &str = r#"
product = stripe.Product.create(name="Team", type="service")
plans = {}
for name, amount, interval, count in [("monthly", 2900, "month", 1), ("yearly", 29000, "year", 1), ("weekly", 700, "week", 1), ("quarterly", 8000, "month", 3)]:
    plans[name] = stripe.Plan.create(id=name, amount=amount, currency="usd", interval=interval, interval_count=count, product=product.id)
stripe.Coupon.create(id="HALF", percent_off=50, duration="forever")
stripe.Coupon.create(id="FIVE", amount_off=500, currency="usd", duration="repeating", duration_in_months=3)
made = []
for n in range(12):
    customer = stripe.Customer.create(name=f"Customer {n}", email=f"c{n}@example.com", metadata={"company_id": f"c-{n}"})
    method = stripe.PaymentMethod.create(type="card", card={"number": "4242424242424242", "exp_month": 12, "exp_year": 2035, "cvc": "123"})
    stripe.PaymentMethod.attach(method.id, customer=customer.id)
    stripe.Customer.modify(customer.id, invoice_settings={"default_payment_method": method.id})
    plan = ["monthly", "yearly", "weekly", "quarterly"][n % 4]
    subscription = stripe.Subscription.create(customer=customer.id, items=[{"plan": plan, "quantity": 1 + n}])
    made.append([customer.id, subscription.id])
stripe.Subscription.cancel(made[11][1])
print(json.dumps(made))
"#;

fn open(server: &Localstripe) -> Box<dyn Session> {
    let io = Io {
        http: connector_testkit::http_client(HttpConfig::default()).unwrap(),
        clock: Arc::new(SystemClock),
        budget: Arc::new(Budget::unlimited()),
        priority: Priority::Backfill,
    };
    let config = json!({"base_url": server.base_url(), "page_size": 5});
    DynConnector::open(&Stripe, &config, secrets(API_KEY), io).unwrap()
}

#[tokio::test]
async fn the_shapes_of_2017_are_read_and_what_is_not_there_is_said() {
    let Some(server) = Localstripe::start().await else { return };
    let made: Vec<(String, String)> = serde_json::from_str(&server.run(FILL).unwrap()).unwrap();
    let session = open(&server);

    let account = session.check().await.unwrap();
    assert_eq!((account.id, account.mode), (None, Mode::Test));
    assert!(account.not_offered.contains(&"account".to_owned()), "{:?}", account.not_offered);
    assert!(account.missing.is_empty());

    let mut counts = BTreeMap::new();
    for stream in Connector::spec(&Stripe).streams {
        if account.not_offered.contains(&stream.name.to_owned()) {
            continue;
        }
        let all = read_all(session.as_ref(), stream.name, ReadMode::Full).await.unwrap();
        assert_eq!(all.rejected, 0, "{}", stream.name);
        for record in all.records.values() {
            Connector::facts(&Stripe, record).unwrap_or_else(|e| panic!("{}: {e}", record.key));
        }
        counts.insert(stream.name, all.records);
    }
    let ids = |stream: &str| -> BTreeSet<String> { counts[stream].keys().cloned().collect() };
    assert_eq!(ids("customers"), made.iter().map(|(c, _)| c.clone()).collect());
    assert_eq!(ids("subscriptions"), made.iter().map(|(_, s)| s.clone()).collect());
    assert_eq!(ids("prices"), ["monthly", "yearly", "weekly", "quarterly"].map(str::to_owned).into());
    assert_eq!(ids("coupons"), ["HALF", "FIVE"].map(str::to_owned).into());
    assert_eq!(ids("products").len(), 1);
    assert_eq!(ids("invoices").len(), 12);
    let status =
        |record: &Record| serde_json::from_str::<Value>(record.payload.get()).unwrap()["status"].clone();
    assert_eq!(status(&counts["subscriptions"][&made[11].1]), "canceled");

    // By id: one that is there, one that is not.
    let asked = [made[0].1.clone(), "sub_never_was".to_owned()];
    let batch = session.read_many("subscriptions", &asked).await.unwrap();
    assert_eq!((batch.records.len(), batch.tombstones.len()), (1, 1));
    // It derives prices from plans in lists and has no reads of them by id.
    let prices = session.read_many("prices", &["monthly".to_owned()]).await;
    assert!(matches!(prices, Err(ConnectorError::NotOffered(_))), "{prices:?}");
}
