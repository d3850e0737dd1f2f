use chrono::NaiveDate;
use proptest::prelude::*;

use super::*;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn today() -> NaiveDate {
    day("2026-03-15")
}

fn ago(days: u64) -> NaiveDate {
    today().checked_sub_days(Days::new(days)).unwrap()
}

fn known() -> HealthInputs {
    HealthInputs {
        today: today(),
        team_size: 4,
        last_seen: Some(vec![ago(0), ago(10)]),
        tickets: Some(TicketLoad { priority: 1, open: 2 }),
        transcripts: Some((Exact::ratio(2, 5), 2)),
        feedback: Some((4, 5)),
        subscription_status: Some("active".to_owned()),
        delinquent: false,
        given: [const { None }; 4],
    }
}

fn values(health: &Health) -> Vec<Option<String>> {
    health.signals.iter().map(|line| line.value.as_ref().map(|v| Places(v).to_string())).collect()
}

#[test]
fn signals_are_counted_as_the_rules_say() {
    let health = health(&known(), &HealthSettings::default());
    // 60 x 2/4 + 40 x 1; 100 - 15 - 50 x 2/4; (60 + 80) / 2; active
    assert_eq!(values(&health), ["70", "60", "70", "100"].map(|v| Some(v.to_owned())));
    // 0.4 x 70 + 0.25 x 60 + 0.2 x 70 + 0.15 x 100
    assert_eq!((health.score, health.tier), (Some(72), Tier::Neutral));
    let text = explain_health(&health);
    assert!(text.starts_with("Health 72, neutral\n"), "{text}");
    assert!(text.contains("2 of 4 users active in 30 days"), "{text}");
    assert!(text.contains("1 priority tickets wait: less 15"), "{text}");
}

#[test]
fn one_half_of_sentiment_stands_alone_and_none_is_no_data() {
    let settings = HealthSettings::default();
    let of = |transcripts, feedback| {
        let inputs = HealthInputs { transcripts, feedback, ..known() };
        values(&health(&inputs, &settings)).remove(2)
    };
    assert_eq!(of(Some((Exact::ratio(1, 4), 1)), None).as_deref(), Some("62.5"));
    assert_eq!(of(None, Some((1, 3))).as_deref(), Some("33.33"));
    assert_eq!(of(None, None), None);
}

#[test]
fn a_window_ends_with_its_last_day() {
    let settings = HealthSettings::default();
    let of = |days| {
        let inputs = HealthInputs { last_seen: Some(vec![ago(days)]), team_size: 1, ..known() };
        values(&health(&inputs, &settings)).remove(0).unwrap()
    };
    assert_eq!([of(0), of(15), of(29), of(30), of(400)], ["100", "80", "61.33", "0", "0"]);
    // A clock that is ahead is today.
    let ahead = HealthInputs { last_seen: Some(vec![day("2026-03-20")]), team_size: 1, ..known() };
    assert_eq!(values(&health(&ahead, &settings)).remove(0).unwrap(), "100");
}

#[test]
fn a_delinquent_customer_is_capped_and_an_ineligible_one_not_scored() {
    let settings = HealthSettings::default();
    let of = |status: Option<&str>, delinquent| {
        let inputs = HealthInputs { subscription_status: status.map(str::to_owned), delinquent, ..known() };
        let health = health(&inputs, &settings);
        (values(&health).remove(3), health.not_scored)
    };
    assert_eq!(of(Some("active"), true), (Some("40".to_owned()), None));
    assert_eq!(of(Some("unpaid"), true), (Some("10".to_owned()), Some(NotScored::Ineligible)));
    assert_eq!(of(Some("none"), false), (None, Some(NotScored::Ineligible)));
    assert_eq!(of(None, false), (None, Some(NotScored::Ineligible)));
    let open = HealthSettings { gating: false, ..settings };
    assert!(health(&HealthInputs { subscription_status: None, ..known() }, &open).score.is_some());
    let nothing = HealthInputs { today: today(), last_seen: Some(Vec::new()), ..HealthInputs::default() };
    assert_eq!(health(&nothing, &open).not_scored, Some(NotScored::NoData));
}

fn some_inputs() -> impl Strategy<Value = HealthInputs> {
    (
        0u64..6,
        proptest::option::of(proptest::collection::vec(-3i64..60, 0..6)),
        proptest::option::of((0u64..6, 0u64..6)),
        proptest::option::of((-10i64..=10, 1u64..4)),
        proptest::option::of(0u64..6),
        proptest::option::of(0..STATUSES.len()),
        any::<bool>(),
    )
        .prop_map(|(team_size, ages, tickets, sentiment, positive, status, delinquent)| HealthInputs {
            today: today(),
            team_size,
            last_seen: ages.map(|ages| {
                ages.into_iter()
                    .map(|age| today().checked_sub_signed(chrono::TimeDelta::days(age)).unwrap())
                    .collect()
            }),
            tickets: tickets.map(|(priority, open)| TicketLoad { priority, open }),
            transcripts: sentiment
                .map(|(tenths, n)| (Exact::ratio(i128::from(tenths) * i128::from(n), 10), n)),
            feedback: positive.map(|positive| (positive, 5)),
            subscription_status: status.map(|i| STATUSES[i].to_owned()),
            delinquent,
            given: [const { None }; 4],
        })
}

proptest! {
    #[test]
    fn scores_are_in_bounds_whatever_the_order(inputs in some_inputs(), gating: bool) {
        let settings = HealthSettings { gating, ..HealthSettings::default() };
        let first = health(&inputs, &settings);
        for line in &first.signals {
            if let Some(value) = &line.value {
                prop_assert!(!value.is_negative() && *value <= Exact::from(100i64), "{line:?}");
            }
        }
        if let Some(score) = first.score {
            prop_assert!((0..=100).contains(&score));
        }
        let mut turned = inputs.clone();
        if let Some(seen) = &mut turned.last_seen {
            seen.reverse();
        }
        prop_assert_eq!(&health(&turned, &settings), &first);
    }

    /// Walked day by day, the score is the same until the day that is foretold, and another on it.
    #[test]
    fn turns_are_foretold(inputs in some_inputs()) {
        let settings = HealthSettings { gating: false, ..HealthSettings::default() };
        let first = health(&inputs, &settings);
        let mut walked = None;
        for days in 1..80 {
            let today = today().checked_add_days(Days::new(days)).unwrap();
            if health(&HealthInputs { today, ..inputs.clone() }, &settings).score != first.score {
                walked = Some(today);
                break;
            }
        }
        prop_assert_eq!(first.next_turn, walked);
    }
}
