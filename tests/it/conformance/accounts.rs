//! The sandboxes as the rules need them.

mod chargebee;
mod hubspot;
mod pandadoc;
mod stripe;

pub(super) use chargebee::Chargebee;
pub(super) use hubspot::HubSpot;
pub(super) use pandadoc::PandaDoc;
pub(super) use stripe::Stripe;
