//! The OpenAPI document: that it says what is served, all of it, and that the committed copy is it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use halo_sync::http::codes::{CODES, FIELD_CODES, find};
use halo_sync::http::openapi::document;
use halo_sync::http::sdk::PromptSettings;
use halo_sync::http::{Limits, Program, operations, program, undescribed};
use halo_sync::telemetry::Metrics;
use serde_json::Value;

use crate::support::app::App;

const SCHEMA: &str = "#/components/schemas/";
const METHODS: [&str; 7] = ["get", "put", "post", "patch", "delete", "head", "options"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What was answered.
struct Answered {
    status: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Answered {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

async fn ask(app: &App, method: &str, path: &str) -> Answered {
    let method = method.to_ascii_uppercase().parse::<http::Method>().unwrap();
    let response = app.http.request(method, format!("{}{path}", app.base)).send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answered { status, headers, text: response.text().await.unwrap() }
}

fn described() -> Value {
    document(&operations())
}

#[test]
fn the_committed_copy_is_the_document() {
    let committed = std::fs::read_to_string(root().join("docs/openapi.json")).unwrap();
    assert!(
        committed == format!("{:#}\n", described()),
        "docs/openapi.json is not what the program says; write it anew: cargo run -- openapi > docs/openapi.json"
    );
}

/// The program's router prints its paths. What it serves is in the document or among the paths that none can
/// describe, and the other way round.
#[tokio::test]
async fn what_is_served_is_what_is_documented() {
    let app = App::sqlite().await;
    let printed = format!(
        "{:?}",
        program(Program {
            services: app.services.clone(),
            prompt: PromptSettings::default(),
            chat: halo_sync::chat::Chat::new(None, app.services.clock.clone()),
            public_url: app.base.clone(),
            signature_tolerance: Duration::from_secs(300),
            limits: Limits::default(),
            metrics: Metrics::detached().unwrap(),
        })
    );
    let document = described();
    let documented: BTreeSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let plain: BTreeSet<&str> = undescribed().into_iter().map(|(path, _)| path).collect();
    // `RouteId(3): "/api/…"`: every text that is a path; `/` is the fallback's own.
    let served: BTreeSet<&str> = printed
        .split('"')
        .filter(|text| text.starts_with('/') && *text != "/" && !text.contains("__private"))
        .collect();
    let expected: BTreeSet<&str> = documented.union(&plain).copied().collect();
    assert!(!served.is_empty());
    assert_eq!(served, expected);
    assert_eq!(documented.intersection(&plain).count(), 0);

    assert_eq!(ask(&app, "get", "/openapi.json").await.json(), document);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            let answered = ask(&app, method, path).await;
            // A GET answers HEAD; a cross-origin question answers OPTIONS where there is one.
            if methods.get(method).is_some() {
                assert_ne!(answered.status, 405, "{method} {path}");
                assert_ne!(answered.json()["detail"], "there is nothing at this path", "{method} {path}");
            } else if !(method == "head" && methods.get("get").is_some()) && method != "options" {
                assert_eq!(answered.status, 405, "{method} {path}");
            }
        }
    }
    app.end().await;
}

/// Paths that no document can describe are few and have their reason.
#[test]
fn what_is_not_described_is_listed_here() {
    let known: BTreeSet<&str> = ["/api/integrations/{connector}/callback", "/api/mcp", "/sdk/{file}"].into();
    assert_eq!(undescribed().into_iter().map(|(path, _)| path).collect::<BTreeSet<_>>(), known);
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let app = App::sqlite().await;
    let page = ask(&app, "get", "/docs").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    for bad in ["<script", "http://", "https://", "src=", "style=", "onclick", "@import", "url("] {
        assert!(!page.text.contains(bad), "{bad}");
    }
    for operation in operations() {
        assert!(page.text.contains(&format!("<b>{}</b> {}", operation.method(), operation.path())));
    }
    // Every place that the page points to is on it.
    for link in page.text.split("href=\"#").skip(1) {
        let id = link.split('"').next().unwrap();
        assert!(page.text.contains(&format!("id=\"{id}\"")), "{id}");
    }
    app.end().await;
}

#[test]
fn every_operation_says_what_a_caller_needs() {
    let document = described();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in each(&document) {
        let place = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "{place}: {id} twice");
        assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{place}: {id}");
        let summary = operation["summary"].as_str().unwrap();
        assert!(!summary.is_empty() && !summary.ends_with('.'), "{place}: {summary}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{place}: no good answer");
        let named: BTreeSet<&str> =
            path.split('{').skip(1).filter_map(|part| part.split('}').next()).collect();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let in_path: BTreeSet<&str> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(in_path, named, "{place}");
        for parameter in &parameters {
            assert!(parameter["description"].is_string(), "{place}: {}", parameter["name"]);
        }
    }
    for operation in operations() {
        for code in operation.own_codes() {
            assert!(
                find(code).is_some(),
                "{} {}: {code} is not in the list",
                operation.method(),
                operation.path()
            );
        }
    }
}

/// Every reference of the document leads somewhere, and every example is of the shape that it stands for.
#[test]
fn examples_have_the_shape_that_they_stand_for() {
    let document = described();
    references(&document, &document);
    for (path, method, operation) in each(&document) {
        let answers = operation["responses"].as_object().unwrap().iter();
        let bodies = answers
            .map(|(status, answer)| (status.as_str(), answer))
            .chain([("body", &operation["requestBody"])]);
        for (which, holder) in bodies {
            for (_, content) in holder["content"].as_object().into_iter().flatten() {
                let Some(example) = content.get("example") else { continue };
                let mut wrong = Vec::new();
                fits(&document, &content["schema"], example, "", &mut wrong);
                assert!(wrong.is_empty(), "{method} {path} {which}: {wrong:?}");
            }
        }
    }
}

/// A code that the program answers and the list does not hold would be one that no client can know.
#[test]
fn every_code_in_the_source_is_in_the_list() {
    let mut seen = BTreeSet::new();
    let mut fields = BTreeSet::new();
    let mut everything = String::new();
    for file in sources(&root().join("src")) {
        if file.ends_with("http/codes.rs") || file.starts_with(root().join("src/http/openapi")) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        everything.push_str(text);
        for call in ["ApiError::new(", "ApiError::bad_request(", "ApiError::forbidden("] {
            for arguments in text.split(call).skip(1) {
                // A code that is worked out stands in an arm above; the answers' schemas hold it to the list.
                let Some(code) = literals(arguments).into_iter().next().filter(|text| is_code(text)) else {
                    continue;
                };
                assert!(find(code).is_some(), "{}: {code:?} is not in src/http/codes.rs", file.display());
                seen.insert(code.to_owned());
            }
        }
        for arguments in text.split("ApiError").skip(1).flat_map(|rest| rest.split(".field(").skip(1)) {
            let Some(code) = literals(arguments).into_iter().find(|text| is_code(text)) else { continue };
            fields.insert(code.to_owned());
        }
    }
    assert!(seen.len() > 8, "{seen:?}");
    for known in CODES {
        assert!(everything.contains(&format!("\"{}\"", known.code)), "{} is answered nowhere", known.code);
    }
    for field in fields {
        assert!(FIELD_CODES.iter().any(|(known, _)| *known == field), "{field} is not in FIELD_CODES");
    }
}

/// Only [`halo_sync::http::openapi::Routes`] adds routes; the control listener is not the API.
#[test]
fn no_route_is_added_past_the_document() {
    for file in sources(&root().join("src/http")) {
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        if ["src/http/openapi/routes.rs", "src/http/control.rs"].contains(&name.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for call in [".route(", ".nest(", ".route_service(", ".nest_service(", ".fallback_service("] {
            assert!(!text.contains(call), "{name}: {call} (use openapi::Routes)");
        }
    }
}

fn each(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .iter()
                .map(|(method, operation)| (path.as_str(), method.as_str(), operation))
        })
        .collect()
}

fn references(document: &Value, part: &Value) {
    match part {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get("$ref") {
                assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
            }
            members.values().for_each(|member| references(document, member));
        }
        Value::Array(items) => items.iter().for_each(|item| references(document, item)),
        _ => {}
    }
}

/// The part of JSON Schema that our types make; what the example lacks or has too much is named.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    if schema.is_boolean() {
        return;
    }
    if let Some(name) = schema["$ref"].as_str().and_then(|target| target.strip_prefix(SCHEMA)) {
        return fits(document, &document["components"]["schemas"][name], value, at, wrong);
    }
    for any in ["anyOf", "oneOf"] {
        if let Some(some) = schema[any].as_array() {
            let one_fits = some.iter().any(|one| {
                let mut inner = Vec::new();
                fits(document, one, value, at, &mut inner);
                inner.is_empty()
            });
            if !one_fits {
                wrong.push(format!("{at}: {value} is none of its kinds"));
            }
        }
    }
    for one in schema["allOf"].as_array().into_iter().flatten() {
        fits(document, one, value, at, wrong);
    }
    if let Some(constant) = schema.get("const")
        && constant != value
    {
        wrong.push(format!("{at}: {value} is not {constant}"));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        wrong.push(format!("{at}: {value} is none of {values:?}"));
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is(kind)) {
        wrong.push(format!("{at}: {value} is not {kinds:?}"));
    }
    if let Some(members) = value.as_object() {
        for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(required) {
                wrong.push(format!("{at}/{required} is missing"));
            }
        }
        for (name, member) in members {
            let at = format!("{at}/{name}");
            match (schema["properties"].get(name), schema.get("additionalProperties")) {
                (Some(own), _) => fits(document, own, member, &at, wrong),
                (None, Some(Value::Bool(false))) => wrong.push(format!("{at} is not known")),
                (None, Some(other)) => fits(document, other, member, &at, wrong),
                // An example shows nothing that the type does not have.
                (None, None) if schema["properties"].is_object() => wrong.push(format!("{at} is not known")),
                (None, None) => {}
            }
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        fits(
            document,
            schema.get("items").unwrap_or(&Value::Bool(true)),
            item,
            &format!("{at}/{index}"),
            wrong,
        );
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The texts in quotes among the arguments of a call.
fn literals(arguments: &str) -> Vec<&str> {
    let mut depth = 1;
    let mut quoted = false;
    let end = arguments.find(|c| {
        quoted ^= c == '"';
        depth += match c {
            '(' if !quoted => 1,
            ')' if !quoted => -1,
            _ => 0,
        };
        depth == 0
    });
    arguments[..end.unwrap_or(arguments.len())].split('"').skip(1).step_by(2).collect()
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}
