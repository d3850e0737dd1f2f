//! Every worked billing case, and cases of our own for what they leave out.

use std::path::PathBuf;

use connector_sdk::{DynConnector, Record, Role};
use halo_sync::derive::cases::{CaseConnector, Cases, with_connectors};
use halo_sync::registry;
use serde_json::Value;

/// Members that only a signature tool or a CRM can explain.
const OTHER_PROVIDERS: [&str; 2] = ["pandadoc_documents", "hubspot_deals"];

pub(crate) fn shared(part: &str) -> Option<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = match std::env::var_os("HALO_SYNC_SHARED") {
        Some(dir) => Some(PathBuf::from(dir)),
        None => ["../shared", "../../shared"].iter().map(|p| here.join(p)).find(|p| p.is_dir()),
    }
    .map(|dir| dir.join(part))
    .filter(|p| p.exists());
    if found.is_none() {
        let required = std::env::var("HALO_SYNC_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|p| part.starts_with(p)), "{part} is required and absent");
        println!("skipped: no {part} beside the workspace");
    }
    found
}

/// Answers the cases of a text, with the billing connector alone.
pub(crate) fn answers(text: &str) -> Vec<Result<Value, String>> {
    let facts = |record: &Record| connector_stripe::facts::facts(record);
    answers_by(text, &[CaseConnector { id: "stripe", role: Role::Billing, facts: &facts }])
}

fn answers_by(text: &str, connectors: &[CaseConnector<'_>]) -> Vec<Result<Value, String>> {
    let cases = match Cases::read(text) {
        Ok(cases) => cases,
        Err(e) => return vec![Err(e.to_string())],
    };
    cases.answers(connectors).map(|answer| answer.map_err(|e| e.to_string())).collect()
}

#[test]
fn every_worked_case_is_right() {
    let Some(path) = shared("cases/billing_cases.json") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let connectors = registry::connectors();
    let all: Vec<&dyn DynConnector> = connectors.iter().map(|connector| &**connector).collect();
    let wrong = differences(cases, with_connectors(&all, |all| answers_by(&text, all)));
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));

    // Without those two the cases of the billing tool are right all the same.
    let own: Vec<Value> = cases
        .iter()
        .filter(|c| !OTHER_PROVIDERS.iter().any(|m| c["input"].get(m).is_some()))
        .cloned()
        .collect();
    assert!(own.len() > 100, "{}", own.len());
    let wrong = differences(&own, answers(&serde_json::to_string(&own).unwrap()));
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// What answers say differently from what the cases expect.
pub(crate) fn differences(cases: &[Value], answers: Vec<Result<Value, String>>) -> Vec<String> {
    assert_eq!(answers.len(), cases.len());
    let mut wrong = Vec::new();
    for (case, answer) in cases.iter().zip(answers) {
        let id = &case["id"];
        let answer = answer.unwrap_or_else(|e| panic!("{id}: {e}"));
        assert_eq!(answer["id"], *id);
        for (key, expected) in case["expected"].as_object().unwrap() {
            // Compared as JSON: an integer must be written as one.
            if answer.get(key) != Some(expected) {
                wrong.push(format!("{id} {key}: expected {expected}, found {:?}", answer.get(key)));
            }
        }
    }
    wrong
}
