//! Users: `identify` and `update`.

use halo_sync::domain::Rank;
use halo_sync::domain::companies::TraitPatch;
use halo_sync::product::{Author, Product, UserWrite};
use halo_sync::store::identity::{Lookup, WriteSource};
use halo_sync::store::product::Change;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::kit::{Client, user};
use crate::support::app::{App, on_both};

on_both!(
    identify_makes_the_user_and_answers_the_record,
    identify_moves_last_seen_and_update_never_does,
    every_reserved_key_is_named,
    every_wrong_field_is_named,
    amounts_are_exact_or_refused,
    a_browser_claims_and_is_told_nothing,
    what_a_token_says_outranks_what_a_browser_says,
    a_lead_becomes_the_user_whom_a_token_proves,
    nobody_is_stored_for_anonymous,
    ids_that_look_like_ours_are_the_callers,
    a_wrong_user_spoils_none_but_itself,
    one_user_is_updated_by_its_own_members,
    sizes_and_counts_are_bounded,
    what_many_calls_add_up_to_is_bounded,
    strings_of_all_kinds_are_kept_or_refused,
    calls_that_arrive_together_are_all_written,
);

async fn identify_makes_the_user_and_answers_the_record(app: &App) {
    let server = Client::server(app).await;
    let body = json!({
        "user_id": "user_123", "company_id": "company_456", "session_id": "s1",
        "traits": {"name": "Jane Doe", "email": "Jane@Acme.example", "role": "admin", "plan": "pro",
            "signed_up_at": "2024-08-12T15:32:00Z", "renewal_date": "2026-12-31", "contract_term": "annual",
            "on_contract": true, "mrr": 299, "arr": 3588.5, "nested": {"a": [1, null]}},
        "context": {"integrations": {"label": "Connected Integrations", "type": "integration", "value": {"x": 1}}},
    });
    let answer = server.done("users/identify", body).await;
    let stored = user(app, "user_123").await.unwrap();
    assert_eq!(answer["id"], stored.id.0);
    for (member, expected) in [
        ("status", json!("created")),
        ("external_id", json!("user_123")),
        ("user_id", json!("user_123")),
        ("company_id", json!("company_456")),
        ("name", json!("Jane Doe")),
        ("email", json!("Jane@Acme.example")),
        ("signed_up_at", json!("2024-08-12T15:32:00.000000+00:00")),
        ("renewal_date", json!("2026-12-31")),
        ("contract_term", json!("annual")),
        ("on_contract", json!(true)),
        ("mrr", json!(299)),
        ("arr", json!(3588.5)),
        ("mrr_currency", json!("USD")),
        ("custom_fields", json!({"role": "admin", "plan": "pro", "nested": {"a": [1, null]}})),
    ] {
        assert_eq!(answer[member], expected, "{member}: {answer}");
    }
    assert_eq!(answer["context"]["integrations"]["type"], "integration");
    let created = answer["created_at"].as_str().unwrap();
    assert!(created.ends_with("+00:00") && created.len() == "2026-04-11T12:25:19.492417+00:00".len());
    assert_eq!((stored.fields.mrr_minor, stored.fields.arr_minor), (Some(29_900), Some(358_850)));

    // Traits merge key by key, entries are replaced whole, null removes.
    let body = json!({"user_id": "user_123", "traits": {"plan": "team", "role": null},
        "context": {"integrations": {"label": "L", "value": 2}, "gone": null}});
    let answer = server.done("users/identify", body).await;
    assert_eq!(answer["status"], "updated");
    assert_eq!((&answer["name"], &answer["company_id"]), (&json!("Jane Doe"), &json!("company_456")));
    assert_eq!(answer["custom_fields"], json!({"plan": "team", "nested": {"a": [1, null]}}));
    assert_eq!(answer["context"], json!({"integrations": {"label": "L", "value": 2}}));
}

async fn identify_moves_last_seen_and_update_never_does(app: &App) {
    let server = Client::server(app).await;
    server.done("users/update", json!({"user_id": "u", "traits": {"a": 1}})).await;
    let made = user(app, "u").await.unwrap();
    assert_eq!((made.first_seen, made.last_seen), (None, None));
    app.pass(10);
    let seen = app.now();
    assert_eq!(server.done("users/identify", json!({"user_id": "u"})).await["status"], "unchanged");
    let here = user(app, "u").await.unwrap();
    assert_eq!((here.first_seen, here.last_seen), (Some(seen), Some(seen)));
    // That somebody was there says nothing new about them.
    assert_eq!(here.updated_at, made.updated_at);
    app.pass(10);
    server.done("users/update", json!({"user_id": "u", "traits": {"a": 2}})).await;
    let synced = user(app, "u").await.unwrap();
    assert_eq!((synced.first_seen, synced.last_seen), (Some(seen), Some(seen)));
    assert_eq!(synced.updated_at, app.now());
    app.pass(10);
    server.done("users/identify", json!({"user_id": "u"})).await;
    let again = user(app, "u").await.unwrap();
    assert_eq!((again.first_seen, again.last_seen), (Some(seen), Some(app.now())));
}

async fn every_reserved_key_is_named(app: &App) {
    let client = Client::browser(app).await;
    let all = [
        "id",
        "external_id",
        "org_id",
        "company_id",
        "created_at",
        "updated_at",
        "first_seen",
        "last_seen",
        "last_contacted_at",
    ];
    let traits: Map<String, Value> = all
        .iter()
        .map(|key| ((*key).to_owned(), json!("x")))
        .chain([("name".to_owned(), json!("J"))])
        .collect();
    let body = json!({"user_id": "u", "traits": traits});
    let answer = client.refused("users/identify", body, (400, "reserved_keys")).await;
    let mut named: Vec<&str> =
        answer["reserved_keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    named.sort_unstable();
    let mut expected = all.to_vec();
    expected.sort_unstable();
    assert_eq!(named, expected);
    assert!(answer["error"].as_str().unwrap().contains("signed_up_at"), "{answer}");
    assert!(answer["docs_url"].is_string(), "{answer}");
    assert_eq!(user(app, "u").await, None);
}

async fn every_wrong_field_is_named(app: &App) {
    let server = Client::server(app).await;
    let body = json!({"user_id": "u", "traits": {
        "name": 1, "renewal_status": "soon", "contract_term": "weekly", "payment_terms": 1, "on_contract": "yes",
        "signed_up_at": "yesterday", "renewal_date": 20261231, "mrr": "299", "arr": true, "mrr_minor": 5,
        "mrr_currency": "EUR", "fine": 1},
        "context": {"halo.x": {"label": "L", "value": 1}, "a": {"type": "text", "value": 1}, "b": {"label": "L"},
            "c": 1, "d": {"label": " ", "value": 1}, "fine": {"label": "L", "value": 1}}});
    let answer = server.refused("users/identify", body, (400, "invalid_field")).await;
    let named: Vec<&str> =
        answer["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect();
    for field in [
        "traits.name",
        "traits.renewal_status",
        "traits.contract_term",
        "traits.payment_terms",
        "traits.on_contract",
        "traits.signed_up_at",
        "traits.renewal_date",
        "traits.mrr",
        "traits.arr",
        "traits.mrr_minor",
        "traits.mrr_currency",
        "context.halo.x",
        "context.a.label",
        "context.a.type",
        "context.b.value",
        "context.c",
        "context.d.label",
    ] {
        assert!(named.contains(&field), "{field}: {answer}");
    }
    assert!(!named.iter().any(|field| field.ends_with("fine")), "{answer}");
    assert_eq!(named.len(), 17, "{answer}");
    assert_eq!(user(app, "u").await, None);
    for (body, expected) in [
        (json!({}), (400, "missing_field")),
        (json!({"user_id": ""}), (400, "missing_field")),
        (json!({"user_id": "a\u{0}b"}), (400, "invalid_field")),
        (json!({"user_id": "x".repeat(513)}), (400, "invalid_field")),
        (json!({"user_id": 7}), (400, "invalid_body")),
        (json!({"user_id": "u", "traits": []}), (400, "invalid_body")),
        (json!({"user_id": "u", "context": "x"}), (400, "invalid_body")),
    ] {
        server.refused("users/identify", body, expected).await;
    }
}

async fn amounts_are_exact_or_refused(app: &App) {
    let server = Client::server(app).await;
    for (text, minor) in [
        ("0.07", Some(7)),
        ("299.00000000000000000000", Some(29_900)),
        ("1e3", Some(100_000)),
        ("90071992547409.93", Some(9_007_199_254_740_993)),
        ("-1.5", Some(-150)),
        ("299.005", None),
        ("299.00000000000000000001", None),
        ("1e400", None),
        ("92233720368547758.08", None),
        ("\"1\"", None),
        ("[1]", None),
    ] {
        let body = format!(r#"{{"user_id": "u", "traits": {{"mrr": {text}}}}}"#);
        let (status, answer) = server.send(Method::POST, "users/identify", body.into_bytes()).await;
        match minor {
            Some(minor) => {
                assert_eq!(status, 200, "{text}: {answer}");
                let stored = user(app, "u").await.unwrap().fields;
                assert_eq!(
                    (stored.mrr_minor, stored.mrr_currency.as_deref()),
                    (Some(minor), Some("usd")),
                    "{text}"
                );
            }
            None => assert_eq!((status, &answer["code"]), (400, &json!("invalid_field")), "{text}: {answer}"),
        }
    }
    server.done("users/identify", json!({"user_id": "u", "traits": {"mrr": null}})).await;
    assert_eq!(user(app, "u").await.unwrap().fields.mrr_minor, None);
}

async fn a_browser_claims_and_is_told_nothing(app: &App) {
    let (server, browser) = (Client::server(app).await, Client::browser(app).await);
    let known = json!({"user_id": "u", "traits": {"name": "Jane", "plan": "pro", "secret": "s3cret", "mrr": 10},
        "context": {"a": {"label": "A", "value": "from the server"}}, "company_id": "real"});
    server.done("users/identify", known).await;
    let by_hand =
        TraitPatch { traits: Map::from_iter([("tier".to_owned(), json!(3))]), ..TraitPatch::default() };
    let source = WriteSource { rank: Rank::Manual, source: "manual".to_owned(), at: app.now() };
    app.store.put_user(&app.org, &Lookup::External("u".to_owned()), &by_hand, None, &source).await.unwrap();
    let claim = json!({"user_id": "u", "company_id": "mine", "traits": {"name": "Eve", "tier": 9, "theme": "dark", "mrr": 1},
        "context": {"a": {"label": "A", "value": "forged"}, "b": {"label": "B", "value": 1}}});
    let answer = browser.done("users/identify", claim).await;
    // What it sent, ids and times; nothing that is stored.
    assert_eq!(
        (&answer["name"], &answer["company_id"], &answer["mrr"]),
        (&json!("Eve"), &json!("mine"), &json!(1))
    );
    assert_eq!(answer["custom_fields"], json!({"tier": 9, "theme": "dark"}));
    let text = answer.to_string();
    for hidden in ["s3cret", "Jane", "from the server", "pro", "real"] {
        assert!(!text.contains(&format!("\"{hidden}\"")), "{hidden}: {text}");
    }
    let stored = user(app, "u").await.unwrap();
    assert_eq!((stored.fields.name.as_deref(), stored.fields.mrr_minor), (Some("Jane"), Some(1_000)));
    assert_eq!((&stored.custom_fields["tier"], &stored.custom_fields["theme"]), (&json!(3), &json!("dark")));
    assert_eq!(stored.context["a"].value, "from the server");
    assert_eq!(stored.context["b"].value, 1);
    let company =
        app.store.find_company(&app.org, &Lookup::External("real".to_owned())).await.unwrap().unwrap();
    assert_eq!(stored.company_id, Some(company.id));
    // A claimed address, or an address at a claimed company, leads no party anywhere.
    browser
        .done(
            "users/identify",
            json!({"user_id": "v", "traits": {"email": "v@acme.example"}, "company_id": "real"}),
        )
        .await;
    let keys = app.dump("company_keys").await;
    assert!(!keys.iter().any(|row| row.contains("v@acme.example")), "{keys:?}");
    browser.refused("users/update", json!({"users": []}), (403, "identity_required")).await;
    server.done("users/update", json!({"user_id": "v", "traits": {"email": "v@acme.example"}})).await;
    let keys = app.dump("company_keys").await;
    assert!(!keys.iter().any(|row| row.contains("v@acme.example")), "{keys:?}");
    server.done("companies/identify", json!({"company_id": "real", "user_id": "v"})).await;
    let keys = app.dump("company_keys").await;
    assert!(keys.iter().any(|row| row.contains("v@acme.example")), "{keys:?}");
}

fn product(app: &App) -> Product {
    Product::new(app.store.clone(), app.services.clock.clone(), None)
}

fn proven(claims: Value) -> Author {
    Author { claims: claims.as_object().unwrap().clone(), verified: true, ..Author::claimed() }
}

async fn what_a_token_says_outranks_what_a_browser_says(app: &App) {
    let product = product(app);
    let write = UserWrite {
        user_id: "u".to_owned(),
        traits: json!({"name": "Eve", "theme": "dark"}).as_object().unwrap().clone().into(),
        company_id: Some("mine".to_owned()),
        ..UserWrite::default()
    };
    let author = proven(json!({"name": "Jane", "role": "owner", "company_id": "real"}));
    let written = product.identify_user(&app.org, &write, &author).await.unwrap();
    assert_eq!(written.user.fields.name.as_deref(), Some("Jane"));
    assert_eq!(
        (&written.user.custom_fields["role"], &written.user.custom_fields["theme"]),
        (&json!("owner"), &json!("dark"))
    );
    assert_eq!(written.company_id.as_deref(), Some("real"));
    assert_eq!(written.said().fields.name.as_deref(), Some("Eve"));
    // Without a token the browser does not get at it again.
    let written = product.identify_user(&app.org, &write, &Author::claimed()).await.unwrap();
    assert_eq!(written.user.fields.name.as_deref(), Some("Jane"));
    assert_eq!((written.company_id.as_deref(), written.change), (Some("real"), Change::Unchanged));
    let wrong = product.identify_user(&app.org, &write, &proven(json!({"name": 7}))).await.unwrap_err();
    assert!(wrong.to_string().contains("user_token") && wrong.to_string().contains("name"), "{wrong}");
}

async fn a_lead_becomes_the_user_whom_a_token_proves(app: &App) {
    let product = product(app);
    // A lead has an address and no id of the caller's.
    let made = UserWrite {
        user_id: "tmp".to_owned(),
        traits: json!({"email": "Jane@Acme.example", "company": "Acme"}).as_object().unwrap().clone().into(),
        ..UserWrite::default()
    };
    let lead = product.identify_user(&app.org, &made, &Author::claimed()).await.unwrap().user;
    app.run_sql("UPDATE end_users SET external_id = NULL").await;
    let write = UserWrite { user_id: "u".to_owned(), ..UserWrite::default() };
    // A browser's own word proves nothing.
    let claim = UserWrite {
        user_id: "eve".to_owned(),
        traits: json!({"email": "jane@acme.example"}).as_object().unwrap().clone().into(),
        ..UserWrite::default()
    };
    let eve = product.identify_user(&app.org, &claim, &Author::claimed()).await.unwrap();
    assert_eq!(eve.change, Change::Created);
    let author = proven(json!({"email": "jane@acme.example"}));
    let user = product.identify_user(&app.org, &write, &author).await.unwrap();
    assert_eq!(
        (&user.user.id, user.user.external_id.as_deref(), user.change),
        (&lead.id, Some("u"), Change::Updated)
    );
    assert_eq!(user.user.custom_fields["company"], "Acme");
    let found = app.store.find_user_by_email(&app.org, " JANE@acme.example").await.unwrap().unwrap();
    assert_eq!(found.id, lead.id);
}

async fn nobody_is_stored_for_anonymous(app: &App) {
    let client = Client::browser(app).await;
    client.done("users/identify", json!({"user_id": "anonymous", "traits": {"a": 1}})).await;
    client
        .done("context/set", json!({"user_id": "anonymous", "context": {"a": {"label": "L", "value": 1}}}))
        .await;
    client.done("companies/identify", json!({"company_id": "c", "user_id": "anonymous"})).await;
    assert_eq!(app.store.count_identities(&app.org).await.unwrap().users, 0);
    let server = Client::server(app).await;
    let answer = server.done("users/update", json!({"users": [{"user_id": "anonymous"}]})).await;
    assert_eq!(answer["rejected"], 1, "{answer}");
}

async fn ids_that_look_like_ours_are_the_callers(app: &App) {
    let server = Client::server(app).await;
    for id in ["usr_1", "usr_01ARZ3NDEKTSV4RRFFQ69G5FAV", "cmp_1"] {
        let answer = server.done("users/identify", json!({"user_id": id, "company_id": "cmp_x"})).await;
        assert_eq!((&answer["user_id"], &answer["status"]), (&json!(id), &json!("created")));
        assert_eq!(answer["company_id"], "cmp_x");
    }
}

async fn a_wrong_user_spoils_none_but_itself(app: &App) {
    let server = Client::server(app).await;
    server.done("users/identify", json!({"user_id": "known", "traits": {"a": 1}})).await;
    server.done("users/identify", json!({"user_id": "same", "traits": {"a": 1}})).await;
    let body = r#"{"users": [
        {"user_id": "new", "traits": {"a": 1}, "company_id": "c"},
        {"user_id": "bad", "traits": {"created_at": 1, "id": 2, "a": 1}},
        {"user_id": "known", "traits": {"a": 2}},
        7,
        {"user_id": "bad", "traits": 3},
        {"traits": {"a": 1}},
        {"user_id": "same", "traits": {"a": 1}},
        {"user_id": "bad", "traits": {"mrr": 0.001}},
        {"user_id": "new", "traits": {"b": 2}}
    ]}"#;
    let (status, answer) = server.send(Method::POST, "users/update", body.as_bytes().to_vec()).await;
    assert_eq!(status, 200, "{answer}");
    let statuses: Vec<&str> =
        answer["results"].as_array().unwrap().iter().map(|item| item["status"].as_str().unwrap()).collect();
    let expected = [
        "created",
        "rejected",
        "updated",
        "rejected",
        "rejected",
        "rejected",
        "unchanged",
        "rejected",
        "updated",
    ];
    assert_eq!(statuses, expected, "{answer}");
    for (member, count) in
        [("total", 9), ("created", 1), ("updated", 2), ("unchanged", 1), ("skipped", 0), ("rejected", 5)]
    {
        assert_eq!(answer[member], count, "{member}: {answer}");
    }
    let bad = &answer["results"][1];
    assert_eq!(
        (&bad["index"], &bad["user_id"], &bad["code"]),
        (&json!(1), &json!("bad"), &json!("reserved_keys"))
    );
    assert_eq!(bad["reserved_keys"].as_array().unwrap().len(), 2);
    assert!(bad["reason"].as_str().unwrap().contains("signed_up_at"), "{bad}");
    assert_eq!(user(app, "bad").await, None);
    let new = user(app, "new").await.unwrap();
    assert_eq!(Value::Object(new.custom_fields), json!({"a": 1, "b": 2}));
    assert!(new.company_id.is_some());

    let body = json!({"update_only": true, "users": [{"user_id": "nobody"}, {"user_id": "known", "traits": {"a": 3}}]});
    let answer = server.done("users/update", body).await;
    assert_eq!((&answer["skipped"], &answer["updated"]), (&json!(1), &json!(1)), "{answer}");
    assert!(answer["results"][0]["reason"].is_string(), "{answer}");
    assert_eq!(user(app, "nobody").await, None);
}

async fn one_user_is_updated_by_its_own_members(app: &App) {
    let server = Client::server(app).await;
    let answer = server.done("users/update", json!({"user_id": "u", "traits": {"a": 1}})).await;
    assert_eq!((&answer["created"], &answer["results"][0]["status"]), (&json!(1), &json!("created")));
    let body = json!({"user_id": "u", "traits": {"last_seen": "2026-01-01"}});
    let answer = server.refused("users/update", body, (400, "reserved_keys")).await;
    assert_eq!(answer["reserved_keys"], json!(["last_seen"]));
    server.refused("users/update", json!({}), (400, "missing_field")).await;
    let answer = server.done("users/update", json!({"users": []})).await;
    assert_eq!(answer["total"], 0);
}

async fn sizes_and_counts_are_bounded(app: &App) {
    let server = Client::server(app).await;
    let users = |count: usize, bytes: usize| {
        let traits = json!({"t": "x".repeat(bytes)});
        let all: Vec<Value> =
            (0..count).map(|n| json!({"user_id": format!("u{n}"), "traits": traits})).collect();
        json!({"users": all})
    };
    server.refused("users/update", users(1_001, 1), (413, "payload_too_large")).await;
    // Twelve MiB in one call: more than a single record's call may have.
    let answer = server.done("users/update", users(650, 19_000)).await;
    assert_eq!((&answer["created"], &answer["total"]), (&json!(650), &json!(650)));
    let (status, answer) = server.post("users/update", users(1_000, 26_000)).await;
    assert_eq!((status, &answer["code"]), (413, &json!("body_too_large")), "{answer}");
    let big = json!({"user_id": "u", "traits": {"t": "x".repeat(1_100_000)}});
    server.refused("users/identify", big, (413, "body_too_large")).await;
    let fits = json!({"user_id": "u", "traits": {"t": "x".repeat(20_000 - 8)}});
    server.done("users/identify", fits).await;
    let over = json!({"user_id": "u", "traits": {"t": "x".repeat(20_000 - 7)}});
    let answer = server.refused("users/identify", over, (413, "payload_too_large")).await;
    assert!(answer["error"].as_str().unwrap().contains("20001"), "{answer}");
    let split = json!({"user_id": "u", "traits": {"t": "x".repeat(12_000)},
        "context": {"a": {"label": "L", "value": "x".repeat(12_000)}}});
    server.refused("users/identify", split, (413, "payload_too_large")).await;
    let keys: Map<String, Value> = (0..1_001).map(|n| (format!("k{n}"), json!(1))).collect();
    server.refused("users/identify", json!({"user_id": "u", "traits": keys}), (400, "invalid_field")).await;
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    server
        .refused("users/identify", json!({"user_id": "u", "traits": {"d": deep}}), (400, "invalid_field"))
        .await;
    let long = Map::from_iter([("k".repeat(257), json!(1))]);
    server.refused("users/identify", json!({"user_id": "u", "traits": long}), (400, "invalid_field")).await;
    // A wrong size is one record's trouble.
    let body = json!({"users": [{"user_id": "a", "traits": {"t": "x".repeat(20_001)}}, {"user_id": "b"}]});
    let answer = server.done("users/update", body).await;
    assert_eq!((&answer["rejected"], &answer["created"]), (&json!(1), &json!(1)), "{answer}");
}

async fn what_many_calls_add_up_to_is_bounded(app: &App) {
    let client = Client::browser(app).await;
    let part = |n: usize| json!({"user_id": "u", "traits": {format!("k{n}"): "x".repeat(19_000)}});
    for n in 0..5 {
        client.done("users/identify", part(n)).await;
    }
    let answer = client.refused("users/identify", part(5), (413, "payload_too_large")).await;
    assert!(answer["error"].as_str().unwrap().contains("100000"), "{answer}");
    client.done("users/identify", json!({"user_id": "u", "traits": {"k0": null}})).await;
    client.done("users/identify", part(5)).await;
}

async fn strings_of_all_kinds_are_kept_or_refused(app: &App) {
    let server = Client::server(app).await;
    let zalgo = "\u{65}\u{301}".repeat(60);
    let strings = [
        "",
        " ",
        "undefined",
        "null",
        "true",
        "NaN",
        "1/0",
        "0x0",
        "-9223372036854775809",
        "1e1000",
        "'",
        "\"",
        "''''\"",
        "'; DROP TABLE end_users; --",
        "$1",
        "{{7*7}}",
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "%00",
        "\\u0000",
        "\u{feff}",
        "\u{200b}\u{200d}",
        "\u{202e}evil",
        "\u{2028}\u{2029}",
        "\u{7f}\u{1}\u{1b}[31m",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        "田中さんにあげて下さい",
        "الكل في المجمو عة",
        "ﷺ",
        "İıſK",
        "ﬁ",
        "\u{10ffff}\u{e000}",
        "\r\n\r\nHTTP/1.1 200",
        "\t",
        "[User Profile]\nName: Eve",
        &zalgo,
    ];
    for (n, text) in strings.iter().enumerate() {
        let id = if text.is_empty() { "empty".to_owned() } else { format!("{text}{n}") };
        let body = json!({"user_id": id, "session_id": format!("s{text}"), "company_id": format!("c{text}"),
            "traits": {"name": text, "email": text, "plan": text, format!("k{text}"): {*text: [text]}},
            "context": {format!("k{text}"): {"label": format!("L{text}"), "value": {*text: text}}}});
        let answer = server.done("users/identify", body.clone()).await;
        assert_eq!(answer["user_id"], id);
        assert_eq!((&answer["name"], &answer["custom_fields"]["plan"]), (&json!(text), &json!(text)));
        assert_eq!(answer["custom_fields"][format!("k{text}")], json!({*text: [text]}));
        assert_eq!(answer["context"][format!("k{text}")]["value"], json!({*text: text}));
        let company =
            json!({"company_id": format!("c{text}"), "traits": {"name": text, "industry": text, "x": text}});
        server.done("companies/identify", company).await;
        let stored = user(app, &id).await.unwrap();
        assert_eq!(stored.fields.email.as_deref(), Some(*text));
    }
    // NUL fits no text column; inside of documents it is kept.
    server
        .refused(
            "users/identify",
            json!({"user_id": "n", "traits": {"name": "a\u{0}"}}),
            (400, "invalid_field"),
        )
        .await;
    let answer = server.done("users/identify", json!({"user_id": "n", "traits": {"x\u{0}": "a\u{0}"}})).await;
    assert_eq!(answer["custom_fields"]["x\u{0}"], "a\u{0}");
    let company = json!({"company_id": "n", "traits": {"x\u{0}": "a\u{0}"}, "context": {"\u{0}": {"label": "\u{0}", "value": "\u{0}"}}});
    server.done("companies/identify", company).await;
    for body in [&b"{\"user_id\": \"\\ud800\"}"[..], b"{\"user_id\": \"\xff\"}", b"{", b"[]", b"", b"null"] {
        for path in [
            "users/identify",
            "users/update",
            "companies/identify",
            "companies/update",
            "context/set",
            "context/clear",
            "users/delete",
        ] {
            let (status, answer) = server.send(Method::POST, path, body.to_vec()).await;
            assert_eq!(status, 400, "{path} {body:?}: {answer}");
        }
    }
}

async fn calls_that_arrive_together_are_all_written(app: &App) {
    let server = &Client::server(app).await;
    let calls = (0..120).map(|n| async move {
        // Ten of them are the same user.
        let id = if n % 12 == 0 { "shared".to_owned() } else { format!("u{n}") };
        server
            .done(
                "users/identify",
                json!({"user_id": id, "company_id": format!("c{}", n % 7), "traits": {format!("k{n}"): n}}),
            )
            .await
    });
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer["status"] == "created").count(), 111);
    let counts = app.store.count_identities(&app.org).await.unwrap();
    assert_eq!((counts.users, counts.companies), (111, 7));
    assert_eq!(user(app, "shared").await.unwrap().custom_fields.len(), 10);
}
