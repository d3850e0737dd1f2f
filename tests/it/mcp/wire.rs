//! Messages as they go over the wire.

use halo_sync::domain::connections::KeyClass;
use serde_json::{Value, json};

use crate::support::app::{App, on_both};

on_both!(
    a_client_is_asked_who_it_is,
    versions_are_negotiated,
    what_is_no_message_is_answered_as_json_rpc_does,
    what_is_wrong_as_http_is_a_problem_document,
);

struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

/// A client that names its own headers.
struct Wire<'a> {
    app: &'a App,
    key: String,
}

impl<'a> Wire<'a> {
    async fn of(app: &'a App) -> Self {
        Self { app, key: app.key(KeyClass::Server).await.1 }
    }

    async fn send(&self, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Reply {
        let mut call = self.app.http.post(format!("{}/api/mcp", self.app.base));
        let mut all = vec![
            ("authorization", format!("Bearer {}", self.key)),
            ("content-type", "application/json".to_owned()),
            ("accept", "application/json, text/event-stream".to_owned()),
        ];
        for (name, value) in headers {
            all.retain(|(known, _)| known != name);
            all.push((name, (*value).to_owned()));
        }
        for (name, value) in all.iter().filter(|(_, value)| !value.is_empty()) {
            call = call.header(*name, value);
        }
        reply(call.body(body)).await
    }

    async fn message(&self, message: Value) -> Reply {
        self.send(&[], message.to_string()).await
    }
}

async fn reply(call: reqwest::RequestBuilder) -> Reply {
    let answer = call.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let bytes = answer.bytes().await.unwrap();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    Reply { status, headers, body }
}

fn initialize(version: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}
    }})
}

async fn a_client_is_asked_who_it_is(app: &App) {
    let wire = Wire::of(app).await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let (id, publishable) = app.key(KeyClass::Publishable).await;
    assert!(!id.is_empty());
    let bearer = |key: &str| format!("Bearer {key}");
    let unknown = bearer("hs_server_000000000000000000000000000000000000000000000000");
    for (key, status, code, challenge) in [
        (String::new(), 401, "unauthorized", Some(r#"Bearer realm="halo-sync""#)),
        (unknown, 401, "unauthorized", Some(r#"Bearer realm="halo-sync", error="invalid_token""#)),
        (bearer(&publishable), 403, "server_key_needed", None),
    ] {
        let refused = wire.send(&[("authorization", &key)], list.clone()).await;
        assert_eq!((refused.status, &refused.body["code"]), (status, &json!(code)));
        assert_eq!(refused.headers["content-type"], "application/problem+json");
        assert_eq!(refused.headers.get("www-authenticate").map(|v| v.to_str().unwrap()), challenge);
    }
    for origin in ["https://evil.example", "null", "http://127.0.0.1:8420", &app.base] {
        let refused = wire.send(&[("origin", origin)], list.clone()).await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (403, &json!("server_key_in_browser")),
            "{origin}"
        );
    }
    assert_eq!(wire.send(&[], list).await.status, 200);
}

async fn versions_are_negotiated(app: &App) {
    let wire = Wire::of(app).await;
    for (asked, given) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
        // It has no handshake: who begins with one gets the last version that has.
        ("2026-07-28", "2025-11-25"),
    ] {
        let reply = wire.message(initialize(asked)).await;
        assert_eq!((reply.status, &reply.body["result"]["protocolVersion"]), (200, &json!(given)), "{asked}");
        assert_eq!(reply.headers["content-type"], "application/json");
        assert!(!reply.headers.contains_key("mcp-session-id"), "no session is begun");
        let result = &reply.body["result"];
        assert_eq!(result["serverInfo"]["name"], "halo-sync");
        assert!(
            result["capabilities"]["tools"].is_object() && result["capabilities"]["resources"].is_object()
        );
        assert!(result["capabilities"].get("prompts").is_none());
    }
    let told = wire.message(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!((told.status, told.body), (202, Value::Null));

    let list = json!({"jsonrpc": "2.0", "id": "a", "method": "tools/list"});
    let ping = json!({"jsonrpc": "2.0", "id": 7, "method": "ping"});
    for version in ["", "2025-06-18", "2025-11-25"] {
        let headers = [("mcp-protocol-version", version)];
        let listed = wire.send(&headers, list.to_string()).await;
        assert_eq!((listed.status, &listed.body["id"]), (200, &json!("a")));
        assert_eq!(listed.body["result"]["tools"].as_array().unwrap().len(), 5);
        let pong = wire.send(&headers, ping.to_string()).await;
        assert_eq!(pong.body, json!({"jsonrpc": "2.0", "id": 7, "result": {}}));
    }
    let unknown = wire.send(&[("mcp-protocol-version", "1999-01-01")], list.to_string()).await;
    assert_eq!(unknown.status, 400);
    assert!(unknown.body["detail"].as_str().unwrap().contains("1999-01-01"), "{}", unknown.body);

    // The newest revision has no handshake; each request says what it needs.
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let newest = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "server/discover")];
    let discover = json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": meta}});
    let found = wire.send(&newest, discover.to_string()).await;
    assert_eq!(found.status, 200, "{}", found.body);
    let versions = found.body["result"]["supportedVersions"].as_array().unwrap();
    assert_eq!(versions.len(), 5, "{}", found.body);
    let newest =
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "find_users")];
    let params = json!({"name": "find_users", "arguments": {}, "_meta": meta});
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params});
    let called = wire.send(&newest, call.to_string()).await;
    assert_eq!(called.body["result"]["structuredContent"]["users"], json!([]), "{}", called.body);
}

async fn what_is_no_message_is_answered_as_json_rpc_does(app: &App) {
    let wire = Wire::of(app).await;
    let deep = "[".repeat(100_000);
    for (body, code) in [
        ("", -32700),
        ("{", -32700),
        ("{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"\u{0}\"}", -32700),
        ("{} {}", -32700),
        (&deep, -32700),
        ("7", -32600),
        ("null", -32600),
        ("[]", -32600),
        (r#"[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]"#, -32600),
        (r#"{"id": 1, "method": "ping"}"#, -32600),
        (r#"{"jsonrpc": "1.0", "id": 1, "method": "ping"}"#, -32600),
        (r#"{"jsonrpc": "2.0", "id": null, "method": "ping"}"#, -32600),
        (r#"{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}"#, -32600),
        (r#"{"jsonrpc": "2.0", "id": {}, "method": "ping"}"#, -32600),
        (r#"{"jsonrpc": "2.0", "id": 1, "method": 7}"#, -32600),
        (r#"{"jsonrpc": "2.0", "id": 1}"#, -32600),
        (r#"{"jsonrpc": "2.0", "id": 1, "method": "ping", "result": {}}"#, -32600),
        (r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": [1]}"#, -32600),
        (
            r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x", "_meta": 7}}"#,
            -32600,
        ),
        // Nothing was asked of the client.
        (r#"{"jsonrpc": "2.0", "id": 1, "result": {}}"#, -32600),
    ] {
        let reply = wire.send(&[], body.to_owned()).await;
        let shown = &body[..body.len().min(80)];
        assert_eq!(
            (reply.status, &reply.body["error"]["code"]),
            (400, &json!(code)),
            "{shown}: {}",
            reply.body
        );
        assert_eq!(reply.body["jsonrpc"], "2.0");
        assert_eq!(reply.headers["content-type"], "application/json", "{shown}");
    }
    for (method, params, code, said) in [
        ("tools/delete", json!({}), -32601, "tools/delete"),
        ("prompts/list", json!({}), -32601, "prompts/list"),
        ("resources/subscribe", json!({"uri": "halo://users/x/context"}), -32601, "resources/subscribe"),
        ("logging/setLevel", json!({"level": "debug"}), -32601, "logging/setLevel"),
        ("tools/call", json!({"arguments": {}}), -32602, "tools/call"),
        ("tools/call", json!({"name": "nothing"}), -32602, "find_users"),
        ("resources/read", json!({}), -32602, "resources/read"),
        ("resources/read", json!({"uri": "halo://users/nobody/context"}), -32002, "no such resource"),
        ("resources/list", json!({"cursor": "!"}), -32602, "cursor"),
        ("initialize", json!({}), -32602, "initialize"),
    ] {
        let message = json!({"jsonrpc": "2.0", "id": 3, "method": method, "params": params});
        let reply = wire.message(message).await;
        assert_eq!(
            (reply.status, &reply.body["error"]["code"]),
            (200, &json!(code)),
            "{method}: {}",
            reply.body
        );
        assert_eq!(reply.body["id"], 3);
        assert!(reply.body["error"]["message"].as_str().unwrap().contains(said), "{method}: {}", reply.body);
    }
}

async fn what_is_wrong_as_http_is_a_problem_document(app: &App) {
    let wire = Wire::of(app).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    for (header, value, status, code) in [
        ("accept", "text/html", 406, "not_acceptable"),
        ("accept", "application/json", 406, "not_acceptable"),
        ("accept", "text/event-stream", 406, "not_acceptable"),
        ("accept", "application/json, text/event-stream;q=0", 406, "not_acceptable"),
        ("content-type", "text/plain", 415, "unsupported_media_type"),
        ("content-type", "", 415, "unsupported_media_type"),
    ] {
        let reply = wire.send(&[(header, value)], ping.clone()).await;
        assert_eq!((reply.status, &reply.body["code"]), (status, &json!(code)), "{header}: {value}");
        assert_eq!(reply.headers["content-type"], "application/problem+json");
        assert!(reply.body["detail"].is_string() && reply.body["request_id"].is_string(), "{}", reply.body);
    }
    let large = format!("{ping}{}", " ".repeat(1024 * 1024));
    assert_eq!(wire.send(&[], large).await.body["code"], "body_too_large");
    // No streams of the server's own, no sessions.
    for method in [reqwest::Method::GET, reqwest::Method::DELETE, reqwest::Method::OPTIONS] {
        let call = app.http.request(method.clone(), format!("{}/api/mcp", app.base)).bearer_auth(&wire.key);
        let reply = reply(call.header("accept", "text/event-stream")).await;
        assert_eq!((reply.status, &reply.body["code"]), (405, &json!("method_not_allowed")), "{method}");
        assert_eq!(reply.headers["allow"], "POST", "{method}");
        assert!(!reply.headers.contains_key("access-control-allow-origin"), "{method}");
    }
    // The name of the host is the operator's to choose.
    let named = wire.send(&[("host", "halo.example.com")], ping).await;
    assert_eq!(named.status, 200);
}
