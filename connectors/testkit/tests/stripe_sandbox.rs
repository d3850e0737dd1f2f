//! The sandbox Stripe itself: what it answers, refuses, sends and spoils.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use connector_sdk::signature::{digest_from_hex, verify_hmac_sha256};
use connector_testkit::sandbox::faults::{Fault, FaultRule, WebhookFaults};
use connector_testkit::sandbox::stripe::{Flush, Kind, Options, Order, StripeSandbox};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// Deliveries as they came in, and what to answer.
#[derive(Clone, Default)]
struct Inbox {
    bodies: Arc<Mutex<Vec<(String, String)>>>,
    refuse: Arc<Mutex<u32>>,
    arrived: Arc<Notify>,
}

impl Inbox {
    async fn start(&self) -> String {
        async fn take(State(inbox): State<Inbox>, headers: HeaderMap, body: String) -> StatusCode {
            let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
            inbox.bodies.lock().unwrap().push((signature, body));
            inbox.arrived.notify_one();
            let mut refuse = inbox.refuse.lock().unwrap();
            if *refuse > 0 {
                *refuse -= 1;
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            StatusCode::OK
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let app = Router::new().route("/hook", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        url
    }

    fn kinds(&self) -> Vec<String> {
        let bodies = self.bodies.lock().unwrap();
        bodies
            .iter()
            .map(|(_, body)| {
                serde_json::from_str::<Value>(body).unwrap()["type"].as_str().unwrap().to_owned()
            })
            .collect()
    }
}

async fn get(sandbox: &StripeSandbox, path: &str) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .get(sandbox.base_url() + path)
        .header("authorization", format!("Bearer {}", sandbox.api_key()))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

async fn sandbox() -> StripeSandbox {
    StripeSandbox::start(Options::default()).await.unwrap()
}

fn customers(sandbox: &StripeSandbox, n: usize) -> Vec<String> {
    (0..n)
        .map(|n| {
            let made = sandbox.call("POST", "/v1/customers", &json!({"name": format!("{n}")})).unwrap();
            made["id"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn ids(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(|o| o["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lists_go_newest_first_by_id_in_both_directions() {
    let sandbox = sandbox().await;
    let mut made = customers(&sandbox, 25);
    made.reverse();
    let (_, first) = get(&sandbox, "/v1/customers").await;
    assert_eq!((ids(&first), &first["has_more"]), (made[..10].to_vec(), &json!(true)));
    let (_, second) = get(&sandbox, &format!("/v1/customers?limit=10&starting_after={}", made[9])).await;
    assert_eq!(ids(&second), made[10..20]);
    let (_, last) = get(&sandbox, &format!("/v1/customers?limit=10&starting_after={}", made[19])).await;
    assert_eq!((ids(&last), &last["has_more"]), (made[20..].to_vec(), &json!(false)));
    let (_, back) = get(&sandbox, &format!("/v1/customers?limit=5&ending_before={}", made[10])).await;
    assert_eq!((ids(&back), &back["has_more"]), (made[5..10].to_vec(), &json!(true)));
}

#[tokio::test]
async fn parameters_are_refused_as_stripe_does() {
    let sandbox = sandbox().await;
    customers(&sandbox, 2);
    for (path, status, says) in [
        ("/v1/customers?limit=0", 400, "Limit"),
        ("/v1/customers?limit=101", 400, "Limit"),
        ("/v1/customers?nonsense=1", 400, "unknown parameter"),
        ("/v1/customers?starting_after=cus_none", 400, "No such customer: 'cus_none'"),
        ("/v1/customers?expand[]=data.nonsense", 400, "cannot be expanded"),
        ("/v1/subscriptions?expand[]=data.items.data.price.product", 400, "more than 4 levels"),
        ("/v1/customers/cus_none", 404, "No such customer: 'cus_none'"),
        ("/v1/nonsense", 404, "Unrecognized request URL"),
        ("/v1/customers?created[gte]=soon", 400, "Invalid integer"),
    ] {
        let (found, body) = get(&sandbox, path).await;
        let message = body["error"]["message"].as_str().unwrap();
        assert_eq!(found, status, "{path}");
        assert!(message.contains(says), "{path}: {message}");
    }
    assert_eq!(sandbox.calls("GET /v1/customers/:id"), 1);
}

#[tokio::test]
async fn canceled_subscriptions_are_hidden_without_a_status() {
    let sandbox = sandbox().await;
    sandbox.seed_customers(3);
    sandbox.call("DELETE", "/v1/subscriptions/sub_seed00000001", &json!({})).unwrap();
    let count = async |query: &str| ids(&get(&sandbox, &format!("/v1/subscriptions{query}")).await.1).len();
    assert_eq!(count("").await, 2);
    assert_eq!(count("?status=all").await, 3);
    assert_eq!(count("?status=canceled").await, 1);
    assert_eq!(count("?status=all&customer=cus_seed00000001").await, 1);
}

#[tokio::test]
async fn writes_over_http_announce_themselves() {
    let sandbox = sandbox().await;
    let inbox = Inbox::default();
    sandbox.register_webhook(&inbox.start().await);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |path: &str, form: &str| -> Value {
        let answer = client
            .post(format!("{}{path}", sandbox.base_url()))
            .header("authorization", format!("Bearer {}", sandbox.api_key()))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned())
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    };
    let customer = post("/v1/customers", "name=Acme+%26+Co&metadata[company_id]=acme").await;
    assert_eq!(
        (&customer["name"], &customer["metadata"]["company_id"]),
        (&json!("Acme & Co"), &json!("acme"))
    );
    let price =
        post("/v1/prices", "currency=usd&unit_amount=1500&recurring[interval]=month&product_data[name]=Team")
            .await;
    let subscription = post(
        "/v1/subscriptions",
        &format!(
            "customer={}&items[0][price]={}&items[0][quantity]=3",
            customer["id"].as_str().unwrap(),
            price["id"].as_str().unwrap()
        ),
    )
    .await;
    assert_eq!(subscription["items"]["data"][0]["price"]["unit_amount"], 1500);
    let delivered = sandbox.flush(&Flush::default()).await;
    assert!(delivered.iter().all(|d| d.status == Some(200)));
    assert_eq!(
        inbox.kinds(),
        [
            "customer.created",
            "product.created",
            "price.created",
            // It takes the currency of its first subscription.
            "customer.updated",
            "customer.subscription.created",
            "invoice.created",
            "invoice.finalized",
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.succeeded",
            "invoice.paid",
            "invoice.payment_succeeded",
        ]
    );
    let charge = sandbox.object(Kind::Charges, &sandbox.ids(Kind::Charges)[0]).unwrap();
    assert_eq!(charge["amount"], 4500);
    // Signed as Stripe signs.
    for (signature, body) in inbox.bodies.lock().unwrap().iter() {
        let (t, v1) = signature.split_once(",v1=").unwrap();
        let t = t.strip_prefix("t=").unwrap();
        let digest = digest_from_hex(v1).unwrap();
        verify_hmac_sha256(
            &[sandbox.webhook_secret().into()],
            &[t.as_bytes(), b".", body.as_bytes()],
            &[digest],
        )
        .unwrap();
    }
}

#[tokio::test]
async fn deliveries_may_be_doubled_lost_and_out_of_order() {
    let sandbox = sandbox().await;
    let inbox = Inbox::default();
    sandbox.register_webhook(&inbox.start().await);
    let customer = customers(&sandbox, 1).remove(0);
    for n in 0..3 {
        sandbox
            .call("POST", &format!("/v1/customers/{customer}"), &json!({"name": format!("v{n}")}))
            .unwrap();
    }
    let flush = Flush { order: Order::Backwards, copies: 2, lose_every: 4 };
    assert_eq!(sandbox.flush(&flush).await.len(), 6);
    assert_eq!(
        inbox.kinds(),
        [
            "customer.updated",
            "customer.updated",
            "customer.updated",
            "customer.updated",
            "customer.created",
            "customer.created"
        ]
    );
    assert!(sandbox.take_events().is_empty());
    // No change, no event.
    sandbox.call("POST", &format!("/v1/customers/{customer}"), &json!({"name": "v2"})).unwrap();
    assert!(sandbox.take_events().is_empty());
}

#[tokio::test]
async fn events_post_themselves_and_again_when_refused() {
    let sandbox = StripeSandbox::start(Options { auto_deliver: true, ..Options::default() }).await.unwrap();
    let inbox = Inbox::default();
    *inbox.refuse.lock().unwrap() = 1;
    sandbox.register_webhook(&inbox.start().await);
    customers(&sandbox, 1);
    let both = async {
        while inbox.kinds().len() < 2 {
            inbox.arrived.notified().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), both).await.unwrap();
    let bodies = inbox.bodies.lock().unwrap();
    assert_eq!(bodies[0].1, bodies[1].1, "the same event");
}

#[tokio::test]
async fn tiers_discounts_and_failures_are_billed() {
    let sandbox = sandbox().await;
    let customer = customers(&sandbox, 1).remove(0);
    let post = |path: &str, form: Value| sandbox.call("POST", path, &form).unwrap();
    let price = post(
        "/v1/prices",
        json!({
            "currency": "usd", "product_data": {"name": "Seats"}, "recurring": {"interval": "month"},
            "billing_scheme": "tiered", "tiers_mode": "graduated",
            "tiers": [{"up_to": "5", "unit_amount": "700", "flat_amount": "100"}, {"up_to": "inf", "unit_amount": "500"}],
        }),
    );
    post("/v1/coupons", json!({"id": "TEN", "percent_off": "10", "duration": "forever"}));
    let subscription = post(
        "/v1/subscriptions",
        json!({"customer": customer, "items": [{"price": price["id"], "quantity": "8"}], "discounts": [{"coupon": "TEN"}]}),
    );
    // 5 at 7.00 and 1.00 flat, 3 at 5.00, less a tenth.
    let charge = sandbox.object(Kind::Charges, &sandbox.ids(Kind::Charges)[0]).unwrap();
    assert_eq!(charge["amount"], (5 * 700 + 100 + 3 * 500) * 9 / 10);
    let id = subscription["id"].as_str().unwrap();
    sandbox.bill(id, false).unwrap();
    assert_eq!(sandbox.object(Kind::Subscriptions, id).unwrap()["status"], "past_due");
    assert_eq!(sandbox.object(Kind::Customers, &customer).unwrap()["delinquent"], true);
}

/// The status of an answer, or of its headers, and its body, where there is one.
async fn raw(sandbox: &StripeSandbox, path: &str) -> (Option<u16>, http::HeaderMap, Option<Vec<u8>>) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let call = client
        .get(sandbox.base_url() + path)
        .header("authorization", format!("Bearer {}", sandbox.api_key()));
    match call.send().await {
        Ok(answer) => {
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            (Some(status), headers, answer.bytes().await.ok().map(|body| body.to_vec()))
        }
        Err(_) => (None, http::HeaderMap::new(), None),
    }
}

#[tokio::test]
async fn every_fault_spoils_a_call_in_its_way() {
    let sandbox = sandbox().await;
    let customer = customers(&sandbox, 1).remove(0);
    let path = format!("/v1/customers/{customer}");
    let good = raw(&sandbox, &path).await.2.unwrap();
    let json = |body: &[u8]| serde_json::from_slice::<Value>(body);
    let spoilt = async |fault: Fault| {
        sandbox.faults().add(FaultRule::next("/v1/customers/", fault));
        let answer = raw(&sandbox, &path).await;
        assert_eq!(raw(&sandbox, &path).await.2.as_deref(), Some(good.as_slice()), "the next call goes well");
        answer
    };

    for (retry_after, seconds) in [(None, None), (Some("7"), Some("7"))] {
        let fault = Fault::TooManyRequests { retry_after: retry_after.map(str::to_owned) };
        let (status, headers, body) = spoilt(fault).await;
        assert_eq!(status, Some(429));
        assert_eq!(headers.get("retry-after").map(|v| v.to_str().unwrap()), seconds);
        assert_eq!(json(&body.unwrap()).unwrap()["error"]["code"], "rate_limit");
    }
    let (status, _, body) = spoilt(Fault::Status(503)).await;
    assert_eq!((status, &json(&body.unwrap()).unwrap()["error"]["type"]), (Some(503), &json!("api_error")));
    for fault in [Fault::CutBody, Fault::NoBody] {
        let (status, headers, body) = spoilt(fault.clone()).await;
        // How much of the headers a client sees before the connection closes is chance.
        assert!(body.is_none(), "{fault:?}");
        if status.is_some() {
            assert_eq!(headers["content-length"], good.len().to_string(), "{fault:?}");
        }
    }
    let (status, _, body) = spoilt(Fault::TruncatedJson).await;
    assert_eq!((status, json(&body.unwrap()).unwrap_err().is_eof()), (Some(200), true));
    for fault in [Fault::Html, Fault::Garbage] {
        let (status, _, body) = spoilt(fault.clone()).await;
        assert_eq!((status, json(&body.unwrap()).is_err()), (Some(200), true), "{fault:?}");
    }
    let (status, _, body) = spoilt(Fault::ErrorWith200).await;
    assert_eq!((status, json(&body.unwrap()).unwrap()["error"].is_object()), (Some(200), true));
    let (status, _, body) = spoilt(Fault::Slow(std::time::Duration::from_millis(1))).await;
    assert_eq!((status, body.as_deref()), (Some(200), Some(good.as_slice())));

    sandbox.faults().add(FaultRule::next("/v1/customers?", Fault::BadItem));
    let (_, page) = get(&sandbox, "/v1/customers").await;
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
    assert!(page["data"][0]["id"].is_object() && page["data"][1]["id"].is_string());

    sandbox.faults().add(FaultRule::next("/v1/customers/", Fault::Stall));
    let stalled = raw(&sandbox, &path);
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(50), stalled).await.is_err(),
        "no answer comes"
    );
}

#[tokio::test]
async fn objects_change_between_two_pages_and_between_list_and_read() {
    let sandbox = sandbox().await;
    let mut made = customers(&sandbox, 4);
    made.reverse();
    let _ = sandbox.take_events();
    let write = |id: &str, form: Value| Fault::ThenWrite {
        method: "POST",
        path: format!("/v1/customers/{id}"),
        form,
    };
    sandbox.faults().add(FaultRule::next("/v1/customers?", write(&made[3], json!({"name": "new"}))));
    let delete =
        Fault::ThenWrite { method: "DELETE", path: format!("/v1/customers/{}", made[2]), form: json!({}) };
    sandbox.faults().add(FaultRule::next("/v1/customers?", delete));
    let (_, first) = get(&sandbox, "/v1/customers?limit=2").await;
    assert_eq!(ids(&first), made[..2]);
    // The second page is of the time after the first write, and the second write is seen by the read.
    let (_, second) = get(&sandbox, &format!("/v1/customers?limit=2&starting_after={}", made[1])).await;
    assert_eq!((ids(&second), &second["data"][1]["name"]), (made[2..].to_vec(), &json!("new")));
    let (_, read) = get(&sandbox, &format!("/v1/customers/{}", made[2])).await;
    assert_eq!(read["deleted"], true);
    let kinds: Vec<String> = sandbox.take_events().into_iter().map(|e| e.kind).collect();
    assert_eq!(kinds, ["customer.updated", "customer.deleted"]);
}

#[tokio::test]
async fn webhooks_that_are_late_come_when_they_are_sent_for() {
    let sandbox = sandbox().await;
    let inbox = Inbox::default();
    sandbox.register_webhook(&inbox.start().await);
    customers(&sandbox, 40);
    let mut faults = WebhookFaults { lost: 200, doubled: 200, late: 300, ..WebhookFaults::new(3) };
    let (delivered, sending) = sandbox.send(&mut faults).await;
    assert_eq!((delivered.len(), inbox.kinds().len()), (sending.now.len(), sending.now.len()));
    assert!(!sending.later.is_empty() && !sending.lost.is_empty() && sending.doubled > 0);
    assert_eq!(sandbox.send_late().await.len(), sending.later.len());
    assert!(sandbox.send_late().await.is_empty() && sandbox.take_events().is_empty());
}
