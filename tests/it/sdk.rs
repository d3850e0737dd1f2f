//! The SDK API over the real router, on both engines.

mod companies;
mod context;
mod deletion;
mod kit;
mod users;
