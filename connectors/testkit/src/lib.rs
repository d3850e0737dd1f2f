//! What halo-sync connectors are tested with.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`mod@conformance`] | the suite that every connector passes |
//! | [`openapi`] | calls and answers, judged by the vendor's own OpenAPI file |
//! | [`parts`] | where third-party data and programs are, and when their absence is a failure |
//! | [`sandbox`] | provider servers on the loopback that hold state, send webhooks and fail on demand |

// The shapes of provider objects are written out with `json!`, which recurses once a token.
#![recursion_limit = "512"]

pub mod conformance;
pub mod openapi;
pub mod parts;
pub mod sandbox;

use std::sync::Arc;

use connector_sdk::{Clock, ConnectorError, HttpClient, HttpConfig, SystemClock};

/// Installs rustls's ring provider for this process; a second call changes nothing.
pub fn install_crypto() {
    // An error says that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// An HTTP client for tests, on the system's clock.
///
/// # Errors
/// As [`HttpClient::new`].
pub fn http_client(config: HttpConfig) -> Result<HttpClient, ConnectorError> {
    install_crypto();
    HttpClient::new(config, Arc::new(SystemClock) as Arc<dyn Clock>)
}
