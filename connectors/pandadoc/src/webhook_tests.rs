use chrono::DateTime;
use connector_testkit::parts::shared_or_skip;
use http::HeaderMap;
use proptest::prelude::*;

use super::*;

const KEY: &str = "GCQsdCMoVCcmXZo8yHiNIA";

fn at<'a>(url: &'a str, body: &'a [u8], headers: &'a HeaderMap) -> RawRequest<'a> {
    let received_at = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
    RawRequest { method: "POST", url, headers, body, received_at, tolerance: std::time::Duration::ZERO }
}

fn verify(key: &str, url: &str, body: &[u8]) -> Result<(), SignatureError> {
    Webhooks.verify(&[SecretString::from(key)], &at(url, body, &HeaderMap::new()))
}

fn route(body: &str) -> Result<Vec<Event>, String> {
    Webhooks.route(&at("", body.as_bytes(), &HeaderMap::new()))
}

#[test]
fn the_vectors_hold() {
    let Some(path) = shared_or_skip("data", "data/signatures/signature_vectors.json") else { return };
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let vectors = all["pandadoc"].as_array().unwrap();
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let (body, signature, key) = (text("body"), text("signature"), text("shared_key"));
        let url = format!(
            "https://halo.example/api/integrations/pandadoc/webhook?team=org_1&signature={signature}"
        );
        let verdict = verify(key, &url, body.as_bytes());
        assert_eq!(verdict.is_ok(), vector["valid"].as_bool().unwrap(), "{verdict:?}");
        assert_eq!(sign(&SecretString::from(key), body.as_bytes()) == signature, verdict.is_ok());
        let events = route(body).unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].touches, [RecordKey::new(DOCUMENTS, "aahcZhiB6pKRbjagoZrrrr")]);
    }
}

#[test]
fn the_signature_is_read_from_wherever_the_url_has_it() {
    let body = b"[]";
    let s = sign(&SecretString::from(KEY), body);
    for good in [
        format!("https://halo.example/webhook?team=org_1&signature={s}"),
        format!("https://halo.example/webhook?signature={s}&team=a%26signature%3Db"),
        format!("/api/integrations/pandadoc/webhook?team=org_1&signature={s}"),
        format!("http://[::1]:9/w?signature={s}#x"),
    ] {
        assert_eq!(verify(KEY, &good, body), Ok(()), "{good}");
    }
    let malformed = |text: &'static str| Err(SignatureError::Malformed(text));
    let no_hex = "the signature is no SHA-256 in lower-case hex";
    for (bad, verdict) in [
        (String::new(), Err(SignatureError::Missing)),
        ("https://halo.example/webhook".to_owned(), Err(SignatureError::Missing)),
        ("/w?signature=".to_owned(), Err(SignatureError::Missing)),
        (format!("/w?Signature={s}"), Err(SignatureError::Missing)),
        (format!("/w#signature={s}"), Err(SignatureError::Missing)),
        (format!("/w?signature={s}&signature={s}"), malformed("more than one signature")),
        (format!("/w?signature={}", s.to_uppercase()), malformed(no_hex)),
        (format!("/w?signature={}", &s[1..]), malformed(no_hex)),
        (format!("/w?signature={s}00"), malformed(no_hex)),
        (format!("/w?signature=sha256={s}"), malformed(no_hex)),
        (format!("/w?signature={}", "0".repeat(64)), Err(SignatureError::Mismatch)),
    ] {
        assert_eq!(verify(KEY, &bad, body), verdict, "{bad}");
    }
    let url = format!("/w?signature={s}");
    assert_eq!(verify("other", &url, body), Err(SignatureError::Mismatch));
    assert_eq!(verify("", &url, body), Err(SignatureError::NoSecret));
    assert_eq!(verify(KEY, &url, b""), malformed("empty body"));
}

#[test]
fn a_body_is_an_array_of_notifications() {
    let state = r#"{"event":"document_state_changed","data":{"id":"a","status":"document.sent","date_modified":"2026-01-02T03:04:05.678901Z"}}"#;
    let gone = r#"{"event":"document_deleted","data":{"id":"b"}}"#;
    let events = route(&format!("[{state},{gone},{state}]")).unwrap();
    assert_eq!(events.len(), 2, "the same one twice is one");
    assert_eq!(
        (&events[0].touches[..], &events[0].tombstones[..]),
        (&[RecordKey::new(DOCUMENTS, "a")][..], &[][..])
    );
    assert_eq!(
        (&events[1].touches[..], &events[1].tombstones[..]),
        (&[][..], &[RecordKey::new(DOCUMENTS, "b")][..])
    );
    assert_eq!(events[0].created.unwrap().to_rfc3339(), "2026-01-02T03:04:05.678901+00:00");
    assert!(events.iter().all(|e| e.known && e.live.is_none() && e.simulated.is_none()));
    // One by itself, in the array of another delivery: the same event.
    assert_eq!(route(state).unwrap()[0].id, events[0].id);
    let later = state.replace("678901", "678902");
    assert_ne!(route(&later).unwrap()[0].id, events[0].id);
}

#[test]
fn names_of_every_list_are_taken_and_strange_ones_are_told_apart() {
    let body = |kind: &str, data: &str| format!(r#"[{{"event":"{kind}","data":{data}}}]"#);
    for kind in EVENTS.iter().chain(ALIASES) {
        let events = route(&body(kind, r#"{"id":"a"}"#)).unwrap();
        assert!(events[0].known, "{kind}");
        assert_eq!(events[0].touches.len() + events[0].tombstones.len(), 1);
    }
    // Not on any list: the state in it says that a document changed.
    assert!(
        route(&body("document_signed_twice", r#"{"id":"a","status":"document.paid"}"#)).unwrap()[0].known
    );
    let strange = &route(&body("something_else", r#"{"id":"a"}"#)).unwrap()[0];
    assert!(!strange.known && strange.touches.len() == 1);
    // About templates: nothing to read here.
    for kind in ["template_created", "content_library_item_created"] {
        let event = &route(&body(kind, r#"{"id":"t"}"#)).unwrap()[0];
        assert!(event.known && event.touches.is_empty() && event.tombstones.is_empty());
    }
    assert_eq!(documents_in(body("document_sent", r#"{"id":"a"}"#).as_bytes()), ["a"]);
    assert!(documents_in(body("template_updated", r#"{"id":"a"}"#).as_bytes()).is_empty());
}

#[test]
fn what_is_no_notification_is_refused_by_name() {
    for (bad, says) in [
        ("", "not JSON"),
        ("[", "not JSON"),
        ("null", "not an object"),
        ("[1]", "not an object"),
        ("[{}]", "event: missing"),
        (r#"[{"event":7,"data":{"id":"a"}}]"#, "event: missing"),
        (r#"[{"event":"document_sent"}]"#, "data: missing"),
        (r#"[{"event":"document_sent","data":{"id":7}}]"#, "data.id: missing"),
        (
            r#"[{"event":"document_sent","data":{"id":"a"}},{"event":"document_sent","data":{}}]"#,
            "[1].data.id",
        ),
    ] {
        let why = route(bad).unwrap_err();
        assert!(why.contains(says), "{bad}: {why}");
    }
    assert_eq!(route("[]").unwrap(), []);
}

proptest! {
    #[test]
    fn garbage_never_panics(url in ".*", body in proptest::collection::vec(any::<u8>(), 0..200), text in ".*") {
        let _ = verify(KEY, &url, &body);
        let _ = verify(KEY, &format!("https://x/?signature={text}"), &body);
        let _ = Webhooks.route(&at(&url, &body, &HeaderMap::new()));
        let _ = route(&text);
        let _ = documents_in(&body);
    }

    #[test]
    fn only_the_right_key_and_the_whole_body_verify(body in proptest::collection::vec(any::<u8>(), 1..100), n in any::<usize>(), bit in 0u8..8) {
        let url = format!("/w?signature={}", sign(&SecretString::from(KEY), &body));
        prop_assert_eq!(verify(KEY, &url, &body), Ok(()));
        let mut changed = body.clone();
        changed[n % body.len()] ^= 1 << bit;
        prop_assert!(verify(KEY, &url, &changed).is_err());
        prop_assert!(verify("another", &url, &body).is_err());
    }
}

/// What is kept of one event says nothing of another, and routes to it alone.
#[test]
fn each_event_has_a_body_of_its_own() {
    let body = r#"[ {"event": "document_updated", "data": {"id": "a"}},
        {"event": "document_deleted", "data": {"id": "b"}} ]"#
        .as_bytes();
    let headers = HeaderMap::new();
    let all = Webhooks.route(&at("", body, &headers)).unwrap();
    assert_eq!(all.len(), 2);
    let bodies = Webhooks.bodies(&at("", body, &headers)).unwrap();
    assert_eq!(bodies.len(), 2);
    for (event, (id, own)) in all.iter().zip(&bodies) {
        assert_eq!(id, &event.id);
        assert_eq!(Webhooks.route(&at("", own, &headers)).unwrap(), std::slice::from_ref(event));
    }
    assert!(Webhooks.bodies(&at("", b"{", &headers)).is_err());
}
