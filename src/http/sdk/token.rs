//! `user_token`: a JWT that the customer's backend signs with the organisation's identity secret.
//!
//! Nothing in a token says how it is to be checked. The algorithm is HS256, the secrets are the organisation's; a
//! header that names anything but `alg` and `typ` is refused, not ignored. A token that could be read in two ways
//! (a member twice, base64 that is not the only one, times that are no numbers) is none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connector_sdk::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use sha2::Sha256;

use super::unique::Unique;

/// Bytes of a token.
pub const LONGEST_TOKEN: usize = 8 * 1024;
/// How far the signer's clock may be from ours, seconds.
pub const LEEWAY_SECONDS: i64 = 5;
/// The scope that bulk updates ask for.
pub const UPDATE_SCOPE: &str = "users.update";
/// How far ahead the end of a user's token may lie, seconds.
pub const LONGEST_USER_SECONDS: i64 = 24 * 60 * 60;
/// How far ahead the end of a token for bulk updates may lie, seconds.
pub const LONGEST_UPDATE_SECONDS: i64 = 60 * 60;

/// Members that say something about the token, and nothing about the user.
const REGISTERED: [&str; 9] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "user_id", "scope"];

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// To speak as that user.
    User(&'a str),
    /// To update users in bulk.
    Update,
}

/// Why a token is not taken. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, not of this form, or not signed with the secret.
    #[error("user_token is not valid: {0}")]
    Invalid(&'static str),
    /// It was good until a moment ago, or for longer than that.
    #[error("user_token has expired")]
    Expired,
    /// It is good for something else.
    #[error("user_token is not for this call: {0}")]
    Scope(&'static str),
    /// It speaks for another user.
    #[error("user_token is for another user than user_id")]
    Mismatch,
}

/// Checks a token; answers what it says about the user beyond who it is.
///
/// # Errors
///
/// The first of its faults. Those of its content are told only of a token whose signature is right.
pub fn verify(
    token: &str,
    secrets: &[SecretString],
    purpose: Purpose<'_>,
    now: Timestamp,
) -> Result<Map<String, Value>, TokenError> {
    let claims = signed(token, secrets)?;
    judge(claims, purpose, now)
}

/// The claims of a token that one of the secrets signed.
fn signed(token: &str, secrets: &[SecretString]) -> Result<Map<String, Value>, TokenError> {
    if token.len() > LONGEST_TOKEN {
        return Err(TokenError::Invalid("it is too long"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Invalid("three parts are expected"));
    };
    check_header(&object(header)?)?;
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| TokenError::Invalid("its signature is not base64url"))?;
    let signed = &token[..header.len() + 1 + claims.len()];
    // Every secret is tried, whichever of them fits: how long it takes says nothing.
    let mut fits = false;
    for secret in secrets {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else { continue };
        mac.update(signed.as_bytes());
        fits |= mac.verify_slice(&signature).is_ok();
    }
    if !fits {
        return Err(TokenError::Invalid("it is not signed with the identity secret"));
    }
    object(claims)
}

/// The only header there is: HS256, and that it is a JWT.
fn check_header(header: &Map<String, Value>) -> Result<(), TokenError> {
    if header.get("alg").and_then(Value::as_str) != Some("HS256") {
        return Err(TokenError::Invalid("its algorithm must be HS256"));
    }
    for (name, value) in header {
        match name.as_str() {
            "alg" => {}
            "typ" if value.as_str().is_some_and(|typ| typ.eq_ignore_ascii_case("JWT")) => {}
            _ => return Err(TokenError::Invalid("its header may hold alg and typ only")),
        }
    }
    Ok(())
}

/// A part of a token as the object that it is.
fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Invalid("it is not base64url"))?;
    match serde_json::from_slice::<Unique>(&bytes) {
        Ok(Unique(Value::Object(members))) => Ok(members),
        _ => Err(TokenError::Invalid("a part is not a JSON object with each member once")),
    }
}

fn judge(
    mut claims: Map<String, Value>,
    purpose: Purpose<'_>,
    now: Timestamp,
) -> Result<Map<String, Value>, TokenError> {
    let longest = match purpose {
        Purpose::User(_) => LONGEST_USER_SECONDS,
        Purpose::Update => LONGEST_UPDATE_SECONDS,
    };
    check_times(&claims, longest, now)?;
    match purpose {
        Purpose::User(user) => {
            if claims.contains_key("scope") {
                return Err(TokenError::Scope("a token with a scope speaks for no user"));
            }
            if speaker(&claims)? != user {
                return Err(TokenError::Mismatch);
            }
        }
        Purpose::Update => {
            if claims.get("scope").and_then(Value::as_str) != Some(UPDATE_SCOPE) {
                return Err(TokenError::Scope("the scope users.update is needed"));
            }
            if claims.contains_key("user_id") {
                return Err(TokenError::Scope("a token for bulk updates names no user"));
            }
        }
    }
    claims.retain(|name, _| !REGISTERED.contains(&name.as_str()));
    Ok(claims)
}

/// Times are whole or broken seconds since 1970.
fn check_times(claims: &Map<String, Value>, longest: i64, now: Timestamp) -> Result<(), TokenError> {
    let seconds = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_f64()
            .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
            .map(Some)
            .ok_or(TokenError::Invalid("exp, nbf and iat are numbers of seconds")),
    };
    #[expect(clippy::cast_precision_loss, reason = "microseconds of this millennium fit")]
    let now = now.timestamp_micros() as f64 / 1e6;
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let (leeway, longest) = (LEEWAY_SECONDS as f64, longest as f64);
    let Some(exp) = seconds("exp")? else { return Err(TokenError::Invalid("exp is missing")) };
    let (nbf, iat) = (seconds("nbf")?, seconds("iat")?);
    if exp + leeway < now {
        return Err(TokenError::Expired);
    }
    if exp > now + longest + leeway {
        return Err(TokenError::Invalid("exp lies too far ahead"));
    }
    if nbf.is_some_and(|nbf| nbf > now + leeway) || iat.is_some_and(|iat| iat > now + leeway) {
        return Err(TokenError::Invalid("it is not valid yet"));
    }
    Ok(())
}

/// Who speaks: `user_id`, else `sub`; both only when they say the same.
fn speaker(claims: &Map<String, Value>) -> Result<&str, TokenError> {
    let text = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.as_str())),
        Some(_) => Err(TokenError::Invalid("user_id and sub are texts")),
    };
    match (text("user_id")?, text("sub")?) {
        (Some(user), None) | (None, Some(user)) => Ok(user),
        (Some(user), Some(sub)) if user == sub => Ok(user),
        (Some(_), Some(_)) => Err(TokenError::Invalid("user_id and sub differ")),
        (None, None) => Err(TokenError::Invalid("user_id is missing")),
    }
}

#[cfg(test)]
mod tests;
