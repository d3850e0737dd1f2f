//! Reading bodies and parameters.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::error::ApiError;
use super::guard;

/// The body's bytes as they came, within the limits. What is signed is signed over these.
#[derive(Debug, Clone)]
pub struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        Ok(Self(guard::read(request.into_body()).await?))
    }
}

/// A body that is a JSON object. The media type is not asked for: browsers that send a page's last words (`sendBeacon`) call
/// them text.
#[derive(Debug, Clone)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        parse_object(&guard::read(request.into_body()).await?).map(Self)
    }
}

/// The query's parameters. A parameter that is not known is refused where the structure says `deny_unknown_fields`: a
/// filter that is misspelt would otherwise answer everything.
#[derive(Debug, Clone)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(refused) => Err(ApiError::bad_request("bad_parameter", refused.body_text())),
        }
    }
}

/// The path's parameters, decoded.
#[derive(Debug, Clone)]
pub struct Named<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(params)) => Ok(Self(params)),
            Err(refused) => Err(ApiError::bad_request("bad_parameter", refused.body_text())),
        }
    }
}

/// Parses a JSON document.
///
/// # Errors
///
/// 400 with line and column for what is not JSON (`invalid_json`), with the member's path for what is not
/// of the expected shape (`invalid_body`).
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => {
                ApiError::bad_request("invalid_body", format!("{path}: {inner}"))
            }
            _ => ApiError::bad_request("invalid_json", inner.to_string()),
        }
    })?;
    reader.end().map_err(|error| ApiError::bad_request("invalid_json", error.to_string()))?;
    Ok(value)
}

/// Parses a JSON document that is an object. A list would do for a structure, member by member in their order of
/// declaration, and mean something that nobody wrote.
///
/// # Errors
///
/// Those of [`parse`]; 400 (`invalid_body`) for JSON of another kind.
pub fn parse_object<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, ApiError> {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        parse::<IgnoredAny>(bytes)?;
        return Err(ApiError::bad_request("invalid_body", "an object is expected".to_owned()));
    }
    parse(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_is_not_json_is_refused_without_a_panic() {
        let deep = "[".repeat(100_000);
        let bad: [&[u8]; 10] = [
            b"",
            b"{",
            b"{} {}",
            b"{\"a\":1,}",
            b"\xef\xbb\xbf{}",
            b"\"\xff\"",
            b"\"\\ud800\"",
            b"1e400",
            b"\"\0\"",
            deep.as_bytes(),
        ];
        for bytes in bad {
            let error = parse::<Value>(bytes).unwrap_err();
            assert_eq!((error.status().as_u16(), error.code()), (400, "invalid_json"), "{bytes:?}");
        }
        assert_eq!(parse::<Value>(b" {\"a\": [1]} ").unwrap(), serde_json::json!({"a": [1]}));
    }

    #[test]
    fn a_wrong_shape_names_the_member() {
        #[derive(Debug, serde::Deserialize)]
        struct Body {
            #[expect(dead_code, reason = "only its parsing matters")]
            traits: std::collections::BTreeMap<String, i64>,
        }
        for (text, code) in [
            (&br#"[{"seats": 1}]"#[..], "invalid_body"),
            (b"7", "invalid_body"),
            (b"[", "invalid_json"),
            (b"", "invalid_json"),
        ] {
            assert_eq!(parse_object::<Body>(text).unwrap_err().code(), code, "{text:?}");
        }
        assert!(parse_object::<Body>(br#" {"traits": {}}"#).is_ok());
        let error = parse_object::<Body>(br#"{"traits": {"seats": "many"}}"#).unwrap_err();
        assert_eq!(error.code(), "invalid_body");
        assert!(format!("{error:?}").contains("traits.seats"), "{error:?}");
    }
}
