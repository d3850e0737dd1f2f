//! P6: what is cut, how it shows, and that a flood stays where it is.

use halo_sync::context::{
    MergeOptions, RenderOptions, Rendered, Request, TEXT_CHARS, UserDoc, merge, render,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::parser::{self, Tree};
use super::{cases, company, nasty, request, user};

fn rendered(user: &UserDoc, request: &Request, options: &RenderOptions) -> Rendered {
    render(&merge(Some(user), None, request, &[], &MergeOptions::default()), options)
}

fn flood(count: usize) -> Map<String, Value> {
    (0..count).map(|n| (format!("k{n:04}"), Value::from(n))).collect()
}

#[test]
fn long_texts_are_cut_where_it_shows() {
    let user = user(json!({ "name": "é".repeat(TEXT_CHARS + 7), "custom_fields": { "k".repeat(1_200): 1 } }));
    let out = rendered(&user, &Request::default(), &RenderOptions::default());
    let parsed = parser::parse(&out.text, false).unwrap();
    assert_eq!(parsed.sections[0].fields[0].value, Tree::Text("é".repeat(TEXT_CHARS), 7));
    assert_eq!(parsed.sections[0].fields[1].name, "k".repeat(TEXT_CHARS));
    assert!(out.sections[0].truncated);
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_cut_text_is_a_beginning_of_it(pieces in proptest::collection::vec(nasty::text(), 300..500)) {
        let name = pieces.concat();
        let user = user(json!({ "name": name }));
        let out = rendered(&user, &Request::default(), &RenderOptions::default());
        let parsed = parser::parse(&out.text, false).unwrap();
        let Tree::Text(shown, cut) = &parsed.sections[0].fields[0].value else { panic!("no text") };
        prop_assert!(super::expect::strip(&name).starts_with(&super::expect::strip(shown)));
        prop_assert!(*cut == 0 || shown.chars().count() <= TEXT_CHARS);
        prop_assert!(super::forbidden(&out.text).is_none());
    }

    #[test]
    fn a_budget_is_kept_and_the_text_still_reads(values in proptest::collection::vec(nasty::value(), 1..8), budget in 8_usize..400) {
        let context: Map<String, Value> = values.into_iter().enumerate()
            .map(|(n, value)| (format!("e{n}"), json!({"label": format!("Entry {n}"), "value": value}))).collect();
        let user = user(json!({ "name": "Jo", "context": context }));
        let options = RenderOptions { budget_tokens: Some(budget), ..RenderOptions::default() };
        let out = rendered(&user, &Request::default(), &options);
        prop_assert!(out.tokens <= budget, "{} > {budget}\n{}", out.tokens, out.text);
        let sections: Vec<&str> = out.text.split("\n\n").filter(|part| part.starts_with('[')).collect();
        prop_assert_eq!(sections.len(), out.sections.len());
        prop_assert_eq!(parser::headers(&out.text), out.sections.len());
        for (part, section) in sections.iter().zip(&out.sections) {
            prop_assert_eq!(part.len(), section.bytes);
        }
        let full = rendered(&user, &Request::default(), &RenderOptions::default());
        prop_assert_eq!(out.text == full.text, out.trimmed.is_empty() && full.tokens <= budget);
    }
}

#[test]
fn keys_items_and_depth_are_bounded() {
    let deep = json!({"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}});
    let user = user(json!({
        "custom_fields": flood(300),
        "context": {
            "deep": {"label": "Deep", "value": deep},
            "items": {"label": "Items", "value": (0..300).collect::<Vec<_>>()},
            "keys": {"label": "Keys", "type": "metric", "value": flood(201)},
            "nested": {"label": "Nested", "value": {"a": flood(300), "b": 1}},
            "wide": {"label": "Wide", "type": "list", "value": [flood(300), {"label": "L", "status": "s", "x": 1}]},
        },
    }));
    let out = rendered(&user, &Request::default(), &RenderOptions::default());
    let parsed = parser::parse(
        &out.text.replace(", 100 more not shown)", ")").replace(" (1 more not shown) -- s", " -- s"),
        false,
    )
    .unwrap();
    assert_eq!((parsed.sections[0].fields.len(), parsed.sections[0].hidden), (200, 100));
    let deep = out.text.split("[Deep]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    assert_eq!(deep, "A:\n  B:\n    C:\n      D:\n        E: (1 keys not shown)");
    assert!(matches!(&parsed.sections[2].value, Some(Tree::List(items, 100)) if items.len() == 200));
    assert!(matches!(&parsed.sections[3].value, Some(Tree::Map(pairs, 1)) if pairs.len() == 200));
    let Some(Tree::Map(pairs, 0)) = &parsed.sections[4].value else { panic!("{:?}", parsed.sections[4]) };
    assert!(matches!(&pairs[0].1, Tree::Map(nested, 102) if nested.len() == 198));
    assert!(out.text.contains(", 100 more not shown)\n- \"L\" (1 more not shown) -- s"));
    assert!(out.sections.iter().all(|section| section.truncated));
    assert!(out.trimmed.iter().any(|trimmed| trimmed.section == "[User Profile]" && trimmed.hidden == 100));
}

#[test]
fn a_flood_never_shortens_another_section() {
    let quiet = json!({"label": "Quiet", "type": "error", "value": (0..50).map(|n| json!({"area": "a", "message": format!("m{n}")})).collect::<Vec<_>>()});
    let with = |noise: Value| {
        let user =
            user(json!({"name": "Jo", "context": {"a": {"label": "Noise", "value": noise}, "b": quiet}}));
        rendered(&user, &Request::default(), &RenderOptions::default()).text
    };
    let part = |text: &str| text.split("[Quiet]").nth(1).unwrap().to_owned();
    let calm = with(json!(["x"]));
    for noise in [
        json!((0..5_000).map(|n| format!("noise {n}")).collect::<Vec<_>>()),
        json!("x".repeat(50_000)),
        json!(vec!["y".repeat(900); 200]),
    ] {
        let loud = with(noise);
        assert_eq!(part(&loud), part(&calm));
        assert!(loud.starts_with("[User Profile]\nName: Jo\n\n[Noise]"));
    }
}

#[test]
fn a_flood_of_claims_goes_before_what_is_known() {
    let user = user(
        json!({"name": "Jo", "custom_fields": {"zz_tier": "gold"}, "context": {"z": {"label": "Known", "type": "list", "value": ["x"]}}}),
    );
    let claims: Map<String, Value> =
        (0..400).map(|n| (format!("a{n:03}"), Value::from("y".repeat(500)))).collect();
    let context: Map<String, Value> = (0..300)
        .map(|n| (format!("c{n:03}"), json!({"label": format!("C{n}"), "type": "error", "value": n})))
        .collect();
    let request = request(json!({"key": "publishable", "custom_fields": claims, "context": context}));
    for budget in [None, Some(2_000), Some(200)] {
        let out =
            rendered(&user, &request, &RenderOptions { budget_tokens: budget, ..RenderOptions::default() });
        assert!(out.text.contains("\nZz Tier: gold"), "{budget:?}");
        assert!(out.text.contains("[Known] (list)\n- x"), "{budget:?}");
        assert!(out.text.ends_with(" sections not shown)"), "{budget:?}");
        assert!(budget.is_none_or(|budget| out.tokens <= budget));
    }
}

#[test]
fn a_section_within_its_share_is_never_cut_for_another() {
    let company = company(json!({"name": "A", "custom_fields": flood(190)}));
    let user = user(json!({"name": "Jo", "context": {
        "a": {"label": "Big", "type": "list", "value": (0..150).collect::<Vec<_>>()},
        "b": {"label": "Small", "type": "list", "value": ["one", "two"]},
    }}));
    let request = Request::default();
    let merging = MergeOptions::default();
    let merged = merge(Some(&user), Some(&company), &request, &[], &merging);
    let options = RenderOptions { budget_tokens: Some(200), ..RenderOptions::default() };
    let out = render(&merged, &options);
    assert!(out.tokens <= 200);
    assert!(out.text.starts_with("[User Profile]\nName: Jo\n\n[Company: A]\nK0000: 0\n"));
    assert!(out.text.ends_with("[Small] (list)\n- one\n- two"));
    assert_eq!(
        out.sections.iter().map(|section| section.truncated).collect::<Vec<_>>(),
        [false, true, true, false]
    );
}

#[test]
fn the_same_input_gives_the_same_bytes_in_whatever_order_it_came() {
    let one = r#"{"name":"Jo","custom_fields":{"b":{"y":1,"x":2},"a":1},"context":{"k":{"label":"K","value":[{"q":1,"p":2}]}}}"#;
    let two = r#"{"context":{"k":{"value":[{"p":2,"q":1}],"label":"K"}},"custom_fields":{"a":1,"b":{"x":2,"y":1}},"name":"Jo"}"#;
    let text = |json: &str| {
        rendered(&serde_json::from_str(json).unwrap(), &Request::default(), &RenderOptions::default()).text
    };
    assert_eq!(text(one), text(two));
    assert_eq!(text(one), text(one));
}
