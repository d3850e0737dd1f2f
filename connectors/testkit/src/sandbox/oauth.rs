//! An OAuth 2 server as providers have one, strict where RFC 9700 asks for it.
//!
//! It grants at once what is asked for, as a person would who clicks: codes that work once and for a minute, PKCE with
//! S256 (a verifier for a code without a challenge is refused, and so is `plain`), redirect addresses that must be the
//! same in both steps, access tokens that expire, and refresh tokens that rotate. A refresh token that was used before
//! ends the whole family of tokens, and so does a code that is used twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use connector_sdk::{Clock, Timestamp};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::wire;

/// How long a code works.
const CODE: TimeDelta = TimeDelta::seconds(60);

/// In whose words the token endpoint refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusals {
    /// RFC 6749, section 5.2.
    Standard,
    /// HubSpot's: `status`, `message` and `correlationId`, with 400 whatever it is about.
    HubSpot,
}

/// Where a provider has its endpoints.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paths {
    pub(super) authorize: &'static str,
    pub(super) token: &'static str,
    /// RFC 7009.
    pub(super) revoke: Option<&'static str>,
    /// `DELETE` of this and the token.
    pub(super) delete: Option<&'static str>,
    pub(super) refusals: Refusals,
}

/// The server's side of OAuth. It is asked through the sandbox's address.
#[derive(Debug)]
pub struct OAuthServer {
    paths: Paths,
    client_id: String,
    client_secret: String,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lifetime: Duration,
    rotates: bool,
    redirects: Vec<String>,
    codes: HashMap<String, Code>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
    /// Whether each family is at an end.
    families: Vec<bool>,
    made: u64,
    counts: TokenCalls,
}

#[derive(Debug)]
struct Code {
    challenge: Option<String>,
    redirect_uri: String,
    scope: String,
    expires: Timestamp,
    family: Option<usize>,
}

#[derive(Debug)]
struct Access {
    family: usize,
    expires: Timestamp,
}

#[derive(Debug)]
struct Refresh {
    family: usize,
    scope: String,
    is_current: bool,
}

/// How often the token endpoint was asked, and what it said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenCalls {
    /// Calls, whatever came of them.
    pub calls: u64,
    /// Codes that became tokens.
    pub codes: u64,
    /// Refresh tokens that became tokens.
    pub refreshes: u64,
    /// Families that ended because a refresh token or a code was used twice.
    pub reuses: u64,
    /// Grants that the client ended.
    pub revoked: u64,
}

/// The way to a refusal, in the words of RFC 6749.
struct Refused(StatusCode, &'static str);

const INVALID_GRANT: Refused = Refused(StatusCode::BAD_REQUEST, "invalid_grant");
const INVALID_REQUEST: Refused = Refused(StatusCode::BAD_REQUEST, "invalid_request");

type Pairs = Vec<(String, String)>;

fn pairs(text: &[u8]) -> Pairs {
    url::form_urlencoded::parse(text).into_owned().collect()
}

/// The parameter of that name, which may be there once.
fn one<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a str> {
    let mut found = pairs.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
    found.next().filter(|_| found.next().is_none())
}

impl OAuthServer {
    pub(super) fn new(paths: Paths, client_secret: &str, clock: Arc<dyn Clock>) -> Self {
        let state = State {
            lifetime: Duration::from_secs(1_800),
            rotates: true,
            redirects: Vec::new(),
            codes: HashMap::new(),
            access: HashMap::new(),
            refresh: HashMap::new(),
            families: Vec::new(),
            made: 0,
            counts: TokenCalls::default(),
        };
        Self {
            paths,
            client_id: "sandbox-client-id".to_owned(),
            client_secret: client_secret.to_owned(),
            clock,
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of the one app that is registered.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Its secret.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.client_secret
    }

    /// The path of the authorisation endpoint.
    #[must_use]
    pub fn authorize_path(&self) -> &'static str {
        self.paths.authorize
    }

    /// The path of the token endpoint.
    #[must_use]
    pub fn token_path(&self) -> &'static str {
        self.paths.token
    }

    /// The path of the revocation endpoint, where there is one.
    #[must_use]
    pub fn revoke_path(&self) -> Option<&'static str> {
        self.paths.revoke
    }

    /// Sends people back to this address only, and to others that were registered; before the first to any.
    pub fn register_redirect(&self, uri: &str) {
        self.lock().redirects.push(uri.to_owned());
    }

    /// How long access tokens work that are given from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.lock().lifetime = lifetime;
    }

    /// Whether each renewal gives another refresh token and ends the one before.
    pub fn set_rotation(&self, rotates: bool) {
        self.lock().rotates = rotates;
    }

    /// Ends every access token; refresh tokens stay good.
    pub fn expire_access_tokens(&self) {
        self.lock().access.clear();
    }

    /// Ends every grant, as a person does who removes the app.
    pub fn end_grants(&self) {
        self.lock().families.iter_mut().for_each(|ended| *ended = true);
    }

    /// How often the token endpoint was asked.
    #[must_use]
    pub fn counts(&self) -> TokenCalls {
        self.lock().counts
    }

    /// Grants that have not ended.
    #[must_use]
    pub fn live_grants(&self) -> usize {
        self.lock().families.iter().filter(|ended| !**ended).count()
    }

    /// Whether calls with this access token are taken.
    #[must_use]
    pub fn accepts(&self, token: &str) -> bool {
        let state = self.lock();
        state.access.get(token).is_some_and(|access| {
            access.expires > self.clock.now() && !state.families.get(access.family).copied().unwrap_or(true)
        })
    }

    /// Answers a call of one of the endpoints; `None` for other paths.
    pub(super) fn answer(&self, method: &Method, path: &str, query: &str, body: &[u8]) -> Option<Response> {
        let is = |wanted: &Method, at: &str| method == wanted && path == at;
        if is(&Method::GET, self.paths.authorize) {
            return Some(match self.authorize(&pairs(query.as_bytes())) {
                Ok(location) => redirect(&location),
                Err(refused) => refusal(&refused),
            });
        }
        if is(&Method::POST, self.paths.token) {
            return Some(match self.token(&pairs(body)) {
                Ok(tokens) => wire::json(StatusCode::OK, tokens.to_string()),
                Err(refused) if self.paths.refusals == Refusals::HubSpot => {
                    own_refusal(&refused, &pairs(body))
                }
                Err(refused) => refusal(&refused),
            });
        }
        if self.paths.revoke.is_some_and(|at| is(&Method::POST, at)) {
            return Some(match self.revoke(&pairs(body)) {
                Ok(()) => wire::json(StatusCode::OK, String::new()),
                Err(refused) => refusal(&refused),
            });
        }
        let deleted = self.paths.delete.and_then(|at| path.strip_prefix(at));
        let token = deleted.filter(|_| method == Method::DELETE)?;
        let known = self.end(token);
        let status = if known { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND };
        Some(wire::json(status, String::new()))
    }

    /// Where the browser goes on.
    fn authorize(&self, asked: &Pairs) -> Result<url::Url, Refused> {
        let redirect_uri = one(asked, "redirect_uri").ok_or(INVALID_REQUEST)?;
        let mut back = url::Url::parse(redirect_uri).map_err(|_| INVALID_REQUEST)?;
        let mut state = self.lock();
        let registered = state.redirects.is_empty() || state.redirects.iter().any(|r| r == redirect_uri);
        // No way back that can be trusted: the refusal is shown, not sent.
        if one(asked, "client_id") != Some(self.client_id.as_str()) || !registered {
            return Err(INVALID_REQUEST);
        }
        let challenge = one(asked, "code_challenge").map(str::to_owned);
        let plain = challenge.is_some() && one(asked, "code_challenge_method") != Some("S256");
        let scope = one(asked, "scope").filter(|scope| !scope.is_empty());
        let answer = match scope {
            Some(scope) if one(asked, "response_type") == Some("code") && !plain => {
                let code = state.name("code");
                let made = Code {
                    challenge,
                    redirect_uri: redirect_uri.to_owned(),
                    scope: scope.to_owned(),
                    expires: self.clock.now() + CODE,
                    family: None,
                };
                state.codes.insert(code.clone(), made);
                ("code", code)
            }
            _ => ("error", "invalid_request".to_owned()),
        };
        back.query_pairs_mut().append_pair(answer.0, &answer.1);
        if let Some(given) = one(asked, "state") {
            back.query_pairs_mut().append_pair("state", given);
        }
        Ok(back)
    }

    fn authenticate(&self, form: &Pairs) -> Result<(), Refused> {
        let good = one(form, "client_id") == Some(self.client_id.as_str())
            && one(form, "client_secret") == Some(self.client_secret.as_str());
        if good { Ok(()) } else { Err(Refused(StatusCode::UNAUTHORIZED, "invalid_client")) }
    }

    fn token(&self, form: &Pairs) -> Result<Value, Refused> {
        self.lock().counts.calls += 1;
        self.authenticate(form)?;
        match one(form, "grant_type") {
            Some("authorization_code") => self.redeem(form),
            Some("refresh_token") => self.renew(form),
            _ => Err(Refused(StatusCode::BAD_REQUEST, "unsupported_grant_type")),
        }
    }

    fn redeem(&self, form: &Pairs) -> Result<Value, Refused> {
        let name = one(form, "code").ok_or(INVALID_REQUEST)?;
        let now = self.clock.now();
        let mut state = self.lock();
        let next = state.families.len();
        let code = state.codes.get_mut(name).ok_or(INVALID_GRANT)?;
        if let Some(family) = code.family {
            state.end(family);
            state.counts.reuses += 1;
            return Err(INVALID_GRANT);
        }
        let verifier = one(form, "code_verifier");
        let hashed = verifier.map(|text| URL_SAFE_NO_PAD.encode(Sha256::digest(text)));
        // Both or neither, and the same: a challenge that was stripped on the way is noticed here.
        if code.challenge != hashed
            || one(form, "redirect_uri") != Some(code.redirect_uri.as_str())
            || code.expires <= now
        {
            return Err(INVALID_GRANT);
        }
        code.family = Some(next);
        let scope = code.scope.clone();
        state.families.push(false);
        state.counts.codes += 1;
        Ok(state.tokens(next, &scope, now, true))
    }

    fn renew(&self, form: &Pairs) -> Result<Value, Refused> {
        let name = one(form, "refresh_token").ok_or(INVALID_REQUEST)?;
        let now = self.clock.now();
        let mut state = self.lock();
        let rotates = state.rotates;
        let refresh = state.refresh.get_mut(name).ok_or(INVALID_GRANT)?;
        let (family, scope) = (refresh.family, refresh.scope.clone());
        if !refresh.is_current {
            if !state.families[family] {
                state.counts.reuses += 1;
            }
            state.end(family);
            return Err(INVALID_GRANT);
        }
        if rotates {
            refresh.is_current = false;
        }
        if state.families[family] {
            return Err(INVALID_GRANT);
        }
        state.counts.refreshes += 1;
        Ok(state.tokens(family, &scope, now, rotates))
    }

    fn revoke(&self, form: &Pairs) -> Result<(), Refused> {
        self.authenticate(form)?;
        self.end(one(form, "token").ok_or(INVALID_REQUEST)?);
        Ok(())
    }

    /// Ends the grant behind a token; false for a token that is none.
    fn end(&self, token: &str) -> bool {
        let mut state = self.lock();
        let family = state.refresh.get(token).map(|refresh| refresh.family);
        let family = family.or_else(|| state.access.get(token).map(|access| access.family));
        let Some(family) = family else { return false };
        if !state.families[family] {
            state.counts.revoked += 1;
        }
        state.end(family);
        true
    }
}

impl State {
    fn name(&mut self, what: &str) -> String {
        self.made += 1;
        let mut chance = super::chance::Chance::new(self.made);
        format!("sandbox-{what}-{:016x}{:016x}", chance.draw(), chance.draw())
    }

    fn end(&mut self, family: usize) {
        if let Some(ended) = self.families.get_mut(family) {
            *ended = true;
        }
    }

    fn tokens(&mut self, family: usize, scope: &str, now: Timestamp, with_refresh: bool) -> Value {
        let access = self.name("access");
        let life = TimeDelta::from_std(self.lifetime).unwrap_or(TimeDelta::hours(1));
        self.access.insert(access.clone(), Access { family, expires: now + life });
        let mut answer = json!({
            "access_token": access, "token_type": "bearer", "expires_in": life.num_seconds(), "scope": scope,
        });
        if with_refresh {
            let refresh = self.name("refresh");
            let made = Refresh { family, scope: scope.to_owned(), is_current: true };
            self.refresh.insert(refresh.clone(), made);
            answer["refresh_token"] = json!(refresh);
        }
        answer
    }
}

fn redirect(to: &url::Url) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::FOUND;
    if let Ok(value) = HeaderValue::from_str(to.as_str()) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

fn refusal(Refused(status, error): &Refused) -> Response {
    wire::json(*status, json!({ "error": error, "error_description": "The sandbox refused." }).to_string())
}

/// The refusal of a token in HubSpot's form.
fn own_refusal(Refused(_, error): &Refused, form: &Pairs) -> Response {
    let status = match (*error, one(form, "grant_type")) {
        ("invalid_client", _) => "BAD_CLIENT_ID",
        ("invalid_grant", Some("refresh_token")) => "BAD_REFRESH_TOKEN",
        ("invalid_grant", _) => "BAD_AUTH_CODE",
        _ => "BAD_REQUEST",
    };
    let body = json!({
        "status": status,
        "message": "The sandbox refused.",
        "correlationId": "00000000-0000-4000-8000-000000000000",
    });
    wire::json(StatusCode::BAD_REQUEST, body.to_string())
}
