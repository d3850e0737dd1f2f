//! Every worked billing case, and cases of our own for what they leave out.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, in its helpers too, and says what it skips"
)]

use std::path::PathBuf;

use chrono::NaiveDate;
use connector_sdk::facts::{
    Confidence, Contract, ContractStatus, Deal, DealLine, Fact, Interval, Period, Stated,
};
use connector_sdk::{Extract, FactsError, Record, Role};
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

fn object(record: &Record, stream: &str) -> Result<Value, FactsError> {
    if record.key.stream != stream {
        return Err(FactsError::unknown_stream(&record.key.stream));
    }
    Ok(serde_json::from_str(record.payload.get()).unwrap())
}

fn one(fact: Fact) -> Result<Extract, FactsError> {
    Ok(Extract { facts: vec![fact], ..Extract::default() })
}

/// `12 months`, `P12M`.
fn period(text: &str) -> Option<Period> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let month = text.contains("month") || text.ends_with('M');
    month.then(|| Period { interval: Interval::Month, count: digits.parse().unwrap() })
}

/// A stand-in for a signature tool: as much of one as the worked cases show, so that the rules over contracts
/// are held to them before there is a connector.
fn signature_tool(record: &Record) -> Result<Extract, FactsError> {
    let d = object(record, "documents")?;
    let time = |v: &Value| v.as_str().map(|s| s.parse().unwrap());
    let results = d["ai_metadata"]["results"].as_array().cloned().unwrap_or_default();
    let text = |key: &str| {
        let field = results.iter().find(|f| f["key"] == key)?;
        let accepted = field["value"]["acceptance_status"] == "accepted";
        let confidence = if accepted { Confidence::Accepted } else { Confidence::Low };
        Some((field["value"]["value"].as_str()?.to_owned(), confidence))
    };
    let date = |key: &str| {
        let (value, confidence) = text(key)?;
        Some(Stated { value: value.parse::<NaiveDate>().unwrap(), confidence })
    };
    let length = |key: &str| {
        let (value, confidence) = text(key)?;
        Some(Stated { value: period(&value)?, confidence })
    };
    one(Fact::Contract(Box::new(Contract {
        id: record.key.id.clone(),
        name: None,
        status: match d["status"].as_str() {
            Some("document.completed" | "document.paid") => ContractStatus::Completed,
            Some("document.voided") => ContractStatus::Void,
            _ => ContractStatus::Open,
        },
        signed_at: d["recipients"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|r| time(&r["signature_date"]))
            .min(),
        completed_at: time(&d["date_completed"]),
        effective: date("Agreement date"),
        end: date("Expiration date"),
        term: length("Initial term length"),
        renewal_term: length("Renewal term length"),
        auto_renews: text("Renewal type")
            .map(|(value, confidence)| Stated { value: value == "Auto-renewal", confidence }),
        value: None,
        currency: None,
    })))
}

/// A stand-in for a CRM, likewise.
fn crm(record: &Record) -> Result<Extract, FactsError> {
    let d = object(record, "deals")?;
    let line = |l: &Value| DealLine {
        id: l["id"].as_str().unwrap().to_owned(),
        start: l["properties"]["hs_recurring_billing_start_date"].as_str().map(|s| s.parse().unwrap()),
        term: l["properties"]["hs_recurring_billing_period"].as_str().and_then(period),
        ..DealLine::default()
    };
    one(Fact::Deal(Box::new(Deal {
        id: record.key.id.clone(),
        name: None,
        won: d["properties"]["hs_is_closed_won"] == "true",
        closed_at: None,
        amount: None,
        currency: None,
        lines: d["line_items"].as_array().unwrap().iter().map(line).collect(),
    })))
}

#[test]
fn every_worked_case_is_right() {
    let Some(path) = shared("cases/billing_cases.json") else { return };
    let text = std::fs::read_to_string(path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let billing = |record: &Record| connector_stripe::facts::facts(record);
    let all = [
        CaseConnector { id: "stripe", role: Role::Billing, facts: &billing },
        CaseConnector { id: "pandadoc", role: Role::Signature, facts: &signature_tool },
        CaseConnector { id: "hubspot", role: Role::Crm, facts: &crm },
    ];
    let wrong = differences(cases, answers_by(&text, &all));
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
fn differences(cases: &[Value], answers: Vec<Result<Value, String>>) -> Vec<String> {
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
