use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_700_000_000;
const BODY: &[u8] = b"{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\"\n}";
const RIGHT: &str = "4f1cd7feda9826e746b7d482c4badebb657398df1099e1046364f6196a230150";
const SECRET: &str = "whsec_test_secret";

fn at(seconds: i64) -> Timestamp {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// The documents' recommendation, and our default.
const TOLERANCE: std::time::Duration = std::time::Duration::from_secs(300);

fn check(secrets: &[&str], headers: &[&str], body: &[u8], now: i64) -> Result<(), SignatureError> {
    let mut map = HeaderMap::new();
    for header in headers {
        map.append(HEADER, HeaderValue::from_str(header).unwrap());
    }
    check_map(secrets, &map, body, now)
}

fn check_map(secrets: &[&str], headers: &HeaderMap, body: &[u8], now: i64) -> Result<(), SignatureError> {
    let secrets: Vec<SecretString> = secrets.iter().map(|s| SecretString::from(*s)).collect();
    let request = RawRequest {
        method: "POST",
        url: "https://example.com/api/integrations/stripe/webhook/con_1",
        headers,
        body,
        received_at: at(now),
        tolerance: TOLERANCE,
    };
    Webhooks.verify(&secrets, &request)
}

/// W1, the vendors' vectors.
#[test]
fn published_vectors_are_judged_as_the_vendor_does() {
    let vectors = "data/signatures/signature_vectors.json";
    let Some(path) = connector_testkit::parts::shared_or_skip("data", vectors) else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let mut judged = 0;
    for vector in all["stripe"].as_array().unwrap() {
        let Some(valid) = vector["valid"].as_bool() else { continue };
        let secret = vector["secret"].as_str().unwrap();
        let body = vector["payload"].as_str().unwrap().as_bytes();
        let header = vector["header"].as_str().unwrap();
        let now = vector["timestamp"].as_i64().unwrap();
        let verdict = check(&[secret], &[header], body, now);
        assert_eq!(verdict.is_ok(), valid, "{}: {verdict:?}", vector["name"]);
        judged += 1;
    }
    assert_eq!(judged, 12);
}

/// W1, where we are stricter than the vendor's libraries, and the rest of the header grammar.
#[test]
fn the_header_is_read_strictly() {
    let right = format!("t={NOW},v1={RIGHT}");
    let accept: &[(&[&str], String, i64)] = &[
        (&[SECRET], right.clone(), NOW),
        (&["whsec_old", SECRET], right.clone(), NOW),
        (&[SECRET], right.clone(), NOW + 300),
        (&[SECRET], right.clone(), NOW - 300),
        (&[SECRET], format!("v1={RIGHT},t={NOW}"), NOW),
        (&[SECRET], format!("t={NOW},v1=short,v1={RIGHT},v2=x,junk"), NOW),
    ];
    for (secrets, header, now) in accept {
        assert_eq!(check(secrets, &[header], BODY, *now), Ok(()), "{header}");
    }
    use SignatureError::{Expired, Malformed, Mismatch, Missing, NoSecret};
    let refuse: &[(&[&str], String, i64, SignatureError)] = &[
        (&[SECRET], right.clone(), NOW + 301, Expired),
        (&[SECRET], right.clone(), NOW - 301, Expired),
        (&[SECRET], right.clone(), NOW - 100_000, Expired),
        (&[], right.clone(), NOW, NoSecret),
        (&[""], right.clone(), NOW, NoSecret),
        (&["whsec_other"], right.clone(), NOW, Mismatch),
        (&[SECRET], format!("t={NOW}abc,v1={RIGHT}"), NOW, Malformed("timestamp is not an integer")),
        (&[SECRET], format!("t=+{NOW},v1={RIGHT}"), NOW, Malformed("timestamp is not an integer")),
        (&[SECRET], format!("t=,v1={RIGHT}"), NOW, Malformed("timestamp is not an integer")),
        (&[SECRET], format!("t={NOW},t={NOW},v1={RIGHT}"), NOW, Malformed("more than one timestamp")),
        (&[SECRET], format!("v1={RIGHT}"), NOW, Malformed("no timestamp")),
        (&[SECRET], format!("t={NOW}, v1={RIGHT}"), NOW, Malformed("no v1 signature")),
        (&[SECRET], format!("t={NOW},v1={}", RIGHT.to_uppercase()), NOW, Malformed("no v1 signature")),
        (&[SECRET], format!("t={NOW},v1={}", &RIGHT[..63]), NOW, Malformed("no v1 signature")),
        (&[SECRET], format!("t={NOW},v0={RIGHT}"), NOW, Malformed("no v1 signature")),
        (
            &[SECRET],
            format!("t={}{}", NOW, format!(",v1={RIGHT}").repeat(17)),
            NOW,
            Malformed("too many signatures"),
        ),
        (&[SECRET], String::new(), NOW, Missing),
    ];
    for (secrets, header, now, why) in refuse {
        assert_eq!(check(secrets, &[header], BODY, *now).as_ref(), Err(why), "{header}");
    }
    assert_eq!(check(&[SECRET], &[], BODY, NOW), Err(Missing));
    assert_eq!(
        check(&[SECRET], &[&right, &right], BODY, NOW),
        Err(Malformed("more than one signature header"))
    );
    assert_eq!(
        check(&[SECRET], &[&sign(&SECRET.into(), b"", at(NOW))], b"", NOW),
        Err(Malformed("empty body"))
    );
    // An empty secret signs what anybody could sign.
    assert_eq!(check(&["", SECRET], &[&sign(&"".into(), BODY, at(NOW))], BODY, NOW), Err(Mismatch));
}

#[test]
fn our_own_signature_is_the_vendors() {
    assert_eq!(sign(&SECRET.into(), BODY, at(NOW)), format!("t={NOW},v1={RIGHT}"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// W1: one bit changed anywhere in body, timestamp or signature is refused.
    #[test]
    fn no_one_bit_mutation_is_accepted(body in proptest::collection::vec(any::<u8>(), 1..200), bit in any::<proptest::sample::Index>()) {
        let header = sign(&SECRET.into(), &body, at(NOW));
        prop_assert_eq!(check(&[SECRET], &[&header], &body, NOW), Ok(()));
        // "t=" and ",v1=" are grammar and no secret, and are flipped as well.
        let mut header = header.into_bytes();
        let mut body = body;
        let n = bit.index((header.len() + body.len()) * 8);
        let (byte, mask) = (n / 8, 1u8 << (n % 8));
        match byte.checked_sub(header.len()) {
            None => header[byte] ^= mask,
            Some(byte) => body[byte] ^= mask,
        }
        let mut headers = HeaderMap::new();
        // What no header can hold never arrives.
        if let Ok(value) = HeaderValue::from_bytes(&header) {
            headers.insert(HEADER, value);
            prop_assert!(check_map(&[SECRET], &headers, &body, NOW).is_err());
        }
    }

    /// Whatever the body is, routing answers and does not panic.
    #[test]
    fn any_body_is_routed_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = route(&body);
    }
}

fn route(body: &[u8]) -> Result<Event, String> {
    let headers = HeaderMap::new();
    let request = RawRequest {
        method: "POST",
        url: "",
        headers: &headers,
        body,
        received_at: at(NOW),
        tolerance: TOLERANCE,
    };
    Webhooks.route(&request).map(|mut events| events.remove(0))
}

fn event(kind: &str, object: Value) -> Event {
    let body = serde_json::json!({
        "id": "evt_1", "object": "event", "type": kind, "created": NOW, "livemode": false, "data": {"object": object},
    });
    route(body.to_string().as_bytes()).unwrap()
}

fn keys(keys: &[RecordKey]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

#[test]
fn an_event_names_what_to_read_again() {
    let object = serde_json::json!({
        "id": "x_1", "customer": "cus_1", "charge": {"id": "ch_1"}, "invoice": "in_1", "latest_charge": "ch_2",
        "subscription": null, "released_subscription": "sub_9",
        "parent": {"subscription_details": {"subscription": "sub_1"}},
        "balance_transaction": "txn_1", "balance_transactions": [{"id": "txn_2"}],
        "payment": {"type": "charge", "charge": "ch_3"},
        "refunds": {"data": [{"id": "re_1"}, {"id": "re_2"}]},
        "promotion": {"type": "coupon", "coupon": "co_1"},
    });
    for (kind, touches, tombstones) in [
        ("customer.created", &["customers/x_1"][..], &[][..]),
        ("customer.updated", &["customers/x_1"], &[]),
        ("customer.deleted", &[], &["customers/x_1"]),
        ("customer.subscription.deleted", &["subscriptions/x_1"], &[]),
        ("customer.subscription.trial_will_end", &["subscriptions/x_1"], &[]),
        ("customer.discount.deleted", &["customers/cus_1"], &[]),
        ("product.updated", &["products/x_1"], &[]),
        ("product.deleted", &[], &["products/x_1"]),
        ("price.created", &["prices/x_1"], &[]),
        ("plan.deleted", &[], &["prices/x_1"]),
        ("coupon.deleted", &[], &["coupons/x_1"]),
        ("invoice.upcoming", &[], &[]),
        ("invoice.finalized", &["invoices/x_1"], &[]),
        ("invoice.deleted", &[], &["invoices/x_1"]),
        (
            "invoice.payment_failed",
            &["invoices/x_1", "subscriptions/sub_1", "customers/cus_1", "charges/ch_1"],
            &[],
        ),
        ("invoice_payment.paid", &["invoices/in_1", "charges/ch_3"], &[]),
        (
            "charge.refunded",
            &["charges/x_1", "invoices/in_1", "balance_transactions/txn_1", "refunds/re_1", "refunds/re_2"],
            &[],
        ),
        ("charge.refund.updated", &["refunds/x_1", "charges/ch_1", "balance_transactions/txn_1"], &[]),
        ("refund.created", &["refunds/x_1", "charges/ch_1", "balance_transactions/txn_1"], &[]),
        ("charge.dispute.created", &["disputes/x_1", "charges/ch_1", "balance_transactions/txn_2"], &[]),
        ("tax_rate.updated", &["tax_rates/x_1"], &[]),
        ("payment_intent.succeeded", &["charges/ch_2", "invoices/in_1"], &[]),
        ("subscription_schedule.released", &["subscription_schedules/x_1", "subscriptions/sub_9"], &[]),
        ("checkout.session.completed", &["customers/cus_1", "invoices/in_1"], &[]),
        ("checkout.session.async_payment_failed", &["customers/cus_1", "invoices/in_1"], &[]),
        ("customer.subscription.paused", &["subscriptions/x_1"], &[]),
        ("customer.subscription.resumed", &["subscriptions/x_1"], &[]),
        ("customer.subscription.pending_update_expired", &["subscriptions/x_1"], &[]),
        ("invoice.voided", &["invoices/x_1", "subscriptions/sub_1", "customers/cus_1", "charges/ch_1"], &[]),
        (
            "invoice.marked_uncollectible",
            &["invoices/x_1", "subscriptions/sub_1", "customers/cus_1", "charges/ch_1"],
            &[],
        ),
        (
            "charge.dispute.funds_withdrawn",
            &["disputes/x_1", "charges/ch_1", "balance_transactions/txn_2"],
            &[],
        ),
        (
            "charge.dispute.funds_reinstated",
            &["disputes/x_1", "charges/ch_1", "balance_transactions/txn_2"],
            &[],
        ),
        ("refund.failed", &["refunds/x_1", "charges/ch_1", "balance_transactions/txn_1"], &[]),
        ("credit_note.voided", &["invoices/in_1", "customers/cus_1"], &[]),
    ] {
        let event = event(kind, object.clone());
        assert!(event.known, "{kind}");
        assert_eq!(keys(&event.touches), touches, "{kind}");
        assert_eq!(keys(&event.tombstones), tombstones, "{kind}");
        assert_eq!((event.id.as_str(), event.live, event.created), ("evt_1", Some(false), Some(at(NOW))));
    }
    let code = event("promotion_code.updated", object.clone());
    assert!(code.known && keys(&code.touches).contains(&"coupons/co_1".to_owned()), "{code:?}");
    let unknown = event("radar.early_fraud_warning.created", object);
    assert!(!unknown.known && unknown.touches.is_empty());
}

#[test]
fn every_registered_type_is_known() {
    for kind in EVENTS {
        assert!(event(kind, serde_json::json!({"id": "x_1"})).known, "{kind}");
    }
    assert!(EVENTS.is_sorted());
}

#[test]
fn only_declared_streams_are_named() {
    let names: Vec<&str> = crate::streams::ALL.iter().map(|s| s.spec.name).collect();
    let object =
        serde_json::json!({"id": "x", "customer": "c", "charge": "h", "invoice": "i", "subscription": "s"});
    for kind in EVENTS {
        let event = event(kind, object.clone());
        for key in event.touches.iter().chain(&event.tombstones) {
            assert!(names.contains(&key.stream.as_str()), "{kind}: {key}");
        }
    }
}

#[test]
fn a_thin_event_names_its_object() {
    let body = serde_json::json!({
        "id": "evt_test_1", "object": "v2.core.event", "type": "v1.customer.updated", "livemode": true,
        "created": "2026-11-22T10:00:00.000Z", "context": "acct_1",
        "related_object": {"id": "cus_1", "type": "customer", "url": "/v1/customers/cus_1"},
    });
    let event = route(body.to_string().as_bytes()).unwrap();
    assert_eq!(keys(&event.touches), ["customers/cus_1"]);
    assert_eq!((event.account.as_deref(), event.live, event.known), (Some("acct_1"), Some(true), true));
    assert_eq!(event.created.unwrap().to_rfc3339(), "2026-11-22T10:00:00+00:00");
    for (kind, object, id, named) in [
        ("v1.customer.subscription.paused", "subscription", "sub_1", "subscriptions/sub_1"),
        ("v1.charge.refund.updated", "refund", "re_1", "refunds/re_1"),
        ("v1.charge.dispute.funds_withdrawn", "dispute", "dp_1", "disputes/dp_1"),
        ("v1.invoice.voided", "invoice", "in_1", "invoices/in_1"),
        ("v1.price.updated", "price", "price_1", "prices/price_1"),
        ("v1.subscription_schedule.released", "subscription_schedule", "s_1", "subscription_schedules/s_1"),
    ] {
        let mut body = body.clone();
        (body["type"], body["related_object"]) =
            (kind.into(), serde_json::json!({"id": id, "type": object, "url": "/v1/x"}));
        assert_eq!(keys(&route(body.to_string().as_bytes()).unwrap().touches), [named], "{kind}");
    }
    // Nothing was ever read of it: a thin deletion is believed as a fat one is.
    let mut gone = body.clone();
    gone["type"] = "v1.customer.deleted".into();
    assert_eq!(keys(&route(gone.to_string().as_bytes()).unwrap().tombstones), ["customers/cus_1"]);
}

/// A thin event whose object is not kept names what cannot be known from it: nothing.
#[test]
fn a_thin_event_of_a_part_names_nothing() {
    let body = serde_json::json!({
        "id": "evt_1", "object": "v2.core.event", "type": "v1.customer.discount.created",
        "related_object": {"id": "di_1", "type": "discount", "url": "/v1/x"},
    });
    let event = route(body.to_string().as_bytes()).unwrap();
    assert!(event.known && event.touches.is_empty() && event.tombstones.is_empty());
}

/// Both kinds: the clock's own events, and those of the objects on it.
#[test]
fn what_a_test_clock_simulates_is_told_apart() {
    let of = |kind: &str, object: Value| event(kind, object).simulated;
    assert_eq!(of("customer.updated", serde_json::json!({"id": "cus_1", "test_clock": null})), None);
    let on = serde_json::json!({"id": "sub_1", "test_clock": "clock_1"});
    assert_eq!(of("customer.subscription.updated", on).as_deref(), Some("clock_1"));
    let expanded = serde_json::json!({"id": "in_1", "test_clock": {"id": "clock_2"}});
    assert_eq!(of("invoice.paid", expanded).as_deref(), Some("clock_2"));
    let own = event("test_helpers.test_clock.ready", serde_json::json!({"id": "clock_3"}));
    assert!(own.known && own.touches.is_empty());
    assert_eq!(own.simulated.as_deref(), Some("clock_3"));
}

/// The reference's list of what a Stripe integration listens to.
#[test]
fn the_references_types_are_registered() {
    for kind in [
        "customer.created",
        "customer.updated",
        "customer.deleted",
        "charge.succeeded",
        "charge.refunded",
        "payment_intent.succeeded",
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
        "invoice.paid",
        "invoice.payment_failed",
    ] {
        assert!(EVENTS.contains(&kind), "{kind}");
    }
}

#[test]
fn connect_events_carry_their_account() {
    let body =
        br#"{"id":"evt_1","type":"customer.created","account":"acct_9","data":{"object":{"id":"cus_1"}}}"#;
    let event = route(body).unwrap();
    assert_eq!((event.account.as_deref(), event.live, event.created), (Some("acct_9"), None, None));
}

#[test]
fn what_is_no_event_is_refused_without_quoting_it() {
    for bad in
        ["", "null", "[]", "s3cret", r#"{"id":"evt_1"}"#, r#"{"type":"x"}"#, r#"{"id":5,"type":"s3cret"}"#]
    {
        let why = route(bad.as_bytes()).unwrap_err();
        assert!(!why.contains("s3cret"), "{why}");
    }
}
