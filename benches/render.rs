//! Merge and render: a typical profile (20 traits, 8 entries; goal 50 µs) and one of 50,000 bytes (goal 5 ms).
#![expect(clippy::expect_used, reason = "the documents are written here")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use halo_sync::context::{CompanyDoc, MergeOptions, RenderOptions, Request, UserDoc, merge, render};
use serde_json::{Map, Value, json};

/// 20 traits on user and company, 8 entries of the common types, an override by the request.
fn typical() -> (UserDoc, CompanyDoc, Request) {
    let list = |n: usize| -> Vec<Value> {
        (0..n).map(|i| json!({"event_name": format!("event_{i}"), "label": format!("Event number {i}"), "status": "active"})).collect()
    };
    let user = json!({
        "external_id": "user_123", "name": "Jane Doe", "email": "jane@acme.test", "signed_up_at": "2024-08-12T15:32:00Z",
        "custom_fields": {"role": "admin", "plan": "pro", "locale": "de-DE", "time_zone": "Europe/Berlin", "seats": 5, "beta_tester": true,
            "last_page": "/settings/billing", "acquisition_channel": "organic"},
        "context": {
            "active_events": {"label": "Active Tracking Events", "type": "list", "value": list(5)},
            "integrations": {"label": "Connected Integrations", "type": "integration", "value": {
                "facebook_ads": {"connected": true, "status": "active"}, "google_ads": {"connected": true, "status": "error", "error": "Token expired"},
                "hubspot": {"connected": false}, "stripe": {"connected": true, "status": "active"}}},
            "issues": {"label": "Current Issues", "type": "error", "value": [{"area": "Tracking pixel", "message": "Pixel not firing on checkout page"}]},
            "onboarding": {"label": "Onboarding", "type": "status", "value": {"step": 3, "of": 5, "blocked": false}},
            "features": {"label": "Features", "type": "feature", "value": {"dark_mode": true, "api_access": true, "sso": false}},
        },
    });
    let company = json!({
        "external_id": "company_456", "name": "Acme Corp", "plan": "enterprise", "industry": "SaaS", "domain": "acme.test", "employee_count": 150,
        "on_contract": true, "mrr_minor": 29900, "arr_minor": 358800, "mrr_currency": "usd", "provenance": {"plan": "synced"},
        "custom_fields": {"space_id": "space_789", "region": "EU"},
        "context": {
            "halo.subscriptions": {"label": "Subscriptions", "type": "list", "value": [{"label": "Enterprise", "quantity": 5, "renews": "2026-12-01", "status": "active"}]},
            "limits": {"label": "Limits", "type": "metric", "value": {"seats_used": 5, "seats_limit": 10, "api_calls": 120_000}},
            "spaces": {"label": "Spaces", "type": "relationship", "value": {"space_789": "Acme Corp", "space_790": "Acme Labs"}},
        },
    });
    let request = json!({"key": "publishable", "custom_fields": {"last_page": "/checkout"}});
    (from(user), from(company), from(request))
}

fn from<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("a document")
}

/// About 50,000 bytes of company context, in `script`'s letters.
fn maximal(words: &str) -> (UserDoc, CompanyDoc, Request) {
    let (user, mut company, request) = typical();
    company.context.clear();
    let mut bytes = 0;
    let mut number = 0;
    while bytes < 50_000 {
        let items: Vec<Value> = (0..20)
            .map(|n| json!({"id": format!("item_{number}_{n}"), "label": words, "note": format!("{words}\n{words}"), "status": "open"}))
            .collect();
        let value = Value::Array(items);
        bytes += value.to_string().len();
        company.context.insert(
            format!("section_{number}"),
            from(json!({"label": format!("Section {number}"), "type": "list", "value": value})),
        );
        number += 1;
    }
    (user, company, request)
}

/// 50,000 bytes of traits with nested values.
fn nested() -> (UserDoc, CompanyDoc, Request) {
    let (user, mut company, request) = typical();
    let mut fields = Map::new();
    while serde_json::to_string(&fields).map_or(0, |text| text.len()) < 50_000 {
        let n = fields.len();
        fields.insert(
            format!("some_field_{n}"),
            json!({"a": {"b": {"c": ["x, y", "z", n]}}, "text": "word ".repeat(30)}),
        );
    }
    company.custom_fields = fields;
    (user, company, request)
}

fn bench(c: &mut Criterion) {
    let merging = MergeOptions::default();
    let options = RenderOptions::default();
    let mut group = c.benchmark_group("merge_and_render");
    for (name, (user, company, request)) in [
        ("typical", typical()),
        ("50k_ascii", maximal("The quick brown fox jumps over the lazy dog (again)")),
        ("50k_arabic", maximal("النص العربي الطويل نمی\u{200c}خواهم")),
        ("50k_emoji", maximal("👩\u{200d}💻 works ❤\u{fe0f} ［x］ — \u{e0041}")),
        ("50k_nested", nested()),
    ] {
        let run = || {
            let merged = merge(Some(&user), Some(&company), &request, &[], &merging);
            render(&merged, &options)
        };
        group.throughput(Throughput::Bytes(run().text.len() as u64));
        group.bench_function(name, |b| b.iter(|| black_box(run())));
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
