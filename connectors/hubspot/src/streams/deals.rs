//! Deals, with the line items of those that were won: how long something was sold for stands there.
//!
//! An edit of a pipeline changes the time of every deal in it; what is read again then is the same, and nothing is
//! written.

use super::{Object, Reads, Stream, objects};

/// What says how many line items a deal has.
pub(crate) const LINE_ITEMS: &str = "hs_num_of_associated_line_items";
/// What says that it was won.
pub(crate) const WON: &str = "hs_is_closed_won";
/// What is read of a line item.
pub(crate) const LINE_PROPERTIES: [&str; 7] = [
    "name",
    "price",
    "quantity",
    "hs_product_id",
    "recurringbillingfrequency",
    "hs_recurring_billing_period",
    "hs_recurring_billing_start_date",
];

pub(super) const STREAM: Stream = Stream {
    spec: objects("deals", "Deals, with the line items of won ones.", "crm.objects.deals.read", 3),
    reads: Reads::Objects(Object {
        singular: "deal",
        modified: "hs_lastmodifieddate",
        properties: &[
            "dealname",
            "dealstage",
            "pipeline",
            "amount",
            "deal_currency_code",
            "closedate",
            "hs_is_closed",
            WON,
            LINE_ITEMS,
            "hubspot_owner_id",
            "hs_primary_associated_company",
            "hs_merged_object_ids",
        ],
        bodies: &[],
        to: &["companies", "contacts"],
        primary: Some("hs_primary_associated_company"),
        lists_archived: true,
    }),
};
