//! A judge that nobody here wrote: the vendor's own OpenAPI file (3.0), asked about every call and every answer.
//!
//! Only what such files use is understood, and what is not understood is said, never passed over. Members that a
//! schema does not name are let through in answers, as vendors add them; in requests they are faults.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

/// A vendor's OpenAPI file.
#[derive(Debug, Clone)]
pub struct OpenApi(Value);

/// One call and its answer.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Upper-case method.
    pub method: &'a str,
    /// The path, escapes and all.
    pub path: &'a str,
    /// Query parameters, decoded.
    pub query: &'a [(String, String)],
    /// The request's JSON.
    pub request: Option<&'a Value>,
    /// The status of the answer.
    pub status: u16,
    /// The answer's JSON.
    pub answer: Option<&'a Value>,
}

/// Keywords that say nothing about what is valid.
const REMARKS: [&str; 12] = [
    "$ref",
    "default",
    "deprecated",
    "description",
    "discriminator",
    "example",
    "examples",
    "nullable",
    "readOnly",
    "title",
    "writeOnly",
    "xml",
];
/// `$ref`s and compositions nest no deeper in any honest file.
const DEEPEST: usize = 64;

impl OpenApi {
    /// Reads a file's text.
    ///
    /// # Errors
    /// When it is no JSON, or another version than 3.0.
    pub fn read(text: &str) -> Result<Self, String> {
        let doc: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        match doc["openapi"].as_str() {
            Some(version) if version.starts_with("3.0") => Ok(Self(doc)),
            other => Err(format!("OpenAPI version {other:?} is not understood")),
        }
    }

    /// What is wrong with a call or its answer; empty when nothing is.
    #[must_use]
    pub fn judge(&self, call: &Call<'_>) -> Vec<String> {
        let mut out = Faults { at: format!("{} {}", call.method, call.path), found: Vec::new() };
        let Some((template, operation)) = self.operation(call.method, call.path) else {
            out.add("no such operation");
            return out.found;
        };
        self.judge_query(template, operation, call.query, &mut out);
        let declared = self.follow(&operation["requestBody"]);
        match (call.request, declared.get("content")) {
            (Some(body), Some(content)) => {
                out.within("request", |out| {
                    self.check(&content["application/json"]["schema"], body, true, 0, out);
                });
            }
            (Some(_), None) => out.add("a body where none is declared"),
            (None, _) if declared["required"] == true => out.add("no body"),
            (None, _) => {}
        }
        let responses = &operation["responses"];
        let response = responses.get(call.status.to_string()).or_else(|| responses.get("default"));
        let Some(response) = response.map(|response| self.follow(response)) else {
            out.add(&format!("status {} is not declared", call.status));
            return out.found;
        };
        let schema = response.get("content").map(|content| &content["application/json"]["schema"]);
        out.within(&call.status.to_string(), |out| match (schema, call.answer) {
            (Some(schema), Some(answer)) => self.check(schema, answer, false, 0, out),
            (Some(_), None) => out.add("no body"),
            (None, Some(_)) => out.add("a body where none is declared"),
            (None, None) => {}
        });
        out.found
    }

    /// The operation of a path, by the template with the most fixed segments.
    #[must_use]
    pub fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value)> {
        let wanted: Vec<&str> = path.split('/').collect();
        let paths = self.0["paths"].as_object()?;
        let mut best: Option<(usize, &str, &Value)> = None;
        for (template, item) in paths {
            let parts: Vec<&str> = template.split('/').collect();
            let is_variable = |part: &str| part.starts_with('{') && part.ends_with('}');
            let fits = parts.len() == wanted.len()
                && parts
                    .iter()
                    .zip(&wanted)
                    .all(|(part, of)| part == of || (is_variable(part) && !of.is_empty()));
            let fixed = parts.iter().filter(|part| !is_variable(part)).count();
            if let Some(operation) = item.get(method.to_ascii_lowercase())
                && fits
                && best.is_none_or(|(most, ..)| fixed > most)
            {
                best = Some((fixed, template, operation));
            }
        }
        best.map(|(_, template, operation)| (template, operation))
    }

    fn judge_query(&self, template: &str, operation: &Value, query: &[(String, String)], out: &mut Faults) {
        let shared = self.0["paths"][template]["parameters"].as_array();
        let own = operation["parameters"].as_array();
        let parameters: Vec<&Value> =
            shared.into_iter().chain(own).flatten().map(|parameter| self.follow(parameter)).collect();
        let of_query = || parameters.iter().filter(|parameter| parameter["in"] == "query");
        for (name, text) in query {
            let Some(parameter) = of_query().find(|parameter| parameter["name"] == name.as_str()) else {
                out.add(&format!("query parameter {name} is not declared"));
                continue;
            };
            let mut schema = self.follow(&parameter["schema"]);
            // Each of several is written by itself.
            if schema["type"] == "array" {
                schema = self.follow(&schema["items"]);
            }
            let value = match schema["type"].as_str() {
                Some("integer" | "number") => text.parse::<serde_json::Number>().ok().map(Value::Number),
                Some("boolean") => text.parse().ok().map(Value::Bool),
                _ => Some(Value::String(text.clone())),
            };
            out.within(&format!("?{name}"), |out| match value {
                Some(value) => self.check(schema, &value, true, 0, out),
                None => out.add("another type"),
            });
        }
        for parameter in of_query().filter(|parameter| parameter["required"] == true) {
            if !query.iter().any(|(name, _)| parameter["name"] == name.as_str()) {
                out.add(&format!("query parameter {} is missing", parameter["name"]));
            }
        }
    }

    fn follow<'a>(&'a self, mut node: &'a Value) -> &'a Value {
        for _ in 0..DEEPEST {
            let Some(reference) = node.get("$ref").and_then(Value::as_str) else { return node };
            node = reference
                .strip_prefix('#')
                .and_then(|pointer| self.0.pointer(pointer))
                .unwrap_or(&Value::Null);
        }
        node
    }

    fn fits(&self, schema: &Value, value: &Value, strict: bool, depth: usize) -> bool {
        let mut out = Faults::default();
        self.check(schema, value, strict, depth, &mut out);
        out.found.is_empty()
    }

    /// Checks a value. With `strict`, members that the schema does not name are faults.
    fn check(&self, schema: &Value, value: &Value, strict: bool, depth: usize, out: &mut Faults) {
        let schema = self.follow(schema);
        if depth > DEEPEST {
            return out.add("the schema never ends");
        }
        let Some(rules) = schema.as_object() else { return };
        // `nullable` has a meaning beside a type alone.
        if value.is_null() && (schema["nullable"] == true || !rules.contains_key("type")) {
            return;
        }
        let parts = |name: &str| schema[name].as_array().map_or(&[][..], Vec::as_slice);
        for (keyword, rule) in rules {
            match keyword.as_str() {
                "type" => check_type(rule, value, out),
                "enum" => {
                    if !parts("enum").contains(value) {
                        out.add(&format!("{value} is not one of {rule}"));
                    }
                }
                "format" => check_format(rule.as_str().unwrap_or_default(), value, out),
                "required" => {
                    for name in parts("required").iter().filter_map(Value::as_str) {
                        if value.as_object().is_some_and(|object| !object.contains_key(name)) {
                            out.add(&format!("{name} is missing"));
                        }
                    }
                }
                "properties" => self.check_members(rule, rules, value, strict, depth, out),
                "items" => {
                    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                        out.within(&format!("[{n}]"), |out| self.check(rule, item, strict, depth + 1, out));
                    }
                }
                "allOf" => {
                    // Each names a part of the members only.
                    for part in parts("allOf") {
                        self.check(part, value, false, depth + 1, out);
                    }
                }
                "anyOf" => {
                    if !parts("anyOf").iter().any(|part| self.fits(part, value, strict, depth + 1)) {
                        out.add("fits none of anyOf");
                    }
                }
                "oneOf" => {
                    let fitting = parts("oneOf")
                        .iter()
                        .filter(|part| self.fits(part, value, strict, depth + 1))
                        .count();
                    if fitting != 1 {
                        out.add(&format!("fits {fitting} of oneOf"));
                    }
                }
                "additionalProperties" if !rules.contains_key("properties") => {
                    for (name, member) in value.as_object().into_iter().flatten() {
                        out.within(name, |out| self.check(rule, member, strict, depth + 1, out));
                    }
                }
                "additionalProperties" => {}
                "minimum" | "maximum" | "minLength" | "maxLength" | "minItems" | "maxItems"
                | "minProperties" => {
                    check_size(keyword, rule, value, out);
                }
                "uniqueItems" => {
                    let texts: Vec<String> =
                        value.as_array().into_iter().flatten().map(Value::to_string).collect();
                    if *rule == true && texts.iter().collect::<BTreeSet<_>>().len() != texts.len() {
                        out.add("an item twice");
                    }
                }
                // The one pattern that is in use: no NUL.
                "pattern" if rule == "^[^\u{0}]+$" => {}
                remark if REMARKS.contains(&remark) || remark.starts_with("x-") => {}
                other => out.add(&format!("the judge does not understand {other:?}")),
            }
        }
    }

    fn check_members(
        &self,
        rule: &Value,
        rules: &Map<String, Value>,
        value: &Value,
        strict: bool,
        depth: usize,
        out: &mut Faults,
    ) {
        for (name, member) in value.as_object().into_iter().flatten() {
            match rule.get(name) {
                Some(schema) => out.within(name, |out| self.check(schema, member, strict, depth + 1, out)),
                None => match rules.get("additionalProperties") {
                    Some(Value::Bool(false)) => out.add(&format!("{name} is not declared")),
                    None if strict => out.add(&format!("{name} is not declared")),
                    Some(schema @ Value::Object(_)) => {
                        out.within(name, |out| self.check(schema, member, strict, depth + 1, out));
                    }
                    _ => {}
                },
            }
        }
    }
}

/// Faults, with the place that they are at.
#[derive(Debug, Default)]
struct Faults {
    at: String,
    found: Vec<String>,
}

impl Faults {
    fn add(&mut self, what: &str) {
        self.found.push(format!("{}: {what}", self.at));
    }

    fn within(&mut self, name: &str, f: impl FnOnce(&mut Self)) {
        let before = self.at.len();
        let _ = fmt::Write::write_fmt(&mut self.at, format_args!(" {name}"));
        f(self);
        self.at.truncate(before);
    }
}

fn check_type(rule: &Value, value: &Value, out: &mut Faults) {
    let fits = match rule.as_str().unwrap_or_default() {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => return out.add(&format!("the judge does not understand type {other:?}")),
    };
    if !fits {
        out.add(&format!("expected {rule}, found {}", kind(value)));
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn check_format(format: &str, value: &Value, out: &mut Faults) {
    let Some(text) = value.as_str() else { return };
    let good = match format {
        "date-time" => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
        "uuid" => {
            let groups: Vec<usize> = text.split('-').map(str::len).collect();
            groups == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
        }
        "email" => text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty()),
        "url" | "uri" => text.starts_with("http://") || text.starts_with("https://"),
        "int32" | "int64" | "float" | "double" | "binary" | "byte" => true,
        other => return out.add(&format!("the judge does not understand format {other:?}")),
    };
    if !good {
        out.add(&format!("{text:?} is no {format}"));
    }
}

fn check_size(keyword: &str, rule: &Value, value: &Value, out: &mut Faults) {
    #[expect(clippy::cast_precision_loss, reason = "lengths of texts and lists are small")]
    let size = match (keyword, value) {
        ("minimum" | "maximum", number) => number.as_f64(),
        ("minLength" | "maxLength", Value::String(text)) => Some(text.chars().count() as f64),
        ("minItems" | "maxItems", Value::Array(items)) => Some(items.len() as f64),
        ("minProperties", Value::Object(members)) => Some(members.len() as f64),
        _ => None,
    };
    let (Some(size), Some(border)) = (size, rule.as_f64()) else { return };
    let good = if keyword.starts_with("min") { size >= border } else { size <= border };
    if !good {
        out.add(&format!("{size} against {keyword} {border}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn api() -> OpenApi {
        OpenApi::read(
            &json!({
                "openapi": "3.0.2",
                "paths": {
                    "/things": {
                        "get": {
                            "parameters": [
                                {"name": "count", "in": "query", "required": true, "schema": {"type": "integer", "maximum": 100}},
                                {"name": "of", "in": "query", "schema": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}},
                            ],
                            "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Things"}}}}},
                        },
                        "post": {
                            "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                            "responses": {"204": {}},
                        },
                    },
                    "/things/{id}": {"get": {"responses": {"404": {}}}},
                    "/things/special": {"get": {"responses": {"409": {}}}},
                },
                "components": {"schemas": {
                    "Thing": {
                        "type": "object", "required": ["id"],
                        "properties": {
                            "id": {"type": "string", "format": "uuid"}, "at": {"type": "string", "format": "date-time", "nullable": true},
                            "of": {"oneOf": [{"type": "string"}, {"type": "integer"}]}, "any": {"anyOf": [{"type": "array", "minItems": 1}, {"type": "boolean"}]},
                        },
                    },
                    "Things": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
                }},
            })
            .to_string(),
        )
        .unwrap()
    }

    fn judge(
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        request: Option<Value>,
        status: u16,
        answer: Option<Value>,
    ) -> Vec<String> {
        let query: Vec<(String, String)> =
            query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        api().judge(&Call {
            method,
            path,
            query: &query,
            request: request.as_ref(),
            status,
            answer: answer.as_ref(),
        })
    }

    const ID: &str = "65fc1ec8-fb9c-4986-9d95-e2cf07e504bc";

    #[test]
    fn what_keeps_to_the_file_has_no_faults() {
        let things = json!([{"id": ID, "at": null, "of": 1, "any": [1], "new": true}]);
        assert_eq!(
            judge("GET", "/things", &[("count", "9"), ("of", "a"), ("of", "b")], None, 200, Some(things)),
            [""; 0]
        );
        assert_eq!(judge("POST", "/things", &[], Some(json!({"id": ID})), 204, None), [""; 0]);
        assert_eq!(judge("GET", "/things/7", &[], None, 404, None), [""; 0]);
        assert_eq!(judge("GET", "/things/special", &[], None, 409, None), [""; 0]);
    }

    #[test]
    fn each_fault_is_found() {
        let count = [("count", "9")];
        let answer = |thing: Value| judge("GET", "/things", &count, None, 200, Some(json!([thing])));
        let asked = |query: &[(&str, &str)]| judge("GET", "/things", query, None, 200, Some(json!([])));
        for (found, says) in [
            (judge("GET", "/nothing", &[], None, 200, None), "no such operation"),
            (judge("PUT", "/things", &[], None, 200, None), "no such operation"),
            (asked(&[]), "\"count\" is missing"),
            (asked(&[("count", "x")]), "another type"),
            (asked(&[("count", "101")]), "101 against maximum 100"),
            (asked(&[("count", "9"), ("of", "c")]), "is not one of"),
            (asked(&[("count", "9"), ("off", "c")]), "off is not declared"),
            (judge("GET", "/things", &count, Some(json!({})), 200, Some(json!([]))), "a body where none"),
            (judge("GET", "/things", &count, None, 200, None), "no body"),
            (judge("GET", "/things", &count, None, 500, None), "status 500 is not declared"),
            (judge("GET", "/things", &count, None, 200, Some(json!({}))), "expected \"array\""),
            (judge("POST", "/things", &[], None, 204, None), "no body"),
            (
                judge("POST", "/things", &[], Some(json!({"id": ID, "more": 1})), 204, None),
                "more is not declared",
            ),
            (
                judge("POST", "/things", &[], Some(json!({"id": ID})), 204, Some(json!(1))),
                "a body where none",
            ),
            (answer(json!({})), "id is missing"),
            (answer(json!({"id": null})), "found null"),
            (answer(json!({"id": "7"})), "is no uuid"),
            (answer(json!({"id": ID, "at": "today"})), "is no date-time"),
            (answer(json!({"id": ID, "of": true})), "fits 0 of oneOf"),
            (answer(json!({"id": ID, "any": []})), "fits none of anyOf"),
        ] {
            assert_eq!(found.len(), 1, "{says}: {found:?}");
            assert!(found[0].contains(says), "{says}: {found:?}");
        }
        assert!(OpenApi::read(r#"{"openapi":"3.1.0"}"#).is_err());
    }
}
