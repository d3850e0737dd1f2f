//! The app that is registered at a provider, and its calls to the provider's token endpoint.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use connector_sdk::{AuthKind, Clock, ConnectorError, HttpClient};
use oauth2::basic::{BasicClient, BasicErrorResponse, BasicErrorResponseType, BasicTokenResponse};
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, Scope, TokenResponse as _, TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};

use crate::store::grants::TokenLife;

/// A token is renewed so long before it expires, or in the last quarter of a shorter life.
const AHEAD: TimeDelta = TimeDelta::minutes(5);
/// No life is believed to be longer: what a provider says beyond it is cut.
const LONGEST_LIFE: Duration = Duration::from_secs(10 * 366 * 86_400);

/// An app that the operator registered at a provider (settings `[oauth.CONNECTOR]`).
#[derive(Debug, Clone)]
pub struct App {
    /// Its id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// Another authorisation endpoint than the connector's.
    pub authorize_url: Option<String>,
    /// Another token endpoint.
    pub token_url: Option<String>,
    /// Another revocation endpoint.
    pub revoke_url: Option<String>,
    /// Other scopes.
    pub scopes: Option<Vec<String>>,
}

/// Why a token endpoint gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GrantError {
    /// The grant (code or refresh token) is not good, or not any more: `invalid_grant`.
    #[error("{0}")]
    Refused(String),
    /// The app is refused: its id or secret is wrong, or it may not do this.
    #[error("{0}")]
    App(String),
    /// Anything else; a later try may fare better.
    #[error(transparent)]
    Failed(#[from] ConnectorError),
}

impl From<GrantError> for ConnectorError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Refused(message) | GrantError::App(message) => {
                Self::Auth { message, missing_permission: None }
            }
            GrantError::Failed(error) => error,
        }
    }
}

/// Tokens as the provider gave them.
pub(crate) struct Tokens {
    pub(crate) access: SecretString,
    /// Absent where the old one stays.
    pub(crate) refresh: Option<SecretString>,
    pub(crate) life: TokenLife,
}

type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// An app with the endpoints that it is used at.
#[derive(Clone)]
pub(crate) struct Registered {
    client: Client,
    authorize_url: url::Url,
    revoke_url: Option<url::Url>,
    client_secret: SecretString,
    scopes: Vec<String>,
    connector: String,
    http: HttpClient,
    clock: Arc<dyn Clock>,
}

impl Registered {
    /// The app with the connector's endpoints, where its own settings name no others.
    pub(crate) fn new(
        connector: &str,
        app: App,
        auth: &AuthKind,
        http: HttpClient,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ConnectorError> {
        let AuthKind::OAuth2 { authorize_url, token_url, revoke_url, scopes } = auth else {
            return Err(ConnectorError::Config(format!("oauth.{connector}: the connector takes no OAuth")));
        };
        let address = |member: &str, own: Option<String>, usual: &str| {
            let text = own.unwrap_or_else(|| usual.to_owned());
            connector_sdk::http::base_url(&text).map(|url| (text, url)).map_err(|error| {
                let why = error.to_string().replace("configuration: base_url: ", "");
                ConnectorError::Config(format!("oauth.{connector}.{member}: {why}"))
            })
        };
        let wrong = |e: url::ParseError| ConnectorError::Config(format!("oauth.{connector}: {e}"));
        let (_, authorize) = address("authorize_url", app.authorize_url, authorize_url)?;
        let (token, _) = address("token_url", app.token_url, token_url)?;
        let revoke = match app.revoke_url.or_else(|| revoke_url.map(str::to_owned)) {
            Some(text) => Some(address("revoke_url", Some(text), "")?.1),
            None => None,
        };
        let client = BasicClient::new(ClientId::new(app.client_id))
            .set_client_secret(ClientSecret::new(app.client_secret.expose_secret().to_owned()))
            .set_auth_uri(AuthUrl::from_url(authorize.clone()))
            .set_token_uri(TokenUrl::new(token).map_err(wrong)?)
            // Both providers take the app's credentials in the body, and HubSpot only there.
            .set_auth_type(AuthType::RequestBody);
        Ok(Self {
            client,
            authorize_url: authorize,
            revoke_url: revoke,
            client_secret: app.client_secret,
            scopes: app.scopes.unwrap_or_else(|| scopes.iter().map(|s| (*s).to_owned()).collect()),
            connector: connector.to_owned(),
            http,
            clock,
        })
    }

    /// Where a person grants access. PKCE with S256: the code alone is worth nothing.
    pub(crate) fn authorize_url(
        &self,
        redirect_uri: &str,
        state: &SecretString,
        verifier: &SecretString,
    ) -> Result<url::Url, ConnectorError> {
        let redirect = redirect(redirect_uri)?;
        let verifier = PkceCodeVerifier::new(verifier.expose_secret().to_owned());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        let state = state.expose_secret().to_owned();
        let (url, _) = self
            .client
            .authorize_url(move || CsrfToken::new(state))
            .add_scopes(self.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(challenge)
            .set_redirect_uri(std::borrow::Cow::Owned(redirect))
            .url();
        Ok(url)
    }

    /// Whether `issuer` (RFC 9207) is the server that the person was sent to.
    pub(crate) fn is_issuer(&self, issuer: &str) -> bool {
        url::Url::parse(issuer).is_ok_and(|url| url.origin() == self.authorize_url.origin())
    }

    /// Turns a code into tokens.
    pub(crate) async fn redeem(
        &self,
        code: SecretString,
        verifier: &SecretString,
        redirect_uri: &str,
    ) -> Result<Tokens, GrantError> {
        let redirect = redirect(redirect_uri)?;
        let http = self.plain("token endpoint, authorization_code");
        let asked = self
            .client
            .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()))
            .set_redirect_uri(std::borrow::Cow::Owned(redirect));
        self.tokens(asked.request_async(&http).await)
    }

    /// New tokens for an old refresh token.
    pub(crate) async fn renew(&self, refresh: &SecretString) -> Result<Tokens, GrantError> {
        let http = self.plain("token endpoint, refresh_token");
        let refresh = RefreshToken::new(refresh.expose_secret().to_owned());
        self.tokens(self.client.exchange_refresh_token(&refresh).request_async(&http).await)
    }

    /// Whether the provider can be told that a grant is over.
    pub(crate) fn revokes(&self) -> bool {
        self.revoke_url.is_some()
    }

    /// Tells the provider that the grant behind a refresh token is over. Does nothing where it cannot be told.
    pub(crate) async fn revoke(&self, refresh: &SecretString) -> Result<(), GrantError> {
        let Some(url) = &self.revoke_url else { return Ok(()) };
        let failed = |why: String| GrantError::Failed(ConnectorError::Protocol(why));
        // RFC 7009. Not through the library, which knows no loopback that needs no TLS.
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("token", refresh.expose_secret())
            .append_pair("token_type_hint", "refresh_token")
            .append_pair("client_id", self.client.client_id())
            .append_pair("client_secret", self.client_secret.expose_secret())
            .finish();
        let request = http::Request::post(url.as_str())
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(http::header::ACCEPT, "application/json")
            .body(form.into_bytes())
            .map_err(|e| failed(format!("revocation endpoint: {e}")))?;
        let answer = self.http.exchange_plain("revocation endpoint", request).await?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(failed(format!("revocation endpoint: HTTP {}", status.as_u16()))),
        }
    }

    fn plain(&self, endpoint: &'static str) -> Plain {
        Plain { http: self.http.clone(), endpoint }
    }

    fn tokens(
        &self,
        answer: Result<BasicTokenResponse, RequestTokenError<ConnectorError, BasicErrorResponse>>,
    ) -> Result<Tokens, GrantError> {
        let given = match answer {
            Ok(given) => given,
            Err(RequestTokenError::Request(error)) => return Err(error.into()),
            Err(RequestTokenError::ServerResponse(said)) => {
                // Its description may hold what was sent: only the code is passed on.
                let code = said.error().as_ref().to_owned();
                return Err(match said.error() {
                    BasicErrorResponseType::InvalidGrant => GrantError::Refused(code),
                    BasicErrorResponseType::InvalidClient | BasicErrorResponseType::UnauthorizedClient => {
                        GrantError::App(format!(
                            "{code}: the provider refuses the app; check oauth.{0}.client_id and \
                             oauth.{0}.client_secret_file",
                            self.connector
                        ))
                    }
                    BasicErrorResponseType::Extension(word) if PASSING.contains(&word.as_str()) => {
                        GrantError::Failed(ConnectorError::Transient(format!("token endpoint: {word}")))
                    }
                    _ => GrantError::App(format!("the token endpoint refused: {}", plain_words(&code))),
                });
            }
            Err(_) => {
                let message = "token endpoint: the answer is not what OAuth promises".to_owned();
                return Err(GrantError::Failed(ConnectorError::Protocol(message)));
            }
        };
        let now = self.clock.now();
        let life = given.expires_in().map(|life| life.min(LONGEST_LIFE));
        let life = life.map(|life| TimeDelta::from_std(life).unwrap_or(TimeDelta::zero()));
        let granted = given.scopes().map(|scopes| scopes.iter().map(|s| s.to_string()).collect());
        Ok(Tokens {
            access: given.access_token().secret().clone().into(),
            refresh: given.refresh_token().map(|token| token.secret().clone().into()),
            life: TokenLife {
                // Nothing said: what was asked for (RFC 6749, section 5.1).
                scopes: granted.unwrap_or_else(|| self.scopes.clone()),
                renewed_at: now,
                renew_at: life.map(|life| now + life - AHEAD.min(life / 4)),
                expires_at: life.map(|life| now + life),
            },
        })
    }
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered").field("connector", &self.connector).finish_non_exhaustive()
    }
}

fn redirect(text: &str) -> Result<RedirectUrl, ConnectorError> {
    RedirectUrl::new(text.to_owned())
        .map_err(|e| ConnectorError::Config(format!("server.public_url: the callback's address: {e}")))
}

/// A code of the provider's own making, cut to what a code can be.
fn plain_words(code: &str) -> String {
    code.chars().filter(|c| c.is_ascii_alphanumeric() || "_-. ".contains(*c)).take(60).collect()
}

/// Our HTTP client, as the OAuth library calls it.
struct Plain {
    http: HttpClient,
    endpoint: &'static str,
}

impl<'c> AsyncHttpClient<'c> for Plain {
    type Error = ConnectorError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Self::Error>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let answer = self.http.exchange_plain(self.endpoint, request).await?;
            Ok(match in_standard_words(answer.status(), answer.body()) {
                Some(error) => {
                    let (mut parts, _) = answer.into_parts();
                    parts.headers.remove(http::header::CONTENT_LENGTH);
                    HttpResponse::from_parts(parts, serde_json::json!({ "error": error }).to_string().into())
                }
                None => answer,
            })
        })
    }
}

/// Words beside those of RFC 6749, section 5.2, that some providers answer with 400. They pass by themselves.
const PASSING: [&str; 3] = ["temporarily_unavailable", "server_error", "slow_down"];

/// The code of RFC 6749, section 5.2, for a refusal that has none.
///
/// HubSpot's token endpoint answers 400 in the form of its other endpoints: `message`, `correlationId`, and either a
/// `status` like `BAD_REFRESH_TOKEN` or a `category` like `VALIDATION_ERROR`. What such a refusal means is told by
/// its status code then: a request that is as the specification says and is refused is refused for its grant.
fn in_standard_words(status: http::StatusCode, body: &[u8]) -> Option<&'static str> {
    #[derive(serde::Deserialize)]
    struct Said {
        error: Option<serde_json::Value>,
        status: Option<serde_json::Value>,
    }
    if !status.is_client_error() {
        return None;
    }
    let said: Said = serde_json::from_slice(body).ok()?;
    if said.error.is_some_and(|error| error.is_string()) {
        return None;
    }
    match said.status.as_ref().and_then(|word| word.as_str()) {
        Some("BAD_CLIENT_ID" | "BAD_CLIENT_SECRET") => Some("invalid_client"),
        _ if status == http::StatusCode::BAD_REQUEST => Some("invalid_grant"),
        _ => Some("invalid_client"),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::in_standard_words;

    #[test]
    fn refusals_in_a_provider_s_own_form_are_understood() {
        let of = |status: StatusCode, body: &str| in_standard_words(status, body.as_bytes());
        let bad = StatusCode::BAD_REQUEST;
        assert_eq!(of(bad, r#"{"status":"BAD_REFRESH_TOKEN","message":"m"}"#), Some("invalid_grant"));
        assert_eq!(of(bad, r#"{"category":"VALIDATION_ERROR","message":"m"}"#), Some("invalid_grant"));
        assert_eq!(of(bad, r#"{"status":"BAD_CLIENT_ID"}"#), Some("invalid_client"));
        assert_eq!(of(StatusCode::UNAUTHORIZED, r#"{"status":"error"}"#), Some("invalid_client"));
        // What the standard says, and what is none of a token endpoint, stays as it is.
        assert_eq!(of(bad, r#"{"error":"invalid_scope"}"#), None);
        assert_eq!(of(bad, "<html>"), None);
        assert_eq!(of(StatusCode::OK, r#"{"status":"BAD_CLIENT_ID"}"#), None);
    }
}
