//! Deliveries, good and bad.

use connector_sdk::{Clock, DynConnector, RawRequest, SignatureError, SystemClock, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;

use super::{Delivery, Provider, fail, ok};

fn verify(
    connector: &dyn DynConnector,
    secrets: &[SecretString],
    delivery: &Delivery,
    received_at: Timestamp,
) -> Result<(), SignatureError> {
    let source = connector.webhooks().unwrap_or_else(|| fail("a delivery and no webhook side"));
    source.verify(secrets, &request(delivery, received_at))
}

fn request(delivery: &Delivery, received_at: Timestamp) -> RawRequest<'_> {
    RawRequest {
        method: "POST",
        url: &delivery.url,
        headers: &delivery.headers,
        body: &delivery.body,
        received_at,
        tolerance: delivery.tolerance.unwrap_or_default(),
    }
}

/// The provider's delivery; `None` only for a connector without a webhook side, which then names no events either.
fn delivery<P: Provider>(connector: &dyn DynConnector, provider: &P, at: Timestamp) -> Option<Delivery> {
    let (delivery, source) = (provider.delivery(at), connector.webhooks());
    assert_eq!(
        delivery.is_some(),
        source.is_some(),
        "a connector with a webhook side is tested by a delivery, and one without has none"
    );
    assert!(source.is_some() || connector.spec().webhook_events.is_empty(), "events and no webhook side");
    delivery
}

/// A delivery verifies with its secret, alone or among others, now and at the border of the tolerance.
pub async fn good_deliveries_are_taken<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    let now = SystemClock.now();
    let Some(delivery) = delivery(connector, &provider, now) else { return };
    let other = SecretString::from("another secret");
    let secret = &delivery.secret;
    for secrets in
        [vec![secret.clone()], vec![other.clone(), secret.clone()], vec![secret.clone(), other.clone()]]
    {
        assert_eq!(verify(connector, &secrets, &delivery, now), Ok(()));
        // A duplicate is as good as the first: telling it apart is the inbox's part.
        assert_eq!(verify(connector, &secrets, &delivery, now), Ok(()));
    }
    if let Some(tolerance) = delivery.tolerance {
        for border in [now + tolerance, now - tolerance] {
            assert_eq!(verify(connector, std::slice::from_ref(secret), &delivery, border), Ok(()));
        }
    }
}

/// Wrong and missing secrets, missing, doubled and changed signatures, changed bodies.
pub async fn bad_deliveries_are_refused<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    let now = SystemClock.now();
    let Some(delivery) = delivery(connector, &provider, now) else { return };
    let right = vec![delivery.secret.clone()];
    let refused = |secrets: &[SecretString], delivery: &Delivery, what: &str| {
        assert!(verify(connector, secrets, delivery, now).is_err(), "{what} was taken");
    };
    refused(&[], &delivery, "no secret");
    refused(&[SecretString::from("")], &delivery, "an empty secret");
    refused(&[SecretString::from("another secret")], &delivery, "another secret");
    let bare_url = delivery.url.split('?').next().unwrap_or_default().to_owned();
    let (in_url, in_headers) = (changed_signature_urls(&delivery.url), signature_headers(&delivery.headers));
    assert!(!(in_url.is_empty() && in_headers.is_empty()), "a delivery is signed in its URL or in a header");
    let unsigned = Delivery { headers: HeaderMap::new(), url: bare_url, ..delivery.clone() };
    refused(&right, &unsigned, "no signature");
    for url in in_url {
        refused(&right, &Delivery { url, ..delivery.clone() }, "a changed signature in the URL");
    }
    let empty = Delivery { body: Vec::new(), ..delivery.clone() };
    refused(&right, &empty, "an empty body");
    for n in 0..delivery.body.len() {
        let mut body = delivery.body.clone();
        if let Some(byte) = body.get_mut(n) {
            *byte ^= 1;
        }
        refused(&right, &Delivery { body, ..delivery.clone() }, "a changed body");
    }
    let longer = Delivery { body: [delivery.body.as_slice(), b"\n"].concat(), ..delivery.clone() };
    refused(&right, &longer, "a longer body");
    for (name, value) in in_headers {
        for n in 0..value.as_bytes().len() {
            let mut bytes = value.as_bytes().to_vec();
            if let Some(byte) = bytes.get_mut(n) {
                *byte ^= 1;
            }
            let Ok(changed) = HeaderValue::from_bytes(&bytes) else { continue };
            let mut headers = delivery.headers.clone();
            headers.insert(name.clone(), changed);
            refused(&right, &Delivery { headers, ..delivery.clone() }, "a changed signature header");
        }
        let mut headers = delivery.headers.clone();
        headers.append(name.clone(), value.clone());
        refused(&right, &Delivery { headers, ..delivery.clone() }, "a doubled signature header");
    }
}

/// The URL of a provider that signs in it, with each character of the signature changed, without it, and with it
/// twice. None for a URL without.
fn changed_signature_urls(url: &str) -> Vec<String> {
    let Some((start, rest)) = url.split_once("signature=") else { return Vec::new() };
    let (signature, end) = rest.split_at(rest.find('&').unwrap_or(rest.len()));
    let mut out = vec![format!("{start}{end}"), format!("{url}&signature={signature}")];
    for n in 0..signature.len() {
        let mut bytes = signature.as_bytes().to_vec();
        if let Some(byte) = bytes.get_mut(n) {
            *byte ^= 1;
        }
        if let Ok(changed) = String::from_utf8(bytes) {
            out.push(format!("{start}signature={changed}{end}"));
        }
    }
    out
}

fn signature_headers(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    headers
        .iter()
        .filter(|(name, _)| name.as_str().contains("signature"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// A delivery that is older than the tolerance, or from the future, is refused; where no time is signed, none is.
pub async fn old_and_future_deliveries_are_refused<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    let now = SystemClock.now();
    let Some(delivery) = delivery(connector, &provider, now) else { return };
    let year = chrono::TimeDelta::days(365);
    let Some(tolerance) = delivery.tolerance else {
        for off in [now + year, now - year] {
            let verdict = verify(connector, std::slice::from_ref(&delivery.secret), &delivery, off);
            assert_eq!(verdict, Ok(()), "a time is signed, and no tolerance is stated");
        }
        return;
    };
    let second = chrono::TimeDelta::seconds(1);
    for off in [now + tolerance + second, now - tolerance - second, now - year] {
        let verdict = verify(connector, std::slice::from_ref(&delivery.secret), &delivery, off);
        assert_eq!(verdict, Err(SignatureError::Expired), "received at {off}, signed at {now}");
    }
}

/// The same delivery gives the same events; they have ids, and name declared streams only. What is no
/// event is refused.
pub async fn routing_is_pure_and_names_declared_streams<P: Provider>(connector: &dyn DynConnector) {
    let provider = P::start().await;
    let now = SystemClock.now();
    let Some(delivery) = delivery(connector, &provider, now) else { return };
    let source = connector.webhooks().unwrap_or_else(|| fail("no webhook side"));
    let events = ok(source.route(&request(&delivery, now)), "route");
    assert!(!events.is_empty());
    assert_eq!(ok(source.route(&request(&delivery, now)), "again"), events);
    let spec = connector.spec();
    for event in &events {
        assert!(!event.id.is_empty() && !event.kind.is_empty() && event.known, "{event:?}");
        assert!(!event.touches.is_empty() || !event.tombstones.is_empty(), "{event:?} names something");
        for key in event.touches.iter().chain(&event.tombstones) {
            assert!(spec.stream(&key.stream).is_some(), "{event:?}");
        }
    }
    for bad in [&b""[..], b"null", b"[", b"\xff\xfe", b"\"text\""] {
        let delivery = Delivery { body: bad.to_vec(), ..delivery.clone() };
        assert!(source.route(&request(&delivery, now)).is_err(), "{bad:?}");
    }
}
