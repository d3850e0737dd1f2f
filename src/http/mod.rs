//! HTTP.
pub mod control;
pub mod sdk;
pub mod webhooks;
