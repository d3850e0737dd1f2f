//! The SDK API and what is around it, over the real router, on both engines.

mod attributes;
mod companies;
mod context;
mod deletion;
mod kit;
mod openapi;
mod users;
