//! Tickets: how much support a company needs.

use super::{Object, Reads, Stream, objects};

/// The stage of a ticket.
pub(crate) const STAGE: &str = "hs_pipeline_stage";

pub(super) const STREAM: Stream = Stream {
    spec: objects("tickets", "Support tickets.", "tickets", 3),
    reads: Reads::Objects(Object {
        singular: "ticket",
        modified: "hs_lastmodifieddate",
        properties: &[
            "subject",
            "hs_pipeline",
            STAGE,
            "hs_ticket_priority",
            "hs_ticket_category",
            "hs_is_closed",
            "closed_date",
            "hubspot_owner_id",
            "hs_primary_company_id",
            "hs_merged_object_ids",
        ],
        bodies: &[],
        to: &["companies", "contacts"],
        primary: Some("hs_primary_company_id"),
        lists_archived: true,
    }),
};
