//! Marks: what is known again, what has settled.

use super::*;

const T: i64 = 1_700_000_000;

fn seen(events: impl IntoIterator<Item = (String, i64)>) -> Seen {
    let mut seen = Seen::default();
    events.into_iter().for_each(|(id, created)| seen.take(&id, created));
    seen
}

fn start(newest: i64, seen_at: i64) -> Mark {
    Mark { read_at: seen_at, newest: Some(newest), newest_seen_at: seen_at, ..Mark::default() }
}

#[test]
fn a_mark_goes_behind_its_newest_event_and_knows_what_is_there() {
    let events = [("evt_3", T), ("evt_2", T - OVERLAP), ("evt_1", T - OVERLAP - 1)];
    let mark = seen(events.map(|(id, at)| (id.to_owned(), at))).mark(&Mark::default(), T + 5);
    assert_eq!((mark.newest, mark.from, mark.read_at), (Some(T), Some(T - OVERLAP), T + 5));
    assert_eq!(mark.known, ["evt_3", "evt_2"]);
}

#[test]
fn an_empty_feed_is_read_from_its_start_later() {
    let mark = Seen::default().mark(&Mark::default(), T);
    assert_eq!((mark.newest, mark.from, mark.known.len()), (None, None, 0));
}

#[test]
fn what_is_known_is_bounded_and_the_overlap_shrinks_to_it() {
    let newest_first = (0..2 * KNOWN).map(|n| (format!("evt_{n}"), T - i64::try_from(n / 10).unwrap()));
    let mark = seen(newest_first).mark(&Mark::default(), T);
    assert_eq!(mark.known.len(), KNOWN);
    // The first one that did not fit is read again, and everything after it is known.
    assert_eq!(mark.from, Some(T - i64::try_from(KNOWN / 10).unwrap()));
}

#[test]
fn a_crowd_in_one_second_is_not_read_again_for_ever() {
    let crowd = || seen((0..KNOWN + 500).map(|n| (format!("evt_{n}"), T)));
    let first = crowd().mark(&Mark::default(), T);
    let first = Mark { newest_seen_at: T, ..first };
    assert_eq!(first.from, Some(T), "the rest of that second is read again");
    let soon = crowd().mark(&first, T + OVERLAP - 1);
    assert_eq!((soon.from, soon.newest_seen_at), (Some(T), T));
    let later = crowd().mark(&soon, T + OVERLAP);
    assert_eq!((later.from, later.known.len()), (Some(T + 1), 0), "nothing of it can still be on its way");
    let quiet = Seen::default().mark(&later, T + 10 * OVERLAP);
    assert_eq!((quiet.from, quiet.newest, quiet.read_at), (Some(T + 1), Some(T), T + 10 * OVERLAP));
    let moved = seen([("evt_new".to_owned(), T + 50)]).mark(&start(T, T), T + 20 * OVERLAP);
    assert_eq!((moved.newest_seen_at, moved.known.len()), (T + 20 * OVERLAP, 1));
}

#[test]
fn a_strange_cursor_is_refused() {
    for bad in [
        "",
        "{}",
        "null",
        r#"{"v":2,"at":"end","read_at":1,"newest_seen_at":1}"#,
        r#"{"v":1,"at":"elsewhere"}"#,
        r#"{"v":1,"at":"end"}"#,
        r#"{"v":1,"at":"page","after":"evt_1"}"#,
    ] {
        assert!(
            matches!(Position::parse(&Cursor(bad.to_owned())), Err(ConnectorError::Protocol(_))),
            "{bad}"
        );
    }
    let mark = start(T, T);
    for position in [
        Position::End(mark.clone()),
        Position::Page(Passing {
            start: mark,
            begun_at: T,
            after: "evt_1".to_owned(),
            seen: seen([("evt_2".to_owned(), T)]),
        }),
    ] {
        assert_eq!(Position::parse(&position.clone().cursor().unwrap()).unwrap(), position);
    }
}

#[test]
fn an_event_names_what_a_webhook_names_and_deletions_to_be_looked_at() {
    let config = Config::default();
    let event = |kind: &str, object: &str| {
        format!(
            r#"{{"id":"evt_1","created":{T},"type":"{kind}","livemode":false,"data":{{"object":{object}}}}}"#
        )
    };
    let keys = |text: &str| -> Vec<String> {
        let named = Named::of(text, &config).unwrap();
        assert!(named.touched.iter().all(|t| t.event.as_deref() == Some("evt_1")));
        named.touched.iter().map(|t| t.key.to_string()).collect()
    };
    assert_eq!(keys(&event("customer.updated", r#"{"id":"cus_1","test_clock":null}"#)), ["customers/cus_1"]);
    assert_eq!(keys(&event("coupon.deleted", r#"{"id":"OFF"}"#)), ["coupons/OFF"]);
    assert_eq!(keys(&event("customer.updated", r#"{"id":"cus_1","test_clock":"clock_1"}"#)), [""; 0]);
    assert_eq!(keys(&event("payout.paid", r#"{"id":"po_1"}"#)), [""; 0]);
    let elsewhere =
        event("customer.updated", r#"{"id":"cus_1"}"#).replacen('{', r#"{"account":"acct_2","#, 1);
    assert_eq!(keys(&elsewhere), [""; 0]);
    for (bad, member) in [("{}", "created"), ("7", "created"), (r#"{"created":1,"type":"x"}"#, "id")] {
        let Err(rejected) = Named::of(bad, &config) else { panic!("{bad}") };
        assert!(rejected.reason.starts_with(member), "{}", rejected.reason);
    }
}
