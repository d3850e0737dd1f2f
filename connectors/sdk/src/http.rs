//! The HTTP client that connectors call providers with.

/// A client with the account's rate budget, time-outs and size limits in it.
#[derive(Debug, Clone)]
pub struct HttpClient {}
