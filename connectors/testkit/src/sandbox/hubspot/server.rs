//! The HTTP side: authentication, limits, faults, counting, dispatch.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::read::{self, LONGEST_URL};
use super::refusal::Refusal;
use super::store::Kind;
use super::{Inner, lock, write};
use crate::sandbox::faults::Fault;
use crate::sandbox::wire::{self, Wording};

const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// Object types whose properties have definitions.
const DEFINED: [Kind; 4] = [Kind::Companies, Kind::Contacts, Kind::Deals, Kind::Tickets];

pub(super) async fn serve(listener: TcpListener, inner: Arc<Inner>) {
    let app = Router::new().fallback(handle).with_state(inner);
    // Small answers must not wait for the acknowledgement of the ones before.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
    });
    if let Err(error) = axum::serve(listener, app).await {
        tracing::warn!(%error, "the sandbox stopped");
    }
}

/// What a path is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Account,
    Objects(Kind, Vec<&'a str>),
    Associations(Kind, Kind),
    Owners(Vec<&'a str>),
    Definitions(Kind, Vec<&'a str>),
}

/// Date versions and the numbered ones before them have other paths.
pub(super) fn target(path: &str) -> Option<Target<'_>> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let dated = |v: &str| matches!(v, "2026-03" | "2026-09");
    let kind = Kind::of_path;
    match segments.as_slice() {
        ["account-info", v, "details"] if dated(v) || *v == "v3" => Some(Target::Account),
        ["crm", "objects", v, name, rest @ ..] if dated(v) => {
            Some(Target::Objects(kind(name)?, rest.to_vec()))
        }
        ["crm", "v3", "objects", name, rest @ ..] => Some(Target::Objects(kind(name)?, rest.to_vec())),
        ["crm", "associations", v, from, to, "batch", "read"] if dated(v) => {
            Some(Target::Associations(kind(from)?, kind(to)?))
        }
        ["crm", "v4", "associations", from, to, "batch", "read"] => {
            Some(Target::Associations(kind(from)?, kind(to)?))
        }
        ["crm", "owners", v, rest @ ..] if dated(v) => Some(Target::Owners(rest.to_vec())),
        ["crm", "v3", "owners", rest @ ..] => Some(Target::Owners(rest.to_vec())),
        ["crm", "properties", v, name, rest @ ..] if dated(v) => {
            Some(Target::Definitions(kind(name).filter(|k| DEFINED.contains(k))?, rest.to_vec()))
        }
        ["crm", "v3", "properties", name, rest @ ..] => {
            Some(Target::Definitions(kind(name).filter(|k| DEFINED.contains(k))?, rest.to_vec()))
        }
        _ => None,
    }
}

/// How a call is counted: `GET companies`, `POST companies/search`, `POST contacts/companies`, `GET owners/:id`.
fn operation(method: &Method, target: Option<&Target<'_>>) -> String {
    let named = |rest: &[&str]| match rest {
        [] => String::new(),
        ["search"] => "/search".to_owned(),
        ["merge"] => "/merge".to_owned(),
        ["batch", what] => format!("/batch/{what}"),
        _ => "/:id".to_owned(),
    };
    let what = match target {
        None => "unknown".to_owned(),
        Some(Target::Account) => "account".to_owned(),
        Some(Target::Objects(kind, rest)) => format!("{}{}", kind.path(), named(rest)),
        Some(Target::Associations(from, to)) => format!("{}/{}", from.path(), to.path()),
        Some(Target::Owners(rest)) => format!("owners{}", named(rest)),
        Some(Target::Definitions(kind, rest)) => format!("properties/{}{}", kind.path(), named(rest)),
    };
    format!("{method} {what}")
}

async fn handle(State(inner): State<Arc<Inner>>, request: Request) -> Result<Response, Infallible> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let text = parts.uri.query().unwrap_or_default();
    let query: Vec<(String, String)> = url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    let body = axum::body::to_bytes(body, LARGEST_BODY).await.unwrap_or_default();
    let target = target(&path);
    let operation = operation(&parts.method, target.as_ref());
    inner.arrivals.note(&operation);
    *lock(&inner.counts).entry(operation).or_default() += 1;
    let search = matches!(&target, Some(Target::Objects(_, rest)) if rest.as_slice() == ["search"]);
    let fault = inner.faults.take(&path);
    // Beside the API's quotas.
    if let Some(answer) = inner.oauth.answer(&parts.method, &path, text, &body) {
        return Ok(match fault {
            Some(fault) => spoil(fault, answer).await,
            None => answer,
        });
    }
    let limits = lock(&inner.limits).to_owned();
    let allowed = limits.map_or(Ok(()), |limits| lock(&inner.spent).take(&limits, search));
    let answer = match allowed {
        Err(policy) => Err(Refusal::too_many(policy)),
        Ok(()) if path.len() + text.len() > LONGEST_URL => {
            Err(Refusal::new(414, "URI_TOO_LONG", "URI Too Long"))
        }
        Ok(()) => answer(&inner, &parts.method, &parts.headers, target.as_ref(), &query, &body),
    };
    let mut answer = match answer {
        Ok((204, _)) => wire::json(StatusCode::NO_CONTENT, String::new()),
        Ok((status, value)) => {
            wire::json(StatusCode::from_u16(status).unwrap_or_default(), value.to_string())
        }
        Err(refusal) => refused(&refusal),
    };
    if let Some(limits) = limits.filter(|_| !search) {
        answer.headers_mut().extend(lock(&inner.spent).headers(&limits));
    }
    let now = inner.options.clock.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::from_str(&now) {
        answer.headers_mut().insert(header::DATE, date);
    }
    Ok(match fault {
        None => answer,
        Some(Fault::ThenWrite { method, path, form }) => {
            // Refused where a test asks for what cannot be: the object may have gone meanwhile.
            if let Err(refusal) = write::call(&inner, method, &path, &form) {
                tracing::debug!(message = refusal.message, "a write between two calls was refused");
            }
            answer
        }
        Some(fault) => spoil(fault, answer).await,
    })
}

fn refused(refusal: &Refusal) -> Response {
    wire::json(StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST), refusal.body())
}

fn answer(
    inner: &Inner,
    method: &Method,
    headers: &HeaderMap,
    target: Option<&Target<'_>>,
    query: &[(String, String)],
    body: &Bytes,
) -> Result<(u16, Value), Refusal> {
    authenticate(inner, headers)?;
    let target = target.ok_or_else(Refusal::unknown_url)?;
    allow(inner, target, query)?;
    let json = || -> Result<Value, Refusal> {
        serde_json::from_slice(body).map_err(|e| Refusal::invalid(format!("Invalid input JSON: {e}")))
    };
    let store = lock(&inner.store);
    let found = match (method.as_str(), target) {
        ("GET", Target::Account) => {
            let o = &inner.options;
            json!({
                "portalId": o.portal, "portalName": o.name, "accountType": o.account_type,
                "timeZone": "US/Eastern", "companyCurrency": o.currency, "additionalCurrencies": [],
                "utcOffset": "-05:00", "utcOffsetMilliseconds": -18_000_000,
                "uiDomain": "app.hubspot.com", "dataHostingLocation": "na1",
            })
        }
        ("GET", Target::Objects(kind, rest)) if rest.is_empty() => read::list(&store, *kind, query)?,
        ("POST", Target::Objects(kind, rest)) if rest.as_slice() == ["search"] => {
            let until = inner.now() - *lock(&inner.index_lag);
            read::search(&store, *kind, &json()?, body.len(), until)?
        }
        ("POST", Target::Objects(kind, rest)) if rest.as_slice() == ["batch", "read"] => {
            return read::batch_read(&store, *kind, &json()?);
        }
        ("POST", Target::Associations(from, to)) => {
            return read::associations(&store, (*from, *to), &json()?, inner.options.association_page);
        }
        ("GET", Target::Owners(rest)) => match rest.as_slice() {
            [] => read::owners(&store, query)?,
            [id] => read::owner(&store, id, query)?,
            _ => return Err(Refusal::unknown_url()),
        },
        ("GET", Target::Definitions(kind, rest)) => match rest.as_slice() {
            [] => read::definitions(&store, *kind),
            [name] => read::definition(&store, *kind, name)?,
            _ => return Err(Refusal::unknown_url()),
        },
        ("POST", Target::Definitions(kind, rest)) if rest.as_slice() == ["batch", "read"] => {
            return read::batch_definitions(&store, *kind, &json()?);
        }
        (method, target) => {
            drop(store);
            let body = if body.is_empty() { Value::Null } else { json()? };
            return write::apply(inner, method, target, &body);
        }
    };
    Ok((200, found))
}

fn authenticate(inner: &Inner, headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let wanted = lock(&inner.access_token).clone();
    match given.strip_prefix("Bearer ") {
        Some(token) if token == wanted || inner.oauth.accepts(token) => Ok(()),
        Some(token) => Err(Refusal::new(
            401,
            "EXPIRED_AUTHENTICATION",
            // A client must not let the token through.
            format!("The OAuth token used to make this call expired or is unknown: {token}"),
        )),
        None => Err(Refusal::new(
            401,
            "INVALID_AUTHENTICATION",
            "Authentication credentials not found. This API supports OAuth 2.0 authentication.",
        )),
    }
}

fn allow(inner: &Inner, target: &Target<'_>, query: &[(String, String)]) -> Result<(), Refusal> {
    let forbidden = lock(&inner.forbidden);
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match target {
        Target::Account => wanted.push(("account", "oauth")),
        Target::Objects(kind, _) => {
            wanted.push((kind.path(), kind.scope()));
            let inline = query.iter().filter(|(name, _)| name == "associations");
            let named = inline.flat_map(|(_, names)| names.split(',')).filter_map(Kind::of_path);
            wanted.extend(named.map(|kind| (kind.path(), kind.scope())));
        }
        Target::Associations(from, to) => {
            wanted.extend([from, to].map(|kind| (kind.path(), kind.scope())));
        }
        Target::Owners(_) => wanted.push(("owners", "crm.objects.owners.read")),
        Target::Definitions(..) => wanted.push(("properties", "crm.schemas.companies.read")),
    }
    match wanted.into_iter().find(|(name, _)| forbidden.contains(*name)) {
        Some((_, scope)) => Err(Refusal::scope(scope)),
        None => Ok(()),
    }
}

async fn spoil(fault: Fault, answer: Response) -> Response {
    let wording = Wording {
        refuse: |status| match status {
            429 => refused(&Refusal::too_many("TEN_SECONDLY_ROLLING")),
            status => refused(&Refusal::new(status, "INTERNAL_ERROR", "An error on our side.")),
        },
        error: Refusal::new(200, "INTERNAL_ERROR", "no").body(),
        items: "results",
        undecodable: r#"{"object":"undecodable","id":{"not":"a text"}}"#,
    };
    wire::spoil(fault, answer, wording).await
}
