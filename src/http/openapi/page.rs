//! The document as one page for people: no script, nothing from elsewhere, readable when printed.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

const STYLE: &str = include_str!("page.css");
const SCHEMA: &str = "#/components/schemas/";
const RESPONSE: &str = "#/components/responses/";
/// Shapes within shapes that are written out; deeper ones are named only.
const DEPTH: usize = 6;

/// The page of an OpenAPI document of ours, and the content security policy that it is served with: its own style by
/// its hash, and nothing else.
pub fn render(document: &Value) -> (String, String) {
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut page = Page { document, html: String::with_capacity(256 * 1024) };
    page.write();
    (page.html, policy)
}

struct Page<'a> {
    document: &'a Value,
    html: String,
}

/// An operation of the document with its place.
struct Described<'a> {
    path: &'a str,
    method: String,
    operation: &'a Value,
}

impl<'a> Page<'a> {
    fn push(&mut self, html: &str) {
        self.html.push_str(html);
    }

    fn write(&mut self) {
        let info = &self.document["info"];
        let title = escape(text(&info["title"]));
        let version = escape(text(&info["version"]));
        let head = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} API</title>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{STYLE}</style></head>\n\
             <body><header><h1>{title} API <small>{version}</small></h1><p><a href=\"/openapi.json\">openapi.json</a></p></header>\n"
        );
        self.push(&head);
        let groups = self.groups();
        self.push("<nav aria-label=\"Operations\">");
        for (tag, operations) in &groups {
            let _ = write!(self.html, "<h2>{}</h2><ul>", escape(text(&tag["name"])));
            for one in operations {
                let _ = write!(
                    self.html,
                    "<li><a href=\"#{}\"><b>{}</b> {}</a></li>",
                    escape(text(&one.operation["operationId"])),
                    escape(&one.method),
                    escape(one.path)
                );
            }
            self.push("</ul>");
        }
        self.push("</nav>\n<main>");
        let about = markdown(text(&info["description"]));
        self.push(&about);
        for (tag, operations) in &groups {
            let _ = write!(self.html, "\n<section><h2>{}</h2>", escape(text(&tag["name"])));
            let about = markdown(text(&tag["description"]));
            self.push(&about);
            for one in operations {
                self.operation(one);
            }
            self.push("</section>");
        }
        self.schemas();
        self.push("</main></body></html>\n");
    }

    /// Operations by chapter, in the document's order.
    fn groups(&self) -> Vec<(&'a Value, Vec<Described<'a>>)> {
        let tags = self.document["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
        tags.iter().map(|tag| (tag, self.of_tag(&tag["name"]))).collect()
    }

    fn of_tag(&self, tag: &Value) -> Vec<Described<'a>> {
        let mut all = Vec::new();
        for (path, methods) in members(&self.document["paths"]) {
            for (method, operation) in members(methods) {
                if operation["tags"].get(0) == Some(tag) {
                    all.push(Described { path, method: method.to_ascii_uppercase(), operation });
                }
            }
        }
        all
    }

    fn operation(&mut self, one: &Described<'_>) {
        let operation = one.operation;
        let id = escape(text(&operation["operationId"]));
        let _ = write!(
            self.html,
            "\n<article id=\"{id}\"><h3><code><b>{}</b> {}</code></h3><p class=\"lead\">{}</p>",
            escape(&one.method),
            escape(one.path),
            escape(text(&operation["summary"]))
        );
        let about = markdown(text(&operation["description"]));
        self.push(&about);
        let _ = write!(self.html, "<p class=\"key\">{}</p>", access(&operation["security"]));
        self.parameters(operation);
        let body = &operation["requestBody"]["content"];
        for (media, content) in members(body) {
            let _ = write!(self.html, "<h4>Body <small>{}</small></h4>", escape(media));
            self.shape(&content["schema"]);
        }
        self.push("<h4>Example</h4><pre>");
        let curl = escape(&curl(one));
        self.push(&curl);
        self.push("</pre><h4>Answers</h4><dl>");
        for (status, answer) in members(&operation["responses"]) {
            self.answer(status, answer);
        }
        self.push("</dl></article>");
    }

    fn parameters(&mut self, operation: &Value) {
        let Some(parameters) = operation["parameters"].as_array() else { return };
        self.push(
            "<table><caption>Parameters</caption><thead><tr><th scope=\"col\">Name</th><th scope=\"col\">In</th>\
             <th scope=\"col\">Type</th><th scope=\"col\">Meaning</th></tr></thead><tbody>",
        );
        for parameter in parameters {
            let must = if parameter["required"] == true { "" } else { " <small>optional</small>" };
            let _ = write!(
                self.html,
                "<tr><td><code>{}</code>{must}</td><td>{}</td><td><code>{}</code></td><td>{}</td></tr>",
                escape(text(&parameter["name"])),
                escape(text(&parameter["in"])),
                kind(&parameter["schema"], 0, 0),
                markdown(text(&parameter["description"]))
            );
        }
        self.push("</tbody></table>");
    }

    fn answer(&mut self, status: &str, answer: &Value) {
        let shared = answer["$ref"].as_str().and_then(|target| target.strip_prefix(RESPONSE));
        let answer = shared.map_or(answer, |name| &self.document["components"]["responses"][name]);
        let _ = write!(
            self.html,
            "<dt><code>{}</code></dt><dd>{}",
            escape(status),
            markdown(text(&answer["description"]))
        );
        for (name, header) in members(&answer["headers"]) {
            // Every answer has its request's id; the introduction says so once.
            if header["$ref"].is_null() {
                let _ = write!(
                    self.html,
                    "<p><code>{}</code>: {}</p>",
                    escape(name),
                    inline(text(&header["description"]))
                );
            }
        }
        for (media, content) in members(&answer["content"]) {
            if content["schema"]["allOf"].is_array() {
                continue; // an error: its shape is in the introduction, its codes above
            }
            if let Some(example) = content.get("example") {
                let example = serde_json::to_string_pretty(example).unwrap_or_default();
                let _ = write!(self.html, "<details><summary>{}</summary>", escape(media));
                self.shape(&content["schema"]);
                let _ = write!(self.html, "<pre>{}</pre></details>", escape(&example));
            }
        }
        self.push("</dd>");
    }

    fn shape(&mut self, schema: &Value) {
        let _ = write!(self.html, "<pre class=\"shape\">{}</pre>", kind(schema, 0, DEPTH));
    }

    fn schemas(&mut self) {
        self.push("\n<section><h2>Shapes</h2>");
        for (name, schema) in members(&self.document["components"]["schemas"]) {
            let name = escape(name);
            let _ = write!(
                self.html,
                "<article id=\"shape-{name}\"><h3><code>{name}</code></h3>{}<pre class=\"shape\">{}</pre></article>",
                markdown(text(&schema["description"])),
                kind(schema, 0, DEPTH)
            );
        }
        self.push("</section>");
    }
}

/// A schema in a short notation: `{ name?: string, … }`, with what its members mean behind them.
fn kind(schema: &Value, indent: usize, depth: usize) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|target| target.strip_prefix(SCHEMA)) {
        let name = escape(name);
        return format!("<a href=\"#shape-{name}\">{name}</a>");
    }
    if let Some(value) = schema.get("const") {
        return escape(&value.to_string());
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| escape(&value.to_string())).collect::<Vec<_>>().join(" | ");
    }
    for members in ["anyOf", "oneOf"] {
        if let Some(any) = schema[members].as_array() {
            return any.iter().map(|one| kind(one, indent, depth)).collect::<Vec<_>>().join(" | ");
        }
    }
    match &schema["type"] {
        Value::String(one) => simple(one, schema, indent, depth),
        Value::Array(several) => {
            let several: Vec<_> =
                several.iter().map(|one| simple(text(one), schema, indent, depth)).collect();
            several.join(" | ")
        }
        _ => "any".to_owned(),
    }
}

fn simple(one: &str, schema: &Value, indent: usize, depth: usize) -> String {
    match one {
        "array" => format!("[{}]", kind(&schema["items"], indent, depth)),
        "object" if depth == 0 => "{…}".to_owned(),
        "object" => object(schema, indent, depth),
        other => match schema["format"].as_str() {
            Some(format) => format!("{} ({})", escape(other), escape(format)),
            None => escape(other),
        },
    }
}

fn object(schema: &Value, indent: usize, depth: usize) -> String {
    let Some(properties) = schema["properties"].as_object() else {
        return match &schema["additionalProperties"] {
            Value::Object(_) => {
                format!("{{ key: {} }}", kind(&schema["additionalProperties"], indent, depth - 1))
            }
            _ => "{ key: any }".to_owned(),
        };
    };
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pad = "  ".repeat(indent + 1);
    let mut shape = "{\n".to_owned();
    for (name, member) in properties {
        let mark = if required.iter().any(|one| one == name) { "" } else { "?" };
        let _ = write!(shape, "{pad}{}{mark}: {}", escape(name), kind(member, indent + 1, depth - 1));
        if let Some(about) = member["description"].as_str() {
            let about = about.split("\n\n").next().unwrap_or_default().replace('\n', " ");
            let _ = write!(shape, "  <i>{}</i>", inline(&about));
        }
        shape.push('\n');
    }
    let _ = write!(shape, "{}}}", "  ".repeat(indent));
    shape
}

fn access(security: &Value) -> &'static str {
    let names: Vec<&String> = security
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|one| members(one).map(|(name, _)| name))
        .collect();
    match names.as_slice() {
        [] => "Needs no key.",
        [one] if *one == "serverKey" => "Needs a server key.",
        _ => "Needs a publishable or a server key.",
    }
}

/// The request as a command, with the example as its body.
fn curl(one: &Described<'_>) -> String {
    let mut command = "curl".to_owned();
    if one.method != "GET" {
        let _ = write!(command, " -X {}", one.method);
    }
    let _ = write!(command, " \"$HALO_SYNC_URL{}\"", one.path);
    if one.operation["security"].as_array().is_some_and(|all| !all.is_empty()) {
        command.push_str(" \\\n  -H \"Authorization: Bearer $KEY\"");
    }
    for (media, content) in members(&one.operation["requestBody"]["content"]) {
        if let Some(example) = content.get("example") {
            let body = serde_json::to_string_pretty(example).unwrap_or_default().replace('\'', "'\\''");
            let _ = write!(command, " \\\n  -H 'Content-Type: {media}' \\\n  --data '{body}'");
        }
    }
    command
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escape(plain: &str) -> String {
    let mut html = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// The part of Markdown that our descriptions use: paragraphs, lists, `code`, **bold**.
fn markdown(source: &str) -> String {
    let mut html = String::new();
    for block in source.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        if block.starts_with("- ") {
            html.push_str("<ul>");
            for item in block.split("\n- ") {
                let item = item.strip_prefix("- ").unwrap_or(item).replace('\n', " ");
                let _ = write!(html, "<li>{}</li>", inline(&item));
            }
            html.push_str("</ul>");
        } else {
            let _ = write!(html, "<p>{}</p>", inline(&block.replace('\n', " ")));
        }
    }
    html
}

fn inline(source: &str) -> String {
    let mut html = String::new();
    for (at, part) in source.split('`').enumerate() {
        if at % 2 == 1 {
            let _ = write!(html, "<code>{}</code>", escape(part));
            continue;
        }
        for (at, part) in part.split("**").enumerate() {
            let part = escape(part);
            if at % 2 == 1 {
                let _ = write!(html, "<b>{part}</b>");
            } else {
                html.push_str(&part);
            }
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_of_the_document_becomes_markup() {
        let document = json!({
            "info": {"title": "<script>x</script>", "version": "1", "description": "a <b> & `<i>` **<u>**"},
            "tags": [{"name": "T", "description": ""}],
            "paths": {"/a/{id}": {"post": {
                "operationId": "a", "summary": "\"quoted\"", "tags": ["T"], "security": [{"serverKey": []}],
                "requestBody": {"content": {"application/json": {
                    "schema": {"type": "object", "properties": {"<k>": {"enum": ["<v>"]}}},
                    "example": {"text": "it's </pre>"},
                }}},
                "responses": {"200": {"description": "- one <\n- two"}},
            }}},
            "components": {"schemas": {}},
        });
        let (html, policy) = render(&document);
        for markup in ["<script", "<u>", "</pre>\"", "<k>", "<v>"] {
            assert!(!html.contains(markup), "{markup}: {html}");
        }
        assert!(html.contains("it&#39;\\&#39;&#39;s &lt;/pre&gt;"), "{html}");
        assert!(html.contains("<ul><li>one &lt;</li><li>two</li></ul>"), "{html}");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    }
}
