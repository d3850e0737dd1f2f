//! Webhooks: verified, stored, answered; then the records that they name are read again.
//!
//! [`inbox`] is the request's side: signature on the raw bytes, one durable unit, 2xx. [`process`] is the
//! job's side: pending deliveries of one connection, touched records read from the provider, applied and
//! finished in one unit. A payload is never a record. [`endpoint`] looks after the address at the provider that they
//! come from.

pub mod endpoint;
mod gather;
pub mod inbox;
pub mod process;
