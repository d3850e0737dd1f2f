//! Webhooks: raw requests and the events in them.

use std::time::Duration;

use http::HeaderMap;
use secrecy::SecretString;

use crate::clock::Timestamp;
use crate::record::RecordKey;

/// A delivery exactly as it came in. Signatures are checked on these bytes, before anything is parsed.
#[derive(Debug, Clone, Copy)]
pub struct RawRequest<'a> {
    /// Upper-case method.
    pub method: &'a str,
    /// The public URL that the provider signed, where the scheme needs it.
    pub url: &'a str,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// The body, untouched.
    pub body: &'a [u8],
    /// When the first byte of the body arrived.
    pub received_at: Timestamp,
    /// How far a signed time may be from `received_at`, in both directions, for schemes that sign a time.
    pub tolerance: Duration,
}

/// Why a delivery is refused. The sender learns only that it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signature header or parameter is absent.
    #[error("no signature")]
    Missing,
    /// It is there and cannot be read.
    #[error("malformed signature: {0}")]
    Malformed(&'static str),
    /// The signed time is too far from ours, in either direction.
    #[error("timestamp outside the tolerance")]
    Expired,
    /// No secret of the connection gives this signature.
    #[error("signature does not match")]
    Mismatch,
    /// The connection has no webhook secret.
    #[error("no webhook secret is configured")]
    NoSecret,
}

/// One event of a delivery. It names what changed; the objects are read from the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The provider's id of the event, the key of deduplication.
    pub id: String,
    /// The provider's type (`customer.subscription.updated`).
    pub kind: String,
    /// The provider account that the event is about, where the event says so.
    pub account: Option<String>,
    /// Whether the event is about live objects, where the event says so.
    pub live: Option<bool>,
    /// When the provider says it happened (whole seconds for most: never used to order changes).
    pub created: Option<Timestamp>,
    /// Records to read again.
    pub touches: Vec<RecordKey>,
    /// Records that are gone.
    pub tombstones: Vec<RecordKey>,
    /// The simulated time (a test clock) that the event comes from: nothing of it has happened.
    pub simulated: Option<String>,
    /// False for a type that the connector does not know: stored, counted, answered 2xx.
    pub known: bool,
}

/// Where a provider is told to send webhooks, below `/api/integrations/{connector}/webhook`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WebhookAddress {
    /// To an address of each connection: its id ends the path.
    #[default]
    Connection,
    /// To one address of an organisation, whose id ends the path: a delivery may hold events of several accounts, and
    /// each names its own ([`Event::account`]).
    Organisation,
    /// To one address of an organisation, whose id is this parameter of the query.
    OrganisationQuery(&'static str),
}

/// The webhook side of a connector.
pub trait WebhookSource: Send + Sync {
    /// Checks the signature against any of `secrets`, in constant time, before the body is parsed.
    fn verify(&self, secrets: &[SecretString], request: &RawRequest<'_>) -> Result<(), SignatureError>;

    /// As [`Self::verify`], with the settings of the connection: for providers that sign in several ways, of which
    /// the weaker ones are taken only where a setting says so.
    ///
    /// # Errors
    /// As [`Self::verify`].
    fn verify_with(
        &self,
        _settings: &serde_json::Value,
        secrets: &[SecretString],
        request: &RawRequest<'_>,
    ) -> Result<(), SignatureError> {
        self.verify(secrets, request)
    }

    /// Whether the event demands that what it names as gone is erased wherever it is kept, history included: a
    /// person asked to be forgotten.
    fn erases(&self, _event: &Event) -> bool {
        false
    }

    /// Where deliveries are sent. An address of the connection itself is taken whatever is said here.
    fn address(&self) -> WebhookAddress {
        WebhookAddress::Connection
    }

    /// For a request with several events: the body of each alone, by [`Event::id`], such that [`Self::route`] gives that
    /// event for it. What is kept of one event then holds nothing of another, which may be about somebody else's
    /// account. An event that is not named here is kept with the whole body.
    ///
    /// # Errors
    /// As [`Self::route`].
    fn bodies(&self, _request: &RawRequest<'_>) -> Result<Vec<(String, Vec<u8>)>, String> {
        Ok(Vec::new())
    }

    /// Every record that a stored body names, whether or not an event of it has the record read again: a request that is
    /// kept tells of all of them. Nothing for what cannot be read.
    fn names(&self, body: &[u8]) -> Vec<RecordKey> {
        let headers = HeaderMap::new();
        let request = RawRequest {
            method: "POST",
            url: "",
            headers: &headers,
            body,
            received_at: Timestamp::default(),
            tolerance: Duration::ZERO,
        };
        let events = self.route(&request).unwrap_or_default();
        events.into_iter().flat_map(|event| event.touches.into_iter().chain(event.tombstones)).collect()
    }

    /// The events of a verified request. An error text is for the operator; the sender gets 400.
    fn route(&self, request: &RawRequest<'_>) -> Result<Vec<Event>, String>;
}
