//! Webhooks beyond the ordinary way: bursts, what is set aside, replays, registered endpoints; audits of the mirror.

mod audits;
mod bursts;
mod commands;
mod endpoints;
mod events;
mod hubspot;
mod pandadoc;
mod privacy;
mod replays;
mod resync;
