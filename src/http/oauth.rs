//! `GET /api/integrations/{connector}/callback`: a person who comes back from a provider.
//!
//! What they see is a page of one sentence. It sends nobody anywhere, loads nothing, and says no more about a state
//! than that it is not waited for.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};

use super::extract::Named;
use super::openapi::Routes;
use crate::service::oauth::UNKNOWN_STATE;
use crate::service::{Failure, FailureKind, Services};
use crate::sync::oauth::Returned;

/// The longest state or code that is looked at.
const LONGEST: usize = 4_096;

/// The routes.
pub fn routes() -> Routes<Services> {
    Routes::new().plain(
        "/api/integrations/{connector}/callback",
        // A scanner of links that only asks what is there must not use a state up.
        get(callback).head(|| async { StatusCode::METHOD_NOT_ALLOWED }),
        "a page for a person, at the address that a provider's OAuth sends their browser to",
    )
}

async fn callback(
    State(services): State<Services>,
    Named(connector): Named<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let returned = match read(query.as_deref().unwrap_or_default()) {
        Ok(returned) => returned,
        Err(why) => return page(StatusCode::BAD_REQUEST, "Not connected", why),
    };
    // A task of its own: a browser that goes away must not leave a code half used.
    let task = tokio::spawn(async move { services.complete(&connector, returned).await });
    match task.await {
        Ok(Ok(answer)) => {
            let name = |member: &str| answer["connection"][member].as_str().unwrap_or_default().to_owned();
            let account = name("account_name");
            let account = if account.is_empty() { name("account_id") } else { account };
            let text = format!("{} is connected: {account}. You can close this window.", name("name"));
            page(StatusCode::OK, "Connected", &text)
        }
        Ok(Err(failure)) => {
            tracing::info!(code = failure.code, "an OAuth callback led to no connection");
            page(status(&failure), "Not connected", &said(&failure))
        }
        Err(error) => {
            tracing::error!(%error, "an OAuth callback was cut off");
            page(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Not connected",
                "Something went wrong here. Start again.",
            )
        }
    }
}

fn status(failure: &Failure) -> StatusCode {
    match failure.kind {
        FailureKind::Provider => StatusCode::BAD_GATEWAY,
        FailureKind::Internal | FailureKind::Setup if failure.code != "connector_config" => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::BAD_REQUEST,
    }
}

/// The person at the browser need not be who runs the installation: details of ours stay with the command.
fn said(failure: &Failure) -> String {
    let hint = failure.hint.as_deref().map(|hint| format!(" {hint}")).unwrap_or_default();
    match failure.kind {
        FailureKind::Internal | FailureKind::Setup => {
            "halo-sync could not make the connection. Its log and the waiting command say why.".to_owned()
        }
        _ if failure.code == UNKNOWN_STATE => {
            format!("{}. Start again: halo-sync connect.", sentence(&failure.message))
        }
        _ => format!("{}.{hint}", sentence(&failure.message)),
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Reads the callback's parameters: each at most once, and none of those that could lead somewhere else. Others are
/// passed over, as RFC 6749 asks.
fn read(query: &str) -> Result<Returned, &'static str> {
    let mut returned = Returned::default();
    let (mut states, mut codes, mut errors, mut issuers) = (0, 0, 0, 0);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if value.len() > LONGEST {
            return Err("A parameter of this address is too long.");
        }
        match &*name {
            "state" => {
                states += 1;
                returned.state = value.into_owned().into();
            }
            "code" => {
                codes += 1;
                returned.code = Some(value.into_owned().into());
            }
            "error" => {
                errors += 1;
                returned.error = Some(value.into_owned());
            }
            "iss" => {
                issuers += 1;
                returned.issuer = Some(value.into_owned());
            }
            "return_to" | "redirect_uri" | "redirect" | "next" | "url" | "continue" => {
                return Err("This address wants to lead somewhere else; it is not followed.");
            }
            _ => {}
        }
    }
    if states != 1 || codes > 1 || errors > 1 || issuers > 1 || codes + errors != 1 {
        return Err("This address is not whole: it needs one state, and one code or one error.");
    }
    Ok(returned)
}

/// Text as HTML shows it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn page(status: StatusCode, title: &str, text: &str) -> Response {
    let (title, text) = (escaped(title), escaped(text));
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title} - halo-sync</title></head><body><h1>{title}</h1><p>{text}</p>\
         </body></html>\n"
    );
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            ),
        ),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // The address holds a code.
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, html).into_response()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_callback_is_read_whole_or_not_at_all() {
        let good = read("code=a%2Bb&state=s&scope=x&utm=1&iss=https%3A%2F%2Fapp.example").unwrap();
        assert_eq!(good.code.unwrap().expose_secret(), "a+b");
        assert_eq!((good.state.expose_secret(), good.issuer.as_deref()), ("s", Some("https://app.example")));
        assert_eq!(read("state=s&error=access_denied").unwrap().error.as_deref(), Some("access_denied"));
        for bad in [
            "",
            "state=s",
            "code=c",
            "state=s&state=s&code=c",
            "state=s&code=c&code=d",
            "state=s&code=c&error=e",
            "state=s&code=c&iss=a&iss=a",
            "state=s&code=c&return_to=/",
            "state=s&code=c&redirect_uri=https://x",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read(&format!("state=s&code={}", "x".repeat(LONGEST + 1))).is_err());
    }

    #[test]
    fn what_is_shown_is_text() {
        assert_eq!(escaped("<a href='x'>&\"</a>"), "&lt;a href=&#39;x&#39;&gt;&amp;&quot;&lt;/a&gt;");
    }
}
