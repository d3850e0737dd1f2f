//! Every worked health case, and cases of our own for what they leave out.

use halo_sync::derive::health::{HealthSettings, Preset, cases};
use serde_json::{Value, json};

use crate::billing_cases::{differences, shared};

fn answers(text: &str) -> Vec<Result<Value, String>> {
    match cases::answers(text) {
        Ok(answers) => answers.map(|answer| answer.map_err(|e| e.to_string())).collect(),
        Err(e) => vec![Err(e.to_string())],
    }
}

fn answer(case: &Value) -> Result<Value, String> {
    answers(&case.to_string()).remove(0)
}

#[test]
fn every_worked_case_is_right() {
    let Some(path) = shared("cases/health_cases.json") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    assert!(cases.len() > 20, "{}", cases.len());
    // Components that a case does not name are not its business.
    let answers = answers(&text).into_iter().zip(cases).map(|(answer, case)| {
        let mut answer = answer?;
        if let Some(named) = case["expected"]["components"].as_object() {
            answer["components"].as_object_mut().unwrap().retain(|name, _| named.contains_key(name));
        }
        Ok(answer)
    });
    let wrong = differences(cases, answers.collect());
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_wrong_with_a_case_is_named() {
    let case = |config: Value, input: Value| json!({"id": "a", "now": "2026-03-15T12:00:00Z", "config": config, "input": input});
    for (config, input, member) in [
        (json!({"weights": {"mood": 1}}), json!({}), "case \"a\".config.weights"),
        (json!({"tiers": {"healthy": 10}}), json!({}), "case \"a\".config.tiers"),
        (json!({}), json!({"components": {"activity": 101}}), "case \"a\".input.components.activity"),
        (
            json!({}),
            json!({"transcripts": [{"sentiment": 1.5}]}),
            "case \"a\".input.transcripts[0].sentiment",
        ),
        (json!({}), json!({"feedback": [{"rating": "great"}]}), "case \"a\".input.feedback[0].rating"),
        (
            json!({}),
            json!({"stripe": {"subscription_status": "alive"}}),
            "case \"a\".input.stripe.subscription_status",
        ),
        (json!({}), json!({"users": [{"last_seen_at": "soon"}]}), "case \"a\".input.users[0].last_seen_at"),
        (json!({}), json!({"users": 3}), "case \"a\".input.users"),
    ] {
        let said = answer(&case(config, input)).unwrap_err();
        assert!(said.starts_with(member), "{member}: {said}");
    }
    assert!(answer(&json!({"id": "a", "input": {}})).unwrap_err().contains("now"));
    let ignored = answer(&case(json!({}), json!({"weather": 1}))).unwrap();
    assert_eq!(ignored["ignored_input"], json!(["weather"]));
}

#[test]
fn fractions_are_told_and_people_counted_once() {
    let case = json!({"id": "a", "now": "2026-03-15T12:00:00Z", "config": {"gating": false}, "input": {
        "users": [
            {"id": "u1", "last_seen_at": "2026-03-15T00:00:00Z"},
            {"id": "u1", "last_seen_at": "2026-01-01T00:00:00Z"},
            {"id": "u2", "last_seen_at": null},
            {"id": "u3"},
            {"id": "gone", "deleted_at": "2026-03-01T00:00:00Z", "last_seen_at": "2026-03-15T00:00:00Z"},
            {"id": "test", "is_test": true},
        ],
        "transcripts": [{"sentiment": 0.25}, {"sentiment": null}],
        "stripe": {"subscription_status": "trialing"},
    }});
    let answer = answer(&case).unwrap();
    // 60 x 1/3 + 40; (0.25 + 1) x 50; O8.
    assert_eq!(
        answer["components"],
        json!({"activity": 60, "support": null, "sentiment": 62.5, "payment": 80})
    );
    // (40 x 60 + 20 x 62.5 + 15 x 80) / 75
    assert_eq!((&answer["score"], &answer["tier"]), (&json!(65), &json!("neutral")));
}

/// The page's tables are what the program does.
#[test]
fn the_page_says_what_is_so() {
    let page = include_str!("../../docs/health.md");
    for preset in Preset::ALL {
        let settings = HealthSettings { preset, ..HealthSettings::default() };
        let word = serde_json::to_value(preset).unwrap();
        let weights = settings.effective_weights().map(|weight| weight.to_string());
        let row = format!("| `{}` | {} |", word.as_str().unwrap(), weights.join(" | "));
        assert!(page.contains(&row), "{row}");
    }
    for (status, points) in &HealthSettings::default().payment.points {
        let said = format!("`{status}` {points}");
        assert!(page.contains(&said), "{said}");
    }
}
