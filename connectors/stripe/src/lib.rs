//! The Stripe connector.

pub mod facts;
