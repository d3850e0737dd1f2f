use connector_sdk::facts::{
    Confidence, Contract, ContractStatus, Fact, Interval, Organization, Period, Person, Stated,
};
use connector_sdk::{Extract, Record, RecordKey};
use connector_testkit::parts::shared_or_skip;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;

fn record(doc: &Value) -> Record {
    let payload = RawValue::from_string(doc.to_string()).unwrap();
    Record { key: RecordKey::new(DOCUMENTS, doc["id"].as_str().unwrap_or("doc")), payload }
}

fn extract(doc: &Value) -> Extract {
    facts(&record(doc)).unwrap()
}

fn contract(doc: &Value) -> Contract {
    match extract(doc).facts.remove(0) {
        Fact::Contract(contract) => *contract,
        other => panic!("{other:?}"),
    }
}

fn organization(doc: &Value) -> Option<Organization> {
    extract(doc).facts.into_iter().find_map(|fact| match fact {
        Fact::Organization(organization) => Some(organization),
        _ => None,
    })
}

fn people(doc: &Value) -> Vec<Person> {
    let person = |fact| match fact {
        Fact::Person(person) => Some(person),
        _ => None,
    };
    extract(doc).facts.into_iter().filter_map(person).collect()
}

fn document(members: Value) -> Value {
    let mut doc = json!({"id": "doc", "name": "Order form", "status": "document.completed"});
    for (name, value) in members.as_object().unwrap() {
        doc[name] = value.clone();
    }
    doc
}

fn ai(fields: &[(&str, &str, &str)]) -> Value {
    let results: Vec<Value> = fields
        .iter()
        .map(|(key, value, status)| {
            json!({"id": "f", "key": key, "field_type": "date", "settings": {}, "value": {"value": value, "acceptance_status": status}})
        })
        .collect();
    json!({"count": results.len(), "results": results})
}

fn day(text: &str) -> chrono::NaiveDate {
    text.parse().unwrap()
}

fn months(count: u32) -> Period {
    Period { interval: Interval::Month, count }
}

/// What the worked cases say of a document, read as plainly as they are written.
fn of_case(doc: &Value) -> Contract {
    let results = doc["ai_metadata"]["results"].as_array().cloned().unwrap_or_default();
    let said = |key: &str| {
        let field = results.iter().find(|field| field["key"] == key)?;
        assert_eq!(field["value"]["acceptance_status"], "pending");
        Some(field["value"]["value"].as_str().unwrap().to_owned())
    };
    let low = |value| Stated { value, confidence: Confidence::Low };
    let date = |key| said(key).map(|text| low(day(&text)));
    let length = |key| {
        said(key).map(|text| {
            let (count, unit) = text.split_once(' ').unwrap();
            assert!(unit.starts_with("month"));
            Stated { value: months(count.parse().unwrap()), confidence: Confidence::Low }
        })
    };
    let signatures = doc["recipients"].as_array().unwrap().iter();
    Contract {
        id: doc["id"].as_str().unwrap().to_owned(),
        name: Some(doc["name"].as_str().unwrap().to_owned()),
        status: match doc["status"].as_str().unwrap() {
            "document.completed" | "document.paid" => ContractStatus::Completed,
            "document.voided" => ContractStatus::Void,
            other => panic!("{other}"),
        },
        signed_at: signatures.filter_map(|r| r["signature_date"].as_str()).map(|t| t.parse().unwrap()).min(),
        completed_at: doc["date_completed"].as_str().map(|t| t.parse().unwrap()),
        effective: date("Agreement date"),
        end: date("Expiration date"),
        term: length("Initial term length"),
        renewal_term: length("Renewal term length"),
        auto_renews: said("Renewal type")
            .map(|text| Stated { value: text == "Auto-renewal", confidence: Confidence::Low }),
        value: None,
        currency: None,
    }
}

#[test]
fn the_worked_cases_come_to_the_facts_that_they_are_derived_from() {
    let Some(path) = shared_or_skip("cases", "cases/billing_cases.json") else { return };
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = all["cases"].as_array().unwrap();
    let documents: Vec<&Value> = cases
        .iter()
        .flat_map(|c| c["input"]["pandadoc_documents"].as_array().into_iter().flatten())
        .collect();
    assert!(documents.len() >= 14, "{}", documents.len());
    for doc in documents {
        assert_eq!(contract(doc), of_case(doc), "{doc}");
        let [person] = &people(doc)[..] else { panic!("{doc}") };
        assert_eq!(person.emails, ["cus_1@example.com"]);
    }
}

#[test]
fn every_example_of_the_vendor_is_understood() {
    let Some(path) = shared_or_skip("data", "data/pandadoc/response_examples.json") else { return };
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let examples = all["GET /public/v1/documents/{id}/details"]["200"].as_object().unwrap();
    assert!(examples.len() >= 3);
    for (name, doc) in examples {
        let extract = extract(doc);
        assert_eq!(extract.party, Some(RecordKey::new(DOCUMENTS, doc["id"].as_str().unwrap())), "{name}");
        assert_eq!(contract(doc).end, None, "{name}: the end of the signing link is no end");
    }
    let completed = &examples["Completed Document Details"];
    let found = contract(completed);
    assert_eq!(found.signed_at.unwrap().to_rfc3339(), "2024-07-08T15:43:53.800135+00:00");
    assert_eq!((found.value, found.currency), (None, None), "grand_total is not read");
    assert_eq!(people(completed)[0].id, "HzXnuyNraSXMhXchYjUmHJ");
    assert_eq!(organization(completed), None, "PandaDoc's own metadata says nothing of a company");
}

#[test]
fn every_status_has_a_meaning() {
    let Some(path) = shared_or_skip("data", "data/pandadoc/openapi.json") else { return };
    let api: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    fn statuses(node: &Value, found: &mut std::collections::BTreeSet<String>) {
        match node {
            Value::Object(members) => members.values().for_each(|member| statuses(member, found)),
            Value::Array(items) => items.iter().for_each(|item| statuses(item, found)),
            Value::String(text)
                if text.starts_with("document.")
                    && !text[9..].contains(|c: char| !c.is_ascii_lowercase() && c != '_') =>
            {
                found.insert(text.clone());
            }
            _ => {}
        }
    }
    let mut all = std::collections::BTreeSet::new();
    statuses(&api["components"]["schemas"], &mut all);
    statuses(&api["paths"], &mut all);
    assert!(all.len() >= 15, "{all:?}");
    // What this finds beside statuses: the name of a file.
    all.remove("document.pdf");
    for status in &all {
        assert_ne!(status_of(status).word, "Open", "{status}");
    }
}

#[test]
fn the_reference_s_words_are_kept() {
    for (status, word) in [
        ("document.uploaded", "Created"),
        ("document.draft", "Draft"),
        ("document.sent", "Sent"),
        ("document.viewed", "Viewed"),
        ("document.completed", "Signed"),
        ("document.expired", "Expired"),
        ("document.declined", "Declined"),
        ("document.something_new", "Open"),
    ] {
        assert_eq!(status_of(status).word, word);
    }
    for binding in ["document.completed", "document.paid"] {
        assert_eq!(status_of(binding).status, ContractStatus::Completed);
    }
    for (status, word) in [("document.sent", "\"sent\""), ("document.waiting_pay", "\"waiting_payment\"")] {
        assert_eq!(serde_json::to_string(&status_of(status).status).unwrap(), word);
    }
}

#[test]
fn a_forced_status_signs_nothing_and_a_group_signs_by_one_member() {
    let unsigned = document(json!({
        "date_completed": "2026-01-02T00:00:00Z",
        "recipients": [{"id": "r", "email": "a@b.example", "recipient_type": "signer", "signature_date": null}],
    }));
    assert_eq!((contract(&unsigned).signed_at, contract(&unsigned).completed_at.is_some()), (None, true));
    let group = document(json!({"recipients": [
        {"id": "g", "type": "recipient_group", "recipient_type": "signer", "role": "Buyers", "members": [
            {"id": "m1", "first_name": "Ada", "last_name": "", "email": "ada@b.example", "signature_date": "2026-03-01T00:00:00Z"},
            {"id": "m2", "first_name": "", "last_name": "", "email": null, "signature_date": null},
        ]},
        {"id": "r", "contact_id": "c", "email": " bob@b.example ", "first_name": "Bob", "last_name": "By", "recipient_type": "CC", "signature_date": "2026-02-01T00:00:00Z"},
        {"id": "empty", "email": "", "first_name": "", "last_name": ""},
        "not a recipient",
    ]}));
    assert_eq!(contract(&group).signed_at.unwrap().to_rfc3339(), "2026-02-01T00:00:00+00:00");
    let people = people(&group);
    let ids: Vec<&str> = people.iter().map(|person| person.id.as_str()).collect();
    assert_eq!(ids, ["m1", "c"], "nobody for a place without a name");
    assert_eq!(
        (people[1].name.as_deref(), &people[1].emails[..]),
        (Some("Bob By"), &["bob@b.example".to_owned()][..])
    );
    assert_eq!(people[0].properties["recipient_type"], "signer");
    assert_eq!(people[0].properties["role"], "Buyers");
}

#[test]
fn links_and_metadata_say_whose_it_is() {
    let doc = document(json!({
        "metadata": {"company_id": " c-1 ", "document__creation_source": "public api", "seats": 5, "vip": true, "deep": {"a": 1}, "empty": ""},
        "linked_objects": [
            {"id": "1", "provider": "hubspot", "entity_type": "deal", "entity_id": "777", "children": [{"id": "3", "entity_type": "line item", "entity_id": "9"}]},
            {"id": "2", "provider": "HubSpot", "entity_type": "Deal", "entity_id": "778"},
            {"id": "2", "provider": "hubspot", "entity_type": "deal", "entity_id": "777"},
            {"id": "4", "provider": "hubspot"},
        ],
        "recipients": [{"id": "r", "email": "a@b.example"}],
    }));
    let found = organization(&doc).unwrap();
    let properties: Vec<(&str, &str)> =
        found.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        properties,
        [
            ("company_id", "c-1"),
            ("hubspot_deal_id", "777,778"),
            ("hubspot_line_item_id", "9"),
            ("seats", "5"),
            ("vip", "true"),
        ]
    );
    assert_eq!(people(&doc)[0].organizations, ["doc"]);
    assert!(found.name.is_none() && found.domains.is_empty());
    // Under a name of the settings, from a variable.
    let doc = document(json!({
        "tokens": [{"name": "Customer.Number", "value": "K-77"}],
        "halo_sync": {"fields": {"company_id": ["customer number"]}},
    }));
    assert_eq!(organization(&doc).unwrap().properties["company_id"], "K-77");
}

#[test]
fn the_value_is_the_price_and_never_the_grand_total() {
    let value = |pricing: Value| {
        let doc = document(json!({"grand_total": {"amount": "999", "currency": "PLN"}, "pricing": pricing}));
        let found = contract(&doc);
        (found.value.map(|value| value.to_string()), found.currency)
    };
    let some = |value: &str, code: &str| (Some(value.to_owned()), Some(code.to_owned()));
    let table = |total: &str, currency: &str| json!({"id": "t", "total": total, "currency": currency, "is_included_in_total": true});
    assert_eq!(value(json!({"tables": [table("10", "USD")], "total": "200000.50"})), some("200000.5", "usd"));
    assert_eq!(
        value(json!({"quotes": [{"id": "q", "currency": "EUR", "total": "12.00"}]})),
        some("12", "eur")
    );
    assert_eq!(value(json!({"quotes": [{"currency": "EUR"}], "total": "0"})), some("0", "eur"));
    assert_eq!(value(json!({"tables": [table("1", "USD"), table("2", "EUR")], "total": "3"})), (None, None));
    let other = json!({"total": "2", "currency": "EUR", "is_included_in_total": false});
    assert_eq!(value(json!({"tables": [table("1", "USD"), other], "total": "1"})), some("1", "usd"));
    assert_eq!(value(json!({})), (None, None));
    assert_eq!(value(json!({"total": "7"})), (Some("7".to_owned()), None), "in an unknown currency");
    assert_eq!(
        value(json!({"total": "a lot", "tables": [table("1", "USD"), table("2", "USD")]})),
        (None, None)
    );
}

#[test]
fn dates_come_from_fields_then_variables_then_metadata_then_extraction() {
    let stated = |text: &str| Some(Stated { value: day(text), confidence: Confidence::Stated });
    let mut doc = document(json!({
        "expiration_date": "2026-03-01T00:00:00Z",
        "fields": [{"name": "Date 1", "field_id": "ContractEnd", "title": "", "value": "2027-01-01T00:00:00Z", "type": "date"}],
        "tokens": [{"name": "Contract.EndDate", "value": "2027-02-02"}, {"name": "Contract.End", "value": "2027-02-03"}],
        "metadata": {"contract_end": "2027-03-03"},
        "ai_metadata": ai(&[("Expiration date", "2027-04-04", "pending"), ("Agreement date", "2026-01-01", "accepted")]),
    }));
    // By name first: the first of the known names that anything is said under.
    assert_eq!(contract(&doc).end, stated("2027-02-02"));
    doc["tokens"][0]["value"] = json!("to be agreed");
    assert_eq!(contract(&doc).end, stated("2027-01-01"), "of one name the field first");
    doc["fields"] = json!([]);
    assert_eq!(contract(&doc).end, stated("2027-02-03"));
    doc["tokens"] = json!([]);
    assert_eq!(contract(&doc).end, stated("2027-03-03"));
    doc["metadata"] = json!({});
    assert_eq!(contract(&doc).end, Some(Stated { value: day("2027-04-04"), confidence: Confidence::Low }));
    assert_eq!(
        contract(&doc).effective,
        Some(Stated { value: day("2026-01-01"), confidence: Confidence::Accepted })
    );
    doc["ai_metadata"] = Value::Null;
    let bare = contract(&doc);
    assert_eq!(
        (bare.end, bare.effective, bare.term, bare.renewal_term, bare.auto_renews),
        (None, None, None, None, None)
    );
}

#[test]
fn the_end_of_the_signing_link_is_no_end_in_whatever_it_stands() {
    let doc = document(json!({
        "expiration_date": "2026-03-01T00:00:00Z",
        "fields": [{"name": "Expiration date", "value": "2026-03-01T00:00:00Z"}],
        "tokens": [{"name": "Document.ExpirationDate", "value": "2026-03-01"}, {"name": "Expiration date", "value": "2026-03-01"}],
    }));
    assert_eq!(contract(&doc).end, None);
    // Unless the settings say that it is.
    let mut trusted = doc;
    trusted["halo_sync"] = json!({"fields": {"end": ["Expiration Date"]}});
    assert_eq!(
        contract(&trusted).end,
        Some(Stated { value: day("2026-03-01"), confidence: Confidence::Stated })
    );
}

#[test]
fn settings_come_before_known_names() {
    let doc = document(json!({
        "tokens": [{"name": "Laufzeit", "value": "24 months"}, {"name": "Contract term", "value": "12 months"}, {"name": "Verlängerung", "value": "6 months"}],
        "metadata": {"renewal": "no", "auto_renew": "yes"},
        "halo_sync": {"fields": {"term": ["Nothing", "LAUFZEIT"], "auto_renews": ["renewal"]}},
    }));
    let found = contract(&doc);
    assert_eq!(found.term, Some(Stated { value: months(24), confidence: Confidence::Stated }));
    assert_eq!(found.auto_renews, Some(Stated { value: false, confidence: Confidence::Stated }));
    assert_eq!(found.renewal_term, None, "a name that nobody knows");
}

#[test]
fn a_quote_says_the_term_where_its_items_agree() {
    let item = |every: &str, term: &str, selected: bool| json!({"billing_frequency": every, "contract_term": term, "options": {"selected": selected}});
    let term = |items: Value| {
        let quote = json!({"id": "q", "currency": "USD", "sections": [{"settings": {"selected": true}, "items": items}]});
        let doc = document(json!({
            "pricing": {"quotes": [quote]},
            "ai_metadata": ai(&[("Initial term length", "6 months", "pending")]),
        }));
        contract(&doc).term.unwrap()
    };
    let stated =
        |interval, count| Stated { value: Period { interval, count }, confidence: Confidence::Stated };
    assert_eq!(term(json!([item("monthly", "12", true)])), stated(Interval::Month, 12));
    assert_eq!(
        term(json!([item("annually", "3", true), item("one_time", "1", true)])),
        stated(Interval::Year, 3)
    );
    assert_eq!(term(json!([item("quarterly", "4", true)])), stated(Interval::Month, 12));
    assert_eq!(term(json!([item("semiannualy", "2", true)])), stated(Interval::Month, 12));
    assert_eq!(
        term(json!([item("weekly", "6", true), item("monthly", "12", false)])),
        stated(Interval::Week, 6)
    );
    // Two that differ, none, and one that cannot be read: the extraction's word.
    for items in [
        json!([item("monthly", "12", true), item("monthly", "24", true)]),
        json!([]),
        json!([item("monthly", "long", true)]),
    ] {
        assert_eq!(term(items), Stated { value: months(6), confidence: Confidence::Low });
    }
    let written = document(json!({
        "metadata": {"contract_term_months": 36},
        "pricing": {"quotes": [{"sections": [{"items": [item("monthly", "12", true)]}]}]},
    }));
    assert_eq!(
        contract(&written).term.unwrap().value,
        months(36),
        "what somebody wrote comes before the quote"
    );
}

#[test]
fn what_is_no_document_says_where() {
    let path = |text: &str| {
        let payload = RawValue::from_string(text.to_owned()).unwrap();
        facts(&Record { key: RecordKey::new(DOCUMENTS, "a"), payload }).unwrap_err().path
    };
    assert_eq!(path("1"), ".");
    assert_eq!(path("{}"), "status");
    assert_eq!(path(r#"{"status":7}"#), "status");
    let payload = RawValue::from_string("{}".to_owned()).unwrap();
    let other = facts(&Record { key: RecordKey::new("templates", "a"), payload }).unwrap_err();
    assert!(other.is_unknown_stream());
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9A-Za-z $./-]{0,20}".prop_map(Value::from),
        Just(json!("2026-06-30")),
        Just(json!("12 months")),
    ];
    let names = prop::sample::select(vec![
        "fields",
        "tokens",
        "metadata",
        "recipients",
        "members",
        "pricing",
        "tables",
        "quotes",
        "sections",
        "items",
        "total",
        "currency",
        "linked_objects",
        "children",
        "provider",
        "entity_type",
        "entity_id",
        "ai_metadata",
        "results",
        "key",
        "value",
        "halo_sync",
        "end",
        "name",
        "status",
        "signature_date",
        "billing_frequency",
        "contract_term",
        "id",
        "email",
    ]);
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(names.clone(), inner, 0..6)
                .prop_map(|map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    /// Whatever shapes a document's members have: facts or an error, never a panic, and the same again.
    #[test]
    fn no_document_panics(members in proptest::collection::btree_map("fields|tokens|metadata|recipients|pricing|linked_objects|ai_metadata|halo_sync|name|date_completed", json(), 0..8)) {
        let mut doc = json!({"id": "doc", "status": "document.completed"});
        for (name, value) in members {
            doc[name] = value;
        }
        let first = facts(&record(&doc)).unwrap();
        prop_assert_eq!(&facts(&record(&doc)).unwrap(), &first);
        // As they are stored.
        let text = serde_json::to_string(&first.facts).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vec<Fact>>(&text).unwrap(), first.facts);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,60}") {
        if let Ok(payload) = RawValue::from_string(text.clone()) {
            let _ = facts(&Record { key: RecordKey::new(DOCUMENTS, "a"), payload });
        }
        let _ = crate::record::head(&text);
        let _ = crate::record::record("a", &text, None, Some("{}"));
    }
}
