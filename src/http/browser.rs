//! `/sdk/*`: the browser SDK, as `sdk/browser/build.sh` built it.
//!
//! Each file is served twice: by its plain name, which browsers ask for again after minutes (ETag, so that an unchanged
//! file costs no bytes), and by a name with its hash, which never changes and may be kept for ever. Pages of any
//! origin may load them; `crossorigin` and `integrity` are what the hashed names are for.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, IF_NONE_MATCH, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode};
use sha2::{Digest as _, Sha384};

use super::ApiError;
use super::openapi::Routes;

/// Hexadecimal digits of the hash in a file's name: 64 bits.
const DIGITS: usize = 16;
/// How long the plain names are kept: a new release reaches every page within this time.
const PLAIN: HeaderValue = HeaderValue::from_static("public, max-age=300, stale-while-revalidate=86400");
const HASHED: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
const TYPESCRIPT: HeaderValue = HeaderValue::from_static("application/typescript; charset=utf-8");
/// Pages that are isolated from other origins load only what says that it may be.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// A file of the SDK.
#[derive(Debug)]
pub struct SdkFile {
    /// The name that stays over releases (`v1.js`).
    pub plain: &'static str,
    /// The name that belongs to these bytes (`v1.0123456789abcdef.js`).
    pub hashed: String,
    /// For the attribute `integrity`: `sha384-` and base64.
    pub integrity: String,
    /// What it holds.
    pub text: &'static str,
    media_type: HeaderValue,
    tag: HeaderValue,
    zipped: Bytes,
    zipped_tag: HeaderValue,
}

/// A hashed name promises that it stays: when a release changes a file, the released one is kept beside the new
/// one and joins this list, to be served by its hash only.
static FILES: LazyLock<[SdkFile; 3]> = LazyLock::new(|| {
    [
        SdkFile::new("v1.js", include_str!("../../sdk/browser/dist/v1.js"), JAVASCRIPT),
        SdkFile::new("v1.mjs", include_str!("../../sdk/browser/dist/v1.mjs"), JAVASCRIPT),
        SdkFile::new("v1.d.ts", include_str!("../../sdk/browser/v1.d.ts"), TYPESCRIPT),
    ]
});

/// The file for `<script>`, with the global `HaloSync`.
pub fn script() -> &'static SdkFile {
    &FILES[0]
}

/// The file for `import`.
pub fn module() -> &'static SdkFile {
    &FILES[1]
}

/// Keeps calls that are made before [`script`] is there; goes inline into a page.
pub const STUB: &str = include_str!("../../sdk/browser/snippet.js").trim_ascii_end();

impl SdkFile {
    fn new(plain: &'static str, text: &'static str, media_type: HeaderValue) -> Self {
        let digest = Sha384::digest(text.as_bytes());
        let hash = &hex::encode(digest)[..DIGITS];
        let (stem, ending) = plain.split_once('.').unwrap_or((plain, ""));
        // A tag stands for the bytes that are sent, so that each encoding has its own.
        let tag = |kind: &str| {
            HeaderValue::try_from(format!("\"{hash}{kind}\"")).unwrap_or(HeaderValue::from_static("\"\""))
        };
        Self {
            plain,
            hashed: format!("{stem}.{hash}.{ending}"),
            integrity: format!("sha384-{}", STANDARD.encode(digest)),
            text,
            media_type,
            tag: tag(""),
            zipped: gzip(text.as_bytes()),
            zipped_tag: tag("-gz"),
        }
    }

    /// Its size as it is sent to a browser, bytes.
    pub fn zipped_bytes(&self) -> usize {
        self.zipped.len()
    }

    fn answer(&self, cache: HeaderValue, asked: &HeaderMap) -> Response {
        let zipped = takes_gzip(asked) && !self.zipped.is_empty();
        let tag = if zipped { &self.zipped_tag } else { &self.tag };
        let known = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|tags| {
            let tags = tags.split(',').map(|one| one.trim().trim_start_matches("W/"));
            tags.into_iter().any(|one| one == "*" || one.as_bytes() == tag.as_bytes())
        });
        let body = match (known, zipped) {
            (true, _) => Body::empty(),
            (false, true) => Body::from(self.zipped.clone()),
            (false, false) => Body::from(self.text),
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, cache);
        headers.insert(ETAG, tag.clone());
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        headers.insert(CONTENT_TYPE, self.media_type.clone());
        if zipped {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// Empty where it fails, which memory does not: the text is then sent as it is.
fn gzip(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    match encoder.write_all(text).and_then(|()| encoder.finish()) {
        Ok(zipped) => Bytes::from(zipped),
        Err(_) => Bytes::new(),
    }
}

/// Whether the client says that it takes gzip.
fn takes_gzip(asked: &HeaderMap) -> bool {
    asked.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.split(',').any(|coding| {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = parameters
                .trim()
                .strip_prefix("q=")
                .is_some_and(|q| q.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0));
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
    })
}

/// The route.
pub fn routes() -> Routes {
    Routes::new().plain(
        "/sdk/{file}",
        get(handle),
        "files for pages, no operations; their types describe them",
    )
}

async fn handle(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    let found = FILES.iter().find_map(|file| match name {
        _ if name == file.plain => Some((file, PLAIN)),
        _ if name == file.hashed => Some((file, HASHED)),
        _ => None,
    });
    let (file, cache) = found.ok_or_else(|| {
        let names: Vec<String> = FILES.iter().map(|file| format!("/sdk/{}", file.plain)).collect();
        ApiError::not_found("there is no such file of the browser SDK").hint(names.join(", "))
    })?;
    Ok(file.answer(cache, &headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for takes in ["gzip", "br, gzip;q=0.5", "GZIP"] {
            assert!(takes_gzip(&asked(ACCEPT_ENCODING, takes)), "{takes}");
        }
        for refuses in ["", "br", "gzip;q=0", "gzip; q=0.0", "x-gzip-no"] {
            assert!(!takes_gzip(&asked(ACCEPT_ENCODING, refuses)), "{refuses}");
        }
    }

    #[test]
    fn a_hashed_name_is_of_its_bytes() {
        for file in FILES.iter() {
            let (stem, rest) = file.hashed.split_once('.').unwrap();
            let (hash, ending) = rest.split_once('.').unwrap();
            assert_eq!(format!("{stem}.{ending}"), file.plain);
            assert_eq!(hash, &hex::encode(Sha384::digest(file.text))[..DIGITS]);
            assert!(file.zipped_bytes() > 0);
        }
    }
}
