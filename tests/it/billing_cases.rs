//! Every worked billing case, and cases of our own for what they leave out.

use std::path::PathBuf;

use connector_sdk::{Record, Role};
use halo_sync::derive::cases::{CaseConnector, Cases};
use serde_json::Value;

/// Members that only a signature tool or a CRM can explain.
const OTHER_PROVIDERS: [&str; 2] = ["pandadoc_documents", "hubspot_deals"];

fn shared(part: &str) -> Option<PathBuf> {
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

pub(crate) fn answers(text: &str) -> Vec<Result<Value, String>> {
    let facts = |record: &Record| connector_stripe::facts::facts(record);
    let connectors = [CaseConnector { id: "stripe", role: Role::Billing, facts: &facts }];
    let cases = match Cases::read(text) {
        Ok(cases) => cases,
        Err(e) => return vec![Err(e.to_string())],
    };
    cases.answers(&connectors).map(|answer| answer.map_err(|e| e.to_string())).collect()
}

#[test]
fn every_worked_case_is_right() {
    let Some(path) = shared("cases/billing_cases.json") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let answers = answers(&text);
    assert_eq!(answers.len(), cases.len());
    let mut wrong = Vec::new();
    let mut right = 0;
    for (case, answer) in cases.iter().zip(answers) {
        let id = &case["id"];
        let answer = answer.unwrap_or_else(|e| panic!("{id}: {e}"));
        assert_eq!(answer["id"], *id);
        let foreign = OTHER_PROVIDERS.iter().any(|m| case["input"].get(m).is_some());
        let mut differences = Vec::new();
        for (key, expected) in case["expected"].as_object().unwrap() {
            // Compared as JSON: an integer must be written as one.
            if answer.get(key) != Some(expected) {
                differences.push(format!("{id} {key}: expected {expected}, found {:?}", answer.get(key)));
            }
        }
        match (differences.is_empty(), foreign) {
            (true, _) => right += 1,
            (false, true) => println!("needs another connector: {differences:?}"),
            (false, false) => wrong.extend(differences),
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    assert!(right >= 108, "{right}");
}
