//! The sandbox Stripe as the conformance suite needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use connector_sdk::{Clock, Secrets, Timestamp};
use connector_testkit::conformance::{Delivery, Provider};
use connector_testkit::sandbox::faults::Faults;
use connector_testkit::sandbox::stripe::{Kind, Options, StripeSandbox, sign};
use http::{HeaderMap, HeaderValue};
use secrecy::SecretString;
use serde_json::{Value, json};

/// A clock that goes on a quarter of an hour each time it is asked, so that objects spread over time, and none of
/// them is out of the list of events before it is read.
#[derive(Debug)]
pub(crate) struct Striding(AtomicI64);

impl Striding {
    /// From 2025-01-01 on.
    pub(crate) fn new() -> Self {
        Self(AtomicI64::new(1_735_689_600))
    }
}

impl Clock for Striding {
    fn now(&self) -> Timestamp {
        let at = self.0.fetch_add(900, Ordering::Relaxed);
        chrono::DateTime::from_timestamp(at, 0).unwrap()
    }
}

pub(crate) fn secrets(key: &str) -> Secrets {
    Secrets(BTreeMap::from([(connector_stripe::API_KEY.to_owned(), SecretString::from(key))]))
}

/// Everything that the core streams hold, at least seven of each, among it a subscription with more
/// items and an invoice with more lines than Stripe shows at once.
pub(crate) fn fill(sandbox: &StripeSandbox) {
    let post = |path: &str, form: Value| sandbox.call("POST", path, &form).unwrap();
    let mut prices = Vec::new();
    for n in 0..12 {
        let product = post("/v1/products", json!({"name": format!("Plan {n}")}));
        let mut form = json!({
            "product": product["id"], "currency": "usd", "unit_amount": (1_000 + n).to_string(),
            "recurring": {"interval": if n % 3 == 0 { "year" } else { "month" }},
        });
        if n == 4 {
            form = json!({
                "product": product["id"], "currency": "usd", "billing_scheme": "tiered", "tiers_mode": "volume",
                "recurring": {"interval": "month"},
                "tiers": [{"up_to": "5", "unit_amount": "700"}, {"up_to": "inf", "unit_amount": "500", "flat_amount": "100"}],
            });
        }
        if n == 5 {
            form["currency_options"] = json!({"eur": {"unit_amount": "900"}});
        }
        let price = post("/v1/prices", form);
        prices.push((price["id"].as_str().unwrap().to_owned(), product["id"].as_str().unwrap().to_owned()));
    }
    for (n, (_, product)) in prices.iter().enumerate().take(7) {
        post(
            "/v1/coupons",
            json!({
                "id": format!("OFF {n}%"), "percent_off": "10", "duration": "forever",
                "applies_to": {"products": [product]},
            }),
        );
    }
    for n in 0..8 {
        let customer = post(
            "/v1/customers",
            json!({"name": format!("Customer {n}"), "email": format!("c{n}@example.com"), "metadata": {"company_id": format!("c-{n}")}}),
        );
        let mut items = vec![json!({"price": prices[n].0, "quantity": "2"})];
        if n == 0 {
            items = prices
                .iter()
                .map(|(id, _)| json!({"price": id, "discounts": [{"coupon": "OFF 3%"}]}))
                .collect();
        }
        let mut form = json!({"customer": customer["id"], "items": items});
        if n < 3 {
            form["discounts"] = json!([{"coupon": format!("OFF {n}%")}]);
        }
        post("/v1/subscriptions", form);
        if n == 7 {
            let id = sandbox.ids(Kind::Subscriptions)[0].clone();
            sandbox.call("DELETE", &format!("/v1/subscriptions/{id}"), &json!({})).unwrap();
        }
    }
    for subscription in sandbox.ids(Kind::Subscriptions) {
        sandbox.schedule(&subscription, 2_000_000_000, "release").unwrap();
    }
    for charge in sandbox.ids(Kind::Charges) {
        post("/v1/refunds", json!({"charge": charge, "amount": "1"}));
        sandbox.dispute(&charge).unwrap();
    }
    for n in 0..7 {
        post("/v1/tax_rates", json!({"display_name": format!("Tax {n}"), "percentage": "19"}));
    }
    let _ = sandbox.take_events();
}

/// Settings for a sandbox.
pub(crate) fn config(sandbox: &StripeSandbox, partitions: u8, page_size: u8) -> Value {
    json!({"base_url": sandbox.base_url(), "partitions": partitions, "page_size": page_size})
}

/// All objects made in the same seconds, read as one range.
pub(crate) struct Plain(pub(crate) StripeSandbox);

/// Objects spread over time, read in ranges.
pub(crate) struct Ranges(pub(crate) StripeSandbox);

fn kind(stream: &str) -> Kind {
    Kind::of_path(stream).unwrap()
}

fn create(sandbox: &StripeSandbox, stream: &str) -> Option<String> {
    let post = |path: &str, form: Value| {
        Some(sandbox.call("POST", path, &form).unwrap()["id"].as_str().unwrap().to_owned())
    };
    let first = |kind: Kind| sandbox.ids(kind).into_iter().next().unwrap();
    match kind(stream) {
        Kind::Customers => post("/v1/customers", json!({"name": "New"})),
        Kind::Products => post("/v1/products", json!({"name": "New"})),
        Kind::Prices => post(
            "/v1/prices",
            json!({"product": first(Kind::Products), "currency": "usd", "unit_amount": "1"}),
        ),
        Kind::Coupons => post("/v1/coupons", json!({"percent_off": "5", "duration": "once"})),
        Kind::Subscriptions => post(
            "/v1/subscriptions",
            json!({"customer": first(Kind::Customers), "items": [{"price": sandbox.ids(Kind::Prices).into_iter().last().unwrap()}]}),
        ),
        Kind::Invoices => {
            let invoice = sandbox.bill(&first(Kind::Subscriptions), true).unwrap();
            Some(invoice["id"].as_str().unwrap().to_owned())
        }
        Kind::Charges => post(
            "/v1/charges",
            json!({"customer": first(Kind::Customers), "currency": "usd", "amount": "500"}),
        ),
        Kind::Schedules => {
            let made = sandbox.schedule(&first(Kind::Subscriptions), 2_000_000_000, "cancel").unwrap();
            Some(made["id"].as_str().unwrap().to_owned())
        }
        Kind::Refunds => {
            let charge = create(sandbox, "charges")?;
            post("/v1/refunds", json!({"charge": charge, "amount": "1"}))
        }
        Kind::Disputes => {
            let charge = create(sandbox, "charges")?;
            Some(sandbox.dispute(&charge).unwrap()["id"].as_str().unwrap().to_owned())
        }
        Kind::TaxRates => post("/v1/tax_rates", json!({"percentage": "7"})),
        Kind::BalanceTransactions => {
            create(sandbox, "charges")?;
            sandbox.ids(Kind::BalanceTransactions).into_iter().next()
        }
        // No streams.
        Kind::Events
        | Kind::PaymentIntents
        | Kind::PaymentMethods
        | Kind::InvoiceItems
        | Kind::PromotionCodes => None,
    }
}

fn delete(sandbox: &StripeSandbox, stream: &str, id: &str) -> bool {
    match kind(stream) {
        kind @ (Kind::Customers | Kind::Products | Kind::Prices | Kind::Coupons | Kind::Invoices) => {
            sandbox.delete(kind, id).unwrap();
            true
        }
        _ => false,
    }
}

fn delivery(sandbox: &StripeSandbox, at: Timestamp) -> Delivery {
    create(sandbox, "customers");
    let event = sandbox.take_events().pop().unwrap();
    let signature = sign(sandbox.webhook_secret(), event.body.as_bytes(), at.timestamp());
    let mut headers = HeaderMap::new();
    headers.insert("stripe-signature", HeaderValue::from_str(&signature).unwrap());
    Delivery {
        headers,
        url: "https://example.com/api/integrations/stripe/webhook/con_1".to_owned(),
        body: event.body.into_bytes(),
        secret: SecretString::from(sandbox.webhook_secret()),
        tolerance: Some(Duration::from_secs(300)),
    }
}

macro_rules! provider {
    ($name:ident, $options:expr, $partitions:expr) => {
        #[async_trait]
        impl Provider for $name {
            async fn start() -> Self {
                Self(StripeSandbox::start($options).await.unwrap())
            }
            fn fill(&self) {
                fill(&self.0);
            }
            fn config(&self) -> Value {
                config(&self.0, $partitions, 3)
            }
            fn secrets(&self) -> Secrets {
                secrets(self.0.api_key())
            }
            fn wrong_secrets(&self) -> Secrets {
                secrets(concat!("rk_test", "_wrong_9876543210"))
            }
            fn ids(&self, stream: &str) -> BTreeSet<String> {
                self.0.ids(kind(stream)).into_iter().collect()
            }
            fn create(&self, stream: &str) -> Option<String> {
                create(&self.0, stream)
            }
            fn delete(&self, stream: &str, id: &str) -> bool {
                delete(&self.0, stream, id)
            }
            fn faults(&self) -> &Faults {
                self.0.faults()
            }
            fn path(&self, stream: &str) -> String {
                format!("/v1/{stream}")
            }
            fn forbid(&self, stream: &str) {
                self.0.forbid(stream, true);
            }
            fn delivery(&self, at: Timestamp) -> Option<Delivery> {
                Some(delivery(&self.0, at))
            }
        }
    };
}

provider!(Plain, Options::default(), 1);
provider!(Ranges, Options { clock: Arc::new(Striding::new()), ..Options::default() }, 4);
