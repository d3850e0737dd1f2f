//! halo-sync keeps what a company's AI support agent knows about each customer true.
//!
//! The way of the data: a connector's page or a webhook's touch becomes a record in the mirror, the
//! record's facts become derived company fields, stored and requested values are merged, and the result
//! is rendered as the text of the chat's system prompt. Nothing flows back up.

#![expect(clippy::duplicate_mod, reason = "units and glue of the store are compiled once for each driver")]

pub mod clock;
pub mod commands;
pub mod config;
pub mod context;
pub mod domain;
pub mod jobs;
pub mod registry;
pub mod store;
pub mod telemetry;
