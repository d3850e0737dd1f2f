//! An import says what the same calls of the API say; and a batch is written once.

use std::collections::{BTreeMap, BTreeSet};

use halo_sync::domain::OrgId;
use halo_sync::domain::users::EndUser;
use halo_sync::import::columns::CellType;
use halo_sync::import::{Format, Plan, Reader};
use halo_sync::product::{Author, ImportKind, ImportStep, Product, Status, UserWrite};
use halo_sync::service::Request;
use halo_sync::store::imports::ImportState;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::support::app::{App, on_both};

on_both!(an_import_is_what_update_calls_are, a_batch_is_written_once);

fn plan() -> Plan {
    Plan {
        kind: ImportKind::Contacts,
        map: BTreeMap::new(),
        id_column: None,
        types: [("n".to_owned(), CellType::Number), ("j".to_owned(), CellType::Json)].into(),
        as_text: BTreeSet::from(["s".to_owned(), "t".to_owned()]),
        empty_clears: false,
    }
}

fn step(id: &str, file: &[u8], format: Format) -> ImportStep {
    let mut reader = Reader::open(file, format, plan()).unwrap();
    let (mut rows, mut refused) = (Vec::new(), Vec::new());
    while let Some(row) = reader.next_row().unwrap() {
        match row.said {
            Ok(said) => rows.push(said),
            Err(why) => refused.push((reader.count(), why)),
        }
    }
    ImportStep {
        kind: ImportKind::Contacts,
        id: id.to_owned(),
        before: ImportState { run: id.to_owned(), ..ImportState::default() },
        rows,
        refused,
        duplicates: 0,
        digest: reader.digest(),
        rejects_bytes: 0,
        last: true,
        update_only: false,
    }
}

/// A row: id, texts, a number, a nested value, an amount, a company.
type Made = (u8, String, String, f64, Vec<(String, i32)>, Option<i32>, Option<u8>);

fn rows() -> impl Strategy<Value = Vec<Made>> {
    // Cells are trimmed nowhere but at ids; an empty one is no value.
    let text = "[^\u{0}]{1,12}".prop_filter("blank cells say nothing", |text| !text.trim().is_empty());
    let nested = prop::collection::vec(("[a-z]{1,4}", any::<i32>()), 0..3);
    let number = prop_oneof![any::<i32>().prop_map(f64::from), -1e6..1e6];
    let row = (
        0u8..12,
        text.clone(),
        text,
        number,
        nested,
        prop::option::of(-1_000_000..1_000_000i32),
        prop::option::of(0u8..3),
    );
    prop::collection::vec(row, 1..25)
}

fn traits((_, s, t, n, nested, amount, _): &Made) -> Map<String, Value> {
    let nested: Map<String, Value> = nested.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let mut traits = json!({"s": s, "t": t, "n": n, "j": nested}).as_object().unwrap().clone();
    if let Some(amount) = amount {
        traits.insert("mrr".to_owned(), json!(f64::from(*amount) / 100.0));
    }
    traits
}

async fn users(app: &App, org: &OrgId) -> Vec<Value> {
    let rows: Vec<EndUser> = app.store.list_users(org, None, None, 10_000).await.unwrap().rows;
    let mut names = BTreeMap::new();
    for company in app.store.list_companies(org, None, None, 10_000).await.unwrap().rows {
        names.insert(company.id.clone(), company.external_id);
    }
    let mut said: Vec<Value> = rows
        .into_iter()
        .map(|user| {
            let company = user.company_id.and_then(|id| names.get(&id).cloned());
            json!([user.external_id, company, user.fields, user.custom_fields, user.context, user.last_seen])
        })
        .collect();
    said.sort_by_key(Value::to_string);
    said
}

async fn an_import_is_what_update_calls_are(app: &App) {
    let product = Product::new(app.store.clone(), app.services.clock.clone(), None);
    let mut runner = TestRunner::new(Config::default());
    let cases = if std::env::var_os("CI").is_some() { 48 } else { 16 };
    for case in 0..cases {
        let made = rows().new_tree(&mut runner).unwrap().current();
        let orgs = ["api", "csv", "jsonl"].map(|of| OrgId::from(format!("org_{of}_{case}").as_str()));
        for org in &orgs {
            app.store.put_org(org, "x", &json!({}), app.now()).await.unwrap();
        }
        let mut calls = Vec::new();
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(["user_id", "s", "t", "n", "j", "mrr", "company_id"]).unwrap();
        let mut lines = String::new();
        for (n, row) in made.iter().enumerate() {
            let (id, company) = (format!("u{}", row.0), row.6.map(|c| format!("c{c}")));
            let traits = traits(row);
            let cell = |key: &str| match traits.get(key) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            let mut cells = vec![id.clone()];
            cells.extend(["s", "t", "n", "j", "mrr"].map(cell));
            cells.push(company.clone().unwrap_or_default());
            csv.write_record(&cells).unwrap();
            let mut line = match n % 2 {
                0 => json!({"user_id": id, "traits": traits}),
                _ => Value::Object(traits.clone()),
            };
            line["user_id"] = json!(id);
            if let Some(company) = &company {
                line["company_id"] = json!(company);
            }
            lines.push_str(&format!("{line}\n"));
            calls.push(UserWrite {
                user_id: id,
                traits: traits.into(),
                company_id: company,
                ..UserWrite::default()
            });
        }
        let results = product.update_users(&orgs[0], &calls, false, &Author::import()).await.unwrap();
        let expected = users(app, &orgs[0]).await;
        let count = |status| results.iter().filter(|r| r.status == status).count() as u64;
        let csv = csv.into_inner().unwrap();
        for (org, file, format) in [
            (&orgs[1], &csv[..], Format::Csv { delimiter: None }),
            (&orgs[2], lines.as_bytes(), Format::JsonLines),
        ] {
            let state = product.import(org, step("i", file, format)).await.unwrap();
            assert_eq!(users(app, org).await, expected, "{}", String::from_utf8_lossy(file));
            let counts = state.counts;
            assert_eq!(
                [counts.created, counts.updated, counts.unchanged, counts.rejected],
                [Status::Created, Status::Updated, Status::Unchanged, Status::Rejected].map(count)
            );
        }
    }
}

async fn a_batch_is_written_once(app: &App) {
    let ask = async |step: &ImportStep| {
        let answer = app.execute(Request::Import { step: Box::new(step.clone()), currency: None }).await?;
        Ok::<ImportState, halo_sync::service::Failure>(serde_json::from_value(answer).unwrap())
    };
    let format = Format::Csv { delimiter: None };
    let mut first = step("run_1", b"user_id,s\nu1,a\nu2,b\nu1,c\nu3\n", format);
    first.last = false;
    let done = ask(&first).await.unwrap();
    let counts = done.counts;
    assert_eq!([counts.created, counts.updated, counts.rejected, counts.rows()], [2, 1, 1, 4]);
    assert_eq!(done.rejects, [(4, "1 cells, the header has 2".to_owned())]);
    // Its answer was lost: the same again says the same and counts nothing twice.
    assert_eq!(ask(&first).await.unwrap(), done);
    let mut second = step("run_1", b"user_id,s\nu1,c\nu4,d\n", format);
    second.before = done.clone();
    let done = ask(&second).await.unwrap();
    assert_eq!([done.counts.created, done.counts.unchanged, done.counts.rows()], [3, 1, 6]);
    assert!(done.finished);
    assert_eq!(app.store.find_import(&app.org, "run_1").await.unwrap(), Some(done));
    // What goes on elsewhere is refused: two processes import one file.
    let mut stray = second.clone();
    stray.digest = "other".to_owned();
    assert_eq!(ask(&stray).await.unwrap_err().code, "invalid");
    // Another run begins anew, and nobody else's organisation has an import.
    let mut anew = first.clone();
    anew.before.run = "run_2".to_owned();
    assert_eq!(ask(&anew).await.unwrap().counts.unchanged + 2, 3);
    assert_eq!(app.store.find_import(&"org_b".into(), "run_1").await.unwrap(), None);
}
