//! From operations to the document.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::operation::{Access, Answer, In, Operation, Parameter, Payload, SchemaOf, Tag};
use crate::http::codes::{CODES, ErrorCode, FIELD_CODES};
use crate::http::error::is_sdk_path;

const ABOUT: &str = "\
What an AI support agent knows about each customer, kept true.

**Keys.** `Authorization: Bearer` and a key. A *server key* stays on servers. A *publishable key* may stand in a \
page; what it says is a claim, which never takes the place of what is synced, verified or set by hand, and answers to \
it hold nothing that is stored.

**Errors.** Below `/api/sdk` an error is `{error, code, request_id}`; everywhere else it is `application/problem+json` \
(RFC 9457) with `code` and `request_id`. A code is stable; each operation lists its own. The request id comes in \
`X-Request-Id` as well: send one, and it is used.

**Bodies** are JSON objects in UTF-8, uncompressed. Members that an operation does not know are ignored unless it \
says otherwise.";

/// Builds the document. Same operations, same bytes.
pub fn document(operations: &[Operation]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations {
        let described = describe(operation, &mut schemas);
        let method = operation.method.as_str().to_ascii_lowercase();
        paths.entry(operation.path).or_default().insert(method, described);
    }
    let tags: Vec<Value> = Tag::ALL
        .into_iter()
        .filter(|tag| operations.iter().any(|operation| operation.tag == *tag))
        .map(|tag| json!({"name": tag.name(), "description": tag.about()}))
        .collect();
    let mut paths = json!(paths);
    let mut components = schemas.finish(&mut paths);
    components.insert("SdkError".to_owned(), sdk_error());
    components.insert("Problem".to_owned(), problem());
    components.insert("ErrorCode".to_owned(), error_code());
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "halo-sync",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": shared_responses(),
            "headers": {
                "RequestId": {
                    "description": "The request's id: the caller's own where it sent a plain one of at most 128 characters.",
                    "schema": {"type": "string"},
                },
                "RetryAfter": {
                    "description": "Seconds to wait before the request is sent again.",
                    "schema": {"type": "integer", "minimum": 0},
                },
                "Allow": {
                    "description": "The methods that the path takes.",
                    "schema": {"type": "string"},
                },
            },
            "securitySchemes": {
                "serverKey": {
                    "type": "http", "scheme": "bearer",
                    "description": "A server key: `halo-sync keys create --class server --name NAME`. For servers only.",
                },
                "publishableKey": {
                    "type": "http", "scheme": "bearer",
                    "description": "A publishable key: `halo-sync keys create --class publishable --name NAME`. \
                                    May stand in a page; what comes with it is a claim.",
                },
            },
        },
    })
}

/// Collects the schemas of both directions: what a type reads may differ from what it writes.
struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            read: settings().for_deserialize().into_generator(),
            written: settings().for_serialize().into_generator(),
        }
    }

    /// What a request may hold. Its references are marked until [`Self::finish`] knows their names.
    fn read(&mut self, of: SchemaOf) -> Value {
        let mut schema = of(&mut self.read).to_value();
        rename(&mut schema, &|name| Some(format!("{name}{MARK}")));
        schema
    }

    fn written(&mut self, of: SchemaOf) -> Value {
        of(&mut self.written).to_value()
    }

    /// All shapes by name. Where a type reads another shape than it writes, the former's name ends in `Input`; `paths`
    /// gets the names that its marked references have now.
    fn finish(mut self, paths: &mut Value) -> Map<String, Value> {
        let mut all = self.written.take_definitions(true);
        let read = self.read.take_definitions(true);
        let mut differing: BTreeSet<String> = BTreeSet::new();
        loop {
            let more: Vec<String> = read
                .iter()
                .filter(|(name, _)| all.contains_key(*name) && !differing.contains(*name))
                .filter(|(name, schema)| {
                    all.get(*name) != Some(*schema)
                        || names(schema).iter().any(|name| differing.contains(name))
                })
                .map(|(name, _)| name.clone())
                .collect();
            if more.is_empty() {
                break;
            }
            differing.extend(more);
        }
        let final_name = |name: &str| {
            if differing.contains(name) { format!("{name}Input") } else { name.to_owned() }
        };
        rename(paths, &|name| name.strip_suffix(MARK).map(final_name));
        for (name, mut schema) in read {
            rename(&mut schema, &|name| Some(final_name(name)));
            all.insert(final_name(&name), schema);
        }
        all
    }
}

/// Ends the references of requests while the names are not known; no type's name ends in it.
const MARK: &str = "<read>";
const REFERENCE: &str = "#/components/schemas/";

/// Gives references other names.
fn rename(schema: &mut Value, new: &impl Fn(&str) -> Option<String>) {
    match schema {
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(target) if key == "$ref" => {
                        if let Some(name) = target.strip_prefix(REFERENCE).and_then(new) {
                            *target = format!("{REFERENCE}{name}");
                        }
                    }
                    value => rename(value, new),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, new)),
        _ => {}
    }
}

/// The shapes that a shape refers to.
fn names(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(members) => {
            let own =
                members.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix(REFERENCE));
            members.values().flat_map(names).chain(own.map(str::to_owned)).collect()
        }
        Value::Array(items) => items.iter().flat_map(names).collect(),
        _ => Vec::new(),
    }
}

fn describe(operation: &Operation, schemas: &mut Schemas) -> Value {
    let mut described = Map::new();
    described.insert("operationId".to_owned(), operation.id.into());
    described.insert("summary".to_owned(), operation.summary.into());
    if !operation.about.is_empty() {
        described.insert("description".to_owned(), operation.about.into());
    }
    described.insert("tags".to_owned(), json!([operation.tag.name()]));
    described.insert("security".to_owned(), security(operation.access));
    let parameters = parameters(operation, schemas);
    if !parameters.is_empty() {
        described.insert("parameters".to_owned(), parameters.into());
    }
    if let Some(body) = &operation.body {
        let schema = match body.schema {
            Some(of) => schemas.read(of),
            None => json!({}),
        };
        let content = content(body, schema);
        described.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
    }
    described.insert("responses".to_owned(), responses(operation, schemas).into());
    described.into()
}

fn security(access: Access) -> Value {
    match access {
        Access::Anybody | Access::Signature => json!([]),
        Access::AnyKey => json!([{"publishableKey": []}, {"serverKey": []}]),
        Access::ServerKey => json!([{"serverKey": []}]),
    }
}

fn parameters(operation: &Operation, schemas: &mut Schemas) -> Vec<Value> {
    let mut all: Vec<Value> = operation.parameters.iter().map(|one| parameter(one, schemas)).collect();
    if let Some(of) = operation.query {
        let schema = schemas.read(of);
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let mut member = member.clone();
            let about = member.as_object_mut().and_then(|member| member.remove("description"));
            let mut one = json!({
                "name": name, "in": "query", "required": required.contains(&json!(name)),
                "schema": without_null(member),
            });
            if let Some(about) = about {
                one["description"] = about;
            }
            all.push(one);
        }
    }
    all
}

/// A parameter that is not given is left out; there is no `null` in a query.
fn without_null(mut schema: Value) -> Value {
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            schema["type"] = only;
        }
    }
    if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
        any.retain(|one| one["type"] != "null");
        if let [only] = any.as_slice() {
            let only = only.clone();
            return only;
        }
    }
    schema
}

fn parameter(parameter: &Parameter, schemas: &mut Schemas) -> Value {
    let place = match parameter.place {
        In::Path => "path",
        In::Query => "query",
        In::Header => "header",
    };
    json!({
        "name": parameter.name, "in": place, "required": parameter.place == In::Path,
        "description": parameter.about, "schema": without_null(schemas.read(parameter.schema)),
    })
}

fn content(payload: &Payload, schema: Value) -> Value {
    let mut media = Map::new();
    media.insert("schema".to_owned(), schema);
    if let Some(example) = &payload.example {
        media.insert("example".to_owned(), example.clone());
    }
    json!({ payload.media: media })
}

fn responses(operation: &Operation, schemas: &mut Schemas) -> Map<String, Value> {
    let mut all = Map::new();
    for answer in &operation.answers {
        all.insert(answer.status.to_string(), response(answer, schemas));
    }
    let automatic = automatic(operation);
    let mut by_status: BTreeMap<u16, Vec<&ErrorCode>> = BTreeMap::new();
    for known in CODES {
        if automatic.contains(&known.code) || operation.codes.contains(&known.code) {
            by_status.entry(known.status).or_default().push(known);
        }
    }
    let form = Form::of(operation.path);
    for (status, known) in by_status {
        let own = known.iter().any(|known| !automatic.contains(&known.code));
        let refusal = if own {
            refusal(form, status, &known)
        } else {
            json!({"$ref": format!("#/components/responses/{}{status}", form.name())})
        };
        let both = match all.remove(&status.to_string()) {
            Some(answer) => beside(answer, refusal, form, status, &known),
            None => refusal,
        };
        all.insert(status.to_string(), both);
    }
    all
}

/// An answer of a status that refusals have as well.
fn beside(mut answer: Value, refused: Value, form: Form, status: u16, known: &[&ErrorCode]) -> Value {
    let refused = if refused["$ref"].is_null() { refused } else { refusal(form, status, known) };
    answer["description"] =
        format!("{}\n\n{}", text(&answer["description"]), text(&refused["description"])).into();
    for (media, content) in refused["content"].as_object().into_iter().flatten() {
        let schema = match answer["content"].get(media) {
            Some(own) => json!({"anyOf": [own["schema"], content["schema"]]}),
            None => content["schema"].clone(),
        };
        answer["content"][media.as_str()]["schema"] = schema;
    }
    answer
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn response(answer: &Answer, schemas: &mut Schemas) -> Value {
    let mut headers = json!({"X-Request-Id": {"$ref": "#/components/headers/RequestId"}});
    for (name, about) in &answer.headers {
        headers[*name] = json!({"description": about, "schema": {"type": "string"}});
    }
    let mut described = json!({"description": answer.about, "headers": headers});
    if let Some(payload) = &answer.payload {
        let schema = match payload.schema {
            Some(of) => schemas.written(of),
            None => json!({"type": "string"}),
        };
        described["content"] = content(payload, schema);
    }
    if let Some(media) = answer.text {
        described["content"][media] = json!({"schema": {"type": "string"}});
    }
    described
}

/// Refusals that come from what is around every operation.
const EVERYWHERE: &[&str] =
    &["malformed_head", "encoded_body", "body_too_large", "busy", "internal", "unavailable"];
const WITH_BODY: &[&str] = &["body_cut", "body_timeout"];
const WITH_JSON: &[&str] = &["invalid_body", "invalid_json"];
const WITH_PARAMETERS: &[&str] = &["bad_parameter"];
const WITH_KEY: &[&str] = &["unauthorized"];
const WITH_SERVER_KEY: &[&str] = &["server_key_in_browser", "server_key_needed"];

/// Codes that an operation has by its kind.
fn automatic(operation: &Operation) -> Vec<&'static str> {
    let mut codes = EVERYWHERE.to_vec();
    if operation.method != Method::GET {
        codes.extend(WITH_BODY);
    }
    if operation.body.as_ref().is_some_and(|body| body.schema.is_some()) {
        codes.extend(WITH_JSON);
    }
    if operation.query.is_some() || !operation.parameters.is_empty() {
        codes.extend(WITH_PARAMETERS);
    }
    match operation.access {
        Access::Anybody | Access::Signature => {}
        Access::AnyKey => codes.extend(WITH_KEY),
        Access::ServerKey => {
            codes.extend(WITH_KEY);
            codes.extend(WITH_SERVER_KEY);
        }
    }
    codes
}

/// The form that errors of a path have.
#[derive(Debug, Clone, Copy)]
enum Form {
    Sdk,
    Problem,
}

impl Form {
    fn of(path: &str) -> Self {
        if is_sdk_path(path) { Self::Sdk } else { Self::Problem }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sdk => "SdkError",
            Self::Problem => "Problem",
        }
    }

    fn media(self) -> &'static str {
        match self {
            Self::Sdk => "application/json",
            Self::Problem => "application/problem+json",
        }
    }
}

fn refusal(form: Form, status: u16, known: &[&ErrorCode]) -> Value {
    let mut about = String::new();
    for known in known {
        about.push_str(&format!("- `{}`: {}\n", known.code, known.meaning));
    }
    let names: Vec<&str> = known.iter().map(|known| known.code).collect();
    let mut headers = json!({"X-Request-Id": {"$ref": "#/components/headers/RequestId"}});
    if matches!(status, 429 | 503) {
        headers["Retry-After"] = json!({"$ref": "#/components/headers/RetryAfter"});
    }
    if status == 405 {
        headers["Allow"] = json!({"$ref": "#/components/headers/Allow"});
    }
    json!({
        "description": about.trim_end(),
        "headers": headers,
        "content": {form.media(): {"schema": {"allOf": [
            {"$ref": format!("{REFERENCE}{}", form.name())},
            {"properties": {"code": {"enum": names}}},
        ]}}},
    })
}

/// The refusals that operations share, by form and status.
fn shared_responses() -> Map<String, Value> {
    let lists = [EVERYWHERE, WITH_BODY, WITH_JSON, WITH_PARAMETERS, WITH_KEY, WITH_SERVER_KEY];
    let mut all = Map::new();
    for form in [Form::Sdk, Form::Problem] {
        let mut by_status: BTreeMap<u16, Vec<&ErrorCode>> = BTreeMap::new();
        for known in CODES.iter().filter(|known| lists.iter().any(|list| list.contains(&known.code))) {
            by_status.entry(known.status).or_default().push(known);
        }
        for (status, known) in by_status {
            all.insert(format!("{}{status}", form.name()), refusal(form, status, &known));
        }
    }
    all
}

fn error_code() -> Value {
    let all: Vec<Value> = CODES
        .iter()
        .map(|known| json!({"const": known.code, "description": format!("{} {}", known.status, known.meaning)}))
        .collect();
    json!({"type": "string", "description": "The stable name of an error.", "oneOf": all})
}

fn field_errors() -> Value {
    let codes: Vec<&str> = FIELD_CODES.iter().map(|(code, _)| *code).collect();
    let meanings: Vec<String> =
        FIELD_CODES.iter().map(|(code, meaning)| format!("- `{code}`: {meaning}")).collect();
    json!({
        "type": "array",
        "description": "The wrong members of the body.",
        "items": {
            "type": "object",
            "required": ["pointer", "code", "detail"],
            "properties": {
                "pointer": {"type": "string", "description": "JSON Pointer (RFC 6901) to the member."},
                "code": {"type": "string", "enum": codes, "description": meanings.join("\n")},
                "detail": {"type": "string", "description": "What is wrong, and what to send instead."},
            },
        },
    })
}

fn sdk_error() -> Value {
    json!({
        "type": "object",
        "description": "An error below `/api/sdk`.",
        "required": ["error", "code", "request_id"],
        "properties": {
            "error": {"type": "string", "description": "What is wrong, for people."},
            "code": {"$ref": "#/components/schemas/ErrorCode"},
            "request_id": {"type": "string"},
            "reserved_keys": {"type": "array", "items": {"type": "string"}, "description": "The keys that the server sets, each of those that were sent."},
            "max_bytes": {"type": "integer", "description": "The limit that the body is over."},
        },
    })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "An error outside `/api/sdk`: a problem of RFC 9457.",
        "required": ["type", "title", "status", "code", "instance", "request_id"],
        "properties": {
            "type": {"type": "string", "description": "`about:blank`: `code` says which problem it is."},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What is particular to this occurrence."},
            "instance": {"type": "string", "description": "The path."},
            "code": {"$ref": "#/components/schemas/ErrorCode"},
            "errors": field_errors(),
            "hint": {"type": "string", "description": "What to do."},
            "request_id": {"type": "string"},
            "max_bytes": {"type": "integer", "description": "The limit that the body is over."},
        },
    })
}
