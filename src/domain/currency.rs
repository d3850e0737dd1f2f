//! Minor units of currencies.

pub use connector_sdk::facts::exponent;
