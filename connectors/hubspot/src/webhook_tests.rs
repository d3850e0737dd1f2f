use std::time::Duration;

use chrono::TimeDelta;
use connector_testkit::parts::shared_or_skip;
use connector_testkit::sandbox::hubspot::{sign_v1, sign_v2, sign_v3};
use http::{HeaderName, HeaderValue};
use serde_json::json;

use super::*;

const URL: &str = "https://halo.example/api/integrations/hubspot/webhook/org_1";
const SECRET: &str = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy";
const NOW: i64 = 1_700_000_000_000;

fn at(ms: i64) -> Timestamp {
    DateTime::from_timestamp_millis(ms).unwrap()
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in pairs {
        out.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    out
}

fn request<'a>(url: &'a str, headers: &'a HeaderMap, body: &'a [u8]) -> RawRequest<'a> {
    RawRequest {
        method: "POST",
        url,
        headers,
        body,
        received_at: at(NOW),
        tolerance: Duration::from_secs(300),
    }
}

fn secrets() -> Vec<SecretString> {
    vec![SecretString::from("another"), SecretString::from(SECRET)]
}

fn v3(url: &str, body: &[u8], ms: i64) -> HeaderMap {
    headers(&[
        (SIGNATURE_V3, &sign_v3(SECRET, "POST", url, body, ms)),
        (TIMESTAMP, &ms.to_string()),
        // HubSpot sends the oldest one, too.
        (SIGNATURE, &sign_v1(SECRET, body)),
        (VERSION, "v1"),
    ])
}

/// Vectors of HubSpot's own libraries and documentation.
#[test]
fn vectors_of_hubspot_verify_and_nothing_near_them() {
    let Some(path) = shared_or_skip("data", "data/signatures/signature_vectors.json") else { return };
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let vectors = all["hubspot"].as_array().unwrap();
    assert_eq!(vectors.len(), 11);
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap_or_default();
        let (body, version) = (text("body").as_bytes(), text("version"));
        let time = text("timestamp_ms");
        let signed = if version == "v3" {
            headers(&[(SIGNATURE_V3, text("signature")), (TIMESTAMP, time)])
        } else {
            headers(&[(SIGNATURE, text("signature")), (VERSION, version)])
        };
        let received_at = at(time.parse().unwrap_or(NOW));
        let ask = RawRequest { method: text("method"), received_at, ..request(text("uri"), &signed, body) };
        let right = vec![SecretString::from(text("client_secret"))];
        let settings = json!({"webhook_signatures": [version]});
        assert_eq!(
            Webhooks.verify_with(&settings, &right, &ask).is_ok(),
            vector["valid"] == true,
            "{vector}"
        );
        assert_eq!(
            Webhooks.verify(&right, &ask).is_ok(),
            version == "v3",
            "older ones only where a setting says so"
        );
        assert!(Webhooks.verify_with(&settings, &[SecretString::from("x")], &ask).is_err());
        let longer = [body, b" "].concat();
        assert!(Webhooks.verify_with(&settings, &right, &RawRequest { body: &longer, ..ask }).is_err());
        if version != "v1" {
            let other = RawRequest { url: "https://www.example.com/other", ..ask };
            assert!(Webhooks.verify_with(&settings, &right, &other).is_err(), "{vector}");
            let other = RawRequest { method: "PUT", ..ask };
            assert!(Webhooks.verify_with(&settings, &right, &other).is_err(), "{vector}");
        }
    }
}

#[test]
fn the_signed_time_has_a_window_of_two_sides() {
    let body = b"[{}]";
    for (ms, verdict) in [
        (NOW, Ok(())),
        (NOW - 300_000, Ok(())),
        (NOW + 300_000, Ok(())),
        (NOW - 300_001, Err(SignatureError::Expired)),
        (NOW + 300_001, Err(SignatureError::Expired)),
        (0, Err(SignatureError::Expired)),
        (i64::MAX, Err(SignatureError::Expired)),
    ] {
        assert_eq!(Webhooks.verify(&secrets(), &request(URL, &v3(URL, body, ms), body)), verdict, "{ms}");
    }
    // In seconds it would be a replay of 1970.
    let seconds = v3(URL, body, NOW / 1_000);
    assert_eq!(Webhooks.verify(&secrets(), &request(URL, &seconds, body)), Err(SignatureError::Expired));
}

#[test]
fn the_public_address_is_signed_decoded_or_not() {
    let body = b"[{}]";
    let received = "https://halo.example/hook/a%3Ab%2fc?x=%40%20y";
    for signed in [received, "https://halo.example/hook/a:b/c?x=@%20y"] {
        let ask = request(received, &v3(signed, body, NOW), body).headers.clone();
        assert_eq!(Webhooks.verify(&secrets(), &request(received, &ask, body)), Ok(()), "{signed}");
    }
    // The address behind a proxy is not the one that HubSpot called.
    let inside = v3("http://10.0.0.7:8080/hook", body, NOW);
    assert_eq!(Webhooks.verify(&secrets(), &request(received, &inside, body)), Err(SignatureError::Mismatch));
    assert_eq!(decoded("%"), "%");
    assert_eq!(decoded("a%2"), "a%2");
    assert_eq!(decoded("%3a%zz%é%2C"), ":%zz%é,");
}

#[test]
fn older_signatures_are_taken_only_where_a_setting_says_so() {
    let body = br#"[{"eventId":1}]"#;
    let one = headers(&[(SIGNATURE, &sign_v1(SECRET, body)), (VERSION, "v1")]);
    let two = headers(&[(SIGNATURE, &sign_v2(SECRET, "POST", URL, body)), (VERSION, "v2")]);
    let three = v3(URL, body, NOW);
    let verdict = |names: Value, headers: &HeaderMap| {
        Webhooks.verify_with(&json!({"webhook_signatures": names}), &secrets(), &request(URL, headers, body))
    };
    let refused = |v: Result<(), SignatureError>| matches!(v, Err(SignatureError::Malformed(_)));
    for (names, good) in [
        (json!(["v3"]), [false, false, true]),
        (json!(["v2", "v3"]), [false, true, true]),
        (json!(["v1", "v2", "v3"]), [true, true, true]),
        (json!(["v2"]), [false, true, false]),
        (json!(null), [false, false, true]),
        (json!(["v9"]), [false, false, true]),
    ] {
        for (headers, good) in [&one, &two, &three].into_iter().zip(good) {
            let found = verdict(names.clone(), headers);
            assert_eq!(found.is_ok(), good, "{names} {headers:?}");
            assert!(good || refused(found), "{names} {headers:?}");
        }
    }
    // A bad one of version 3 is not saved by a good one of version 1.
    let mut both = v3(URL, b"[]", NOW);
    both.insert(SIGNATURE, HeaderValue::from_str(&sign_v1(SECRET, body)).unwrap());
    assert_eq!(verdict(json!(["v1", "v3"]), &both), Err(SignatureError::Mismatch));
    // A signature of version 2 is none of version 1.
    let wrong = headers(&[(SIGNATURE, &sign_v2(SECRET, "POST", URL, body)), (VERSION, "v1")]);
    assert_eq!(verdict(json!(["v1", "v2"]), &wrong), Err(SignatureError::Mismatch));
    assert_eq!(verdict(json!(["v1"]), &HeaderMap::new()), Err(SignatureError::Missing));
}

#[test]
fn malformed_signatures_say_so() {
    let body = b"[{}]";
    let good = v3(URL, body, NOW);
    let change = |name: &'static str, value: &str| {
        let mut headers = good.clone();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        Webhooks.verify(&secrets(), &request(URL, &headers, body))
    };
    for (name, value) in [(TIMESTAMP, "now"), (TIMESTAMP, ""), (SIGNATURE_V3, "abc"), (SIGNATURE_V3, "!!!!")]
    {
        assert!(matches!(change(name, value), Err(SignatureError::Malformed(_))), "{name} {value}");
    }
    let mut twice = good.clone();
    twice.append(TIMESTAMP, HeaderValue::from(NOW));
    assert!(matches!(
        Webhooks.verify(&secrets(), &request(URL, &twice, body)),
        Err(SignatureError::Malformed(_))
    ));
    assert_eq!(Webhooks.verify(&[], &request(URL, &good, body)), Err(SignatureError::NoSecret));
}

fn route(body: &Value) -> Vec<Event> {
    let body = body.to_string();
    Webhooks.route(&request(URL, &HeaderMap::new(), body.as_bytes())).unwrap()
}

fn event(kind: &str, own: Value) -> Event {
    let mut event = json!({
        "eventId": 1, "subscriptionId": 2, "portalId": 62515, "appId": 3, "occurredAt": NOW, "attemptNumber": 0,
        "subscriptionType": kind,
    });
    event.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
    route(&json!([event])).remove(0)
}

fn touches(event: &Event) -> Vec<String> {
    event.touches.iter().map(ToString::to_string).collect()
}

#[test]
fn events_name_what_is_to_be_read_again() {
    // Ids are larger than 32 bits.
    let id = json!({"objectId": 406_260_751_575_u64});
    for (kind, stream) in [
        ("company.creation", "companies"),
        ("company.propertyChange", "companies"),
        // It may have been restored meanwhile: reading it tells.
        ("company.deletion", "companies"),
        ("company.restore", "companies"),
        ("contact.creation", "contacts"),
        ("deal.propertyChange", "deals"),
        ("ticket.deletion", "tickets"),
        ("email.creation", "emails"),
        ("note.creation", "notes"),
        ("call.creation", "calls"),
        ("meeting.creation", "meetings"),
    ] {
        let event = event(kind, id.clone());
        assert_eq!(touches(&event), [format!("{stream}/406260751575")], "{kind}");
        assert!(event.known && event.tombstones.is_empty() && EVENTS.contains(&kind), "{kind}");
        assert_eq!((event.account.as_deref(), event.created), (Some("62515"), Some(at(NOW))));
        assert!(!Webhooks.erases(&event));
    }
    for (type_id, stream) in TYPES {
        let mut own = id.clone();
        own["objectTypeId"] = json!(type_id);
        assert_eq!(touches(&event("object.creation", own)), [format!("{stream}/406260751575")]);
    }
    let forgotten = event("contact.privacyDeletion", json!({"objectId": 7}));
    assert_eq!(forgotten.tombstones, [RecordKey::new("contacts", "7")]);
    assert!(forgotten.touches.is_empty() && forgotten.known && Webhooks.erases(&forgotten));
}

#[test]
fn a_merge_names_all_of_it() {
    let own = json!({
        "objectId": 5, "primaryObjectId": 5, "mergedObjectIds": [6, "7"], "newObjectId": 9,
        "numberOfPropertiesMoved": 1,
    });
    let merged = event("company.merge", own);
    assert_eq!(touches(&merged), ["companies/6", "companies/7", "companies/5", "companies/9"]);
}

#[test]
fn associations_touch_the_ends_that_hold_them() {
    let change = |kind: &str, name: &str| {
        let own =
            json!({"associationType": name, "fromObjectId": 1, "toObjectId": 2, "associationRemoved": true});
        touches(&event(kind, own))
    };
    assert_eq!(change("contact.associationChange", "CONTACT_TO_COMPANY"), ["contacts/1"]);
    assert_eq!(change("company.associationChange", "COMPANY_TO_CONTACT"), ["contacts/2"]);
    assert_eq!(change("company.associationChange", "COMPANY_TO_DEAL"), ["deals/2"]);
    assert_eq!(change("deal.associationChange", "DEAL_TO_CONTACT"), ["deals/1"]);
    assert_eq!(change("contact.associationChange", "CONTACT_TO_TICKET"), ["tickets/2"]);
    assert_eq!(change("deal.associationChange", "DEAL_TO_LINE_ITEM"), ["deals/1"]);
    assert_eq!(change("line_item.associationChange", "LINE_ITEM_TO_DEAL"), ["deals/2"]);
    assert!(change("company.associationChange", "COMPANY_TO_COMPANY").is_empty());
    let own =
        json!({"fromObjectTypeId": "0-48", "toObjectTypeId": "0-2", "fromObjectId": "1", "toObjectId": 2});
    assert_eq!(touches(&event("object.associationChange", own)), ["calls/1"]);
}

#[test]
fn a_stored_body_names_more_than_is_read_again() {
    let names =
        |body: &str| Webhooks.names(body.as_bytes()).iter().map(ToString::to_string).collect::<Vec<_>>();
    let ends = r#"[{"subscriptionType": "deal.associationChange", "associationType": "DEAL_TO_CONTACT",
        "fromObjectId": 7, "toObjectId": "123", "attemptNumber": 1}]"#;
    assert_eq!(names(ends), ["deals/7", "contacts/123"]);
    let by_type = r#"[{"subscriptionType": "object.associationChange", "fromObjectTypeId": "0-3",
        "toObjectTypeId": "0-1", "fromObjectId": 7, "toObjectId": 123}]"#;
    assert_eq!(names(by_type), ["deals/7", "contacts/123"]);
    assert_eq!(
        names("[{\"subscriptionType\": \"contact.creation\", \"objectId\": 123\n}]"),
        ["contacts/123"]
    );
    let merge = r#"[{"subscriptionType": "contact.merge", "mergedObjectIds": [1, 2], "primaryObjectId": 3}]"#;
    assert_eq!(names(merge), ["contacts/1", "contacts/2", "contacts/3"]);
    for nothing in ["", "{}", "[1]", "[{\"attemptNumber\": 123}]"] {
        assert!(names(nothing).is_empty(), "{nothing}");
    }
}

#[test]
fn a_batch_is_of_many_portals_and_ids_tell_its_events_apart() {
    let of = |portal: u64, kind: &str, property: &str, attempt: u64| {
        json!({
            "eventId": 1, "portalId": portal, "occurredAt": NOW, "subscriptionType": kind, "objectId": 7,
            "propertyName": property, "attemptNumber": attempt,
        })
    };
    let events = route(&json!([
        of(1, "company.propertyChange", "name", 0),
        of(2, "company.propertyChange", "name", 0),
        of(1, "company.propertyChange", "industry", 0),
        of(1, "contact.propertyChange", "name", 0),
        of(1, "company.propertyChange", "name", 3),
    ]));
    let accounts: Vec<_> = events.iter().map(|e| e.account.clone().unwrap()).collect();
    assert_eq!(accounts, ["1", "2", "1", "1", "1"]);
    let ids: std::collections::BTreeSet<&str> = events.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids.len(), 4, "a repeated attempt is the same event: {ids:?}");
    assert_eq!(events[0].id, events[4].id);
}

#[test]
fn unknown_types_are_counted_and_what_is_no_event_is_refused() {
    for kind in
        ["conversation.creation", "line_item.creation", "company.somethingNew", "product.creation", "x"]
    {
        let event = event(kind, json!({"objectId": 7}));
        assert!(!event.known && event.touches.is_empty() && event.tombstones.is_empty(), "{kind}");
    }
    assert!(!event("object.creation", json!({"objectId": 7, "objectTypeId": "2-99"})).known);
    for bad in [
        json!({}),
        json!([]),
        json!([1]),
        json!([{"eventId": 1, "portalId": 2}]),
        json!([{"eventId": 1, "subscriptionType": "company.creation"}]),
        json!([{"eventId": 1, "portalId": -1, "subscriptionType": "company.creation"}]),
        json!([{"eventId": 1, "portalId": 1.5, "subscriptionType": "company.creation"}]),
    ] {
        let body = bad.to_string();
        assert!(Webhooks.route(&request(URL, &HeaderMap::new(), body.as_bytes())).is_err(), "{bad}");
    }
}

/// The first versions wrote the time as text; their schemas are public.
#[test]
fn events_of_the_public_schemas_are_understood() {
    let Some(folder) = shared_or_skip("data", "data/hubspot/webhook-event-schemas") else { return };
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let name = schema["self"]["name"].as_str().unwrap();
        let (object, action) = name.split_once('_').unwrap();
        let action = if action == "change" { "propertyChange" } else { action };
        let mut body = json!({"subscriptionType": format!("{object}.{action}")});
        for (member, kind) in schema["properties"].as_object().unwrap() {
            body[member] = match kind["type"].as_str() {
                Some("integer") => json!(7),
                _ if kind["format"] == "date-time" => json!("2023-11-14T22:13:20.000Z"),
                _ => json!("text"),
            };
        }
        let events = route(&json!([body]));
        assert_eq!(events[0].created, Some(at(NOW)), "{name}");
        assert_eq!(events[0].touches.len(), 1, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 9);
}

proptest::proptest! {
    #[test]
    fn garbage_never_panics(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200), text in "\\PC{0,60}") {
        let _ = Webhooks.route(&request(URL, &HeaderMap::new(), &body));
        let _ = Webhooks.route(&request(URL, &HeaderMap::new(), text.as_bytes()));
        let _ = decoded(&text);
        if let Ok(value) = HeaderValue::from_str(&text) {
            let mut headers = v3(URL, &body, NOW);
            headers.insert(SIGNATURE_V3, value.clone());
            proptest::prop_assert!(Webhooks.verify(&secrets(), &request(URL, &headers, &body)).is_err());
            let mut headers = v3(URL, &body, NOW);
            headers.insert(TIMESTAMP, value);
            proptest::prop_assert!(Webhooks.verify(&secrets(), &request(URL, &headers, &body)).is_err());
        }
    }

    #[test]
    fn events_of_any_shape_never_panic(
        kind in "[a-z]{0,8}\\.[a-zA-Z]{0,16}", id in "\\PC{0,12}", number in proptest::num::i64::ANY,
        association in "[A-Z_]{0,24}",
    ) {
        let body = json!([{
            "subscriptionType": kind, "eventId": 1, "portalId": 2, "objectId": id, "occurredAt": number,
            "mergedObjectIds": [id, number], "associationType": association, "fromObjectId": number,
        }]).to_string();
        let _ = Webhooks.route(&request(URL, &HeaderMap::new(), body.as_bytes()));
    }
}

/// The time is signed in milliseconds, and the window ends at one.
#[test]
fn a_request_is_late_from_the_first_millisecond_on() {
    let ask = v3(URL, b"[{}]", NOW);
    for (after, verdict) in [(300_000, Ok(())), (300_001, Err(SignatureError::Expired))] {
        let received_at = at(NOW) + TimeDelta::milliseconds(after) + TimeDelta::microseconds(999);
        let late = RawRequest { received_at, ..request(URL, &ask, b"[{}]") };
        assert_eq!(Webhooks.verify(&secrets(), &late), verdict, "{after}");
    }
}

/// What is wrong with one event of a batch holds none of the others up, and is said where that one is kept.
#[test]
fn a_bad_event_refuses_itself_alone() {
    let good = json!({"eventId": 1, "portalId": 7, "subscriptionType": "company.creation", "objectId": 5});
    let no_id =
        json!({"portalId": 7, "subscriptionType": "deal.creation", "objectId": 6, "attemptNumber": 0});
    let no_portal =
        json!({"eventId": 3, "subscriptionType": "contact.creation", "objectId": 7, "x": "secret"});
    let no_type = json!({"eventId": 4, "portalId": 8, "objectId": 9});
    let body = json!([good, no_portal, no_id, 17, no_type]).to_string();
    let headers = HeaderMap::new();
    let ask = request("", &headers, body.as_bytes());
    let events = Webhooks.route(&ask).unwrap();
    let seen: Vec<_> = events
        .iter()
        .map(|e| (e.kind.as_str(), e.account.as_deref(), e.known, touches(e).join(" ")))
        .collect();
    assert_eq!(
        seen,
        [
            ("company.creation", Some("7"), true, "companies/5".to_owned()),
            ("contact.creation", None, false, String::new()),
            ("deal.creation", Some("7"), true, "deals/6".to_owned()),
            ("unreadable", None, false, String::new()),
            ("unreadable", Some("8"), false, String::new()),
        ]
    );
    let bodies = Webhooks.bodies(&ask).unwrap();
    assert_eq!(
        bodies.iter().map(|(id, _)| id).collect::<Vec<_>>(),
        events.iter().map(|e| &e.id).collect::<Vec<_>>()
    );
    let alone = |n: usize| Webhooks.route(&request("", &headers, &bodies[n].1));
    for n in [0, 2] {
        assert_eq!(alone(n).unwrap(), std::slice::from_ref(&events[n]));
    }
    assert_eq!(alone(1), Err("[0].portalId: missing or no number".to_owned()));
    assert_eq!(alone(4), Err("[0].subscriptionType: missing or no text".to_owned()));
    assert!(alone(3).is_err());
    // Nobody knows whose it is: nothing of what it says is kept.
    assert_eq!(bodies[1].1, br#"[{"eventId":3,"subscriptionType":"contact.creation"}]"#);
    // The same one at the next attempt is the same.
    let mut again = no_id;
    again["attemptNumber"] = json!(1);
    assert_eq!(route(&json!([again]))[0].id, events[2].id);
    again["objectId"] = json!(8);
    assert_ne!(route(&json!([again]))[0].id, events[2].id);
}

/// What is kept of one event says nothing of another, and routes to it alone.
#[test]
fn each_event_has_a_body_of_its_own() {
    let body = r#"[ {"eventId": 1, "portalId": 7, "subscriptionType": "company.creation", "objectId": 5},
        {"eventId": 2, "portalId": 8, "subscriptionType": "contact.privacyDeletion", "objectId": 6} ]"#
        .as_bytes();
    let headers = HeaderMap::new();
    let all = Webhooks.route(&request("", &headers, body)).unwrap();
    assert_eq!(all.len(), 2);
    let bodies = Webhooks.bodies(&request("", &headers, body)).unwrap();
    assert_eq!(bodies.len(), 2);
    for (event, (id, own)) in all.iter().zip(&bodies) {
        assert_eq!(id, &event.id);
        assert_eq!(Webhooks.route(&request("", &headers, own)).unwrap(), std::slice::from_ref(event));
    }
    assert!(Webhooks.bodies(&request("", &headers, b"{")).is_err());
}
