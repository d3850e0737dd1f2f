//! Recorded traffic of a real portal: every object is read and understood, and the sandbox writes what was recorded.

use std::collections::BTreeSet;
use std::path::Path;

use connector_hubspot::HubSpot;
use connector_sdk::{Connector, Fact, ReadMode, Record, RecordKey};
use connector_testkit::parts::shared_or_skip;
use connector_testkit::sandbox::hubspot::Kind;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::support::{doc, open, pages, records, sandbox};

const RECORDED: &str = "data/hubspot/recorded";

/// The exchanges of a file, as (method, path, exchange).
fn exchanges(path: &Path) -> Vec<(String, String, Value)> {
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut out = Vec::new();
    for (method, paths) in file.as_object().unwrap() {
        for (path, found) in paths.as_object().unwrap() {
            let all = match found {
                Value::Array(all) => all.clone(),
                one => vec![one.clone()],
            };
            out.extend(all.into_iter().map(|one| (method.clone(), path.clone(), one)));
        }
    }
    out
}

/// Objects of the streams in all recordings.
fn objects() -> Option<Vec<(String, Value)>> {
    let folder = shared_or_skip("data", RECORDED)?;
    let mut out = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        for (_, path, exchange) in exchanges(&file.unwrap().path()) {
            let mut segments = path.trim_start_matches("/crm/v3/").split('/');
            let stream = match segments.next() {
                Some("objects") => segments.next().unwrap().to_owned(),
                Some("owners") => "owners".to_owned(),
                Some("properties") if segments.next() == Some("companies") => "properties".to_owned(),
                _ => continue,
            };
            let response = &exchange["response"];
            let found = match response["results"].as_array() {
                Some(results) => results.clone(),
                None if response["id"].is_string() => vec![response.clone()],
                None => continue,
            };
            out.extend(found.into_iter().map(|object| (stream.clone(), object)));
        }
    }
    Some(out)
}

fn record(stream: &str, object: &Value) -> Record {
    let payload = RawValue::from_string(object.to_string()).unwrap();
    Record { key: RecordKey::new(stream, object["id"].as_str().unwrap_or("x")), payload }
}

#[test]
fn every_recorded_object_is_understood() {
    let Some(all) = objects() else { return };
    let mut seen = BTreeSet::new();
    for (stream, object) in &all {
        if stream == "products" {
            continue;
        }
        let extract =
            Connector::facts(&HubSpot, &record(stream, object)).unwrap_or_else(|e| panic!("{stream}: {e}"));
        seen.insert(stream.as_str());
        let properties = &object["properties"];
        let text = |name: &str| properties[name].as_str().filter(|text| !text.is_empty());
        match extract.facts.first() {
            None => assert_eq!(stream, "properties"),
            Some(Fact::Organization(o)) => {
                assert_eq!((Some(o.id.as_str()), o.name.as_deref()), (object["id"].as_str(), text("name")));
                assert_eq!(o.industry.as_deref(), text("industry"));
                assert_eq!(o.domains.first().map(String::as_str), text("domain"));
            }
            Some(Fact::Person(p)) if stream == "owners" => assert!(p.staff && p.name.is_some()),
            Some(Fact::Person(p)) => assert_eq!(p.emails.is_empty(), text("email").is_none()),
            Some(Fact::Deal(d)) => {
                assert!(!d.won, "no deal of that portal was won");
                assert_eq!(d.amount.is_some(), text("amount").is_some());
            }
            Some(Fact::Ticket(t)) => assert_eq!(t.title.as_deref(), text("subject")),
            Some(other) => panic!("{stream}: {other:?}"),
        }
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        ["companies", "contacts", "deals", "owners", "properties", "tickets"]
    );
    assert!(all.len() > 400, "{}", all.len());
}

/// What the API says in documents that others keep for their tests.
#[test]
fn another_engines_mock_data_is_understood() {
    let Some(path) = shared_or_skip("data", "data/hubspot/dlt_mock_data.json") else { return };
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut seen = 0;
    for (member, stream) in [
        ("mock_companies_data", "companies"),
        ("mock_contacts_data", "contacts"),
        ("mock_contacts_with_history", "contacts"),
        ("mock_deals_data", "deals"),
        ("mock_tickets_data", "tickets"),
    ] {
        for object in all[member]["results"].as_array().unwrap() {
            let extract = Connector::facts(&HubSpot, &record(stream, object))
                .unwrap_or_else(|e| panic!("{member}: {e}"));
            assert_eq!(extract.facts.len(), 1, "{member}");
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen}");
}

/// Recorded objects put into the sandbox come out of the connector with every recorded value, by list and by search;
/// and the sandbox's own answers have the members that the recorded ones have.
#[tokio::test]
async fn recorded_objects_go_through_the_sandbox() {
    let Some(all) = objects() else { return };
    let sandbox = sandbox().await;
    let session = open(&sandbox, json!({}));
    for stream in ["companies", "contacts", "deals", "tickets"] {
        let kind = Kind::of_path(stream).unwrap();
        let of_stream =
            all.iter().filter(|(name, object)| name == stream && object["properties"].is_object());
        let originals: Vec<&Value> = of_stream.map(|(_, object)| object).collect();
        for object in &originals {
            sandbox.create(kind, &object["properties"]);
        }
        let (listed, end) = pages(session.as_ref(), stream, ReadMode::Full, None).await;
        let listed = records(listed);
        assert_eq!(listed.len(), originals.len(), "{stream}");
        let (searched, _) = pages(session.as_ref(), stream, ReadMode::Incremental, Some(end)).await;
        assert_eq!(records(searched).len(), originals.len(), "{stream}");
        for (record, original) in listed.iter().zip(originals) {
            let read = doc(record);
            for (name, value) in read["properties"].as_object().unwrap() {
                let own = ["createdate", "hs_lastmodifieddate", "lastmodifieddate", "hs_object_id"];
                if own.contains(&name.as_str()) {
                    assert!(
                        original["properties"][name].is_string()
                            || name == "lastmodifieddate"
                            || stream == "contacts",
                        "{name}"
                    );
                    continue;
                }
                let said = original["properties"][name].as_str().unwrap_or_default();
                assert_eq!(value.as_str().unwrap_or_default(), said, "{stream} {name}");
            }
            for member in ["id", "properties", "createdAt", "updatedAt", "archived"] {
                assert!(original[member] != Value::Null && read[member] != Value::Null, "{stream}: {member}");
            }
        }
    }
}

/// The requests that somebody else makes of HubSpot are those that the sandbox takes, and it answers in their shape.
#[tokio::test]
async fn the_sandbox_answers_recorded_requests_in_the_recorded_shape() {
    let Some(folder) = shared_or_skip("data", RECORDED) else { return };
    let sandbox = sandbox().await;
    crate::support::fill(&sandbox);
    let client = connector_testkit::http_client(connector_sdk::HttpConfig::default()).unwrap();
    let io = connector_sdk::Io { http: client, ..crate::support::io() };
    let base = sandbox.base_url().parse().unwrap();
    let token = secrecy::SecretString::from(sandbox.access_token());
    let mut seen = 0;
    for name in
        ["list-companies", "list-contacts", "list-deals", "list-tickets", "owners", "search-companies"]
    {
        for (method, path, exchange) in exchanges(&folder.join(format!("{name}.json"))) {
            let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
            let call = if method == "post" {
                // A filter that the sandbox does not know is left out.
                let mut body = exchange["request"]["data"].clone();
                body["filterGroups"] = json!([]);
                connector_sdk::Call::post_json("search", &base, &segments, &body).unwrap()
            } else {
                let mut call = connector_sdk::Call::get("list", &base, &segments).unwrap();
                for (name, value) in exchange["request"]["params"].as_object().into_iter().flatten() {
                    call = call.query(name, value.as_str().unwrap());
                }
                call
            };
            let answer = io.call(&call.bearer(&token)).await.unwrap();
            assert_eq!(u64::from(answer.status.as_u16()), exchange["status"].as_u64().unwrap(), "{name}");
            let ours: Value = answer.json_owned().unwrap();
            let theirs = &exchange["response"];
            let members = |value: &Value| -> BTreeSet<String> {
                value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
            };
            let (our, their) = (&ours["results"][0], &theirs["results"][0]);
            assert_eq!(members(our), members(their), "{name}");
            assert_eq!(members(&our["properties"]), members(&their["properties"]), "{name}");
            assert_eq!(ours["total"].is_u64(), theirs["total"].is_u64(), "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 6);
}

/// The deals of the worked billing cases give the terms that the cases work with.
#[test]
fn deals_of_the_billing_cases_have_their_terms() {
    let Some(path) = shared_or_skip("cases", "cases/billing_cases.json") else { return };
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut lines = 0;
    for case in file["cases"].as_array().unwrap() {
        for object in case["input"]["hubspot_deals"].as_array().into_iter().flatten() {
            let extract = Connector::facts(&HubSpot, &record("deals", object)).unwrap();
            let Some(Fact::Deal(deal)) = extract.facts.first() else { panic!("{extract:?}") };
            assert_eq!(deal.won, object["properties"]["hs_is_closed_won"] == "true");
            assert_eq!(deal.currency.as_deref(), Some("usd"));
            for (line, said) in deal.lines.iter().zip(object["line_items"].as_array().unwrap()) {
                let start = said["properties"]["hs_recurring_billing_start_date"].as_str();
                assert_eq!(line.start.map(|day| day.to_string()).as_deref(), start);
                assert_eq!(line.term.and_then(connector_sdk::facts::Period::months), Some(12));
                lines += 1;
            }
        }
    }
    assert!(lines >= 2, "{lines}");
}
