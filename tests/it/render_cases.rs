//! The worked merge and render cases that are kept beside the checkout.

use std::path::PathBuf;

use halo_sync::context::cases;
use serde_json::Value;

/// The folder of worked cases; `None`, with a notice, where it is absent and not required.
pub(super) fn cases_dir() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("HALO_SYNC_SHARED").map(PathBuf::from);
    let candidates = named.into_iter().chain([root.join("../shared"), root.join("../../shared")]);
    let found = candidates.map(|dir| dir.join("cases")).find(|dir| dir.is_dir());
    if found.is_none() {
        let required = std::env::var("HALO_SYNC_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|part| part.trim() == "cases"), "the worked cases are required");
        println!("skipped: no worked cases beside the checkout");
    }
    found
}

#[test]
fn every_worked_case_is_answered() {
    let Some(dir) = cases_dir() else { return };
    let text = std::fs::read_to_string(dir.join("render_cases.json")).unwrap();
    let all = cases::cases(serde_json::from_str(&text).unwrap()).unwrap();
    assert!(!all.is_empty());
    let mut wrong = Vec::new();
    for case in &all {
        let answer = cases::answer(case).unwrap();
        assert_eq!(answer["id"], case["id"]);
        let text = answer["text"].as_str().unwrap();
        let expected = &case["expected"];
        let list = |name: &str| expected[name].as_array().cloned().unwrap_or_default();
        let mut checks = 0;
        if let Some(whole) = expected["text"].as_str() {
            checks += 1;
            if text != whole {
                wrong.push(format!("{}: text is\n{text}", case["id"]));
            }
        }
        for part in list("contains").iter().map(|part| part.as_str().unwrap()) {
            checks += 1;
            if !text.contains(part) {
                wrong.push(format!("{}: lacks {part:?} in\n{text}", case["id"]));
            }
        }
        for part in list("absent").iter().map(|part| part.as_str().unwrap()) {
            checks += 1;
            if text.contains(part) {
                wrong.push(format!("{}: has {part:?} in\n{text}", case["id"]));
            }
        }
        assert!(checks > 0, "{}: nothing is expected", case["id"]);
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn a_file_an_array_and_one_case_read_alike() {
    let case: Value = serde_json::json!({"id": "a", "input": {"user": {"name": "Jo"}}});
    for document in
        [case.clone(), serde_json::json!([case]), serde_json::json!({"about": "", "cases": [case]})]
    {
        let read = cases::cases(document).unwrap();
        assert_eq!(read, vec![case.clone()]);
    }
    assert_eq!(cases::answer(&case).unwrap()["text"], "[User Profile]\nName: Jo");
    assert!(cases::cases(Value::from(3)).is_err());
}

#[test]
fn a_wrong_member_is_named() {
    for (input, member, word) in [
        (serde_json::json!({"usr": {}}), "input.usr", "usr"),
        (serde_json::json!({"user": {"custom_fields": 3}}), "input.user.custom_fields", "map"),
        (
            serde_json::json!({"user": {"context": {"a": {"label": "A", "type": "table", "value": 1}}}}),
            "input.user.context.a.type",
            "table",
        ),
        (serde_json::json!({"user": {"context": {"a": {"value": 1}}}}), "input.user.context.a", "label"),
        (serde_json::json!({"request": {"key": "root"}}), "input.request.key", "root"),
        (
            serde_json::json!({"company": {"provenance": {"plan": "best"}}}),
            "input.company.provenance.plan",
            "best",
        ),
        (serde_json::json!({"attributes": [{"scope": "user"}]}), "input.attributes[0]", "key"),
    ] {
        let error = cases::answer(&serde_json::json!({"id": "x", "input": input})).unwrap_err();
        assert_eq!(error.member, member, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.to_string().starts_with("case x: "), "{error}");
    }
    assert_eq!(cases::answer(&serde_json::json!({"id": "x"})).unwrap_err().member, "input");
}
