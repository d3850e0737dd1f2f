//! Who calls the SDK API, and in whose voice a body speaks.
//!
//! A key is judged from the request's head, before anything of the body is read. What a server key says is of
//! rank server. What a publishable key says is a claim, also beside a valid `user_token`: the token proves who
//! speaks, not what is said. What the token itself says, the customer's backend has signed: it is of rank server.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::Sdk;
use super::token::{self, Purpose, TokenError};
use crate::domain::connections::{ApiKey, KeyClass};
use crate::domain::orgs::Switch;
use crate::domain::{OrgId, Rank};
use crate::http::ApiError;
use crate::http::edge::Notes;
use crate::product::ANONYMOUS;

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The key that was sent.
    pub key: ApiKey,
    notes: Notes,
}

/// In whose voice a body speaks.
#[derive(Debug, Clone, PartialEq)]
pub struct Voice {
    /// The rank of what the body says.
    pub rank: Rank,
    /// What the token says about the user (`email`, `name`, `role`, `plan`, `company_id`, …): of rank server.
    pub claims: Map<String, Value>,
    /// Whether a token proved who speaks.
    pub verified: bool,
}

/// The key of a request whose head has been judged already, among the request's extensions.
#[derive(Debug, Clone)]
pub(in crate::http) struct Admitted(pub(in crate::http) ApiKey);

/// Refuses with 401 what is no live key; with 403 a server key in a request that carries an `Origin`, for that comes
/// from a browser, where it has no business (`server_key_in_browser`), and a publishable key from a page that is
/// not listed (`origin_not_allowed`); with 429 who comes too often.
impl<S: Send + Sync> FromRequestParts<S> for Caller
where
    Sdk: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let key = match parts.extensions.get::<Admitted>() {
            Some(Admitted(key)) => key.clone(),
            None => Sdk::from_ref(state).keys.admit(parts).await?,
        };
        Ok(Self { key, notes: Notes::of(&parts.extensions) })
    }
}

/// Somebody who needs no key: counted by address alone.
#[derive(Debug, Clone, Copy)]
pub struct Anybody;

/// Refuses with 429 who comes too often.
impl<S: Send + Sync> FromRequestParts<S> for Anybody
where
    Sdk: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Sdk::from_ref(state).keys.admit_anybody(parts).map(|()| Self)
    }
}

impl Caller {
    /// The organisation that the key belongs to.
    pub fn org(&self) -> &OrgId {
        &self.key.org_id
    }

    /// Whether it is a server's key.
    pub fn is_server(&self) -> bool {
        self.key.class == KeyClass::Server
    }

    /// Refuses what is not a backend.
    ///
    /// # Errors
    ///
    /// 403 `server_key_needed` for a publishable key. (A server key from a browser never gets this far.)
    pub fn need_server(&self) -> Result<(), ApiError> {
        if self.is_server() {
            return Ok(());
        }
        Err(ApiError::forbidden("server_key_needed", "this call needs a server key")
            .hint("make one: halo-sync keys create --class server --name NAME"))
    }

    /// Counts the items of a call that holds many, but for the one that the call itself is counted as.
    ///
    /// # Errors
    ///
    /// 429 where the limit of key or organisation is reached.
    pub fn charge_items(&self, sdk: &Sdk, items: usize) -> Result<(), ApiError> {
        let more = u32::try_from(items).unwrap_or(u32::MAX).saturating_sub(1);
        if more == 0 { Ok(()) } else { sdk.keys.charge(&self.key, &self.notes, more) }
    }

    /// In whose voice a body speaks that names this user (nothing or `anonymous` for nobody), with this token.
    ///
    /// # Errors
    ///
    /// 403: `identity_required` where the organisation asks for a token and a publishable key names a user without
    /// one; `identity_invalid`, `identity_expired`, `identity_scope`, `identity_mismatch` for a token that is not
    /// good for this user, whoever sends it.
    pub async fn voice(
        &self,
        sdk: &Sdk,
        user_id: Option<&str>,
        user_token: Option<&str>,
    ) -> Result<Voice, ApiError> {
        let user_id = user_id.filter(|id| !id.is_empty() && *id != ANONYMOUS);
        let Some(user_token) = user_token.filter(|token| !token.is_empty()) else {
            if let Some(user) = user_id
                && !self.is_server()
                && sdk.keys.trust(self.org()).await?.rules.identity_verification == Switch::On
            {
                return Err(ApiError::forbidden(
                    "identity_required",
                    "identity verification is on: a user_token for user_id is needed",
                )
                .hint(format!("sign one for {user:?} on your backend with the identity secret (HS256)")));
            }
            return Ok(self.unverified());
        };
        // No user, no token can be for it; the empty text is refused by the verifier as nobody's.
        let purpose = Purpose::User(user_id.unwrap_or_default());
        self.verified(sdk, user_token, purpose).await
    }

    /// In whose voice a bulk update speaks.
    ///
    /// # Errors
    ///
    /// 403: `identity_required` for a publishable key without a token; as [`Self::voice`] for a token that is not
    /// of the scope `users.update`.
    pub async fn bulk_voice(&self, sdk: &Sdk, user_token: Option<&str>) -> Result<Voice, ApiError> {
        match user_token.filter(|token| !token.is_empty()) {
            Some(user_token) => self.verified(sdk, user_token, Purpose::Update).await,
            None if self.is_server() => Ok(self.unverified()),
            None => Err(ApiError::forbidden(
                "identity_required",
                "a server key, or a user_token of scope users.update, is needed",
            )
            .hint("use a server key: halo-sync keys create --class server --name NAME")),
        }
    }

    fn rank(&self) -> Rank {
        if self.is_server() { Rank::Server } else { Rank::Claimed }
    }

    fn unverified(&self) -> Voice {
        Voice { rank: self.rank(), claims: Map::new(), verified: false }
    }

    async fn verified(&self, sdk: &Sdk, token: &str, purpose: Purpose<'_>) -> Result<Voice, ApiError> {
        let (trust, now) = (sdk.keys.trust(self.org()).await?, sdk.keys.now());
        let secrets = trust.live_secrets(now);
        if secrets.is_empty() {
            return Err(ApiError::forbidden(
                "identity_invalid",
                "user_token cannot be checked: the organisation has no identity secret",
            )
            .hint("make one: halo-sync keys identity create"));
        }
        let claims = token::verify(token, &secrets, purpose, now).map_err(refusal)?;
        Ok(Voice { rank: self.rank(), claims, verified: true })
    }
}

fn refusal(error: TokenError) -> ApiError {
    let code = match error {
        TokenError::Invalid(_) => "identity_invalid",
        TokenError::Expired => "identity_expired",
        TokenError::Scope(_) => "identity_scope",
        TokenError::Mismatch => "identity_mismatch",
    };
    ApiError::forbidden(code, error.to_string())
}
