//! Provider servers on the loopback.
//!
//! They are sandboxes, not mocks: they hold objects, answer lists page by page, refuse what the provider
//! refuses, sign and send webhooks, and fail in the ways that providers and networks fail when told to.

pub mod arrivals;
pub mod chance;
pub mod faults;
pub mod hubspot;
pub mod loopback;
pub mod oauth;
pub mod pandadoc;
pub mod stripe;
mod wire;
