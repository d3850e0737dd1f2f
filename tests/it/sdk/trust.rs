//! Keys, tokens, origins and limits, over HTTP. The operation that is called does nothing but say in whose voice it
//! was called: the rules are the same for all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequest as _, Request, State};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use halo_sync::chat::Chat;
use halo_sync::domain::OrgId;
use halo_sync::domain::connections::KeyClass;
use halo_sync::http::edge::Pages;
use halo_sync::http::extract::JsonBody;
use halo_sync::http::sdk::auth::Keys;
use halo_sync::http::sdk::rates::{Quota, Quotas};
use halo_sync::http::sdk::{Anybody, Caller, PromptSettings, Sdk};
use halo_sync::http::{ApiError, Limits, base_for_pages, server};
use halo_sync::product::Product;
use halo_sync::service::{KeyBounds, OrgChange, Request as Ask};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::app::{App, on_both};

const ONE: &str = "/api/sdk/one";
const MANY: &str = "/api/sdk/many";
const SERVER: &str = "/api/sdk/server";
const OPEN: &str = "/api/sdk/open";

/// A server beside the app's own, over the same store, with operations that tell who called.
struct Door {
    base: String,
    http: reqwest::Client,
    /// Bodies that were read.
    read: Arc<AtomicUsize>,
    stop: CancellationToken,
}

#[derive(Clone)]
struct Hall {
    sdk: Sdk,
    read: Arc<AtomicUsize>,
}

impl axum::extract::FromRef<Hall> for Sdk {
    fn from_ref(hall: &Hall) -> Self {
        hall.sdk.clone()
    }
}

impl Hall {
    async fn body(&self, request: Request) -> Result<Value, ApiError> {
        let JsonBody(body) = JsonBody::<Value>::from_request(request, &()).await?;
        self.read.fetch_add(1, Ordering::SeqCst);
        Ok(body)
    }
}

async fn one(
    State(hall): State<Hall>,
    caller: Caller,
    request: Request,
) -> Result<axum::Json<Value>, ApiError> {
    let body = hall.body(request).await?;
    let voice = caller.voice(&hall.sdk, body["user_id"].as_str(), body["user_token"].as_str()).await?;
    let org = caller.org();
    Ok(axum::Json(
        json!({"org": org, "rank": voice.rank, "claims": voice.claims, "verified": voice.verified}),
    ))
}

async fn many(
    State(hall): State<Hall>,
    caller: Caller,
    request: Request,
) -> Result<axum::Json<Value>, ApiError> {
    let body = hall.body(request).await?;
    caller.charge_items(&hall.sdk, body["users"].as_array().map_or(1, Vec::len))?;
    let voice = caller.bulk_voice(&hall.sdk, body["user_token"].as_str()).await?;
    Ok(axum::Json(json!({"rank": voice.rank, "verified": voice.verified})))
}

async fn only_server(caller: Caller) -> Result<axum::Json<Value>, ApiError> {
    caller.need_server()?;
    Ok(axum::Json(json!({})))
}

async fn open(_: Anybody) -> axum::Json<Value> {
    axum::Json(json!({}))
}

impl Door {
    async fn new(app: &App) -> Self {
        Self::with(app, Quotas::NONE, &[]).await
    }

    async fn with(app: &App, quotas: Quotas, proxies: &[&str]) -> Self {
        let services = &app.services;
        let keys = Keys::new(services.store.clone(), services.providers.clone(), services.clock.clone());
        let proxies = proxies.iter().map(|text| text.parse().unwrap()).collect();
        let sdk = Sdk {
            store: services.store.clone(),
            keys: Arc::new(keys.limited(quotas, proxies)),
            product: Product::new(services.store.clone(), services.clock.clone(), None),
            prompt: Arc::new(PromptSettings::default()),
            chat: Arc::new(Chat::new(None, services.clock.clone())),
            attributes: services.attributes.clone(),
        };
        let hall = Hall { sdk, read: Arc::default() };
        let read = hall.read.clone();
        let router = Router::new()
            .route(ONE, post(one))
            .route(MANY, post(many))
            .route(SERVER, post(only_server))
            .route(OPEN, axum::routing::get(open))
            .with_state(hall);
        let pages: Pages = [(ONE, http::Method::POST), (MANY, http::Method::POST), (OPEN, http::Method::GET)]
            .into_iter()
            .collect();
        let limits = Limits { max_body_bytes: 4_000, ..Limits::default() };
        let router = base_for_pages(router, pages, limits.clone(), services.clock.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(server::serve(listener, router, limits, stop.clone()));
        Self { base, http: app.http.clone(), read, stop }
    }

    async fn send(&self, path: &str, key: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut call = self.http.post(format!("{}{path}", self.base)).bearer_auth(key).json(body);
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        Answer::of(call).await
    }

    async fn one(&self, key: &str, body: Value) -> Answer {
        self.send(ONE, key, &[], &body).await
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    async fn of(call: reqwest::RequestBuilder) -> Self {
        let answer = call.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null);
        Self { status, headers, body }
    }

    /// Status, and the code of a refusal.
    fn said(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

fn signed(secret: &str, claims: &Value) -> String {
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn seconds(app: &App) -> i64 {
    connector_sdk::Clock::now(&app.clock).timestamp()
}

async fn identity_secret(app: &App) -> String {
    let answer = app.execute(Ask::CreateIdentitySecret).await.unwrap();
    answer["identity_secret"].as_str().unwrap().to_owned()
}

async fn set(app: &App, org: &OrgId, change: OrgChange) {
    app.services.execute(org, Ask::SetOrg { id: org.clone(), change }).await.unwrap();
}

/// What is remembered of keys and rules is looked up anew.
async fn forgotten(door: &Door, key: &str, body: &Value, expected: (u16, &str)) {
    let end = tokio::time::Instant::now() + Duration::from_secs(1);
    loop {
        let answer = door.send(ONE, key, &[], body).await;
        if answer.said() == expected {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "within a second: {answer:?}");
        tokio::task::yield_now().await;
    }
}

async fn tokens_say_who_speaks(app: &App) {
    let door = Door::new(app).await;
    let (_, web) = app.key(KeyClass::Publishable).await;
    let (_, backend) = app.key(KeyClass::Server).await;
    let exp = seconds(app) + 600;
    let early = signed("ha_secret_none", &json!({"user_id": "u1", "exp": exp}));
    let answer = door.one(&web, json!({"user_id": "u1", "user_token": early})).await;
    assert_eq!(answer.said(), (403, "identity_invalid"), "there is no secret yet");

    let secret = identity_secret(app).await;
    assert!(secret.starts_with("ha_secret_") && secret.len() == 10 + 64);
    let plain = door.one(&web, json!({"user_id": "u1"})).await;
    assert_eq!(
        (plain.status, &plain.body["rank"], &plain.body["verified"]),
        (200, &json!("claimed"), &json!(false))
    );
    let plain = door.one(&backend, json!({"user_id": "u1"})).await;
    assert_eq!((plain.status, &plain.body["rank"]), (200, &json!("server")));

    let good = signed(&secret, &json!({"user_id": "u1", "exp": exp, "email": "a@acme.com"}));
    forgotten(&door, &web, &json!({"user_id": "u1", "user_token": good}), (200, "")).await;
    let answer = door.one(&web, json!({"user_id": "u1", "user_token": good})).await;
    assert_eq!(
        answer.body,
        json!({"org": app.org, "rank": "claimed", "claims": {"email": "a@acme.com"}, "verified": true})
    );
    for (claims, code) in [
        (json!({"user_id": "u2", "exp": exp}), "identity_mismatch"),
        (json!({"user_id": "u1", "exp": exp - 700}), "identity_expired"),
        (json!({"user_id": "u1"}), "identity_invalid"),
        (json!({"user_id": "u1", "exp": exp + 86_400}), "identity_invalid"),
        (json!({"user_id": 1, "exp": exp}), "identity_invalid"),
        (json!({"scope": "users.update", "exp": exp}), "identity_scope"),
    ] {
        for key in [&web, &backend] {
            let answer =
                door.one(key, json!({"user_id": "u1", "user_token": signed(&secret, &claims)})).await;
            assert_eq!(answer.said(), (403, code), "{claims}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert!(answer.body["error"].is_string() && answer.body["request_id"].is_string());
        }
    }
    // The widget's key is no secret, nor is another organisation's secret ours.
    for other in [web.as_str(), "", "ha_secret_"] {
        let forged = signed(other, &json!({"user_id": "u1", "exp": exp}));
        let answer = door.one(&web, json!({"user_id": "u1", "user_token": forged})).await;
        assert_eq!(answer.said(), (403, "identity_invalid"));
    }
    let b = OrgId::from("org_b");
    app.execute(Ask::CreateOrg { id: Some(b.clone()), name: "B".into() }).await.unwrap();
    let theirs = app.services.execute(&b, Ask::CreateIdentitySecret).await.unwrap();
    let foreign = signed(theirs["identity_secret"].as_str().unwrap(), &json!({"user_id": "u1", "exp": exp}));
    let answer = door.one(&web, json!({"user_id": "u1", "user_token": foreign})).await;
    assert_eq!(answer.said(), (403, "identity_invalid"));
}

async fn verification_asks_browsers_for_a_token(app: &App) {
    let door = Door::new(app).await;
    let (_, web) = app.key(KeyClass::Publishable).await;
    let (_, backend) = app.key(KeyClass::Server).await;
    use halo_sync::domain::orgs::Switch;
    let on = OrgChange { identity_verification: Some(Switch::On), ..OrgChange::default() };
    let refused = app.execute(Ask::SetOrg { id: app.org.clone(), change: on.clone() }).await.unwrap_err();
    assert_eq!(refused.code, "identity_secret_missing", "nobody could sign");
    let secret = identity_secret(app).await;
    let again = app.execute(Ask::CreateIdentitySecret).await.unwrap_err();
    assert_eq!(again.code, "identity_secret_exists");
    set(app, &app.org, on).await;
    assert_eq!(door.one(&web, json!({"user_id": "u1"})).await.said(), (403, "identity_required"));
    assert_eq!(
        door.one(&web, json!({"user_id": "u1", "user_token": ""})).await.said(),
        (403, "identity_required")
    );
    for nobody in [json!({}), json!({"user_id": "anonymous"}), json!({"user_id": ""})] {
        assert_eq!(door.one(&web, nobody).await.status, 200);
    }
    assert_eq!(door.one(&backend, json!({"user_id": "u1"})).await.status, 200);
    let token = signed(&secret, &json!({"sub": "u1", "exp": seconds(app) + 60}));
    assert_eq!(door.one(&web, json!({"user_id": "u1", "user_token": token})).await.body["verified"], true);
    // A token is for the user that the request names.
    assert_eq!(door.one(&web, json!({"user_token": token})).await.said(), (403, "identity_mismatch"));
    app.clock.advance_us(66 * 1_000_000);
    let answer = door.one(&web, json!({"user_id": "u1", "user_token": token})).await;
    assert_eq!(answer.said(), (403, "identity_expired"));
}

async fn bulk_updates_need_a_server_or_a_scope(app: &App) {
    let door = Door::new(app).await;
    let (_, web) = app.key(KeyClass::Publishable).await;
    let (_, backend) = app.key(KeyClass::Server).await;
    let secret = identity_secret(app).await;
    let exp = seconds(app) + 300;
    let token = |claims: Value| signed(&secret, &claims);
    let many = async |key: &str, token: Option<String>| {
        door.send(MANY, key, &[], &json!({"user_token": token})).await
    };
    assert_eq!(many(&backend, None).await.body, json!({"rank": "server", "verified": false}));
    assert_eq!(many(&web, None).await.said(), (403, "identity_required"));
    let good = token(json!({"scope": "users.update", "exp": exp}));
    assert_eq!(many(&web, Some(good)).await.body, json!({"rank": "claimed", "verified": true}));
    let of_user = token(json!({"user_id": "u1", "exp": exp}));
    assert_eq!(many(&web, Some(of_user)).await.said(), (403, "identity_scope"));
    let long = token(json!({"scope": "users.update", "exp": exp + 3_600}));
    assert_eq!(many(&web, Some(long)).await.said(), (403, "identity_invalid"));
}

async fn a_rotated_identity_secret_is_accepted_for_its_overlap(app: &App) {
    let door = Door::new(app).await;
    let (_, web) = app.key(KeyClass::Publishable).await;
    let missing = app.execute(Ask::RotateIdentitySecret { overlap_seconds: 60 }).await.unwrap_err();
    assert_eq!(missing.code, "identity_secret_not_found");
    let old = identity_secret(app).await;
    let answer = app.execute(Ask::RotateIdentitySecret { overlap_seconds: 3_600 }).await.unwrap();
    let new = answer["identity_secret"].as_str().unwrap().to_owned();
    assert_ne!(old, new);
    let body = |app: &App, secret: &str| json!({"user_id": "u", "user_token": signed(secret, &json!({"user_id": "u", "exp": seconds(app) + 60}))});
    assert_eq!(door.one(&web, body(app, &old)).await.status, 200);
    assert_eq!(door.one(&web, body(app, &new)).await.status, 200);
    let status = app.services.identity_status(&app.org).await.unwrap();
    assert_eq!(status["secrets"].as_array().unwrap().len(), 2);
    app.clock.advance_us(3_601 * 1_000_000);
    assert_eq!(door.one(&web, body(app, &old)).await.said(), (403, "identity_invalid"));
    assert_eq!(door.one(&web, body(app, &new)).await.status, 200);
    // At once: within the second that a process may remember.
    let last = app.execute(Ask::RotateIdentitySecret { overlap_seconds: 0 }).await.unwrap();
    forgotten(&door, &web, &body(app, &new), (403, "identity_invalid")).await;
    assert_eq!(door.one(&web, body(app, last["identity_secret"].as_str().unwrap())).await.status, 200);
    for secret in [&old, &new] {
        for row in app.dump("org_secrets").await {
            assert!(!row.contains(&secret[10..]) && !row.contains(&hex::encode(secret)), "{row}");
        }
    }
}

async fn keys_are_refused_for_what_they_are(app: &App) {
    let door = Door::new(app).await;
    let (_, web) = app.key(KeyClass::Publishable).await;
    let (_, backend) = app.key(KeyClass::Server).await;
    assert!(web.starts_with("ab_live_") && backend.starts_with("hs_server_"));
    assert!(web.len() >= 8 + 32 && backend.len() >= 10 + 32, "128 bits and more");
    let page = [("origin", "https://app.acme.com")];
    let body = json!({});
    assert_eq!(door.send(SERVER, &web, &[], &body).await.said(), (403, "server_key_needed"));
    assert_eq!(door.send(SERVER, &backend, &[], &body).await.status, 200);
    for path in [SERVER, ONE] {
        assert_eq!(door.send(path, &backend, &page, &body).await.said(), (403, "server_key_in_browser"));
    }
    let random = format!("ab_live_{}", "0".repeat(48));
    let long = "a".repeat(5_000);
    for bad in [random.as_str(), "", "x", long.as_str(), &web[..web.len() - 1], &web.to_uppercase()] {
        assert_eq!(door.send(ONE, bad, &[], &body).await.said(), (401, "unauthorized"), "{bad}");
    }
    let none = Answer::of(door.http.post(format!("{}{ONE}", door.base)).json(&body)).await;
    assert_eq!(none.said(), (401, "unauthorized"));
    let basic = door.http.post(format!("{}{ONE}", door.base)).basic_auth("x", Some(&web)).json(&body);
    assert_eq!(Answer::of(basic).await.said(), (401, "unauthorized"));
    // In an address a key is refused, whichever it is and whatever is sent besides.
    let escaped = format!("?k={}", backend.replace('_', "%5F"));
    for query in [format!("?key={web}"), escaped, "?t=ha_secret_00".to_owned()] {
        let call = door.http.post(format!("{}{ONE}{query}", door.base)).bearer_auth(&backend).json(&body);
        let answer = Answer::of(call).await;
        assert_eq!(answer.said(), (400, "key_in_url"), "{query}");
        assert!(!answer.body.to_string().contains(&web));
    }
    assert_eq!(door.read.load(Ordering::SeqCst), 0, "no body of these was read");
    // Only the hash is kept.
    let rows = app.dump("api_keys").await.join("\n");
    assert!(rows.contains(&hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&web))));
    assert!(!rows.contains(&web[13..]) && !rows.contains(&backend[15..]));
}

async fn keys_end_when_they_are_meant_to(app: &App) {
    let door = Door::new(app).await;
    let body = json!({});
    let (id, key) = app.key(KeyClass::Server).await;
    assert_eq!(door.one(&key, json!({})).await.status, 200);
    app.execute(Ask::RevokeKey { key: id.as_str().into() }).await.unwrap();
    forgotten(&door, &key, &body, (401, "unauthorized")).await;

    let in_a_minute = connector_sdk::Clock::now(&app.clock) + chrono::TimeDelta::seconds(60);
    let bounds = KeyBounds { expires_at: Some(in_a_minute), ..KeyBounds::default() };
    let ask = |bounds: &KeyBounds| Ask::CreateBoundKey {
        class: KeyClass::Server,
        name: "short".into(),
        bounds: bounds.clone(),
    };
    let short = app.execute(ask(&bounds)).await.unwrap();
    let short = short["key"].as_str().unwrap();
    assert_eq!(door.one(short, json!({})).await.status, 200);
    app.clock.advance_us(60 * 1_000_000);
    assert_eq!(door.one(short, json!({})).await.said(), (401, "unauthorized"), "remembered or not");
    assert_eq!(app.execute(ask(&bounds)).await.unwrap_err().code, "expires_at");

    let (id, old) = app.key(KeyClass::Publishable).await;
    let rotate = |seconds| Ask::RotateKey { key: id.as_str().into(), overlap_seconds: seconds };
    let answer = app.execute(rotate(7_200)).await.unwrap();
    let new = answer["key"].as_str().unwrap().to_owned();
    assert_eq!(answer["class"], "publishable");
    assert_eq!((door.one(&old, json!({})).await.status, door.one(&new, json!({})).await.status), (200, 200));
    app.clock.advance_us(7_200 * 1_000_000);
    forgotten(&door, &old, &body, (401, "unauthorized")).await;
    assert_eq!(door.one(&new, json!({})).await.status, 200);
    assert_eq!(app.execute(rotate(0)).await.unwrap_err().code, "key_not_found", "it has ended");
    let at_once = Ask::RotateKey { key: answer["id"].as_str().unwrap().into(), overlap_seconds: 0 };
    app.execute(at_once).await.unwrap();
    forgotten(&door, &new, &body, (401, "unauthorized")).await;
}

async fn use_is_noted_once_a_minute(app: &App) {
    let door = Door::new(app).await;
    let (id, key) = app.key(KeyClass::Server).await;
    for _ in 0..20 {
        assert_eq!(door.one(&key, json!({})).await.status, 200);
    }
    let used = async || {
        let keys = app.store.list_keys(&app.org).await.unwrap();
        keys.into_iter().find(|key| key.id.as_str() == id).unwrap().last_used_at
    };
    app.until("the use is noted", || async { used().await.is_some() }).await;
    let noted = used().await.unwrap();
    assert_eq!(noted.timestamp() % 60, 0, "to the minute");
    assert!(noted <= connector_sdk::Clock::now(&app.clock));
}

async fn pages_are_told_by_their_origin(app: &App) {
    let door = Door::new(app).await;
    let bounded = async |origins: &[&str]| {
        let origins = Some(origins.iter().map(|text| text.parse().unwrap()).collect());
        let bounds = KeyBounds { origins, ..KeyBounds::default() };
        let ask = Ask::CreateBoundKey { class: KeyClass::Publishable, name: "web".into(), bounds };
        app.execute(ask).await.unwrap()["key"].as_str().unwrap().to_owned()
    };
    let server_with_origins =
        KeyBounds { origins: Some(vec!["https://a.example".parse().unwrap()]), ..KeyBounds::default() };
    let ask = Ask::CreateBoundKey { class: KeyClass::Server, name: "x".into(), bounds: server_with_origins };
    assert_eq!(app.execute(ask).await.unwrap_err().code, "origins");

    let (_, any) = app.key(KeyClass::Publishable).await;
    let own = bounded(&["https://app.acme.com", "https://*.acme.dev"]).await;
    let from = async |key: &str, origin: &str| door.send(ONE, key, &[("origin", origin)], &json!({})).await;
    for origin in ["https://anything.example", "null", "http://localhost:3000"] {
        let answer = from(&any, origin).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
    }
    for origin in ["https://app.acme.com", "https://x.acme.dev", "https://a.b.acme.dev"] {
        let answer = from(&own, origin).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(origin)));
        assert_eq!(answer.header("vary"), Some("Origin"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    for origin in ["https://acme.dev", "http://app.acme.com", "https://app.acme.com.evil.example", "null"] {
        let answer = from(&own, origin).await;
        assert_eq!(answer.said(), (403, "origin_not_allowed"), "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
    assert_eq!(door.one(&own, json!({})).await.status, 200, "no page at all");
    // The organisation's list counts for keys without one of their own.
    let origins = Some(vec!["https://app.acme.com".parse().unwrap()]);
    set(app, &app.org, OrgChange { origins, ..OrgChange::default() }).await;
    let end = tokio::time::Instant::now() + Duration::from_secs(1);
    while from(&any, "https://other.example").await.said() != (403, "origin_not_allowed") {
        assert!(tokio::time::Instant::now() < end, "within a second");
    }
    assert_eq!(from(&any, "https://app.acme.com").await.status, 200);
    assert_eq!(from(&own, "https://x.acme.dev").await.status, 200, "its own list");
}

async fn pages_can_read_refusals_and_nothing_of_servers(app: &App) {
    let door = Door::new(app).await;
    let (_, web) = app.key(KeyClass::Publishable).await;
    let page = [("origin", "https://app.acme.com")];
    let preflight = async |path: &str, method: &str| {
        let url = format!("{}{path}", door.base);
        let call = door
            .http
            .request(http::Method::OPTIONS, url)
            .header("origin", "https://app.acme.com")
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "authorization,content-type");
        Answer::of(call).await
    };
    let answer = preflight(ONE, "POST").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("*")));
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST, OPTIONS"));
    let allowed = answer.header("access-control-allow-headers").unwrap();
    assert!(allowed.contains("authorization") && allowed.contains("content-type"), "{allowed}");
    assert_eq!(answer.header("access-control-max-age"), Some("7200"));
    assert_eq!(preflight(OPEN, "GET").await.header("access-control-allow-methods"), Some("GET, OPTIONS"));

    // Whoever refuses: the key's judge, the body's, the operation, the router.
    let large = json!({"user_id": "u".repeat(5_000)});
    for (key, path, body, status) in [
        ("ab_live_wrong", ONE, &json!({}), 401),
        (web.as_str(), MANY, &json!({}), 403),
        (&web, ONE, &large, 413),
        (&web, ONE, &json!([]), 400),
    ] {
        let answer = door.send(path, key, &page, body).await;
        assert_eq!(
            (answer.status, answer.header("access-control-allow-origin")),
            (status, Some("*")),
            "{answer:?}"
        );
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("x-request-id") && exposed.contains("retry-after"));
    }
    let wrong = door.http.put(format!("{}{ONE}", door.base)).header("origin", "https://app.acme.com");
    let wrong = Answer::of(wrong).await;
    assert_eq!((wrong.status, wrong.header("access-control-allow-origin")), (405, Some("*")));

    for path in [SERVER, "/api/v1/companies", "/api/settings/attributes", "/api/sdk/none"] {
        let answers = [preflight(path, "POST").await, door.send(path, &web, &page, &json!({})).await];
        for answer in answers {
            let cors = answer.headers.keys().find(|name| name.as_str().starts_with("access-control"));
            assert_eq!(cors, None, "{path}");
            assert!(answer.status >= 400, "{path}");
        }
    }
}

fn quota(per_second: u32, burst: u32) -> Quota {
    Quota { per_second, burst }
}

async fn too_many_calls_are_refused_before_their_body_is_read(app: &App) {
    let quotas = Quotas { publishable_key: quota(1, 3), ..Quotas::NONE };
    let door = Door::with(app, quotas, &[]).await;
    let (_, web) = app.key(KeyClass::Publishable).await;
    let (_, other) = app.key(KeyClass::Publishable).await;
    for left in ["2", "1", "0"] {
        let answer = door.one(&web, json!({})).await;
        assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (200, Some(left)));
        assert_eq!(answer.header("x-ratelimit-limit"), Some("3"));
    }
    let mut refused = 0;
    for _ in 0..5 {
        let answer = door.send(ONE, &web, &[("origin", "https://a.example")], &json!({})).await;
        if answer.status == 429 {
            refused += 1;
            assert_eq!(answer.said(), (429, "rate_limited"));
            assert_eq!(answer.body["limited"], "key");
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
            assert_eq!(answer.header("x-ratelimit-after"), Some("1"));
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        }
    }
    assert!(refused >= 1);
    assert_eq!(door.read.load(Ordering::SeqCst), 8 - refused);
    assert_eq!(door.one(&other, json!({})).await.status, 200, "another key has its own");
}

async fn the_items_of_a_call_are_counted(app: &App) {
    let quotas = Quotas { server_key: quota(1, 100), ..Quotas::NONE };
    let door = Door::with(app, quotas, &[]).await;
    let (_, backend) = app.key(KeyClass::Server).await;
    let users = |n: usize| json!({"users": vec![json!({}); n]});
    let answer = door.send(MANY, &backend, &[], &users(60)).await;
    assert_eq!((answer.status, answer.header("x-ratelimit-remaining")), (200, Some("40")));
    assert_eq!(door.send(MANY, &backend, &[], &users(60)).await.said(), (429, "rate_limited"));
    assert_eq!(door.send(MANY, &backend, &[], &users(20)).await.status, 200);
}

async fn a_flood_of_one_organisation_is_another_s_nothing(app: &App) {
    let quotas = Quotas { org: quota(20, 20), ..Quotas::NONE };
    let door = Door::with(app, quotas, &[]).await;
    let b = OrgId::from("org_b");
    app.execute(Ask::CreateOrg { id: Some(b.clone()), name: "B".into() }).await.unwrap();
    let (_, of_a) = app.key(KeyClass::Server).await;
    let (_, also_a) = app.key(KeyClass::Server).await;
    let ask = Ask::CreateKey { class: KeyClass::Server, name: "b".into() };
    let of_b = app.services.execute(&b, ask).await.unwrap()["key"].as_str().unwrap().to_owned();
    let mut counts: BTreeMap<(&str, u16), usize> = BTreeMap::new();
    for n in 0..200 {
        for (who, key) in [("a", &of_a), ("a", &also_a), ("b", &of_b)] {
            if who == "a" || n % 20 == 0 {
                let answer = door.one(key, json!({})).await;
                *counts.entry((who, answer.status)).or_default() += 1;
            }
        }
    }
    assert!(counts[&("a", 429)] > 0, "{counts:?}");
    assert_eq!(counts.get(&("b", 429)), None, "{counts:?}");
    assert_eq!(counts[&("b", 200)], 10);
}

async fn addresses_are_those_behind_our_proxies(app: &App) {
    let quotas = Quotas { address: quota(1, 2), failures: quota(1, 2), ..Quotas::NONE };
    let direct = Door::with(app, quotas, &[]).await;
    let behind = Door::with(app, quotas, &["127.0.0.0/8"]).await;
    let (_, web) = app.key(KeyClass::Publishable).await;
    let (_, backend) = app.key(KeyClass::Server).await;
    let from = async |door: &Door, key: &str, address: &str| {
        door.send(ONE, key, &[("x-forwarded-for", address)], &json!({})).await.status
    };
    let mut limited = false;
    for n in 0..6 {
        limited |= from(&direct, &web, &format!("192.0.2.{n}")).await == 429;
        assert_eq!(from(&behind, &web, &format!("192.0.2.{n}")).await, 200);
        assert_eq!(from(&direct, &backend, "192.0.2.1").await, 200, "a backend has one address");
    }
    assert!(limited, "who is no proxy of ours is not believed");
    let mut refused = Vec::new();
    for _ in 0..6 {
        refused.push(from(&behind, "ab_live_wrong", "198.51.100.1").await);
    }
    assert_eq!(refused[..2], [401, 401]);
    assert!(refused.contains(&429), "{refused:?}");
    assert_eq!(from(&behind, "ab_live_wrong", "198.51.100.2").await, 401, "another address");
    let opened = door_open(&behind, "203.0.113.5", 4).await;
    assert!(opened.contains(&429), "{opened:?}");
}

async fn door_open(door: &Door, address: &str, times: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        let call = door.http.get(format!("{}{OPEN}", door.base)).header("x-forwarded-for", address);
        statuses.push(Answer::of(call).await.status);
    }
    statuses
}

async fn a_removed_organisation_s_keys_and_rows_are_gone(app: &App) {
    let door = Door::new(app).await;
    let last = app.execute(Ask::RemoveOrg { id: app.org.clone() }).await.unwrap_err();
    assert_eq!(last.code, "last_org");
    let b = OrgId::from("org_b");
    app.execute(Ask::CreateOrg { id: Some(b.clone()), name: "B".into() }).await.unwrap();
    let taken = app.execute(Ask::CreateOrg { id: Some(b.clone()), name: "B".into() }).await.unwrap_err();
    assert_eq!(taken.code, "org_exists");
    for bad in ["b", "org_", "org_ä", "org_a b", "ORG_B"] {
        let ask = Ask::CreateOrg { id: Some(bad.into()), name: "B".into() };
        assert_eq!(app.execute(ask).await.unwrap_err().code, "org_id", "{bad}");
    }
    let ask = Ask::CreateKey { class: KeyClass::Server, name: "b".into() };
    let key = app.services.execute(&b, ask).await.unwrap()["key"].as_str().unwrap().to_owned();
    app.services.execute(&b, Ask::CreateIdentitySecret).await.unwrap();
    assert_eq!(door.one(&key, json!({})).await.body["org"], "org_b");
    let answer = app.execute(Ask::RemoveOrg { id: b.clone() }).await.unwrap();
    assert_eq!((&answer["rows"]["api_keys"], &answer["rows"]["org_secrets"]), (&json!(1), &json!(1)));
    assert_eq!(door.one(&key, json!({})).await.said(), (401, "unauthorized"));
    for table in ["api_keys", "org_secrets", "orgs"] {
        assert!(app.dump(table).await.iter().all(|row| !row.contains("org_b")), "{table}");
    }
    let gone = app.execute(Ask::RemoveOrg { id: b }).await.unwrap_err();
    assert_eq!(gone.code, "org_not_found");
}

on_both!(
    tokens_say_who_speaks,
    verification_asks_browsers_for_a_token,
    bulk_updates_need_a_server_or_a_scope,
    a_rotated_identity_secret_is_accepted_for_its_overlap,
    keys_are_refused_for_what_they_are,
    keys_end_when_they_are_meant_to,
    use_is_noted_once_a_minute,
    pages_are_told_by_their_origin,
    pages_can_read_refusals_and_nothing_of_servers,
    too_many_calls_are_refused_before_their_body_is_read,
    the_items_of_a_call_are_counted,
    a_flood_of_one_organisation_is_another_s_nothing,
    addresses_are_those_behind_our_proxies,
    a_removed_organisation_s_keys_and_rows_are_gone,
);
