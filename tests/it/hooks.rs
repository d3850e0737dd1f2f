//! Webhooks beyond the ordinary way: bursts, what is set aside, replays, registered endpoints; audits of the mirror.

mod bursts;
mod endpoints;
mod events;
mod replays;
