//! The acceptance test against localstripe, a Stripe that nobody of this project wrote.
//!
//! `tests/localstripe/README.md` says what is run and what the server was seen to answer.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `server` | the server and the programs that fill and change it |
//! | `figures` | what must come out, worked by hand |
//! | `connector` | the connector alone: account, pages, reads by id, facts |
//! | `derived` | the connector's facts through the derivation, without a store |
//! | `binary` | the built program: connect, serve, webhooks, changes, sync |

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test's helpers fail by panicking, and a skip is told on stderr"
)]

mod binary;
mod connector;
mod derived;
mod figures;
mod server;
