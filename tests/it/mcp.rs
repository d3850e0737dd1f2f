//! The MCP server: by its library's own client, and message by message.

mod docs;
mod stdio;
mod wire;

use std::collections::HashMap;

use halo_sync::domain::companies::TraitPatch;
use halo_sync::domain::connections::KeyClass;
use halo_sync::domain::{CompanyId, ContextEntry, OrgId, Rank};
use halo_sync::service::Request;
use halo_sync::store::identity::{Lookup, WriteSource};
use http::{HeaderName, HeaderValue};
use rmcp::model::{CallToolRequestParams, CallToolResult, JsonObject, ReadResourceRequestParams, Tool};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, ServiceError, ServiceExt};
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(
    an_agent_reads_what_the_chat_reads,
    what_is_laid_over_loses_and_wins_as_in_a_chat,
    figures_come_with_their_reasons,
    lists_are_searched_and_paged,
    everything_listed_can_be_read,
    wrong_calls_are_told_what_is_wrong,
    another_organisation_is_as_if_it_were_not_there,
);

type Client = RunningService<RoleClient, ()>;

async fn connect(url: &str, headers: &[(&str, &str)]) -> Client {
    let headers: HashMap<HeaderName, HeaderValue> =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let config = StreamableHttpClientTransportConfig::with_uri(url).custom_headers(headers);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    ().serve(StreamableHttpClientTransport::with_client(http, config)).await.unwrap()
}

/// An agent of the organisation.
async fn agent(app: &App, org: &OrgId) -> Client {
    let request = Request::CreateKey { class: KeyClass::Server, name: "agent".to_owned() };
    let key = app.services.execute(org, request).await.unwrap();
    let bearer = format!("Bearer {}", key["key"].as_str().unwrap());
    connect(&format!("{}/api/mcp", app.base), &[("authorization", &bearer)]).await
}

async fn call(client: &Client, tool: &'static str, arguments: Value) -> Result<CallToolResult, ServiceError> {
    let arguments: JsonObject = serde_json::from_value(arguments).unwrap();
    client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await
}

/// The answer's text and value; the value is of the tool's output schema.
async fn answer(client: &Client, tool: &'static str, arguments: Value) -> (String, Value) {
    let result = call(client, tool, arguments).await.unwrap();
    let text = text(&result);
    assert_eq!(result.is_error, Some(false), "{text}");
    let value = result.structured_content.unwrap();
    let tools = client.list_all_tools().await.unwrap();
    let schema = tools.iter().find(|t| t.name == tool).unwrap().output_schema.clone().unwrap();
    conforms(&value, &json!(schema), tool);
    (text, value)
}

fn text(result: &CallToolResult) -> String {
    let [content] = &result.content[..] else { panic!("{result:?}") };
    content.as_text().unwrap().text.clone()
}

/// The parts of JSON Schema that the tools use; an unknown keyword fails.
fn conforms(value: &Value, schema: &Value, at: &str) {
    let Value::Object(schema) = schema else {
        assert_eq!(*schema, json!(true), "{at}");
        return;
    };
    for (keyword, rule) in schema {
        match keyword.as_str() {
            "type" => {
                let of = |name: &Value| match name.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    "integer" => value.is_i64() || value.is_u64(),
                    other => panic!("{at}: {other}"),
                };
                let fits = rule.as_array().map_or_else(|| of(rule), |types| types.iter().any(of));
                assert!(fits, "{at}: {value} is not of {rule}");
            }
            "properties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    let rule = rule.get(name).unwrap_or_else(|| panic!("{at}: {name} is not in the schema"));
                    conforms(value, rule, &format!("{at}.{name}"));
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    let there = value.get(name.as_str().unwrap()).is_some();
                    assert!(value.is_null() || there, "{at}: {name} is missing");
                }
            }
            "items" => value.as_array().into_iter().flatten().for_each(|item| conforms(item, rule, at)),
            "additionalProperties" if !schema.contains_key("properties") => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    conforms(value, rule, &format!("{at}.{name}"));
                }
            }
            "minimum" => assert!(value.is_null() || value.as_i64() >= rule.as_i64(), "{at}"),
            "anyOf" => {
                let fits = rule.as_array().unwrap().iter().any(|rule| {
                    rule["type"] == "null" && value.is_null() || rule["type"] == "object" && value.is_object()
                });
                assert!(fits, "{at}: {value}");
            }
            "title" | "description" | "default" | "format" => {}
            other => panic!("{at}: {other} is not looked at"),
        }
    }
}

async fn put_user(app: &App, org: &OrgId, id: &str, traits: Value, company: Option<&CompanyId>) {
    let source = WriteSource { rank: Rank::Server, source: "sdk".to_owned(), at: app.now() };
    let mut patch = TraitPatch { traits: traits.as_object().unwrap().clone(), ..TraitPatch::default() };
    let entry = ContextEntry { label: "Onboarding".to_owned(), kind: None, value: json!("step 3") };
    patch.context.insert("onboarding".to_owned(), Some(entry));
    let lookup = Lookup::External(id.to_owned());
    app.store.put_user(org, &lookup, &patch, company, &source).await.unwrap();
}

/// Jane of Acme, which pays 29 dollars a month.
async fn acme(app: &App) {
    app.price("Starter", 2_900);
    app.customer("Acme", "Starter");
    app.read_once().await;
    let acme = app.company("Acme").await;
    let traits = json!({"name": "Jane Doe", "email": "jane@acme.example", "role": "admin"});
    put_user(app, &app.org, "user_1", traits, Some(&acme.id)).await;
    app.drain().await;
}

async fn an_agent_reads_what_the_chat_reads(app: &App) {
    acme(app).await;
    let client = agent(app, &app.org).await;
    let about = client.peer_info().unwrap();
    assert!(about.instructions.as_deref().unwrap().contains("never as instructions"));

    let tools = client.list_all_tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    let expected =
        ["customer_context", "explain_customer", "company_derivation", "find_companies", "find_users"];
    assert_eq!(names, expected);
    for Tool { name, annotations, input_schema, output_schema, .. } in &tools {
        let annotations = annotations.as_ref().unwrap();
        assert_eq!(
            (annotations.read_only_hint, annotations.open_world_hint),
            (Some(true), Some(false)),
            "{name}"
        );
        assert_eq!(input_schema["additionalProperties"], false, "{name}");
        assert_eq!(output_schema.as_ref().unwrap()["type"], "object", "{name}");
        // Every argument says what it is.
        for (argument, schema) in input_schema["properties"].as_object().unwrap() {
            assert!(schema["description"].is_string(), "{name}: {argument}");
        }
        assert!(!json!([input_schema, output_schema]).to_string().contains("$ref"), "{name}");
    }

    let (_, key) = app.key(KeyClass::Server).await;
    let body = json!({"user_id": "user_1"});
    let (_, chat) = app.chat(Some(&key), &body).await;
    let (text, value) = answer(&client, "customer_context", body).await;
    assert!(text.contains("MRR: 29.00 USD") && text.contains("[Onboarding]"), "{text}");
    assert_eq!(json!(text), chat["text"]);
    for member in ["text", "tokens", "sections", "trimmed", "document", "user_id", "company_id"] {
        assert_eq!(value[member], chat[member], "{member}");
    }
    // By our own ids, too; and a company alone.
    let (again, _) = answer(&client, "customer_context", json!({"user_id": chat["user_id"]})).await;
    assert_eq!(again, text);
    let (alone, _) = answer(&client, "customer_context", json!({"company_id": chat["company_id"]})).await;
    assert!(alone.starts_with("[Company: Acme]"), "{alone}");

    // What changes is read the next time.
    put_user(app, &app.org, "user_1", json!({"role": "owner"}), None).await;
    let (later, _) = answer(&client, "customer_context", json!({"user_id": "user_1"})).await;
    assert!(later.contains("Role: owner"), "{later}");
}

async fn what_is_laid_over_loses_and_wins_as_in_a_chat(app: &App) {
    acme(app).await;
    let client = agent(app, &app.org).await;
    let (_, key) = app.key(KeyClass::Server).await;
    let body = json!({
        "user_id": "user_1", "custom_fields": {"role": "guest", "id": 1},
        "context": {"onboarding": {"label": "Onboarding", "value": "step 4"}},
        "company": {"custom_fields": {"seats": 5}}, "budget_tokens": 60
    });
    let (_, chat) = app.chat(Some(&key), &body).await;
    let (text, value) = answer(&client, "customer_context", body.clone()).await;
    assert_eq!((json!(text), &value["trimmed"]), (chat["text"].clone(), &chat["trimmed"]));

    let (text, value) = answer(&client, "explain_customer", body).await;
    let line = |of: &str, kind: &str, key: &str| {
        let lines = value["lines"].as_array().unwrap();
        let found = lines.iter().find(|l| l["of"] == of && l["kind"] == kind && l["key"] == key);
        found.unwrap_or_else(|| panic!("{key}: {value:#}")).clone()
    };
    let role = line("user", "field", "role");
    assert_eq!(
        (&role["value"], &role["origin"], &role["source"]),
        (&json!("guest"), &json!("request"), &Value::Null)
    );
    assert_eq!(role["losers"][0]["value"], "admin");
    assert_eq!(role["losers"][0]["why"], "overwritten");
    let name = line("user", "field", "name");
    assert_eq!((&name["origin"], &name["rank"]), (&json!("stored"), &json!("server")));
    let mrr = line("company", "field", "mrr");
    assert_eq!((&mrr["rank"], &mrr["source"]), (&json!("synced"), &json!("derived")), "{mrr}");
    assert!(mrr["at"].is_string(), "{mrr}");
    let onboarding = line("user", "context", "onboarding");
    assert_eq!(onboarding["losers"][0]["value"]["value"], "step 3");
    assert_eq!(value["refused"], json!([{"of": "user", "key": "id", "why": "system_managed"}]));
    assert!(
        text.contains("user.role from request as server\n    beat \"admin\" from stored: overwritten"),
        "{text}"
    );
}

async fn figures_come_with_their_reasons(app: &App) {
    acme(app).await;
    let client = agent(app, &app.org).await;
    let acme = app.company("Acme").await;
    let document = app.document(&acme).await;
    let (words, value) = answer(&client, "company_derivation", json!({"company_id": acme.id})).await;
    assert!(words.starts_with("TEST: ") && words.contains("\nMRR 29.00 USD\n"), "{words}");
    assert_eq!(value["test"], true);
    let mrr = &value["values"]["mrr_minor"];
    assert_eq!((&mrr["value"], &mrr["rule"]), (&json!(2_900), &document["provenance"]["mrr_minor"]["rule"]));
    assert!(mrr["records"][0].as_str().unwrap().contains("/subscriptions/"), "{mrr}");
    assert_eq!(value["mrr"], document["mrr"]);
    assert_eq!(value["accounts"], document["accounts"]);
    let values = document["values"].as_object().unwrap();
    assert!(values.iter().all(|(field, v)| value["values"][field]["value"] == *v), "{value:#}");

    // A company that nothing was derived of yet has no figures to explain.
    let source = WriteSource { rank: Rank::Server, source: "sdk".to_owned(), at: app.now() };
    let lookup = Lookup::External("fresh".to_owned());
    app.store.put_company(&app.org, &lookup, &TraitPatch::default(), &source).await.unwrap();
    let refused = call(&client, "company_derivation", json!({"company_id": "fresh"})).await.unwrap();
    assert_eq!(refused.is_error, Some(true));
    assert_eq!(text(&refused), "company_id: nothing is derived of company \"fresh\" yet");
}

async fn lists_are_searched_and_paged(app: &App) {
    acme(app).await;
    let acme = app.company("Acme").await;
    for n in 0..7 {
        let name = if n % 2 == 0 { "Ann Odd" } else { "Bob Even" };
        let traits = json!({"name": name, "email": format!("U{n}@Mail.example")});
        put_user(app, &app.org, &format!("u_{n}"), traits, (n < 3).then_some(&acme.id)).await;
    }
    let client = agent(app, &app.org).await;
    let mut seen = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let (_, page) = answer(&client, "find_users", json!({"limit": 3, "cursor": cursor})).await;
        let users = page["users"].as_array().unwrap();
        assert!(users.len() <= 3);
        seen.extend(users.iter().map(|user| user["external_id"].as_str().unwrap().to_owned()));
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, ["u_0", "u_1", "u_2", "u_3", "u_4", "u_5", "u_6", "user_1"]);
    for (search, company, expected) in [
        ("ODD", None, 4),
        ("bob e", None, 3),
        ("u3@", None, 1),
        ("u_5", None, 1),
        ("nn", None, 0),
        ("%", None, 0),
        ("ann", Some("acme"), 2),
        ("", Some("acme"), 4),
    ] {
        let company = company.map(|_| acme.id.0.clone());
        let (text, page) =
            answer(&client, "find_users", json!({"search": search, "company_id": company, "limit": 100}))
                .await;
        assert_eq!(page["users"].as_array().unwrap().len(), expected, "{search}: {text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), page);
    }
    let (_, page) = answer(&client, "find_companies", json!({"search": "acm"})).await;
    assert_eq!(page["companies"][0]["mrr"], "29.00 USD");
    assert_eq!(page["companies"][0]["plan"], "Starter");
    assert_eq!(page["next_cursor"], Value::Null);
    let (_, none) = answer(&client, "find_companies", json!({"search": "zzz"})).await;
    assert_eq!(none["companies"], json!([]));
}

async fn everything_listed_can_be_read(app: &App) {
    acme(app).await;
    for n in 0..120 {
        put_user(app, &app.org, &format!("u/{n}"), json!({}), None).await;
    }
    let client = agent(app, &app.org).await;
    let templates = client.list_all_resource_templates().await.unwrap();
    let forms: Vec<_> = templates.iter().map(|t| t.uri_template.as_str()).collect();
    let expected =
        ["halo://users/{id}/context", "halo://companies/{id}/context", "halo://companies/{id}/derivation"];
    assert_eq!(forms, expected);
    let resources = client.list_all_resources().await.unwrap();
    assert_eq!(resources.len(), 121 + 2);
    let read = async |uri: &str| {
        let read = client.read_resource(ReadResourceRequestParams::new(uri)).await?;
        Ok::<_, ServiceError>(json!(read)["contents"][0].clone())
    };
    for resource in resources.iter().take(5) {
        let content = read(&resource.uri).await.unwrap();
        assert_eq!(content["uri"], resource.uri);
        assert_eq!(content["mimeType"], resource.mime_type.clone().unwrap());
        let text = content["text"].as_str().unwrap();
        match resource.mime_type.as_deref() {
            Some("application/json") => {
                let derivation: Value = serde_json::from_str(text).unwrap();
                assert_eq!(derivation["values"]["mrr_minor"]["value"], 2_900);
            }
            _ => assert!(text.starts_with('['), "{text}"),
        }
    }
    // The product's own ids, encoded.
    let own = read("halo://users/u%2F7/context").await.unwrap();
    assert!(own["text"].as_str().unwrap().contains("[Onboarding]"), "{own}");
    let jane = read("halo://users/user_1/context").await.unwrap();
    let (text, _) = answer(&client, "customer_context", json!({"user_id": "user_1"})).await;
    assert_eq!(jane["text"], text);
    for uri in ["halo://users/nobody/context", "halo://users/user_1/secrets", "file:///etc/passwd"] {
        match read(uri).await {
            Err(ServiceError::McpError(error)) => {
                assert!([-32002, -32602].contains(&error.code.0), "{error:?}");
                assert_eq!(error.data, Some(json!({ "uri": uri })));
            }
            other => panic!("{uri}: {other:?}"),
        }
    }
}

async fn wrong_calls_are_told_what_is_wrong(app: &App) {
    let client = agent(app, &app.org).await;
    for (tool, arguments, expected) in [
        ("customer_context", json!({}), "user_id or company_id is needed"),
        ("customer_context", json!({"user_id": ""}), "user_id or company_id is needed"),
        ("customer_context", json!({"user_id": 7}), "user_id: "),
        ("customer_context", json!({"user": "x"}), "unknown field `user`"),
        ("customer_context", json!({"user_id": "x", "context": {"k": {"value": 1}}}), "context.k: "),
        ("customer_context", json!({"user_id": "nobody"}), "user_id: there is no user \"nobody\""),
        ("explain_customer", json!({"company_id": "none"}), "company_id: there is no company \"none\""),
        ("company_derivation", json!({}), "company_id"),
        ("find_users", json!({"limit": 0}), "limit: 1 to 100, not 0"),
        ("find_users", json!({"limit": 101}), "limit: 1 to 100, not 101"),
        ("find_users", json!({"cursor": "usr_1"}), "cursor: not one that this list gave"),
        ("find_users", json!({"company_id": "none"}), "company_id: there is no company \"none\""),
        ("find_companies", json!({"search": ["a"]}), "search: "),
    ] {
        let result = call(&client, tool, arguments.clone()).await.unwrap();
        assert_eq!((result.is_error, &result.structured_content), (Some(true), &None), "{arguments}");
        assert!(text(&result).contains(expected), "{arguments}: {}", text(&result));
    }
    match call(&client, "delete_everything", json!({})).await {
        Err(ServiceError::McpError(error)) => {
            assert_eq!(error.code.0, -32602);
            assert!(error.message.contains("find_users"), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
}

async fn another_organisation_is_as_if_it_were_not_there(app: &App) {
    let other: OrgId = "org_b".into();
    app.store.put_org(&other, "B", &json!({}), app.now()).await.unwrap();
    let client = agent(app, &other).await;
    let ask = async |ids: [String; 2]| {
        let [user, company] = ids;
        let mut said = Vec::new();
        for (tool, arguments) in [
            ("customer_context", json!({"user_id": user})),
            ("customer_context", json!({"company_id": company})),
            ("explain_customer", json!({"user_id": user})),
            ("company_derivation", json!({"company_id": company})),
            ("find_users", json!({})),
            ("find_users", json!({"search": "jane"})),
            ("find_users", json!({"company_id": company})),
            ("find_companies", json!({})),
        ] {
            let result = call(&client, tool, arguments).await.unwrap();
            said.push(json!(result).to_string());
        }
        for uri in [
            format!("halo://users/{user}/context"),
            format!("halo://companies/{company}/context"),
            format!("halo://companies/{company}/derivation"),
        ] {
            let refused = client.read_resource(ReadResourceRequestParams::new(uri)).await.unwrap_err();
            said.push(format!("{refused:?}"));
        }
        said.push(json!(client.list_all_resources().await.unwrap()).to_string());
        said.into_iter()
            .map(|text| text.replace(&user, "USER").replace(&company, "COMPANY"))
            .collect::<Vec<_>>()
    };
    let unknown = ["usr_01JZZZZZZZZZZZZZZZZZZZZZZZ".to_owned(), "cmp_01JZZZZZZZZZZZZZZZZZZZZZZZ".to_owned()];
    let before = ask(unknown.clone()).await;
    let by_name = ask(["user_1".to_owned(), "acme".to_owned()]).await;

    acme(app).await;
    let acme = app.company("Acme").await;
    let source = WriteSource { rank: Rank::Server, source: "sdk".to_owned(), at: app.now() };
    let lookup = Lookup::External("acme".to_owned());
    app.store.put_company(&app.org, &lookup, &TraitPatch::default(), &source).await.unwrap();
    let jane = app.store.find_user(&app.org, &Lookup::External("user_1".to_owned())).await.unwrap().unwrap();
    assert_eq!(ask([jane.id.0, acme.id.0]).await, before);
    assert_eq!(ask(["user_1".to_owned(), "acme".to_owned()]).await, by_name);
    // Its own it sees.
    put_user(app, &other, "user_1", json!({"name": "Other Jane"}), None).await;
    let (text, _) = answer(&client, "customer_context", json!({"user_id": "user_1"})).await;
    assert!(text.contains("Other Jane") && !text.contains("Acme"), "{text}");
}
