//! halo-sync keeps what a company's AI support agent knows about each customer true.
//!
//! The way of the data: a connector's page or a webhook's touch becomes a record in the mirror, the
//! record's facts become derived company fields, stored and requested values are merged, and the result
//! is rendered as the text of the chat's system prompt. Nothing flows back up.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`chat`] | chats that a model answers |
//! | [`commands`] | the command line |
//! | [`config`] | settings and their layers |
//! | [`domain`] | plain types of the field |
//! | [`registry`] | the list of connectors |
//! | [`store`] | what is kept: traits and two engines |
//! | [`sync`] | reading from providers, matching, credentials |
//! | [`webhooks`] | the inbox and its processing |
//! | [`mod@derive`] | pure functions over facts |
//! | [`context`] | merge and render |
//! | [`jobs`] | the job engine |
//! | [`product`] | what a product says about its users and companies |
//! | [`service`] | what a person can ask for, as values |
//! | [`attributes`] | every trait and context key that was ever seen, and what is said about them |
//! | [`backups`] | copies of the embedded database |
//! | [`http`] | the HTTP surface |
//! | [`import`] | files of users and companies, row by row |
//! | [`kit`] | what a new connector is made with |
//! | [`mcp`] | what agents read and call, over MCP |
//! | [`telemetry`] | logs, metrics, their names |
//! | [`clock`] | time as a parameter |

#![expect(clippy::duplicate_mod, reason = "units and glue of the store are compiled once for each driver")]

pub mod attributes;
pub mod backups;
pub mod chat;
pub mod clock;
pub mod commands;
pub mod config;
pub mod context;
pub mod derive;
pub mod domain;
pub mod http;
pub mod import;
pub mod jobs;
pub mod kit;
pub mod mcp;
pub mod product;
mod recent;
pub mod recompute;
pub mod registry;
pub mod service;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod webhooks;
pub mod worker;
