//! Every operation that the OpenAPI document describes, called by everybody, about everybody's objects.
//!
//! The calls come out of the document: its paths, parameters and example bodies, with the ids of one organisation's
//! objects in the places that name one. Who may call what stands in [`POLICY`]; an operation without a line there
//! fails, so that nobody adds one without saying. What is held against each call:
//!
//! - who may not call is refused with the status and code of the reason, the same for every object;
//! - no answer holds anything that is stored of another organisation, nor, to a publishable key, of its own;
//! - an object of another organisation is answered as one that does not exist, byte for byte;
//! - another organisation's rows are what they were.

use std::collections::{BTreeMap, BTreeSet};

use halo_sync::domain::companies::TraitPatch;
use halo_sync::domain::connections::KeyClass;
use halo_sync::domain::{OrgId, Rank};
use halo_sync::http::openapi::document;
use halo_sync::http::operations;
use halo_sync::service::{KeyBounds, Request as Ask};
use halo_sync::store::identity::{Lookup, WriteSource};
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Anybody, with a key or without.
    Anybody,
    /// Whoever has a publishable or a server key: what a page may do, and all that it may do.
    AnyKey,
    /// Whoever has a server key, or a publishable key with a token of the right scope, which nobody here has.
    Vouched,
    /// Whoever has a server key.
    Server,
    /// A provider, by its signature: our keys are nothing to it.
    Provider,
}

/// Who may call what, by operation id.
const POLICY: &[(&str, Who)] = &[
    ("add_custom_field", Who::Server),
    ("change_attribute", Who::Server),
    ("change_custom_field", Who::Server),
    ("chat", Who::AnyKey),
    ("chat_context", Who::Server),
    ("chat_stream", Who::AnyKey),
    ("clear_context", Who::AnyKey),
    ("config", Who::Anybody),
    ("create_ticket", Who::AnyKey),
    ("delete_company", Who::Server),
    ("delete_company_by_body", Who::Server),
    ("delete_custom_field", Who::Server),
    ("delete_user", Who::Server),
    ("delete_user_by_body", Who::Server),
    ("docs", Who::Anybody),
    ("export_attributes", Who::Server),
    ("find_attribute", Who::Server),
    ("find_company", Who::Server),
    ("find_derivation", Who::Server),
    ("find_prompt", Who::Server),
    ("find_user", Who::Server),
    ("healthz", Who::Anybody),
    ("identify_company", Who::AnyKey),
    ("identify_user", Who::AnyKey),
    ("list_attributes", Who::Server),
    ("list_companies", Who::Server),
    ("list_custom_fields", Who::Server),
    ("list_users", Who::Server),
    ("metrics", Who::Anybody),
    ("openapi", Who::Anybody),
    ("put_conversation", Who::AnyKey),
    ("put_events", Who::AnyKey),
    ("readyz", Who::Anybody),
    ("receive_webhook", Who::Provider),
    ("receive_webhook_of_only_connection", Who::Provider),
    ("set_context", Who::AnyKey),
    ("update_companies", Who::Vouched),
    ("update_ticket", Who::Server),
    ("update_users", Who::Vouched),
];

/// Who calls.
#[derive(Debug, Clone)]
struct Principal {
    name: &'static str,
    /// The organisation whose objects are its own.
    org: Option<&'static str>,
    key: Option<String>,
    class: Option<KeyClass>,
    /// In the address instead of the head.
    in_query: bool,
}

/// An operation, as the document describes it.
#[derive(Debug)]
struct Described {
    id: String,
    method: http::Method,
    path: String,
    /// Names of what stands in the path, and in the query.
    in_path: Vec<String>,
    in_query: Vec<String>,
    body: Option<Value>,
    security: BTreeSet<String>,
}

fn described(document: &Value) -> Vec<Described> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let mut in_path = Vec::new();
            let mut in_query = Vec::new();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap().to_owned();
                match parameter["in"].as_str().unwrap() {
                    "path" => in_path.push(name),
                    "query" => in_query.push(name),
                    _ => {}
                }
            }
            let body = &operation["requestBody"]["content"]["application/json"];
            let example = body.get("example").or_else(|| {
                body["examples"]
                    .as_object()
                    .and_then(|all| all.values().next())
                    .and_then(|first| first.get("value"))
            });
            let security = operation["security"].as_array().into_iter().flatten();
            all.push(Described {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_ascii_uppercase().parse().unwrap(),
                path: path.clone(),
                in_path,
                in_query,
                // No token of an example is one.
                body: example.cloned().map(|mut body| {
                    body.as_object_mut().map(|members| members.remove("user_token"));
                    body
                }),
                security: security.flat_map(|one| one.as_object().unwrap().keys().cloned()).collect(),
            });
        }
    }
    all
}

/// Ids of an organisation's objects, by the name that a path, a query or a body gives them.
type Ids = BTreeMap<&'static str, String>;

/// What stands in every answer that shows something stored of an organisation.
fn canary(org: &str) -> String {
    format!("canary-{org}-7d1f")
}

/// Objects of an organisation, each with a canary, under ids that no other has: what is there stays. Their ids as the
/// customer gives them, and as we do.
async fn seed(app: &App, org: &'static str, turn: usize) -> [Ids; 2] {
    let id = OrgId::from(org);
    let source = WriteSource {
        rank: Rank::Server,
        source: "sdk".to_owned(),
        at: connector_sdk::Clock::now(&app.clock),
    };
    let patch =
        |values: Value| TraitPatch { traits: values.as_object().unwrap().clone(), context: BTreeMap::new() };
    let said = canary(org);
    let given = ids(&format!("user_{org}_{turn}"), &format!("company_{org}_{turn}"), org);
    let external = |name: &str| Lookup::External(given[name].clone());
    let traits = patch(json!({"name": said, "note": said, "plan": said}));
    let company = app.store.put_company(&id, &external("company_id"), &traits, &source).await.unwrap();
    let traits = patch(json!({"name": said, "email": format!("{said}-{turn}@{org}.example"), "note": said}));
    let user =
        app.store.put_user(&id, &external("user_id"), &traits, Some(&company.id), &source).await.unwrap();
    [given, ids(user.id.as_str(), company.id.as_str(), org)]
}

/// Ids that nobody has, of both kinds. Those of another turn somebody may have by then: an operation that is told of
/// somebody unknown may make it.
fn nobodys(turn: usize) -> [Ids; 2] {
    let unknown = format!("01BX5ZZKBKACTAV9WEVG{turn:06}");
    [
        ids(&format!("user_nobody_{turn}"), &format!("company_nobody_{turn}"), "nobody"),
        ids(&format!("usr_{unknown}"), &format!("cmp_{unknown}"), "nobody"),
    ]
}

fn ids(user: &str, company: &str, rest: &str) -> Ids {
    let named = |kind: &str| format!("{kind}_{rest}");
    Ids::from([
        ("user_id", user.to_owned()),
        ("company_id", company.to_owned()),
        ("session_id", named("session")),
        ("conversation_id", named("conversation")),
        ("ticket_id", named("ticket")),
        ("connection", named("con")),
        ("cursor", named("cursor")),
        ("id", named("id")),
    ])
}

/// Puts ids where a body names objects.
fn fill(body: &mut Value, ids: &Ids) {
    match body {
        Value::Object(members) => {
            for (name, value) in members {
                match ids.get(name.as_str()) {
                    Some(id) if value.is_string() => *value = id.clone().into(),
                    _ => fill(value, ids),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, ids)),
        _ => {}
    }
}

/// Where the ids of an object stand in a call; elsewhere stand those of nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Channel {
    Path,
    Query,
    Body,
}

fn channels(operation: &Described) -> Vec<Channel> {
    let mut channels = Vec::new();
    if operation.in_path.iter().any(|name| name != "connector") {
        channels.push(Channel::Path);
    }
    if !operation.in_query.is_empty() {
        channels.push(Channel::Query);
    }
    if operation.body.is_some() || channels.is_empty() {
        channels.push(Channel::Body);
    }
    channels
}

struct Said {
    status: u16,
    code: String,
    text: String,
}

async fn call(app: &App, operation: &Described, by: &Principal, ids: &Ids, channel: Channel) -> Said {
    let [nobody, _] = nobodys(999_999);
    let of = |wanted: Channel| if wanted == channel { ids } else { &nobody };
    let mut path = operation.path.clone();
    for name in &operation.in_path {
        let value =
            if name == "connector" { "stripe" } else { &of(Channel::Path)[known(&operation.path, name)] };
        path = path.replace(&format!("{{{name}}}"), value);
    }
    let mut request = app.http.request(operation.method.clone(), format!("{}{path}", app.base));
    let named = |name: &str| of(Channel::Query).get(name).cloned();
    let query: Vec<(String, String)> =
        operation.in_query.iter().filter_map(|name| Some((name.clone(), named(name)?))).collect();
    request = request.query(&query);
    if let Some(key) = &by.key {
        request = if by.in_query { request.query(&[("key", key)]) } else { request.bearer_auth(key) };
    }
    if let Some(mut body) = operation.body.clone() {
        fill(&mut body, of(Channel::Body));
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let request_id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let text = answer.text().await.unwrap().replace(&request_id, "REQUEST");
    let code = serde_json::from_str::<Value>(&text).unwrap_or_default()["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    Said { status, code, text }
}

/// The id that a path's parameter is filled with.
fn known<'a>(path: &str, name: &'a str) -> &'a str {
    match name {
        "user_id" | "company_id" | "connection" => name,
        _ if path.contains("/users/") => "user_id",
        _ if path.contains("/companies/") => "company_id",
        _ => "id",
    }
}

/// With each of the ids replaced, the longest first: what is left tells nothing of whose they were.
fn nameless(said: &Said, ids: &Ids) -> String {
    // Where the call names nothing of the object's, nobody's id stands.
    let [nobody, _] = nobodys(999_999);
    let mut values: Vec<&String> = ids.values().chain(nobody.values()).collect();
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    values.into_iter().fold(said.text.clone(), |text, value| text.replace(value.as_str(), "ID"))
}

/// What the policy says of a call, before anything is looked at: the status and code of its refusal.
fn refused(who: Who, by: &Principal) -> Option<(u16, &'static str)> {
    if by.in_query {
        return Some((400, "key_in_url"));
    }
    match (who, by.class) {
        (Who::Server, Some(KeyClass::Publishable)) => Some((403, "server_key_needed")),
        (Who::Vouched, Some(KeyClass::Publishable)) => Some((403, "identity_required")),
        (Who::Anybody | Who::Provider, _) | (_, Some(_)) => None,
        (_, None) => Some((401, "unauthorized")),
    }
}

const A: &str = "org_default";
const B: &str = "org_b";

async fn principals(app: &App) -> Vec<Principal> {
    let create = async |org: &str, class| {
        let ask = Ask::CreateKey { class, name: "matrix".to_owned() };
        let answer = app.services.execute(&org.into(), ask).await.unwrap();
        (answer["id"].as_str().unwrap().to_owned(), answer["key"].as_str().unwrap().to_owned())
    };
    let mut all = vec![Principal { name: "none", org: None, key: None, class: None, in_query: false }];
    for (org, publishable, server) in [(A, "publishable A", "server A"), (B, "publishable B", "server B")] {
        for (name, class) in [(publishable, KeyClass::Publishable), (server, KeyClass::Server)] {
            let key = Some(create(org, class).await.1);
            all.push(Principal { name, org: Some(org), key, class: Some(class), in_query: false });
        }
    }
    let (id, revoked) = create(A, KeyClass::Server).await;
    app.execute(Ask::RevokeKey { key: id.as_str().into() }).await.unwrap();
    let second = chrono::TimeDelta::seconds(1);
    let bounds = KeyBounds {
        expires_at: Some(connector_sdk::Clock::now(&app.clock) + second),
        ..KeyBounds::default()
    };
    let ask = Ask::CreateBoundKey { class: KeyClass::Server, name: "short".to_owned(), bounds };
    let expired = app.execute(ask).await.unwrap()["key"].as_str().unwrap().to_owned();
    app.clock.advance_us(1_000_000);
    let (_, shown) = create(A, KeyClass::Server).await;
    for (name, key, in_query) in
        [("revoked", revoked, false), ("expired", expired, false), ("in query", shown, true)]
    {
        all.push(Principal { name, org: None, key: Some(key), class: None, in_query });
    }
    all
}

async fn everybody_calls_everything(app: &App) {
    app.execute(Ask::CreateOrg { id: Some(B.into()), name: "B".to_owned() }).await.unwrap();
    let principals = principals(app).await;
    let policy: BTreeMap<&str, Who> = POLICY.iter().copied().collect();
    let mut cells = 0;
    for (turn, operation) in described(&document(&operations())).into_iter().enumerate() {
        let id = &operation.id;
        let who = *policy.get(id.as_str()).unwrap_or_else(|| panic!("{id} has no line in POLICY"));
        let documented = match who {
            Who::Anybody | Who::Provider => vec![],
            Who::AnyKey | Who::Vouched => vec!["publishableKey", "serverKey"],
            Who::Server => vec!["serverKey"],
        };
        assert_eq!(
            operation.security.iter().collect::<Vec<_>>(),
            documented,
            "{id}: who the document says may call"
        );
        for side in [A, B] {
            let objects = [
                (Some(A), seed(app, A, turn).await),
                (Some(B), seed(app, B, turn).await),
                (None, nobodys(turn)),
            ];
            app.drain().await;
            let other = if side == A { B } else { A };
            let before = app.rows_of(other).await;
            assert!(before.iter().any(|row| row.contains(&canary(other))), "there is something to lose");
            for by in principals.iter().filter(|by| by.org.is_none_or(|org| org == side)) {
                for channel in channels(&operation) {
                    for form in 0..2 {
                        let mut foreign = None;
                        for (owner, ids) in &objects {
                            cells += 1;
                            let said = call(app, &operation, by, &ids[form], channel).await;
                            let cell = format!("{id}, {}, object of {owner:?}, {channel:?}, {form}", by.name);
                            judge(&cell, who, by, &said);
                            if owner.is_some_and(|owner| Some(owner) != by.org && owner == other) {
                                foreign = Some((said, &ids[form]));
                            } else if owner.is_none()
                                // It names nothing of anybody's: the second of equal calls finds the first's.
                                && said.code != "field_exists"
                                && let Some((theirs, of)) = &foreign
                            {
                                assert_eq!(theirs.status, said.status, "{cell}: another's is as nobody's");
                                if said.status >= 400 {
                                    assert_eq!(nameless(theirs, of), nameless(&said, &ids[form]), "{cell}");
                                }
                            }
                        }
                    }
                }
            }
            let after = app.rows_of(other).await;
            let changed: Vec<_> = before.symmetric_difference(&after).collect();
            assert!(changed.is_empty(), "{id}: rows of {other} are not what they were: {changed:#?}");
        }
    }
    println!("{cells} cells");
    assert!(cells >= policy.len() * 8 * 3 * 2, "{cells}");
}

/// What is held against every call.
fn judge(cell: &str, who: Who, by: &Principal, said: &Said) {
    // No model is there to answer: which is said to those alone who may ask.
    if said.code == "chat_not_configured" && who == Who::AnyKey && refused(who, by).is_none() {
        assert!(!said.text.contains("canary"), "{cell}: {}", said.text);
        return;
    }
    assert!(said.status < 500, "{cell}: {} {}", said.status, said.text);
    match refused(who, by) {
        Some(expected) => assert_eq!((said.status, said.code.as_str()), expected, "{cell}: {}", said.text),
        // A key that is sent is judged also where none is needed.
        None if who == Who::Anybody && said.status == 401 => {
            assert!(by.key.is_some() && by.class.is_none(), "{cell}: {}", said.text);
        }
        None if who == Who::Provider => assert!((400..500).contains(&said.status), "{cell}: {}", said.text),
        // What an earlier call of the matrix wrote under this id is the user's that it named.
        None if said.code == "not_yours" => {}
        None => {
            assert!(!matches!(said.status, 401 | 403 | 405 | 429), "{cell}: {} {}", said.status, said.text)
        }
    }
    for org in [A, B] {
        let reads = by.org == Some(org) && by.class == Some(KeyClass::Server) && who != Who::Anybody;
        assert!(
            reads || !said.text.contains(&canary(org)),
            "{cell}: shows what is stored of {org}: {}",
            said.text
        );
    }
}

on_both!(everybody_calls_everything);
